"""Faces in one picture: the detector that was chosen, through onnxruntime."""

from __future__ import annotations

from typing import Protocol

from pipeline.faces import Faces
from pipeline.model_table import Detector
from pipeline.options import Device, Zoom
from pipeline.retinaface import RetinaFace
from pipeline.scrfd import Scrfd
from pipeline.video import Image
from pipeline.zoom import ZoomingDetector

_KINDS: dict[Detector, type[RetinaFace] | type[Scrfd]] = {
    Detector.mobilenet: RetinaFace,
    Detector.resnet50: RetinaFace,
    Detector.scrfd_500m: Scrfd,
}


class FaceDetector(Protocol):
    """A detector for pictures of one or more sizes. Use from one thread; make one per thread."""

    @property
    def device(self) -> Device:
        """Where it runs."""

    def detect(self, image: Image) -> Faces:
        """All faces with a score of at least `MIN_SCORE`.

        Args:
            image: `(H, W, 3)` uint8 BGR.
        """


def open_detector(
    detector: Detector = Detector.mobilenet,
    *,
    det_size: int,
    zoom: Zoom = Zoom.off,
    device: Device = Device.auto,
) -> FaceDetector:
    """The detector, ready to look.

    Args:
        det_size: longer side of what it sees, pixels; pictures are never upscaled.
        zoom: what it sees again, larger; without effect on a network of one fixed size.

    Raises:
        OptionError: the device is not there, or does not start.
        ModelError: the weights are not here, or are not the ones they should be.
    """
    network = _KINDS[detector](detector, det_size, device)
    if zoom is Zoom.off or not network.takes_any_size:
        return network
    return ZoomingDetector(network, det_size, zoom)
