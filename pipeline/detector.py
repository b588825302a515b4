"""Faces in one picture: RetinaFace (Deng et al., CVPR 2020) through onnxruntime.

The constants are those of the network's training: the mobilenet0.25 configuration of
biubug6/Pytorch_Retinaface (anchors, variances), and the input mean of the package the weights
come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pipeline.models import detector_weights
from pipeline.options import Device
from pipeline.sessions import choose_device, open_session
from pipeline.video import Image

MIN_SCORE = 0.2
"""Detections below are noise to every tracker; not stored."""

NMS_IOU = 0.4
"""Of two boxes that overlap more, the one with the lower score is dropped."""

_ANCHORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}
"""Anchor sizes in pixels, by the stride of their feature map."""

_CENTER_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2
_MEAN_BGR = (104.0, 117.0, 127.0)

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


def detector_input_size(width: int, height: int, det_size: int) -> tuple[int, int]:
    """Width and height the detector sees: longer side `det_size`, never upscaled.

    The network takes any size, so nothing is padded.
    """
    scale = min(1.0, det_size / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


@lru_cache(maxsize=8)
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


class FaceDetector:
    """A detector for pictures of one or more sizes. Use from one thread; make one per thread."""

    def __init__(self, det_size: int, device: Device = Device.auto) -> None:
        """
        Args:
            det_size: longer side of the network's input, pixels.

        Raises:
            OptionError: the device is not there.
            ModelError: the weights are not the ones they should be.
        """
        self.device = choose_device(device, onnxruntime.get_available_providers())
        self._session = open_session(detector_weights(), self.device)
        self._det_size = det_size
        self._blob = np.empty((1, 3, 0, 0), np.float32)

    def detect(self, image: Image) -> Faces:
        """All faces with a score of at least `MIN_SCORE`.

        Args:
            image: `(H, W, 3)` uint8 BGR.
        """
        height, width = image.shape[:2]
        size = detector_input_size(width, height, self._det_size)
        if size != (width, height):
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        loc, conf, points = self._session.run(
            ["loc", "conf", "landmarks"], {"input": self._preprocess(image)}
        )
        return self._decode(loc[0], conf[0, :, 1], points[0], size, (width, height))

    def _preprocess(self, image: Image) -> Floats:
        height, width = image.shape[:2]
        if self._blob.shape[2:] != (height, width):
            self._blob = np.empty((1, 3, height, width), np.float32)
        for channel, plane in enumerate(cv2.split(image)):
            np.subtract(plane, np.float32(_MEAN_BGR[channel]), out=self._blob[0, channel])
        return self._blob

    def _decode(
        self,
        loc: Floats,
        scores: Floats,
        points: Floats,
        size: tuple[int, int],
        frame_size: tuple[int, int],
    ) -> Faces:
        """Boxes and landmarks in frame pixels, of the anchors that pass score and NMS."""
        chosen = np.flatnonzero(scores >= MIN_SCORE)
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
        anchors = _anchors(*size)[chosen]
        scores, loc = scores[chosen], loc[chosen]
        scale = np.array(frame_size, np.float32) / np.array(size, np.float32)
        centers = anchors[:, :2] + anchors[:, 2:] * loc[:, :2] * _CENTER_VARIANCE
        sides = anchors[:, 2:] * np.exp(loc[:, 2:] * _SIZE_VARIANCE)
        boxes = np.hstack([centers - sides / 2, centers + sides / 2])
        kept = _suppress(boxes, scores)
        offsets = points[chosen[kept]].reshape(-1, 5, 2) * _CENTER_VARIANCE
        landmarks = anchors[kept, None, :2] + anchors[kept, None, 2:] * offsets
        boxes = boxes[kept].reshape(-1, 2, 2) * scale
        np.clip(boxes, 0, np.array(frame_size, np.float32), out=boxes)
        boxes = boxes.reshape(-1, 4)
        inside = (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
        return Faces(boxes[inside], scores[kept][inside], (landmarks * scale)[inside])


def _suppress(boxes: Floats, scores: Floats) -> NDArray[np.intp]:
    """Indices that non-maximum suppression keeps, best first."""
    if not len(boxes):
        return np.empty(0, np.intp)
    xywh = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    kept = cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), MIN_SCORE, NMS_IOU)
    return np.asarray(kept, np.intp).ravel()
