"""From what a person gave and the settings of the installation to a request."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from deployments.settings import Settings
from pipeline.episode_run import EpisodeRun
from pipeline.options import Options
from pipeline.request import Operation, RunRequest


def make_request(
    video: Path | None,
    ep_id: str | None,
    output_root: Path | None,
    options: Options,
    operation: Operation,
    force: bool,
) -> RunRequest:
    """Fills in what was not given: first from the profile, then from the settings."""
    settings = Settings.load()
    resolved = options.resolve()
    threads = settings.capped(resolved.cpu_threads or settings.cpu_threads)
    resolved = resolved.model_copy(update={"cpu_threads": threads})
    root = output_root or settings.output_root
    return RunRequest(operation, video, ep_id, root, resolved, force)


def open_run(request: RunRequest, run_id: str = "") -> EpisodeRun:
    """The run, with a lease in Redis where one is configured; without, it uses no network."""
    redis_url = Settings.load().redis_url
    if redis_url is None:
        return EpisodeRun(request, run_id)
    from deployments.lease import EpisodeLease

    return EpisodeRun(request, run_id, partial(EpisodeLease, redis_url.get_secret_value()))
