"""How much of the machine a run may use, and making that hold.

Three things hold it together: libraries are told their thread counts before they load (the
environment of the child processes), our own threads are as many as asked for, and on Linux the
kernel confines the whole process tree to as many CPUs.
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field
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
"""Names by which BLAS, OpenMP (torch, Arrow), OpenCV and Arrow's reader learn their limit."""
_QUIET = {
    "OPENCV_LOG_LEVEL": "ERROR",
    "OPENCV_FFMPEG_LOGLEVEL": "16",
    "PYTHONUNBUFFERED": "1",
    "DO_NOT_TRACK": "1",
}
"""What the libraries are not to say, or to report."""


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
        nice: of the step's processes, 0 to 19; the caller keeps its own.
        claims: what tells other runs on this machine that these CPUs are taken.
    """

    threads: int
    cpus: frozenset[int]
    nice: int = 0
    claims: tuple[socket.socket, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, threads: int | None, nice: int = 0) -> CpuShare:
        """The share for `--cpu-threads` (None: all this process may use).

        Runs that are confined at the same time get different CPUs as long as there are enough;
        `release` gives them back, and so does this process's end.
        """
        if threads is None:
            return cls(available_cpus(), frozenset(), nice)
        if not hasattr(os, "sched_setaffinity"):
            return cls(threads, frozenset(), nice)
        allowed = sorted(os.sched_getaffinity(0))
        if threads >= len(allowed):
            return cls(threads, frozenset(), nice)
        busy = psutil.cpu_percent(interval=0.1, percpu=True)
        by_load = sorted(allowed, key=lambda cpu: busy[cpu] if cpu < len(busy) else 0.0)
        claims: dict[int, socket.socket] = {}
        for cpu in by_load:
            if len(claims) < threads and (claim := _claim(cpu)) is not None:
                claims[cpu] = claim
        taken_by_others = [cpu for cpu in by_load if cpu not in claims]
        cpus = [*claims, *taken_by_others][:threads]
        return cls(threads, frozenset(cpus), nice, tuple(claims.values()))

    def release(self) -> None:
        """Lets other runs have the CPUs. Safe to call again."""
        for claim in self.claims:
            claim.close()

    def as_arguments(self) -> list[str]:
        """For a child process, which reads them with `from_arguments`."""
        return [str(self.threads), ",".join(map(str, sorted(self.cpus))), str(self.nice)]

    @classmethod
    def from_arguments(cls, threads: str, cpus: str, nice: str) -> CpuShare:
        return cls(int(threads), frozenset(int(cpu) for cpu in cpus.split(",") if cpu), int(nice))

    def confine_this_process(self) -> None:
        """Has the kernel keep this process, and what it starts, on these CPUs."""
        if not self.cpus:
            return
        # The call is about one thread; those that it starts later inherit it.
        for thread in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), self.cpus)

    def step_back(self) -> None:
        """Gives this process the share's niceness, unless it has a higher one.

        To be called before it starts threads, in the process that leads the step's session.
        """
        if not self.nice:
            return
        nice = max(self.nice, os.getpriority(os.PRIO_PROCESS, 0))
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        # Where Linux groups processes by session, niceness counts only within the session unless
        # the group has it, too: sched(7), "The autogroup feature".
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(nice))


def _claim(cpu: int) -> socket.socket | None:
    """Tells other runs on this machine that the CPU is taken; None where it is already.

    A name in Linux's abstract namespace: one holder, no file, and gone with the holder.
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0facetracks-cpu-{cpu}")
    except OSError:
        claim.close()
        return None
    return claim


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
