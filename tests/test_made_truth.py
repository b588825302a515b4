"""What holds for any episode, tried on made ones: real pixels, the real network, exact truth."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.options import Options, Tracker
from pipeline.shot_tracks import FILLED, ShotDetections, track_shot
from pipeline.trackers import import_boxmot
from tests.conftest import SHARED_DATA
from tests.made_faces import Photo, photos, sprites
from tests.made_truth import KINDS, NOBODY_CROSSES, Director, Film, steady_times, uneven_times
from tests.scoring import score
from tests.steps import both_steps

_BOX = ["x1", "y1", "x2", "y2"]
_SIZE = (320, 180)

few = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Done:
    """Everything a run wrote, and the truth of its video."""

    film: Film
    frames: pd.DataFrame
    detections: pd.DataFrame
    tracks: pd.DataFrame


@cache
def _pictures() -> list[Photo]:
    return photos(SHARED_DATA if SHARED_DATA.is_dir() else None)


def _film(
    seed: int,
    shots: int,
    times: Callable[[float], list[float]],
    kinds: Sequence[str] = KINDS,
    size: tuple[int, int] = _SIZE,
) -> Film:
    pictures = _pictures()
    episode = Director(seed, size, pictures, sprites(pictures)).episode(shots, kinds)
    return Film(episode, times(episode.duration_s))


def _run(film: Film, options: dict[str, object]) -> Done:
    """Both steps, in this process."""
    with tempfile.TemporaryDirectory() as root:
        folder = both_steps(film.write(Path(root) / "made.mp4"), options)
        return Done(
            film,
            pd.read_parquet(folder.frames),
            pd.read_parquet(folder.detections),
            pd.read_parquet(folder.tracks, dtype_backend="pyarrow"),
        )


_TIMES = [
    partial(steady_times, fps=12),
    partial(steady_times, fps=24),
    partial(steady_times, fps=30),
    partial(uneven_times, seed=5),
]


@few
@given(
    seed=st.integers(0, 999),
    times=st.sampled_from(_TIMES),
    stride=st.sampled_from([1, 3, 6]),
)
def test_rows_of_tracks_hold_together(
    seed: int, times: Callable[[float], list[float]], stride: int
) -> None:
    done = _run(_film(seed, 2, times), {"stride": stride})
    tracks = done.tracks
    found = tracks[~tracks.interpolated]
    joined = found.merge(done.detections, on="det_id", suffixes=("", "_of_detection"))
    assert len(joined) == len(found) == found.det_id.nunique()
    for name in ["frame_index", *_BOX]:
        assert (joined[name] == joined[f"{name}_of_detection"]).all()
    shot_of = done.frames.set_index("frame_index").shot_id
    looked_at = set(done.frames[done.frames.looked_at].frame_index)
    assert set(found.frame_index) <= looked_at
    assert sorted(tracks.track_id.unique()) == list(range(1, tracks.track_id.nunique() + 1))
    for _, rows in tracks.groupby("track_id"):
        assert (np.diff(rows.pts_s.to_numpy(float)) > 0).all()
        assert rows.shot_id.nunique() == 1
        frames = rows.frame_index.to_numpy(int)
        assert set(shot_of[frames]) == set(rows.shot_id), "a track in two shots"
        assert {f for f in range(frames[0], frames[-1]) if f % stride == 0} <= looked_at
        for cut in done.film.cuts:
            assert not frames[0] < cut <= frames[-1], "a track across a true cut"


@few
@given(
    seed=st.integers(0, 999),
    tracker=st.sampled_from(list(Tracker)),
    pace=st.sampled_from([{"stride": 1}, {"stride": 6}, {}]),
)
def test_an_id_is_never_given_to_somebody_else(
    shared_data: Path,  # noqa: ARG001  (one clip alone shows one person)
    seed: int,
    tracker: Tracker,
    pace: dict[str, object],
) -> None:
    times = partial(steady_times, fps=24)
    film = _film(seed, 3, times, NOBODY_CROSSES, (640, 360))
    done = _run(film, {"tracker": tracker, **pace})
    for rows in film.rows.values():
        names = [row[2] for row in rows]
        assume(len(names) == len(set(names)))  # not in both pictures of a dissolve
    with tempfile.TemporaryDirectory() as root:
        truth = Path(root) / "truth.csv"
        film.write_truth(truth)
        assert score(done.tracks, truth).mixed == 0


@st.composite
def shots(draw: st.DrawFn) -> tuple[ShotDetections, int]:
    """A shot of up to four people who walk, vanish and come back, and its stride."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, people = draw(st.integers(2, 80)), draw(st.integers(0, 4))
    stride = draw(st.sampled_from([1, 3, 6]))
    fps = draw(st.sampled_from([12.0, 24.0, 30.0]))
    gaps = np.full(count, 1 / fps)
    if draw(st.booleans()):
        gaps *= random.uniform(0.5, 2.5, count)
    looked_at = (np.arange(count) % stride == 0) | np.isin(np.arange(count), [0, count - 1])
    look, boxes, scores, who = [], [], [], []
    start, speed = random.uniform(0, 400, (people, 2)), random.uniform(-12, 12, (people, 2))
    side, away = random.uniform(20, 90, people), random.uniform(0, 0.3, people)
    for frame in np.flatnonzero(looked_at):
        for person in range(people):
            if random.random() < away[person]:
                continue
            corner = start[person] + frame * speed[person] + random.normal(0, 1, 2)
            look.append(frame)
            boxes.append([*corner, *(corner + side[person])])
            scores.append(random.uniform(0.3, 1.0))
            who.append(person)
    vectors = np.eye(128, dtype=np.float32)[who] if who else np.empty((0, 128), np.float32)
    shot = ShotDetections(
        np.arange(count) + 1000,
        100 + np.cumsum(gaps),
        looked_at,
        np.array(look, np.int64),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        vectors,
    )
    return shot, stride


@pytest.fixture(scope="module", autouse=True)
def _boxmot() -> None:
    import_boxmot()


@pytest.mark.parametrize("tracker", list(Tracker), ids=str)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(made=shots())
def test_tracks_of_any_detections_hold_together(
    tracker: Tracker, made: tuple[ShotDetections, int]
) -> None:
    shot, stride = made
    options = Options.parse({"tracker": tracker, "stride": stride}).resolve()
    span_s = float(shot.pts_s[-1] - shot.pts_s[0])
    rows = track_shot(shot, options, (int(shot.looked_at.sum()) - 1) / span_s)
    found = rows.detection != FILLED
    used = rows.detection[found]
    assert len(used) == len(set(used.tolist())), "a detection in two tracks"
    assert np.array_equal(rows.frame[found], shot.look[used])
    assert np.array_equal(rows.boxes[found], shot.boxes[used])
    order: list[NDArray[np.int64]] = list(np.lexsort((rows.track, rows.frame)))
    assert order == list(range(len(order)))
    firsts = []
    for track in range(int(rows.track.max(initial=-1)) + 1):
        mine = rows.track == track
        frames = rows.frame[mine]
        firsts.append(int(frames[0]))
        assert (np.diff(frames) > 0).all()
        assert found[mine][0] and found[mine][-1], "nothing is filled in before or after"
        anchors = frames[found[mine]]
        next_look = np.diff(np.cumsum(shot.looked_at)[anchors]) == 1
        close = next_look | (np.diff(shot.pts_s[anchors]) <= options.max_gap_s)
        for first, last in zip(anchors[:-1][close], anchors[1:][close], strict=True):
            assert set(range(int(first), int(last) + 1)) <= set(frames.tolist()), "a hole"
    assert firsts == sorted(firsts)
