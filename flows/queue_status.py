"""How queued runs stand: ask, follow, cancel.

Talks to the Prefect server's REST API; imports nothing of Prefect, so an answer is there at once.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deployments.api import Api
from deployments.prefect_env import FINAL
from deployments.settings import Settings
from deployments.stack_state import StackState, api_url, redis_url
from flows.backfill_report import counts, report_path
from flows.report_text import summary_of
from pipeline.episode import EpisodeFolder, check_ep_id, ep_id_of
from pipeline.errors import FacetracksError, OptionError, ServerError, error_named, one_line
from pipeline.runtime import NowAndThen, ProgressView, logger

_STATUS = {
    "COMPLETED": "completed",
    "FAILED": "error",
    "CRASHED": "error",
    "CANCELLED": "cancelled",
}
ENDED = {*_STATUS.values()}
"""What `status` calls a run that has ended."""

_ASK_STATE_EVERY_S = 0.5
_SHOW_EVERY_S = 2.0
_SAY_AWAY_EVERY_S = 60.0
REQUEUE_S = 15.0
"""A crashed run that the automation has not queued again by then stays crashed."""

_NAMED = re.compile(r"^(?:.*exception: )?(\w+): (.*)$", re.DOTALL)


class Patience:
    """Waits for a server that is away, and says so: when that begins, and every minute."""

    def __init__(self) -> None:
        self._says: NowAndThen | None = None

    @contextmanager
    def if_away(self) -> Iterator[None]:
        """For a block that asks the server, and will be run again."""
        try:
            yield
        except ServerError as error:
            if self._says is None or self._says.is_due():
                logger.warning("%s; asking on", one_line(error))
            self._says = self._says or NowAndThen(_SAY_AWAY_EVERY_S)
        else:
            if self._says is not None:
                logger.warning("the Prefect server answers again")
            self._says = None


@contextmanager
def server() -> Iterator[Api]:
    """The configured Prefect server."""
    with Api(api_url(Settings.load())) as api:
        yield api


def episode_of(run: dict[str, Any]) -> str | None:
    """The episode that a run is about, however it was started."""
    parameters = run["parameters"]
    with suppress(FacetracksError):
        if parameters.get("ep_id"):
            return check_ep_id(parameters["ep_id"])
        if parameters.get("video"):
            return ep_id_of(Path(parameters["video"]))
    return None


def status(api: Api, run_id: str) -> dict[str, Any]:
    """How a run stands.

    Returns:
        `job_id`, `status`, `state`, `message`, `ep_id` (None for a backfill), `operation`,
        `execution_mode`, and as far as there are: `progress` (`step`, `done`, `total`, `seconds`,
        `text`), `summary`, `outputs`, `rows` of a backfill, `error` (`type`, `message`,
        `exit_code`).

    Raises:
        OptionError: there is no such run.
    """
    run = _run(api, run_id)
    operation = "backfill" if _is_backfill(run) else run["parameters"].get("operation", "run")
    answer: dict[str, Any] = {
        "job_id": run["id"],
        "status": _STATUS.get(run["state_type"], run["state_name"].lower()),
        "state": run["state_name"],
        "message": run["state"]["message"] or "",
        "ep_id": episode_of(run),
        "operation": operation,
        "execution_mode": "queued",
        "elapsed_seconds": round(run["total_run_time"] or run["estimated_run_time"] or 0.0, 3),
    }
    if run["state_type"] in ("RUNNING", "CANCELLING") and (found := progress(run["id"])):
        answer["progress"] = found
    if _is_backfill(run):
        answer |= _backfill_result(api, run)
    elif run["state_type"] == "COMPLETED":
        answer |= _result(api, run)
    if run["state_type"] in ("FAILED", "CRASHED"):
        answer["error"] = error_of(run)
    return answer


def _run(api: Api, run_id: str) -> dict[str, Any]:
    try:
        run = api.run(str(uuid.UUID(run_id)))
    except ValueError:
        raise OptionError(
            f"{run_id!r} is no run id: give the one that `run --mode queued` printed"
        ) from None
    if run is None:
        raise OptionError(f"the Prefect server at {api.url} knows no run {run_id}: check the id")
    return run


def _is_backfill(run: dict[str, Any]) -> bool:
    return "backfill" in run["tags"]  # As the deployment has it.


def progress(run_id: str) -> dict[str, Any] | None:
    """What the run last said, or None."""
    from redis import RedisError

    from deployments.redis_client import PROGRESS_KEY, connect

    with suppress(RedisError, ServerError, OSError, ValueError):
        url = redis_url(Settings.load())
        if url is None:
            return None
        with connect(url, timeout_s=1.0) as client:
            text = client.get(PROGRESS_KEY.format(run_id))
            return json.loads(text) if isinstance(text, bytes) else None
    return None


def _result(api: Api, run: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if rows := _table(api, run):
        result["summary"] = summary_of(rows)
    if (ep_id := episode_of(run)) is not None:
        result["outputs"] = EpisodeFolder(_output_root(run), ep_id).outputs()
    return result


def _backfill_result(api: Api, run: dict[str, Any]) -> dict[str, Any]:
    """The table, which there is also where episodes have failed."""
    rows = _table(api, run)
    name = next((tag[9:] for tag in run["tags"] if tag.startswith("backfill:")), None)
    if not rows or name is None:
        return {}
    path = report_path(_output_root(run), name)
    return {"summary": counts(rows), "outputs": {"report": str(path)}, "rows": rows}


def _table(api: Api, run: dict[str, Any]) -> list[dict[str, Any]]:
    tables = api.artifacts(run["id"], "table") if run["state_type"] in FINAL else []
    return list(json.loads(tables[0]["data"])) if tables else []


def _output_root(run: dict[str, Any]) -> Path:
    if root := run["parameters"].get("output_root"):
        return Path(root)
    settings = Settings.load()
    state = StackState.read(settings.home)
    return Path(state.output_root) if state else settings.output_root.absolute()


def error_of(run: dict[str, Any]) -> dict[str, Any]:
    """What a failed or crashed run ended with: `type`, `message`, `exit_code`."""
    message = run["state"]["message"] or run["state_name"]
    found = _NAMED.match(message)
    name, text = found.groups() if found else ("StepFailed", message)
    error = error_named(name, text)
    return {"type": type(error).__name__, "message": text, "exit_code": error.exit_code}


def follow(
    run_id: str, view: ProgressView | None = None, timeout_s: float | None = None
) -> dict[str, Any]:
    """Waits until a run is done, and shows its progress every 2 s.

    A server that is gone for a while is waited for. Leaving off waiting (Ctrl-C) leaves the run
    going.

    Returns:
        As `status`; its `status` is not final where `timeout_s` passed first.

    Raises:
        OptionError: there is no such run; ServerError: no server is configured, or it does not
            answer the first question.
    """
    started = time.monotonic()
    crashed_at: float | None = None
    shown_at = 0.0
    patience = Patience()
    with server() as api:
        answer = status(api, run_id)
        while True:
            now = time.monotonic()
            if answer["status"] in ENDED:
                crashed_at = crashed_at or now
                # The automation may queue a crashed run again.
                if answer["state"] != "Crashed" or now - crashed_at > REQUEUE_S:
                    return answer
            else:
                crashed_at = None
            if timeout_s is not None and now - started > timeout_s:
                return answer
            if view is not None and "progress" in answer and now - shown_at >= _SHOW_EVERY_S:
                shown_at = now
                told = answer["progress"]
                seconds, text = told["seconds"], told.get("text")
                view.step(told["step"], told["done"], told["total"], seconds, text)
            time.sleep(_ASK_STATE_EVERY_S)
            with patience.if_away():
                answer = status(api, run_id)


def cancel(api: Api, run_id: str) -> dict[str, Any]:
    """Asks for a run's end; its processes are gone within seconds.

    Returns:
        As `status`, right after.
    """
    run = _run(api, run_id)
    if run["state_type"] not in FINAL:
        api.set_state(run["id"], "CANCELLING", "Cancelling", "Cancelled by facetracks.", False)
    return status(api, run_id)
