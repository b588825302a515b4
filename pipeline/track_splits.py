"""Tracks where they could go over to another face: at changes of the picture, and behind a gap.

They go on where the face stays, and end where another one comes. One face over another at the same
place is what trackers take for one that stays. A mixed track is worse than a split one, so that a
face has to be known to have stayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.changes import Kind
from pipeline.links import pairwise_iou
from pipeline.track_facts import SAME_FACE_COSINE

SAME_PICTURE = 0.7
"""Correlation of the pictures before and after a fade from which it fades to the same scene: on
made episodes 1.0 where it does, 0.37 at most where it fades to another one."""

STAYS_IOU, STAYS_SHAPE = 0.8, 0.03
"""Overlap of the boxes before and after, at least, and mean distance of their landmarks, each in
parts of its box, at most, of a face that stays. In made scenes 0.84 to 0.96 and 0.007 to 0.026
where it does; of 325 pairs of people at one place, 2 are within both. A face that talks may move
by more in half a second: where faces cannot be compared, such a track is split."""

LONG_GAP_S, STRANGER_COSINE = 0.5, 0.2
"""A face that was out of sight for longer is another one below this likeness. Cosines of 0.2 and
0.4 give the same IDF1 on the truth episodes; with 0.3 s, episode 12 loses 0.002 and more: half
hidden faces are hardly like themselves."""


@dataclass(frozen=True)
class ShotChange:
    """A fade, dissolve or whip pan as a shot sees it.

    Attributes:
        first, last: positions in the shot's frames; may lie outside of them.
        kind: `Transition.kind`.
        likeness: `Transition.likeness`.
        cosines: of faces before and after it, by their positions in the shot's detections.
    """

    first: int
    last: int
    kind: Kind
    likeness: float | None
    cosines: dict[tuple[int, int], float] = field(default_factory=dict)


def changes_of(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The changes of an episode's picture, `FaceComparer.records` in order, from its facts."""
    changes = [*facts["transitions"], *facts.get("whips", [])]
    return sorted(changes, key=lambda change: int(change["first_frame"]))


def changes_within(
    records: Iterable[Mapping[str, Any]], start: int, stop: int, det_id: NDArray[np.int64]
) -> list[ShotChange]:
    """Those of an episode that touch the shot of frames `start:stop`.

    Args:
        records: of `changes_of`.
        det_id: of the shot's detections, ascending.
    """
    found = []
    for record in records:
        kind, first, last = record["kind"], record["first_frame"], record["last_frame"]
        if first >= stop or last < start:
            continue
        cosines = {}
        for *pair, cosine in record.get("cosines") or []:
            if np.isin(pair, det_id).all():
                before, after = np.searchsorted(det_id, pair).tolist()
                cosines[before, after] = cosine
        change = ShotChange(first - start, last - start, kind, record["likeness"], cosines)
        found.append(change)
    return found


@dataclass(frozen=True)
class Faces:
    """A shot's detections.

    Attributes:
        look: `(N,)` position of each one's frame in the shot's frames.
        boxes: `(N, 4)` xyxy pixels.
        landmarks: `(N, 5, 2)` pixels; needed where there are changes.
        embeddings: `(N, D)`, or None.
    """

    look: NDArray[np.int64]
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32] | None
    embeddings: NDArray[np.float32] | None


def split_gaps(members: list[int], faces: Faces, pts_s: NDArray[np.float64]) -> Iterator[list[int]]:
    """The parts of a track that are of one face, by embeddings where there are any.

    Args:
        members: positions of its detections, ascending.
        pts_s: of the shot's frames.
    """
    if faces.embeddings is not None:
        times, vectors = pts_s[faces.look[members]], faces.embeddings[members]
        likeness = (vectors[1:] * vectors[:-1]).sum(axis=1)
        strangers = (np.diff(times) > LONG_GAP_S) & (likeness < STRANGER_COSINE)
        for end in np.flatnonzero(strangers)[::-1] + 1:
            yield members[end:]
            members = members[:end]
    yield members


def split_track(members: list[int], faces: Faces, changes: list[ShotChange]) -> Iterator[list[int]]:
    """The parts of a track that are of one face; what a dissolve shows in between is in none.

    Args:
        members: positions of its detections, ascending.
    """
    rest = members
    for change in changes:
        look = faces.look[rest]
        before = [m for m, at in zip(rest, look, strict=True) if at < change.first]
        after = [m for m, at in zip(rest, look, strict=True) if at > change.last]
        if before and after:
            within = rest[len(before) : len(rest) - len(after)]
            if stays(before, after, faces, change):
                continue
            before, after = _parted(before, within, after, faces, change.kind)
        elif change.kind != "dissolve":
            continue
        if before:
            yield before
        rest = after
    if rest:
        yield rest


def _parted(
    before: list[int], within: list[int], after: list[int], faces: Faces, kind: Kind
) -> tuple[list[int], list[int]]:
    """Both sides of a change with what is seen of them within it, where that can be told.

    It can where the dark of a fade is seen, and where a whip pan leaves one face for the other.
    """
    if kind == "dissolve":
        return before, after
    seen = [before[-1], *within, after[0]]
    if kind == "whip":
        overlap = pairwise_iou(faces.boxes[seen], faces.boxes[seen]).diagonal(1)
        end = int(overlap.argmin())
    else:
        gaps = np.diff(faces.look[seen])
        end = int(gaps.argmax())
        if gaps[end] <= 1.5 * gaps.min():
            return before, after
    return before + seen[1 : end + 1], seen[end + 1 : -1] + after


def stays(before: list[int], after: list[int], faces: Faces, change: ShotChange) -> bool:
    """Whether the face before a change is the one after it, by the best evidence there is."""
    mine, theirs = {*before}, {*after}
    cosines = [c for (one, other), c in change.cosines.items() if one in mine and other in theirs]
    if cosines:
        return sum(cosines) / len(cosines) >= SAME_FACE_COSINE
    if change.kind == "whip":
        return True  # Most cameras that swing so fast follow somebody.
    if change.likeness is not None and change.likeness >= SAME_PICTURE:
        return True
    last, first = before[-1], after[0]
    overlap = pairwise_iou(faces.boxes[[last]], faces.boxes[[first]])[0, 0]
    return bool(overlap >= STAYS_IOU and _shape_change(last, first, faces) <= STAYS_SHAPE)


def _shape_change(one: int, other: int, faces: Faces) -> float:
    """How far the landmarks are apart, each in parts of its box."""
    assert faces.landmarks is not None, "faces at transitions are told apart by landmarks too"
    shapes = [
        (faces.landmarks[i] - faces.boxes[i, :2]) / (faces.boxes[i, 2:] - faces.boxes[i, :2])
        for i in (one, other)
    ]
    return float(np.linalg.norm(shapes[0] - shapes[1], axis=1).mean())
