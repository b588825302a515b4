"""What goes wrong by no fault of the program: one line that says what, and what to do.

Every case is the real command in a process of its own, with files that are really broken.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq
import pytest

from pipeline.models import SFACE
from tests import media
from tests.conftest import Command
from tests.media import Image

ROOT = os.geteuid() == 0


class Refused(Protocol):
    """Runs the command, and checks that it refuses in the right way and leaves nothing behind."""

    def __call__(
        self,
        *args: str | os.PathLike[str],
        says: tuple[str, ...],
        code: int = 2,
        env: dict[str, str] | None = None,
    ) -> dict[str, Any]: ...


def _tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _only_object(text: str) -> dict[str, Any]:
    """The JSON object that is all of a text of one line."""
    assert text.count("\n") == 1, f"more or less than one line: {text!r}"
    return dict(json.loads(text))


@pytest.fixture
def refused(facetracks: Command, tmp_path: Path) -> Refused:
    """The command with `--json`; gives the `error` of its answer."""

    def run(
        *args: str | os.PathLike[str],
        says: tuple[str, ...],
        code: int = 2,
        env: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        before = _tree(tmp_path)
        done = facetracks(*args, "--json", env=env)
        assert done.returncode == code, done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith("facetracks")
        assert "Traceback" not in done.stderr
        answer = _only_object(done.stdout)
        assert answer["status"] == "error"
        error = dict(answer["error"])
        assert error["exit_code"] == code
        for words in says:
            assert words in last
            assert words in error["message"]
        assert _tree(tmp_path) == before, "it left something behind"
        return error

    return run


@pytest.fixture(scope="session")
def images(sample: Path) -> list[Image]:
    """60 frames of the sample clip."""
    return media.pictures(sample, 60)


# The video


def _missing(path: Path, _: list[Image]) -> None:
    assert not path.exists()


def _folder(path: Path, _: list[Image]) -> None:
    path.mkdir()


def _empty(path: Path, _: list[Image]) -> None:
    path.touch()


def _text(path: Path, _: list[Image]) -> None:
    path.write_text("This is no video.\n" * 100)


def _pipe(path: Path, _: list[Image]) -> None:
    os.mkfifo(path)


def _loop(path: Path, _: list[Image]) -> None:
    path.symlink_to(path.name)


def _sound(path: Path, _: list[Image]) -> None:
    media.write_audio(path)


def _cut_before_index(path: Path, images: list[Image]) -> None:
    whole = media.write_video(path.with_name("whole.mp4"), images)
    media.cut_off(whole, path, whole.stat().st_size // 2)
    whole.unlink()


def _cut_before_first_frame(path: Path, images: list[Image]) -> None:
    whole = media.write_video(
        path.with_name("whole.mp4"), images, container_options=media.FASTSTART
    )
    media.cut_off(whole, path, media.packets(whole)[0][0])
    whole.unlink()


def _undecodable(path: Path, images: list[Image]) -> None:
    whole = media.write_video(path.with_name("whole.mp4"), images)
    media.spoil(whole, path, 0, len(images))
    whole.unlink()


@pytest.mark.parametrize(
    ("make", "reason", "advice"),
    [
        pytest.param(_missing, "does not exist", "check the path", id="missing"),
        pytest.param(_folder, "is a folder", "one video file", id="folder"),
        pytest.param(_empty, "is empty (0 bytes)", "download it again", id="zero bytes"),
        pytest.param(_text, "is not a video", "copy it again", id="text named .mp4"),
        pytest.param(_pipe, "is not a regular file", "a video file", id="named pipe"),
        pytest.param(_loop, "cannot be read", "check the path", id="link to itself"),
        pytest.param(_sound, "no video stream", "give a video file", id="audio only"),
        pytest.param(_cut_before_index, "cut off", "copy it again", id="cut off before its index"),
        pytest.param(_cut_before_first_frame, "no frame", "copy it again", id="cut off early"),
        pytest.param(_undecodable, "no frame", "copy it again", id="no decodable frame"),
    ],
)
def test_a_file_that_is_no_video_is_refused(
    make: Callable[[Path, list[Image]], None],
    reason: str,
    advice: str,
    refused: Refused,
    images: list[Image],
    tmp_path: Path,
) -> None:
    path = tmp_path / "episode.mp4"
    make(path, images)
    refused("detect", path.name, says=("episode.mp4", reason, advice))


def test_an_empty_path_is_refused(refused: Refused) -> None:
    refused("run", "", says=("video",))


# Options and settings


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--tracker", "sort"), ("--tracker", "'sort'", "bytetrack", "strongsort")),
        (("--profile", "fast"), ("--profile", "'fast'", "low_power", "balanced", "high_accuracy")),
        (("--mode", "later"), ("--mode", "'later'", "direct")),
        (("--stride", "0"), ("stride", "0", "greater than or equal to 1")),
        (("--stride", "1.5"), ("stride", "1.5")),
        (("--det-size", "1000000"), ("det_size", "1000000", "4096")),
        (("--min-score", "nan"), ("min_score", "nan")),
        (("--cpu-threads", "0"), ("cpu_threads", "0", "1")),
        (("--timeout", "nan"), ("timeout", "nan", "above 0")),
        (("--timeout", "-5"), ("timeout", "-5", "above 0")),
        (("--ep-id", "a/b"), ("ep_id", "'a/b'", "without slashes")),
        (("--ep-id", "a..b"), ("ep_id", "'a..b'", "without '..'")),
        (("--ep-id", ".."), ("ep_id", "'..'", "without '..'")),
        (("--ep-id", ".locks"), ("ep_id", "'.locks'", "not starting with a dot")),
        (("--ep-id", ""), ("ep_id", "''")),
        (("--ep-id", "long" * 50), ("ep_id", "shorter")),
        (("--colour", "red"), ("--colour red",)),
    ],
    ids=lambda value: " ".join(value)[:30] if value[0].startswith("--") else "",
)
def test_a_value_that_cannot_be_used_is_refused_by_name(
    args: tuple[str, ...], says: tuple[str, ...], refused: Refused, sample: Path
) -> None:
    refused("run", sample, *args, says=says)


@pytest.mark.parametrize(
    "value",
    ["lots", "0", "-1", "1.5", "100000", "²"],  # the last one is a digit, but no number
)
def test_nonsense_in_the_environment_is_refused_by_name(
    value: str, refused: Refused, sample: Path
) -> None:
    env = {"FACETRACKS_CPU_THREADS": value}
    refused("detect", sample, says=("FACETRACKS_CPU_THREADS", value), env=env)


def test_a_file_name_that_is_no_text_is_refused_or_works(
    facetracks: Command, sample: Path, tmp_path: Path
) -> None:
    # Latin-1 letters on a UTF-8 system; Python carries such bytes as lone surrogates.
    video = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    try:
        shutil.copy(sample, video)
    except OSError:
        pytest.skip("this file system takes no such names")
    done = facetracks("detect", video, "--ep-id", "cafe", "--stride", "6", "--json")
    assert "Traceback" not in done.stderr
    answer = _only_object(done.stdout)
    if done.returncode == 2:
        assert "rename" in answer["error"]["message"]
    else:
        assert done.returncode == 0, done.stderr
        assert answer["summary"]["frames"] == 120


def test_without_json_standard_output_stays_empty(facetracks: Command, tmp_path: Path) -> None:
    done = facetracks("run", "nosuch.mp4")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "facetracks: nosuch.mp4 does not exist: check the path\n"
    assert not _tree(tmp_path)


@pytest.mark.parametrize("make", [_missing, _sound], ids=["found at once", "found by the step"])
def test_debug_shows_where_an_error_comes_from(
    make: Callable[[Path, list[Image]], None], facetracks: Command, tmp_path: Path
) -> None:
    path = tmp_path / "episode.mp4"
    make(path, [])
    done = facetracks("detect", path, "--debug", "--json")
    assert done.returncode == 2
    assert _only_object(done.stdout)["error"]["type"] == "VideoError"
    assert any(line.startswith("facetracks: ") for line in done.stderr.splitlines())
    assert "Traceback (most recent call last)" in done.stderr
    assert "VideoError" in done.stderr


# The outputs


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts file systems of their own, with the options given; unmounts them in the end."""
    mounted = []

    def mount(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if not ROOT or shutil.which("mount") is None:
            pytest.skip("only root may mount a small disk")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("kib", [4, 12], ids=lambda kib: f"{kib} KiB")
def test_a_disk_that_fills_up_is_named_and_left_clean(
    kib: int, small_disk: Callable[[str], Path], refused: Refused, sample: Path
) -> None:
    # The lock alone fills the smaller one; the larger one takes some of the tables.
    disk = small_disk(f"size={kib}k")
    args = ("--output-root", disk, "--stride", "1")
    error = refused("detect", sample, *args, says=(str(disk), "no space left", "free some"), code=1)
    assert error["type"] == "DiskFull"
    assert not _tree(disk)


def test_a_disk_that_is_full_from_the_start_is_named_and_left_clean(
    small_disk: Callable[[str], Path], refused: Refused, sample: Path
) -> None:
    disk = small_disk("size=64k")
    (disk / "other").write_bytes(bytes(64 * 1024))
    args = ("--output-root", disk / "new")
    error = refused("detect", sample, *args, says=(str(disk), "no space left", "free some"), code=1)
    assert error["type"] == "DiskFull"


@pytest.mark.parametrize("below", ["", "new/deep"], ids=["a file", "below a file"])
def test_an_output_root_that_is_a_file_is_refused(
    below: str, refused: Refused, sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / below
    refused("run", sample, "--output-root", root, says=(str(tmp_path / "file"), "--output-root"))


def test_an_output_folder_that_may_not_be_written_is_refused(
    request: pytest.FixtureRequest, refused: Refused, sample: Path, tmp_path: Path
) -> None:
    if ROOT:  # to whom permissions mean nothing
        root = request.getfixturevalue("small_disk")("ro,size=64k")
    else:
        root = tmp_path / "disk"
        root.mkdir(mode=0o555)
    refused("run", sample, "--output-root", root, says=(str(root), "--output-root"))
    refused("run", sample, "--output-root", root / "new", says=(str(root), "--output-root"))


def test_a_file_in_the_episodes_place_is_not_touched(
    refused: Refused, sample: Path, tmp_path: Path
) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "e1").write_text("mine")
    refused("detect", sample, "--ep-id", "e1", says=("e1", "--output-root"))
    assert (tmp_path / "output" / "e1").read_text() == "mine"


# Models


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"another file", "sha256", id="wrong sha256"),
        pytest.param(b"", "sha256", id="zero bytes"),
        pytest.param(None, "is not here", id="missing"),
    ],
)
def test_a_model_file_that_is_not_the_right_one_is_refused(
    content: bytes | None, reason: str, refused: Refused, sample: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / SFACE.file_name
    if content is not None:
        path.write_bytes(content)
    env = {"FACETRACKS_MODELS": str(folder)}
    says = (str(path), reason, "facetracks models pull sface")
    error = refused("run", sample, "--tracker", "strongsort", says=says, env=env)
    assert error["type"] == "ModelError"


# Stored results


def test_tracking_an_episode_that_is_not_there_is_refused(refused: Refused) -> None:
    refused("track", "nosuch", says=("'nosuch'", "facetracks detect"))


def test_stored_results_that_are_damaged_are_refused_and_made_again(
    facetracks: Command, refused: Refused, sample: Path, tmp_path: Path
) -> None:
    command = ("detect", sample, "--ep-id", "e1", "--stride", "6", "--json")
    folder = tmp_path / "output" / "e1"
    first = facetracks(*command)
    assert first.returncode == 0, first.stderr
    stored = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    assert set(stored) == {"detections.parquet", "frames.parquet"}

    assert _only_object(first.stdout)["already_done"] is False
    assert _only_object(facetracks(*command).stdout)["already_done"] is True

    advice = "facetracks detect"
    detections, frames = folder / "detections.parquet", folder / "frames.parquet"
    for broken in (b"PAR1 no table PAR1", stored[detections.name][:-10]):
        detections.write_bytes(broken)
        refused("track", "e1", says=(str(detections), advice))
    detections.write_bytes(stored[detections.name])
    frames.unlink()
    refused("track", "e1", says=(str(frames), advice))

    again = facetracks(*command)
    assert again.returncode == 0, again.stderr
    assert {path.name: path.read_bytes() for path in folder.glob("*.parquet")} == stored


# What is odd, but no error


def _record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        pytest.param(
            lambda whole, path: media.cut_at_frame(whole, path, 45, 0.5), 15, id="cut off"
        ),
        pytest.param(lambda whole, path: media.spoil(whole, path, 40, 3), 3, id="bad sectors"),
    ],
)
def test_a_video_that_breaks_keeps_what_was_readable_and_says_what_was_lost(
    damage: Callable[[Path, Path], Path],
    lost: int,
    facetracks: Command,
    images: list[Image],
    tmp_path: Path,
) -> None:
    whole = media.write_video(tmp_path / "whole.mp4", images, container_options=media.FASTSTART)
    path = damage(whole, tmp_path / "episode.mp4")
    assert media.readable(path) == 60 - lost
    done = facetracks("detect", path, "--stride", "6")
    assert done.returncode == 0, done.stderr
    sentence = f"{lost} of 60 frames could not be read"
    assert sentence in done.stderr
    assert f"{lost} frames could not be read" in done.stdout
    folder = tmp_path / "output" / "episode"
    record = _record(folder)
    assert record["summary"]["frames"] == 60 - lost
    assert record["summary"]["frames_lost"] == lost
    assert any(sentence in warning for warning in record["warnings"])
    assert pq.read_metadata(folder / "frames.parquet").num_rows == 60 - lost


@pytest.mark.parametrize("tracker", ["bytetrack", "strongsort"])
def test_a_video_without_a_face_is_a_success_with_zero_tracks(
    tracker: str, facetracks: Command, tmp_path: Path
) -> None:
    path = media.write_video(tmp_path / "landscape.mp4", media.pan(30, 320, 180))
    done = facetracks("run", path, "--json", "--tracker", tracker)
    assert done.returncode == 0, done.stderr
    answer = _only_object(done.stdout)
    assert (answer["status"], answer["summary"]["tracks"]) == ("completed", 0)
    folder = tmp_path / "output" / "landscape"
    for name in ("tracks", "track_summary"):
        assert pq.read_table(folder / f"{name}.parquet").num_rows == 0
    assert pq.read_table(folder / "frames.parquet").num_rows == 30
    assert _record(folder)["summary"]["tracks"] == 0
