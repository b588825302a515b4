"""Recall of dissolves and fades between pieces of real footage, where people and cameras move.

The evaluation media have none of their own. Films are made of pieces of their shots, each blended
into the next one, and `facetracks run` is asked what it reports.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.media import DATA, truths
from benchmarks.processes import facetracks, wall_s
from benchmarks.report import Figure
from pipeline.shots import with_shots
from pipeline.video import Image, VideoReader, probe
from tests.media import write_video

SECONDS = (0.5, 1.0, 1.5)
"""How long a transition takes."""

_EACH = 40
"""Transitions of a kind and length."""

_FPS, _SIZE = 24, (320, 180)
_WHOLE_S = 1.2
"""A piece is seen wholly for so long between two transitions."""

_SOURCE_S = 40.0
"""So much is used of a clip: one of them would be half of all."""

Change = tuple[int, int]
"""First and last frame that are neither picture wholly."""


@dataclass(frozen=True)
class _Count:
    found: int
    others: int
    cuts: int


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Parts of the made transitions that are reported as what they are, and what else is.

    Raises:
        BenchError: a run failed.
    """
    if not truths():
        say("transitions: left out, for want of the evaluation media")
        return []
    shots = [shot for clip in _clips() for shot in _shots(clip)]
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("dissolve", "fade"):
            for seconds in SECONDS:
                film, changes = _film(shots, kind, seconds)
                path = write_video(Path(folder) / f"{kind}.mp4", film, fps=_FPS)
                count = _count(_run(path, Path(folder)), kind, changes)
                say(f"{kind} of {seconds} s: {count.found} of {len(changes)}")
                detail = {"of": len(changes), "reported_elsewhere": count.others}
                detail["cuts_reported"] = count.cuts
                name = f"recall, {kind}s of {seconds} s, real footage"
                figures.append(Figure(name, count.found / len(changes), detail=detail))
        runs = [_run(clip, Path(folder)) for clip in _clips()]
    false = sum(len(run["transitions"]) for run in runs)
    figures.append(Figure("fades and dissolves reported where none are", float(false), at_most=0))
    return figures


def _clips() -> list[Path]:
    return [*sorted((DATA / "clips").glob("*.mp4")), *(video for video, _ in truths())]


def _shots(clip: Path) -> Iterator[list[Image]]:
    """Each shot's pictures, in the film's size and at its rate."""
    info = probe(clip)
    shot: list[Image] = []
    with VideoReader(clip, info) as reader:
        start_s = 0.0
        for item in with_shots(reader.frames(), info.frame_rate, info.time_base):
            if item.starts_shot and shot:
                yield shot
            if item.starts_shot:
                shot, start_s = [], item.frame.pts_s
            if len(shot) >= _SOURCE_S * _FPS:
                continue
            picture = cv2.resize(item.frame.picture(), _SIZE, interpolation=cv2.INTER_AREA)
            while len(shot) / _FPS <= item.frame.pts_s - start_s:
                shot.append(np.asarray(picture, np.uint8))
    yield shot


def _film(shots: list[list[Image]], kind: str, seconds: float) -> tuple[list[Image], list[Change]]:
    """Pieces of shots, blended one into the next; no two alike come in a row."""
    random = np.random.default_rng(round(1000 * seconds))
    change = round(seconds * _FPS)
    length = 2 * change + round(_WHOLE_S * _FPS)
    fitting = [i for i, shot in enumerate(shots) if len(shot) >= length]
    film: list[Image] = []
    changes: list[Change] = []
    last = -1
    while len(changes) < _EACH:
        number = int(random.choice([i for i in fitting if i != last]))
        start = int(random.integers(len(shots[number]) - length + 1))
        piece, last = shots[number][start : start + length], number
        if film:
            film, before = film[:-change], film[-change:]
            changes.append((len(film), len(film) + change - 1))
            film += _blended(before, piece[:change], kind)
            piece = piece[change:]
        film += piece
    return film, changes


def _blended(before: list[Image], after: list[Image], kind: str) -> Iterator[Image]:
    """Frames of a transition; both pictures move on."""
    black = np.zeros_like(before[0])
    for i, (one, other) in enumerate(zip(before, after, strict=True)):
        part = (i + 1) / (len(before) + 1)
        if kind == "fade":
            one, other = (one, black) if part < 0.5 else (black, other)
            part = 2 * part if part < 0.5 else 2 * part - 1
        yield np.asarray(cv2.addWeighted(one, 1 - part, other, part, 0), np.uint8)


def _run(video: Path, root: Path) -> dict[str, Any]:
    """The detect step's record."""
    options = ("--profile", "low_power", "--output-root", str(root), "--force")
    wall_s([facetracks(), "run", str(video), *options])
    record = json.loads((root / video.stem / "run.json").read_text())
    step: dict[str, Any] = record["steps"]["detect"]
    return step


def _count(step: dict[str, Any], kind: str, changes: list[Change]) -> _Count:
    """How many are reported by their kind, and how many reports are of something else."""
    reports = step["transitions"]
    found, taken = 0, 0
    for first, last in changes:
        here = [r for r in reports if r["first_frame"] <= last and r["last_frame"] >= first]
        found += any(report["kind"] == kind for report in here)
        taken += bool(here)
    return _Count(found, len(reports) - taken, step["shots"] - 1)
