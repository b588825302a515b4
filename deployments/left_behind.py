"""Runs that nobody works on, and that nobody has settled.

Mostly the guard or the automations settle a run. What they miss would stay as it is for ever:

- Running, or Pending (taken, and not begun), after a machine lost its power while the server was
  away, or while the automations were being replaced;
- Cancelling, where a run that has had a process is cancelled while it waits to be taken again.
  Prefect leaves that to the process.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from deployments.api import Api, taken_by
from deployments.prefect_env import LEFT_BEHIND, POOL, RUN_ID
from pipeline.machine import processes_with


def settle_taken(api_url: str, worker: str, before: datetime) -> list[str]:
    """Ends the runs that this worker once took and that have no process here.

    Called by a worker that has just started, after a moment in which the guards of its
    predecessor have come to their ends.

    Args:
        before: when the worker started, with time zone: what is Pending since then is only about
            to have a process.

    Returns:
        The runs' ids.
    """
    ended = []
    with Api(api_url) as api:
        old = [run for run in api.runs_in("PENDING") if _since(run) < before]
        for run in (*api.runs_in("RUNNING"), *old):
            if taken_by(run) == worker and not processes_with(RUN_ID, run["id"]):
                message = f"{LEFT_BEHIND}: its worker has started anew."
                api.set_state(run["id"], "CRASHED", "Crashed", message, force=True)
                ended.append(run["id"])
    return ended


def settle_cancelling(api_url: str, worker: str) -> list[str]:
    """Ends the runs that are being cancelled and have nobody to do it.

    Those that this worker took last, and those whose worker is not there.

    Returns:
        The runs' ids.
    """
    ended = []
    with Api(api_url) as api:
        runs = api.runs_in("CANCELLING")
        others = set(api.online_workers(POOL)) - {worker} if runs else set()
        for run in runs:
            if taken_by(run) not in others and not processes_with(RUN_ID, run["id"]):
                message = "Cancelled; no process of the run is alive."
                api.set_state(run["id"], "CANCELLED", "Cancelled", message, force=True)
                ended.append(run["id"])
    return ended


def _since(run: dict[str, Any]) -> datetime:
    """When the run came to the state it is in."""
    return datetime.fromisoformat(run["state"]["timestamp"])
