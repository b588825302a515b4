"""A backfill as a person at a terminal sees it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from deployments.settings import Settings
from deployments.stack_state import StackState
from flows import queue
from flows.backfill_direct import run_here
from flows.backfill_plan import Episode, Outcome, plan
from flows.backfill_report import (
    FAILED_BEFORE,
    counts,
    failed_before,
    report_path,
    rows,
    terminal_lines,
)
from flows.queue_terminal import follow
from flows.terminal import print_json
from pipeline.episode import check_ep_id
from pipeline.episode_list import EpisodeList, read_list
from pipeline.episode_run import EpisodeRun
from pipeline.errors import FacetracksError, one_line


def default_mode() -> str:
    """`queued` where a server is configured."""
    configured = os.environ.get("PREFECT_API_URL") or StackState.read(Settings.load().home)
    return "queued" if configured else "direct"


def run(
    source: str,
    *,
    mode: str,
    as_json: bool,
    dry_run: bool,
    detach: bool,
    name: str | None,
    output_root: str | None,
    retry_failed: bool,
    force: bool,
    at_a_time: int,
    timeout_s: float | None,
    **options: Any,
) -> int:
    """Runs, queues or, with `dry_run`, only looks at a backfill.

    Returns:
        The exit code: 0 where all episodes are done, 1 where one is not.
    """
    listed = read_list(source)
    name = check_ep_id(name or listed.name)
    root = Path(output_root) if output_root else None
    if mode == "queued" and not dry_run:
        given = (listed.source, name, root, options, retry_failed, force, at_a_time)
        return _queued(given, as_json, detach)
    home = root or Settings.load().output_root
    report = report_path(home, name)
    episodes = plan(listed.episodes, options, root, force)
    if not (retry_failed or force):
        _leave_failed(episodes, report)
    if dry_run:
        return _dry_run(listed, episodes, mode, as_json)
    answer = run_here(episodes, report, as_json, root, force, timeout_s)
    return _end(answer, as_json)


def _leave_failed(episodes: list[Episode], report: Path) -> None:
    """What failed before with the same video and options is not tried again."""
    failed = failed_before(report)
    for episode in episodes:
        known, error = failed.get(episode.listed.ep_id, ("", ""))
        if known and episode.outcome is Outcome.TO_DO and episode.request is not None:
            try:
                episode.input = EpisodeRun(episode.request).identity()
            except FacetracksError as problem:
                episode.fail(Outcome.WRONG, one_line(problem))
                continue
            if episode.input == known:
                episode.fail(Outcome.FAILED, error + FAILED_BEFORE)


# Dry run


def _dry_run(listed: EpisodeList, episodes: list[Episode], mode: str, as_json: bool) -> int:
    table = rows(episodes)
    wrong = any(row["state"] in (Outcome.WRONG, Outcome.FAILED) for row in table)
    answer = {
        "status": "dry run",
        "operation": "backfill",
        "execution_mode": mode,
        "source": str(listed.source),
        "summary": counts(table),
        "rows": table,
    }
    if as_json:
        print_json(answer)
    else:
        print("\n".join(terminal_lines(table, longest=len(table))))
        print(f"{_sum(counts(table))}; nothing was started")
    return 1 if wrong else 0


# Queued


def _queued(given: tuple[Any, ...], as_json: bool, detach: bool) -> int:
    answer = queue.submit_backfill(*given)
    run_id = answer["job_id"]
    if detach:
        print_json(answer) if as_json else print(run_id)
        return 0
    ended = follow(run_id, as_json)
    return 130 if ended is None else _end(ended, as_json)


# The end


def _end(answer: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print_json(answer)
    else:
        if "rows" in answer:
            print("\n".join(terminal_lines(answer["rows"])))
        if "summary" in answer:
            print(_sum(answer["summary"]))
        if report := answer.get("outputs", {}).get("report"):
            print(f"table     {report}")
    if "error" in answer:
        print(f"facetracks: {answer['error']['message']}", file=sys.stderr)
        return int(answer["error"]["exit_code"])
    return 130 if answer["status"] == "cancelled" else 0


def _sum(summary: dict[str, int | float]) -> str:
    states = [(outcome.value, outcome.value.replace(" ", "_")) for outcome in Outcome]
    found = [f"{summary[key]} {name}" for name, key in states if key in summary]
    minutes = summary["video_seconds"] / 60
    return f"{summary['episodes']} episodes: {', '.join(found)}; {minutes:.1f} min of video done"
