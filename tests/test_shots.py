"""Hard cuts: each found at its very frame, and no frame lost on the way."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from pipeline.shots import ShotFrame, _BrightnessDetector, with_shots
from pipeline.video import VideoReader, probe
from tests import media
from tests.media import Image

SHOT = 25
"""Frames of each shot that is made here."""


def _shots(path: Path) -> list[ShotFrame]:
    """All frames of a video, as the stage hands them on."""
    info = probe(path)
    handed_on = []
    with VideoReader(path, info) as reader:
        for item in with_shots(reader.frames(), info.frame_rate, info.time_base):
            handed_on.append(item)
    return handed_on


def _cuts(path: Path) -> list[int]:
    """First frames of all shots but the first."""
    starts = [item.frame.index for item in _shots(path) if item.starts_shot]
    assert starts[0] == 0
    return starts[1:]


@pytest.fixture(scope="session")
def face(sample: Path) -> list[Image]:
    """A shot of a talking face."""
    return media.pictures(sample, 2 * SHOT)


@pytest.fixture(scope="session")
def elsewhere() -> list[Image]:
    """A shot of something else, by a camera that moves."""
    return media.pan(2 * SHOT)


@pytest.mark.parametrize(
    "ticks",
    [
        pytest.param(media.even_ticks(2 * SHOT), id="constant frame rate"),
        pytest.param(media.even_ticks(2 * SHOT, start_s=3600), id="clock starts at an hour"),
        pytest.param(
            [tick + (900 if i % 2 else 0) for i, tick in enumerate(media.even_ticks(2 * SHOT))],
            id="variable frame rate",
        ),
    ],
)
def test_a_hard_cut_is_found_at_its_frame(
    ticks: list[int], face: list[Image], elsewhere: list[Image], tmp_path: Path
) -> None:
    images = face[:SHOT] + elsewhere[:SHOT]
    assert _cuts(media.write_video(tmp_path / "a.mp4", images, ticks)) == [SHOT]


def test_every_cut_of_shot_and_reverse_shot_is_found(
    face: list[Image], elsewhere: list[Image], tmp_path: Path
) -> None:
    # Shots of 0.4 s, shorter than anything a person would call a scene.
    images = [image for i in range(4) for image in (face if i % 2 else elsewhere)[:10]]
    assert _cuts(media.write_video(tmp_path / "a.mp4", images)) == [10, 20, 30]


def test_a_moving_camera_is_no_cut(elsewhere: list[Image], tmp_path: Path) -> None:
    assert _cuts(media.write_video(tmp_path / "a.mp4", elsewhere)) == []


@pytest.mark.parametrize("level", [0, 255], ids=["black", "white"])
@pytest.mark.parametrize("length", [1, 2, 3], ids=lambda frames: f"{frames} frames")
def test_a_flash_is_no_cut(length: int, level: int, face: list[Image], tmp_path: Path) -> None:
    images = list(face)
    images[SHOT : SHOT + length] = [np.full_like(face[0], level)] * length
    cuts = _cuts(media.write_video(tmp_path / "a.mp4", images))
    # Cuts are told two frames later: what takes longer may be one.
    assert len(cuts) <= (length > 2)
    assert all(SHOT <= cut <= SHOT + length for cut in cuts)


@pytest.mark.parametrize("length", [1, 2], ids=lambda frames: f"{frames} frames")
@pytest.mark.parametrize("level", [0, 255], ids=["black", "white"])
def test_a_cut_with_a_flash_between_is_found(
    level: int, length: int, face: list[Image], elsewhere: list[Image], tmp_path: Path
) -> None:
    images = face[:SHOT] + [np.full_like(face[0], level)] * length + elsewhere[:SHOT]
    assert _cuts(media.write_video(tmp_path / "a.mp4", images)) == [SHOT]


@pytest.mark.parametrize("length", [1, 2], ids=lambda frames: f"{frames} frames")
def test_a_flash_hides_no_cut_soon_after_it(
    length: int, face: list[Image], elsewhere: list[Image], tmp_path: Path
) -> None:
    images = face[: SHOT + 5] + elsewhere[:SHOT]
    images[SHOT : SHOT + length] = [np.full_like(face[0], 255)] * length
    assert _cuts(media.write_video(tmp_path / "a.mp4", images)) == [SHOT + 5]


def test_a_storm_of_flashes_does_not_shatter_the_shot(face: list[Image], tmp_path: Path) -> None:
    # A stroboscope, one flash in three frames for a second: at most one new shot each 0.25 s.
    images = [
        np.full_like(image, 255) if i >= SHOT and i % 3 == 0 else image
        for i, image in enumerate(face)
    ]
    assert len(_cuts(media.write_video(tmp_path / "a.mp4", images))) <= 4


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 2 * SHOT], ids=lambda n: f"{n} frames")
def test_every_frame_comes_out_once_and_in_order(
    count: int, face: list[Image], tmp_path: Path
) -> None:
    path = media.write_video(tmp_path / "a.mp4", face[:count])
    items = _shots(path)
    assert [item.frame.index for item in items] == list(range(count))
    assert [item.shot_id for item in items] == [0] * count
    assert [item.starts_shot for item in items] == [True] + [False] * (count - 1)


def test_pictures_are_those_of_their_frames(
    face: list[Image], elsewhere: list[Image], tmp_path: Path
) -> None:
    # The stage holds frames back; they must not be overwritten by those decoded meanwhile.
    path = media.write_video(tmp_path / "a.mp4", face[:SHOT] + elsewhere[:SHOT])
    expected = [image for _, image in media.decode(path)]
    info = probe(path)
    with VideoReader(path, info) as reader:
        for item in with_shots(reader.frames(), info.frame_rate, info.time_base):
            assert np.array_equal(item.frame.picture(), expected[item.frame.index])


def test_shots_are_numbered_from_zero_without_holes(
    face: list[Image], elsewhere: list[Image], tmp_path: Path
) -> None:
    path = media.write_video(tmp_path / "a.mp4", face[:SHOT] + elsewhere[:SHOT] + face[:SHOT])
    assert [item.shot_id for item in _shots(path)] == [0] * SHOT + [1] * SHOT + [2] * SHOT


def test_a_shot_ends_where_the_next_begins(
    face: list[Image], elsewhere: list[Image], tmp_path: Path
) -> None:
    items = _shots(media.write_video(tmp_path / "a.mp4", [*face[:20], *elsewhere[:20], *face[:1]]))
    starts = [item.frame.index for item in items if item.starts_shot]
    ends = [item.frame.index for item in items if item.ends_shot]
    assert starts[:2] == [0, 20]
    assert ends == [*(start - 1 for start in starts[1:]), 40]


def test_the_cuts_of_a_real_clip_are_exact(shared_data: Path) -> None:
    # Read by eye; in the container's clock, which starts at 0.852 s: 1.51, 3.58 and 7.88 s.
    assert _cuts(shared_data / "clips" / "short_hamilton_clip.mp4") == [20, 82, 211]


@pytest.mark.parametrize("episode", ["episode11", "episode12"])
def test_the_cuts_of_an_episode_are_exact(episode: str, shared_data: Path) -> None:
    with (shared_data / "truth" / f"{episode}.cuts.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    truth = [int(cell) for cell in cells if cell.strip().isdigit()]
    assert len(truth) == 13
    assert _cuts(shared_data / "truth" / f"{episode}.mp4") == truth


def test_changes_of_brightness_are_scored_as_pyscenedetect_scores_them(face: list[Image]) -> None:
    theirs, ours = AdaptiveDetector(luma_only=True), _BrightnessDetector(luma_only=True)
    for index, image in enumerate(face[:10]):
        clock = FrameTimecode(index, 25.0)
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        expected = theirs._calculate_frame_score(clock, np.dstack([grey] * 3))
        assert ours._calculate_frame_score(clock, grey) == pytest.approx(expected, abs=1e-12)
        assert (expected > 0) == (index > 0)
