"""Whip pans: found as such, and no track goes over to whoever is there afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.changes import Seen, Transition
from pipeline.footer import read_facts
from pipeline.options import Tracker
from pipeline.shots import with_shots
from pipeline.transitions import TransitionFinder
from pipeline.video import VideoReader, probe
from pipeline.whips import WhipFinder
from tests import made_scenes, media
from tests.made_faces import Photo, Sprite
from tests.made_scenes import Actor, ActorScene, CameraScene, Scene
from tests.made_truth import Episode, Film, Part, steady_times
from tests.media import Image
from tests.scoring import score
from tests.steps import both_steps

_SIZE = (640, 360)
_TIMES_S = [0.0, 1.0, 1.5, 2.7]
"""The camera stands, swings round within half a second, and stands: faster, it is a cut."""


def _wide() -> Image:
    """Twice as wide as what the camera sees, with something to see everywhere."""
    small = media.pan(1, _SIZE[0] // 2, _SIZE[1] // 4)
    return media.scaled(small, 2 * _SIZE[0], _SIZE[1])[0]


def _swing(image: Image, seconds: float) -> CameraScene:
    nobody = Photo(image, [], np.empty((0, 4)), np.empty(0, np.bool_))
    times = [0.0, 1.0, 1.0 + seconds, 2.2 + seconds]
    view = made_scenes.Path(times, [[0.25, 0.5, 1.0]] * 2 + [[0.75, 0.5, 1.0]] * 2)
    return CameraScene(nobody, _SIZE, times[-1], view, blur=True)


def _film(scene: Scene, fps: float = 24) -> Film:
    episode = Episode([Part(scene)])
    return Film(episode, steady_times(scene.duration_s, fps))


def _whips(video: Path) -> list[Transition]:
    info, finder = probe(video), TransitionFinder()
    with VideoReader(video, info) as reader:
        shots = [*with_shots(reader.frames(), info.frame_rate, info.time_base, finder)]
    assert shots
    return finder.whips.found


@pytest.mark.parametrize("fps", [12, 24, 30])
@pytest.mark.parametrize("seconds", [0.4, 0.6, 0.8])
def test_a_whip_pan_is_found_where_it_is(seconds: float, fps: int, tmp_path: Path) -> None:
    (whip,) = _whips(_film(_swing(_wide(), seconds), fps).write(tmp_path / "a.mp4", fps))
    assert whip.kind == "whip"
    assert 0.7 <= whip.first_pts_s <= 1.0 + seconds / 3
    assert 1.0 + seconds * 2 / 3 <= whip.last_pts_s <= 1.3 + seconds
    assert whip.first_frame == pytest.approx(whip.first_pts_s * fps)
    assert whip.last_frame == pytest.approx(whip.last_pts_s * fps)


def test_a_slow_pan_is_none(tmp_path: Path) -> None:
    assert _whips(_film(_swing(_wide(), 12.0)).write(tmp_path / "a.mp4")) == []


def test_a_cut_is_none(tmp_path: Path) -> None:
    wide = _wide()
    left, right = (np.ascontiguousarray(half) for half in (wide[:, :640], wide[:, 640:]))
    assert _whips(media.write_video(tmp_path / "a.mp4", [left] * 30 + [right] * 30)) == []


def test_a_cut_parts_two_that_follow_one_another_closely() -> None:
    random = np.random.default_rng(0)
    one, two, three, four = random.integers(40, 216, (4, 36, 64), np.uint8)
    finder = WhipFinder()
    for frame in range(60):
        if frame == 32:
            finder.cut(30)
        now = one if frame < 24 else two if frame < 30 else three if frame < 35 else four
        finder.add(Seen(frame, frame / 24, now))
    first, second = finder.found
    assert first.last_frame < second.first_frame


def test_darkness_is_none(tmp_path: Path) -> None:
    light, black = np.ascontiguousarray(_wide()[:, :640]), np.zeros((360, 640, 3), np.uint8)
    parts = [*np.linspace(1, 0, 10), *[0.0] * 20, *np.linspace(0, 1, 10)]
    images = [np.asarray(light * part + black, np.uint8) for part in [1.0] * 30 + parts]
    info, finder = probe(media.write_video(tmp_path / "a.mp4", images)), TransitionFinder()
    with VideoReader(tmp_path / "a.mp4", info) as reader:
        assert [*with_shots(reader.frames(), info.frame_rate, info.time_base, finder)]
    assert finder.whips.found == []


def _tracks(film: Film, root: Path, options: dict[str, object]) -> pd.DataFrame:
    folder = both_steps(film.write(root / "made.mp4"), options)
    facts = read_facts(folder.frames)
    assert facts["shots"] == 1 and facts["whips"]
    return pd.read_parquet(folder.tracks)


_OPTIONS = [
    {"tracker": Tracker.bytetrack, "stride": 1},
    {"tracker": Tracker.bytetrack},
    {"tracker": Tracker.strongsort},
]


@pytest.mark.parametrize("options", _OPTIONS, ids=str)
@pytest.mark.parametrize("pair", [(0, 1), (2, 3), (4, 5)], ids=str)
def test_from_one_face_to_another_at_the_same_place(
    pair: tuple[int, int],
    options: dict[str, object],
    people: list[Sprite],
    shared_data: Path,  # noqa: ARG001  (one clip alone shows one person)
    tmp_path: Path,
) -> None:
    standing = [
        Actor(people[i], made_scenes.Path([0.0], [[x, 0.47, 0.07]]))
        for i, x in zip(pair, (0.25, 0.75), strict=True)
    ]
    still = made_scenes.Path([0.0], [[0.5, 0.5, 1.0]])
    image, faces = ActorScene(_wide(), standing, 1.0, still).draw(0.0)
    photo = Photo(
        image, [face.name for face in faces], np.array([face.box for face in faces]),
        np.zeros(len(faces), np.bool_),
    )  # fmt: skip
    view = made_scenes.Path(_TIMES_S, [[0.25, 0.5, 1.0]] * 2 + [[0.75, 0.5, 1.0]] * 2)
    film = _film(CameraScene(photo, _SIZE, _TIMES_S[-1], view, blur=True))
    tracks = _tracks(film, tmp_path, options)
    found = score(tracks, tmp_path / "made.truth.csv")
    assert found.mixed == 0
    assert found.idf1 >= 0.8, "both have theirs, but for the looks in between"


@pytest.mark.parametrize("options", _OPTIONS, ids=str)
def test_whom_the_camera_follows_keeps_the_track(
    options: dict[str, object], people: list[Sprite], tmp_path: Path
) -> None:
    runner = Actor(people[0], made_scenes.Path([0.0], [[0.5, 0.47, 0.14]], (0.01, 0.01, 0.0)))
    scenery = made_scenes.Path(_TIMES_S, [[0.2, 0.5, 0.4]] * 2 + [[0.8, 0.5, 0.4]] * 2)
    background = np.ascontiguousarray(_wide()[:, : _SIZE[0]])
    film = _film(ActorScene(background, [runner], _TIMES_S[-1], scenery))
    tracks = _tracks(film, tmp_path, options)
    assert tracks.track_id.nunique() == 1
    assert tracks.pts_s.max() - tracks.pts_s.min() > 2.2
