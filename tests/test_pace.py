"""The parts that hold a run back and measure it, each alone: budget, heat, gate, meter, shares."""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.settings import Settings
from flows.request import make_request
from pipeline import load, pace
from pipeline.load import CpuMeter
from pipeline.machine import CpuShare
from pipeline.options import Options

# CPU budget


def _worked(cpus: float, used: Callable[[float], float], until_s: int) -> list[bool]:
    """Whether the budget is kept at each second, with `used(t)` CPU seconds by then."""
    budget = pace.CpuBudget(cpus, 0.0)
    return [budget.is_kept(float(t), used(t)) for t in range(1, until_s + 1)]


@pytest.mark.parametrize("cpus", [0.01, 0.5, 3.0])
def test_work_at_the_rate_of_its_budget_never_waits(cpus: float) -> None:
    assert all(_worked(cpus, lambda t: t * cpus * 0.999, 50))


def test_what_was_used_in_excess_is_waited_for() -> None:
    # 10 CPU seconds in the first second, nothing after it: at half a CPU, 20 s of wall time.
    kept = _worked(0.5, lambda _: 10.0, 30)
    assert kept.index(True) in (18, 19)


def test_time_in_which_nothing_was_done_is_not_made_up_for() -> None:
    # A second's worth, at most: then work that has waited for a minute is held to its rate again.
    kept = _worked(0.5, lambda t: 0.0 if t <= 60 else (t - 60) * 1.0, 70)
    assert kept[:60] == [True] * 60
    assert kept[62:] == [False] * len(kept[62:])


# Heat


def test_it_pauses_at_the_limit_and_goes_on_when_well_below() -> None:
    said: list[tuple[str, int]] = []
    heat = pace.HeatLimit(80, lambda text, level: said.append((text, level)))
    readings = [79.9, 80.0, 85.0, 79.0, 75.1, 75.0, 79.0, 81.0]
    kept = [heat.is_kept(float(second), c) for second, c in enumerate(readings)]
    assert kept == [True, False, False, False, False, True, True, False]
    texts = [text for text, _ in said]
    assert texts == [
        "paused: the CPU is at 80 °C, --max-temperature is 80; goes on at 75",
        "goes on after 4 s: the CPU is at 75 °C",
        "paused: the CPU is at 81 °C, --max-temperature is 80; goes on at 75",
    ]


@pytest.mark.parametrize("readings", [[None, None], [90.0, None]])
def test_a_temperature_that_is_not_known_stops_nothing(readings: list[float | None]) -> None:
    heat = pace.HeatLimit(80, lambda *_: None)
    kept = [heat.is_kept(float(second), c) for second, c in enumerate(readings)]
    assert kept[-1]


def test_a_pause_that_does_not_end_is_told_of_now_and_then() -> None:
    said: list[int] = []
    heat = pace.HeatLimit(40, lambda _, level: said.append(level))
    for second in range(1801):
        assert not heat.is_kept(float(second), 50.0)
    assert said == [logging.INFO, *[logging.WARNING] * 3]


Sensor = namedtuple("Sensor", "label current high critical")


def _sensors(**by_driver: list[float | None]) -> dict[str, list[Sensor]]:
    return {
        name: [Sensor("", current, None, None) for current in values]
        for name, values in by_driver.items()
    }


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        pytest.param({}, None, id="none"),
        pytest.param(_sensors(coretemp=[51.0, 63.0, 55.0]), 63.0, id="the hottest core"),
        pytest.param(_sensors(nvme=[80.0], k10temp=[44.0]), 44.0, id="not the disk"),
        pytest.param(_sensors(acpitz=[27.0], coretemp=[60.0]), 60.0, id="the CPU, not the board"),
        pytest.param(_sensors(acpitz=[47.0], nvme=[80.0]), 47.0, id="the board, for want of it"),
        pytest.param(_sensors(cpu_thermal=[48.3]), 48.3, id="a Raspberry Pi"),
        pytest.param(_sensors(coretemp=[0.0, None]), None, id="sensors that are off"),
        pytest.param(_sensors(nvme=[80.0], iwlwifi=[60.0]), None, id="none of the CPU"),
    ],
)
def test_the_temperature_is_the_cpus(
    reported: dict[str, list[Sensor]], expected: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: reported, raising=False)
    assert load.temperature_c() == expected


def test_without_a_way_to_ask_there_is_no_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil, "sensors_temperatures", raising=False)
    assert load.temperature_c() is None


# The gate


def _passes(_: int) -> bool:
    pace.wait_for_leave()
    return True


def hold_back_other_processes(method: str) -> None:
    """Fails where processes of that start method do not wait at this process's gate."""
    context = multiprocessing.get_context(method)
    assert pace.leave_for(context) is None, "no limit, no gate"
    gate = pace.open_gate()
    gate.move(is_open=False)
    leave = pace.leave_for(context)
    with ProcessPoolExecutor(2, context, initializer=pace.obey, initargs=(leave,)) as pool:
        held_back = [pool.submit(_passes, number) for number in range(3)]
        with pytest.raises(TimeoutError):
            held_back[0].result(1.0)
        gate.move(is_open=True)
        assert all(future.result(10) for future in held_back)


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_other_processes_wait_at_the_same_gate(method: str) -> None:
    # In a process of its own, which takes the fork server with it.
    code = f"from tests.test_pace import *; hold_back_other_processes({method!r})"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)


def test_threads_wait_at_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_gate", None)
    monkeypatch.setattr(pace, "_leave", None)
    gate = pace.open_gate()
    _passes(0)
    gate.move(is_open=False)
    thread = threading.Thread(target=pace.wait_for_leave, daemon=True)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    gate.move(is_open=True)
    thread.join(5)
    assert not thread.is_alive()


# Measuring


@pytest.mark.parametrize(
    ("readings", "mean", "peak"),
    [
        pytest.param([(0.3, 0.6)], 2.0, 2.0, id="shorter than a window"),
        pytest.param([(1, 0.5), (2, 2.5), (3, 3.0)], 1.0, 2.0, id="a busy second"),
        pytest.param([(t / 10, t / 10) for t in range(1, 31)], 1.0, 1.0, id="read often"),
        pytest.param([(0.1, 0.4), (1.0, 0.4), (2.0, 0.4)], 0.2, 0.4, id="a burst within one"),
        pytest.param([(1, 1.0), (2, 0.9), (3, 1.0)], 1 / 3, 1.0, id="a child not waited for yet"),
    ],
)
def test_the_meter_has_mean_and_peak(
    readings: list[tuple[float, float]], mean: float, peak: float
) -> None:
    meter = CpuMeter(0.0, 0.0)
    for at_s, cpu_s in readings:
        meter.add(at_s, cpu_s)
    assert meter.mean == pytest.approx(mean)
    assert meter.peak == pytest.approx(peak)


def test_the_tree_counts_children_that_live_and_that_have_ended() -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True); input()"
    tree = load.ProcessTree()
    tree.look()
    _, before = tree.read()
    child = subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    tree.look()
    assert tree.read()[1] - before >= 0.45, "while it lives"
    child.communicate(b"\n")
    assert tree.read()[1] - before >= 0.45, "although it was not looked for again"


# Shares of the machine

_confines = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs Linux and two CPUs",
)

_HOLD_ONE = """
from pipeline.machine import CpuShare
share = CpuShare.of(1)
print(*share.cpus, flush=True)
input()
"""


@_confines
def test_runs_at_the_same_time_get_different_cpus() -> None:
    first, second = CpuShare.of(1), CpuShare.of(1)
    try:
        if not (first.claims and second.claims):
            pytest.skip("other runs on this machine have its CPUs")
        assert len(first.cpus) == len(second.cpus) == 1
        assert first.cpus != second.cpus
    finally:
        first.release()
        second.release()
    again = CpuShare.of(1)
    again.release()
    assert again.claims, "given back"


@_confines
def test_where_all_cpus_are_taken_a_run_shares_one() -> None:
    all_of_them = len(os.sched_getaffinity(0))
    shares = [CpuShare.of(1) for _ in range(all_of_them + 1)]
    for share in shares:
        share.release()
    assert [len(share.cpus) for share in shares] == [1] * len(shares)
    assert not shares[-1].claims


@_confines
def test_a_killed_run_has_no_cpus() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD_ONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert process.stdout is not None
    held = int(process.stdout.readline())
    mine = CpuShare.of(1)
    mine.release()
    process.kill()
    process.communicate()
    if not mine.claims:
        pytest.skip("other runs on this machine have its CPUs")
    assert held not in mine.cpus
    shares = [CpuShare.of(1) for _ in os.sched_getaffinity(0)]
    for share in shares:
        share.release()
    assert held in {cpu for share in shares if share.claims for cpu in share.cpus}


@pytest.mark.parametrize(
    ("threads", "most", "runs", "each"),
    [
        pytest.param("4", None, 2, 2, id="what is set is divided"),
        pytest.param("4", None, 1, 4, id="one run has all of it"),
        pytest.param("1", None, 2, 1, id="never less than one"),
        pytest.param("9", "6", 3, 2, id="not more than the most"),
    ],
)
def test_the_runs_of_a_worker_share_its_cpus(
    threads: str, most: str | None, runs: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACETRACKS_CPU_THREADS", threads)
    monkeypatch.setenv("FACETRACKS_MAX_CPU_THREADS", most or "")
    assert Settings.load().share_of_each(runs) == each


@pytest.mark.parametrize(
    ("asked", "set_to", "most", "given"),
    [
        pytest.param(3, None, None, 3, id="as asked"),
        pytest.param(3, "2", None, 3, id="asked wins over the default"),
        pytest.param(None, "2", None, 2, id="the default"),
        pytest.param(3, "2", "2", 2, id="not more than the most"),
        pytest.param(1, "2", "2", 1, id="less than the most"),
        pytest.param(None, None, "1", 1, id="the most holds for the default, too"),
    ],
)
def test_what_a_run_asks_for_is_capped_by_the_setting(
    asked: int | None,
    set_to: str | None,
    most: str | None,
    given: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FACETRACKS_CPU_THREADS", set_to or "")
    monkeypatch.setenv("FACETRACKS_MAX_CPU_THREADS", most or "")
    options: dict[str, Any] = {} if asked is None else {"cpu_threads": asked}
    request = make_request(Path("v.mp4"), None, None, Options.parse(options), "run", False)
    assert request.options.cpu_threads == given
