"""Figure 12: what a second core brings, to a second run and to a second thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.media import WORK, Clip, head
from benchmarks.processes import BenchError, facetracks, walls_s
from benchmarks.report import Figure
from pipeline.machine import available_cpus

TARGET = 1.9

_HEAD_S = 4.0
"""Seconds of the clip whose cost is taken off as start-up."""

Say = Callable[[str], None]

_WAYS = {"one": (1, 1), "two": (2, 1), "threads": (1, 2)}
"""How many runs at once, with how many threads each."""


def measure(clips: list[Clip], rounds: int, say: Say) -> list[Figure]:
    """Every frame, in turns; medians.

    Raises:
        BenchError: there is one core only, or a command failed.
    """
    if available_cpus() < 2:
        raise BenchError("scaling is measured on two cores: this process may use only one")
    figures = []
    for clip in clips:
        times: dict[str, list[float]] = {way: [] for way in _WAYS}
        for number in range(rounds):
            for way, found in times.items():
                found.append(_seconds(clip, *_WAYS[way]))
            last = ", ".join(f"{way} {found[-1]:.1f} s" for way, found in times.items())
            say(f"round {number + 1}, {clip.name}: {last}")
        figures += _figures(clip, times)
    return figures


def _figures(clip: Clip, times: dict[str, list[float]]) -> list[Figure]:
    one_s, two_s, threads_s = (median(times[way]) for way in _WAYS)
    detail: dict[str, Any] = {
        "clip": clip.name,
        "seconds": {way: [round(each, 2) for each in found] for way, found in times.items()},
    }
    return [
        Figure(
            f"12. two runs at once / one, frames/s, {clip.name}",
            2 * one_s / two_s,
            at_least=TARGET,
            detail=detail,
        ),
        Figure(f"12. two threads / one, frames/s, {clip.name}", one_s / threads_s, detail=detail),
    ]


def _seconds(clip: Clip, runs: int, threads: int) -> float:
    """Wall seconds until the last run is done, on a clip less on its head."""
    head_s, clip_s = (
        _wall_s(video, runs, threads) for video in (head(clip.short, _HEAD_S), clip.short)
    )
    return clip_s - head_s


def _wall_s(video: Path, runs: int, threads: int) -> float:
    commands = [
        [
            *(facetracks(), "run", str(video), "--stride", "1", "--force"),
            *("--det-size", "640", "--cpu-threads", str(threads)),
            *("--output-root", str(WORK / f"output-scaling-{number}")),
        ]
        for number in range(runs)
    ]
    return max(walls_s(commands, cores=threads))
