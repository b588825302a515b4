"""Coordinates a backfill: submits its episodes to the queue `backfill`, and waits for their ends.

It holds no work. Killed and started again it goes on where it was: what is done is found done, and
what is queued or running is found by its idempotency key.
"""

from __future__ import annotations

import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.api import Api
from deployments.prefect_env import FINAL
from flows.backfill_plan import PASSING, Episode, Outcome
from flows.backfill_report import FAILED_BEFORE
from flows.queue_status import REQUEUE_S, Patience, error_of
from pipeline.episode_run import EpisodeRun
from pipeline.errors import FacetracksError, RunCancelled, ServerError, one_line
from pipeline.runtime import StopSignal, logger

QUEUE = "backfill"
_LOOK_EVERY_S = 1.0
_CANCEL_S = 2.0
"""An attempt that was told to stop has 2.5 s."""


@dataclass(frozen=True)
class Manner:
    """How a backfill goes about it.

    Attributes:
        run_id: of the backfill itself.
        at_a_time: episodes queued or running at once.
        retry_failed: try again what has failed before.
        output_root: None for that of the workers.
    """

    run_id: str
    name: str
    at_a_time: int
    retry_failed: bool
    force: bool
    output_root: Path | None


class Coordinator:
    """One backfill's."""

    def __init__(
        self, api: Api, manner: Manner, stop: StopSignal, tell: Callable[[], None]
    ) -> None:
        """
        Args:
            stop: ends the backfill. Where it is because the backfill is being cancelled, its
                episodes are cancelled, too.
            tell: called about once a second.
        """
        self._api = api
        self._manner = manner
        self._stop = stop
        self._tell = tell
        self._deployment = ""
        self._waiting: dict[str, Episode] = {}
        self._crashed_at: dict[str, float] = {}
        self._canceller = threading.Thread(target=self._cancel_when_cancelled, daemon=True)

    def run(self, episodes: list[Episode]) -> None:
        """Sees all of them to their ends.

        Raises:
            RunCancelled: it was told to stop.
        """
        self._deployment = self._api.deployment()["id"]
        # Beside the work: that may be reading a large file when it is told to stop.
        self._canceller.start()
        to_do = deque(episode for episode in episodes if episode.outcome is Outcome.TO_DO)
        patience = Patience()
        while to_do or self._waiting:
            with patience.if_away():
                while to_do and len(self._waiting) < self._manner.at_a_time:
                    self._check_stop()
                    self._submit(to_do[0])
                    to_do.popleft()
                self._look()
            self._tell()
            select.select([self._stop], [], [], _LOOK_EVERY_S)
            self._check_stop()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            self._canceller.join(_CANCEL_S)
            # Once more: an episode may have been queued meanwhile.
            self._cancel_if_cancelled()
            raise RunCancelled("the backfill was told to stop")

    # Submitting

    def _submit(self, episode: Episode) -> None:
        assert episode.request is not None
        try:
            # Looked at again: it may be long since the list was.
            run = EpisodeRun(episode.request)
            if run.finished():
                episode.take_result(Outcome.DONE_BEFORE)
                return
            episode.input = run.identity()
            self._queue(episode, episode.input)
        except ServerError as error:
            if error.exit_code != 2:
                raise
            episode.fail(Outcome.FAILED, one_line(error))
        except FacetracksError as error:
            episode.fail(Outcome.WRONG, one_line(error))

    def _queue(self, episode: Episode, key: str) -> None:
        """Once for the same video and options, however often it is asked for."""
        tag = f"input:{key[:16]}"
        first = f"{key}:{self._manner.run_id}" if self._manner.force else key
        run = self._create(episode, first, tag)
        if run["state_type"] in FINAL:
            latest = self._api.latest_run(tag) or run
            if latest["state_type"] in FINAL and self._again(latest):
                latest = self._create(episode, f"{key}:{latest['id']}", tag)
            run = latest
        if run["state_type"] in FINAL:
            self._finish(episode, run, before=True)
        else:
            self._waiting[run["id"]] = episode

    def _create(self, episode: Episode, key: str, tag: str) -> dict[str, Any]:
        assert episode.request is not None
        ep_id, manner = episode.listed.ep_id, self._manner
        parameters: dict[str, Any] = {
            "video": str(episode.request.video),
            "ep_id": ep_id,
            "options": episode.given,
            "operation": "run",
            "force": manner.force,
        }
        if manner.output_root is not None:
            parameters["output_root"] = str(manner.output_root)
        return self._api.create_run(
            self._deployment,
            parameters=parameters,
            name=f"run {ep_id}",
            tags=[f"episode:{ep_id}", f"backfill:{manner.name}", self._own_tag, tag],
            work_queue_name=QUEUE,
            idempotency_key=key,
        )

    @property
    def _own_tag(self) -> str:
        return f"backfill-run:{self._manner.run_id}"

    def _again(self, run: dict[str, Any]) -> bool:
        """Whether an episode whose last run has ended, and that is not done, is run again."""
        own = self._own_tag in run["tags"]  # It is of this backfill, which goes on after a crash.
        if run["state_type"] == "COMPLETED":
            return not (own and self._manner.force)  # Its outputs have been removed since.
        if run["state_type"] == "CANCELLED":
            return True
        if own:
            return False
        return self._manner.retry_failed or error_of(run)["type"] in PASSING

    # Waiting

    def _look(self) -> None:
        runs = {run["id"]: run for run in self._api.runs(list(self._waiting))}
        for run_id in list(self._waiting):
            run = runs.get(run_id)
            if run is None:
                episode = self._waiting.pop(run_id)
                episode.fail(Outcome.CANCELLED, "its run was deleted")
                logger.warning("%s: %s", episode.place, episode.error)
            elif run["state_type"] not in FINAL:
                self._crashed_at.pop(run_id, None)
            elif run["state_type"] != "CRASHED" or self._stays_crashed(run_id):
                self._finish(self._waiting.pop(run_id), run)

    def _stays_crashed(self, run_id: str) -> bool:
        """The automation may queue it again."""
        since = self._crashed_at.setdefault(run_id, time.monotonic())
        return time.monotonic() - since > REQUEUE_S

    def _finish(self, episode: Episode, run: dict[str, Any], before: bool = False) -> None:
        episode.run_id = run["id"]
        if run["state_type"] == "COMPLETED":
            episode.take_result(Outcome.COMPLETED)
            return
        if run["state_type"] == "CANCELLED":
            episode.fail(Outcome.CANCELLED, "its run was cancelled")
        else:
            again = FAILED_BEFORE if before else ""
            episode.fail(Outcome.FAILED, error_of(run)["message"] + again)
        logger.warning("%s: %s", episode.place, episode.error)

    # Cancelling

    def _cancel_when_cancelled(self) -> None:
        with suppress(OSError, ValueError):  # The signal is closed at the end.
            select.select([self._stop], [], [])
            self._cancel_if_cancelled()

    def _cancel_if_cancelled(self) -> None:
        with suppress(ServerError), Api(self._api.url, _CANCEL_S) as api:
            run = api.run(self._manner.run_id)
            if run is not None and run["state_type"] in ("CANCELLING", "CANCELLED"):
                api.cancel_all(list(self._waiting), "The backfill was cancelled.")
