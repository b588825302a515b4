"""What surrounds a run while it goes: its log, its progress, its clock, and how it is stopped."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

logger = logging.getLogger("facetracks")


class StopSignal:
    """Tells a run to stop, from any thread; can be waited for together with pipes."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()

    def fileno(self) -> int:
        """Becomes readable when the signal is set."""
        return self._reader

    def set(self) -> None:
        os.write(self._writer, b"x")

    def is_set(self) -> bool:
        import select

        return bool(select.select([self._reader], [], [], 0)[0])

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


class ProgressView(Protocol):
    """Shows a person how far a step is."""

    def step(
        self,
        name: str,
        done: int,
        total: int | None,
        seconds: float | None = None,
        text: str | None = None,
    ) -> None:
        """Frames done of `total` (None: unknown) in the step `name`, for `seconds` now.

        Without `seconds`, the step has begun with the first of these calls. `text` says it for a
        person where it is not frames that are done.
        """
        ...


class NowAndThen:
    """Is due every few seconds, the first time after as many."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._said_at = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time; if so, not again before long."""
        now = time.monotonic()
        if now - self._said_at < self.every_s:
            return False
        self._said_at = now
        return True


class LogProgress:
    """A log line every few seconds."""

    def __init__(self, every_s: float = 5.0) -> None:
        self.every_s = every_s
        self._started: dict[str, float] = {}
        self._said_at = 0.0

    def step(
        self,
        name: str,
        done: int,
        total: int | None,
        seconds: float | None = None,
        text: str | None = None,
    ) -> None:
        now = time.monotonic()
        started = self._started.setdefault(name, now - (seconds or 0.0))
        if now - max(self._said_at, started) < self.every_s:
            return
        self._said_at = now
        current().log(f"{name}: {text or describe(done, total, now - started)}")


def describe(done: int, total: int | None, seconds: float) -> str:
    """`1200 of 4800 frames, 240 fps, 15 s left`."""
    fps = done / seconds if seconds > 0 else 0.0
    if not total:
        return f"{done} frames, {fps:.0f} fps"
    left = f", {(total - done) / fps:.0f} s left" if fps else ""
    return f"{done} of {total} frames, {fps:.0f} fps{left}"


@dataclass
class Runtime:
    """One run's surroundings. Kept in a context variable, so that runs do not mix."""

    progress: ProgressView = field(default_factory=LogProgress)
    stop: StopSignal | None = None
    deadline: float | None = None
    timeout_s: float | None = None
    lines: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def log(self, line: str, level: int = logging.INFO) -> None:
        """Says a line to the log, and keeps it for the answer."""
        self.lines.append(line)
        logger.log(level, line)


_current: ContextVar[Runtime | None] = ContextVar("facetracks_runtime", default=None)


def current() -> Runtime:
    """The surroundings of the run this code belongs to; plain ones where none were set."""
    runtime = _current.get()
    if runtime is None:
        runtime = Runtime()
        _current.set(runtime)
    return runtime


@contextmanager
def runtime(surroundings: Runtime) -> Iterator[Runtime]:
    """Makes these the current surroundings for the block."""
    token = _current.set(surroundings)
    try:
        yield surroundings
    finally:
        _current.reset(token)
