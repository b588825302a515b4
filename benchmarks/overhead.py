"""Figures 2 and 3: what direct mode adds to the work, and that it keeps to its CPUs."""

from __future__ import annotations

import sys
from statistics import median

from benchmarks.media import WORK, Clip
from benchmarks.processes import facetracks, usage, wall_s
from benchmarks.report import Figure

FACTOR, START_S = 1.03, 3.5
"""Direct mode may take this many times as long as plain calls, and this many seconds on top."""

CPU_FACTOR = 1.1


def direct_over_plain(clip: Clip, threads: int, rounds: int) -> Figure:
    """Wall times of a fresh process each, in turns; medians.

    Raises:
        BenchError: a command failed.
    """
    walls: dict[str, list[float]] = {"plain": [], "direct": []}
    for _ in range(rounds):
        for way, seconds in walls.items():
            command = [sys.executable, "-m", "benchmarks.call", way, str(clip.long)]
            seconds.append(wall_s([*command, str(WORK / f"output-{way}"), str(threads)]))
    plain_s, direct_s = median(walls["plain"]), median(walls["direct"])
    allowed_s = FACTOR * plain_s + START_S
    detail = {
        "clip": clip.name,
        "clip_s": round(clip.long_s, 1),
        "threads": threads,
        "direct_over_plain": round(direct_s / plain_s, 3),
        "direct_minus_plain_s": round(direct_s - plain_s, 2),
        "plain_s": [round(s, 2) for s in walls["plain"]],
        "direct_s": [round(s, 2) for s in walls["direct"]],
    }
    name = f"2. direct mode / ({FACTOR} x plain calls + {START_S} s)"
    return Figure(name, direct_s / allowed_s, at_most=1.0, detail=detail)


def cpu_over_wall(clip: Clip, threads: int) -> Figure:
    """CPU seconds of the whole process tree over wall seconds, default options.

    Raises:
        BenchError: the command failed.
    """
    command = [facetracks(), "run", str(clip.long), "--output-root", str(WORK / "output-cpu")]
    used = usage([*command, "--force", "--cpu-threads", str(threads)])
    detail = {
        "clip": clip.name,
        "threads": threads,
        "cpu_s": round(used.cpu_s, 2),
        "wall_s": round(used.wall_s, 2),
    }
    name = f"3. CPU s / wall s, --cpu-threads {threads}"
    limit = CPU_FACTOR * threads
    return Figure(name, used.cpu_s / used.wall_s, at_most=limit, detail=detail)
