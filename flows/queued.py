"""A flow's body as a worker runs it: under Prefect's engine, confined, reporting, stoppable."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Failed

from deployments import attempt
from deployments.settings import Settings
from flows.episode_report import EpisodeProgress
from flows.reporting import Reporter
from flows.request import open_run
from flows.roots import confine
from pipeline.episode_run import EpisodeRun
from pipeline.errors import FacetracksError, one_line
from pipeline.request import RunRequest
from pipeline.runtime import Runtime, StopSignal, logger, runtime

Steps = Callable[[EpisodeRun], dict[str, Any]]


def stoppable(work: Callable[[str, StopSignal], dict[str, Any]]) -> dict[str, Any] | State[Any]:
    """Calls `work` with the run's id and a signal that is set when the run is to end.

    An expected failure becomes the state Failed, named and in one line, without a traceback.
    """
    logger.setLevel(logging.INFO)
    stop = StopSignal()
    attempt.on_stop(stop.set)
    try:
        return work(str(flow_run.id), stop)
    except FacetracksError as error:
        attempt.end_if_stopping()
        logger.error(one_line(error))
        # `facetracks status` and `run --mode queued` take the name apart again.
        return Failed(message=f"{type(error).__name__}: {one_line(error)}")
    finally:
        attempt.end_if_stopping()
        attempt.on_stop(None)
        stop.close()


def redis_url(settings: Settings) -> str | None:
    """The worker's Redis."""
    return settings.redis_url.get_secret_value() if settings.redis_url else None


def run_queued(make: Callable[[], RunRequest], steps: Steps) -> dict[str, Any] | State[Any]:
    """Makes the request, holds the episode, does the steps, and reports."""

    def work(run_id: str, stop: StopSignal) -> dict[str, Any]:
        settings = Settings.load()
        request = confine(make(), settings.media_roots, settings.output_root.absolute())
        run = open_run(request, run_id)
        tags = {f"episode:{run.ep_id}", request.options.tracker.value}
        with Reporter(run_id, tags, redis_url(settings)) as reporter:
            progress = EpisodeProgress(reporter, run.ep_id, request)
            with runtime(Runtime(progress=progress, stop=stop)), run:
                run.share.confine_this_process()
                summary = steps(run)
                progress.finished(summary, run.folder.outputs())
        return summary

    return stoppable(work)
