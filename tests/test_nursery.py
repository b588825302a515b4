"""The nursery alone: what it forks, whose life it ends with, and what cannot end it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipeline import nursery
from pipeline.episode import EpisodeFolder
from pipeline.footer import Footer
from pipeline.machine import CpuShare
from pipeline.options import Options
from pipeline.process import StepProcess
from pipeline.request import StepRequest
from pipeline.runtime import Runtime
from tests.processes import wait_until

GONE_WITHIN_S = 3.0

SERVE = """
import sys
from pipeline.nursery import Nursery, run_step, serve_until_let_go

def run_code(line, request):
    words = {"request": request}
    exec(request["arguments"][0], words)
    return words["code"]

bodies = {"step": run_step, "code": run_code}
serve_until_let_go(Nursery(sys.argv[1], bodies), sys.argv[1])
"""
"""A nursery without the libraries, which take seconds; it also forks processes for any code."""


class Served:
    """A nursery in a process of its own, which listens at `address`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.address = folder / "nursery"
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(self.address)], stdin=subprocess.PIPE
        )
        wait_until(self._answers, 20, "the nursery")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.address)) == 0

    def ask(self, code: str, kind: str = "code", **environment: str) -> tuple[int, socket.socket]:
        """The process that runs the code and has our standard output; and the line to it."""
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(10)
        environment[nursery.ADDRESS] = str(self.address)
        with open(os.devnull, "rb") as nothing:
            pid = nursery.ask(kind, [code], environment, (nothing.fileno(), 1, 2), line)
        assert pid is not None
        return pid, line

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(GONE_WITHIN_S)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path / "n")
    yield served
    served.process.kill()
    served.process.communicate()


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_forked_process_is_as_asked_for(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    long = "ü" * 100_000  # more than a socket takes at once
    code = """if True:
        import json, os, sys
        found = os.getsid(0), os.getpgid(0), os.getcwd(), dict(os.environ), sys.stdin.read()
        with open("found", "w") as file:
            json.dump(found, file)
        code = 7
    """
    pid, line = served.ask(code, LONG=long)
    assert nursery.exit_code(line) == 7
    session, group, folder, environment, read = json.loads((tmp_path / "found").read_text())
    assert session == group == pid, "it leads a session of its own"
    assert folder == str(tmp_path)
    assert environment == {"LONG": long, nursery.ADDRESS: str(served.address)}
    assert read == "", "standard input is the one that was sent"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_code_of_a_killed_process_is_negative(served: Served, number: signal.Signals) -> None:
    pid, line = served.ask("import time; time.sleep(60)")
    os.kill(pid, number)
    assert nursery.exit_code(line) == -number


@pytest.mark.parametrize(
    ("seconds", "lets_go"),
    [
        pytest.param(60, True, id="the line closes"),
        pytest.param(0, False, id="the process itself ends"),
    ],
)
def test_the_group_of_a_process_ends_with_its_line_and_with_it(
    seconds: int, lets_go: bool, served: Served, tmp_path: Path
) -> None:
    path = tmp_path / "child"
    code = f"""if True:
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = os.fork()
        if child == 0:
            time.sleep(60)
        with open("{path}.part", "w") as file:
            file.write(str(child))
        os.rename("{path}.part", "{path}")
        time.sleep({seconds})
        code = 0
    """
    pid, line = served.ask(code)
    wait_until(path.exists, 10, "the process's own child")
    child = int(path.read_text())
    if lets_go:
        os.kill(pid, signal.SIGTERM)
        assert not _is_gone(pid), "it ignores that"
        line.close()
    wait_until(lambda: _is_gone(pid) and _is_gone(child), GONE_WITHIN_S, "the whole group gone")
    assert served.process.poll() is None


def test_what_it_cannot_fork_is_refused(served: Served) -> None:
    environment = {nursery.ADDRESS: str(served.address)}
    with open(os.devnull, "rb") as nothing, socket.socket(socket.AF_UNIX) as line:
        stdio = (nothing.fileno(), 1, 2)
        assert nursery.ask("another", [""], environment, stdio, line) is None
    assert nursery.exit_code(served.ask("code = 0")[1]) == 0
    assert nursery.ask("code", [], {}, (), socket.socket()) is None, "no nursery is named"


GARBAGE = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"\xff\xff\xff\xff", id="a length of 4 GiB"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="a web browser"),
    pytest.param((9).to_bytes(4, "big") + b"{", id="half a request"),
    pytest.param((2).to_bytes(4, "big") + b"\xff\xff", id="no text"),
    pytest.param((2).to_bytes(4, "big") + b"[]", id="no object"),
    pytest.param((2).to_bytes(4, "big") + b"{}", id="an empty object"),
    pytest.param((90_000).to_bytes(4, "big") + b"[" * 90_000, id="deep JSON"),
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_does_not_end_it_and_stays_nowhere(garbage: bytes, served: Served) -> None:
    open_before = psutil.Process(served.process.pid).num_fds()
    with socket.socket(socket.AF_UNIX) as line, open(os.devnull, "rb") as sent_along:
        line.connect(str(served.address))
        line.settimeout(GONE_WITHIN_S)
        if garbage:
            socket.send_fds(line, [garbage], [sent_along.fileno()] * 3)
        with suppress(ConnectionError):  # closed, with some of it not read
            line.shutdown(socket.SHUT_WR)
            assert line.recv(4) in (b"", bytes(4)), "who asked is told, and not left waiting"
    assert nursery.exit_code(served.ask("code = 3")[1]) == 3
    assert psutil.Process(served.process.pid).num_fds() == open_before, "nothing stays open"


def test_nobody_else_can_ask(served: Served) -> None:
    mode = served.address.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) & 0o077 == 0


def test_it_ends_with_its_standard_input_and_removes_its_folder(served: Served) -> None:
    served.end()
    assert served.process.returncode == 0
    assert not served.address.parent.exists()


# A step's process


def _detect(video: Path, root: Path) -> tuple[StepProcess, StepRequest]:
    share = CpuShare.of(None)
    footer = Footer("ep", "", "")
    options = Options(stride=30).resolve()
    request = StepRequest(str(video), EpisodeFolder(root, "ep"), footer, options, share.threads)
    return StepProcess("detect", share), request


@pytest.mark.parametrize("before", [True, False], ids=["before the step starts", "after"])
def test_a_step_is_done_although_the_nursery_is_killed(
    before: bool, served: Served, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(nursery.ADDRESS, str(served.address))
    if before:
        served.process.kill()
        served.process.wait()
    step, request = _detect(sample, tmp_path)
    if not before:
        assert len(psutil.Process(served.process.pid).children()) == 1, "the nursery's child"
        served.process.kill()
        served.process.wait()
    assert step.run(request, Runtime())["frames"] == 120


def test_a_step_that_the_nursery_forks_is_stopped_like_any(
    served: Served, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(nursery.ADDRESS, str(served.address))
    step, _ = _detect(sample, tmp_path)
    (child,) = psutil.Process(served.process.pid).children()
    started = time.monotonic()
    step.kill()
    assert time.monotonic() - started < GONE_WITHIN_S
    assert _is_gone(child.pid)
    assert served.process.poll() is None


def test_a_step_is_nice_and_its_starter_and_the_nursery_are_not(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.nice(0)
    wanted = min(19, before + 5)
    for address in (str(served.address), ""):
        monkeypatch.setenv(nursery.ADDRESS, address)
        step = StepProcess("track", CpuShare.of(None, nice=wanted))
        if address:
            (child,) = psutil.Process(served.process.pid).children()
        else:
            (child,) = (p for p in psutil.Process().children() if "pipeline.child" in p.cmdline())
        group = Path(f"/proc/{child.pid}/autogroup")
        try:
            wait_until(lambda: child.nice() == wanted, 10, "niceness")  # noqa: B023
            if group.exists():
                wait_until(
                    lambda: group.read_text().split()[-1] == str(wanted),  # noqa: B023
                    2,
                    "its session counts as nice, too",
                )
        finally:
            step.kill()
    assert os.nice(0) == before
    assert psutil.Process(served.process.pid).nice() == before


# Beside a backfill


def test_it_is_there_for_the_block_and_not_waited_for_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with nursery.beside():
        (folder,) = tmp_path.iterdir()
        assert os.environ[nursery.ADDRESS] == str(folder / "nursery")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (process,) = psutil.Process().children()
        time.sleep(0.5)
        started = time.monotonic()
    assert time.monotonic() - started < GONE_WITHIN_S, "though it was importing"
    assert _is_gone(process.pid)
    assert nursery.ADDRESS not in os.environ
    assert not list(tmp_path.iterdir())


def test_it_ends_with_its_starter_though_it_is_importing(tmp_path: Path) -> None:
    folder = tmp_path / "n"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.nursery", str(folder / "nursery")], stdin=subprocess.PIPE
    )
    time.sleep(0.5)
    assert process.stdin is not None
    process.stdin.close()
    process.wait(GONE_WITHIN_S)
    assert not folder.exists()
