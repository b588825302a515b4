"""Starts the process that a step works in: forked by a nursery where there is one, else anew."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Protocol

from pipeline import nursery


class Child(Protocol):
    """A process that leads a group of its own."""

    def has_ended(self) -> bool: ...

    def signal_group(self, number: signal.Signals) -> None:
        """Sends the signal to the process and its group, if it has not been waited for."""
        ...

    def wait(self) -> int:
        """The exit code; negative where a signal ended it."""
        ...


def start_child(
    arguments: list[str],
    environment: dict[str, str],
    stdio: tuple[int, int, int],
    inherit: tuple[int, ...],
) -> Child:
    """Starts a step's process.

    Args:
        arguments: of `pipeline.child`.
        stdio: descriptors for standard input, output and error.
        inherit: descriptors that it keeps open.
    """
    line = socket.socket(socket.AF_UNIX)
    pid = nursery.ask("step", arguments, environment, (*stdio, *inherit), line)
    if pid is not None:
        return _Forked(pid, line)
    line.close()
    return _Spawned(arguments, environment, stdio, inherit)


class _Spawned:
    """This process's own child."""

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        stdio: tuple[int, int, int],
        inherit: tuple[int, ...],
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pipeline.child", *arguments],
            stdin=stdio[0],
            stdout=stdio[1],
            stderr=stdio[2],
            start_new_session=True,
            pass_fds=inherit,
            env=environment,
        )

    def has_ended(self) -> bool:
        # Without reaping it, so that the group's number cannot pass to somebody else.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is not None

    def signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def wait(self) -> int:
        return self._process.wait()


class _Forked:
    """The nursery's child. The nursery kills what is left of its group when it ends."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self._pid = pid
        self._line = line

    def has_ended(self) -> bool:
        return bool(select.select([self._line], [], [], 0)[0])

    def signal_group(self, number: signal.Signals) -> None:
        if not self.has_ended():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)

    def wait(self) -> int:
        code = nursery.exit_code(self._line)
        self._line.close()
        return code
