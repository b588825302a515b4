"""Backfills on workers, on a real stack."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.clips import one_second_clips, undecodable
from tests.local_stack import LocalStack, is_attempt
from tests.processes import wait_until

BACKFILL = "backfill/queued"


@pytest.fixture
def season(stack: LocalStack, request: pytest.FixtureRequest) -> Path:
    """An empty folder under the media root, named as the test is."""
    folder: Path = stack.media / request.node.name.removeprefix("test_")
    folder.mkdir()
    return folder


def _states(answer: dict[str, Any]) -> dict[str, str]:
    return {row["ep_id"]: row["state"] for row in answer["rows"]}


def _runs(stack: LocalStack, name: str) -> list[dict[str, Any]]:
    """The runs of the episodes of all backfills of that name, in the order they were made."""
    with stack.api() as api:
        runs = api.call(
            "POST",
            "/flow_runs/filter",
            {"flow_runs": {"tags": {"all_": [f"backfill:{name}"]}}, "limit": 200},
        )
    runs = [run for run in runs if run["name"].startswith("run ")]
    return sorted(runs, key=lambda run: run["created"])


def _start(stack: LocalStack, season: Path, *options: object) -> str:
    done = stack.run("backfill", season, "--detach", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_season_from_first_to_last(stack: LocalStack, season: Path) -> None:
    one_second_clips(season, 3)
    (season / "e0001.mp4").rename(season / "Straße der Träume 2.mp4")
    (season / "broken.mp4").write_text("no video")
    first = stack.json("backfill", season)
    assert first["status"] == "error" and first["error"]["exit_code"] == 1, first
    assert first["error"]["message"].startswith("1 of 4 episodes was not done: broken: ")
    good = {"e0000", "e0002", "Straße der Träume 2"}
    assert _states(first) == {"broken": "wrong", **dict.fromkeys(good, "completed")}
    assert next(iter(_states(first))) == "broken", "what is wrong comes first"
    assert first["summary"] == {
        "episodes": 4, "wrong": 1, "completed": 3, "video_seconds": pytest.approx(3.0, abs=0.1),
    }  # fmt: skip
    runs = _runs(stack, season.name)
    assert {run["work_queue_name"] for run in runs} == {"backfill"}
    assert Counter(run["name"] for run in runs) == Counter(f"run {ep_id}" for ep_id in good)
    report = stack.outputs / f"backfill-{season.name}.parquet"
    assert first["outputs"] == {"report": str(report)}
    table = {row["ep_id"]: row for row in pq.read_table(report).to_pylist()}
    for ep_id in good:
        assert table[ep_id]["video_seconds"] == pytest.approx(1.0, abs=0.1)
        assert table[ep_id]["times_real_time"] > 0 and table[ep_id]["tracks"] == 1
        assert table[ep_id]["run"].startswith(stack.state.ui_url + "/runs/flow-run/")
    assert "not a video" in table["broken"]["error"]

    # A second pass finds all done, and queues nothing.
    (season / "broken.mp4").unlink()
    second = stack.run("backfill", season)
    assert second.returncode == 0, second.stderr
    assert "3 episodes: 3 done before" in second.stdout
    assert "/runs/flow-run/" not in second.stdout, "nothing was run"
    assert "Straße der Träume 2" in second.stdout
    assert len(_runs(stack, season.name)) == 3

    # A changed file, and other options, are other work.
    shutil.copy(one_second_clips(season.parent / "other", 1, first=40)[0], season / "e0000.mp4")
    third = stack.json("backfill", season)
    assert third["summary"]["completed"] == 1 and third["summary"]["done_before"] == 2
    fourth = stack.json("backfill", season, "--stride", "1")
    assert fourth["summary"]["completed"] == 3, fourth["summary"]
    assert len(_runs(stack, season.name)) == 7
    # Outputs that were removed are made again, though their run was completed.
    shutil.rmtree(stack.outputs / "e0002")
    fifth = stack.json("backfill", season, "--stride", "1")
    assert fifth["summary"]["completed"] == 1 and fifth["summary"]["done_before"] == 2
    # What the page shows.
    with stack.api() as api:
        (artifact,) = api.artifacts(first["job_id"], "table")
        progress = api.artifacts(first["job_id"], "progress")
    assert len(json.loads(artifact["data"])) == 4
    assert progress[0]["data"] == 100.0
    logs = stack.logs(first["job_id"])
    assert any("4 episodes: 3 to do, 0 done before, 1 wrong" in line for line in logs), logs


def test_what_failed_is_left_until_it_is_asked_for(stack: LocalStack, season: Path) -> None:
    clips = one_second_clips(season, 2, first=10)
    undecodable(clips[0], season / "undecodable.mp4")
    first = stack.json("backfill", season)
    assert _states(first)["undecodable"] == "failed", first
    assert "no frame" in first["error"]["message"]
    again = stack.json("backfill", season)
    assert again["error"]["exit_code"] == 1
    assert "--retry-failed tries it again" in again["rows"][0]["error"]
    assert len(_runs(stack, season.name)) == 3
    retried = stack.json("backfill", season, "--retry-failed")
    assert "--retry-failed" not in retried["rows"][0]["error"]
    assert len(_runs(stack, season.name)) == 4
    assert retried["summary"]["done_before"] == 2


def test_a_list_with_options_and_faults(stack: LocalStack, season: Path) -> None:
    one_second_clips(season / "clips", 2, first=20)
    manifest = season / "list.csv"
    manifest.write_text(
        "video,ep_id,stride\nclips/e0020.mp4,one,1\nclips/e0021.mp4,two,\nclips/gone.mp4,,\n"
    )
    answer = stack.json("backfill", manifest, "--stride", "5", "--name", "listed")
    assert _states(answer) == {"gone": "wrong", "one": "completed", "two": "completed"}
    assert "line 4, gone" in answer["error"]["message"]
    used = {
        ep_id: json.loads((stack.outputs / ep_id / "run.json").read_text())["options"]["stride"]
        for ep_id in ("one", "two")
    }
    assert used == {"one": 1, "two": 5}

    # Faults of the list refuse it whole: by the command before there is a run, and in the run.
    manifest.write_text("video,ep_id\nclips/e0020.mp4,same\nclips/e0021.mp4,same\n")
    refused = stack.run("backfill", manifest)
    assert refused.returncode == 2 and "line 3" in refused.stderr, refused.stderr
    with stack.api() as api:
        deployment = api.deployment(BACKFILL)["id"]
        run_id = api.create_run(deployment, parameters={"source": str(manifest)})["id"]
    stack.wait_for(run_id, "Failed", timeout=60)
    told = stack.json("status", run_id)
    assert told["error"]["type"] == "ListError" and told["error"]["exit_code"] == 2, told
    assert "line 3" in told["message"]


def test_only_what_lies_under_the_roots(stack: LocalStack, season: Path, tmp_path: Path) -> None:
    (outside,) = one_second_clips(tmp_path, 1, first=30)
    one_second_clips(season, 1, first=31)
    refused = stack.run("backfill", tmp_path)
    assert refused.returncode == 2 and "media root" in refused.stderr, refused.stderr
    (season / "linked.mp4").symlink_to(outside)
    (season / "list.txt").write_text(f"e0031.mp4\n{outside}\n../../../etc/passwd\n")
    for source, wrong in ((season, {"linked"}), (season / "list.txt", {"e0030", "passwd"})):
        answer = stack.json("backfill", source, "--name", "roots")
        assert {ep_id for ep_id, state in _states(answer).items() if state == "wrong"} == wrong
        assert all("not under a media root" in r["error"] for r in answer["rows"] if r["error"])
    with stack.api() as api:
        deployment = api.deployment(BACKFILL)["id"]
        for parameters in (
            {"source": str(tmp_path)},
            {"source": f"{stack.media}/../../etc/passwd"},
            {"source": str(season), "output_root": str(tmp_path)},
            {"source": str(season), "name": "../../x"},
        ):
            run_id = api.create_run(deployment, parameters=parameters)["id"]
            stack.wait_for(run_id, "Failed", timeout=60)
            assert "OptionError" in stack.flow_run(run_id)["state"]["message"]
    assert {path.name for path in tmp_path.iterdir()} == {"e0030.mp4"}


def test_a_killed_coordinator_loses_nothing(stack: LocalStack, season: Path) -> None:
    one_second_clips(season, 6, first=40)
    run_id = _start(stack, season, "--at-a-time", "3")
    wait_until(lambda: len(_runs(stack, season.name)) >= 3, 30, "episodes queued")
    coordinator = min(
        (p for p in stack.processes(run_id) if is_attempt(p)),
        key=lambda process: process.create_time(),
    )
    coordinator.kill()
    # Queued again by the automation, it goes on.
    stack.wait_for(run_id, "Completed", timeout=120)
    history = stack.history(run_id)
    assert "Crashed" in history and "AwaitingRetry" in history, history
    runs = _runs(stack, season.name)
    assert Counter(run["name"] for run in runs) == {f"run e{n:04}": 1 for n in range(40, 46)}
    assert all(run["run_count"] == 1 for run in runs)


def test_cancelling_it_cancels_its_episodes(stack: LocalStack, season: Path) -> None:
    one_second_clips(season, 2, first=50)
    shutil.copy(stack.media / "long.mp4", season / "a long one.mp4")
    run_id = _start(stack, season, "--stride", "1")
    wait_until(lambda: len(_runs(stack, season.name)) == 3, 30, "episodes queued")
    stack.wait_for_stage(_runs(stack, season.name)[0]["id"], "detecting", "a long one")
    assert stack.run("cancel", run_id).returncode == 0
    stack.wait_for(run_id, "Cancelled", timeout=10)
    for run in _runs(stack, season.name):
        stack.wait_for(run["id"], "Cancelled", timeout=10)
    wait_until(lambda: not stack.processes(run_id), 5, "all processes gone")
    assert not list(stack.outputs.rglob("*.part"))
    # Cancelled episodes are not failed ones: they run when the list does.
    (season / "a long one.mp4").unlink()
    assert stack.json("backfill", season, "--stride", "1")["summary"]["completed"] == 2


def test_a_run_that_is_deleted_is_not_waited_for(stack: LocalStack, season: Path) -> None:
    one_second_clips(season, 1, first=55)
    shutil.copy(stack.media / "long.mp4", season / "a long one.mp4")
    run_id = _start(stack, season, "--stride", "1")
    wait_until(lambda: len(_runs(stack, season.name)) == 2, 30, "episodes queued")
    first = _runs(stack, season.name)[0]["id"]
    stack.wait_for_stage(first, "detecting", "a long one")
    with stack.api() as api:
        api.call("DELETE", f"/flow_runs/{first}")
    stack.wait_for(run_id, "Failed", timeout=60)
    answer = stack.json("status", run_id)
    assert _states(answer) == {"a long one": "cancelled", "e0055": "completed"}
    assert answer["rows"][0]["error"] == "its run was deleted"
    wait_until(lambda: not stack.processes(first), 10, "all processes gone")


def test_an_interactive_run_overtakes(stack: LocalStack, season: Path) -> None:
    one_second_clips(season, 6, first=60)
    run_id = _start(stack, season)
    wait_until(lambda: len(_runs(stack, season.name)) == 6, 30, "all episodes queued")
    mine = stack.submit("sample.mp4", "--ep-id", "overtakes")
    stack.wait_for(run_id, "Completed", timeout=120)
    stack.wait_for(mine, "Completed", timeout=10)
    began = stack.flow_run(mine)["start_time"]
    later = [run for run in _runs(stack, season.name) if run["start_time"] > began]
    assert len(later) >= 3, "it did not wait for those that were queued before it"


def test_prefect_starts_it_too_and_keeps_its_schedule(stack: LocalStack, season: Path) -> None:
    one_second_clips(season, 1, first=70)
    prefect = [sys.executable, "-m", "prefect"]
    environment = {**stack.environment, "PREFECT_API_URL": stack.state.api_url, "DO_NOT_TRACK": "1"}
    started = subprocess.run(
        [*prefect, "deployment", "run", BACKFILL, "--param", f"source={season}", "--watch"],
        env=environment, cwd=stack.folder, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert started.returncode == 0, started.stdout + started.stderr
    assert (stack.outputs / "e0070" / "tracks.parquet").exists()

    def schedule() -> dict[str, Any]:
        with stack.api() as api:
            (only,) = api.deployment(BACKFILL)["schedules"]
        return dict(only)

    nightly = schedule()
    assert nightly["active"] is False and nightly["slug"] == "nightly"
    assert nightly["schedule"]["cron"] == "0 2 * * *" and "/" in nightly["schedule"]["timezone"]
    with stack.api() as api:
        deployment = api.deployment(BACKFILL)["id"]
        path = f"/deployments/{deployment}/schedules/{nightly['id']}"
        api.call("PATCH", path, {"active": True})
        # As a later version of facetracks does when it is started for the first time.
        subprocess.run(
            [sys.executable, "-m", "deployments.register"],
            env=environment, check=True, capture_output=True, timeout=90,
        )  # fmt: skip
        assert schedule()["active"] is True, "switched on, it stays on"
        api.call("PATCH", f"/deployments/{deployment}/schedules/{schedule()['id']}",
                 {"active": False})  # fmt: skip


def test_ten_thousand_rows_are_looked_at_in_a_moment(stack: LocalStack, season: Path) -> None:
    (clip,) = one_second_clips(season, 1, first=80)
    rows = [f"{clip.name},done"] + [f"gone{number}.mp4," for number in range(9_999)]
    (season / "list.csv").write_text("\n".join(["video,ep_id", *rows]))
    began = time.monotonic()
    answer = stack.json("backfill", season / "list.csv", "--dry-run")
    assert answer["summary"] == {
        "episodes": 10_000, "wrong": 9_999, "to_do": 1, "video_seconds": 0.0,
    }  # fmt: skip
    assert answer["rows"][0]["where"] == "line 3"
    assert time.monotonic() - began < 60, "not minutes"
