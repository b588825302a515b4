"""Runs that nobody works on, and that nobody has settled.

Mostly the guard or the automations settle a run. What they miss would stay as it is for ever:

- Running, after a machine lost its power while the server was away, or while the automations were
  being replaced;
- Cancelling, where a run that has had a process is cancelled while it waits to be taken again.
  Prefect leaves that to the process.
"""

from __future__ import annotations

from deployments.api import Api
from deployments.prefect_env import LEFT_BEHIND, POOL
from pipeline.machine import processes_with

_WORKER_LABEL = "prefect.worker.name"
_RUN = "PREFECT__FLOW_RUN_ID"
"""What Prefect's worker tells the processes of a run."""


def settle_running(api_url: str, worker: str) -> list[str]:
    """Ends the runs that this worker once took and that have no process here.

    Called by a worker that has just started, after a moment in which the guards of its
    predecessor have come to their ends.

    Returns:
        The runs' ids.
    """
    ended = []
    with Api(api_url) as api:
        for run in api.runs_in("RUNNING"):
            if _taken_by(run) == worker and not processes_with(_RUN, run["id"]):
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
            if _taken_by(run) not in others and not processes_with(_RUN, run["id"]):
                message = "Cancelled; no process of the run is alive."
                api.set_state(run["id"], "CANCELLED", "Cancelled", message, force=True)
                ended.append(run["id"])
    return ended


def _taken_by(run: dict[str, object]) -> str | None:
    """The worker that took the run last."""
    labels = run["labels"]
    return labels.get(_WORKER_LABEL) if isinstance(labels, dict) else None
