"""Queued runs as a person at a terminal sees them."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from typing import Any

from flows import queue_status
from flows.launch import run_detect_track
from flows.report_text import shown
from flows.terminal import STOPPING, ProgressBar, end, interrupt, print_json, show_log
from pipeline.runtime import LogProgress, describe

_CANCEL_S = 15.0


def run(video: str | None, *, as_json: bool, debug: bool, detach: bool, **request: Any) -> int:
    """Queues a run and follows it.

    Returns:
        The exit code: of the run's end; 130 where following was interrupted.
    """
    answer = run_detect_track(video, mode="queued", **request)
    if "error" in answer:
        return end(answer, as_json, debug)
    run_id = answer["job_id"]
    if detach:
        print_json(answer) if as_json else print(run_id)
        return 0
    ended = follow(run_id, as_json)
    return 130 if ended is None else end(ended, as_json, debug)


def follow(run_id: str, as_json: bool) -> dict[str, Any] | None:
    """Shows a run's progress until its end.

    Returns:
        How it ended, as `queue_status.status`; None where following was interrupted.
    """
    for number in STOPPING:
        signal.signal(number, interrupt)
    # Standard output is the answer alone where JSON was asked for.
    print(f"queued as run {run_id}", file=sys.stderr if as_json else sys.stdout, flush=True)
    try:
        with ExitStack() as stack:
            bar: ProgressBar | None = None
            if sys.stderr.isatty() and not as_json:
                bar = stack.enter_context(ProgressBar("waiting for a worker"))
            show_log(bar)
            return queue_status.follow(run_id, bar or LogProgress(every_s=30.0))
    except KeyboardInterrupt:
        print(
            f"the run goes on; see `facetracks status {run_id}`, "
            f"end it with `facetracks cancel {run_id}`",
            file=sys.stderr,
        )
        return None


def status(run_id: str, *, as_json: bool) -> int:
    """Prints how a run stands."""
    with queue_status.server() as api:
        answer = queue_status.status(api, run_id)
    _show(answer, as_json)
    return 0


def cancel(run_id: str, *, as_json: bool) -> int:
    """Ends a run; waits up to 15 s until it has ended.

    Returns:
        The exit code: 1 where it has not.
    """
    with queue_status.server() as api:
        before = queue_status.status(api, run_id)["status"]
        answer = queue_status.cancel(api, run_id)
    if answer["status"] not in queue_status.ENDED:
        answer = queue_status.follow(run_id, timeout_s=_CANCEL_S)
    if not as_json and before in queue_status.ENDED:
        print(f"run {run_id} had ended before: {before}")
    _show(answer, as_json)
    if answer["status"] in queue_status.ENDED:
        return 0
    print(
        f"facetracks: run {run_id} was told to end and has not within {_CANCEL_S:.0f} s: "
        f"see `facetracks status {run_id}`, and with `facetracks stack status` if a worker is up",
        file=sys.stderr,
    )
    return 1


def _show(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    rows = [("run", answer["job_id"]), ("state", answer["state"])]
    if answer["message"]:
        rows.append(("", answer["message"]))
    if answer["operation"] != "backfill":
        rows.append(("episode", f"{answer['ep_id']} ({answer['operation']})"))
    if told := answer.get("progress"):
        text = told.get("text") or describe(told["done"], told["total"], told["seconds"])
        rows.append(("progress", f"{told['step']}: {text}"))
    rows += [(name, shown(value)) for name, value in answer.get("summary", {}).items()]
    rows += [(name, path) for name, path in answer.get("outputs", {}).items()]
    print("\n".join(f"{name:<22}{value}" for name, value in rows))
