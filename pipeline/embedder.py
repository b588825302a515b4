"""What a face looks like, as a vector.

SFace (Zhong et al., 2021) or ArcFace (Deng et al., CVPR 2019), through onnxruntime.

Both take faces aligned alike: the five landmarks are moved by a similarity transform onto fixed
places of a 112 x 112 picture.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.model_table import MODELS, Embedder
from pipeline.models import weights
from pipeline.options import Device
from pipeline.sessions import open_session
from pipeline.video import Image

SIDE = 112

_INPUT = {
    # OpenCV's FaceRecognizerSF gives the network plain pixels.
    Embedder.sface: (0.0, 1.0),
    # InsightFace's arcface_onnx.py.
    Embedder.arcface_mbf: (127.5, 127.5),
}
"""Each network sees (pixel - first) / second, RGB."""

_TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    np.float64,
)
"""ArcFace's landmark places in the aligned picture, xy pixels."""


def align(image: Image, landmarks: NDArray[np.float32]) -> Image:
    """The face, upright, `(112, 112, 3)` BGR.

    Args:
        image: `(H, W, 3)` BGR.
        landmarks: `(5, 2)` xy pixels in the order of `Faces.landmarks`.
    """
    transform = _similarity(landmarks.astype(np.float64), _TEMPLATE)
    return np.asarray(cv2.warpAffine(image, transform, (SIDE, SIDE)), np.uint8)


def _similarity(points: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(2, 3)` least-squares rotation, scale and shift (Umeyama 1991, the 2-D closed form)."""
    mean, target_mean = points.mean(axis=0), target.mean(axis=0)
    x, y = (points - mean).T
    u, v = (target - target_mean).T
    spread = max(float(x @ x + y @ y), 1e-6)
    a, b = float(x @ u + y @ v) / spread, float(x @ v - y @ u) / spread
    matrix = np.array([[a, -b], [b, a]])
    return np.hstack([matrix, (target_mean - matrix @ mean)[:, None]])


class FaceEmbedder:
    """Embeds aligned faces. Threads may share one; each is as quick with one of its own."""

    def __init__(self, embedder: Embedder, device: Device) -> None:
        """
        Raises:
            OptionError: the device is not there.
            ModelError: the weights are not here, or are not the ones they should be.
        """
        asset = MODELS[embedder]
        self._session, self.device = open_session(weights(asset), device)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or outputs[0].shape[-1] != asset.dimensions:
            raise ModelError(f"{asset.what}: its file is another network: {asset.remedy}")
        self._input = inputs[0].name
        self._mean, self._spread = map(np.float32, _INPUT[embedder])

    def embed(self, face: Image) -> NDArray[np.float32]:
        """`(D,)` float32 of length 1; the cosine of two says how alike the faces are.

        D is 128 with SFace and 512 with ArcFace.

        Args:
            face: `(112, 112, 3)` BGR from `align`.
        """
        blob = np.ascontiguousarray(face[:, :, ::-1].transpose(2, 0, 1)[None], np.float32)
        blob = (blob - self._mean) / self._spread
        vector = np.asarray(self._session.run(None, {self._input: blob})[0][0], np.float32)
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-6), np.float32)
