"""The process that a worker is: Prefect's process worker, which waits for a server that is away.

Prefect's own gives up after a few failures, sooner the oftener it asks (at two questions a second
after 20 s), and takes its runs along. Run as `python -m deployments.patient_worker NAME LIMIT`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import httpx
import psutil
from prefect.utilities.processutils import setup_signal_handlers_worker
from prefect.workers.process import ProcessWorker

from deployments.left_behind import settle_cancelling, settle_taken
from deployments.prefect_env import COORDINATORS, POOL, RUN_ID
from deployments.run_guard import WORKER
from pipeline.errors import ServerError
from pipeline.machine import processes_with

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

_ASK_AGAIN_S = 3.0
_SETTLE_EVERY_S = 3.0
_SETTLE_AFTER_S = 8.0
_COORDINATORS_AT_ONCE = 4
_SLOT_TAKEN = "already holding one of this CapacityLimiter's tokens"
"""What anyio says where a worker takes a run for which it holds a slot; Prefect lets it pass, and
the worker with all its runs would end."""
_HAND_BACK_S = 8.0
"""A guard gives its attempt 3 s, and then tells the server; killed after 15 is the worker."""

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # It takes the place of Prefect's on purpose.

    class PatientWorker(ProcessWorker):
        """Outlives a Prefect server, and a Redis behind it, that are away for any time."""

        type = "process"
        _away = False
        _turn = False
        _settling: asyncio.Task[None] | None = None

        async def setup(self) -> None:
            """Starts, and looks after what a predecessor has left behind."""
            await super().setup()
            if self._work_pool_name == POOL:  # Once for both.
                self._settling = asyncio.create_task(self._settle_left_behind())

        async def _settle_left_behind(self) -> None:
            api_url = os.environ["PREFECT_API_URL"]
            started, started_at = time.monotonic(), datetime.now(UTC)
            looked_at_taken = False
            while True:
                await asyncio.sleep(_SETTLE_EVERY_S)
                settle = partial(settle_cancelling, api_url, self.name)
                is_time = not looked_at_taken and time.monotonic() - started > _SETTLE_AFTER_S
                if is_time:
                    settle = partial(settle_taken, api_url, self.name, started_at)
                with suppress(ServerError):
                    ids = await asyncio.to_thread(settle)
                    looked_at_taken = looked_at_taken or is_time
                    if ids:
                        self._logger.warning("Settled runs left behind: %s", ", ".join(ids))

        async def teardown(self, *exc_info: object) -> None:
            """Stops."""
            if self._settling is not None:
                self._settling.cancel()
            await super().teardown(*exc_info)

        async def get_and_submit_flow_runs(self) -> list[FlowRun]:
            """Asks for work; nothing where the server cannot be asked."""
            if self._work_pool_name == COORDINATORS:
                # Backfills are few, and in no hurry: half of the questions.
                self._turn = not self._turn
                if self._turn:
                    return []
            try:
                found = await super().get_and_submit_flow_runs()
            except httpx.HTTPError as error:
                await self._wait(error)
                return []
            except RuntimeError as error:
                if _SLOT_TAKEN not in str(error):
                    raise
                # Taken for dead, and queued again: its guard objects, or is about to end.
                self._logger.info("A run that is still here was queued again: asking again.")
                return []
            if self._away:
                self._logger.info("The Prefect server answers again.")
                self._away = False
            return found

        async def sync_with_backend(self) -> None:
            """Tells the server that the worker is there."""
            try:
                await super().sync_with_backend()
            except httpx.HTTPError as error:
                if not self._has_successfully_synced:
                    raise
                await self._wait(error)

        async def _wait(self, error: httpx.HTTPError) -> None:
            if not self._away:
                self._away = True
                self._logger.warning(
                    "The Prefect server cannot be asked for work (%s): asking on. "
                    "Runs that are going go on.",
                    " ".join(str(error).split())[:200] or type(error).__name__,
                )
            await asyncio.sleep(_ASK_AGAIN_S)


def _say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _work(name: str, limits: dict[str, int]) -> None:
    workers = [
        PatientWorker(work_pool_name=pool, name=name, limit=limit, create_pool_if_not_found=False)
        for pool, limit in limits.items()
    ]
    await asyncio.gather(*(worker.start(printer=_say) for worker in workers))


def _wait_for_guards() -> None:
    """Until the runs that the worker had are handed back: with it may go its container, or server.

    Prefect has killed the fronts of their guards by now, which the guards notice.
    """
    give_up = time.monotonic() + _HAND_BACK_S
    me = str(os.getpid())
    while time.monotonic() < give_up:
        # The nursery is of this worker, too, but of no run.
        if not any(RUN_ID in _environment(process) for process in processes_with(WORKER, me)):
            return
        time.sleep(0.1)


def _environment(process: psutil.Process) -> dict[str, str]:
    with suppress(psutil.Error):
        return process.environ()
    return {}


def main() -> int:
    """Works until it is told to stop."""
    name, limit = sys.argv[1:]
    setup_signal_handlers_worker(os.getpid(), "the worker", _say)
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_work(name, {POOL: int(limit), COORDINATORS: _COORDINATORS_AT_ONCE}))
    with suppress(KeyboardInterrupt):
        _wait_for_guards()
        _say("Worker stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
