"""Queued mode as its caller begins it: submit a run, or a backfill.

Talks to the Prefect server's REST API; imports nothing of Prefect, so a run id is there at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deployments.api import BACKFILL, Api
from deployments.settings import Settings
from deployments.stack_state import StackState, api_url, redis_url
from flows.queue_status import episode_of
from flows.roots import resolve_media
from pipeline.episode import Source, check_ep_id, ep_id_of
from pipeline.errors import EpisodeBusy, OptionError
from pipeline.options import Options
from pipeline.request import Operation


def submit(
    video: Path | None,
    ep_id: str | None,
    output_root: Path | None,
    options: dict[str, Any],
    operation: Operation,
    force: bool,
) -> dict[str, Any]:
    """Queues a run.

    Returns:
        `job_id`, `status` ("scheduled"), `ep_id`, `operation`, `execution_mode`.

    Raises:
        OptionError, VideoError: the request is wrong; EpisodeBusy: the episode is queued or
        running already; ServerError: server, Redis or deployment is not there.
    """
    settings = Settings.load()
    Options.parse(options)
    parameters: dict[str, Any] = {"options": options, "operation": operation, "force": force}
    if operation == "track":
        ep_id = check_ep_id(ep_id or "")
    elif video is None:
        raise OptionError(f"{operation} needs a video")
    else:
        Source.of(video)
        ep_id = ep_id_of(video) if ep_id is None else check_ep_id(ep_id)
        parameters["video"] = str(_within_roots(video.absolute(), settings))
    parameters["ep_id"] = ep_id
    if output_root is not None:
        parameters["output_root"] = str(output_root.absolute())
    with Api(api_url(settings)) as api, _alone(redis_url(settings), ep_id):
        deployment = api.deployment()
        for run in api.unfinished_runs(deployment["id"]):
            if episode_of(run) == ep_id and run["state_type"] != "CANCELLING":
                raise EpisodeBusy(
                    f"episode '{ep_id}' is busy: '{run['parameters'].get('operation', 'run')}' is "
                    f"{run['state_name'].lower()} as queued run {run['id']}; wait for it, or "
                    f"cancel it with `facetracks cancel {run['id']}`"
                )
        run = api.create_run(
            deployment["id"],
            parameters=parameters,
            name=f"{operation} {ep_id}",
            tags=[f"episode:{ep_id}"],
        )
    return {
        "job_id": run["id"],
        "status": "scheduled",
        "ep_id": ep_id,
        "operation": operation,
        "execution_mode": "queued",
    }


def _within_roots(video: Path, settings: Settings) -> Path:
    """Refuses at once what the workers would refuse, where their roots are known here."""
    state = StackState.read(settings.home)
    roots = settings.media_roots
    if not roots and state is not None:
        roots = tuple(Path(root) for root in state.media_roots)
    if roots or state is not None:
        resolve_media(video, roots)
    return video


@contextmanager
def _alone(url: str | None, ep_id: str) -> Iterator[None]:
    """Keeps two submissions of an episode apart: the second sees the run of the first."""
    if url is None:
        yield
        return
    from redis import RedisError
    from redis.exceptions import LockError

    from deployments.redis_client import connect, unreachable

    with connect(url) as client:
        lock = client.lock(f"facetracks:submit:{ep_id}", timeout=30, blocking_timeout=20)
        try:
            alone = lock.acquire()
        except RedisError as error:
            raise unreachable(url, error) from None
        if not alone:
            raise EpisodeBusy(
                f"episode '{ep_id}' is being submitted by another program: try again in a moment"
            )
        try:
            yield
        finally:
            with suppress(RedisError, LockError):
                lock.release()


def submit_backfill(
    source: Path,
    name: str,
    output_root: Path | None,
    options: dict[str, Any],
    retry_failed: bool,
    force: bool,
    at_a_time: int,
) -> dict[str, Any]:
    """Queues a backfill of a list that has been read here, and found without fault.

    Returns:
        `job_id`, `status` ("scheduled"), `operation`, `execution_mode`.

    Raises:
        OptionError: the source lies under no media root; ServerError: server or deployment is
            not there.
    """
    settings = Settings.load()
    parameters: dict[str, Any] = {
        "source": str(_within_roots(source, settings)),
        "name": name,
        "options": options,
        "retry_failed": retry_failed,
        "force": force,
        "at_a_time": at_a_time,
    }
    if output_root is not None:
        parameters["output_root"] = str(output_root.absolute())
    with Api(api_url(settings)) as api:
        deployment = api.deployment(BACKFILL)
        run = api.create_run(deployment["id"], parameters=parameters, name=f"backfill {name}")
    return {
        "job_id": run["id"],
        "status": "scheduled",
        "operation": "backfill",
        "execution_mode": "queued",
    }
