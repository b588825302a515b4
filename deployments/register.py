"""Makes the server know the work pool, its queues, the deployments and the automations.

    python -m deployments.register

Needs PREFECT_API_URL. Doing it again changes nothing that is as it should be.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import load_flow_from_entrypoint
from prefect.workers.process import ProcessWorker

from deployments import automations
from deployments.form import form_schema
from deployments.prefect_env import COORDINATORS, POOL, QUEUES

COMMAND = "python -P -m deployments.run_guard"
"""Starts a run; the worker sees to it that `python` is its own."""


def prefect_file() -> Path:
    """`prefect.yaml`: beside the packages in a checkout, under `share/` where installed."""
    beside = Path(__file__).resolve().parents[1] / "prefect.yaml"
    if beside.exists():
        return beside
    return Path(sysconfig.get_path("data")) / "share" / "facetracks" / "prefect.yaml"


def _job_template() -> dict[str, object]:
    """The process worker's own, with our command as default."""
    template = ProcessWorker.get_default_base_job_template()
    template["variables"]["properties"]["command"]["default"] = COMMAND
    return template


def _work_pool(client: SyncPrefectClient, name: str, description: str) -> None:
    template = _job_template()
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        client.create_work_pool(
            WorkPoolCreate(
                name=name, type="process", description=description, base_job_template=template
            )
        )
    else:
        if pool.base_job_template != template:
            client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))


def _queues(client: SyncPrefectClient) -> None:
    for name, priority in QUEUES.items():
        try:
            queue = client.create_work_queue(name=name, work_pool_name=POOL, priority=priority)
        except ObjectAlreadyExists:
            queue = client.read_work_queue_by_name(name, work_pool_name=POOL)
        if queue.priority != priority:
            client.update_work_queue(queue.id, priority=priority)


def _flows() -> dict[str, Flow[..., Any]]:
    """By the name of the deployment, `flow/name`."""
    entries = yaml.safe_load(prefect_file().read_text())["deployments"]
    flows: dict[str, Flow[..., Any]] = {}
    for entry in entries:
        flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
        flows[f"{flow.name}/{entry['name']}"] = flow
    return flows


def _active_schedules(client: SyncPrefectClient, deployment: str) -> dict[str, bool]:
    """By slug, whether a person has switched it on."""
    try:
        schedules = client.read_deployment_by_name(deployment).schedules
    except ObjectNotFound:
        return {}
    return {schedule.slug: schedule.active for schedule in schedules if schedule.slug}


def _finish(
    client: SyncPrefectClient, name: str, flow: Flow[..., Any], active: dict[str, bool]
) -> None:
    """Mends what `prefect deploy` gets wrong for us.

    It adds a step that fetches code, which workers have installed; it makes a poor form; and it
    sets schedules back to how the file has them.
    """
    deployment = client.read_deployment_by_name(name)
    update = DeploymentUpdate(pull_steps=[], parameter_openapi_schema=form_schema(flow))
    client.update_deployment(deployment.id, update)
    for schedule in deployment.schedules:
        wanted = active.get(schedule.slug or "", schedule.active)
        if wanted != schedule.active:
            client.update_deployment_schedule(deployment.id, schedule.id, active=wanted)


def main() -> int:
    """Registers everything."""
    flows = _flows()
    with get_client(sync_client=True) as client:
        _work_pool(client, POOL, "Episodes: faces detected and tracked.")
        _work_pool(client, COORDINATORS, "Backfills: they submit episodes, and wait for them.")
        _queues(client)
        active = {name: _active_schedules(client, name) for name in flows}
    # From the folder that the packages lie in: entrypoints are modules.
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"),
            *("--prefect-file", str(prefect_file())),
        ],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout, done.stderr, file=sys.stderr)
        return 1
    with get_client(sync_client=True) as client:
        for name, flow in flows.items():
            _finish(client, name, flow, active[name])
    automations.install()
    return 0


if __name__ == "__main__":
    sys.exit(main())
