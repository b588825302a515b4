"""The process in which a step works: started by `pipeline.process`, never by hand.

It leads a session of its own, and lives no longer than the process that started it: its standard
input is a pipe that the starter keeps open, and when that closes, for whatever reason, this
process removes what it has half written and kills its whole group.

It reads one JSON line, the request, and answers with JSON lines: progress and lines for the log,
then a result or an error. Run as `python -m pipeline.child detect|track THREADS CPUS NICE`, or
forked by a nursery.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from importlib import import_module
from queue import SimpleQueue
from typing import Any

from pipeline.errors import FacetracksError, one_line
from pipeline.files import discard_unfinished
from pipeline.machine import CpuShare
from pipeline.request import StepRequest
from pipeline.watch import StepWatch

STEPS = {"detect": "pipeline.detect", "track": "pipeline.track"}
"""Modules of the steps: each has `warm(threads)` and `run_step(request, progress)`."""


def _die(*_: object) -> None:
    """Ends this process and all of its group, at once, leaving nothing half-written."""
    discard_unfinished()
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _listen(requests: SimpleQueue[bytes]) -> None:
    """Passes the request on, then waits for the starter to be gone."""
    # Not through sys.stdin, whose lock a process forked meanwhile would wait for.
    text = b""
    while part := os.read(0, 65536):
        before, newline, text = (text + part).partition(b"\n")
        if newline:
            requests.put(before)
        else:
            text = before
    _die()


def serve(arguments: list[str]) -> int:
    """Serves one request.

    Args:
        arguments: the step, and its share as `CpuShare.as_arguments` has it.

    Returns:
        The exit code.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # Libraries that print do not disturb the replies.
    signal.signal(signal.SIGTERM, _die)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the starter's to handle.
    step, *share_arguments = arguments
    share = CpuShare.from_arguments(*share_arguments)
    share.confine_this_process()
    share.step_back()
    requests: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()

    def reply(**message: Any) -> None:
        replies.write(json.dumps(message) + "\n")

    watch = StepWatch(lambda text, level: reply(log=[level, text]))
    try:
        module = import_module(STEPS[step])
        module.warm(share.threads)
        request = StepRequest.from_json(requests.get())
        watch.begin(request.options, request.threads)
        record = module.run_step(request, lambda done, total: reply(progress=[done, total]))
        reply(result={**record, "usage": watch.end()})
    except FacetracksError as error:
        reply(error=type(error).__name__, message=one_line(error), detail=traceback.format_exc())
    except MemoryError:
        reply(error="StepFailed", message="out of memory", detail=traceback.format_exc())
    except BaseException as error:
        what = f"{type(error).__name__}: {one_line(error)}"
        reply(error="StepFailed", message=what, detail=traceback.format_exc())
    replies.flush()
    return 0


if __name__ == "__main__":
    code = serve(sys.argv[1:])
    os._exit(code)  # No atexit work of torch and others: everything is written.
