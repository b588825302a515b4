"""Measures this machine and writes `benchmarks/results/<processor>.json`.

`python -m benchmarks` takes well over an hour, `--quick` about half of it; each part can be
measured alone. The machine should be idle.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import psutil

from benchmarks import (
    altered,
    alternatives,
    backfill,
    latency,
    long,
    media,
    profiles,
    quality,
    report,
    scaling,
    startup,
    throughput,
    tracking,
    transitions,
)
from benchmarks.overhead import cpu_over_wall, direct_over_plain
from benchmarks.processes import BenchError
from benchmarks.report import Figure
from benchmarks.throughput import Round
from pipeline.errors import FacetracksError, one_line
from pipeline.machine import available_cpus

Say = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """What a part found.

    Attributes:
        lines: shown below the figures: their details, tables.
        options: stored with the figures, beside the rounds.
        cpu_ms: CPU milliseconds per frame of each part of the work, by clip; figure 1 alone.
    """

    figures: list[Figure]
    lines: list[str]
    options: dict[str, Any]
    cpu_ms: dict[str, dict[str, float]] | None = None

    def text(self) -> str:
        return "\n".join([*(figure.line() for figure in self.figures), *self.lines])


def _work(rounds: int, say: Say) -> Found:
    threads, clips = available_cpus(), media.clips()
    for clip in clips:
        times = f"{clip.short_loops} and {clip.long_loops} times"
        say(f"clip {clip.name}: {clip.once.name}, shown {times}, {clip.long_s:.0f} s")
    measured: list[list[Round]] = [[] for _ in clips]
    for number in range(rounds):
        for clip, clip_rounds in zip(clips, measured, strict=True):
            clip_rounds.append(throughput.measure_round(clip, threads))
            say(f"round {number + 1}, {clip.name}: {clip_rounds[-1].line()}")
    figures, lines = [], []
    cpu_ms: dict[str, dict[str, float]] = {}
    for clip, clip_rounds in zip(clips, measured, strict=True):
        figures.append(throughput.figure(clip, clip_rounds, threads))
        ratio = figures[-1].detail["limit_over_cpu"]
        lines.append(f"   limit / CPU time of the whole command, {clip.name}: {ratio:.2f}")
        at_once = throughput.parts_at_once(clip, threads)
        cpu_ms[clip.name] = throughput.cpu_table(clip_rounds, threads, at_once)
    say("parts measured at once")
    figures.append(direct_over_plain(clips[0], threads, max(1, rounds - 1)))
    direct = figures[-1].detail
    lines.append(
        f"   direct / plain {direct['direct_over_plain']:.2f}, "
        f"direct - plain {direct['direct_minus_plain_s']:.1f} s"
    )
    say("direct mode measured")
    figures += [cpu_over_wall(clips[0], count) for count in (1, 2) if count <= threads]
    lines += ["", report.table(cpu_ms)]
    return Found(figures, lines, {"threads": threads}, cpu_ms)


def _latency(rounds: int, say: Say) -> Found:
    figure = latency.measure(media.clips()[0], rounds, say)
    return Found([figure], latency.lines(figure), {})


def _alternatives(rounds: int, say: Say) -> Found:
    clips = [clip for clip in media.clips() if "x" in clip.name]
    if not clips:
        return Found([], ["alternatives: left out, for want of the evaluation media"], {})
    found = {clip.name: alternatives.measure(clip, rounds, say) for clip in clips}
    figures = [each for clip in clips for each in alternatives.figures(clip, found[clip.name])]
    speeds = {
        clip: [{name: asdict(speed) for name, speed in each.items()} for each in clip_rounds]
        for clip, clip_rounds in found.items()
    }
    return Found(figures, ["", alternatives.table(found)], {"speeds": speeds})


def _figures(measure: Callable[[int, Say], list[Figure]]) -> Callable[[int, Say], Found]:
    """A part that has nothing to tell but its figures."""
    return lambda rounds, say: Found(measure(rounds, say), [], {})


@dataclass(frozen=True)
class Part:
    """Figures that are measured together.

    Attributes:
        figures: their numbers in the README.
        measure: takes rounds, and a way to say a line.
        rounds, quick: how many rounds, and how many with `--quick` (of figure 5: episodes).
    """

    name: str
    figures: str
    measure: Callable[[int, Say], Found]
    rounds: int = 3
    quick: int = 1


PARTS = (
    Part("work", "1 to 3", _work),
    Part("latency", "4", _latency, rounds=5),
    Part("backfill", "5", _figures(backfill.measure), rounds=300, quick=30),
    Part("alternatives", "6", _alternatives),
    Part("profiles", "7", _figures(lambda rounds, _: profiles.measure(media.clips()[-1], rounds))),
    Part("long", "8", _figures(lambda _, __: long.measure(media.clips()[-1])), rounds=1),
    Part("tracking", "9 and 10", _figures(lambda *how: tracking.measure(media.clips(), *how))),
    Part("startup", "11", _figures(lambda *how: startup.measure(media.clips()[-1], *how)), 5),
    Part("scaling", "12", _figures(lambda *how: scaling.measure(media.clips(), *how))),
    Part("quality", "HOTA and IDF1", _figures(lambda _, say: quality.measure(say)), rounds=1),
    Part("transitions", "recall of fades", _figures(lambda _, say: transitions.measure(say)), 1),
    Part("altered", "IDF1 of copies", _figures(lambda _, say: altered.measure(say)), rounds=1),
)


def main() -> int:
    """Returns 0 where everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of each measurement")
    parser.add_argument(
        "what", nargs="?", choices=("all", *(part.name for part in PARTS)), default="all",
        help="; ".join(f"{part.name}: figures {part.figures}" for part in PARTS),
    )  # fmt: skip
    given = parser.parse_args()
    done: dict[str, Found] = {}
    failed = False
    for part in PARTS:
        if given.what in ("all", part.name):
            try:
                done[part.name] = _measure(part, given.quick)
            except (BenchError, FacetracksError) as error:
                # The hour that the other parts took, or will take, is not lost.
                print(f"benchmarks: {part.name}: {one_line(error)}", file=sys.stderr)
                failed = True
    if len(done) > 1:
        print(f"\n{report.machine()}, all of it:")
        print(*(found.text() for found in done.values()), sep="\n\n")
    return int(failed)


def _measure(part: Part, quick: bool) -> Found:
    """Measures a part, stores its figures and shows them."""
    rounds = part.quick if quick else part.rounds
    load = psutil.getloadavg()[0]
    print(f"\n{report.machine()}, {part.name}, load of others {load:.1f}")
    say = partial(_say, time.monotonic())
    found = part.measure(rounds, say)
    options = {"rounds": rounds, "quick": quick, "load_before": round(load, 2), **found.options}
    path = None
    if found.cpu_ms is not None:
        path = report.write(found.figures, found.cpu_ms, options)
    elif found.figures:
        path = report.write_section(part.name, found.figures, options)
    print(f"\n{found.text()}\n")
    if path is not None:
        say(f"written to {path.relative_to(media.ROOT)}")
    return found


def _say(started: float, line: str) -> None:
    print(f"[{time.monotonic() - started:4.0f} s] {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
