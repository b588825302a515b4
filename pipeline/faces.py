"""The faces of one picture, and what every detector does alike to find them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.video import Image

MIN_SCORE = 0.2
"""Detections below are noise to every tracker; not stored."""

NMS_IOU = 0.4
"""Of two boxes that overlap more, the one with the lower score is dropped."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Faces:
    """Faces of one picture, best score first.

    Attributes:
        boxes: `(N, 4)` float32, xyxy pixels of the stored frame, inside it.
        scores: `(N,)` float32 in 0..1.
        landmarks: `(N, 5, 2)` float32, xy pixels: left eye, right eye, nose, left and right
            mouth corner, left and right as seen in the picture.
    """

    boxes: Floats
    scores: Floats
    landmarks: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Faces:
        """Some of the faces, by mask or by index."""
        return Faces(self.boxes[which], self.scores[which], self.landmarks[which])


def join(parts: list[Faces]) -> Faces:
    """The faces of several looks, one after the other."""
    return Faces(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.landmarks for part in parts]),
    )


def best_of(faces: Faces) -> Faces:
    """Those of at least `MIN_SCORE` that non-maximum suppression keeps, best first."""
    faces = faces.chosen(best_first(faces.scores, MIN_SCORE))
    return faces.chosen(suppress(faces.boxes, faces.scores))


def detector_input_size(width: int, height: int, det_size: float) -> tuple[int, int]:
    """Width and height the picture is scaled to: longer side `det_size`, never upscaled."""
    scale = min(1.0, det_size / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def scaled(image: Image, size: tuple[int, int], into: Image | None = None) -> Image:
    """The picture in another size, width and height; itself where it has that size already.

    Down to half its size by interpolation: a mean over areas, which has to weigh parts of pixels
    there, takes five times as long, and tracks are no better for it.

    Args:
        into: memory of that size to write to.
    """
    height, width = image.shape[:2]
    if size == (width, height):
        return image
    how = cv2.INTER_AREA if width >= 2 * size[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, dst=into, interpolation=how), np.uint8)


def best_first(scores: Floats, min_score: float) -> NDArray[np.intp]:
    """Indices of the scores of at least `min_score`, best first."""
    chosen = np.flatnonzero(scores >= min_score)
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def suppress(boxes: Floats, scores: Floats) -> NDArray[np.intp]:
    """Indices that non-maximum suppression keeps, best first.

    Args:
        boxes: `(N, 4)` xyxy pixels.
        scores: `(N,)` above 0.
    """
    if not len(boxes):
        return np.empty(0, np.intp)
    xywh = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    kept = cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), 0.0, NMS_IOU)
    return np.asarray(kept, np.intp).ravel()


def faces_in_frame(
    boxes: Floats,
    scores: Floats,
    landmarks: Floats,
    size: tuple[int, int],
    frame_size: tuple[int, int],
) -> Faces:
    """Scales what was found to the stored frame; boxes are cut at its edges.

    Args:
        boxes: `(N, 4)` xyxy pixels of the scaled picture.
        landmarks: `(N, 5, 2)` xy pixels of it.
        size: its width and height.
        frame_size: width and height of the stored frame.
    """
    scale = np.divide(frame_size, size, dtype=np.float32)
    boxes = boxes.reshape(-1, 2, 2) * scale
    np.clip(boxes, 0, np.array(frame_size, np.float32), out=boxes)
    boxes = boxes.reshape(-1, 4)
    inside = (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
    return Faces(boxes[inside], scores[inside], (landmarks * scale)[inside])
