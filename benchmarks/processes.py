"""Runs a command and measures it: wall time alone, or with the CPU time of its process tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from benchmarks.media import ROOT

_SAMPLE_EVERY_S = 0.05
_MEMORY_EVERY_S = 0.5


OPENVINO = Path(sys.prefix) / "openvino"
"""Intel's build of onnxruntime, where `make openvino-beside` could install it."""


class BenchError(Exception):
    """A measured command failed."""


@dataclass(frozen=True)
class Usage:
    """Wall time of a command and CPU time of it and all it started, seconds.

    `peak_bytes` is the largest sum of their proportional sizes (PSS), where it was asked for;
    `said` is what was written to standard error.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int = 0
    said: str = ""


def facetracks() -> str:
    """The installed command that belongs to this Python."""
    return str(Path(sys.executable).with_name("facetracks"))


def on_openvino(command: Sequence[str]) -> list[str]:
    """A command of ours, its networks run by OpenVINO's provider."""
    return ["env", f"PYTHONPATH={OPENVINO}", *command, "--device", "openvino"]


def wall_s(command: Sequence[str], environment: dict[str, str] | None = None) -> float:
    """Runs the command to its end; seconds.

    Raises:
        BenchError: it failed.
    """
    with tempfile.TemporaryFile() as words:
        started = time.perf_counter()
        code = _start(command, words, environment).wait()
        elapsed_s = time.perf_counter() - started
        _check(command, code, words)
    return elapsed_s


def walls_s(commands: Sequence[Sequence[str]], cores: int) -> list[float]:
    """Runs commands at the same time, each confined to so many cores of its own; seconds of each.

    Raises:
        BenchError: one of them failed, or there are too few cores.
    """
    ours = os.sched_getaffinity(0)
    shares = [sorted(ours)[i * cores : (i + 1) * cores] for i in range(len(commands))]
    if len(commands) * cores > len(ours):
        raise BenchError(f"{len(commands)} runs on {cores} cores each need more than {len(ours)}")
    with ThreadPoolExecutor(len(commands)) as pool:
        running = [
            pool.submit(_confined_wall_s, command, share)
            for command, share in zip(commands, shares, strict=True)
        ]
        return [each.result() for each in running]


def _confined_wall_s(command: Sequence[str], cores: Sequence[int]) -> float:
    # Linux has this for each thread by itself; what a thread starts inherits it.
    os.sched_setaffinity(0, cores)
    return wall_s(command)


def answers(commands: Sequence[Sequence[str]], environment: dict[str, str]) -> list[dict[str, Any]]:
    """Runs commands at the same time; the JSON that each prints.

    Raises:
        BenchError: one of them failed.
    """
    running = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for command in commands
    ]
    replies = []
    for command, process in zip(commands, running, strict=True):
        stdout, stderr = process.communicate()
        if process.returncode:
            raise _failure(command, process.returncode, stderr)
        replies.append(dict(json.loads(stdout)))
    return replies


def usage(command: Sequence[str], memory: bool = False) -> Usage:
    """Runs the command and follows its process tree.

    Two views, of which the larger counts: what the kernel says of the command and of the children
    that were waited for, and the last reading of every process of the tree (also of those in
    sessions of their own, which end without being waited for).

    Raises:
        BenchError: it failed.
    """
    with tempfile.TemporaryFile() as words:
        started = time.perf_counter()
        process = _start(command, words, None)
        tree = _Tree(process.pid)
        while True:
            pid, status, resources = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            tree.read()
            if memory:
                tree.read_memory()
            time.sleep(_SAMPLE_EVERY_S)
        elapsed_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        _check(command, process.returncode, words)
        words.seek(0)
        said = words.read().decode(errors="replace")
    waited_for_s = resources.ru_utime + resources.ru_stime
    return Usage(elapsed_s, max(waited_for_s, tree.cpu_s), tree.peak_bytes, said)


class _Tree:
    """The processes seen below a root, each with the last reading of its CPU seconds."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        # psutil tells processes apart by number and start time, so numbers may be used again.
        self._seen: dict[psutil.Process, float] = {self._root: 0.0}
        self.peak_bytes = 0
        self._memory_read_at = 0.0

    @property
    def cpu_s(self) -> float:
        return sum(self._seen.values())

    def read(self) -> None:
        with suppress(psutil.Error):
            for process in self._root.children(recursive=True):
                self._seen.setdefault(process, 0.0)
        # Those whose parent has ended hang below another process now; they are still ours.
        for process in self._seen:
            with suppress(psutil.Error):
                times = process.cpu_times()
                self._seen[process] = max(self._seen[process], times.user + times.system)

    def read_memory(self) -> None:
        """Every half second: the kernel counts pages for it."""
        now = time.monotonic()
        if now - self._memory_read_at < _MEMORY_EVERY_S:
            return
        self._memory_read_at = now
        total = 0
        for process in self._seen:
            with suppress(psutil.Error):
                total += process.memory_full_info().pss
        self.peak_bytes = max(self.peak_bytes, total)


def _start(
    command: Sequence[str], words: IO[bytes], environment: dict[str, str] | None
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=words,
    )


def _check(command: Sequence[str], code: int, words: IO[bytes]) -> None:
    if code:
        words.seek(0)
        raise _failure(command, code, words.read())


def _failure(command: Sequence[str], code: int, words: bytes) -> BenchError:
    lines = words.decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "no message"
    return BenchError(f"`{' '.join(command)}` failed with code {code}: {last}")
