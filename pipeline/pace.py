"""Holding work back, so that it keeps to a share of CPU time and below a temperature.

Work is in pieces (a frame to look at, a look to track); before each one it asks for leave with
`wait_for_leave`. What it waits at is a gate, one for all threads and processes of a step, which
`pipeline.watch` opens and closes. So the results cannot depend on it: only when a piece is worked
at changes, not what is done or in which order.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Protocol

COOLED_BY_C = 5
"""Degrees below the limit at which work goes on, so that it does not stop and go every second."""

CREDIT_S = 1.0
"""Seconds' worth of unused CPU time that may be made up for later."""

SAY_AGAIN_S = 600.0
"""How often a pause that goes on is told of again."""

Say = Callable[[str, int], None]
"""Takes a log line and its level."""


class Event(Protocol):
    """`threading.Event` or that of a multiprocessing context."""

    def is_set(self) -> bool: ...
    def set(self) -> None: ...
    def clear(self) -> None: ...
    def wait(self, timeout: float | None = None) -> bool: ...


_leave: Event | None = None


def wait_for_leave() -> None:
    """Returns when the next piece of work may begin; at once in a run that nothing limits."""
    if _leave is not None:
        _leave.wait()


def obey(leave: Event | None) -> None:
    """Has this process's work wait for the event, or (None) for nothing."""
    global _leave
    _leave = leave


class Gate:
    """Lets the work of this process, and of processes that are given its events, pass or wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_open = True
        self._events: list[Event] = []
        self.add(threading.Event())
        obey(self._events[0])

    @property
    def is_open(self) -> bool:
        return self._is_open

    def add(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)
            self._apply(event)

    def move(self, is_open: bool) -> None:
        """Opens or closes it."""
        with self._lock:
            self._is_open = is_open
            for event in self._events:
                if event.is_set() != is_open:
                    self._apply(event)

    def _apply(self, event: Event) -> None:
        (event.set if self._is_open else event.clear)()


_gate: Gate | None = None


def open_gate() -> Gate:
    """The gate of this process's work, from now on."""
    global _gate
    _gate = Gate()
    return _gate


def leave_for(context: BaseContext) -> Event | None:
    """For `obey` in processes of that context that this one starts; None where nothing limits."""
    if _gate is None:
        return None
    event: Event = context.Event()
    _gate.add(event)
    return event


class CpuBudget:
    """CPU time that may be used by now.

    It grows at a constant rate from the start on; what has gone beyond is waited for, however
    long, and what was left is kept for `CREDIT_S` only: work that stood still does not rush.
    """

    def __init__(self, cpus: float, started_s: float) -> None:
        """
        Args:
            cpus: CPU seconds a second.
            started_s: wall time at which the CPU time used was 0.
        """
        self._cpus = cpus
        self._at_s = started_s
        self._allowed_s = cpus * CREDIT_S

    def is_kept(self, at_s: float, used_s: float) -> bool:
        """Whether so much CPU time at that wall time is within the budget."""
        self._allowed_s += self._cpus * (at_s - self._at_s)
        self._at_s = at_s
        self._allowed_s = min(self._allowed_s, used_s + self._cpus * CREDIT_S)
        return used_s <= self._allowed_s


@dataclass
class HeatLimit:
    """Whether the CPU is too hot to work, and telling a person of it.

    Attributes:
        limit_c: degrees Celsius.
        say: is told when a pause begins, goes on for long, and ends.
    """

    limit_c: float
    say: Say
    _since_s: float | None = None
    _said_s: float = 0.0

    def is_kept(self, at_s: float, temperature_c: float | None) -> bool:
        """Whether work may go on at that wall time; an unknown temperature stops nothing."""
        if self._since_s is None:
            if temperature_c is not None and temperature_c >= self.limit_c:
                self._since_s = self._said_s = at_s
                self.say(
                    f"paused: the CPU is at {temperature_c:.0f} °C, --max-temperature is "
                    f"{self.limit_c:g}; goes on at {self.limit_c - COOLED_BY_C:g}",
                    logging.INFO,
                )
        elif temperature_c is None or temperature_c <= self.limit_c - COOLED_BY_C:
            now = "unknown" if temperature_c is None else f"{temperature_c:.0f} °C"
            waited = at_s - self._since_s
            self._since_s = None
            self.say(f"goes on after {waited:.0f} s: the CPU is at {now}", logging.INFO)
        elif at_s - self._said_s >= SAY_AGAIN_S:
            self._said_s = at_s
            self.say(
                f"still paused after {at_s - self._since_s:.0f} s: the CPU is at "
                f"{temperature_c:.0f} °C; a limit this low may never be met",
                logging.WARNING,
            )
        return self._since_s is None
