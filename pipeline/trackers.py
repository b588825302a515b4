"""boxmot's trackers behind one small face: boxes of a look in, track numbers out.

A tracker lives for one shot: boxmot's carry numbers across a cut, and a new one costs little.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.faces import MIN_SCORE
from pipeline.options import ResolvedOptions, Tracker

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
            embeddings: `(N, 128)` of length 1, or None for a tracker that uses none.
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
    """

    def __init__(self, options: ResolvedOptions, looks_per_s: float) -> None:
        from boxmot import StrongSort

        self._tracker = StrongSort(
            min_conf=MIN_SCORE,
            max_cos_dist=0.6,
            max_iou_dist=0.9,
            n_init=1,
            max_age=_looks(options.max_gap_s, looks_per_s),
            variable_dt=True,
        )
        self._tracker.cmc = None
        self._frame = np.zeros((1, 1, 3), np.uint8)
        self._min_score = options.min_score

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
        detections = Detections(
            geometry=Boxes(torch.from_numpy(boxes)),
            scores=torch.from_numpy(scores),
            class_ids=torch.zeros(len(boxes), dtype=torch.int64),
            sample_id="look",
            embeddings=torch.from_numpy(embeddings),
        )
        tracks = self._tracker.update(detections, self._frame, timestamp_s=pts_s)
        numbers = tracks.track_ids.numpy()
        found = tracks.detection_indices.numpy()
        return np.asarray(np.stack([numbers, found], axis=1)[found >= 0], np.int64)


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
