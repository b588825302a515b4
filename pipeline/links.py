"""Which detection carries on which, from one look to the next, by overlap alone.

Embedding a face costs more than finding it. A face that plainly is the one of the look before
(one box overlaps it, and only one) need not be embedded again for a while: `EmbeddingPlan` says
which faces need it, and gives every other face the vector of the one it carries on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EMBED_EVERY_S = 1.0
"""A face that carries on is embedded again after this many seconds."""

LINK_IOU = 0.5
"""Overlap that makes a box the same face as in the look before."""

DOUBT_IOU = 0.2
"""A second box that overlaps this much makes it uncertain which is which."""


def pairwise_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union, `(N, M)` in 0..1, of `(N, 4)` and `(M, 4)` xyxy boxes."""
    corner = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    overlap = np.prod(np.maximum(corner, 0), axis=2)
    area_a = np.prod(a[:, 2:] - a[:, :2], axis=1)
    area_b = np.prod(b[:, 2:] - b[:, :2], axis=1)
    return np.asarray(
        overlap / np.maximum(area_a[:, None] + area_b[None] - overlap, 1e-6), np.float32
    )


class EmbeddingPlan:
    """Decides look by look which faces to embed. Feed it all looks in order, empty ones too."""

    def __init__(self) -> None:
        self._shot_id = -1
        self._boxes = np.empty((0, 4), np.float32)
        self._sources: list[int] = []
        self._embedded_at: list[float] = []

    def next_look(
        self, shot_id: int, pts_s: float, boxes: NDArray[np.float32], det_ids: list[int]
    ) -> list[int]:
        """For each face the `det_id` whose embedding it has; its own means: embed it.

        Args:
            boxes: `(N, 4)` xyxy pixels.
            det_ids: N ids.
        """
        sources, embedded_at = list(det_ids), [pts_s] * len(det_ids)
        if shot_id == self._shot_id and len(boxes) and len(self._boxes):
            iou = pairwise_iou(boxes, self._boxes)
            for face, overlaps in enumerate(iou):
                before = int(overlaps.argmax())
                plain = (
                    overlaps[before] >= LINK_IOU
                    and (overlaps >= DOUBT_IOU).sum() == 1
                    and (iou[:, before] >= DOUBT_IOU).sum() == 1
                )
                if plain and pts_s - self._embedded_at[before] < EMBED_EVERY_S:
                    sources[face] = self._sources[before]
                    embedded_at[face] = self._embedded_at[before]
        self._shot_id, self._boxes = shot_id, boxes
        self._sources, self._embedded_at = sources, embedded_at
        return sources
