"""Figure 8: an hour of video costs per frame, and in memory, what a few minutes do."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import numpy as np

from benchmarks.media import WORK, Clip, looped
from benchmarks.processes import BenchError, facetracks, usage
from benchmarks.report import Figure

HOUR_S, MINUTES_S = 3600.0, 300.0
MEMORY_LIMIT_MIB = 1024


def measure(clip: Clip) -> list[Figure]:
    """Default options on an hour and on five minutes of the same content.

    Raises:
        BenchError: a command failed.
    """
    minutes, hour = (looped(clip, seconds) for seconds in (MINUTES_S, HOUR_S))
    short = usage(_command(minutes), memory=True)
    long = usage(_command(hour), memory=True)
    first, last = _first_and_last_tenth(long.said)
    detail = {"clip": clip.name, "profile": "balanced"}
    return [
        Figure(
            f"8. peak memory, 60 min / 5 min, {clip.name}",
            long.peak_bytes / short.peak_bytes,
            at_most=1.1,
            detail=detail
            | {"mib": [round(each.peak_bytes / 2**20) for each in (short, long)]}
            | {"wall_s": [round(each.wall_s, 1) for each in (short, long)]},
        ),
        Figure(
            f"8. peak memory of 60 min, MiB, {clip.name}",
            long.peak_bytes / 2**20,
            at_most=MEMORY_LIMIT_MIB,
            detail=detail,
        ),
        Figure(
            f"8. time per frame, last tenth / first, {clip.name}",
            last / first,
            at_most=1.05,
            detail=detail | {"ms_per_frame": [round(first * 1000, 3), round(last * 1000, 3)]},
        ),
    ]


def _command(video: Path) -> list[str]:
    root = str(WORK / "output-long")
    return [facetracks(), "run", str(video), "--force", "--output-root", root]


def _first_and_last_tenth(said: str) -> tuple[float, float]:
    """Seconds a frame of the detect step in its first and last tenth.

    From the command's own lines, one every 5 s: `<date> <time> INFO detect: <n> of <m> frames`.
    """
    lines = re.findall(r"^(\S+ \S+),(\d+) INFO detect: (\d+) of (\d+) frames", said, re.MULTILINE)
    if len(lines) < 20:
        raise BenchError("the long video was done too quickly to follow: make it longer")
    done = np.array([int(line[2]) for line in lines], float)
    at = np.array(
        [datetime.fromisoformat(line[0]).timestamp() + int(line[1]) / 1000 for line in lines]
    )
    tenth = int(lines[0][3]) / 10
    start, first, last, end = np.interp(
        [done[0], done[0] + tenth, done[-1] - tenth, done[-1]], done, at
    )
    return float(first - start) / tenth, float(end - last) / tenth
