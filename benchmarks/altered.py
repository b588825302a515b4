"""Scores on altered copies of the truth episodes: two episodes decide too little.

A face that the network sees by a hair in one picture it misses in a slightly smaller one; the mean
over copies tells what an option is worth, where the two episodes tell what luck it has there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import fmean

import av
import cv2
import numpy as np
import pandas as pd

from benchmarks.media import WORK, truths
from benchmarks.quality import Variant, own_variants, scores
from benchmarks.report import Figure
from pipeline.evaluate import Evaluation


@dataclass(frozen=True)
class Change:
    """What is done to every picture.

    Attributes:
        scale: of the picture within its old size; the rest is grey.
        shift: pixels it is moved right and down.
        gamma: exponent of the brightness, of 0 to 1: above 1 is darker.
    """

    name: str
    scale: float = 1.0
    mirrored: bool = False
    shift: tuple[int, int] = (0, 0)
    gamma: float = 1.0

    def matrix(self, width: int, height: int) -> np.ndarray:
        """`(2, 3)`: from old to new places, in pixels."""
        across = -self.scale if self.mirrored else self.scale
        corner, (right, down) = (1 - self.scale) / 2, self.shift
        left = width * (1 - corner) - 1 if self.mirrored else width * corner
        return np.array([[across, 0, left + right], [0, self.scale, height * corner + down]])


CHANGES = (
    Change("mirrored", mirrored=True),
    Change("95", scale=0.95),
    Change("90-mirrored", scale=0.9, mirrored=True),
    Change("85", scale=0.85),
    Change("dark-mirrored", mirrored=True, gamma=1 / 0.6),
    Change("97-shifted-mirrored", scale=0.97, mirrored=True, shift=(13, 7)),
)


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Mean and least IDF1 over the copies of each episode, of each profile and tracker.

    Raises:
        BenchError: a run failed.
    """
    episodes = truths()
    if not episodes:
        say("altered: left out, for want of the evaluation media")
        return []
    figures = []
    variants = own_variants()
    for video, truth in episodes:
        found: dict[str, list[Evaluation]] = {variant.name: [] for variant in variants}
        for copy, copy_truth in _copies(video, truth):
            for variant, score in scores(copy, copy_truth, variants):
                found[variant.name].append(score)
            say(f"{copy.stem}: " + ", ".join(f"{each[-1].idf1:.3f}" for each in found.values()))
        figures += [_figure(video.stem, variant, found[variant.name]) for variant in variants]
    return figures


def _figure(episode: str, variant: Variant, found: list[Evaluation]) -> Figure:
    detail = {
        "profiles": variant.profiles,
        "least": round(min(each.idf1 for each in found), 3),
        "idf1": {c.name: round(each.idf1, 3) for c, each in zip(CHANGES, found, strict=True)},
        "mixed_tracks": sum(each.mixed_tracks for each in found),
    }
    name = f"IDF1, copies of {episode}, {variant.name}"
    return Figure(name, fmean(each.idf1 for each in found), detail=detail)


def _copies(video: Path, truth: Path) -> Iterator[tuple[Path, Path]]:
    """Video and truth of each copy; made where they are not there yet."""
    folder = WORK / "altered"
    folder.mkdir(parents=True, exist_ok=True)
    for change in CHANGES:
        copy = folder / f"{video.stem}-{change.name}.mp4"
        copy_truth = copy.with_suffix(".truth.csv")
        if not copy_truth.exists():
            matrix = _write(video, copy, change)
            _move(pd.read_csv(truth), matrix).to_csv(copy_truth, index=False)
        yield copy, copy_truth


def _write(video: Path, copy: Path, change: Change) -> np.ndarray:
    """Encodes the copy; returns how places have moved."""
    levels = (255 * (np.arange(256) / 255) ** change.gamma).round().astype(np.uint8)
    with av.open(str(video)) as source, av.open(str(copy), "w") as target:
        stream = source.streams.video[0]
        size = stream.width, stream.height
        matrix = change.matrix(*size)
        rate = stream.average_rate or Fraction(24)
        options = {"preset": "veryfast", "crf": "14"}
        out = target.add_stream("libx264", rate=rate, options=options)
        out.width, out.height = size
        out.pix_fmt = "yuv420p"
        if stream.time_base:
            out.codec_context.time_base = stream.time_base
        for frame in source.decode(stream):
            image = frame.to_ndarray(format="bgr24")
            moved = cv2.warpAffine(image, matrix, size, borderValue=(90, 90, 90))
            shown = np.asarray(cv2.LUT(moved, levels), np.uint8)
            changed = av.VideoFrame.from_ndarray(shown, format="bgr24")
            changed.pts, changed.time_base = frame.pts, frame.time_base
            target.mux(out.encode(changed))
        target.mux(out.encode())
    return matrix


def _move(truth: pd.DataFrame, matrix: np.ndarray) -> pd.DataFrame:
    """The truth where the copy shows it. What counts stays as it was."""
    xs = truth[["x1", "x2"]].to_numpy() * matrix[0, 0] + matrix[0, 2]
    ys = truth[["y1", "y2"]].to_numpy() * matrix[1, 1] + matrix[1, 2]
    sides = {"x1": xs.min(axis=1), "y1": ys[:, 0], "x2": xs.max(axis=1), "y2": ys[:, 1]}
    return truth.assign(**{name: side.round(1) for name, side in sides.items()})
