"""Looks at one picture in several sizes, and one answer from them.

The score that a detector gives a small face depends on the size it happens to see it in; the mean
over three sizes, with boxes that are means by score (weighted boxes fusion, Solovyev et al., Image
and Vision Computing, 2021), is steadier, and a better one to decide by. Seeing the whole picture
in three sizes costs five times as much as in one. Nearly all of the gain is in the faces that the
smallest size finds and is unsure of, and those fill little of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Protocol

import numpy as np

from pipeline.faces import MIN_SCORE, Faces, Floats, best_of, join
from pipeline.links import pairwise_iou
from pipeline.options import Device, Zoom
from pipeline.video import Image

ZOOMS = (1.25, 1.5)
"""How much larger the further looks are than the first; never beyond the picture's own pixels."""

UNSURE_SCORE, SURE_SCORE = 0.15, 0.9
"""What the first look finds with a score between the two is looked at again. On twelve altered
copies of the truth episodes (turned over, smaller, darker) IDF1 is the same within 0.002 from 0.1
to 0.2, and from 0.1 on the looks cost a tenth more."""

SAME_IOU = 0.5
"""Overlap that makes two boxes of two looks the same face."""

_REACH_SIDES, _REACH_PIXELS = 0.75, 48.0
"""A further look sees this far from a face's middle: sides of the face, and pixels of the first
look. The network knows small faces by what is around them: with 12 pixels IDF1 is 0.004 lower."""

_GRID = 32
"""Sides of the pieces are multiples of it, in the network's pixels: its coarsest stride."""

Rect = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the picture."""


class SizedDetector(Protocol):
    """A detector that sees a picture in the size it is told."""

    @property
    def device(self) -> Device:
        """Where it runs."""

    @property
    def takes_any_size(self) -> bool:
        """Whether a smaller picture is less work."""

    def detect(
        self, image: Image, det_size: float | None = None, min_score: float = MIN_SCORE
    ) -> Faces:
        """As `RetinaFace.detect`."""


@dataclass(frozen=True)
class ZoomingDetector:
    """Gives mean scores and fused boxes of looks in several sizes.

    Attributes:
        detector: does the looking.
        det_size: longer side of what it sees in the first look, pixels.
        zoom: what it sees again: all of the picture, or the faces it is unsure of.
    """

    detector: SizedDetector
    det_size: int
    zoom: Zoom

    @property
    def device(self) -> Device:
        return self.detector.device

    def detect(self, image: Image) -> Faces:
        """All faces with a mean score of at least `MIN_SCORE`.

        Args:
            image: `(H, W, 3)` uint8 BGR.
        """
        longer = max(image.shape[:2])
        first = min(1.0, self.det_size / longer)
        further = sorted({min(1.0, first * zoom) for zoom in ZOOMS} - {first})
        if not further:
            return self.detector.detect(image)
        if self.zoom is Zoom.picture:
            looks = [self.detector.detect(image, longer * scale) for scale in (first, *further)]
            return best_of(fuse(looks))
        found = self.detector.detect(image, min_score=UNSURE_SCORE)
        sure = found.scores >= SURE_SCORE
        unsure = found.chosen(~sure)
        if not len(unsure):
            return found
        sides = np.max(unsure.boxes[:, 2:] - unsure.boxes[:, :2], axis=1)
        reach = sides * _REACH_SIDES + _REACH_PIXELS / first
        looks = [self._look_again(image, unsure.boxes, reach, scale) for scale in further]
        return best_of(join([found.chosen(sure), fuse([unsure, *looks])]))

    def _look_again(self, image: Image, boxes: Floats, reach: Floats, scale: float) -> Faces:
        """The faces of the boxes, as they are found in another size."""
        height, width = image.shape[:2]
        parts = []
        for left, top, right, bottom in pieces(boxes, reach, (width, height), scale):
            piece = np.ascontiguousarray(image[top:bottom, left:right])
            det_size = max(right - left, bottom - top) * scale
            faces = self.detector.detect(piece, det_size)
            corner = np.array([left, top], np.float32)
            parts.append(
                Faces(faces.boxes + np.tile(corner, 2), faces.scores, faces.landmarks + corner)
            )
        faces = join(parts)
        # Other boxes are mostly faces that the piece has cut.
        return best_of(faces.chosen(pairwise_iou(faces.boxes, boxes).max(axis=1) >= SAME_IOU))


def pieces(
    boxes: Floats, reach: Floats, size: tuple[int, int], scale: float
) -> list[tuple[int, int, int, int]]:
    """The parts of a picture to look at again: around each box, those that overlap as one.

    Args:
        boxes: `(N, 4)` xyxy pixels of the picture.
        reach: `(N,)` pixels from a box's middle that are to be seen.
        size: the picture's width and height.
        scale: pixels the network sees for one of the picture's.

    Returns:
        Left, top, right, bottom of each, inside the picture.
    """
    rects: list[Rect] = []
    for box, far in zip(boxes.tolist(), reach.tolist(), strict=True):
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        rect = (x - far, y - far, x + far, y + far)
        while (other := next((r for r in rects if _is_less_as_one(r, rect)), None)) is not None:
            rects.remove(other)
            rect = _union(other, rect)
        rects.append(rect)
    return [_on_grid(rect, size, scale) for rect in rects]


def _area(rect: Rect) -> float:
    return (rect[2] - rect[0]) * (rect[3] - rect[1])


def _union(a: Rect, b: Rect) -> Rect:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _is_less_as_one(a: Rect, b: Rect) -> bool:
    return _area(_union(a, b)) <= _area(a) + _area(b)


def _on_grid(rect: Rect, size: tuple[int, int], scale: float) -> tuple[int, int, int, int]:
    """The rectangle, its sides as the network likes them, moved or cut to lie in the picture."""
    spans = []
    for start, end, limit in ((rect[0], rect[2], size[0]), (rect[1], rect[3], size[1])):
        side = min(limit, round(ceil((end - start) * scale / _GRID) * _GRID / scale))
        first = min(max(0, round((start + end - side) / 2)), limit - side)
        spans.append((first, first + side))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom


def fuse(looks: list[Faces]) -> Faces:
    """The faces of several looks at one picture, each once.

    Boxes and landmarks are means by score. A look that does not see a face counts as score 0.

    Args:
        looks: faces of one look overlap one another by less than `SAME_IOU`.
    """
    parts, numbers = [looks[0]], [np.arange(len(looks[0]))]
    for look in looks[1:]:
        known, number_of = join(parts), np.concatenate(numbers)
        number = len(known) + np.arange(len(look))
        if len(known) and len(look):
            iou = pairwise_iou(look.boxes, known.boxes)
            number = np.where(iou.max(axis=1) >= SAME_IOU, number_of[iou.argmax(axis=1)], number)
        # Where two boxes of a look are the same face, the better counts.
        number, best = np.unique(number, return_index=True)
        numbers.append(number)
        parts.append(look.chosen(best))
    faces = join(parts)
    _, number = np.unique(np.concatenate(numbers), return_inverse=True)
    count = int(number.max()) + 1 if len(number) else 0
    scores = np.zeros(count, np.float32)
    boxes = np.zeros((count, 4), np.float32)
    landmarks = np.zeros((count, 5, 2), np.float32)
    np.add.at(scores, number, faces.scores)
    np.add.at(boxes, number, faces.boxes * faces.scores[:, None])
    np.add.at(landmarks, number, faces.landmarks * faces.scores[:, None, None])
    boxes /= scores[:, None]
    landmarks /= scores[:, None, None]
    return Faces(boxes, scores / np.float32(len(looks)), landmarks)
