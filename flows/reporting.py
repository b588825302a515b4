"""Tells the Prefect UI and Redis how far a queued run is, as well as it can.

All of it is done by a thread of its own: a server that is slow or gone costs the run nothing.
"""

from __future__ import annotations

import contextvars
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from redis import RedisError

from deployments.redis_client import PROGRESS_KEY, connect
from pipeline.runtime import logger

_TELL_REDIS_EVERY_S = 1.0
_TELL_UI_EVERY_S = 5.0
_TELL_UI_EVERY_PERCENT = 1.0
_LAST_WORDS_S = 10.0
_FORGOTTEN_AFTER_S = 24 * 3600


@dataclass(frozen=True)
class Told:
    """How far a run is.

    Attributes:
        step: what it is at.
        done, total: in frames, or episodes; `total` None where unknown.
        seconds: spent on the step.
        percent: of the whole run.
        text: the same for a person.
    """

    step: str
    done: int
    total: int | None
    seconds: float
    percent: float
    text: str


class Reporter:
    """Keeps what it was told last, and passes it on now and then. A context manager."""

    def __init__(self, run_id: str, tags: set[str], redis_url: str | None) -> None:
        """
        Args:
            tags: for the run, beside those it has.
        """
        self._run_id = run_id
        self._tags = tags
        self._redis = connect(redis_url, timeout_s=1.0) if redis_url else None
        self._latest: Told | None = None
        self._last_words: Callable[[], None] | None = None
        self._done = threading.Event()
        self._artifact: UUID | None = None
        self._shown = (0.0, -100.0)
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._work,), daemon=True, name="reporter"
        )

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        # Only a run that has something to say at its end waits, and not for long.
        self._thread.join(_LAST_WORDS_S if self._last_words else 0.0)

    def tell(self, latest: Told) -> None:
        """How far the run is now."""
        self._latest = latest

    def finish(self, last_words: Callable[[], None]) -> None:
        """Has the run shown as done, and `last_words` called, when the reporter is left."""
        self._last_words = last_words

    # In the thread

    def _work(self) -> None:
        self._try(self._tag)
        told = None
        while not self._done.wait(_TELL_REDIS_EVERY_S if self._latest else 0.1):
            latest = self._latest
            if latest is None or latest == told:
                continue
            told = latest
            self._tell_redis(latest)
            self._try(lambda latest=latest: self._tell_ui(latest))  # type: ignore[misc]
        if self._last_words is not None:
            self._try(lambda: self._show(100.0, "done"))
            self._try(self._last_words)
        if self._redis is not None:
            self._redis.close()

    def _try(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as error:
            logger.debug("not reported: %s", error)

    def _tag(self) -> None:
        with get_client(sync_client=True) as client:
            tags = sorted({*flow_run.tags, *self._tags})
            client.update_flow_run(UUID(self._run_id), tags=tags)

    def _tell_redis(self, latest: Told) -> None:
        if self._redis is None:
            return
        words: dict[str, Any] = {
            "step": latest.step,
            "done": latest.done,
            "total": latest.total,
            "seconds": round(latest.seconds, 1),
            "text": latest.text,
        }
        try:
            key = PROGRESS_KEY.format(self._run_id)
            self._redis.set(key, json.dumps(words), ex=_FORGOTTEN_AFTER_S)
        except (RedisError, OSError) as error:
            logger.debug("not reported: %s", error)

    def _tell_ui(self, latest: Told) -> None:
        now = time.monotonic()
        at, shown = self._shown
        if now - at < _TELL_UI_EVERY_S or latest.percent - shown < _TELL_UI_EVERY_PERCENT:
            return
        self._shown = (now, latest.percent)
        self._show(latest.percent, f"{latest.step}: {latest.text}")

    def _show(self, percent: float, text: str) -> None:
        # Without a key, which would put a page of versions before it.
        if self._artifact is None:
            self._artifact = create_progress_artifact(percent, description=text)  # type: ignore[assignment]
        else:
            update_progress_artifact(self._artifact, percent, description=text)
