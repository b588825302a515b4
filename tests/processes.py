"""Finding, and waiting for, all processes of one run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil

_MARK = "FACETRACKS_TEST_MARK"


class RunningCommand:
    """`facetracks` in the background. Every process of its run carries a mark of its own."""

    def __init__(self, *args: str | os.PathLike[str], cwd: Path, **environment: str) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *(os.fspath(a) for a in args)],
            cwd=cwd,
            env={**os.environ, **environment, _MARK: self.mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def alive(self) -> list[psutil.Process]:
        """Living processes of the run, whatever session or parent they have."""
        found = []
        for process in psutil.process_iter():
            try:
                if (
                    process.environ().get(_MARK) == self.mark
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def step_is_running(self, step: str) -> bool:
        """Whether the process of that step is there (it may still be importing)."""
        return any(step in words for p in self.alive() for words in [_command_line(p)])


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def cpus_busy(alive: Callable[[], list[psutil.Process]], until: Callable[[], bool]) -> float:
    """CPU seconds a second of processes that come and go, from now until the condition holds.

    What a process used after it was last seen, a quarter of a second before its end, is missing.
    """
    first: dict[psutil.Process, float] = {process: _cpu_s(process) for process in alive()}
    last = dict(first)
    started = time.monotonic()
    while not until():
        time.sleep(0.25)
        for process in alive():
            first.setdefault(process, 0.0)
            last[process] = max(_cpu_s(process), last.get(process, 0.0))
    wall_s = time.monotonic() - started
    return sum(spent - first[process] for process, spent in last.items()) / wall_s


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Waits for the condition; returns the seconds it took, or fails naming `what`."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > timeout_s:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - started
