"""Which faces are compared at a fade or dissolve, and what is kept for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.changes import Transition
from pipeline.embedder import SIDE
from pipeline.transition_faces import NEAR_S, KeptFaces, TransitionFaces
from pipeline.transitions import SETTLED_S, TransitionFinder

_FPS = 5
_LEFT, _RIGHT = [0, 0, 40, 40], [200, 0, 240, 40]
_FADE = Transition("fade", 50, 54, 10.0, 10.8)


def _faces(frame: int, *boxes: list[int]) -> KeptFaces:
    picture = np.full((SIDE, SIDE, 3), frame % 256, np.uint8)
    det_ids = [10 * frame + i for i in range(len(boxes))]
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return KeptFaces(frame, frame / _FPS, det_ids, array, [picture] * len(boxes))


def _kept(seen: dict[int, list[list[int]]]) -> TransitionFaces:
    faces = TransitionFaces()
    for frame, boxes in seen.items():
        faces.add(_faces(frame, *boxes))
    return faces


@pytest.mark.parametrize("change", [_FADE, replace(_FADE, kind="dissolve", likeness=0.1)])
def test_the_two_nearest_looks_on_each_side_are_compared(change: Transition) -> None:
    # Nothing of what is mixed.
    kept = _kept({frame: [_LEFT] for frame in range(40, 67)})
    comparison = kept.comparison(change)
    assert comparison.pairs == [(480, 550), (480, 560), (490, 550), (490, 560)]
    assert sorted(comparison.pictures) == [480, 490, 550, 560]
    assert comparison.pictures[490][0, 0, 0] == 49


def test_faces_at_different_places_are_not_compared() -> None:
    comparison = _kept({48: [_LEFT], 49: [_RIGHT, _LEFT], 55: [_RIGHT]}).comparison(_FADE)
    assert comparison.pairs == [(490, 550)]


@pytest.mark.parametrize("before", [[], [_LEFT]])
def test_nothing_near_is_nothing_to_compare(before: list[list[int]]) -> None:
    long_ago = int((_FADE.first_pts_s - NEAR_S) * _FPS) - 1
    comparison = _kept({long_ago: before, 55: [_LEFT]}).comparison(_FADE)
    assert comparison.pairs == []
    assert comparison.pictures == {}


def test_faces_are_kept_for_seconds_only() -> None:
    kept = _kept({frame: [_LEFT] for frame in range(2000)})
    assert len(kept._kept) < 10 * _FPS


def test_each_transition_is_settled_once() -> None:
    finder = TransitionFinder()
    finder.found += [_FADE, Transition("fade", 100, 104, 20.0, 20.8)]
    times = [10.8 + SETTLED_S - 0.1, 10.8 + SETTLED_S + 0.1, 23.0, np.inf, np.inf]
    settled = [finder.settled(at_s) for at_s in times]
    assert settled == [[], [finder.found[0]], [], [finder.found[1]], []]
