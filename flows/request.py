"""From what a person gave and the settings of the installation to a request."""

from __future__ import annotations

from pathlib import Path

from deployments.settings import Settings
from pipeline.episode_run import Operation, RunRequest
from pipeline.options import Options


def make_request(
    video: Path | None,
    ep_id: str | None,
    output_root: Path | None,
    options: Options,
    operation: Operation,
    force: bool,
) -> RunRequest:
    """Fills in what was not given: first from the profile, then from the settings."""
    settings = Settings()
    resolved = options.resolve()
    if resolved.cpu_threads is None:
        resolved = resolved.model_copy(update={"cpu_threads": settings.cpu_threads})
    root = output_root or settings.output_root
    return RunRequest(operation, video, ep_id, root, resolved, force)
