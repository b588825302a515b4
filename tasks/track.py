"""The task that follows faces."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline.episode_run import EpisodeRun


@task(name="track", cache_policy=NO_CACHE, persist_result=False, log_prints=False)
def track(run: EpisodeRun) -> dict[str, Any]:
    """Each face followed through each shot: writes `tracks.parquet`, `track_summary.parquet`.

    Returns:
        The facts of the step, see `pipeline.track.track_episode`.
    """
    return run.track()
