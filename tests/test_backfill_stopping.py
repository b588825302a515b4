"""A backfill in direct mode that is stopped, at a terminal and elsewhere."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import media
from tests.backfills import (
    backfill,
    episodes,
    nothing_half_done,
    states,
    with_clips,
    without_settings,
)  # fmt: skip
from tests.processes import RunningCommand, wait_until
from tests.test_stopping import GONE_WITHIN_S


@pytest.fixture(scope="module", autouse=True)
def direct_by_default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No settings but the tests' own."""
    with without_settings(tmp_path_factory.mktemp("home")):
        yield


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder with three clips in `clips`."""
    return with_clips(tmp_path)


def _long_clip(folder: Path) -> None:
    """An episode after the first two that takes a while."""
    images = media.pictures(folder / "clips" / "a.mp4", 25)
    media.write_video(folder / "clips" / "c.mp4", images * 12)


def _stopped(folder: Path, number: signal.Signals) -> None:
    """Stops a backfill in the midst of `c`, and checks that nothing of it is left."""
    run = RunningCommand("backfill", "clips", "--stride", "1", cwd=folder, TMPDIR=str(folder))
    wait_until(lambda: bool(list(folder.glob("output/c/.*.part"))), 60, "c being detected")
    run.process.send_signal(number)
    _, stderr = run.process.communicate(timeout=GONE_WITHIN_S)
    wait_until(lambda: not run.alive(), GONE_WITHIN_S, f"gone, still: {run.alive()}")
    if number is signal.SIGKILL:
        (folder / "output" / ".locks" / "c.lock").unlink()  # which nobody holds
        (folder / "output" / ".locks").rmdir()
        (folder / "output" / "c").rmdir()
    else:
        assert run.process.returncode == 130
        assert stderr.splitlines()[-1].startswith("facetracks: cancelled; ")
    nothing_half_done(folder)


def test_however_often_it_is_stopped_it_goes_on_where_it_was(fresh: Path) -> None:
    _long_clip(fresh)
    _stopped(fresh, signal.SIGTERM)
    rows = [("c", "not started"), ("é ü 1", "not started"), ("a", "completed"), ("b", "completed")]
    assert list(states(fresh).items()) == rows
    written = episodes(fresh)
    assert {Path(name).parts[0] for name in written} == {"a", "b"}
    _stopped(fresh, signal.SIGKILL)
    assert episodes(fresh) == written
    answer = backfill(fresh, "clips", "--stride", "1")
    assert (answer["summary"]["completed"], answer["summary"]["done_before"]) == (2, 2)
    assert written.items() <= episodes(fresh).items()


def test_a_terminal_shows_how_far_it_is_and_ctrl_c_ends_it(fresh: Path) -> None:
    _long_clip(fresh)
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "flows.cli", "backfill", "clips", "--stride", "1"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    run = subprocess.Popen(
        command, cwd=fresh, stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            if b"2 of 4 episodes" in part and b"2 of 4 episodes" not in shown:
                os.killpg(run.pid, signal.SIGINT)  # to the nursery, too, as the terminal does
            shown += part
    except OSError:
        pass  # the other end has closed
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert run.wait(GONE_WITHIN_S) == 130, text
    assert "Traceback" not in text
    bars = [bar for bar in re.findall(r"backfill [━╸╺ ]+([^\r\n]*?) *[\r\n]", text) if bar]
    assert bars[0] == "0 of 4 episodes, 0.0 of 15.0 s of video"
    assert any(re.fullmatch(r"1 of 4 \D*, 1.0 of 15.0 s of video, \d+ s left", b) for b in bars)
    assert "done" not in bars, "it stays when a step begins"
    assert re.search(r"b: completed, 1.0 s of video, .* 2 of 4 episodes", text)
