"""A real stack for tests: Redis, Prefect server, worker, on free ports, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
from redis import Redis

from deployments.api import Api
from deployments.stack_state import StackState
from tests.processes import wait_until


class LocalStack:
    """`facetracks stack` with a home, a media root and an output root under one short path."""

    def __init__(self, **environment: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ft-"))
        self.home = self.folder / "home"
        self.media = self.folder / "media"
        self.outputs = self.folder / "out"
        self.media.mkdir()
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FACETRACKS_", "PREFECT_")) or name == "FACETRACKS_MODELS"
        }
        self.environment = {
            **inherited,
            "FACETRACKS_HOME": str(self.home),
            "FACETRACKS_MEDIA_ROOTS": str(self.media),
            "FACETRACKS_OUTPUT_ROOT": str(self.outputs),
            **environment,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.run("stack", "down", timeout=60)
        finally:
            if "FACETRACKS_KEEP" not in os.environ:
                shutil.rmtree(self.folder, ignore_errors=True)

    def add_media(self, path: Path, name: str) -> Path:
        return Path(shutil.copy(path, self.media / name))

    # The command

    def run(
        self, *args: object, timeout: float = 120, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *map(str, args)],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *args: object, timeout: float = 120) -> dict[str, Any]:
        done = self.run(*args, "--json", timeout=timeout)
        assert done.stdout, done.stderr
        return dict(json.loads(done.stdout))

    def up(self) -> None:
        done = self.run("stack", "up", timeout=150)
        logs = "".join(p.read_text()[-2000:] for p in self.home.glob("logs/*.log"))
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{logs}"

    def submit(self, name: str, *args: object) -> str:
        """Queues a run and returns its id."""
        done = self.run("run", self.media / name, "--mode", "queued", "--detach", *args)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    # What the server, Redis and the system say

    @property
    def state(self) -> StackState:
        state = StackState.read(self.home)
        assert state is not None
        return state

    @property
    def redis_url(self) -> str:
        state = self.state
        own = f"redis://:{state.redis_password}@{state.host}:{state.redis_port}/0"
        return self.environment.get("FACETRACKS_REDIS_URL") or own

    def api(self) -> Api:
        return Api(self.state.api_url)

    def redis(self) -> Redis:
        return Redis.from_url(self.redis_url)

    def flow_run(self, run_id: str) -> dict[str, Any]:
        with self.api() as api:
            run = api.run(run_id)
        assert run is not None
        return run

    def state_name(self, run_id: str) -> str:
        return str(self.flow_run(run_id)["state_name"])

    def wait_for(self, run_id: str, *names: str, timeout: float = 60) -> float:
        return wait_until(
            lambda: self.state_name(run_id) in names, timeout,
            f"{names}, is {self.flow_run(run_id)['state']}",
        )  # fmt: skip

    def history(self, run_id: str) -> list[str]:
        """Names of all states a run has had, in order."""
        return [state["name"] for state in self._states(run_id)]

    def messages(self, run_id: str) -> list[str | None]:
        """The messages of them."""
        return [state["message"] for state in self._states(run_id)]

    def _states(self, run_id: str) -> list[dict[str, Any]]:
        with self.api() as api:
            states = api.call("GET", f"/flow_run_states/?flow_run_id={run_id}")
        return sorted(states, key=lambda state: str(state["timestamp"]))

    def logs(self, run_id: str) -> list[str]:
        """The lines of an ended run; its process sends the last ones after it has ended."""
        wait_until(lambda: not self.processes(run_id), 10, "the run's processes gone")
        with self.api() as api:
            body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC"}
            return [entry["message"] for entry in api.call("POST", "/logs/filter", body)]

    def pid(self, part: str) -> int:
        pid = self.json("stack", "status")["parts"][part]["pid"]
        assert isinstance(pid, int), f"{part} is not running"
        return pid

    def processes(self, run_id: str) -> list[psutil.Process]:
        """All of a run: its guard, and what carries its mark, and what the nursery has forked."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                environment = process.environ()
                mine = run_id in (
                    environment.get("FACETRACKS_RUN"), environment.get("PREFECT__FLOW_RUN_ID"),
                )  # fmt: skip
                parent = process.parent()
                forked = (
                    parent is not None
                    and environment.get("FACETRACKS_STACK") == str(self.home)
                    and "deployments.nursery" in parent.cmdline()
                )
                if mine or forked:
                    found.append(process)
        return found

    def step(self, run_id: str, step: str) -> psutil.Process | None:
        """The process of that step of the run, if it is there."""
        for process in self.processes(run_id):
            with suppress(psutil.Error):
                # Forked by the nursery, or started where that would not.
                if process.name() == f"ft-{step}" or {"pipeline.child", step} <= {
                    *process.cmdline()
                }:
                    return process
        return None

    def wait_for_stage(self, run_id: str, stage: str, ep_id: str) -> None:
        """Waits until a run is scheduled, pending, importing, detecting, tracking or writing."""
        folder = self.outputs / ep_id
        if stage in ("scheduled", "pending"):
            wanted = stage.upper()
            wait_until(
                lambda: self.flow_run(run_id)["state_type"] == wanted, 30, f"{run_id} {stage}"
            )
        elif stage == "importing":
            wait_until(lambda: bool(self.processes(run_id)), 30, "the run's first process")
        elif stage == "detecting":
            wait_until(lambda: any(folder.glob(".*.part")), 60, "a file being written")
        elif stage == "tracking":
            wait_until((folder / "detections.parquet").exists, 120, "the detections")
        elif stage == "writing":
            wait_until(lambda: any(folder.glob(".tracks*.part")), 120, "tracks being written")
        else:
            raise AssertionError(stage)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)


def is_attempt(process: psutil.Process) -> bool:
    """Whether it works at a run: forked by the nursery, or cold where that was not ready."""
    return process.name() == "ft-attempt" or "deployments.attempt" in process.cmdline()


def free_of(stack: LocalStack, run_id: str, ep_id: str) -> None:
    """Nothing of an ended run is left: process, half-written file, lock."""
    # A run is Completed a moment before its guard has ended.
    wait_until(lambda: not stack.processes(run_id), 3, "all processes gone")
    assert not list(stack.outputs.rglob("*.part"))
    assert not (stack.outputs / ".locks" / f"{ep_id}.lock").exists()
    with stack.redis() as redis:
        assert not list(redis.scan_iter(f"facetracks:episode:*:{ep_id}"))
