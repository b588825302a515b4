"""Figure 4: from submitting a run to its first decoded frame.

Queued mode beside Prefect as it comes and beside Celery: all three on one local stack, in turns,
with every worker up and idle; the first turn does not count, as it fills the caches of files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any

import psutil

from benchmarks.hosts import CeleryHost, Memory, Queued, Sample, Stock
from benchmarks.media import Clip
from benchmarks.processes import BenchError
from benchmarks.report import Figure
from tests.local_stack import LocalStack

TARGET_S = 4.5
_SETTLE_S = 1.0
"""Before each measurement, for what is still ending."""

Say = Callable[[str], None]


def measure(clip: Clip, rounds: int, say: Say) -> Figure:
    """Starts the stack, measures, stops it again; medians over the rounds.

    Raises:
        BenchError: something does not start, or a run fails or is not in a group of its own.
    """
    with LocalStack() as stack:
        try:
            stack.up()
        except AssertionError as error:
            raise BenchError(f"the local stack did not start: {error}") from None
        queued = Queued(stack, clip.once)
        with Stock(stack, clip.once) as stock, CeleryHost(stack, clip.once) as celery:
            say("stack, stock worker and Celery are up")
            time.sleep(5 * _SETTLE_S)
            memory = {**queued.at_rest(), "stock worker": stock.at_rest()}
            memory["celery, its forks included"] = celery.at_rest()
            hosts: dict[str, Queued | Stock | CeleryHost]
            hosts = {"queued": queued, "stock Prefect": stock, "celery": celery}
            samples: dict[str, list[Sample]] = {name: [] for name in hosts}
            busy_cores: dict[str, list[float]] = {name: [] for name in hosts}
            for number in range(rounds + 1):
                for name, host in hosts.items():
                    busy = psutil.cpu_percent(_SETTLE_S) / 100 * (psutil.cpu_count() or 1)
                    found = host.measure()
                    if number:
                        samples[name].append(found)
                        busy_cores[name].append(round(busy, 2))
                    turn = f"round {number}" if number else "not counted"
                    took = f"first frame after {found.first_frame_s:.2f} s"
                    say(f"{turn}, {name}: {took} ({busy:.1f} cores busy before)")
            memory["nursery, after the rounds"] = queued.at_rest()["nursery"]
    return _figure(clip, samples, busy_cores, memory)


def lines(figure: Figure) -> list[str]:
    """The figure's details for the screen."""
    text = []
    for name, times in figure.detail["first_frame_s"].items():
        text.append(
            f"   {name:<28} {median(times):6.2f} s  ({min(times):.2f} to {max(times):.2f}, "
            f"{len(times)} rounds)"
        )
    for name, marks in figure.detail["marks_s"].items():
        text.append(f"   {name}, on the way, seconds after the submission began:")
        text += [f"      {mark:<25} {at:6.2f}" for mark, at in marks.items()]
    text.append("   CPU memory at rest, MiB: resident / proportional")
    for name, memory in figure.detail["memory_at_rest"].items():
        text.append(f"      {name:<25} {memory['rss_mib']:6.0f} / {memory['pss_mib']:.0f}")
    return text


def _figure(
    clip: Clip,
    samples: dict[str, list[Sample]],
    busy_cores: dict[str, list[float]],
    memory: dict[str, Memory],
) -> Figure:
    times = {
        name: [round(sample.first_frame_s, 3) for sample in found]
        for name, found in samples.items()
    }
    marks = {name: _marks(found) for name, found in samples.items() if found[0].marks_s}
    detail: dict[str, Any] = {
        "clip": clip.name,
        "medians_s": {name: round(median(found), 3) for name, found in times.items()},
        "first_frame_s": times,
        "busy_cores_before": busy_cores,
        "marks_s": marks,
        "memory_at_rest": {name: asdict(found) for name, found in memory.items()},
    }
    name = "4. submit to first frame, s, queued mode"
    return Figure(name, median(times["queued"]), at_most=TARGET_S, detail=detail)


def _marks(samples: list[Sample]) -> dict[str, float]:
    """Median of each mark, in the order of time."""
    found = {
        name: round(median(sample.marks_s[name] for sample in samples), 3)
        for name in samples[0].marks_s
    }
    return dict(sorted(found.items(), key=lambda mark: mark[1]))
