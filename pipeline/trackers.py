"""boxmot's trackers behind one small face: boxes of a look in, track numbers out.

A tracker lives for one shot: boxmot's carry numbers across a cut, and a new one costs little.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.faces import MIN_SCORE
from pipeline.links import LINK_IOU, pairwise_iou
from pipeline.options import ResolvedOptions, Tracker

DENSE_LOOKS_PER_S = 6.0
"""From here on StrongSORT goes by place first: between strides 3 and 6 of common frame rates."""

Assignment = NDArray[np.int64]
"""`(M, 2)` int64: track number and index of the detection it has in this look."""


class ShotTracker(Protocol):
    """Follows faces through one shot."""

    def update(
        self,
        pts_s: float,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        embeddings: NDArray[np.float32] | None,
    ) -> Assignment:
        """Takes the next look.

        Args:
            pts_s: its time, later than the last one's; seconds.
            boxes: `(N, 4)` xyxy pixels.
            scores: `(N,)` in 0..1.
            embeddings: `(N, D)` of length 1, or None for a tracker that uses none.
        """
        ...


class _ByteTrack:
    """ByteTrack (Zhang et al., ECCV 2022): high scores first, low ones may continue a track."""

    def __init__(self, options: ResolvedOptions, looks_per_s: float) -> None:
        from boxmot import ByteTrack

        self._tracker = ByteTrack(
            min_conf=MIN_SCORE,
            track_thresh=options.start_score,
            match_thresh=0.9,
            track_buffer=_looks(options.max_gap_s, looks_per_s),
            frame_rate=30,
            variable_dt=True,
        )

    def update(
        self,
        pts_s: float,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        embeddings: NDArray[np.float32] | None,  # noqa: ARG002  (the trackers' common face)
    ) -> Assignment:
        rows = np.hstack([boxes, scores[:, None], np.zeros((len(boxes), 1), np.float32)])
        return _assignment(self._tracker.update(rows, timestamp_s=pts_s))


class _StrongSort:
    """StrongSORT (Du et al., IEEE TMM 2023) with face embeddings instead of body ones.

    Camera motion compensation is off: it would need the pictures, and re-tracking has none.

    Where looks are dense it lets go of a face that it missed in one look and that looks unlike
    itself in the next: half hidden, say; and every low score began a track that could take the
    face away. So there place decides who may be who, with gates twice as wide and no limit of
    likeness, and likeness decides between those; and low scores only continue a track that the look
    before had, as in ByteTrack. `pipeline.track_splits` parts strangers whom place alone joined.
    IDF1 of truth episodes 11 and 12, by stride at 24 fps, with zoom on faces:

    stride     as where sparse     as where dense     ByteTrack
    1          0.864 0.843         0.951 0.876        0.951 0.883
    3          0.940 0.874         0.949 0.883        0.952 0.885
    6          0.948 0.888         0.944 0.876        0.948 0.875
    12         0.940 0.876         0.925 0.865        0.919 0.854
    """

    def __init__(self, options: ResolvedOptions, looks_per_s: float) -> None:
        from boxmot import StrongSort

        self._dense = looks_per_s >= DENSE_LOOKS_PER_S
        # A cosine distance is hardly ever more than 1.2. The scale is one of variances.
        max_cos_dist, noise = (1.2, 4.0) if self._dense else (0.6, 1.0)
        self._tracker = StrongSort(
            min_conf=MIN_SCORE,
            max_cos_dist=max_cos_dist,
            max_iou_dist=0.9,
            n_init=2 if self._dense else 1,
            max_age=_looks(options.max_gap_s, looks_per_s),
            variable_dt=True,
            kf_process_position_scale=noise,
            kf_process_velocity_scale=noise,
        )
        self._tracker.cmc = None
        self._frame = np.zeros((1, 1, 3), np.uint8)
        self._start_score = options.start_score
        self._last_boxes = np.empty((0, 4), np.float32)

    def update(
        self,
        pts_s: float,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        embeddings: NDArray[np.float32] | None,
    ) -> Assignment:
        import torch
        from boxmot.structures import Boxes, Detections

        assert embeddings is not None, "StrongSORT is fed an embedding for every box"
        given = self._given(boxes, scores)
        if len(given) < len(boxes):
            boxes, scores, embeddings = boxes[given], scores[given], embeddings[given]
        detections = Detections(
            geometry=Boxes(torch.from_numpy(boxes)),
            scores=torch.from_numpy(scores),
            class_ids=torch.zeros(len(boxes), dtype=torch.int64),
            sample_id="look",
            embeddings=torch.from_numpy(embeddings),
        )
        tracks = self._tracker.update(detections, self._frame, timestamp_s=pts_s)
        numbers, found = tracks.track_ids.numpy(), tracks.detection_indices.numpy()
        if len(found) and found.min() < 0:
            numbers, found = numbers[found >= 0], found[found >= 0]
        self._last_boxes = boxes[found]
        return np.stack([numbers, given[found]], axis=1)

    def _given(self, boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """What the tracker is shown: where looks are dense, those that may start a track, and
        those that lie where a track was in the look before."""
        strong = scores >= self._start_score
        if not self._dense or strong.all():
            return np.arange(len(boxes))
        if len(self._last_boxes):
            overlap = pairwise_iou(boxes[~strong], self._last_boxes)
            strong[~strong] = overlap.max(axis=1) >= LINK_IOU
        return np.flatnonzero(strong)


def _looks(seconds: float, looks_per_s: float) -> int:
    """boxmot counts updates where we count seconds."""
    return max(1, round(seconds * looks_per_s))


def _assignment(rows: NDArray[Any]) -> Assignment:
    """From boxmot's `(M, 8)` xyxy, number, score, class, detection index."""
    found = rows[rows[:, 7] >= 0]
    return np.asarray(found[:, [4, 7]], np.int64)


def open_tracker(options: ResolvedOptions, looks_per_s: float) -> ShotTracker:
    """A fresh tracker for one shot.

    Args:
        looks_per_s: frames the detector saw per second of video.
    """
    if options.tracker is Tracker.strongsort:
        return _StrongSort(options, looks_per_s)
    return _ByteTrack(options, looks_per_s)


def import_boxmot() -> None:
    """Imports boxmot and torch (seconds), holds torch to one thread and boxmot to warnings."""
    import torch
    from boxmot import ByteTrack, StrongSort
    from boxmot.utils import logger

    assert ByteTrack and StrongSort, "importing them is what takes the time"
    torch.set_num_threads(1)
    logger.setLevel(logging.WARNING)
