"""Measures this machine and writes `benchmarks/results/<processor>.json`.

`python -m benchmarks` takes about an hour, `--quick` about half of it; `python -m benchmarks work`,
`latency`, `backfill`, `alternatives`, `profiles`, `long` and `quality` are its parts. The machine
should be idle.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import psutil

from benchmarks import alternatives, backfill, latency, long, media, profiles, report, throughput
from benchmarks.overhead import cpu_over_wall, direct_over_plain
from benchmarks.processes import BenchError
from benchmarks.quality import measure_quality
from benchmarks.report import Figure
from benchmarks.throughput import Round
from pipeline.errors import FacetracksError, one_line
from pipeline.machine import available_cpus

_PARTS = ("work", "latency", "backfill", "alternatives", "profiles", "long", "quality")


def main() -> int:
    """Returns 0 where everything could be measured, whether or not targets are met."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of each measurement")
    parser.add_argument(
        "what", nargs="?", choices=("all", *_PARTS), default="all",
        help="work: figures 1 to 3; latency: 4; backfill: 5; alternatives: 6; profiles: 7; "
        "long: 8; quality: tracks against truth",
    )  # fmt: skip
    given = parser.parse_args()
    try:
        if given.what in ("all", "work"):
            _measure_work(rounds=1 if given.quick else 3, quick=given.quick)
        if given.what in ("all", "latency"):
            _measure_latency(rounds=1 if given.quick else 5, quick=given.quick)
        if given.what in ("all", "backfill"):
            episodes = 30 if given.quick else 300
            _measure_section(
                "backfill",
                lambda say: backfill.measure(episodes, say),
                {"episodes": episodes, "quick": given.quick},
            )
        if given.what in ("all", "alternatives"):
            _measure_alternatives(quick=given.quick)
        if given.what in ("all", "profiles"):
            rounds = 1 if given.quick else 3
            _measure_section(
                "profiles",
                lambda _: profiles.measure(media.clips()[-1], rounds),
                {"rounds": rounds, "quick": given.quick},
            )
        if given.what in ("all", "long"):
            _measure_section("long", lambda _: long.measure(media.clips()[-1]), {})
        if given.what in ("all", "quality"):
            measure_quality()
    except (BenchError, FacetracksError) as error:
        print(f"benchmarks: {one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _measure_work(rounds: int, quick: bool) -> None:
    started = time.monotonic()
    threads = available_cpus()
    clips = media.clips()
    print(f"{report.machine()}, {threads} threads, {rounds} rounds")
    for clip in clips:
        times = f"{clip.short_loops} and {clip.long_loops} times"
        print(f"clip {clip.name}: {clip.once.name}, shown {times}, {clip.long_s:.0f} s")
    measured: list[list[Round]] = [[] for _ in clips]
    for number in range(rounds):
        for clip, clip_rounds in zip(clips, measured, strict=True):
            found = throughput.measure_round(clip, threads)
            clip_rounds.append(found)
            _say(started, _round_line(number, clip.name, found))
    figures: list[Figure] = []
    cpu_ms: dict[str, dict[str, float]] = {}
    for clip, clip_rounds in zip(clips, measured, strict=True):
        figures.append(throughput.figure(clip, clip_rounds, threads))
        at_once = throughput.parts_at_once(clip, threads)
        cpu_ms[clip.name] = throughput.cpu_table(clip_rounds, threads, at_once)
    _say(started, "parts measured at once")
    figures.append(direct_over_plain(clips[0], threads, max(1, rounds - 1)))
    _say(started, "direct mode measured")
    figures += [cpu_over_wall(clips[0], count) for count in (1, 2) if count <= threads]
    path = report.write(figures, cpu_ms, {"rounds": rounds, "quick": quick, "threads": threads})
    print(f"\n{'figure':<52}{'found':>8}   target")
    for figure in figures:
        print(figure.line())
    for figure in figures:
        if "limit_over_cpu" in figure.detail:
            clip_name, ratio = figure.detail["clip"], figure.detail["limit_over_cpu"]
            print(f"   limit / CPU time of the whole command, {clip_name}: {ratio:.2f}")
    direct = next(figure.detail for figure in figures if "direct_over_plain" in figure.detail)
    print(
        f"   direct / plain {direct['direct_over_plain']:.2f}, "
        f"direct - plain {direct['direct_minus_plain_s']:.1f} s"
    )
    print(f"\n{report.table(cpu_ms)}\n")
    _say(started, f"written to {path.relative_to(media.ROOT)}")


def _measure_latency(rounds: int, quick: bool) -> None:
    started = time.monotonic()
    load = psutil.getloadavg()[0]
    print(f"\n{report.machine()}, {rounds} rounds, load of others {load:.1f}")
    figure = latency.measure(media.clips()[0], rounds, lambda line: _say(started, line))
    options = {"rounds": rounds, "quick": quick, "load_before": round(load, 2)}
    path = report.write_section("latency", [figure], options)
    print(f"\n{figure.line()}", *latency.lines(figure), "", sep="\n")
    _say(started, f"written to {path.relative_to(media.ROOT)}")


def _measure_alternatives(quick: bool) -> None:
    started = time.monotonic()
    load = psutil.getloadavg()[0]
    print(f"\n{report.machine()}, load of others {load:.1f}")
    clips = [clip for clip in media.clips() if "x" in clip.name]
    if not clips:
        print("alternatives: left out, for want of the evaluation media")
        return
    found = {
        clip.name: alternatives.measure(clip, lambda line: _say(started, line)) for clip in clips
    }
    figures = [each for clip in clips for each in alternatives.figures(clip, found[clip.name])]
    table = {
        clip: {name: asdict(speed) for name, speed in programs.items()}
        for clip, programs in found.items()
    }
    options = {"quick": quick, "load_before": round(load, 2), "speeds": table}
    path = report.write_section("alternatives", figures, options)
    print("", alternatives.table(found), "", *(figure.line() for figure in figures), "", sep="\n")
    _say(started, f"written to {path.relative_to(media.ROOT)}")


def _measure_section(
    name: str, measure: Callable[[Callable[[str], None]], list[Figure]], options: dict[str, Any]
) -> None:
    """Measures figures of one section and stores them; `measure` is given a way to say a line."""
    started = time.monotonic()
    load = psutil.getloadavg()[0]
    print(f"\n{report.machine()}, {name}, load of others {load:.1f}")
    figures = measure(lambda line: _say(started, line))
    path = report.write_section(name, figures, options | {"load_before": round(load, 2)})
    print("", *(figure.line() for figure in figures), "", sep="\n")
    _say(started, f"written to {path.relative_to(media.ROOT)}")


def _round_line(number: int, clip: str, found: Round) -> str:
    line = f"round {number + 1}, {clip}: limit {found.limit:.2f} ms, "
    line += f"whole command {found.wall:.2f} ms a frame, ratio {found.ratio:.2f}"
    if found.disturbed:
        line += f" (disturbed: other programs used {found.others:.1f} cores)"
    return line


def _say(started: float, line: str) -> None:
    print(f"[{time.monotonic() - started:4.0f} s] {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
