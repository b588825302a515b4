"""Figure 5: a backfill of many one-second episodes through one worker.

What an episode costs beyond the work on it, beside the same in processes started anew; whether the
coordinator grows; a second pass, where all is done; and how soon an interactive run gets its turn.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

import psutil

from benchmarks.processes import BenchError
from benchmarks.report import Figure
from deployments.api import Api
from deployments.prefect_env import FINAL
from pipeline.nursery import ADDRESS
from tests.clips import one_second_clips
from tests.local_stack import LocalStack

_COLD = 10
_GIVE_UP_S = 3600.0

Say = Callable[[str], None]


def measure(episodes: int, say: Say) -> list[Figure]:
    """Starts the stack, measures, stops it again.

    Raises:
        BenchError: something does not start, an episode fails, or one is done twice.
    """
    with LocalStack() as stack:
        clips = one_second_clips(stack.media, episodes)
        stack.add_media(clips[0], "interactive.mp4")
        try:
            stack.up()
        except AssertionError as error:
            raise BenchError(f"the local stack did not start: {error}") from None
        time.sleep(8)  # For the nursery to have all imported.
        say("stack is up")
        cold = _cold_seconds(stack, clips[:_COLD])
        say(f"in new processes: {cold:.2f} s an episode")
        first = _Watched(stack, say)
        first.run(interactive=True)
        work = [_work_seconds(stack.outputs / clip.stem) for clip in clips]
        per_episode = first.seconds / episodes
        overhead = per_episode - mean(work)
        say(f"{per_episode:.2f} s an episode, {mean(work):.2f} s of it work: {overhead:.2f} beyond")
        _check_once(stack, episodes)
        second = _Watched(stack, say)
        second.run(interactive=False)
        say(f"second pass: {second.seconds:.1f} s")
    half = len(first.coordinator_mib) // 2
    growth = max(first.coordinator_mib[half:]) / max(first.coordinator_mib[:half])
    detail: dict[str, Any] = {
        "seconds": round(first.seconds, 1),
        "seconds_per_episode": round(per_episode, 3),
        "work_seconds_per_episode": round(mean(work), 3),
        "overhead_seconds_per_episode": round(overhead, 3),
        "seconds_per_episode_in_new_processes": round(cold, 3),
        "coordinator_mib": [first.coordinator_mib[0], first.coordinator_mib[-1]],
    }
    return [
        Figure(
            f"backfill, {episodes} one-second episodes: new processes / forked",
            round(cold / per_episode, 2), at_least=1.5, detail=detail,
        ),
        Figure("coordinator's memory, second half / first", round(growth, 2), at_most=1.1),
        Figure("second pass over all, seconds", round(second.seconds, 1), at_most=5.0),
        Figure(
            "interactive run waits, in times an episode takes",
            round(first.waited_s / per_episode, 2), at_most=1.5,
            detail={"waited_s": round(first.waited_s, 2)},
        ),
    ]  # fmt: skip


def _cold_seconds(stack: LocalStack, clips: list[Path]) -> float:
    """Seconds an episode, where nothing is forked from the nursery; nothing of it is kept."""
    with stack.api() as api:
        deployment = api.deployment()["id"]
        began = time.monotonic()
        ids = [
            api.create_run(
                deployment,
                parameters={"video": str(clip), "output_root": str(stack.outputs / "cold")},
                job_variables={"env": {ADDRESS: ""}},
                work_queue_name="backfill",
            )["id"]
            for clip in clips
        ]
        _wait(api, ids)
        return (time.monotonic() - began) / len(clips)


def _wait(api: Api, ids: list[str]) -> None:
    give_up = time.monotonic() + _GIVE_UP_S
    while True:
        states = [run["state_type"] for run in api.runs(ids)]
        if any(state in FINAL - {"COMPLETED"} for state in states) or time.monotonic() > give_up:
            raise BenchError(f"not all runs were completed: {sorted(set(states))}")
        if all(state == "COMPLETED" for state in states):
            return
        time.sleep(0.1)


class _Watched:
    """`facetracks backfill` over all clips, its coordinator's memory sampled."""

    def __init__(self, stack: LocalStack, say: Say) -> None:
        self._stack = stack
        self._say = say
        self.seconds = 0.0
        self.waited_s = 0.0
        self.coordinator_mib: list[float] = []

    def run(self, interactive: bool) -> None:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "backfill", f"{self._stack.media}/e*.mp4",
             "--json", "--name", "bench"],
            env=self._stack.environment, cwd=self._stack.folder,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        sampler = threading.Thread(target=self._sample, args=(process,), daemon=True)
        sampler.start()
        if interactive:
            time.sleep(20)
            self.waited_s = self._interactive()
            self._say(f"an interactive run began after {self.waited_s:.1f} s")
        out, _ = process.communicate(timeout=_GIVE_UP_S)
        self.seconds = time.monotonic() - began
        sampler.join()
        answer = json.loads(out)
        if answer["status"] != "completed":
            raise BenchError(f"the backfill ended so: {answer['message']}")

    def _sample(self, process: subprocess.Popen[str]) -> None:
        while process.poll() is None:
            for found in psutil.process_iter(["name"]):
                # The attempt that was there first is the coordinator's.
                if found.info["name"] == "ft-attempt" and self._is_coordinator(found):
                    self.coordinator_mib.append(round(found.memory_info().rss / 2**20, 1))
            time.sleep(2)

    def _is_coordinator(self, process: psutil.Process) -> bool:
        try:
            return time.time() - process.create_time() > 15
        except psutil.Error:
            return False

    def _interactive(self) -> float:
        began = time.time()
        run_id = self._stack.submit("interactive.mp4", "--ep-id", "interactive")
        self._stack.wait_for(run_id, "Completed", timeout=60)
        with self._stack.api() as api:
            states = api.call("GET", f"/flow_run_states/?flow_run_id={run_id}")
        from datetime import datetime

        running = next(state for state in states if state["name"] == "Running")
        return datetime.fromisoformat(running["timestamp"]).timestamp() - began


def _work_seconds(folder: Path) -> float:
    """Of the steps of an episode, as its run record has them."""
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return float(sum(step["usage"]["seconds"] for step in record["steps"].values()))


def _check_once(stack: LocalStack, episodes: int) -> None:
    """Raises: BenchError where an episode had not exactly one run."""
    with stack.api() as api:
        runs: list[dict[str, Any]] = []
        body = {"flow_runs": {"tags": {"all_": ["backfill:bench"]}}, "limit": 200}
        while page := api.call("POST", "/flow_runs/filter", {**body, "offset": len(runs)}):
            runs += page
    names = [run["name"] for run in runs if run["name"].startswith("run ")]
    if len(names) != episodes or len(set(names)) != episodes:
        raise BenchError(f"{len(names)} runs of {len(set(names))} episodes; {episodes} expected")
    counts = [run["run_count"] for run in runs if run["name"].startswith("run ")]
    if median(counts) != 1 or max(counts) != 1:
        raise BenchError("an episode was run twice")
