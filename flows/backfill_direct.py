"""A backfill in direct mode: one episode after another, in this process, without a server."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from flows.backfill_plan import GOOD, PASSING, Episode, Outcome
from flows.backfill_progress import ListProgress
from flows.backfill_report import counts, failure_text, rows, write
from flows.launch import import_flow, run_detect_track
from flows.terminal import STOPPING, ProgressBar, interrupt, show_log
from pipeline import nursery
from pipeline.episode_run import EpisodeRun
from pipeline.errors import EpisodesFailed, FacetracksError, RunCancelled
from pipeline.runtime import LogProgress, ProgressView, StopSignal

_log = logging.getLogger("facetracks.backfill")


class _Screen:
    """What is shown meanwhile: bars in a terminal, else log lines. A context manager."""

    def __init__(self, episodes: list[Episode], bars: bool) -> None:
        self._progress = ListProgress(episodes)
        self._bar = ProgressBar(stays="backfill") if bars else None
        self._stack = ExitStack()

    @property
    def seconds(self) -> float:
        return self._progress.seconds

    def __enter__(self) -> _Screen:
        if self._bar is not None:
            self._stack.enter_context(self._bar)
        # An episode's own lines do not say which it is; ours do.
        show_log(self._bar, logging.ERROR)
        _log.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def view(self) -> ProgressView:
        """For the steps of one episode."""
        if self._bar is None:
            return LogProgress()
        self._bar.start_over()
        return self._bar

    def tell(self, episode: Episode | None = None) -> None:
        """How far all is, and how that episode has ended."""
        text, progress = self._progress.text(), self._progress
        if self._bar is not None:
            self._bar.step("backfill", progress.done(), progress.total, progress.seconds, text)
        if episode is not None:
            level = logging.INFO if episode.outcome in GOOD else logging.WARNING
            _log.log(level, "%s; %s", ended(episode), text)


def run_here(
    episodes: list[Episode],
    report: Path,
    as_json: bool,
    output_root: Path | None,
    force: bool,
    timeout_s: float | None,
) -> dict[str, Any]:
    """Sees all episodes to their ends, and writes the report; Ctrl-C ends it, and keeps that.

    Args:
        timeout_s: for each episode.

    Returns:
        `status`, `operation`, `execution_mode`, `outputs`, `summary`, `elapsed_seconds`, `rows`,
        and where not all is well `error`.
    """
    stop = StopSignal()

    def leave(number: int, frame: FrameType | None) -> None:
        stop.set()
        interrupt(number, frame)

    for number in STOPPING:
        signal.signal(number, leave)
    bars = sys.stderr.isatty() and not as_json
    with closing(stop), _Screen(episodes, bars) as screen:
        for episode in episodes:
            if episode.outcome in (Outcome.WRONG, Outcome.FAILED):
                _log.warning("%s: %s", episode.place, episode.error)
        try:
            screen.tell()
            run = partial(_run_all, output_root, force, timeout_s, stop, screen)
            to_do = [episode for episode in episodes if episode.outcome is Outcome.TO_DO]
            if len(to_do) < 2:
                run(to_do)
            else:
                with nursery.beside() as wait_until_ready:
                    import_flow()
                    wait_until_ready()
                    run(to_do)
        except KeyboardInterrupt:
            pass
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        stopped = stop.is_set()
    for episode in episodes:
        if episode.outcome is Outcome.TO_DO:
            episode.fail(Outcome.NOT_STARTED, "the backfill was ended before")
    table = rows(episodes)
    write(report, table)
    answer: dict[str, Any] = {
        "status": "completed",
        "operation": "backfill",
        "execution_mode": "direct",
        "elapsed_seconds": round(screen.seconds, 3),
        "summary": counts(table),
        "outputs": {"report": str(report)},
        "rows": table,
    }
    if stopped:
        why = RunCancelled("cancelled; what is done is kept, and the same command goes on")
        return answer | {"status": "cancelled", "error": _error(why)}
    if any(episode.outcome not in GOOD for episode in episodes):
        failed = EpisodesFailed(failure_text(episodes, report))
        return answer | {"status": "error", "error": _error(failed)}
    return answer


def _error(error: FacetracksError) -> dict[str, Any]:
    return {"type": type(error).__name__, "message": str(error), "exit_code": error.exit_code}


def _run_all(
    output_root: Path | None,
    force: bool,
    timeout_s: float | None,
    stop: StopSignal,
    screen: _Screen,
    to_do: list[Episode],
) -> None:
    for episode in to_do:
        if stop.is_set():
            return
        assert episode.request is not None
        answer = run_detect_track(
            episode.listed.video,
            ep_id=episode.listed.ep_id,
            output_root=output_root,
            timeout_s=timeout_s,
            force=force,
            progress=screen.view(),
            stop=stop,
            **episode.given,
        )
        if answer["status"] == "completed":
            episode.take_result(Outcome.COMPLETED)
        elif answer["status"] == "cancelled":
            return
        else:
            if answer["error"]["type"] not in PASSING:
                # A video that is no longer there has none, and is looked at again the next time.
                with suppress(FacetracksError, OSError):
                    episode.input = EpisodeRun(episode.request).identity()
            episode.fail(Outcome.FAILED, answer["error"]["message"])
        screen.tell(episode)


def ended(episode: Episode) -> str:
    """`E03: completed, 1500.0 s of video, 12.3 times real time, 41 tracks`."""
    (row,) = rows([episode])
    words = [f"{episode.listed.ep_id}: {row['state']}"]
    if row["video_seconds"] is not None and episode.outcome in GOOD:
        words.append(f"{row['video_seconds']:.1f} s of video")
    if row["times_real_time"] is not None:
        words.append(f"{row['times_real_time']:.1f} times real time")
    if row["tracks"] is not None:
        words.append(f"{row['tracks']} track" + "s" * (row["tracks"] != 1))
    return "; ".join(filter(None, (", ".join(words), row["error"], row["warnings"])))
