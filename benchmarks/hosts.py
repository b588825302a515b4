"""Figure 4's three ways to have work done elsewhere: queued mode, Prefect as it comes, Celery."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import psutil
from celery import Celery

from benchmarks.media import ROOT
from benchmarks.processes import BenchError
from deployments.prefect_env import FINAL, NO_REPORTS_HOME
from flows import queue
from tests.local_stack import LocalStack

_POLL_S = 0.02
_GIVE_UP_S = 120.0
_STOCK_POOL = "stock"
_CELERY_DATABASE = 5
"""Number of the Redis database; facetracks and Prefect use 0."""


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Attributes:
        first_frame_s: from the beginning of the submission to the first decoded frame.
        marks_s: what happened on the way, seconds from the same beginning, in order.
    """

    first_frame_s: float
    marks_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Memory:
    """CPU memory of some processes, MiB: resident, and with what they share divided up."""

    rss_mib: float
    pss_mib: float

    @classmethod
    def of(cls, processes: list[psutil.Process]) -> Self:
        found = [process.memory_full_info() for process in processes]
        return cls(
            round(sum(memory.rss for memory in found) / 2**20, 1),
            # Only Linux divides up what is shared.
            round(sum(getattr(memory, "pss", memory.rss) for memory in found) / 2**20, 1),
        )


class Queued:
    """facetracks' queued mode on a stack that is up; its worker is warm."""

    def __init__(self, stack: LocalStack, video: Path) -> None:
        self._stack = stack
        self._video = stack.add_media(video, "clip.mp4")
        self._worker = psutil.Process(stack.pid("worker"))

    def measure(self) -> Sample:
        """Submits a run as `flows.run_detect_track(mode="queued")` does; waits for its end.

        Raises:
            BenchError: the run failed, or it is not in a process group of its own.
        """
        ep_id = f"clip-{time.time_ns()}"
        folder = self._stack.outputs / ep_id
        with patch.dict(os.environ, self._stack.environment, clear=True):
            began = time.time()
            run_id = queue.submit(self._video, ep_id, None, {}, "run", False)["job_id"]
            marks = {"submitted": time.time()}
        with self._stack.api() as api:
            # Only folders are looked at until then: this must not slow the run.
            _wait(lambda: any(folder.glob(".detections*.part")), "the run's first file")
            marks["tables opened"] = time.time()
            marks["episode locked"] = (
                (self._stack.outputs / ".locks" / f"{ep_id}.lock").stat().st_mtime
            )
            time.sleep(0.7)
            marks |= self._processes(run_id)
            _wait(lambda: (api.run(run_id) or {})["state_type"] in FINAL, "the run's end", 0.25)
            states = api.call("GET", f"/flow_run_states/?flow_run_id={run_id}")
        if states[-1]["type"] != "COMPLETED":
            raise BenchError(f"the queued run ended {states[-1]['name']}: {states[-1]['message']}")
        for state in states:
            if state["name"] in ("Pending", "Running"):
                marks[state["name"].lower()] = _clock(state["timestamp"])
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        first_frame = _clock(record["steps"]["detect"]["first_frame_at"])
        marks["first frame"] = first_frame
        shutil.rmtree(folder)
        in_order = sorted(marks.items(), key=lambda mark: mark[1])
        return Sample(first_frame - began, {name: at - began for name, at in in_order})

    def _processes(self, run_id: str) -> dict[str, float]:
        """When the guard, the run's process and the detect step's were started.

        Raises:
            BenchError: the run's process does not lead a process group of its own.
        """
        step = self._stack.step(run_id, "detect")
        guards = [
            child for child in self._worker.children() if "deployments.run_guard" in child.cmdline()
        ]
        processes = self._stack.processes(run_id)
        attempt = next((p for p in processes if p.name() == "ft-attempt"), None)
        if step is None or len(guards) != 1:
            raise BenchError("the run ended before its processes were seen: take a longer clip")
        if attempt is None or step.name() != "ft-detect":
            raise BenchError("the run's processes were not forked by the nursery: no warm worker")
        if os.getpgid(attempt.pid) != attempt.pid or os.getsid(attempt.pid) != attempt.pid:
            raise BenchError("the run's process does not lead a process group of its own")
        started = {"guard started": guards[0], "run forked": attempt, "step started": step}
        return {name: _started_at(process) for name, process in started.items()}

    def at_rest(self) -> dict[str, Memory]:
        """Memory of what stays while there is nothing to do."""
        nursery = [p for p in self._worker.children() if "deployments.nursery" in p.cmdline()]
        return {"worker": Memory.of([self._worker]), "nursery": Memory.of(nursery)}


class Stock:
    """A Prefect process worker with Prefect's defaults, on the same server. A context manager."""

    def __init__(self, stack: LocalStack, video: Path) -> None:
        self._stack = stack
        self._video = video
        self._folder = stack.folder / "stock"
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("FACETRACKS_", "PREFECT"))},
            **NO_REPORTS_HOME,
            "PREFECT_API_URL": stack.state.api_url,
            "PREFECT_HOME": str(self._folder / "prefect"),
        }
        self._worker: subprocess.Popen[bytes] | None = None
        self._deployment = ""

    def __enter__(self) -> Self:
        self._folder.mkdir()
        shutil.copy(ROOT / "benchmarks" / "stock_flow.py", self._folder)
        command = [sys.executable, "-m", "prefect", "worker", "start"]
        command += ["--pool", _STOCK_POOL, "--type", "process"]
        self._worker = _start(command, self._folder, self._environment)
        try:
            with self._stack.api() as api:
                _wait(lambda: bool(api.online_workers(_STOCK_POOL)), "the stock worker", 0.25)
                self._deploy()
                self._deployment = api.call("GET", "/deployments/name/first-frame/stock")["id"]
        except BaseException:
            _stop(self._worker)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker is not None:
            _stop(self._worker)

    def _deploy(self) -> None:
        program = (
            "from prefect import flow\n"
            f"source = flow.from_source({str(self._folder)!r}, 'stock_flow.py:first_frame')\n"
            f"source.deploy('stock', work_pool_name={_STOCK_POOL!r})\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=self._folder, env=self._environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BenchError(f"the stock flow could not be deployed: {done.stderr.strip()[-300:]}")

    def measure(self) -> Sample:
        """Submits a run with one call of the REST API; waits for its end.

        Raises:
            BenchError: the run failed.
        """
        stamp = self._folder / f"stamp-{time.time_ns()}"
        parameters = {"video": str(self._video), "stamp": str(stamp)}
        with self._stack.api() as api:
            began = time.time()
            run_id = api.create_run(self._deployment, parameters=parameters)["id"]
            _wait(lambda: (api.run(run_id) or {})["state_type"] in FINAL, "the stock run", 0.25)
            states = api.call("GET", f"/flow_run_states/?flow_run_id={run_id}")
        if not stamp.exists():
            raise BenchError(f"the stock run ended {states[-1]['name']}: {states[-1]['message']}")
        marks = {
            state["name"].lower(): _clock(state["timestamp"]) - began
            for state in states
            if state["name"] in ("Pending", "Running")
        }
        return Sample(float(stamp.read_text()) - began, marks)

    def at_rest(self) -> Memory:
        """Memory of the worker."""
        assert self._worker is not None
        return Memory.of([psutil.Process(self._worker.pid)])


class CeleryHost:
    """A Celery worker with Celery's defaults (prefork), on the same Redis. A context manager."""

    def __init__(self, stack: LocalStack, video: Path) -> None:
        self._folder = stack.folder
        self._video = video
        state = stack.state
        self._broker = (
            f"redis://:{state.redis_password}@127.0.0.1:{state.redis_port}/{_CELERY_DATABASE}"
        )
        self._app = Celery(broker=self._broker)
        self._worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "celery", "--app", "benchmarks.celery_task", "worker"]
        command += ["--pool", "prefork"]
        self._worker = _start(command, ROOT, {**os.environ, "CELERY_BROKER_URL": self._broker})
        try:
            _wait(lambda: bool(self._app.control.ping(timeout=0.5)), "the Celery worker", 0.25)
        except BaseException:
            _stop(self._worker)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._app.close()
        if self._worker is not None:
            _stop(self._worker)

    def measure(self) -> Sample:
        """Sends a task; waits for the time its process writes."""
        stamp = self._folder / f"stamp-{time.time_ns()}"
        began = time.time()
        self._app.send_task("first_frame", (str(self._video), str(stamp)))
        _wait(lambda: stamp.exists() and bool(stamp.read_text()), "the Celery task")
        return Sample(float(stamp.read_text()) - began)

    def at_rest(self) -> Memory:
        """Memory of the worker and of the processes it has forked ahead."""
        assert self._worker is not None
        worker = psutil.Process(self._worker.pid)
        return Memory.of([worker, *worker.children(recursive=True)])


def _start(
    command: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _stop(worker: subprocess.Popen[bytes]) -> None:
    """Ends a worker and what it has started."""
    with suppress(psutil.Error):
        below = psutil.Process(worker.pid).children(recursive=True)
        worker.terminate()
        with suppress(subprocess.TimeoutExpired):
            worker.wait(timeout=15)
        for process in below:
            with suppress(psutil.Error):
                process.kill()
    worker.kill()
    worker.wait()


def _wait(condition: Callable[[], bool], what: str, every_s: float = _POLL_S) -> None:
    give_up = time.monotonic() + _GIVE_UP_S
    while not condition():
        if time.monotonic() > give_up:
            raise BenchError(f"{what} did not come within {_GIVE_UP_S:g} s")
        time.sleep(every_s)


def _clock(timestamp: str) -> float:
    """Seconds since 1970 of an ISO 8601 time."""
    return datetime.fromisoformat(timestamp).timestamp()


def _started_at(process: psutil.Process) -> float:
    """When a process was started, to 0.01 s.

    psutil's own answer is off by up to a second: the kernel gives its start in whole seconds.
    """
    if not sys.platform.startswith("linux"):
        return process.create_time()
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    ticks = int(stat.rpartition(")")[2].split()[19])
    uptime_s: Any = time.clock_gettime(time.CLOCK_BOOTTIME)
    return float(time.time() - uptime_s + ticks / os.sysconf("SC_CLK_TCK"))
