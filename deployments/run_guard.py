"""What the worker starts for a run, in place of `python -m prefect.engine`.

Two processes: the front, which the worker knows and may kill at any moment, and the guard, which
outlives it. The guard starts the attempt, which leads a process group of its own, and answers for
its end:

- the run is being cancelled (it asks the server every second, whatever became of the worker's
  own watch): the whole tree dies, then the run is Cancelled;
- the worker stops the run (the front is told to end, or killed): the tree dies; the run is queued
  again, or Cancelled if it was;
- another worker has taken the run, when this one had not been heard of for long: the tree dies;
  how the run stands is for the other to say;
- the worker is gone, or the attempt ended in a way that Prefect's engine could not report: the
  run is Crashed, which the automations queue again.

The attempt dies with the guard, which holds the other end of its line.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Literal

import psutil

from deployments.prefect_env import (
    FINAL,
    LEFT_BEHIND,
    NO_HEARTBEAT,
    QUEUED_AGAIN,
    RUN,
    RUN_ID,
    WORKER_NAME,
)
from pipeline import nursery
from pipeline.machine import processes_with

if TYPE_CHECKING:
    from deployments.api import Api

MARK = "FACETRACKS_RUN"
"""Environment variable that every process of a run carries."""

WORKER = "FACETRACKS_WORKER_PID"
"""Environment variable with the worker's process id."""

_TAKEN_FOR_DEAD = (NO_HEARTBEAT, QUEUED_AGAIN, LEFT_BEHIND)

_LOOK_EVERY_S = 1.0
_SETTLE_S = 60.0
_GRACE_S = 3.0
"""Until SIGKILL. The attempt kills itself 2.5 s after it was told to stop."""

Cause = Literal["ended", "cancelled", "stopped", "orphaned", "given away"]


class Attempt:
    """The process at work, forked by the nursery or started cold."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._line = socket.socket(socket.AF_UNIX)
        with open(os.devnull, "rb") as nothing:
            stdio = (nothing.fileno(), 1, 2)
            self.pid = nursery.ask("attempt", [], environment, stdio, self._line)
        if self.pid is not None:
            return
        self._line.close()
        self._line, other = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "deployments.attempt"],
            env=environment,
            stdin=other.fileno(),
        )
        self.pid = self._process.pid
        other.close()

    def wait(self) -> int:
        """The exit code, as of a subprocess: negative where a signal ended it."""
        if self._process is not None:
            return self._process.wait()
        return nursery.exit_code(self._line)

    def let_go(self) -> None:
        """Tells the attempt to stop."""
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """Ends the attempt and all of its group."""
        assert self.pid is not None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


class Guard:
    """One run's."""

    def __init__(self, run_id: str, worker: int) -> None:
        self._run_id = run_id
        self._worker = worker
        self._causes: SimpleQueue[Cause] = SimpleQueue()
        self._code = 0

    def run(self) -> int:
        """Sees the run through.

        Returns:
            The exit code for the worker: 0 where the run's state is settled.
        """
        front = os.getppid()
        signal.signal(signal.SIGTERM, self._told_to_stop)
        signal.signal(signal.SIGINT, self._told_to_stop)
        attempt = Attempt({**os.environ, **RUN, MARK: self._run_id})
        threading.Thread(target=self._wait, args=(attempt,), daemon=True).start()
        threading.Thread(target=self._watch_state, daemon=True).start()
        cause: Cause | None = None
        while cause is None:
            try:
                cause = self._causes.get(timeout=0.25)
            except Empty:
                if not _is_alive(self._worker):
                    cause = "orphaned"
                elif os.getppid() != front:
                    cause = "stopped"
        if cause != "ended":
            attempt.let_go()
            with suppress(Empty):
                while self._causes.get(timeout=_GRACE_S) != "ended":
                    pass
        # Nothing of it may go on, whatever it started.
        attempt.kill()
        kill_marked(self._run_id)
        if cause == "given away" or (cause == "ended" and self._code == 0):
            return 0
        return self._settle(cause)

    def _told_to_stop(self, _: int, __: FrameType | None) -> None:
        self._causes.put("stopped")

    def _wait(self, attempt: Attempt) -> None:
        self._code = attempt.wait()
        self._causes.put("ended")

    def _watch_state(self) -> None:
        # Imported here: the attempt is on its way meanwhile.
        from deployments.api import Api, taken_by
        from pipeline.errors import ServerError

        me = os.environ.get(WORKER_NAME)
        with Api(os.environ["PREFECT_API_URL"], timeout_s=5.0) as api:
            while True:
                with suppress(ServerError):
                    run = api.run(self._run_id)
                    if run is None or run["state_type"] in ("CANCELLING", "CANCELLED"):
                        self._causes.put("cancelled")
                        return
                    if me is not None and taken_by(run) not in (me, None):
                        self._causes.put("given away")
                        return
                    if (run["state"]["message"] or "").startswith(_TAKEN_FOR_DEAD):
                        self._object(api, run["state_type"])
                time.sleep(_LOOK_EVERY_S)

    def _object(self, api: Api, state_type: str) -> None:
        """Somebody gave the run up, for want of heartbeats: it is there all the same."""
        if state_type in ("CRASHED", "SCHEDULED"):
            message = "It was taken for dead, and is not."
            api.set_state(self._run_id, "RUNNING", "Running", message, force=True)

    def _settle(self, cause: Cause) -> int:
        """Says how the run stands, now that its processes are gone.

        Returns:
            0 where that is said: from another code the worker would conclude that the run has
            crashed, however it may stand by then.
        """
        from deployments.api import Api
        from pipeline.errors import ServerError

        give_up = time.monotonic() + _SETTLE_S
        with Api(os.environ["PREFECT_API_URL"], timeout_s=5.0) as api:
            while True:
                try:
                    self._set_state(api, cause)
                    return 0
                except ServerError:
                    if time.monotonic() > give_up:
                        return 1
                    time.sleep(1.0)

    def _set_state(self, api: Api, cause: Cause) -> None:
        run = api.run(self._run_id)
        if run is None or run["state_type"] in FINAL:
            return
        if run["state_type"] == "CANCELLING":
            state = ("CANCELLED", "Cancelled", "Cancelled; all processes of the run have ended.")
        elif cause == "stopped":
            message = "The worker was stopped; another one, or the same, takes the run."
            state = ("SCHEDULED", "AwaitingRetry", message)
        else:
            message = self._last_words() if cause == "ended" else "The worker is gone."
            state = ("CRASHED", "Crashed", f"{message} All processes of the run have ended.")
        api.set_state(self._run_id, *state, force=True)

    def _last_words(self) -> str:
        if self._code > 0:
            return f"The run's process ended with code {self._code}: see the worker's log."
        name = signal.Signals(-self._code).name
        hint = " The machine may be out of memory." if name == "SIGKILL" else ""
        return f"The run's process was killed by {name}.{hint}"


def kill_marked(run_id: str) -> None:
    """Kills every process that carries the run's mark, this one excepted, until none is left.

    They may be in other groups and sessions, and may ignore SIGTERM.
    """
    while others := processes_with(MARK, run_id):
        for process in others:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _be_front(guard: int) -> int:
    """Passes signals on to the guard, and its exit code to the worker."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os.kill(guard, number))
    _, status = os.waitpid(guard, 0)
    return os.waitstatus_to_exitcode(status)


def main() -> int:
    """Guards the run that Prefect's worker names in the environment."""
    worker = int(os.environ.get(WORKER) or os.getppid())
    guard = os.fork()
    if guard:
        return _be_front(guard)
    os.setsid()
    return Guard(os.environ[RUN_ID], worker).run()


if __name__ == "__main__":
    sys.exit(main())
