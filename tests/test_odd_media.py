"""Videos as they lie about: odd codecs, clocks, shapes and names all run through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows import run_detect_track
from tests import media
from tests.conftest import SHARED_DATA
from tests.media import Image


def _detect(video: Path, output_root: Path) -> dict[str, Any]:
    """Runs detection; checks the answer and the tables, and returns the answer."""
    answer: dict[str, Any] = run_detect_track(
        video, output_root=output_root, operation="detect", stride=6
    )
    assert answer["status"] == "completed", answer.get("error")
    folder = output_root / answer["ep_id"]
    frames = pq.read_table(folder / "frames.parquet").to_pydict()
    detections = pq.read_table(folder / "detections.parquet").to_pydict()
    assert answer["summary"]["frames"] == len(frames["frame_index"]) > 0
    assert answer["summary"]["frames_lost"] == 0
    assert frames["frame_index"] == list(range(len(frames["frame_index"])))
    assert (np.diff(frames["pts_s"]) > 0).all()
    assert all(
        frames["pts_s"][frame] == pts_s
        for frame, pts_s in zip(detections["frame_index"], detections["pts_s"], strict=True)
    )
    return answer


def _shared(folder: str) -> list[Path]:
    return sorted((SHARED_DATA / folder).glob("*.*")) or [Path(folder, "none")]


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("video", [*_shared("odd"), *_shared("clips")], ids=lambda path: path.name)
def test_every_evaluation_clip_runs_through(video: Path, tmp_path: Path) -> None:
    answer = _detect(video, tmp_path)
    found = answer["summary"]["detections"]
    if video.parent.name == "clips":
        assert found > 0


@pytest.fixture(scope="session")
def images(sample: Path) -> list[Image]:
    """30 frames of the sample clip."""
    return media.pictures(sample, 30)


@pytest.mark.parametrize(
    ("name", "ep_id"),
    [
        ("Folge 1, Größe 名前.mp4", "Folge 1, Größe 名前"),  # spaces and other letters
        ("cafe\u0301.mp4", "caf\u00e9"),  # a decomposed accent, as macOS writes it
        ("-x.mp4", "-x"),  # could be taken for an option
        ("..hidden.mp4", "hidden"),
        ("show.s01e02.1080p.mkv", "show.s01e02.1080p"),
        ('it\'s a "test" $HOME `ls` %d.mp4', 'it\'s a "test" $HOME `ls` %d'),  # not for a shell
        ("no ending", "no ending"),
    ],
)
def test_any_file_name_works_and_names_the_episode(
    name: str, ep_id: str, images: list[Image], tmp_path: Path
) -> None:
    video = tmp_path / name
    media.write_video(tmp_path / f"made{Path(name).suffix or '.mp4'}", images[:7]).rename(video)
    answer = _detect(video, tmp_path / "output")
    assert answer["ep_id"] == ep_id


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [
        pytest.param(90, 160, "portrait", id="portrait"),
        pytest.param(175, 143, "odd", id="odd width and height"),
        pytest.param(640, 16, "a strip", id="a strip"),
        pytest.param(16, 16, "tiny", id="tiny"),
        pytest.param(2048, 1200, "large", id="larger than the detector's input"),
    ],
)
def test_any_picture_size_works(
    width: int, height: int, shape: str, images: list[Image], tmp_path: Path
) -> None:
    pictures = media.scaled(images[:13], width, height)
    pixels = "yuv444p" if width % 2 else "yuv420p"
    video = media.write_video(tmp_path / f"{shape}.mp4", pictures, pixels=pixels)
    _detect(video, tmp_path)
    boxes = pq.read_table(tmp_path / shape / "detections.parquet").to_pandas()
    assert ((boxes.x1 >= 0) & (boxes.x1 < boxes.x2) & (boxes.x2 <= width)).all()
    assert ((boxes.y1 >= 0) & (boxes.y1 < boxes.y2) & (boxes.y2 <= height)).all()


def test_a_face_in_a_rotated_video_is_found_where_it_is_seen(
    images: list[Image], tmp_path: Path
) -> None:
    upright = media.write_video(tmp_path / "upright.mp4", images)
    lying = [np.ascontiguousarray(np.rot90(image, -1)) for image in images]
    rotated = media.write_video(tmp_path / "rotated.mp4", lying, rotation=90)
    boxes = []
    for video in (upright, rotated):
        _detect(video, tmp_path)
        table = pq.read_table(tmp_path / video.stem / "detections.parquet").to_pandas()
        best = table.sort_values("score").groupby("frame_index").tail(1).sort_values("frame_index")
        boxes.append(best[["x1", "y1", "x2", "y2"]].to_numpy())
    assert len(boxes[0]) == 6, "every sixth frame, and the last"
    np.testing.assert_allclose(boxes[0], boxes[1], atol=4)  # pixels; encoded anew


def test_a_video_of_one_frame_is_detected_and_tracked(images: list[Image], tmp_path: Path) -> None:
    video = media.write_video(tmp_path / "one.mp4", images[:1])
    answer = run_detect_track(video, output_root=tmp_path)
    assert answer["status"] == "completed", answer.get("error")
    assert answer["summary"]["frames"] == 1
    assert pq.read_metadata(tmp_path / "one" / "frames.parquet").num_rows == 1


def test_a_video_of_a_whole_number_of_write_blocks(images: list[Image], tmp_path: Path) -> None:
    video = media.write_video(tmp_path / "v.mp4", (images * 18)[:512])
    assert _detect(video, tmp_path / "output")["summary"]["frames"] == 512
