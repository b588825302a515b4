"""The nursery beside a worker: Prefect and the steps' libraries imported, see `pipeline.nursery`.

`run_guard` asks it for the attempt at a run, and the attempt for its steps. Both start a process
of their own where there is no nursery; an attempt also where the run has other Prefect settings
than the nursery, which Prefect has read for good.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

from deployments.attempt import run_attempt
from deployments.prefect_env import RUN
from pipeline.nursery import (
    STEP_MODULES,
    Nursery,
    import_watched,
    run_step,
    serve_until_let_go,
)

_PRELOADED = (
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.artifacts",
    "prefect.events.clients",
    "prefect.runner.storage",
)

_GRACE_S = 3.0
"""An attempt whose line has closed ends by itself in 2.5 s."""

_SEND_S = 5.0


def _prefect_settings(environment: dict[str, str]) -> dict[str, str]:
    """The variables that Prefect reads once, when it is imported."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith("PREFECT_") and not name.startswith("PREFECT__")
    }


def _own_settings() -> dict[str, str]:
    """This process's, spelled as Prefect's worker spells them for a run."""
    from prefect.settings import get_current_settings

    spelled = get_current_settings().to_environment_variables(exclude_unset=True)
    return _prefect_settings({**os.environ, **spelled, **RUN})


class WorkerNursery(Nursery):
    """Forks attempts and steps."""

    def __init__(self, address: str) -> None:
        super().__init__(address, {"attempt": _attempt, "step": run_step}, _GRACE_S)
        self._settings = _own_settings()

    def accepts(self, request: dict[str, Any]) -> bool:
        return super().accepts(request) and (
            request["kind"] != "attempt"
            or _prefect_settings(request["environment"]) == self._settings
        )


def _attempt(line: socket.socket, _: dict[str, Any]) -> int:
    code = run_attempt(line.detach())
    # What an interpreter does at its end, which a forked process does not come to: the last log
    # lines and events are sent.
    from prefect.events.worker import EventsWorker

    with suppress(Exception):
        logging.shutdown()
        EventsWorker.drain_all(timeout=_SEND_S)
    return code


def main() -> int:
    """`python -m deployments.nursery ADDRESS MODULE...`: the modules hold the flows."""
    address, *modules = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a worker is the worker's to handle.
    import_watched((*_PRELOADED, *modules, *STEP_MODULES), address)
    serve_until_let_go(WorkerNursery(address), address)
    return 0


if __name__ == "__main__":
    sys.exit(main())
