"""What every tracker behind the adapter keeps to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from pipeline.appearance import spread_embeddings
from pipeline.links import EmbeddingPlan
from pipeline.options import Options, ResolvedOptions, Tracker
from pipeline.shot_tracks import FILLED, ShotDetections, TrackRows, track_shot
from pipeline.tables import BOX_SIDES
from pipeline.track import _rate
from pipeline.trackers import import_boxmot, open_tracker

Boxes = NDArray[np.float32]


@pytest.fixture(scope="module", autouse=True)
def _boxmot() -> None:
    import_boxmot()


@pytest.fixture(params=list(Tracker), ids=str)
def options(request: pytest.FixtureRequest) -> ResolvedOptions:
    return Options.parse({"tracker": request.param}).resolve()


def _walk(looks: int, step: float = 2.0, size: float = 40.0, at: float = 10.0) -> list[Boxes]:
    """One box a look, moving right by `step` pixels."""
    xs = [at + step * i for i in range(looks)]
    return [np.array([[x, 50, x + size, 50 + size]], np.float32) for x in xs]


def _vectors(faces: list[int]) -> NDArray[np.float32]:
    """An embedding for each person: at right angles to all others."""
    return np.eye(128, dtype=np.float32)[faces]


def _shot(
    looks: list[Boxes], faces: list[list[int]] | None = None, fps: float = 25.0, score: float = 0.9
) -> ShotDetections:
    frames = np.arange(len(looks))
    counts = [len(boxes) for boxes in looks]
    people = faces or [list(range(count)) for count in counts]
    return ShotDetections(
        frames,
        frames / fps + 0.852,
        np.ones(len(looks), np.bool_),
        np.repeat(frames, counts),
        np.concatenate(looks),
        np.full(sum(counts), score, np.float32),
        _vectors([person for look in people for person in look]),
    )


def _tracks(rows: TrackRows) -> set[int]:
    return set(rows.track.tolist())


def test_it_assigns_each_detection_of_a_look_at_most_once(options: ResolvedOptions) -> None:
    tracker = open_tracker(options, 25.0)
    for look, box in enumerate(_walk(10)):
        boxes = np.concatenate([box, box + 200, box + 3])
        found = tracker.update(
            look / 25, boxes, np.array([0.9, 0.8, 0.7], np.float32), _vectors([0, 1, 0])
        )
        assert found.shape[1:] == (2,) and found.dtype == np.int64
        assert set(found[:, 1].tolist()) <= {0, 1, 2}
        assert len(set(found[:, 0].tolist())) == len(set(found[:, 1].tolist())) == len(found)
    assert len(found) >= 2


def test_it_takes_looks_without_faces(options: ResolvedOptions) -> None:
    tracker = open_tracker(options, 25.0)
    none = np.empty((0, 4), np.float32)
    for look in range(5):
        found = tracker.update(look / 25, none, np.empty(0, np.float32), _vectors([]))
        assert found.shape == (0, 2)


def test_one_moving_face_is_one_track_from_its_first_look_on(options: ResolvedOptions) -> None:
    rows = track_shot(_shot(_walk(30)), options, 25.0)
    assert _tracks(rows) == {0}
    assert rows.frame.tolist() == list(range(30))
    assert rows.detection.tolist() == list(range(30))
    assert np.array_equal(rows.boxes, np.concatenate(_walk(30))), "the detector's own boxes"


def test_two_faces_are_two_tracks(options: ResolvedOptions) -> None:
    looks = [np.concatenate([box, box + 150]) for box in _walk(20)]
    rows = track_shot(_shot(looks), options, 25.0)
    assert _tracks(rows) == {0, 1}
    assert (rows.detection % 2 == rows.track).all()


def test_a_hidden_face_keeps_its_track_and_the_gap_is_filled(options: ResolvedOptions) -> None:
    looks = _walk(40)
    for hidden in range(15, 23):
        looks[hidden] = np.empty((0, 4), np.float32)
    rows = track_shot(_shot(looks), options, 25.0)
    assert _tracks(rows) == {0}
    assert rows.frame.tolist() == list(range(40))
    filled = rows.detection == FILLED
    assert rows.frame[filled].tolist() == list(range(15, 23))
    expected = np.concatenate(_walk(40))[15:23]
    assert np.abs(rows.boxes[filled] - expected).max() < 0.01, "on the straight line between"


def test_a_face_that_turns_back_while_it_is_hidden_keeps_its_track(
    options: ResolvedOptions,
) -> None:
    lefts = [10.0 + 14 * look for look in range(10)]
    looks = [_walk(1, at=x)[0] for x in [*lefts, *lefts[::-1]]]
    looks[9] = looks[10] = np.empty((0, 4), np.float32)
    rows = track_shot(_shot(looks, fps=3.0), options, 3.0)
    assert _tracks(rows) == {0}
    assert rows.frame.tolist() == list(range(20))


def test_a_gap_longer_than_allowed_is_not_filled(options: ResolvedOptions) -> None:
    looks = _walk(80, step=0.0)
    for hidden in range(20, 50):
        looks[hidden] = np.empty((0, 4), np.float32)
    rows = track_shot(_shot(looks), options.model_copy(update={"max_gap_s": 0.5}), 25.0)
    assert not (rows.detection == FILLED).any()
    assert not set(rows.frame.tolist()) & set(range(20, 50))


def test_frames_between_looks_are_filled(options: ResolvedOptions) -> None:
    shot = _shot(_walk(31))
    looked_at = shot.looked_at & (np.arange(31) % 3 == 0)
    kept = looked_at[shot.look]
    sparse = ShotDetections(
        shot.frame_index, shot.pts_s, looked_at, shot.look[kept],
        shot.boxes[kept], shot.scores[kept], _vectors([0] * int(kept.sum())),
    )  # fmt: skip
    rows = track_shot(sparse, options, 25 / 3)
    assert rows.frame.tolist() == list(range(31))
    assert ((rows.detection == FILLED) == (rows.frame % 3 != 0)).all()


def test_no_track_starts_at_a_weak_detection(options: ResolvedOptions) -> None:
    rows = track_shot(_shot(_walk(30), score=0.4), options, 25.0)
    assert not len(rows.frame)


def test_a_flicker_is_no_track(options: ResolvedOptions) -> None:
    looks = _walk(50)
    flicker = np.array([[300, 300, 340, 340]], np.float32)
    looks[20] = np.concatenate([looks[20], flicker])
    looks[21] = np.concatenate([looks[21], flicker])
    assert _tracks(track_shot(_shot(looks), options, 25.0)) == {0}


def test_a_shot_of_one_frame_and_a_shot_without_faces(options: ResolvedOptions) -> None:
    none = np.empty((0, 4), np.float32)
    assert not len(track_shot(_shot([none, none, none]), options, 25.0).frame)
    one = track_shot(_shot(_walk(1)), options, 25.0)
    # A shot as short as that has no longer tracks. StrongSORT wants two looks where they are dense.
    assert one.frame.tolist() == ([0] if options.tracker is Tracker.bytetrack else [])


@pytest.mark.parametrize("jump_s", [0.0, 36_000.0])
def test_a_clock_that_jumps_does_not_change_the_pace(jump_s: float) -> None:
    times = np.arange(60) / 3
    times[30:] += jump_s
    assert _rate(times) == pytest.approx(3.0)
    assert _rate(times[:1]) == 1.0


def test_who_comes_after_nobody_is_embedded_and_keeps_that() -> None:
    plan = EmbeddingPlan()
    box, nobody = np.array([[10, 10, 50, 50]], np.float32), np.empty((0, 4), np.float32)
    assert plan.next_look(0, 0.0, box, [0]) == [0]
    assert plan.next_look(0, 0.2, box, [1]) == [0], "it plainly goes on"
    assert plan.next_look(0, 0.4, nobody, []) == []
    assert plan.next_look(0, 0.6, box, [2]) == [2], "it may be somebody else"
    frames = pa.Table.from_pydict(
        {
            "frame_index": [0, 5, 10, 15],
            "pts_s": [0.0, 0.2, 0.4, 0.6],
            "shot_id": [0] * 4,
            "looked_at": [True] * 4,
        }
    )
    sides = {side: [value] * 3 for side, value in zip(BOX_SIDES, (10.0, 10, 50, 50), strict=True)}
    detections = pa.Table.from_pydict({"frame_index": [0, 5, 15], "det_id": [0, 1, 2], **sides})
    vectors = np.array([[1, 0], [0, 1]], np.float32)
    spread = spread_embeddings((np.array([0, 2]), vectors), frames, detections)
    assert spread.tolist() == [[1, 0], [1, 0], [0, 1]]
