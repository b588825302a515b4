"""Episodes made from photos, with exact truth: `python -m tests.made_truth OUT_DIR --seed 7`.

Each episode is a video, `NAME.truth.csv` (`frame, shot, face, x1, y1, x2, y2, ignore`),
`NAME.cuts.csv` (first frame of each shot but the first) and `NAME.transitions.csv`. The same seed
gives the same episode. A shot, here, ends at a hard cut only: fades and dissolves lie within one.
"""

from __future__ import annotations

import argparse
import csv
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, overload

import cv2
import numpy as np

from tests.conftest import SHARED_DATA
from tests.made_faces import Photo, Sprite, photos, sprites
from tests.made_scenes import Actor, ActorScene, CameraScene, FaceAt, Scene
from tests.made_scenes import Path as Motion
from tests.media import TICKS_PER_S, Image, pan, write_video

_T = TypeVar("_T")

SMALLEST, IN_FRAME, COVERED, SHOWN = 26, 0.7, 0.3, 0.7
"""A face is judged from so many pixels of height on, with this part of it in the picture, at most
this part hidden, and at least this weight in a fade or dissolve."""

KINDS = ("hold", "pan", "zoom", "whip", "shake", "cross", "approach", "walk", "group")
"""Scenes: a photo as a camera sees it, or people who move before a background."""

NOBODY_CROSSES = tuple(kind for kind in KINDS if kind not in ("cross", "walk"))
"""Scenes in which nobody passes in front of somebody else."""


@dataclass(frozen=True)
class Part:
    """A scene, and how it comes: `cut`, `dissolve`, or `black` or `white` (a fade over it)."""

    scene: Scene
    comes: str = "cut"
    change_s: float = 0.0


@dataclass
class Episode:
    """Parts one after the other.

    Attributes:
        flashes_s: moments of which the next frame is one bright flash.
    """

    parts: list[Part]
    flashes_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._starts: list[float] = []
        end = 0.0
        for part in self.parts:
            # Both scenes go on through a dissolve; a fade ends one before it begins the other.
            start = end - (part.change_s if part.comes == "dissolve" else 0.0)
            self._starts.append(start)
            end = start + part.scene.duration_s
        self.duration_s = end

    @property
    def cuts_s(self) -> list[float]:
        pairs = zip(self._starts, self.parts, strict=True)
        return [start for start, part in pairs if part.comes == "cut"][1:]

    def transitions_s(self) -> list[tuple[str, float, float]]:
        """Kind, start and end of each."""
        return [
            ("dissolve", start, start + part.change_s)
            if part.comes == "dissolve"
            else ("fade", start - part.change_s / 2, start + part.change_s / 2)
            for start, part in zip(self._starts, self.parts, strict=True)
            if part.comes != "cut"
        ]

    def draw(self, at_s: float, flash: bool = False) -> tuple[Image, list[tuple[FaceAt, float]]]:
        """A picture, and its faces with the weight each has in it, 0 to 1."""
        last = max(i for i, start in enumerate(self._starts) if start <= at_s + 1e-9)
        image, faces = self._one(last, at_s)
        weighed = [(face, 1.0) for face in faces]
        into, start = self.parts[last], self._starts[last]
        if into.comes == "dissolve" and at_s - start < into.change_s and last:
            new = (at_s - start) / into.change_s
            old_image, old_faces = self._one(last - 1, at_s)
            image = np.asarray(cv2.addWeighted(image, new, old_image, 1 - new, 0), np.uint8)
            weighed = [(face, 1 - new) for face in old_faces] + [(face, new) for face in faces]
        for i in (last, last + 1):
            if i and i < len(self.parts) and self.parts[i].comes in ("black", "white"):
                half = self.parts[i].change_s / 2
                light = min(1.0, abs(at_s - self._starts[i]) / half)
                rest = 255 * (1 - light) if self.parts[i].comes == "white" else 0.0
                image = np.asarray(cv2.addWeighted(image, light, image, 0, rest), np.uint8)
                weighed = [(face, min(weight, light)) for face, weight in weighed]
        if flash:
            image = np.asarray(cv2.addWeighted(image, 0.2, image, 0, 200), np.uint8)
            weighed = [(face, 0.0) for face, _ in weighed]
        return image, weighed

    def _one(self, number: int, at_s: float) -> tuple[Image, list[FaceAt]]:
        return self.parts[number].scene.draw(at_s - self._starts[number])


class Film(Sequence[Image]):
    """An episode at certain moments: draws a picture when it is asked for, and notes the truth."""

    def __init__(self, episode: Episode, times_s: Sequence[float]) -> None:
        self.episode = episode
        self.times_s = list(times_s)
        self.rows: dict[int, list[tuple[int, int, str, float, float, float, float, int]]] = {}
        self.cuts = [self._frame(cut) for cut in episode.cuts_s]
        self._flashes = {self._frame(flash) for flash in episode.flashes_s}

    def _frame(self, at_s: float) -> int:
        return bisect_left(self.times_s, at_s - 1e-9)

    @property
    def transitions(self) -> list[tuple[str, int, int]]:
        """Kind, first and last frame."""
        return [
            (kind, self._frame(start), min(self._frame(end), len(self)) - 1)
            for kind, start, end in self.episode.transitions_s()
        ]

    def __len__(self) -> int:
        return len(self.times_s)

    @overload
    def __getitem__(self, i: int) -> Image: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Image]: ...
    def __getitem__(self, i: int | slice) -> Image | Sequence[Image]:
        if isinstance(i, slice):
            return [self[j] for j in range(len(self))[i]]
        time_s = self.times_s[i]
        image, faces = self.episode.draw(time_s, i in self._flashes)
        shot = sum(cut <= i for cut in self.cuts)
        height, width = image.shape[:2]
        rows = []
        for face, weight in faces:
            box = np.clip(face.box, 0, [width, height, width, height])
            area = float(np.prod(box[2:] - box[:2]))
            inside = area / float(np.prod(face.box[2:] - face.box[:2]))
            if inside <= 0.05 or weight <= 0 or face.hidden > 0.9:
                continue
            judged = (
                not face.ignore and inside >= IN_FRAME and face.hidden <= COVERED
                and weight >= SHOWN and box[3] - box[1] >= SMALLEST
            )  # fmt: skip
            x1, y1, x2, y2 = (round(float(side), 1) for side in box)
            rows.append((i, shot, face.name, x1, y1, x2, y2, int(not judged)))
        self.rows[i] = rows
        return image

    def write(self, path: Path, fps: int = 24) -> Path:
        """The video, and its truth beside it."""
        ticks = [round(time_s * TICKS_PER_S) for time_s in self.times_s]
        options = {"preset": "veryfast", "crf": "20", "g": "48"}
        write_video(path, self, ticks, fps=fps, options=options)
        self.write_truth(path.with_suffix(".truth.csv"))
        _write_csv(path.with_suffix(".cuts.csv"), ["first_frame_of_shot"], [[c] for c in self.cuts])
        names = ["kind", "first_frame", "last_frame"]
        _write_csv(path.with_suffix(".transitions.csv"), names, self.transitions)
        return path

    def write_truth(self, path: Path) -> None:
        """Of the pictures that have been drawn."""
        names = ["frame", "shot", "face", "x1", "y1", "x2", "y2", "ignore"]
        _write_csv(path, names, [row for i in range(len(self)) for row in self.rows[i]])


def _write_csv(path: Path, names: list[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def steady_times(duration_s: float, fps: float) -> list[float]:
    """Moments of a constant frame rate."""
    return [i / fps for i in range(int(duration_s * fps))]


def uneven_times(duration_s: float, seed: int, low: float = 12, high: float = 30) -> list[float]:
    """Moments of a variable frame rate, each gap that of a rate between the two."""
    random = np.random.default_rng(seed)
    times, now = [], 0.0
    while now < duration_s:
        times.append(now)
        now += 1 / float(random.uniform(low, high))
    return times


class Director:
    """Makes up scenes: the same seed makes up the same."""

    def __init__(
        self, seed: int, size: tuple[int, int], pictures: list[Photo], people: list[Sprite]
    ) -> None:
        self._random = np.random.default_rng(seed)
        self._size = size
        self._photos, self._people = pictures, people

    def episode(self, shots: int, kinds: Sequence[str] = KINDS) -> Episode:
        """`shots` scenes; most come by a hard cut, and in some a flash goes off."""
        parts: list[Part] = []
        for i in range(shots):
            comes = self._one_of(["cut"] * 7 + ["dissolve", "black", "white"]) if i else "cut"
            change_s = 0.0 if comes == "cut" else self._between(0.5, 1.0)
            parts.append(Part(self.scene(kinds), comes, change_s))
        episode = Episode(parts)
        flashes = int(self._random.integers(0, 3))
        wanted = sorted(self._between(1, episode.duration_s - 1) for _ in range(flashes))
        # A cut less than 0.25 s after a flash is not told from it (`pipeline.shots.MIN_SHOT_S`).
        changes = [*episode.cuts_s, *(at for _, *ends in episode.transitions_s() for at in ends)]
        episode.flashes_s = [at for at in wanted if all(abs(at - x) > 0.6 for x in changes)]
        return episode

    def scene(self, kinds: Sequence[str] = KINDS) -> Scene:
        duration_s = self._between(2.0, 5.0)
        kind = self._one_of(kinds)
        if kind in ("hold", "pan", "zoom", "whip", "shake"):
            return self._camera(kind, duration_s)
        return self._actors(kind, duration_s)

    def _camera(self, kind: str, duration_s: float) -> CameraScene:
        photo = self._photos[int(self._random.integers(len(self._photos)))]
        height, width = photo.image.shape[:2]
        seen = photo.boxes[~photo.ignore]
        centers = ((seen[:, :2] + seen[:, 2:]) / 2 / [width, height]).tolist()
        here, there = self._one_of(centers), self._one_of(centers)
        # Not nearer than so that the largest face fills a third of the picture's width.
        nearest = float(np.clip(3 * (seen[:, 2] - seen[:, 0]).max() / width, 0.3, 1.0))
        near, far = self._between(nearest, 1.0), self._between(nearest, 1.0)
        sway = (0.008, 0.008, 0.0) if kind == "shake" else (0.002, 0.002, 0.0)
        times = [0.0, duration_s]
        keys = [[*here, near], [*here, near]]
        if kind == "pan":
            keys = [[*here, near], [*there, near]]
        elif kind == "zoom":
            keys = [[*here, nearest], [*here, far]][:: self._one_of([1, -1])]
        elif kind == "whip":
            start = duration_s * 0.45
            times = [0.0, start, start + 0.3, duration_s]
            keys = [[*here, nearest]] * 2 + [[*there, nearest]] * 2
        view = Motion(times, keys, sway, 1.8 if kind == "shake" else 0.4)
        return CameraScene(photo, self._size, duration_s, view, blur=kind == "whip")

    def _actors(self, kind: str, duration_s: float) -> ActorScene:
        count = {"cross": 2, "approach": 1, "walk": 2, "group": 3}[kind]
        count = min(count, len(self._people))
        chosen = self._random.permutation(len(self._people))[:count]
        paths = []
        for i in range(count):
            width, y = self._between(0.08, 0.16), self._between(0.4, 0.55)
            sway = (0.006, 0.006, 0.001)
            keys = [[(i + 0.7) / (count + 0.4), y, width]] * 2
            if kind == "cross" or (kind == "walk" and i == 0):
                ends = (0.15, 0.85) if kind == "cross" else (-0.15, 1.15)
                ends = ends if i == 0 else ends[::-1]
                keys = [[ends[0], y, width], [ends[1], y + 0.04, width]]
            elif kind == "approach":
                keys = [[0.4, y, 0.06], [0.55, y, 0.3]][:: self._one_of([1, -1])]
            paths.append(Motion([0.0, duration_s], keys, sway, self._between(0.5, 1.2)))
        actors = [Actor(self._people[j], path) for j, path in zip(chosen, paths, strict=True)]
        return ActorScene(self._background(), actors, duration_s)

    def _background(self) -> Image:
        """A photo out of focus, or plain colours: nobody to be seen."""
        photo = self._photos[int(self._random.integers(len(self._photos)))].image
        plain = pan(1, 320, 180)[0]
        image = np.asarray(cv2.resize(self._one_of([photo, plain]), self._size), np.uint8)
        return np.asarray(cv2.GaussianBlur(image, (0, 0), self._size[0] / 25), np.uint8)

    def _between(self, low: float, high: float) -> float:
        return float(self._random.uniform(low, high))

    def _one_of(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._random.integers(len(choices)))]


def main() -> None:
    """Makes episodes in a folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.made_truth", description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=1)
    parser.add_argument("--fps", type=int, default=24)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720))
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    pictures = photos(SHARED_DATA if SHARED_DATA.is_dir() else None)
    people = sprites(pictures)
    print(f"{len(pictures)} photos, {len(people)} people")
    for number in range(chosen.episodes):
        seed = chosen.seed * 1000 + number
        shots = 8 + seed % 7
        episode = Director(seed, tuple(chosen.size), pictures, people).episode(shots)
        film = Film(episode, steady_times(episode.duration_s, chosen.fps))
        path = film.write(chosen.folder / f"made{seed}.mp4", chosen.fps)
        print(f"{path}: {episode.duration_s:.1f} s, {shots} scenes, {len(film.cuts)} cuts")


if __name__ == "__main__":
    main()
