"""Faces before and after a fade, dissolve or whip pan, compared by SFace, with every tracker.

What a tracker joins there by place may be one face over another. Nobody knows that a picture is
about to change, so the clear faces of the last seconds are kept, aligned. Once a change is over,
those nearest to it on both sides are embedded: some faces, some times an episode.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.changes import Transition
from pipeline.embedder import FaceEmbedder
from pipeline.errors import ModelError
from pipeline.links import pairwise_iou
from pipeline.model_table import Embedder
from pipeline.options import Device
from pipeline.transitions import SETTLED_S, WINDOW_S
from pipeline.video import Image

KEEP_EVERY_S = 0.2
"""Faces are kept so often at most."""

NEAR_S = 1.0
"""Faces are compared that were seen so long before and after a transition."""

_LOOKS = 2
"""From so many looks on each side: one may have caught a blink."""

_SAME_PLACE_IOU = 0.1
"""No tracker joins boxes that overlap less, so that these need not be compared where the camera
stands still. Through a whip pan it may have followed a face right across the picture."""

_KEPT_S = SETTLED_S + 2 * WINDOW_S + NEAR_S

Cosines = list[tuple[int, int, float]]
"""`det_id` before a transition, `det_id` after it, and the cosine of their SFace embeddings."""


@dataclass(frozen=True)
class KeptFaces:
    """The clear faces of a look.

    Attributes:
        boxes: `(N, 4)` xyxy pixels.
        pictures: aligned.
    """

    frame_index: int
    pts_s: float
    det_ids: list[int]
    boxes: NDArray[np.float32]
    pictures: list[Image]


@dataclass(frozen=True)
class Comparison:
    """Pairs of faces, by `det_id`, that may be one on both sides of a transition."""

    transition: Transition
    pairs: list[tuple[int, int]]
    pictures: dict[int, Image]


class TransitionFaces:
    """Keeps faces for as long as they may be needed. Feed it all looks in order."""

    def __init__(self) -> None:
        self._kept: deque[KeptFaces] = deque()

    def add(self, faces: KeptFaces) -> None:
        """Those of the next look."""
        self._kept.append(faces)
        while faces.pts_s - self._kept[0].pts_s > _KEPT_S:
            self._kept.popleft()

    def comparison(self, transition: Transition) -> Comparison:
        """What is to be compared at a transition that is over."""
        first, last = transition.first_frame, transition.last_frame
        start_s, end_s = transition.first_pts_s - NEAR_S, transition.last_pts_s + NEAR_S
        before = [k for k in self._kept if k.frame_index < first and k.pts_s >= start_s]
        after = [k for k in self._kept if k.frame_index > last and k.pts_s <= end_s]
        least_iou = 0.0 if transition.kind == "whip" else _SAME_PLACE_IOU
        pairs = []
        pictures: dict[int, Image] = {}
        for one in before[-_LOOKS:]:
            for other in after[:_LOOKS]:
                near = pairwise_iou(one.boxes, other.boxes) >= least_iou
                for i, j in np.argwhere(near).tolist():
                    pairs.append((one.det_ids[i], other.det_ids[j]))
                    pictures[one.det_ids[i]] = one.pictures[i]
                    pictures[other.det_ids[j]] = other.pictures[j]
        return Comparison(transition, pairs, pictures)


class FaceComparer:
    """Compares with SFace, which is opened when it is needed first. Use from any thread."""

    def __init__(self, device: Device) -> None:
        self.missing = ""
        """Why faces could not be compared, and what to do; empty where all could be."""
        self.used = False
        self._device = device
        self._embedder: FaceEmbedder | None = None
        self._opening = threading.Lock()
        self._cosines: dict[Transition, Cosines] = {}

    def compare(self, comparison: Comparison) -> None:
        """Embeds the faces and keeps the cosines, or says in `missing` why not."""
        if not comparison.pairs:
            self._cosines[comparison.transition] = []
            return
        with self._opening:
            try:
                if self._embedder is None and not self.missing:
                    self._embedder = FaceEmbedder(Embedder.sface, self._device)
            except ModelError as error:
                self.missing = str(error)
            embedder = self._embedder
        if embedder is None:
            return
        vectors = {det_id: embedder.embed(face) for det_id, face in comparison.pictures.items()}
        self.used = True
        self._cosines[comparison.transition] = [
            (one, other, round(float(vectors[one] @ vectors[other]), 4))
            for one, other in comparison.pairs
        ]

    def records(self, transitions: list[Transition]) -> Iterator[dict[str, object]]:
        """Each transition's record with its `cosines`; None where they are not known."""
        for transition in transitions:
            yield transition.as_record() | {"cosines": self._cosines.get(transition)}
