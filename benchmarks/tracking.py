"""Figures 9 and 10: what tracking costs beside the tracker's own updates."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.media import WORK, Clip, looped
from benchmarks.processes import BenchError, answers, facetracks, wall_s
from benchmarks.report import Figure
from pipeline.machine import available_cpus, single_threaded
from pipeline.options import Tracker

ADAPTER_TARGET, RETRACK_TARGET = 1.2, 1.3

_LONG_S = 240.0
"""Length of the long clip here: what is left of it without the short one takes seconds."""

_ROOT = WORK / "output-tracking"

Say = Callable[[str], None]


def measure(clips: list[Clip], rounds: int, say: Say) -> list[Figure]:
    """Both figures for each clip and each tracker, on detections of every frame.

    Raises:
        BenchError: a command failed.
    """
    figures = []
    for clip in clips:
        lengths = clip.short, looped(clip, _LONG_S)
        short_looks, long_looks = (_detected(video) for video in lengths)
        say(f"{clip.name}: detections stored, {short_looks} and {long_looks} looks")
        for tracker in Tracker:
            found = [_updates(clip.short, tracker) for _ in range(rounds)]
            figures.append(_adapter(clip, tracker, found))
            say(figures[-1].line())
            walls = [_retrack(lengths, tracker) for _ in range(rounds)]
            looks = long_looks - short_looks
            figures.append(_retracking(clip, tracker, found, walls, looks))
            say(figures[-1].line())
    return figures


def _detected(video: Path) -> int:
    """Stores detections of every frame, unless they are there; how many frames."""
    # With embeddings, so that both trackers have all they use: the detections are the same.
    wall_s(
        [
            *(facetracks(), "detect", str(video), "--stride", "1"),
            *("--det-size", "640", "--tracker", Tracker.strongsort, "--output-root", str(_ROOT)),
        ]
    )
    record = json.loads((_ROOT / video.stem / "run.json").read_text(encoding="utf-8"))
    return int(record["steps"]["detect"]["looks"])


def _updates(video: Path, tracker: Tracker) -> dict[str, float]:
    """CPU ms a look of our adapter and of boxmot alone, in one process, see `updates.py`."""
    command = [sys.executable, "-m", "benchmarks.updates", str(_ROOT), video.stem, tracker]
    [found] = answers([command], single_threaded())
    return found


def _retrack(lengths: tuple[Path, Path], tracker: Tracker) -> float:
    """Wall seconds of `facetracks track`, the long video's less the short one's."""
    short_s, long_s = (
        wall_s(
            [
                *(facetracks(), "track", video.stem, "--force", "--tracker", tracker),
                *("--cpu-threads", str(available_cpus()), "--output-root", str(_ROOT)),
            ]
        )
        for video in lengths
    )
    if long_s <= short_s:
        raise BenchError("the long video took no longer than the short one: is the machine idle?")
    return long_s - short_s


def _adapter(clip: Clip, tracker: Tracker, found: list[dict[str, float]]) -> Figure:
    detail: dict[str, Any] = {
        "clip": clip.name,
        "looks": found[0]["looks"],
        "detections": found[0]["detections"],
        "adapter_ms": [round(each["adapter_ms"], 3) for each in found],
        "boxmot_ms": [round(each["boxmot_ms"], 3) for each in found],
    }
    ratio = median(each["adapter_ms"] / each["boxmot_ms"] for each in found)
    name = f"9. {tracker} adapter / boxmot's update, {clip.name}"
    return Figure(name, ratio, at_most=ADAPTER_TARGET, detail=detail)


def _retracking(
    clip: Clip, tracker: Tracker, found: list[dict[str, float]], walls: list[float], looks: int
) -> Figure:
    threads = available_cpus()
    boxmot_s = median(each["boxmot_ms"] for each in found) * looks / 1000
    detail: dict[str, Any] = {
        "clip": clip.name,
        "threads": threads,
        "looks": looks,
        "boxmot_s": round(boxmot_s, 3),
        "wall_s": [round(wall, 3) for wall in walls],
    }
    name = f"10. re-tracking / boxmot alone, {tracker}, {clip.name}"
    ratio = median(walls) / (boxmot_s / threads)
    return Figure(name, ratio, at_most=RETRACK_TARGET, detail=detail)
