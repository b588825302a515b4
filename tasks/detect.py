"""The task that finds faces."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from pipeline.episode_run import EpisodeRun


@task(name="detect", cache_policy=NO_CACHE, persist_result=False, log_prints=False)
def detect(run: EpisodeRun) -> dict[str, Any]:
    """Every face in every frame that is looked at: writes `detections.parquet`.

    Returns:
        The facts of the step, see `pipeline.detect.detect_episode`.
    """
    return run.detect()
