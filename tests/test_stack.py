"""`facetracks stack`: up again, side by side, behind passwords, down."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from pydantic import SecretStr

from deployments.settings import Settings, without_password
from pipeline.errors import OptionError
from tests.local_stack import LocalStack


def _pids(stack: LocalStack) -> dict[str, int]:
    return {name: stack.pid(name) for name in ("redis", "server", "worker")}


def test_up_again_changes_nothing(stack: LocalStack) -> None:
    before, remembered = _pids(stack), (stack.home / "stack.json").read_text()
    again = stack.run("stack", "up")
    assert again.returncode == 0, again.stderr
    assert f"Prefect UI: {stack.state.ui_url}" in again.stdout
    assert again.stderr == "", "nothing was started"
    assert _pids(stack) == before
    assert (stack.home / "stack.json").read_text() == remembered
    other = stack.run("stack", "up", FACETRACKS_MEDIA_ROOTS="/somewhere/else")
    assert "FACETRACKS_MEDIA_ROOTS is another than the running stack's" in other.stderr
    with stack.api() as api:
        automations = api.call("POST", "/automations/filter", {})
        names = [a["name"] for a in automations if a["name"].startswith("facetracks")]
        assert len(names) == len(set(names)) == 3
        queues = api.call("POST", "/work_pools/detect-track/queues/filter", {})
    priorities = {queue["name"]: queue["priority"] for queue in queues}
    assert priorities["interactive"] < priorities["backfill"]


def test_another_redis_is_refused_while_the_stack_runs(stack: LocalStack) -> None:
    remembered = (stack.home / "stack.json").read_text()
    other = stack.run("stack", "up", FACETRACKS_REDIS_URL="redis://127.0.0.1:9")
    assert other.returncode == 2
    says = "the stack that is running has a Redis of its own, and FACETRACKS_REDIS_URL is set"
    assert says in other.stderr
    assert (stack.home / "stack.json").read_text() == remembered
    assert stack.run("stack", "status").returncode == 0


def test_a_worker_without_its_redis_takes_no_work(stack: LocalStack) -> None:
    url = f"redis://:wrong@127.0.0.1:{stack.state.redis_port}/0"
    api = stack.state.api_url
    done = stack.run("worker", PREFECT_API_URL=api, FACETRACKS_REDIS_URL=url)
    assert done.returncode == 5
    assert "refuses the password" in done.stderr and "wrong@" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_status_tells_of_each_part(stack: LocalStack) -> None:
    done = stack.run("stack", "status")
    assert done.returncode == 0
    for part in ("redis", "server", "worker"):
        assert any(line.startswith(part) and "well" in line for line in done.stdout.splitlines())
    told = stack.json("stack", "status")
    assert told["healthy"] and told["ui"] == stack.state.ui_url
    assert stack.state.redis_password not in json.dumps(told)


def test_a_second_stack_with_passwords_and_a_redis_of_its_own(
    stack: LocalStack, sample: Path
) -> None:
    before = _pids(stack)
    # The first one's Redis under another number stands for one that somebody else runs.
    url = f"redis://:{stack.state.redis_password}@127.0.0.1:{stack.state.redis_port}/3"
    auth = "reader:only-for-this-test"
    with LocalStack(FACETRACKS_REDIS_URL=url, PREFECT_SERVER_API_AUTH_STRING=auth) as second:
        second.add_media(sample, "sample.mp4")
        second.up()
        assert second.state.redis_port is None
        assert second.state.server_port != stack.state.server_port
        done = second.run("run", second.media / "sample.mp4", "--mode", "queued")
        assert done.returncode == 0, done.stderr
        refused = second.run(
            "run", second.media / "sample.mp4", "--mode", "queued",
            PREFECT_SERVER_API_AUTH_STRING="",
        )  # fmt: skip
        assert refused.returncode == 5 and "PREFECT_API_AUTH_STRING" in refused.stderr
        logs = "".join(path.read_text() for path in (second.home / "logs").glob("*.log"))
        assert "only-for-this-test" not in logs
        worker = psutil.Process(second.pid("worker")).environ()
        assert "FACETRACKS_DATABASE_URL" not in worker and worker["PREFECT_API_AUTH_STRING"] == auth
        assert stack.run("stack", "status").returncode == 0, "side by side"
        lost = second.run("stack", "status", FACETRACKS_REDIS_URL="")
        assert lost.returncode == 5 and "set FACETRACKS_REDIS_URL as it was then" in lost.stderr
        down = second.run("stack", "down")
        assert down.returncode == 0
        assert "stopping redis" not in down.stderr, "that one is not ours to stop"
        again = second.run("stack", "down")
        assert "nothing was running" in again.stdout
        assert second.run("stack", "status").returncode == 1
        home = str(second.home)
        assert not [p for p in psutil.process_iter() if _home_of(p) == home]
    assert _pids(stack) == before, "the other stack is untouched"


def _home_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("FACETRACKS_STACK")
    except psutil.Error:
        return None


def test_a_redis_that_is_not_there_is_named() -> None:
    with LocalStack(FACETRACKS_REDIS_URL="redis://:hush@127.0.0.1:9/0") as stack:
        done = stack.run("stack", "up", timeout=150)
        assert done.returncode == 5
        says = "Redis at redis://127.0.0.1:9/0 cannot be reached (ConnectionError): start it"
        assert says in done.stderr
        assert "hush" not in done.stderr


def test_nothing_listens_elsewhere_without_a_password() -> None:
    with LocalStack(FACETRACKS_HOST="0.0.0.0") as stack:
        done = stack.run("stack", "up")
        assert done.returncode == 2
        assert "PREFECT_SERVER_API_AUTH_STRING" in done.stderr
        assert not (stack.home / "stack.json").exists()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("REDIS_URL", "http://x", "redis://"),
        ("REDIS_URL", "postgres://u:secret@h", "redis://"),
        ("DATABASE_URL", "mysql://u:secret@h/d", "postgresql+asyncpg"),
        ("WORKER_LIMIT", "0", "greater than or equal to 1"),
        ("CPU_THREADS", "many", "integer"),
    ],
)
def test_a_wrong_setting_is_named(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FACETRACKS_{name}", value)
    with pytest.raises(OptionError) as refused:
        Settings.load()
    assert f"FACETRACKS_{name}" in str(refused.value) and words in str(refused.value)
    assert "secret" not in str(refused.value)


def test_settings_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACETRACKS_MEDIA_ROOTS", f"/a{os.pathsep}{os.pathsep}~/b")
    monkeypatch.setenv("FACETRACKS_REDIS_URL", "redis://u:p@h:1/2")
    settings = Settings.load()
    assert settings.media_roots == (Path("/a"), Path.home() / "b")
    assert settings.redis_url == SecretStr("redis://u:p@h:1/2")
    assert "p@" not in repr(settings)
    assert without_password("redis://u:p@h:1/2") == "redis://h:1/2"


def test_a_server_on_sqlite_refuses_nobody_for_being_busy(stack: LocalStack) -> None:
    with stack.api() as api:
        deployment = api.deployment()["id"]
    made: list[str] = []

    def make(_: int) -> int:
        # Not through `Api`, which would try again.
        reply = httpx.post(
            f"{stack.state.api_url}/deployments/{deployment}/create_flow_run",
            json={
                "parameters": {"video": "/nowhere.mp4"},
                "state": {
                    "type": "SCHEDULED",
                    "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"},
                },
            },
            timeout=60,
            trust_env=False,
        )
        if reply.status_code == 201:
            made.append(reply.json()["id"])
        return reply.status_code

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(make, range(80)))
    with stack.api() as api:
        for run_id in made:
            api.call("DELETE", f"/flow_runs/{run_id}")
    assert codes == [201] * 80
