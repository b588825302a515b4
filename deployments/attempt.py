"""The process that works at a run: Prefect's engine, on a line that its guard holds.

When the line closes, because the guard let go or is gone, the attempt stops its work, cleans up
and kills its group. What the work is, it learns from whoever sets `on_stop`.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress

_CLEANUP_S = 2.5
"""Given to the work to remove what it has half written and to free its locks."""

_stop: Callable[[], None] | None = None
_stopping = threading.Event()


def on_stop(stop: Callable[[], None] | None) -> None:
    """Has `stop` called, from another thread, when the attempt is to end. None takes it back."""
    global _stop
    _stop = stop
    if stop is not None and _stopping.is_set():
        stop()


def end_if_stopping() -> None:
    """Ends the process here and now if it was told to stop; nobody is told of that attempt.

    Called once the work has cleaned up, so that Prefect's engine does not report a failure of
    its own: the guard knows why the attempt ended, and says so.
    """
    if _stopping.is_set():
        _kill_group()


def _kill_group() -> None:
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _watch(line: int) -> None:
    with suppress(OSError):
        while os.read(line, 64):
            pass
    _stopping.set()
    stop = _stop
    if stop is not None:
        stop()
        threading.Event().wait(_CLEANUP_S)
    _kill_group()


def run_attempt(line: int) -> int:
    """Runs Prefect's engine for the run that the environment names.

    This process leads a session of its own.

    Args:
        line: file descriptor that nothing is written to; its end is this process's end.

    Returns:
        The exit code.
    """
    os.set_inheritable(line, False)
    threading.Thread(target=_watch, args=(line,), daemon=True, name="line").start()
    sys.argv = ["prefect.engine"]
    # Prefect imports its engine here and there; to run it as a program is how it is meant.
    warnings.filterwarnings("ignore", message="'prefect.engine' found in sys.modules")
    try:
        runpy.run_module("prefect.engine", run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
    return 0


if __name__ == "__main__":
    os.setsid()
    sys.exit(run_attempt(0))
