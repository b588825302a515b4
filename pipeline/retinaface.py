"""RetinaFace (Deng et al., CVPR 2020) with either backbone.

The constants are those of the networks' training: the configurations `cfg_mnet` and `cfg_re50` of
biubug6/Pytorch_Retinaface, which have the same anchors and variances.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil

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

_ANCHORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
"""Anchor sizes in pixels, by the stride of their feature map."""

_CENTER_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2

MEAN_BGR = {
    # As the package that carries these weights has it.
    Detector.mobilenet: (104.0, 117.0, 127.0),
    # As biubug6's detect.py has it.
    Detector.resnet50: (104.0, 117.0, 123.0),
}
"""What is taken off each pixel."""


class RetinaFace:
    """A RetinaFace network in one session."""

    def __init__(self, detector: Detector, det_size: int, device: Device) -> None:
        """
        Args:
            detector: one of RetinaFace's.
            det_size: longer side of the network's input, pixels.

        Raises:
            OptionError: the device is not there.
            ModelError: the weights are not here, or are not RetinaFace's.
        """
        model = weights(MODELS[detector])
        self._session, self.device = open_session(model, device)
        self._input, self._outputs = _bind(self._session, f"the file of {detector}")
        self._fixed = _fixed_size(self._session)
        self._mean = MEAN_BGR[detector]
        self._det_size = det_size
        self._blob = np.empty((1, 3, 0, 0), np.float32)
        self._blob_for = (0, 0)

    def detect(
        self, image: Image, det_size: float | None = None, min_score: float = MIN_SCORE
    ) -> Faces:
        """All faces with a score of at least `min_score`.

        Args:
            image: `(H, W, 3)` uint8 BGR.
            det_size: longer side of what the network sees, pixels; default: the detector's own.
        """
        height, width = image.shape[:2]
        size = self._input_size(width, height, det_size or self._det_size)
        image = scaled(image, size)
        blob = self._preprocess(image)
        loc, conf, points = self._session.run(self._outputs, {self._input: blob})
        anchors = _anchors(blob.shape[3], blob.shape[2])
        return _decode(anchors, loc[0], conf[0, :, 1], points[0], size, (width, height), min_score)

    @property
    def takes_any_size(self) -> bool:
        """Whether a smaller picture is less work."""
        return self._fixed is None

    def _input_size(self, width: int, height: int, longest: float) -> tuple[int, int]:
        """Width and height a frame is scaled to, so that a network of a fixed size holds it."""
        if self._fixed is not None:
            fits = min(self._fixed[0] / width, self._fixed[1] / height)
            longest = min(longest, fits * max(width, height))
        return detector_input_size(width, height, longest)

    def _preprocess(self, image: Image) -> Floats:
        """`(1, 3, H, W)` of the picture's size, or padded with the mean to the fixed size."""
        height, width = image.shape[:2]
        if self._blob_for != (width, height):
            columns, rows = self._fixed or (width, height)
            self._blob = np.zeros((1, 3, rows, columns), np.float32)
            self._blob_for = (width, height)
        filled = self._blob[0, :, :height, :width]
        for channel, plane in enumerate(cv2.split(image)):
            # In two steps: a ufunc that has to convert takes four times as long.
            filled[channel] = plane
            filled[channel] -= np.float32(self._mean[channel])
        return self._blob


def check_export(content: bytes) -> None:
    """Says whether a file can be used as a RetinaFace.

    Raises:
        ModelError: it cannot; the message says why.
    """
    session, _ = open_session(content, Device.cpu)
    _bind(session, "the file")


def _bind(session: onnxruntime.InferenceSession, what: str) -> tuple[str, list[str]]:
    """The names of the input and of the outputs: offsets, scores, landmarks.

    Exports name and order them as they like; the length of the last axis tells which is which.

    Raises:
        ModelError: it is another network.
    """
    inputs = session.get_inputs()
    named = {output.shape[-1]: output.name for output in session.get_outputs() if output.shape}
    if len(inputs) != 1 or named.keys() != {2, 4, 10}:
        raise ModelError(
            f"{what} is no RetinaFace: its outputs have rows of {[*named]}, not of 4, 2 and 10; "
            "pull the right file"
        )
    return inputs[0].name, [named[4], named[2], named[10]]


def _fixed_size(session: onnxruntime.InferenceSession) -> tuple[int, int] | None:
    """Width and height of the only picture the network takes; None where it takes any."""
    height, width = session.get_inputs()[0].shape[2:]
    return (width, height) if isinstance(height, int) and isinstance(width, int) else None


@lru_cache(maxsize=128)
def _anchors(width: int, height: int) -> Floats:
    """`(A, 4)` anchor centers and sizes in pixels of the network's input, in output order."""
    grids = []
    for stride, sizes in _ANCHORS.items():
        columns, rows = ceil(width / stride), ceil(height / stride)
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        centers = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * stride
        grid = np.empty((len(centers), len(sizes), 4), np.float32)
        grid[:, :, :2] = centers[:, None]
        grid[:, :, 2:] = np.array(sizes)[None, :, None]
        grids.append(grid.reshape(-1, 4))
    return np.concatenate(grids)


def _decode(
    anchors: Floats,
    loc: Floats,
    scores: Floats,
    points: Floats,
    size: tuple[int, int],
    frame_size: tuple[int, int],
    min_score: float,
) -> Faces:
    """Boxes and landmarks in frame pixels, of the anchors that pass score and NMS."""
    chosen = best_first(scores, min_score)
    anchors = anchors[chosen]
    scores, loc = scores[chosen], loc[chosen]
    centers = anchors[:, :2] + anchors[:, 2:] * loc[:, :2] * _CENTER_VARIANCE
    sides = anchors[:, 2:] * np.exp(loc[:, 2:] * _SIZE_VARIANCE)
    boxes = np.hstack([centers - sides / 2, centers + sides / 2])
    kept = suppress(boxes, scores)
    offsets = points[chosen[kept]].reshape(-1, 5, 2) * _CENTER_VARIANCE
    landmarks = anchors[kept, None, :2] + anchors[kept, None, 2:] * offsets
    return faces_in_frame(boxes[kept], scores[kept], landmarks, size, frame_size)
