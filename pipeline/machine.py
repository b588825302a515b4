"""How much of the machine a run may use, and making that hold.

Three things hold it together: libraries are told their thread counts before they load (the
environment of the child processes), our own threads are as many as asked for, and on Linux the
kernel confines the whole process tree to as many CPUs.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_SINGLE_THREADED = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
    "ARROW_IO_THREADS",
)
_QUIET = {
    "OPENCV_LOG_LEVEL": "ERROR",
    "OPENCV_FFMPEG_LOGLEVEL": "16",
    "PYTHONUNBUFFERED": "1",
    "DO_NOT_TRACK": "1",
}
"""Names by which BLAS, OpenMP (torch, Arrow), OpenCV and Arrow's reader learn their limit."""


def available_cpus() -> int:
    """CPUs this process may really use: affinity and cgroup quota count, not the machine's."""
    from loky.backend.context import cpu_count

    return max(1, int(cpu_count()))


@dataclass(frozen=True)
class CpuShare:
    """The part of the machine a run gets.

    Attributes:
        threads: CPUs' worth of work, at most.
        cpus: the CPUs the kernel confines the run to; empty where it is not confined.
    """

    threads: int
    cpus: frozenset[int]

    @classmethod
    def of(cls, threads: int | None) -> CpuShare:
        """The share for `--cpu-threads` (None: all this process may use)."""
        if threads is None:
            return cls(available_cpus(), frozenset())
        if not hasattr(os, "sched_setaffinity"):
            return cls(threads, frozenset())
        allowed = sorted(os.sched_getaffinity(0))
        if threads >= len(allowed):
            return cls(threads, frozenset())
        busy = psutil.cpu_percent(interval=0.1, percpu=True)
        by_load = sorted(allowed, key=lambda cpu: busy[cpu] if cpu < len(busy) else 0.0)
        return cls(threads, frozenset(by_load[:threads]))

    def as_arguments(self) -> list[str]:
        """For a child process, which reads them with `from_arguments`."""
        return [str(self.threads), ",".join(map(str, sorted(self.cpus)))]

    @classmethod
    def from_arguments(cls, threads: str, cpus: str) -> CpuShare:
        return cls(int(threads), frozenset(int(cpu) for cpu in cpus.split(",") if cpu))

    def confine_this_process(self) -> None:
        """Has the kernel keep this process, and what it starts, on these CPUs."""
        if self.cpus:
            os.sched_setaffinity(0, self.cpus)


def single_threaded() -> dict[str, str]:
    """Variables that hold libraries to one thread, to be set before any is loaded."""
    return dict.fromkeys(_SINGLE_THREADED, "1")


def library_environment() -> dict[str, str]:
    """The environment of a process that is to load the steps' libraries."""
    path = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    return {**os.environ, **single_threaded(), **_QUIET, "PYTHONPATH": path}


def limit_loaded_libraries() -> None:
    """Holds libraries that ignore the environment to one thread each; call before using them."""
    import cv2
    import pyarrow

    cv2.setNumThreads(1)
    pyarrow.set_cpu_count(1)
    pyarrow.set_io_thread_count(1)


def processes_with(variable: str, value: str) -> list[psutil.Process]:
    """Living processes, other than this one, that were started with the variable at that value.

    Whatever group, session or parent they have. Forked without an exec, a process shows the
    environment of the one it was forked from.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if (
                process.pid != os.getpid()
                and process.environ().get(variable) == value
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
    return found


def cpu_seconds() -> float:
    """User and system time of this process."""
    times = psutil.Process().cpu_times()
    return times.user + times.system


def tree_cpu_seconds() -> float:
    """The same with its descendants, living or waited for."""
    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def peak_memory_bytes() -> int:
    """Largest resident size of this process, or of its largest finished child."""
    largest = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return int(largest if sys.platform == "darwin" else largest * 1024)
