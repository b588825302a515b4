"""The flow: find every face of an episode, then follow each one through each shot.

    prefect deployment run 'detect-track/queued' --param video=/media/episode.mp4

runs it on a worker; `flows.launch.run_detect_track` and `facetracks run` run the same body in
the process that calls them.
"""

from __future__ import annotations

from contextlib import nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.request import make_request
from pipeline.episode import ep_id_of
from pipeline.episode_run import EpisodeRun, Operation
from pipeline.options import Options
from tasks.detect import detect
from tasks.track import track

opened_run: ContextVar[EpisodeRun | None] = ContextVar("opened_run", default=None)
"""The run that a launcher has opened already; it closes it, too."""


def _run_name() -> str:
    parameters = flow_run.parameters
    ep_id = parameters["ep_id"] or ep_id_of(Path(parameters["video"]))
    return f"{parameters['operation']} {ep_id}"


@flow(name="detect-track", flow_run_name=_run_name)
def detect_track(
    video: Path | None = None,
    ep_id: str | None = None,
    output_root: Path | None = None,
    options: Options = Options(),  # noqa: B008
    operation: Operation = "run",
    force: bool = False,
) -> dict[str, Any]:
    """Writes `detections.parquet` and `tracks.parquet` of one episode.

    Args:
        video: the episode's file; not needed to track stored detections again.
        ep_id: names the episode and its output folder; default: from the file name.
        output_root: folder of the outputs; default: `FACETRACKS_OUTPUT_ROOT`.
        options: see `pipeline.options.Options`.
        operation: `run` for both steps, or one of them.
        force: do it again even where it is done.

    Returns:
        The summary: shots, tracks, detections, seconds of video, ...
    """
    opened = opened_run.get()
    own = opened or EpisodeRun(make_request(video, ep_id, output_root, options, operation, force))
    with nullcontext(own) if opened else own as run:
        if run.finished():
            return run.stored_summary()
        run.start_ahead()
        if operation != "track":
            detect.submit(run).result()
        if operation != "detect":
            track.submit(run).result()
        return run.finish()
