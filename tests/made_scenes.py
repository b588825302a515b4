"""Scenes as functions of time: a camera over a photo, and people who move before a background.

A scene can be drawn at any moment, so the same scene can be filmed at any frame rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.made_faces import Box, Photo, Sprite
from tests.media import Image

_SHUTTER_S = 1 / 48
"""Exposure of a fast camera move: what the film industry calls a shutter of 180 degrees."""

_BLURRED = 0.25
"""A face that moves by more than this part of its width while the shutter is open is not judged."""


@dataclass(frozen=True)
class FaceAt:
    """A face in a drawn picture.

    Attributes:
        box: xyxy pixels; may reach out of the picture.
        hidden: part of the box that something covers, 0 to 1.
        ignore: whether it counts neither way.
    """

    name: str
    box: Box
    hidden: float = 0.0
    ignore: bool = False


Drawn = tuple[Image, list[FaceAt]]


class Scene(Protocol):
    """What a camera would see."""

    @property
    def duration_s(self) -> float: ...

    def draw(self, at_s: float) -> Drawn:
        """The picture at a moment, in seconds from the scene's start."""
        ...


@dataclass(frozen=True)
class Path:
    """Numbers that go smoothly from key to key.

    Attributes:
        times_s: `(K,)`, ascending; before the first and after the last nothing moves.
        keys: `(K, D)`.
        sway: `(D,)` amplitude of a slow swing on top, by hand or of a person.
        sway_hz: how often.
    """

    times_s: Sequence[float]
    keys: Sequence[Sequence[float]]
    sway: Sequence[float] = ()
    sway_hz: float = 0.7

    def at(self, time_s: float) -> NDArray[np.float64]:
        keys = np.asarray(self.keys, np.float64)
        i = int(np.clip(np.searchsorted(self.times_s, time_s) - 1, 0, max(0, len(keys) - 2)))
        j = min(i + 1, len(keys) - 1)
        span = self.times_s[j] - self.times_s[i]
        part = float(np.clip((time_s - self.times_s[i]) / span, 0, 1)) if span > 0 else 0.0
        part = part * part * (3 - 2 * part)
        value = keys[i] * (1 - part) + keys[j] * part
        if len(self.sway):
            phase = 2 * np.pi * self.sway_hz * time_s + np.arange(len(self.sway))
            value = value + np.asarray(self.sway) * np.sin(phase)
        return np.asarray(value)


@dataclass(frozen=True)
class CameraScene:
    """A camera that moves over a photo.

    Attributes:
        size: width and height of the picture made, pixels.
        view: center x, center y (parts of the photo) and width (part of the widest view) in time.
    """

    photo: Photo
    size: tuple[int, int]
    duration_s: float
    view: Path
    blur: bool = False

    def draw(self, at_s: float) -> Drawn:
        matrix = self._matrix(at_s)
        if not self.blur:
            return self._film(matrix), self._faces(matrix, matrix)
        open_s = np.linspace(at_s - _SHUTTER_S / 2, at_s + _SHUTTER_S / 2, 5)
        exposed = [self._film(self._matrix(float(t))).astype(np.float32) for t in open_s]
        image = np.mean(exposed, axis=0).astype(np.uint8)
        return image, self._faces(self._matrix(open_s[0]), self._matrix(open_s[-1]), matrix)

    def _matrix(self, at_s: float) -> NDArray[np.float64]:
        """`(2, 3)`: from pixels of the photo to those of the picture."""
        height, width = self.photo.image.shape[:2]
        widest = min(width, height * self.size[0] / self.size[1])
        x, y, part = self.view.at(at_s)
        view = np.clip(part, 0.15, 1.0) * widest
        half = np.array([view, view * self.size[1] / self.size[0]]) / 2
        # The camera never sees the photo's edge.
        limits = np.array([width, height]) - half
        center = np.minimum(np.maximum(np.array([x * width, y * height]), half), limits)
        scale = self.size[0] / view
        return np.array([
            [scale, 0, self.size[0] / 2 - scale * center[0]],
            [0, scale, self.size[1] / 2 - scale * center[1]],
        ])  # fmt: skip

    def _film(self, matrix: NDArray[np.float64]) -> Image:
        return np.asarray(_warp(self.photo.image, matrix, self.size), np.uint8)

    def _faces(
        self,
        first: NDArray[np.float64],
        last: NDArray[np.float64],
        middle: NDArray[np.float64] | None = None,
    ) -> list[FaceAt]:
        faces = []
        for name, box, ignore in zip(
            self.photo.names, self.photo.boxes, self.photo.ignore, strict=True
        ):
            now = _moved(box, first if middle is None else middle)
            shift = np.abs(_moved(box, last) - _moved(box, first)).max()
            faces.append(
                FaceAt(name, now, 0.0, bool(ignore or shift > _BLURRED * (now[2] - now[0])))
            )
        return faces


@dataclass(frozen=True)
class Actor:
    """A person: the face's center x and y (parts of the picture) and its width (part of the
    picture's width), in time."""

    sprite: Sprite
    path: Path


@dataclass(frozen=True)
class ActorScene:
    """People who move before a background; those later in the list are nearer."""

    background: Image
    actors: list[Actor]
    duration_s: float
    scenery: Path = field(default_factory=lambda: Path([0.0], [[0.5, 0.5, 0.8]], (0.01, 0.01, 0.0)))

    def draw(self, at_s: float) -> Drawn:
        height, width = self.background.shape[:2]
        nobody = Photo(self.background, [], np.empty((0, 4)), np.empty(0, np.bool_))
        image, _ = CameraScene(nobody, (width, height), self.duration_s, self.scenery).draw(at_s)
        faces: list[FaceAt] = []
        for actor in self.actors:
            x, y, part = actor.path.at(at_s)
            box = actor.sprite.box
            scale = part * width / (box[2] - box[0])
            shift = np.array([x * width, y * height]) - scale * (box[:2] + box[2:]) / 2
            matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
            alpha = _warp(actor.sprite.alpha, matrix, (width, height)).astype(np.float32)
            over = _warp(actor.sprite.image, matrix, (width, height))
            image = (image * (1 - alpha[..., None]) + over * alpha[..., None]).astype(np.uint8)
            faces = [_covered(face, alpha) for face in faces]
            faces.append(FaceAt(actor.sprite.name, _moved(box, matrix)))
        return image, faces


def _covered(face: FaceAt, alpha: NDArray[np.float32]) -> FaceAt:
    x1, y1, x2, y2 = np.clip(face.box, 0, np.array(alpha.shape[::-1] * 2)).astype(int)
    inside = alpha[y1:y2, x1:x2]
    hidden = float((inside > 0.5).mean()) if inside.size else 0.0
    return replace(face, hidden=max(face.hidden, hidden))


def _moved(box: Box, matrix: NDArray[np.float64]) -> Box:
    corners = box.reshape(2, 2) @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(corners.ravel())


def _warp(image: NDArray[Any], matrix: NDArray[np.float64], size: tuple[int, int]) -> NDArray[Any]:
    """The picture through a camera; shrunk by halves first, as a lens would, without moiré."""
    scale = matrix[0, 0]
    while scale < 0.5:
        image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        matrix = np.hstack([matrix[:, :2] * 2, matrix[:, 2:]])
        scale *= 2
    return np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR))
