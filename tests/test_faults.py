"""Things that go wrong on a busy night, on a real stack: run with `make test-faults`."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from deployments.supervisor import Control
from tests.local_stack import LocalStack, free_of, is_attempt
from tests.namespace import Namespace
from tests.postgres import Postgres
from tests.processes import RunningCommand, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

CRASHED_WITHIN_S = 120.0
GONE_WITHIN_S = 10.0


def _start(stack: LocalStack, ep_id: str, *options: str) -> str:
    run_id = stack.submit("long.mp4", "--ep-id", ep_id, *options)
    stack.wait_for_stage(run_id, "detecting", ep_id)
    return run_id


def test_a_killed_worker(stack: LocalStack) -> None:
    run_id = _start(stack, "orphan")
    stack.kill(stack.pid("worker"))
    wait_until(lambda: not stack.processes(run_id), GONE_WITHIN_S, "the run's processes gone")
    wait_until(lambda: "Crashed" in stack.history(run_id), CRASHED_WITHIN_S, "Crashed")
    stack.wait_for(run_id, "Completed", timeout=120)
    names = stack.history(run_id)
    assert names.count("Crashed") == 1 and names.count("AwaitingRetry") == 1, names
    free_of(stack, run_id, "orphan")


def test_a_machine_that_is_gone_is_noticed_by_its_missing_heartbeat(stack: LocalStack) -> None:
    run_id = _start(stack, "vanished", "--stride=1")
    victims = [psutil.Process(stack.pid("worker"))]
    victims += [*victims[0].children(recursive=True), *stack.processes(run_id)]
    # All at once: the guard must not live to tell. The worker first, or it would.
    for process in victims:
        with suppress(psutil.Error):
            process.suspend()
    for process in victims:
        with suppress(psutil.Error):
            process.kill()
    wait_until(lambda: not stack.processes(run_id), GONE_WITHIN_S, "the run's processes gone")
    took = wait_until(lambda: "Crashed" in stack.history(run_id), CRASHED_WITHIN_S, "Crashed")
    assert took > 5, "nobody but the automation can have noticed"
    stack.wait_for(run_id, "Completed", timeout=180)
    assert stack.history(run_id).count("AwaitingRetry") == 1
    free_of(stack, run_id, "vanished")


def test_a_run_that_crashes_twice_stays_crashed(stack: LocalStack) -> None:
    run_id = _start(stack, "twice-crashed")
    for _ in range(2):
        (attempt,) = [p for p in stack.processes(run_id) if p.name() == "ft-attempt"]
        stack.kill(attempt.pid)
        crashes = stack.history(run_id).count("Crashed")
        wait_until(
            lambda c=crashes: stack.history(run_id).count("Crashed") > c, 30, "another crash"  # type: ignore[misc]
        )  # fmt: skip
        if crashes == 0:
            stack.wait_for(run_id, "Running", timeout=60)
            wait_until(lambda: stack.step(run_id, "detect") is not None, 30, "the second try")
    time.sleep(8)
    assert stack.state_name(run_id) == "Crashed"
    told = stack.json("status", run_id)
    assert told["status"] == "error" and "killed by SIGKILL" in told["message"]
    # Killed, it could not take its lock's file away; nobody holds that.
    free = stack.run("detect", stack.media / "long.mp4", "--ep-id", "twice-crashed",
                     "--timeout", "1")  # fmt: skip
    assert free.returncode == 4, free.stderr


def test_the_lease_of_a_killed_holder_ends(stack: LocalStack, tmp_path: Path) -> None:
    arguments = ("run", stack.media / "long.mp4", "--ep-id", "leased", "--stride=1")
    holder = RunningCommand(
        *arguments,
        "--output-root",
        tmp_path / "o",
        cwd=tmp_path,
        FACETRACKS_REDIS_URL=stack.redis_url,
    )
    wait_until(lambda: holder.step_is_running("detect"), 30, "the detect process")
    wait_until(lambda: _leases(stack, "leased") == 1, 30, "the lease")
    # The work must not be done before the lease would have ended.
    steps = psutil.Process(holder.process.pid).children(recursive=True)
    for step in steps:
        step.suspend()
    time.sleep(25)
    assert _leases(stack, "leased") == 1, "renewed"
    holder.process.kill()
    for step in steps:
        step.resume()
    holder.process.communicate()
    wait_until(lambda: _leases(stack, "leased") == 0, 30, "the lease of a killed holder gone")


def _leases(stack: LocalStack, ep_id: str) -> int:
    with stack.redis() as redis:
        return len(list(redis.scan_iter(f"facetracks:episode:*:{ep_id}")))


def test_a_run_that_everybody_has_forgotten(stack: LocalStack) -> None:
    # As after a power cut, with the server away: Running, and no process or event to say so.
    ids = {}
    with stack.api() as api:
        for name in ("Running", "Pending", "Cancelling"):
            later = {"scheduled_time": "2099-01-01T00:00:00Z"}
            run = api.create_run(
                api.deployment()["id"], state={"type": "SCHEDULED", "state_details": later},
                parameters={"video": str(stack.media / "sample.mp4"), "ep_id": f"forgotten-{name}"},
            )  # fmt: skip
            (worker,) = api.online_workers("detect-track")
            labels = {"prefect.worker.name": worker}
            api.call("PATCH", f"/flow_runs/{run['id']}/labels", labels)
            api.set_state(run["id"], name.upper(), name, "", force=True)
            ids[name] = run["id"]
    stack.wait_for(ids["Cancelling"], "Cancelled", timeout=10)
    psutil.Process(stack.pid("worker")).terminate()
    for name in ("Running", "Pending"):
        stack.wait_for(ids[name], "Completed", timeout=90)
        assert "Crashed" in stack.history(ids[name])
        assert "Left behind: its worker has started anew." in stack.messages(ids[name])


def test_a_run_that_another_worker_has_taken_is_left_to_it(stack: LocalStack) -> None:
    # As where this machine was cut off for so long that the run was queued again.
    run_id = _start(stack, "taken")
    with stack.api() as api:
        labels = {"prefect.worker.name": "another"}
        api.call("PATCH", f"/flow_runs/{run_id}/labels", labels)
    wait_until(lambda: not stack.processes(run_id), GONE_WITHIN_S, "the run's processes gone")
    time.sleep(2)
    assert stack.state_name(run_id) == "Running", "how it stands is for the other to say"
    assert stack.run("cancel", run_id).returncode == 0
    assert stack.state_name(run_id) == "Cancelled", "the other is not there"


def test_a_run_that_is_queued_again_while_its_worker_still_has_it(stack: LocalStack) -> None:
    # As where Redis was away for minutes, and heartbeats with it.
    run_id = _start(stack, "still-here", "--stride=1")
    worker = stack.pid("worker")
    attempts = [each for each in stack.processes(run_id) if is_attempt(each)]
    with stack.api() as api:
        for _ in range(3):
            message = "Crashed; queued again, once."
            api.set_state(run_id, "SCHEDULED", "AwaitingRetry", message, force=True)
            time.sleep(3)
            assert stack.state_name(run_id) == "Running"
    assert stack.pid("worker") == worker
    assert [each for each in stack.processes(run_id) if is_attempt(each)] == attempts
    stack.wait_for(run_id, "Completed", timeout=180)
    free_of(stack, run_id, "still-here")


def test_a_stopped_worker_hands_its_run_back(stack: LocalStack) -> None:
    run_id = _start(stack, "handed-back")
    worker = psutil.Process(stack.pid("worker"))
    worker.terminate()
    psutil.wait_procs([worker], timeout=20)
    assert not stack.processes(run_id), "the worker has waited for that"
    assert "AwaitingRetry" in stack.history(run_id), "and for what the server was told"
    # supervisord starts the worker again.
    stack.wait_for(run_id, "Completed", timeout=120)
    assert "Crashed" not in stack.history(run_id)


def test_redis_is_gone_for_half_a_minute_and_forgets_all(stack: LocalStack) -> None:
    run_id = _start(stack, "no-redis", "--stride=1")
    stack.kill(stack.pid("redis"))
    wait_until(lambda: stack.json("stack", "status")["parts"]["redis"]["healthy"], 30, "Redis")
    with stack.redis() as redis:
        redis.flushall()
    assert stack.state_name(run_id) == "Running"
    supervisord = Control(stack.home)
    supervisord.stop("redis")
    refused = stack.run("run", stack.media / "sample.mp4", "--mode", "queued", "--ep-id", "n")
    assert refused.returncode == 5, refused.stderr
    assert "Redis at redis://127.0.0.1" in refused.stderr
    assert stack.state.redis_password not in refused.stderr
    time.sleep(30)
    supervisord.start("redis")
    wait_until(lambda: stack.json("stack", "status")["parts"]["redis"]["healthy"], 60, "Redis")
    stack.wait_for(run_id, "Completed", timeout=180)
    assert stack.history(run_id).count("Running") == 1, "it went on and finished"
    free_of(stack, run_id, "no-redis")
    again = stack.run("run", stack.media / "sample.mp4", "--mode", "queued", "--ep-id", "n")
    assert again.returncode == 0, again.stderr
    # The automations, which go by events, work again, too.
    run_id = _start(stack, "after-redis")
    stack.kill(stack.pid("worker"))
    wait_until(lambda: "AwaitingRetry" in stack.history(run_id), 60, "queued again")
    stack.wait_for(run_id, "Completed", timeout=120)


def test_the_prefect_server_restarts(stack: LocalStack) -> None:
    run_id = _start(stack, "no-server", "--stride=1")
    stack.kill(stack.pid("server"))
    refused = stack.run("run", stack.media / "sample.mp4", "--mode", "queued", "--ep-id", "m")
    assert refused.returncode == 5
    assert "facetracks stack up" in refused.stderr
    wait_until(lambda: stack.run("stack", "status").returncode == 0, 90, "the stack is well")
    stack.wait_for(run_id, "Completed", timeout=180)
    assert stack.history(run_id).count("Running") == 1
    free_of(stack, run_id, "no-server")
    again = stack.run("run", stack.media / "sample.mp4", "--mode", "queued", "--ep-id", "m")
    assert again.returncode == 0, again.stderr


def test_a_run_that_ends_while_the_server_is_away(stack: LocalStack) -> None:
    run_id = _start(stack, "ends-alone")
    server = psutil.Process(stack.pid("server"))
    server.suspend()
    record = stack.outputs / "ends-alone" / "run.json"
    wait_until(record.exists, 120, "the result, with no server to tell")
    server.resume()
    stack.wait_for(run_id, "Completed", timeout=120)


def test_two_workers_on_two_hosts_share_twenty_episodes_on_postgres(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = "tester:two-hosts"
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", auth)
    with (
        Postgres() as postgres,
        Namespace() as other,
        LocalStack(
            FACETRACKS_DATABASE_URL=postgres.url,
            FACETRACKS_HOST=other.host,
            PREFECT_SERVER_API_AUTH_STRING=auth,
        ) as stack,
    ):
        for number in range(20):
            stack.add_media(sample, f"e{number:02}.mp4")
        stack.up()
        second = _second_worker(stack, other)
        try:
            ids = [stack.submit(f"e{number:02}.mp4") for number in range(20)]
            for run_id in ids:
                stack.wait_for(run_id, "Completed", "Failed", "Crashed", timeout=300)
            assert {stack.state_name(run_id) for run_id in ids} == {"Completed"}
            for run_id in ids:
                assert stack.history(run_id).count("Running") == 1, "once each"
            assert len(list(stack.outputs.glob("e*/run.json"))) == 20
            workers = {
                line.split("'")[1]
                for run_id in ids
                for line in stack.logs(run_id)
                if line.startswith("Worker '")
            }
            assert len(workers) == 2, "both had a part in it"
        finally:
            second.terminate()
            second.wait(20)
        log = (stack.home / "logs" / "server.log").read_text()
        assert postgres.password not in log


def _second_worker(stack: LocalStack, other: Namespace) -> subprocess.Popen[bytes]:
    """A worker on another host: another network, another name, another home."""
    state = stack.state
    environment = {
        **stack.environment,
        "FACETRACKS_HOME": str(stack.folder / "other"),
        "FACETRACKS_REDIS_URL": stack.redis_url,
        "FACETRACKS_DATABASE_URL": "",
        "PREFECT_HOME": str(stack.folder / "other" / "prefect"),
        "PREFECT_API_URL": state.api_url,
        "FACETRACKS_STACK": str(stack.home),
    }
    log = (stack.folder / "second.log").open("wb")
    worker = subprocess.Popen(
        [*other.prefix, sys.executable, "-m", "flows.cli", "worker", "--name", "second"],
        env=environment, stdout=log, stderr=log,
    )  # fmt: skip
    with stack.api() as api:
        wait_until(lambda: "second" in api.online_workers("detect-track"), 60, "second worker")
    return worker
