"""Figure 1: how near the whole command comes to what its parts cost on their own."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import psutil

from benchmarks.media import WORK, Clip
from benchmarks.parts import LIMIT
from benchmarks.processes import BenchError, answers, facetracks, wall_s
from benchmarks.report import Figure
from pipeline.machine import single_threaded

TARGET = 0.9
"""The whole command may take 1.11 times the limit."""

QUIET = 0.2
"""Cores kept busy by other programs above which a round counts as disturbed."""


@dataclass(frozen=True)
class _Run:
    """One run of the command.

    Attributes:
        wall_s: of the whole command, seconds.
        cpu_s: of its process tree as the run record has it, seconds.
        steps: wall seconds of each step.
        others: cores that other programs (or the hypervisor) took meanwhile.
    """

    frames: int
    wall_s: float
    cpu_s: float
    steps: dict[str, float]
    others: float


@dataclass(frozen=True)
class Round:
    """One measurement of a clip; times in milliseconds per frame.

    Attributes:
        parts: CPU time of each part, measured alone.
        limit: their sum over the threads.
        wall, cpu: of the whole command, start-up taken out.
        steps: wall time of each step of it.
        others: cores that other programs took meanwhile.
    """

    parts: dict[str, float]
    limit: float
    wall: float
    cpu: float
    steps: dict[str, float]
    others: float

    @property
    def ratio(self) -> float:
        return self.limit / self.wall

    @property
    def disturbed(self) -> bool:
        return self.others > QUIET

    def line(self) -> str:
        """For the screen."""
        line = f"limit {self.limit:.2f} ms, whole command {self.wall:.2f} ms a frame, "
        line += f"ratio {self.ratio:.2f}"
        if self.disturbed:
            line += f" (disturbed: other programs used {self.others:.1f} cores)"
        return line


def measure_round(clip: Clip, threads: int) -> Round:
    """Parts, the short clip and the long clip, one after the other.

    Raises:
        BenchError: a command failed.
    """
    parts = parts_at_once(clip, 1)
    short, long = (_run(video, threads) for video in (clip.short, clip.long))
    frames = long.frames - short.frames
    limit = sum(parts[name] for name in LIMIT) / threads
    return Round(
        parts,
        limit,
        (long.wall_s - short.wall_s) / frames * 1000,
        (long.cpu_s - short.cpu_s) / frames * 1000,
        {name: (long.steps[name] - short.steps[name]) / frames * 1000 for name in long.steps},
        max(short.others, long.others),
    )


def parts_at_once(clip: Clip, copies: int) -> dict[str, float]:
    """CPU milliseconds per frame of each part, while so many copies run; their mean."""
    command = [sys.executable, "-m", "benchmarks.parts", str(clip.once)]
    found = answers([command] * copies, single_threaded())
    return {name: fmean(parts[name] for parts in found) for name in found[0] if name != "frames"}


def undisturbed(rounds: list[Round]) -> list[Round]:
    """The rounds that count."""
    return [each for each in rounds if not each.disturbed] or rounds


def figure(clip: Clip, rounds: list[Round], threads: int) -> Figure:
    """The median over the rounds that nobody disturbed, or where there are none, over all."""
    used = undisturbed(rounds)
    detail: dict[str, Any] = {
        "clip": clip.name,
        "clip_s": round(clip.long_s, 1),
        "threads": threads,
        "limit_over_cpu": round(median(r.limit * threads / r.cpu for r in used), 3),
        "rounds_used": len(used),
        "rounds": [
            {
                "ratio": round(each.ratio, 3),
                "limit_ms": round(each.limit, 2),
                "wall_ms": round(each.wall, 2),
                "cpu_ms": round(each.cpu, 2),
                "step_wall_ms": {name: round(ms, 2) for name, ms in each.steps.items()},
                "cores_of_others": round(each.others, 2),
            }
            for each in rounds
        ],
    }
    name = f"1. every frame, limit / whole command, {clip.name}"
    return Figure(name, median(each.ratio for each in used), at_least=TARGET, detail=detail)


def cpu_table(rounds: list[Round], threads: int, at_once: dict[str, float]) -> dict[str, float]:
    """Rows of the table of CPU milliseconds per frame: medians over the rounds that count."""
    rounds = undisturbed(rounds)
    rows = {name: median(each.parts[name] for each in rounds) for name in rounds[0].parts}
    beside = {f"{name} (not in the limit)": rows.pop(name) for name in set(rows) - set(LIMIT)}
    rows["sum of the parts (limit)"] = sum(rows.values())
    rows |= beside
    rows["whole command, CPU"] = median(each.cpu for each in rounds)
    rows[f"whole command, wall x {threads}"] = median(each.wall for each in rounds) * threads
    for step in rounds[0].steps:
        rows[f"  step {step}, wall x {threads}"] = (
            median(each.steps[step] for each in rounds) * threads
        )
    rows[f"sum of the parts, {threads} copies at once"] = sum(at_once[name] for name in LIMIT)
    return rows


def _run(video: Path, threads: int) -> _Run:
    root = WORK / "output"
    command = [facetracks(), "run", str(video), "--stride", "1", "--output-root", str(root)]
    command += ["--det-size", "640", "--force", "--cpu-threads", str(threads)]
    busy_before_s = _busy_s()
    elapsed_s = wall_s(command)
    busy_s = _busy_s() - busy_before_s
    record = json.loads((root / video.stem / "run.json").read_text(encoding="utf-8"))
    if record["steps"]["detect"]["irregular_times"]:
        raise BenchError(f"{video} has frames without a time of their own: loop it again")
    return _Run(
        record["summary"]["frames"],
        elapsed_s,
        record["cpu_seconds"],
        {name: step["usage"]["seconds"] for name, step in record["steps"].items()},
        max(0.0, (busy_s - record["cpu_seconds"]) / elapsed_s),
    )


def _busy_s() -> float:
    """CPU seconds that the whole machine was busy, or not there for us, since it started."""
    times = psutil.cpu_times()
    names = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(times, name, 0.0) for name in names))
