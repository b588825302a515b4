"""What a queued run of one episode tells of itself: its progress, and what it came to."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.report_text import markdown_report, quality_rows
from flows.reporting import Reporter, Told
from pipeline.request import RunRequest
from pipeline.runtime import LogProgress, describe

_DETECT_PERCENT = {"run": 90.0, "detect": 100.0, "track": 0.0}
"""Where detection ends on the way to 100 %, by operation."""


class EpisodeProgress:
    """A `ProgressView` that tells a reporter, and the log."""

    def __init__(self, reporter: Reporter, ep_id: str, request: RunRequest) -> None:
        self._reporter = reporter
        self._ep_id = ep_id
        self._request = request
        self._log = LogProgress(every_s=30.0)
        self._started: dict[str, float] = {}

    def step(
        self,
        name: str,
        done: int,
        total: int | None,
        seconds: float | None = None,
        text: str | None = None,
    ) -> None:
        seconds = time.monotonic() - self._started.setdefault(name, time.monotonic())
        text = text or describe(done, total, seconds)
        percent = self._percent(name, done, total)
        self._reporter.tell(Told(name, done, total, seconds, percent, text))
        self._log.step(name, done, total)

    def finished(self, summary: dict[str, Any], outputs: dict[str, str]) -> None:
        """What the run came to."""
        self._reporter.finish(partial(self._report, summary, outputs))

    def _percent(self, step: str, done: int, total: int | None) -> float:
        share = min(1.0, done / total) if total else 0.0
        detect = _DETECT_PERCENT[self._request.operation]
        percent = share * detect if step == "detect" else detect + share * (100.0 - detect)
        return min(99.0, round(percent, 1))

    def _report(self, summary: dict[str, Any], outputs: dict[str, str]) -> None:
        create_table_artifact(
            quality_rows(summary),
            description=f"Quality of episode {self._ep_id}, without labels",
        )
        create_markdown_artifact(
            markdown_report(self._ep_id, self._request, summary, outputs),
            description=f"Episode {self._ep_id}",
        )
