"""The flow: find every face of an episode, then follow each one through each shot.

    prefect deployment run 'detect-track/queued' --param video=/media/episode.mp4

runs it on a worker; `flows.launch.run_detect_track` and `facetracks run` run the same body in
the process that calls them.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from pydantic import Field

from flows.queued import run_queued
from flows.request import make_request
from pipeline.episode import ep_id_of
from pipeline.episode_run import EpisodeRun
from pipeline.errors import FacetracksError
from pipeline.options import Options
from pipeline.request import Operation
from tasks.detect import detect
from tasks.track import track

opened_run: ContextVar[EpisodeRun | None] = ContextVar("opened_run", default=None)
"""The run that a direct launcher has opened already; it closes it, too."""


def _run_name() -> str:
    given = flow_run.parameters
    try:
        ep_id = given["ep_id"] or ep_id_of(Path(given["video"] or "episode"))
    except FacetracksError:
        ep_id = "episode"
    return f"{given['operation']} {ep_id}"


@flow(name="detect-track", flow_run_name=_run_name)
def detect_track(
    video: Annotated[Path | None, Field(title="Video")] = None,
    ep_id: Annotated[str | None, Field(title="Episode id", max_length=180)] = None,
    output_root: Annotated[Path | None, Field(title="Output root")] = None,
    options: Annotated[Options, Field(title="Options")] = Options(),  # noqa: B008
    operation: Annotated[Operation, Field(title="Operation")] = "run",
    force: Annotated[bool, Field(title="Force")] = False,
) -> dict[str, Any] | State[Any]:
    """Writes `detections.parquet` and `tracks.parquet` of one episode.

    Args:
        video: Path of the episode's file, under a media root of the workers. Not needed to track
            stored detections again.
        ep_id: Names the episode and its output folder. Default: the file's name, without ending.
        output_root: Folder of the outputs, under FACETRACKS_OUTPUT_ROOT. Default: that folder.
        options: What to look for, and how. What is left open, the profile decides.
        operation: run does both steps; detect or track does one of them.
        force: Do it again even where it is done with the same video and options.

    Returns:
        The summary: shots, tracks, detections, seconds of video, ...; in queued mode a Failed
        state for an expected failure.
    """
    opened = opened_run.get()
    if opened is not None:
        return _steps(opened)
    make = partial(make_request, video, ep_id, output_root, options, operation, force)
    return run_queued(make, _steps)


def _steps(run: EpisodeRun) -> dict[str, Any]:
    if run.finished():
        return run.stored_summary()
    run.start_ahead()
    if run.request.operation != "track":
        detect.submit(run).result()
    if run.request.operation != "detect":
        track.submit(run).result()
    return run.finish()
