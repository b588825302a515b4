"""Starts the process a step works in, follows it, and makes sure it is gone in the end."""

from __future__ import annotations

import json
import os
import selectors
import signal
import tempfile
import time
from contextlib import suppress
from typing import Any

from pipeline.errors import RunCancelled, RunTimeout, StepFailed, error_named
from pipeline.machine import CpuShare, library_environment
from pipeline.progress import Progress
from pipeline.request import StepRequest
from pipeline.runtime import Runtime
from pipeline.start import start_child

_GRACE_S = 0.5
"""Given to a process to remove what it has half written before SIGKILL."""


class StepProcess:
    """A process for one step, started early so that its imports overlap other work."""

    def __init__(self, step: str, share: CpuShare, inherit: tuple[int, ...] = ()) -> None:
        """
        Args:
            step: a name in `pipeline.child.STEPS`.
            inherit: file descriptors the process keeps open (the episode's lock).
        """
        self.step = step
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this object)
        child_stdin, self._requests = os.pipe()
        self._replies, child_stdout = os.pipe()
        self._child = start_child(
            [step, *share.as_arguments()],
            library_environment(),
            (child_stdin, child_stdout, self._words.fileno()),
            inherit,
        )
        os.close(child_stdin)
        os.close(child_stdout)
        self._code: int | None = None

    def run(self, request: StepRequest, surroundings: Runtime) -> dict[str, Any]:
        """Hands over the request and waits for the result.

        Raises:
            RunCancelled, RunTimeout: it was stopped; the process is gone.
            FacetracksError: what the step raised.
            StepFailed: the process died.
        """
        if surroundings.stop is not None and surroundings.stop.is_set():
            self.kill()
            raise RunCancelled("cancelled")
        text = request.to_json()
        with suppress(BrokenPipeError):
            while text:
                text = text[os.write(self._requests, text) :]

        def progress(done: int, total: int | None) -> None:
            surroundings.progress.step(self.step, done, total)

        try:
            reply = self._follow(surroundings, progress)
        finally:
            self.kill()
        if reply is None:
            raise StepFailed(self._last_words(), self.words())
        if "error" in reply:
            error = error_named(reply["error"], reply["message"])
            error.detail = reply.get("detail", "")
            raise error
        return dict(reply["result"])

    def _follow(self, surroundings: Runtime, progress: Progress) -> dict[str, Any] | None:
        """The last reply, or None where the process ended without one."""
        waiting = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            if surroundings.stop is not None:
                selector.register(surroundings.stop, selectors.EVENT_READ)
            while True:
                left = None
                if surroundings.deadline is not None:
                    left = max(0.0, surroundings.deadline - time.monotonic())
                ready = selector.select(left)
                if not ready:
                    raise RunTimeout(
                        f"not done after {surroundings.timeout_s:g} s (--timeout): "
                        "nothing was kept of the unfinished step; allow more time"
                    )
                if any(key.fileobj is surroundings.stop for key, _ in ready):
                    raise RunCancelled("cancelled")
                chunk = os.read(self._replies, 65536)
                if not chunk:
                    return None
                *lines, waiting = (waiting + chunk).split(b"\n")
                for line in lines:
                    reply = json.loads(line)
                    if "progress" in reply:
                        progress(*reply["progress"])
                    elif "log" in reply:
                        level, text = reply["log"]
                        surroundings.log(f"{self.step}: {text}", level)
                    else:
                        return dict(reply)

    def kill(self) -> None:
        """Ends the process and all of its group. Safe to call again."""
        if self._code is not None:
            return
        os.close(self._requests)
        self._child.signal_group(signal.SIGTERM)
        give_up = time.monotonic() + _GRACE_S
        while not self._child.has_ended() and time.monotonic() < give_up:
            time.sleep(0.01)
        self._child.signal_group(signal.SIGKILL)
        self._code = self._child.wait()
        os.close(self._replies)

    def words(self) -> str:
        """What the process and its libraries wrote to standard error."""
        self._words.seek(0)
        return self._words.read().decode(errors="replace")

    def _last_words(self) -> str:
        code = self._code
        lines = self.words().strip().splitlines()
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = "; the machine may be out of memory" if code == -signal.SIGKILL else ""
            return f"the {self.step} process was killed by {name}{hint}: run again"
        return f"the {self.step} process ended early: {lines[-1] if lines else f'code {code}'}"
