"""SCRFD (Guo et al., ICLR 2022), as InsightFace exports it.

Strides, anchors and input scaling are those of `scrfd.py` in InsightFace's Python package.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import onnxruntime

from pipeline.errors import ModelError
from pipeline.faces import (
    MIN_SCORE,
    Faces,
    Floats,
    best_first,
    detector_input_size,
    faces_in_frame,
    scaled,
    suppress,
)
from pipeline.model_table import MODELS, Detector
from pipeline.models import weights
from pipeline.options import Device
from pipeline.sessions import open_session
from pipeline.video import Image

_STRIDES = (8, 16, 32)
_ANCHORS_PER_CELL = 2

_MEAN, _SPREAD = 127.5, 128.0
"""The network sees (pixel - 127.5) / 128, RGB."""


class Scrfd:
    """An SCRFD network with landmarks in one session.

    Attributes:
        takes_any_size: a smaller picture is less work.
    """

    takes_any_size = True

    def __init__(self, detector: Detector, det_size: int, device: Device) -> None:
        """
        Args:
            detector: one of SCRFD's.
            det_size: longer side of the picture the network sees, pixels, before it is padded.

        Raises:
            OptionError: the device is not there.
            ModelError: the weights are not here, or are not SCRFD's.
        """
        model = weights(MODELS[detector])
        self._session, self.device = open_session(model, device)
        self._input, self._outputs = _bind(self._session, f"the file of {detector}")
        self._det_size = det_size

    def detect(
        self, image: Image, det_size: float | None = None, min_score: float = MIN_SCORE
    ) -> Faces:
        """All faces with a score of at least `min_score`.

        Args:
            image: `(H, W, 3)` uint8 BGR.
            det_size: longer side of what the network sees, pixels; default: the detector's own.
        """
        height, width = image.shape[:2]
        size = detector_input_size(width, height, det_size or self._det_size)
        image = scaled(image, size)
        blob = _preprocess(image)
        found = self._session.run(self._outputs, {self._input: blob})
        scores, distances, points = (
            np.concatenate([part.reshape(-1, length) for part in found[first : first + 3]])
            for first, length in ((0, 1), (3, 4), (6, 10))
        )
        grid = _grid(blob.shape[3], blob.shape[2])
        return _decode(grid, scores[:, 0], distances, points, size, (width, height), min_score)


def _preprocess(image: Image) -> Floats:
    """`(1, 3, H, W)` RGB: sides padded at the right and bottom to multiples of the last stride.

    The padding is black, which InsightFace pads with, too.
    """
    height, width = image.shape[:2]
    coarsest = _STRIDES[-1]
    bottom, right = -height % coarsest, -width % coarsest
    padded = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    mean = (_MEAN, _MEAN, _MEAN)
    blob = cv2.dnn.blobFromImage(padded, 1 / _SPREAD, mean=mean, swapRB=True)
    return np.asarray(blob, np.float32)


def _bind(session: onnxruntime.InferenceSession, what: str) -> tuple[str, list[str]]:
    """The names of the input and of the outputs: three scores, three boxes, three landmarks.

    Raises:
        ModelError: it is another network.
    """
    inputs = session.get_inputs()
    by_length: dict[object, list[str]] = {1: [], 4: [], 10: []}
    for output in session.get_outputs():
        by_length.setdefault(output.shape[-1] if output.shape else 0, []).append(output.name)
    if len(inputs) != 1 or [len(names) for names in by_length.values()] != [3, 3, 3]:
        raise ModelError(f"{what} is no SCRFD with landmarks: pull the right file")
    return inputs[0].name, [name for names in by_length.values() for name in names]


@lru_cache(maxsize=128)
def _grid(width: int, height: int) -> Floats:
    """`(A, 3)`: x and y of each anchor in pixels of the network's input, and its stride."""
    grids = []
    for stride in _STRIDES:
        x, y = np.meshgrid(np.arange(width // stride), np.arange(height // stride))
        cells = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1) * stride
        grids.append(np.repeat(cells, _ANCHORS_PER_CELL, axis=0))
    return np.concatenate(grids).astype(np.float32)


def _decode(
    grid: Floats,
    scores: Floats,
    distances: Floats,
    points: Floats,
    size: tuple[int, int],
    frame_size: tuple[int, int],
    min_score: float,
) -> Faces:
    """Boxes and landmarks in frame pixels. The network gives both in strides from the anchor."""
    chosen = best_first(scores, min_score)
    scores = scores[chosen]
    centers, strides = grid[chosen, :2], grid[chosen, 2:]
    distances = distances[chosen] * strides
    boxes = np.hstack([centers - distances[:, :2], centers + distances[:, 2:]])
    kept = suppress(boxes, scores)
    offsets = points[chosen[kept]].reshape(-1, 5, 2) * strides[kept, None]
    landmarks = centers[kept, None] + offsets
    return faces_in_frame(boxes[kept], scores[kept], landmarks, size, frame_size)
