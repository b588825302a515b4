"""Cancelling a queued run, at every stage: nothing of it goes on, nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.local_stack import LocalStack, free_of
from tests.processes import wait_until

GONE_WITHIN_S = 5.0
CANCELLED_WITHIN_S = 10.0


def _by_api(stack: LocalStack, run_id: str) -> None:
    # As the Prefect UI does it.
    with stack.api() as api:
        api.set_state(run_id, "CANCELLING", "Cancelling", "", force=False)


def _by_command(stack: LocalStack, run_id: str) -> None:
    done = stack.run("cancel", run_id)
    assert done.returncode == 0, done.stderr
    assert "Cancelled" in done.stdout


def _by_prefect(stack: LocalStack, run_id: str) -> None:
    environment = {**stack.environment, "PREFECT_API_URL": stack.state.api_url, "DO_NOT_TRACK": "1"}
    subprocess.run(
        [sys.executable, "-m", "prefect", "flow-run", "cancel", run_id],
        env=environment, check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def _cancel_and_check(
    stack: LocalStack, run_id: str, ep_id: str, cancel: Callable[[LocalStack, str], None] = _by_api
) -> None:
    cancel(stack, run_id)
    called = time.monotonic()
    wait_until(lambda: not stack.processes(run_id), GONE_WITHIN_S, "all processes gone")
    left = CANCELLED_WITHIN_S - (time.monotonic() - called)
    stack.wait_for(run_id, "Cancelled", timeout=left)
    # One that was only about to start has come and gone by then.
    time.sleep(max(0.0, called + GONE_WITHIN_S - time.monotonic()))
    free_of(stack, run_id, ep_id)
    assert stack.state_name(run_id) == "Cancelled"


@pytest.mark.parametrize("stage", ["pending", "importing", "detecting", "tracking", "writing"])
def test_cancel_at(stage: str, stack: LocalStack) -> None:
    ep_id = f"cancel-{stage}"
    run_id = stack.submit("long.mp4", "--ep-id", ep_id)
    stack.wait_for_stage(run_id, stage, ep_id)
    _cancel_and_check(stack, run_id, ep_id)
    assert not (stack.outputs / ep_id / "run.json").exists()
    if stage in ("tracking", "writing"):
        again = stack.submit("long.mp4", "--ep-id", ep_id)
        stack.wait_for(again, "Completed", "Failed", timeout=120)
        assert any("kept" in line for line in stack.logs(again)), "the detections are used again"


@pytest.mark.parametrize("cancel", [_by_command, _by_prefect])
def test_cancel_by(cancel: Callable[[LocalStack, str], None], stack: LocalStack) -> None:
    ep_id = cancel.__name__
    run_id = stack.submit("long.mp4", "--ep-id", ep_id)
    stack.wait_for_stage(run_id, "detecting", ep_id)
    _cancel_and_check(stack, run_id, ep_id, cancel)


def test_cancel_while_a_cold_process_imports_prefect(stack: LocalStack) -> None:
    # Other settings than the nursery's: it declines, and the run starts a process of its own.
    with stack.api() as api:
        run_id = api.create_run(
            api.deployment()["id"],
            parameters={"video": str(stack.media / "long.mp4"), "ep_id": "cold"},
            job_variables={"env": {"PREFECT_LOGGING_LEVEL": "WARNING"}},
        )["id"]
    wait_until(
        lambda: any("deployments.attempt" in p.cmdline() for p in stack.processes(run_id)),
        30, "a cold process",
    )  # fmt: skip
    time.sleep(0.7)
    _cancel_and_check(stack, run_id, "cold")


def test_cancel_what_waits_in_the_queue(stack: LocalStack) -> None:
    first = stack.submit("long.mp4", "--ep-id", "first")
    stack.wait_for_stage(first, "detecting", "first")
    second = stack.submit("long.mp4", "--ep-id", "second")
    time.sleep(1.5)
    assert stack.flow_run(second)["state_type"] == "SCHEDULED", "the worker does one at a time"
    with stack.api() as api:
        api.set_state(second, "CANCELLING", "Cancelling", "", force=False)
    stack.wait_for(second, "Cancelled", timeout=CANCELLED_WITHIN_S)
    assert stack.state_name(first) == "Running"
    _cancel_and_check(stack, first, "first")
    assert not (stack.outputs / "second").exists()


def test_cancel_what_waits_to_be_taken_again(stack: LocalStack) -> None:
    first = stack.submit("long.mp4", "--ep-id", "takes the place")
    stack.wait_for_stage(first, "detecting", "takes the place")
    with stack.api() as api:
        # As one that has crashed: it has had a process, which Prefect expects to see to it.
        run_id = api.create_run(api.deployment()["id"], parameters={"ep_id": "again"})["id"]
        (worker,) = api.online_workers("detect-track")
        api.call("PATCH", f"/flow_runs/{run_id}/labels", {"prefect.worker.name": worker})
        api.call("PATCH", f"/flow_runs/{run_id}", {"infrastructure_pid": "12345"})
        api.set_state(run_id, "CANCELLING", "Cancelling", "", force=False)
    stack.wait_for(run_id, "Cancelled", timeout=CANCELLED_WITHIN_S)
    _cancel_and_check(stack, first, "takes the place")


def test_cancel_ends_processes_that_do_not_listen(stack: LocalStack) -> None:
    run_id = stack.submit("long.mp4", "--ep-id", "deaf")
    stack.wait_for_stage(run_id, "detecting", "deaf")
    step = stack.step(run_id, "detect")
    assert step is not None
    # It heeds neither SIGTERM nor the end of its pipe.
    os.kill(step.pid, signal.SIGSTOP)
    _by_api(stack, run_id)
    wait_until(lambda: not stack.processes(run_id), GONE_WITHIN_S, "all processes gone")
    stack.wait_for(run_id, "Cancelled", timeout=CANCELLED_WITHIN_S)


def test_the_answer_to_a_second_cancel(stack: LocalStack) -> None:
    run_id = stack.submit("long.mp4", "--ep-id", "twice")
    stack.wait_for_stage(run_id, "detecting", "twice")
    _by_command(stack, run_id)
    again = stack.run("cancel", run_id)
    assert again.returncode == 0
    assert "had ended before: cancelled" in again.stdout
    unknown = stack.run("cancel", "no-run")
    assert unknown.returncode == 2
    assert "'no-run' is no run id" in unknown.stderr
