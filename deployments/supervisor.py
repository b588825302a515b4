"""supervisord of one home: its configuration, and calls to it over its socket."""

from __future__ import annotations

import configparser
import fcntl
import os
import shlex
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import OptionError, ServerError
from pipeline.machine import processes_with

MARK = "FACETRACKS_STACK"
"""Environment variable that every process of a stack carries: the stack's home."""

_LONGEST_SOCKET_PATH = 90
"""Unix sockets end at 104 (macOS) or 108 bytes; supervisord binds a longer name first."""


@dataclass(frozen=True)
class Program:
    """A process to keep running.

    Attributes:
        start_s: it runs at least so long if it has started well.
        stop_s: from SIGTERM to SIGKILL.
    """

    name: str
    command: list[str]
    start_s: int
    stop_s: int


@dataclass(frozen=True)
class Process:
    """What supervisord says of a program: its state's name, and its pid or 0."""

    state: str
    pid: int


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """One `stack up` or `stack down` of a home at a time; the second waits."""
    with (home / "stack.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start(home: Path, programs: list[Program], environment: dict[str, str]) -> None:
    """Starts supervisord, with no program running yet."""
    (home / "logs").mkdir(exist_ok=True, mode=0o700)
    config = configparser.RawConfigParser()
    config["unix_http_server"] = {"file": _text(_socket(home)), "chmod": "0700"}
    config["supervisord"] = {
        "logfile": _text(home / "logs" / "supervisord.log"),
        "logfile_maxbytes": "2MB",
        "logfile_backups": "1",
        "pidfile": _text(home / "supervisord.pid"),
        "umask": "077",
    }
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for program in programs:
        config[f"program:{program.name}"] = {
            "command": _text(shlex.join(program.command)),
            "autostart": "false",
            "autorestart": "true",
            # Ending sooner counts as not having started; three such tries are enough.
            "startsecs": str(program.start_s),
            "startretries": "2",
            "stopwaitsecs": str(program.stop_s),
            "stdout_logfile": _text(_log(home, program.name)),
            "redirect_stderr": "true",
            "stdout_logfile_maxbytes": "5MB",
            "stdout_logfile_backups": "2",
        }
    path = home / "supervisord.conf"
    with path.open("w") as file:
        config.write(file)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "supervisor.supervisord", "-c", str(path)],
        env=environment, cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ServerError(f"supervisord did not start: {lines[-1] if lines else 'no reason given'}")
    control, give_up = Control(home), time.monotonic() + 10
    while not control.running():
        if time.monotonic() > give_up:
            raise ServerError(f"supervisord did not start: see {home / 'logs' / 'supervisord.log'}")
        time.sleep(0.05)


class Control:
    """Calls to a home's supervisord."""

    def __init__(self, home: Path) -> None:
        self._home = home
        if len(os.fsencode(_socket(home))) > _LONGEST_SOCKET_PATH:
            raise OptionError(f"FACETRACKS_HOME={str(home)!r} is too long: choose a shorter path")

    def _call(self, name: str, *arguments: Any) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        # A transport that has failed once stays broken: one for each call.
        transport = SupervisorTransport(None, None, f"unix://{_socket(self._home)}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            return getattr(proxy.supervisor, name)(*arguments)

    def running(self) -> bool:
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except (OSError, HTTPException, xmlrpc.client.Error):
            return False

    def processes(self) -> dict[str, Process]:
        """By name; empty where supervisord is not running."""
        try:
            found = self._call("getAllProcessInfo")
        except (OSError, HTTPException, xmlrpc.client.Error):
            return {}
        return {info["name"]: Process(info["statename"].lower(), info["pid"]) for info in found}

    def is_up(self, name: str) -> bool:
        process = self.processes().get(name)
        return process is not None and process.state in ("starting", "running", "backoff")

    def has_failed(self, name: str) -> bool:
        """Whether supervisord has given up on it."""
        process = self.processes().get(name)
        return process is not None and process.state in ("fatal", "exited", "stopped")

    def start(self, name: str) -> None:
        with suppress(xmlrpc.client.Fault):
            self._call("startProcess", name, False)

    def stop(self, name: str) -> None:
        with suppress(xmlrpc.client.Fault):
            self._call("stopProcess", name)

    def shutdown(self) -> None:
        """Stops supervisord and waits until it is gone."""
        with suppress(OSError, HTTPException, xmlrpc.client.Error):
            self._call("shutdown")
        give_up = time.monotonic() + 20
        while self.running() and time.monotonic() < give_up:
            time.sleep(0.05)

    def log(self, name: str) -> Path:
        return _log(self._home, name)


def kill_leftovers(home: Path) -> bool:
    """Ends every process that carries the home's mark; returns whether there was one."""
    found = processes_with(MARK, str(home))
    for process in found:
        with suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(found, timeout=10)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    return bool(found)


def _socket(home: Path) -> Path:
    return home / "supervisor.sock"


def _log(home: Path, name: str) -> Path:
    return home / "logs" / f"{name}.log"


def _text(value: object) -> str:
    """As supervisord's configuration wants it, which expands `%(name)s`."""
    return str(value).replace("%", "%%")
