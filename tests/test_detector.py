"""The detector against the package its weights come from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from retinaface import detect_faces

from pipeline.detector import FaceDetector, detector_input_size
from pipeline.errors import OptionError
from pipeline.options import Device
from pipeline.sessions import choose_device
from pipeline.video import Image, VideoReader, probe


def _frame(path: Path, number: int) -> Image:
    with VideoReader(path, probe(path)) as reader:
        return next(frame.image for frame in reader.frames() if frame.index == number)


def _matches_the_package(image: Image) -> int:
    """Compares all faces of 0.5 or more with the package's; returns how many there are."""
    theirs = detect_faces(image[:, :, ::-1], score_threshold=0.5)
    found = FaceDetector(det_size=4096, device=Device.cpu).detect(image)
    ours = [i for i in range(len(found)) if found.scores[i] > 0.5]
    assert len(ours) == len(theirs)
    height, width = image.shape[:2]
    for i, face in zip(ours, sorted(theirs, key=lambda face: -face.score), strict=True):
        assert found.scores[i] == pytest.approx(face.score, abs=0.01)
        # The package cuts to whole pixels and does not keep boxes inside the picture.
        corners = [face.x, face.y, face.x + face.width, face.y + face.height]
        inside = np.clip(corners, 0, [width, height, width, height])
        assert np.abs(found.boxes[i] - inside).max() <= 2
        points = np.array([(p.x, p.y) for p in face.landmarks])
        assert np.abs(found.landmarks[i] - points).max() <= 1
    return len(ours)


@pytest.mark.parametrize(
    "size",
    [
        (176, 144),  # as stored
        (352, 288),
        (353, 287),  # no multiple of any stride of the network
        (144, 176),  # portrait, squeezed
        (101, 97),
    ],
)
def test_boxes_scores_and_landmarks_are_the_packages_own(
    size: tuple[int, int], sample: Path
) -> None:
    image = np.asarray(cv2.resize(_frame(sample, 30), size), np.uint8)
    assert _matches_the_package(image) == 1


def test_they_are_with_many_faces_too(shared_data: Path) -> None:
    video = shared_data / "truth" / "episode12.mp4"
    assert sum(_matches_the_package(_frame(video, number)) for number in (60, 300, 700)) >= 5


def test_boxes_come_back_in_pixels_of_the_stored_frame(sample: Path) -> None:
    small = _frame(sample, 30)
    large = np.asarray(cv2.resize(small, None, fx=4, fy=4), np.uint8)
    a = FaceDetector(det_size=176, device=Device.cpu).detect(small)
    b = FaceDetector(det_size=176, device=Device.cpu).detect(large)
    assert np.abs(a.boxes[0] * 4 - b.boxes[0]).max() < 16


@pytest.mark.parametrize(
    ("frame", "det_size", "seen"),
    [
        ((1280, 720), 640, (640, 360)),  # landscape
        ((720, 1280), 640, (360, 640)),  # portrait
        ((320, 240), 640, (320, 240)),  # never upscaled
        ((1920, 817), 640, (640, 272)),  # odd aspect
        ((2000, 1), 640, (640, 1)),  # never to nothing
    ],
)
def test_the_longer_side_is_scaled_and_never_up(
    frame: tuple[int, int], det_size: int, seen: tuple[int, int]
) -> None:
    assert detector_input_size(*frame, det_size) == seen


def test_noise_has_no_face() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    found = FaceDetector(det_size=640, device=Device.cpu).detect(noise)
    assert not (found.scores > 0.5).any()
    assert found.boxes.shape[1:] == (4,) and found.landmarks.shape[1:] == (5, 2)


CPU, CUDA, COREML = "CPUExecutionProvider", "CUDAExecutionProvider", "CoreMLExecutionProvider"


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        (Device.auto, [CPU], Device.cpu),
        (Device.auto, [CPU, CUDA], Device.cuda),
        (Device.auto, [CPU, COREML], Device.coreml),
        (Device.cpu, [CUDA, CPU], Device.cpu),
    ],
)
def test_the_device_is_the_best_one_present(
    wanted: Device, there: list[str], chosen: Device
) -> None:
    assert choose_device(wanted, there) is chosen


def test_a_device_that_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(OptionError, match=r"'cuda' is not there.*has cpu"):
        choose_device(Device.cuda, [CPU])
