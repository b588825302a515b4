"""The flow of a backfill: sees to it that every episode of a list is done.

    prefect deployment run 'backfill/queued' --param source=/media/season1

It only coordinates runs of `detect-track`, which workers do.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from pydantic import Field

from deployments.api import Api
from deployments.settings import Settings
from flows.backfill_plan import GOOD, Episode, Outcome, plan
from flows.backfill_progress import ListProgress
from flows.backfill_queue import Coordinator, Manner
from flows.backfill_report import counts, failure_text, page_rows, report_path, rows, write
from flows.queued import redis_url, stoppable
from flows.reporting import Reporter, Told
from flows.roots import check_output_root, confine, resolve_media
from pipeline.episode import check_ep_id
from pipeline.episode_list import read_list
from pipeline.errors import EpisodesFailed
from pipeline.options import Options
from pipeline.runtime import NowAndThen, StopSignal, logger

_WRONG_LOGGED = 50
"""More are in the table alone."""


def _run_name() -> str:
    source = flow_run.parameters["source"]
    return f"backfill {flow_run.parameters['name'] or Path(source or 'media').stem}"


@flow(name="backfill", flow_run_name=_run_name)
def backfill(
    source: Annotated[str | None, Field(title="Source")] = None,
    name: Annotated[str | None, Field(title="Name", max_length=100)] = None,
    output_root: Annotated[Path | None, Field(title="Output root")] = None,
    options: Annotated[Options, Field(title="Options")] = Options(),  # noqa: B008
    retry_failed: Annotated[bool, Field(title="Retry failed")] = False,
    force: Annotated[bool, Field(title="Force")] = False,
    at_a_time: Annotated[int, Field(title="At a time", ge=1, le=50)] = 8,
) -> dict[str, Any] | State[Any]:
    """Detects and tracks the faces of every episode of a folder or list that is not done yet.

    Args:
        source: Folder, pattern (such as /media/*.mp4), or list of episodes (text, CSV, JSON or
            Parquet), under a media root of the workers. Default: the first media root.
        name: Names the table of the results, backfill-NAME.parquet. Default: from the source.
        output_root: Folder of the outputs, under FACETRACKS_OUTPUT_ROOT. Default: that folder.
        options: What to look for, and how; options in a row of the list win.
        retry_failed: Try again what has failed before with the same video and options.
        force: Do it again even where it is done with the same video and options.
        at_a_time: Episodes queued or running at once; an interactive run overtakes those queued.

    Returns:
        The counts: episodes, completed, done_before, ..., video_seconds; a Failed state where an
        episode failed, or where the list has a fault.
    """
    work = partial(_work, source, name, output_root, options, retry_failed, force, at_a_time)
    return stoppable(work)


def _work(
    source: str | None,
    name: str | None,
    output_root: Path | None,
    options: Options,
    retry_failed: bool,
    force: bool,
    at_a_time: int,
    run_id: str,
    stop: StopSignal,
) -> dict[str, Any]:
    settings = Settings.load()
    home = settings.output_root.absolute()
    if source is None and settings.media_roots:
        source = str(settings.media_roots[0])
    resolve_media(Path(source or ""), settings.media_roots)
    listed = read_list(source or "")
    name = check_ep_id(name or listed.name)
    report = report_path(check_output_root(output_root or home, home), name)
    given = options.model_dump(mode="json", exclude_unset=True)
    confined = partial(confine, media_roots=settings.media_roots, output_root=home)
    api_url = os.environ["PREFECT_API_URL"]
    tags = {f"backfill:{name}"}
    with Api(api_url) as api, Reporter(run_id, tags, redis_url(settings)) as reporter:
        episodes = plan(listed.episodes, given, output_root, force, confined)
        _say_what_is_there(episodes)
        progress, log_line = ListProgress(episodes), NowAndThen(30.0)

        def tell() -> None:
            text = progress.text()
            done, total = progress.done(), progress.total
            reporter.tell(Told("backfill", done, total, progress.seconds, progress.percent(), text))
            if log_line.is_due():
                logger.info(text)

        tell()
        manner = Manner(run_id, name, at_a_time, retry_failed, force, output_root)
        Coordinator(api, manner, stop, tell).run(episodes)
        table = rows(episodes, ui_url=api_url.removesuffix("/api"))
        write(report, table)
        reporter.finish(partial(_show, name, table))
    return _end(episodes, report)


def _say_what_is_there(episodes: list[Episode]) -> None:
    wrong = [episode for episode in episodes if episode.outcome is Outcome.WRONG]
    for episode in wrong[:_WRONG_LOGGED]:
        logger.warning("%s: %s", episode.place, episode.error)
    found = counts(rows(episodes))
    logger.info(
        "%d episodes: %d to do, %d done before, %d wrong",
        found["episodes"],
        found.get("to_do", 0),
        found.get("done_before", 0),
        found.get("wrong", 0),
    )


def _show(name: str, table: list[dict[str, Any]]) -> None:
    more = f"; the first {len(page_rows(table))} of {len(table)}"
    create_table_artifact(
        page_rows(table),
        description=f"Backfill {name}" + (more if len(table) > len(page_rows(table)) else ""),
    )


def _end(episodes: list[Episode], report: Path) -> dict[str, Any]:
    """The summary.

    Raises:
        EpisodesFailed: not all of them ended well.
    """
    bad = [episode for episode in episodes if episode.outcome not in GOOD]
    if bad:
        raise EpisodesFailed(failure_text(episodes, report))
    return {**counts(rows(episodes)), "report": str(report)}
