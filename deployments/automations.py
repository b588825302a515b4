"""What the Prefect server does by itself about runs whose processes are gone.

Three automations, kept as code and installed by name.
"""

from __future__ import annotations

from datetime import timedelta

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture

from deployments.prefect_env import FLOWS, NO_HEARTBEAT, QUEUED_AGAIN

SILENCE_S = 105
NOT_STARTED_S = 120

_OURS = {"prefect.resource.role": "flow", "prefect.resource.name": list(FLOWS)}
_ENDS = {f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")}
_RUN = "prefect.resource.id"


def automations() -> list[Automation]:
    """All of them.

    Heartbeats come every 30 s. Redis may be away for half a minute, and the server takes as long
    again to come back to it; a run unheard of for longer is not there. (Should it be, its guard
    sets that right.)
    """
    return [
        _crashed_by_silence(
            "facetracks: no heartbeat",
            f"A running episode not heard of for {SILENCE_S} s becomes Crashed.",
            after="prefect.flow-run.heartbeat",
            expect="prefect.flow-run.heartbeat",
            silence_s=SILENCE_S,
            message=f"{NO_HEARTBEAT} for {SILENCE_S} s: the worker or its host is gone.",
        ),
        _crashed_by_silence(
            "facetracks: never started",
            "An episode that a worker took and did not start becomes Crashed.",
            after="prefect.flow-run.Pending",
            expect="prefect.flow-run.Running",
            silence_s=NOT_STARTED_S,
            message=f"Taken by a worker and not started within {NOT_STARTED_S} s.",
        ),
        Automation(
            name="facetracks: queue a crashed episode again",
            description="A crashed episode is queued again, once a day at most.",
            trigger=EventTrigger(
                expect={"prefect.flow-run.Crashed"},
                match_related=_OURS,
                for_each={_RUN},
                posture=Posture.Reactive,
                threshold=1,
                # A reactive trigger that has fired for a run is deaf to it for this long.
                within=timedelta(days=1),
            ),
            actions=[
                ChangeFlowRunState(
                    state=StateType.SCHEDULED, name="AwaitingRetry", message=QUEUED_AGAIN
                )
            ],
        ),
    ]


def _crashed_by_silence(
    name: str, description: str, *, after: str, expect: str, silence_s: int, message: str
) -> Automation:
    """A run is Crashed when, after one event, neither the expected one nor an end comes."""
    return Automation(
        name=name,
        description=description,
        trigger=EventTrigger(
            after={after},
            expect={expect, "prefect.flow-run.AwaitingRetry", *_ENDS},
            match_related=_OURS,
            for_each={_RUN},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silence_s),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message)],
    )


def install() -> None:
    """Creates what is missing, updates what is there, removes copies of the same name."""
    with get_client(sync_client=True) as client:
        for wanted in automations():
            found = client.read_automations_by_name(wanted.name)
            if not found:
                wanted.create()
                continue
            first, *copies = found
            wanted.id = first.id
            wanted.enabled = first.enabled
            wanted.update()
            for copy in copies:
                client.delete_automation(copy.id)
