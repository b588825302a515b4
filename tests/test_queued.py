"""Queued mode as people use it, on a real stack: submit, follow, ask, be refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.api import Api
from flows import follow_run, run_detect_track
from pipeline.errors import ServerError
from tests.local_stack import LocalStack, free_of
from tests.processes import RunningCommand, wait_until

PARQUET = ("frames", "detections", "tracks", "track_summary", "embeddings")


@pytest.fixture
def environment(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process as a caller of the stack."""
    for name in ("HOME", "MEDIA_ROOTS", "OUTPUT_ROOT"):
        monkeypatch.setenv(f"FACETRACKS_{name}", stack.environment[f"FACETRACKS_{name}"])


@pytest.mark.parametrize("tracker", ["bytetrack", "strongsort"])
def test_the_same_bytes_as_direct_mode(tracker: str, stack: LocalStack, tmp_path: Path) -> None:
    options = ("--ep-id", f"same-{tracker}", "--tracker", tracker)
    queued = stack.json("run", stack.media / "sample.mp4", "--mode", "queued", *options)
    direct = stack.json(
        "run", stack.media / "sample.mp4", "--output-root", tmp_path / "direct", *options
    )
    assert queued["status"] == direct["status"] == "completed"
    compared = 0
    for name in PARQUET:
        mine = stack.outputs / f"same-{tracker}" / f"{name}.parquet"
        other = tmp_path / "direct" / f"same-{tracker}" / f"{name}.parquet"
        assert mine.exists() == other.exists()
        if mine.exists():
            assert mine.read_bytes() == other.read_bytes(), name
            compared += 1
    assert compared == (5 if tracker == "strongsort" else 4)
    assert queued["summary"] == direct["summary"]


def test_run_prints_the_id_at_once_and_follows(stack: LocalStack) -> None:
    command = [sys.executable, "-m", "flows.cli", "run", str(stack.media / "sample.mp4")]
    process = subprocess.Popen(
        [*command, "--mode", "queued", "--ep-id", "followed"],
        env=stack.environment, cwd=stack.folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()
    run_id = first.split()[-1]
    assert first == f"queued as run {run_id}\n"
    assert stack.state_name(run_id) in ("Scheduled", "Pending", "Running")
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert rest.startswith("episode followed\n")
    assert "tracks" in rest and "detections.parquet" in rest
    status = stack.json("status", run_id)
    assert status["state"] == "Completed"
    assert Path(status["outputs"]["tracks"]).exists()
    free_of(stack, run_id, "followed")


def test_detach_status_progress_and_leaving(stack: LocalStack) -> None:
    run_id = stack.submit("long.mp4", "--ep-id", "left")
    stack.wait_for_stage(run_id, "detecting", "left")
    wait_until(lambda: "progress" in stack.json("status", run_id), 20, "progress")
    told = stack.json("status", run_id)
    assert told["state"] == "Running"
    assert told["progress"]["step"] == "detect"
    assert 0 < told["progress"]["done"] <= told["progress"]["total"]
    text = stack.run("status", run_id).stdout
    assert "detect:" in text and "fps" in text
    # Somebody who follows, and leaves: the run goes on.
    follower = subprocess.Popen(
        [sys.executable, "-c", f"from flows import follow_run; follow_run({run_id!r})"],
        env=stack.environment, cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(1.5)
    assert follower.poll() is None, follower.communicate()
    follower.terminate()
    follower.communicate(timeout=10)
    assert stack.state_name(run_id) == "Running"
    stack.run("cancel", run_id)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_following_leaves_the_run_going(
    number: signal.Signals, stack: LocalStack
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", str(stack.media / "long.mp4"),
         "--mode", "queued", "--ep-id", number.name],
        env=stack.environment, cwd=stack.folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    run_id = process.stdout.readline().split()[-1]
    stack.wait_for_stage(run_id, "detecting", number.name)
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert f"facetracks cancel {run_id}" in errors and "Traceback" not in errors
    assert stack.state_name(run_id) == "Running"
    stack.run("cancel", run_id)


@pytest.mark.usefixtures("environment")
def test_from_python(stack: LocalStack) -> None:
    video = stack.media / "sample.mp4"
    answer = run_detect_track(video, mode="queued", ep_id="python", stride=2)
    run_id = answer["job_id"]
    assert answer == {
        "job_id": run_id, "status": "scheduled", "ep_id": "python", "operation": "run",
        "execution_mode": "queued",
    }  # fmt: skip
    done = follow_run(run_id)
    assert done["status"] == "completed"
    assert done["summary"]["detections"] > 0
    record = json.loads((stack.outputs / "python" / "run.json").read_text())
    assert record["options"]["stride"] == 2
    again = run_detect_track(None, mode="queued", ep_id="python", operation="track")
    assert follow_run(again["job_id"])["status"] == "completed"
    wrong = run_detect_track(video, mode="queued", stride=0)
    assert wrong["status"] == "error" and wrong["error"]["type"] == "OptionError"


def test_what_the_prefect_ui_shows(stack: LocalStack) -> None:
    run_id = stack.submit("long.mp4", "--ep-id", "shown", "--stride", "6")
    stack.wait_for_stage(run_id, "detecting", "shown")
    percents = set()
    with stack.api() as api:
        while stack.flow_run(run_id)["state_type"] == "RUNNING":
            percents |= {a["data"] for a in api.artifacts(run_id, "progress")}
            time.sleep(0.3)
        assert stack.state_name(run_id) == "Completed"
        (progress,) = api.artifacts(run_id, "progress")
        (table,) = api.artifacts(run_id, "table")
        (report,) = api.artifacts(run_id, "markdown")
    assert progress["data"] == 100.0
    assert any(0 < percent < 100 for percent in percents), "it moved"
    measures = {row["measure"]: row["value"] for row in json.loads(table["data"])}
    assert measures["detections"] > 0 and measures["tracks"] > 0
    assert str(stack.outputs / "shown" / "tracks.parquet") in report["data"]
    run = stack.flow_run(run_id)
    assert run["name"] == "run shown"
    assert {"facetracks", "episode:shown", "bytetrack"} <= set(run["tags"])
    lines = stack.logs(run_id)
    seconds = run["total_run_time"]
    assert len(lines) <= 10 + seconds / 5, "a line every few seconds at most"
    assert any(line.startswith("detect: detections") for line in lines)


def test_every_field_of_the_form_explains_itself(stack: LocalStack) -> None:
    with stack.api() as api:
        schema = api.deployment()["parameter_openapi_schema"]
    fields = {
        **schema["properties"], **schema["definitions"]["Options"]["properties"],
    }  # fmt: skip
    for name, field in fields.items():
        target = schema["definitions"][field["$ref"].split("/")[-1]] if "$ref" in field else field
        assert field.get("title") or target["title"], name
        assert field["description"], name
        if target.get("type") in ("integer", "number"):
            assert "minimum" in target and "maximum" in target and "From " in field["description"]
        if name in ("profile", "tracker", "device", "operation"):
            assert target["enum"] and "default" in field
    assert fields["looks_per_s"]["description"].endswith(
        "Default by profile: low_power 2, balanced 3."
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"options": {"stride": 0}}, {"options": {"stride": "many"}}, {"options": {"strid": 1}},
        {"options": {"tracker": "sort"}}, {"operation": "guess"}, {"force": "perhaps"},
        {"vidio": "x"},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_value_is_refused_before_a_run_exists(
    wrong: dict[str, Any], stack: LocalStack
) -> None:
    with stack.api() as api:
        deployment = api.deployment()["id"]
        before = len(api.call("POST", "/flow_runs/filter", {"limit": 200}))
        with pytest.raises(ServerError, match=r"refused \(4(09|22)\)"):
            api.create_run(deployment, parameters={"video": "/x.mp4", **wrong})
        assert len(api.call("POST", "/flow_runs/filter", {"limit": 200})) == before


def test_the_same_episode_twice_is_refused_naming_the_holder(stack: LocalStack) -> None:
    run_id = stack.submit("long.mp4", "--ep-id", "once")
    # While it waits, and while it runs; whatever the operation; from either mode.
    for stage in ("scheduled or later", "detecting"):
        if stage == "detecting":
            stack.wait_for_stage(run_id, stage, "once")
        for operation in ("run", "detect"):
            again = stack.run(
                operation, stack.media / "long.mp4", "--ep-id", "once", "--mode", "queued"
            )
            assert again.returncode == 3
            assert run_id in again.stderr and f"facetracks cancel {run_id}" in again.stderr
    direct = stack.run("run", stack.media / "long.mp4", "--ep-id", "once")
    assert direct.returncode == 3
    assert f"queued run {run_id}" in direct.stderr and "pid" in direct.stderr
    # From the Prefect UI a second run can be made; it is refused when it starts.
    stack.run("cancel", run_id)


def test_a_run_made_in_the_ui_meets_a_direct_one(stack: LocalStack) -> None:
    direct = RunningCommand(
        "run", stack.media / "long.mp4", "--ep-id", "met", "--output-root", stack.outputs,
        cwd=stack.folder,
    )  # fmt: skip
    try:
        wait_until((stack.outputs / ".locks" / "met.lock").exists, 30, "the direct run's lock")
        with stack.api() as api:
            run_id = api.create_run(
                api.deployment()["id"],
                parameters={"video": str(stack.media / "long.mp4"), "ep_id": "met"},
            )["id"]
        stack.wait_for(run_id, "Failed", timeout=30)
        message = stack.flow_run(run_id)["state"]["message"]
        assert message.startswith("EpisodeBusy: episode 'met' is busy: 'run' on host")
        assert f"pid {direct.process.pid}" in message
        told = stack.json("status", run_id)
        assert told["error"]["type"] == "EpisodeBusy" and told["error"]["exit_code"] == 3
    finally:
        direct.process.terminate()
        direct.process.communicate(timeout=10)


def test_a_lease_in_redis_keeps_out_runs_without_our_file_system(
    stack: LocalStack, tmp_path: Path
) -> None:
    url = stack.redis_url
    # Two mounts of one folder: the same path to Redis, no common file lock.
    with stack.redis() as redis:
        name = f"facetracks:episode:{(tmp_path / 'o').resolve()}:leased"
        holder = {"operation": "run", "run": "", "host": "elsewhere", "pid": 7, "started_at": "x"}
        redis.set(name, json.dumps(holder), ex=60)
        refused = stack.run(
            "run", stack.media / "sample.mp4", "--ep-id", "leased", "--output-root",
            tmp_path / "o", FACETRACKS_REDIS_URL=url,
        )  # fmt: skip
        assert refused.returncode == 3
        assert "'run' on host elsewhere, pid 7" in refused.stderr
        assert not list(tmp_path.rglob("*.lock")), "the file lock is given back"
        redis.delete(name)
        done = stack.run(
            "run", stack.media / "sample.mp4", "--ep-id", "leased", "--output-root",
            tmp_path / "o", FACETRACKS_REDIS_URL=url,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert redis.get(name) is None


def _run_in_ui(stack: LocalStack, **parameters: str) -> str:
    with stack.api() as api:
        run_id = api.create_run(api.deployment()["id"], parameters=parameters)["id"]
    stack.wait_for(run_id, "Failed", "Completed", "Crashed", timeout=30)
    return str(stack.flow_run(run_id)["state"]["message"])


def test_a_run_reads_and_writes_only_under_the_roots(stack: LocalStack, tmp_path: Path) -> None:
    # tests/test_roots.py has more ways to try it; these go all the way through.
    outside = stack.add_media(stack.media / "sample.mp4", "../outside.mp4")
    (stack.media / "link.mp4").symlink_to(outside)
    refused = "is not under a media root"
    assert refused in _run_in_ui(stack, video=f"{stack.media}/../outside.mp4")
    assert refused in _run_in_ui(stack, video=str(stack.media / "link.mp4"))
    # The command says so itself, at once.
    early = stack.run("run", outside, "--mode", "queued")
    assert early.returncode == 2 and refused in early.stderr
    video = str(stack.media / "sample.mp4")
    message = _run_in_ui(stack, video=video, output_root=str(tmp_path), ep_id="where")
    assert "is not under" in message and "FACETRACKS_OUTPUT_ROOT" in message
    assert not list(tmp_path.iterdir())


def test_no_secret_is_told(stack: LocalStack) -> None:
    password = stack.state.redis_password
    run_id = stack.submit("sample.mp4", "--ep-id", "secret")
    stack.wait_for(run_id, "Completed")
    with stack.api() as api:
        artifacts = api.call("POST", "/artifacts/filter", {})
        runs = api.call("POST", "/flow_runs/filter", {"limit": 50})
    texts = [json.dumps(artifacts), json.dumps(runs), *stack.logs(run_id)]
    texts += [path.read_text() for path in stack.outputs.rglob("run.json")]
    texts += [path.read_text() for path in (stack.home / "logs").glob("*.log*")]
    texts += [stack.run("stack", "status", "--json").stdout]
    for process in psutil.process_iter(["cmdline"]):
        texts.append(" ".join(process.info["cmdline"] or ()))
    assert not [text for text in texts if password in text]
    for path in (stack.home, stack.home / "stack.json", stack.home / "redis" / "redis.conf"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_nothing_phones_home(stack: LocalStack) -> None:
    run_id = stack.submit("long.mp4", "--ep-id", "quiet")
    stack.wait_for_stage(run_id, "detecting", "quiet")
    processes = {stack.pid("server"), stack.pid("worker")} | {
        process.pid for process in stack.processes(run_id)
    }
    for pid in processes:
        environment = psutil.Process(pid).environ()
        if "FACETRACKS_STACK" in environment:
            assert environment["DO_NOT_TRACK"] == "1"
            analytics = environment["PREFECT_SERVER_ANALYTICS_ENABLED"].lower()
            assert analytics == "false"
        for connection in psutil.Process(pid).net_connections("inet"):
            assert connection.laddr.ip == "127.0.0.1", "everything listens on loopback"
            if connection.raddr:
                assert connection.raddr.ip == "127.0.0.1", f"{pid} talks to {connection.raddr}"
    stack.run("cancel", run_id)


def test_without_a_server(tmp_path: Path) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FACETRACKS_", "PREFECT_"))
    } | {"FACETRACKS_HOME": str(tmp_path / "home")}
    for arguments, words in (
        (["run", __file__, "--mode", "queued"], "facetracks stack up"),
        (["status", "0" * 32], "facetracks stack up"),
        (["cancel", "0" * 32, "--json"], "facetracks stack up"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            env=environment, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert done.returncode == 5
        assert words in done.stderr and len(done.stderr.splitlines()) == 1
        if "--json" in arguments:
            assert json.loads(done.stdout)["error"]["exit_code"] == 5
    with (
        Api("http://127.0.0.1:9/api") as api,
        pytest.raises(ServerError, match="cannot be reached"),
    ):
        api.run("x")
