"""Limits of whole runs, measured from outside: CPUs, share of CPU time, temperature, niceness."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows import run_detect_track
from tests.conftest import Command
from tests.local_stack import LocalStack
from tests.processes import RunningCommand, cpus_busy, wait_until

TOLERANCE = 1.1

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
"""CPUs that the system can confine processes to; 0 where it cannot."""

FAKE_SENSOR = '''
"""The machine reports what a file says, in degrees Celsius; nothing where there is no file."""
import os, types
import psutil

def _read():
    try:
        with open(os.environ["SENSOR"]) as file:
            return {"coretemp": [types.SimpleNamespace(current=float(file.read()))]}
    except FileNotFoundError:
        return {}

psutil.sensors_temperatures = _read
'''


NOT_HELD_S = 0.5
"""CPU seconds that come after the last wait of two short steps: a look begun, tables written."""


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def _confined_to(processes: list[psutil.Process]) -> list[set[int]]:
    found = []
    for process in processes:
        for thread in Path(f"/proc/{process.pid}/task").glob("*"):
            try:
                found.append(os.sched_getaffinity(int(thread.name)))
            except OSError:  # it has ended
                continue
    return found


@pytest.fixture(scope="module")
def as_without_limits(
    long_clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The files of the long clip, with two looks a second."""
    root = tmp_path_factory.mktemp("free")
    answer = run_detect_track(long_clip, output_root=root, profile="low_power")
    assert answer["status"] == "completed", answer
    return _contents(root / "long")


# CPUs


@pytest.mark.parametrize(
    ("arguments", "environment", "threads"),
    [
        pytest.param(("--cpu-threads", "1"), {}, 1, id="1 CPU asked for"),
        # On a machine of two CPUs nothing could use more; on a larger one it would.
        pytest.param(("--cpu-threads", "2"), {}, 2, id="2 CPUs asked for"),
        pytest.param((), {"FACETRACKS_CPU_THREADS": "1"}, 1, id="1 CPU by the environment"),
        pytest.param(("--profile", "low_power"), {}, 1, id="1 CPU by the profile"),
    ],
)
def test_a_direct_run_keeps_to_its_cpus(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    threads: int,
    long_clip: Path,
    tmp_path: Path,
) -> None:
    run = RunningCommand(
        "run", long_clip, "--output-root", tmp_path, *arguments, cwd=tmp_path, **environment
    )
    confined: list[set[int]] = []

    def is_over() -> bool:
        if not confined and any((tmp_path / "long").glob(".*.part")):
            confined.extend(_confined_to(run.alive()))
        return run.process.poll() is not None

    busy = cpus_busy(run.alive, is_over)
    _, stderr = run.process.communicate()
    assert run.process.returncode == 0, stderr
    assert busy <= threads * TOLERANCE
    if threads < CPUS:
        assert confined and all(len(cpus) == threads for cpus in confined), confined
        assert len(set().union(*confined)) == threads, "the same ones for all processes"
    record = json.loads((tmp_path / "long" / "run.json").read_text())
    assert record["machine"]["cpu_threads"] == threads
    assert record["peak_cpus"] <= threads * TOLERANCE


@pytest.mark.parametrize("threads", [1, 2])
def test_a_queued_run_keeps_to_its_cpus(threads: int, stack: LocalStack) -> None:
    ep_id = f"held-to-{threads}"
    run_id = stack.submit("long.mp4", "--ep-id", ep_id, "--cpu-threads", threads)
    wait_until(lambda: bool(stack.processes(run_id)), 30, "the run's first process")
    folder = stack.outputs / ep_id
    confined: list[set[int]] = []

    def is_over() -> bool:
        if not confined and any(folder.glob(".*.part")):
            step = stack.step(run_id, "detect")
            confined.extend(_confined_to([step] if step else []))
        return not stack.processes(run_id)

    busy = cpus_busy(lambda: stack.processes(run_id), is_over)
    assert stack.state_name(run_id) == "Completed"
    assert busy <= threads * TOLERANCE
    if threads < CPUS:
        assert confined and all(len(cpus) == threads for cpus in confined), confined


@pytest.fixture
def stack_of_two(long_clip: Path) -> Iterator[LocalStack]:
    """A worker that has two CPUs for two runs at once."""
    with LocalStack(FACETRACKS_WORKER_LIMIT="2", FACETRACKS_CPU_THREADS="2") as local:
        local.add_media(long_clip, "long.mp4")
        local.up()
        yield local


@pytest.mark.skipif(CPUS < 2, reason="needs Linux and two CPUs")
def test_two_runs_of_a_worker_share_its_cpus_whatever_they_ask_for(
    stack_of_two: LocalStack,
) -> None:
    stack = stack_of_two
    ids = ("a", "b")
    runs = [
        stack.submit("long.mp4", "--ep-id", ep_id, "--stride", "2", "--cpu-threads", "2")
        for ep_id in ids
    ]
    for run_id, ep_id in zip(runs, ids, strict=True):
        stack.wait_for_stage(run_id, "detecting", ep_id)
    steps = [process for process in stack.processes(runs[0]) if process.name() == "ft-detect"]
    assert len(steps) == 2, "at the same time"
    (first, *more), (second, *others) = (_confined_to([step]) for step in steps)
    assert len(first) == len(second) == 1
    assert all(cpus == first for cpus in more) and all(cpus == second for cpus in others)
    if not _others_hold_cpus(steps):
        assert first != second, "not the same one"
    busy = cpus_busy(
        lambda: stack.processes(runs[0]),
        lambda: not any(stack.processes(run_id) for run_id in runs),
    )
    assert busy <= 2 * TOLERANCE
    for run_id, ep_id in zip(runs, ids, strict=True):
        assert stack.state_name(run_id) == "Completed"
        record = json.loads((stack.outputs / ep_id / "run.json").read_text())
        assert record["machine"]["cpu_threads"] == 1


def _others_hold_cpus(ours: list[psutil.Process]) -> bool:
    """Whether CPUs are claimed for runs that are none of this test's."""
    claimed = Path("/proc/net/unix").read_text().count("@facetracks-cpu-")
    return claimed > len(ours)


# Share of CPU time


@pytest.mark.parametrize(("threads", "percent"), [(1, 15), (2, 8)])
def test_a_share_of_cpu_time_is_kept_to_and_changes_no_byte(
    threads: int, percent: int, sample: Path, tmp_path: Path
) -> None:
    free = run_detect_track(sample, output_root=tmp_path / "free", stride=1)
    assert free["status"] == "completed", free
    run = RunningCommand(
        *("run", sample, "--output-root", tmp_path / "held", "--stride", "1"),
        *("--cpu-threads", str(threads), "--max-cpu-percent", str(percent)),
        cwd=tmp_path,
    )

    def steps() -> list[psutil.Process]:
        # The caller, which waits and imports, is not held back.
        return [process for process in run.alive() if process.pid != run.process.pid]

    wait_until(lambda: bool(steps()), 20, "the first step")
    busy = cpus_busy(steps, lambda: run.process.poll() is not None)
    _, stderr = run.process.communicate()
    assert run.process.returncode == 0, stderr
    limit = threads * percent / 100
    assert busy <= limit * TOLERANCE
    folder = tmp_path / "held" / sample.stem
    record = json.loads((folder / "run.json").read_text())
    used = sum(step["usage"]["cpu_seconds"] for step in record["steps"].values())
    assert used - NOT_HELD_S <= limit * TOLERANCE * record["elapsed_seconds"]
    assert record["paused_seconds"] > 0
    assert _contents(folder) == _contents(tmp_path / "free" / sample.stem)


# Temperature


class Heated:
    """A run on a machine whose temperature this test sets."""

    def __init__(self, video: Path, folder: Path, *arguments: str, c: float | None = 60) -> None:
        hooks = folder / "hooks"
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(FAKE_SENSOR)
        self._sensor = folder / "sensor"
        if c is not None:
            self.set(c)
        self.outputs = folder / "o"
        self.run = RunningCommand(
            *("run", video, "--output-root", self.outputs, "--profile", "low_power"),
            *("--max-temperature", "80", *arguments),
            cwd=folder,
            PYTHONPATH=str(hooks),
            SENSOR=str(self._sensor),
        )

    def set(self, celsius: float) -> None:
        other = self._sensor.with_suffix(".new")
        other.write_text(str(celsius))
        other.replace(self._sensor)

    def detecting(self) -> None:
        wait_until(lambda: any(self.outputs.glob("long/.*.part")), 30, "a file being written")

    def line_with(self, words: str) -> str:
        """The next line of the log that has the words."""
        assert self.run.process.stderr is not None
        for line in self.run.process.stderr:
            if words in line:
                return line
        raise AssertionError(f"no line with {words!r}")


def test_a_hot_machine_is_left_to_cool_down(
    long_clip: Path, tmp_path: Path, as_without_limits: dict[str, bytes]
) -> None:
    heated = Heated(long_clip, tmp_path)
    heated.detecting()
    heated.set(90)
    paused = heated.line_with("paused")
    assert "detect: paused: the CPU is at 90 °C, --max-temperature is 80; goes on at 75" in paused
    seconds = iter(range(5))
    still = [False] * 4 + [True]
    busy = cpus_busy(heated.run.alive, lambda: still[next(seconds)])
    assert busy <= 0.2, "nothing but looking at the temperature"
    assert heated.run.process.poll() is None
    heated.set(70)
    assert "the CPU is at 70 °C" in heated.line_with("goes on after")
    _, stderr = heated.run.process.communicate(timeout=120)
    assert heated.run.process.returncode == 0, stderr
    assert _contents(heated.outputs / "long") == as_without_limits
    record = json.loads((heated.outputs / "long" / "run.json").read_text())
    assert record["temperature_c"] == {"start": 60.0, "end": 70.0}
    assert record["paused_seconds"] > 0


@pytest.mark.parametrize(
    ("arguments", "signalled", "code"),
    [
        pytest.param((), True, 130, id="cancelled"),
        pytest.param(("--timeout", "12"), False, 4, id="timed out"),
    ],
)
def test_a_paused_run_can_be_stopped(
    arguments: tuple[str, ...], signalled: bool, code: int, long_clip: Path, tmp_path: Path
) -> None:
    heated = Heated(long_clip, tmp_path, *arguments)
    heated.detecting()
    heated.set(90)
    heated.line_with("paused")
    if signalled:
        heated.run.process.terminate()
    heated.run.process.communicate(timeout=3 if signalled else 20)
    assert heated.run.process.returncode == code
    wait_until(lambda: not heated.run.alive(), 3, "processes gone")


def test_a_machine_that_reports_no_temperature_is_told_of_once(
    sample: Path, tmp_path: Path
) -> None:
    heated = Heated(sample, tmp_path, c=None)
    _, stderr = heated.run.process.communicate(timeout=60)
    assert heated.run.process.returncode == 0, stderr
    says = "WARNING --max-temperature has no effect: this machine reports no CPU temperature"
    assert stderr.count(says) == 1
    record = json.loads((heated.outputs / "carphone_pristine" / "run.json").read_text())
    assert record["temperature_c"] is None


# Niceness


def test_the_work_is_nice_and_the_caller_is_not(long_clip: Path, tmp_path: Path) -> None:
    before = os.nice(0)
    wanted = min(19, before + 7)
    run = RunningCommand(
        *("run", long_clip, "--output-root", tmp_path, "--nice", str(wanted)), cwd=tmp_path
    )
    wait_until((tmp_path / "long" / "detections.parquet").exists, 120, "the detections")
    children = [process for process in run.alive() if process.pid != run.process.pid]
    assert children and {process.nice() for process in children} == {wanted}
    assert psutil.Process(run.process.pid).nice() == before
    run.process.kill()
    run.process.communicate()
    wait_until(lambda: not run.alive(), 3, "processes gone")


# The record, and what counts as done


def test_the_record_says_what_a_run_took(sample: Path, tmp_path: Path) -> None:
    answer = run_detect_track(sample, output_root=tmp_path, stride=1)
    record = json.loads(Path(answer["outputs"]["record"]).read_text())
    steps = [step["usage"] for step in record["steps"].values()]
    assert len(steps) == 2
    for took in [*steps, record]:
        assert took["cpu_seconds"] > 0
        assert took["mean_cpus"] > 0
        assert took["peak_memory_mib"] > 50
        assert took["paused_seconds"] == 0
    for took in steps:
        assert took["peak_cpus"] >= took["mean_cpus"]
        assert took["mean_cpus"] * took["seconds"] <= took["cpu_seconds"] + 0.1
    assert record["peak_cpus"] == max(took["peak_cpus"] for took in steps)
    frequency = psutil.cpu_freq()
    if frequency and frequency.current:
        assert 100 < record["frequency_mhz"]["end"] < 10_000
    else:
        assert record["frequency_mhz"] is None


def test_limits_do_not_make_another_result(
    sample: Path, tmp_path: Path, facetracks: Command
) -> None:
    first = run_detect_track(sample, output_root=tmp_path)
    assert first["status"] == "completed", first
    done = facetracks(
        *("run", sample, "--output-root", tmp_path, "--json"),
        *("--max-cpu-percent", "20", "--max-temperature", "90", "--nice", "19"),
        *("--cpu-threads", "1"),
    )
    answer = json.loads(done.stdout)
    assert answer["already_done"] and answer["summary"] == first["summary"]
