"""A backfill in direct mode, and what it would do: the command on real clips of a second."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.backfill_report import FAILED_BEFORE, schema
from pipeline.episode import EpisodeFolder
from pipeline.lock import EpisodeLock, Holder
from tests.backfills import (
    NAMES,
    Done,
    backfill,
    command,
    episodes,
    nothing_half_done,
    rows,
    states,
    tables,
    tree,
    with_clips,
    without_settings,
)  # fmt: skip
from tests.clips import undecodable
from tests.processes import RunningCommand, wait_until
from tests.test_direct import WATCH_PROCESS


@pytest.fixture(scope="module", autouse=True)
def direct_by_default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No settings but the tests' own."""
    with without_settings(tmp_path_factory.mktemp("home")):
        yield


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder with three clips in `clips`."""
    return with_clips(tmp_path)


@pytest.fixture(scope="module")
def first_pass(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A folder in which a backfill has done such clips, and how it went; watched all along."""
    folder = with_clips(tmp_path_factory.mktemp("first"))
    (folder / "hooks").mkdir()
    (folder / "hooks" / "sitecustomize.py").write_text(WATCH_PROCESS)
    paths = f"{folder / 'hooks'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    run = RunningCommand(
        "backfill", "clips", cwd=folder, PYTHONPATH=paths, CI="", DO_NOT_TRACK="",
        WATCH_LOG=str(folder / "log"), TMPDIR=str(folder), PREFECT_HOME=str(folder / "prefect"),
    )  # fmt: skip
    stdout, stderr = run.process.communicate(timeout=120)
    assert run.process.returncode == 0, stderr
    assert not run.alive()
    return folder, Done([], 0, stdout, stderr)


@pytest.fixture
def done(first_pass: tuple[Path, Done], tmp_path: Path) -> Path:
    """A folder with the clips and their outputs."""
    for name in ("clips", "output"):
        shutil.copytree(first_pass[0] / name, tmp_path / name)
    return tmp_path


def test_all_episodes_of_a_folder_are_done(first_pass: tuple[Path, Done]) -> None:
    folder, done = first_pass
    table = pq.read_table(folder / "output" / "backfill-clips.parquet")
    assert table.schema.equals(schema())
    for row, name in zip(table.to_pylist(), NAMES, strict=True):
        assert (row["ep_id"], row["state"], row["error"]) == (name, "completed", "")
        assert row["video"] == str(folder / "clips" / f"{name}.mp4")
        assert (row["video_seconds"], row["tracks"], row["run"]) == (1.0, 1, None)
        assert row["times_real_time"] > 0
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == NAMES
    assert lines[4] == "3 episodes: 3 completed; 0.1 min of video done"
    assert lines[5] == f"table     {folder}/output/backfill-clips.parquet"
    said = done.stderr.splitlines()
    for number, (line, name) in enumerate(zip(said, NAMES, strict=True), 1):
        assert f" INFO {name}: completed, 1.0 s of video" in line
        assert f"; {number} of 3 episodes, {number}.0 of 3.0 s of video" in line
    assert re.search(r", \d+ s left$", said[1])
    nothing_half_done(folder)


def test_it_needs_no_network_and_no_database(first_pass: tuple[Path, Done]) -> None:
    folder, _ = first_pass
    assert "nursery" in (folder / "log.processes").read_text(), "the hook has to be in it, too"
    assert not (folder / "log").exists(), (folder / "log").read_text()
    assert not list(folder.rglob("*.db"))


def test_an_episode_comes_out_as_by_itself(first_pass: tuple[Path, Done], tmp_path: Path) -> None:
    folder, _ = first_pass
    alone = command(tmp_path, "run", folder / "clips" / "é ü 1.mp4")
    assert alone.returncode == 0, alone.stderr
    made = tables(tmp_path)
    assert len(made) == 4
    assert made == {name: data for name, data in tables(folder).items() if name in made}


def test_a_second_pass_finds_all_done(done: Path) -> None:
    before = episodes(done)
    answer = backfill(done, "clips")
    assert answer["summary"] == {"episodes": 3, "done_before": 3, "video_seconds": 3.0}
    assert (answer["status"], answer["execution_mode"]) == ("completed", "direct")
    assert set(states(done).values()) == {"done before"}
    assert episodes(done) == before


def test_what_has_changed_is_done_again_and_nothing_else(done: Path) -> None:
    shutil.copy(done / "clips" / "a.mp4", done / "clips" / "b.mp4")
    rows = ("video,stride", "clips/a.mp4,", "clips/b.mp4,", "clips/é ü 1.mp4,2")
    (done / "clips.csv").write_text("\n".join(rows))
    before = episodes(done)
    backfill(done, "clips.csv", "--looks-per-s", "3")  # as all were done; a row's wins over it
    assert states(done) == {"b": "completed", "é ü 1": "completed", "a": "done before"}
    after = episodes(done)
    assert {Path(name).parts[0] for name in before if before[name] == after[name]} == {"a"}
    for name, pace in (("b", (3, None)), ("é ü 1", (None, 2))):
        record = json.loads((done / "output" / name / "run.json").read_text())
        assert (record["options"]["looks_per_s"], record["options"]["stride"]) == pace


def test_a_dry_run_says_what_would_be_done_and_does_nothing(done: Path) -> None:
    shutil.copy(done / "clips" / "a.mp4", done / "clips" / "b.mp4")
    (done / "clips.csv").write_text("video\nclips/a.mp4\nclips/b.mp4\nnosuch.mp4\n")
    before = tree(done)
    answer = backfill(done, "clips.csv", "--dry-run", code=1)
    assert answer["status"] == "dry run"
    states = [(row["ep_id"], row["state"], row["where"]) for row in answer["rows"]]
    assert states == [
        ("nosuch", "wrong", "line 4"), ("b", "to do", "line 3"), ("a", "done before", "line 2"),
    ]  # fmt: skip
    text = command(done, "backfill", "clips", "--dry-run")
    assert text.returncode == 0
    shown = [line.split()[:4] for line in text.stdout.splitlines()]
    assert shown[1] == ["b", "to", "do", "1.0"] and shown[2][:3] == ["a", "done", "before"]
    assert text.stdout.endswith("; nothing was started\n")
    answer = backfill(done, "clips", "--dry-run", "--stride", "2", "--output-root", "other")
    assert answer["summary"] == {"episodes": 3, "to_do": 3, "video_seconds": 0.0}
    assert tree(done) == before


# What goes wrong


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["twice.txt"], "line 2: ep_id 'a' is also that of line 1"),
        (["column.csv"], "unknown column 'strid' (did you mean 'stride'?)"),
        (["clips/a.mp4", "clips/b.mp4"], "quote a pattern"),
        (["nowhere"], "No such file"),
        (["clips", "--at-a-time", "0"], "--at-a-time"),
        (["clips", "--detach"], "--detach is for queued mode"),
        (["clips", "--mode", "queued", "--timeout", "9"], "--timeout is for direct mode"),
        (["clips", "--timeout", "0"], "timeout is 0: give a number of seconds above 0"),
        (["clips", "--stride", "0"], "stride"),
        (["clips", "--name", "a/b"], "'a/b'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_fault_of_list_or_usage_is_refused_before_anything_is_made(
    args: list[str], says: str, fresh: Path
) -> None:
    (fresh / "twice.txt").write_text("clips/a.mp4\nother/a.mp4\n")
    (fresh / "column.csv").write_text("video,strid\nclips/a.mp4,2\n")
    before = tree(fresh)
    answer = backfill(fresh, *args, code=2)
    assert says in answer["error"]["message"]
    assert (answer["operation"], answer["error"]["exit_code"]) == ("backfill", 2)
    assert answer["execution_mode"] == ("queued" if "queued" in args else "direct")
    assert tree(fresh) == before


def test_what_is_wrong_with_some_leaves_the_others_alone(fresh: Path) -> None:
    clip = fresh / "clips" / "a.mp4"
    undecodable(clip, fresh / "broken.mp4")
    (fresh / "text.mp4").write_text("This is no video.\n" * 100)
    for name in ("away.mp4", "busy.mp4"):
        shutil.copy(clip, fresh / name)
    a, *others = [f"clips/{name}.mp4" for name in NAMES]
    lines = ["video", a, "nosuch.mp4", "text.mp4", "broken.mp4", "away.mp4", "busy.mp4", *others]
    (fresh / "clips.csv").write_text("\n".join(lines))
    lock = EpisodeLock(EpisodeFolder(fresh / "output", "busy"), Holder("run"))
    lock.acquire()
    run = RunningCommand("backfill", "clips.csv", cwd=fresh)
    wait_until(lambda: len(run.alive()) > 1, 20, "the nursery, after all headers were read")
    (fresh / "away.mp4").unlink()
    stdout, stderr = run.process.communicate(timeout=60)
    assert run.process.returncode == 1, stderr
    assert "Traceback" not in stderr
    first, second, *_, last = stderr.splitlines()
    assert "line 3, nosuch: " in first and "does not exist: check the path" in first
    assert "line 4, text: " in second and "is not a video" in second
    assert last.startswith("facetracks: 5 of 8 episodes were not done: line 3, nosuch: ")
    assert last.endswith(f"; and 2 more; see {fresh}/output/backfill-clips.parquet")
    order = ["nosuch", "text", "broken", "away", "busy", *NAMES]
    assert [line.split("  ")[0] for line in stdout.splitlines()[1:9]] == order
    wanted = ["wrong"] * 2 + ["failed"] * 3 + ["completed"] * 3
    assert states(fresh) == dict(zip(order, wanted, strict=True))
    errors = {ep_id: row["error"] for ep_id, row in rows(fresh).items()}
    assert "no frame that can be decoded" in errors["broken"]
    assert "does not exist" in errors["away"]
    assert f"'busy' is busy: 'run' on host {os.uname().nodename}, pid" in errors["busy"]

    # The next pass takes up what was not the video's fault, and leaves the rest.
    before = episodes(fresh)
    answer = backfill(fresh, "clips.csv", code=1)
    assert answer["error"]["type"] == "EpisodesFailed"
    counts = {"episodes": 8, "wrong": 3, "failed": 2, "done_before": 3}
    assert answer["summary"] == {**counts, "video_seconds": 3.0}
    assert rows(fresh)["broken"]["error"] == errors["broken"] + FAILED_BEFORE
    assert rows(fresh)["busy"]["error"] == errors["busy"], "it was tried"

    lock.release()
    shutil.copy(clip, fresh / "away.mp4")
    answer = backfill(fresh, "clips.csv", "--retry-failed", code=1)
    counts = {"episodes": 8, "wrong": 2, "failed": 1, "completed": 2, "done_before": 3}
    assert answer["summary"] == {**counts, "video_seconds": 5.0}
    assert rows(fresh)["broken"]["error"] == errors["broken"], "it was tried"
    assert before.items() <= episodes(fresh).items()
    nothing_half_done(fresh)
    left = backfill(fresh, "clips.csv", "--dry-run", code=1)["summary"]
    assert left == {"episodes": 8, "wrong": 2, "failed": 1, "done_before": 5, "video_seconds": 5.0}
    shutil.copy(clip, fresh / "broken.mp4")
    answer = backfill(fresh, "clips.csv", "--dry-run", code=1)
    assert answer["summary"]["to_do"] == 1, "it is another video now"


BROKEN_DISK = '''
"""Reading the file `a.mp4` to its end fails, as on a disk that breaks."""
import errno, hashlib

_digest = hashlib.file_digest

def _fail(file, name):
    if file.name.endswith("a.mp4"):
        raise OSError(errno.EIO, "Input/output error")
    return _digest(file, name)

hashlib.file_digest = _fail
'''


def test_a_disk_that_breaks_under_one_leaves_the_others_alone(fresh: Path) -> None:
    (fresh / "hooks").mkdir()
    (fresh / "hooks" / "sitecustomize.py").write_text(BROKEN_DISK)
    paths = f"{fresh / 'hooks'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    run = RunningCommand("backfill", "clips", cwd=fresh, PYTHONPATH=paths)
    _, stderr = run.process.communicate(timeout=60)
    assert run.process.returncode == 1, stderr
    assert "Traceback" not in stderr
    found = rows(fresh)
    assert [found[name]["state"] for name in NAMES] == ["failed", "completed", "completed"]
    says = "cannot be read to its end (Input/output error): check the disk it is on"
    assert says in found["a"]["error"]
    answer = backfill(fresh, "clips")
    assert answer["summary"]["completed"] == 1, "the disk is well again, and it is tried"


def test_two_at_once_do_all_and_damage_nothing(first_pass: tuple[Path, Done], fresh: Path) -> None:
    runs = [RunningCommand("backfill", "clips", cwd=fresh) for _ in range(2)]
    for run in runs:
        _, stderr = run.process.communicate(timeout=120)
        assert run.process.returncode in (0, 1), stderr
        wrong = [line for line in stderr.splitlines() if "WARNING" in line]
        assert all("is busy: 'run' on host" in line for line in wrong), stderr
    nothing_half_done(fresh)
    assert tables(fresh) == tables(first_pass[0])
    assert backfill(fresh, "clips", "--dry-run")["summary"]["done_before"] == 3
