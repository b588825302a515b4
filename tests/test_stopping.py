"""Stopping a run, by every way there is, at every stage: nothing of it stays behind."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from flows import run_detect_track
from tests.conftest import Command
from tests.processes import RunningCommand, wait_until

GONE_WITHIN_S = 3.0


def _stage(run: RunningCommand, root: Path, stage: str) -> None:
    """Waits until the run has come to that stage."""
    if stage == "importing":
        wait_until(lambda: run.step_is_running("detect"), 20, "the detect process")
    elif stage == "detecting":
        part = f"{root}/long"
        wait_until(lambda: bool(list(Path(part).glob(".*.part"))), 30, "a file being written")
        time.sleep(0.5)
    else:
        wait_until((root / "long" / "detections.parquet").exists, 120, "the detections")


def _nothing_is_left(run: RunningCommand, root: Path) -> None:
    wait_until(lambda: not run.alive(), GONE_WITHIN_S, f"processes gone, still: {run.alive()}")
    assert not list(root.rglob("*.part")), "nothing half-written"
    assert not list(root.rglob("run.json")), "no result"


@pytest.mark.parametrize(
    ("number", "stage"),
    [
        (signal.SIGINT, "importing"),
        (signal.SIGTERM, "importing"),
        (signal.SIGINT, "detecting"),
        (signal.SIGTERM, "detecting"),
        (signal.SIGHUP, "detecting"),
        (signal.SIGTERM, "tracking"),
    ],
)
def test_a_signal_ends_the_command_and_all_its_processes(
    number: signal.Signals, stage: str, long_clip: Path, tmp_path: Path
) -> None:
    run = RunningCommand("run", long_clip, "--output-root", tmp_path / "o", cwd=tmp_path)
    _stage(run, tmp_path / "o", stage)
    run.process.send_signal(number)
    _, stderr = run.process.communicate(timeout=GONE_WITHIN_S)
    assert run.process.returncode == 130
    assert stderr.splitlines()[-1] == "facetracks: cancelled"
    assert "Traceback" not in stderr
    _nothing_is_left(run, tmp_path / "o")
    if stage == "tracking":
        again = run_detect_track(long_clip, output_root=tmp_path / "o")
        assert any("kept" in line for line in again["logs"]), "finished detections are used again"
    else:
        assert not (tmp_path / "o").exists(), "no folder of ours stays"


@pytest.mark.parametrize("stage", ["importing", "detecting", "tracking"])
def test_when_the_caller_is_killed_its_processes_die(
    stage: str, long_clip: Path, tmp_path: Path, facetracks: Command
) -> None:
    root = tmp_path / "o"
    run = RunningCommand("run", long_clip, "--output-root", root, cwd=tmp_path)
    _stage(run, root, stage)
    run.process.kill()
    run.process.communicate()
    _nothing_is_left(run, root)
    free = facetracks("run", long_clip, "--output-root", root, "--timeout", "1")
    assert free.returncode == 4, (
        "the lock of the dead run is free: the next one gets to its timeout"
    )


def test_a_timeout_ends_the_work(long_clip: Path, tmp_path: Path) -> None:
    root = tmp_path / "o"
    run = RunningCommand(
        "run", long_clip, "--output-root", root, "--timeout", "4", "--json", cwd=tmp_path
    )
    stdout, _ = run.process.communicate(timeout=30)
    assert run.process.returncode == 4
    assert '"status": "timeout"' in stdout
    _nothing_is_left(run, root)
    assert not root.exists()


def test_the_second_run_of_an_episode_is_refused_and_told_who_has_it(
    long_clip: Path, tmp_path: Path, facetracks: Command
) -> None:
    root = tmp_path / "o"
    run = RunningCommand("run", long_clip, "--output-root", root, cwd=tmp_path)
    _stage(run, root, "detecting")
    for operation in ("run", "detect"):
        second = facetracks(operation, long_clip, "--output-root", root)
        assert second.returncode == 3
        assert f"pid {run.process.pid}" in second.stderr
        assert "host" in second.stderr and "since 20" in second.stderr
    track = facetracks("track", "long", "--output-root", root)
    assert track.returncode == 3
    other = facetracks("detect", long_clip, "--ep-id", "other", "--output-root", root,
                       "--timeout", "2")  # fmt: skip
    assert other.returncode == 4, "another episode is free"
    run.process.terminate()
    run.process.communicate(timeout=GONE_WITHIN_S)
    _nothing_is_left(run, root)
