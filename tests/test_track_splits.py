"""A face that stays through a fade or dissolve keeps its track; another one gets its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows import run_detect_track
from pipeline.detect import detect_episode
from pipeline.episode import EpisodeFolder
from pipeline.footer import Footer, read_facts
from pipeline.model_table import assets_folder
from pipeline.options import Options, Tracker
from pipeline.track_splits import LONG_GAP_S, Faces, split_gaps
from tests import made_scenes
from tests.made_faces import Sprite, talking
from tests.made_scenes import Actor, ActorScene, Drawn, Scene
from tests.made_truth import Episode, Film, Part, steady_times
from tests.media import Image, pictures
from tests.scoring import score
from tests.steps import both_steps

_SIZE = (640, 360)
_DURATION_S = 2.0


def _backgrounds() -> list[Image]:
    """Light from the left, and from the right."""
    ramp = np.tile(np.linspace(50, 210, _SIZE[0]), (_SIZE[1], 1)).astype(np.uint8)
    image = np.repeat(ramp[..., None], 3, axis=2)
    return [image, np.ascontiguousarray(image[:, ::-1])]


def _scene(sprite: Sprite, background: Image, width: float = 0.14) -> ActorScene:
    path = made_scenes.Path([0.0], [[0.5, 0.47, width]], (0.003, 0.003, 0.0), 0.5)
    return ActorScene(background, [Actor(sprite, path)], _DURATION_S)


@dataclass(frozen=True)
class _Talk:
    """Somebody who talks: a sprite for each frame, 25 a second."""

    sprites: list[Sprite]
    background: Image
    duration_s: float = _DURATION_S

    def draw(self, at_s: float) -> Drawn:
        return _scene(self.sprites[int(at_s * 25)], self.background).draw(at_s)


def _film(first: Scene, then: Scene, comes: str) -> Film:
    episode = Episode([Part(first), Part(then, comes, 0.75)])
    return Film(episode, steady_times(episode.duration_s, 24))


def _tracks(film: Film, root: Path, kind: str, options: dict[str, object]) -> pd.DataFrame:
    folder = both_steps(film.write(root / "made.mp4"), options)
    assert [change["kind"] for change in read_facts(folder.frames)["transitions"]] == [kind]
    return pd.read_parquet(folder.tracks)


_KINDS = [("dissolve", "dissolve"), ("black", "fade"), ("white", "fade")]
_OPTIONS = [
    {"tracker": Tracker.bytetrack, "stride": 1},
    {"tracker": Tracker.bytetrack, "stride": 6},
    {"tracker": Tracker.strongsort, "stride": 3},
]


@pytest.fixture(scope="module")
def talk(sample: Path) -> list[Sprite]:
    return talking(pictures(sample, 101), "carphone")


def _talk_on(talk: list[Sprite], comes: str) -> Film:
    """From one place to another, and the talk goes on."""
    here, there = _backgrounds()
    return _film(_Talk(talk[:51], here), _Talk(talk[50:], there), comes)


@pytest.mark.parametrize("talks", [False, True], ids=["still", "talks"])
@pytest.mark.parametrize("options", _OPTIONS, ids=str)
@pytest.mark.parametrize(("comes", "kind"), _KINDS)
def test_a_face_that_stays_keeps_its_track(
    comes: str,
    kind: str,
    options: dict[str, object],
    talks: bool,
    people: list[Sprite],
    talk: list[Sprite],
    tmp_path: Path,
) -> None:
    here, there = _backgrounds()
    after = there if kind == "dissolve" else here
    still = _film(_scene(people[0], here), _scene(people[0], after), comes)
    film = _talk_on(talk, comes) if talks else still
    tracks = _tracks(film, tmp_path, kind, options)
    assert tracks.track_id.nunique() == 1
    middle = film.transitions[0][1]
    assert tracks.frame_index.min() < middle - 12
    assert tracks.frame_index.max() > film.transitions[0][2] + 12


def test_what_is_compared_does_not_depend_on_threads(talk: list[Sprite], tmp_path: Path) -> None:
    video = _talk_on(talk, "dissolve").write(tmp_path / "made.mp4")
    options, footer = Options(stride=1).resolve(), Footer("made", "0", "0")
    found = []
    for threads in (1, 3):
        folder = EpisodeFolder(tmp_path / str(threads), "made")
        facts = detect_episode(video, folder, footer, options, threads, lambda *_: None)
        found.append(facts["transitions"])
    assert found[0] == found[1]
    assert len(found[0][0]["cosines"]) == 4


def test_without_sface_such_a_face_is_split_and_the_run_says_so(
    talk: list[Sprite], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_sface = assets_folder()
    monkeypatch.setenv("FACETRACKS_MODELS", str(tmp_path / "none"))
    video = _talk_on(talk, "dissolve").write(tmp_path / "made.mp4")
    answer = run_detect_track(video, output_root=tmp_path / "out")
    assert answer["status"] == "completed", answer
    assert answer["summary"]["tracks"] == 2
    record = json.loads((tmp_path / "out" / "made" / "run.json").read_text())
    (warning,) = [text for text in record["warnings"] if "dissolves" in text]
    assert "facetracks models pull sface" in warning
    assert f"detect: {warning}" in answer["logs"]
    assert run_detect_track(video, output_root=tmp_path / "out")["already_done"]
    # Pulled, as it says, it is of use.
    monkeypatch.setenv("FACETRACKS_MODELS", str(with_sface))
    answer = run_detect_track(video, output_root=tmp_path / "out")
    assert not answer["already_done"]
    assert answer["summary"]["tracks"] == 1
    assert run_detect_track(video, output_root=tmp_path / "out")["already_done"]


@pytest.mark.parametrize("pair", [(0, 1), (2, 3), (4, 5)], ids=str)
@pytest.mark.parametrize("options", _OPTIONS, ids=str)
@pytest.mark.parametrize(("comes", "kind"), _KINDS)
def test_a_face_that_comes_at_the_place_of_another_gets_its_own_track(
    comes: str,
    kind: str,
    options: dict[str, object],
    pair: tuple[int, int],
    people: list[Sprite],
    shared_data: Path,  # noqa: ARG001  (one clip alone shows one person)
    tmp_path: Path,
) -> None:
    one, other = (people[i] for i in pair)
    here, there = _backgrounds()
    film = _film(_scene(one, here), _scene(other, there), comes)
    tracks = _tracks(film, tmp_path, kind, options)
    found = score(tracks, tmp_path / "made.truth.csv")
    assert found.mixed == 0
    assert found.idf1 >= 0.8, "both have theirs, but for the looks in between"


@pytest.mark.parametrize(
    ("gap_s", "cosine", "parts"),
    [
        (LONG_GAP_S + 0.1, 0.1, [[0, 1, 2], [3, 4]]),
        (LONG_GAP_S + 0.1, 0.3, [[0, 1, 2, 3, 4]]),
        (LONG_GAP_S - 0.1, 0.1, [[0, 1, 2, 3, 4]]),
        (LONG_GAP_S + 0.1, None, [[0, 1, 2, 3, 4]]),
    ],
)
def test_a_stranger_behind_a_gap_gets_its_own_track(
    gap_s: float, cosine: float | None, parts: list[list[int]]
) -> None:
    look = np.array([0, 1, 2, 30, 31])
    pts_s = np.arange(40) / 24
    pts_s[30:] += gap_s - (pts_s[30] - pts_s[2])
    vectors = None
    if cosine is not None:
        one, other = [1.0, 0.0], [cosine, (1 - cosine**2) ** 0.5]
        vectors = np.array([one, one, one, other, other], np.float32)
    boxes = np.tile(np.array([10, 10, 50, 50], np.float32), (5, 1))
    faces = Faces(look, boxes, None, vectors)
    assert sorted(split_gaps([0, 1, 2, 3, 4], faces, pts_s)) == parts
