"""A run as a person at a terminal sees it: progress, signals, the result on one screen."""

from __future__ import annotations

import json
import logging
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from flows.launch import run_detect_track
from pipeline.runtime import LogProgress, StopSignal, describe, logger

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ProgressBar:
    """Frames, frames per second and time left, on one line that stays in place."""

    def __init__(self, before: str = "loading the networks", stays: str = "") -> None:
        """
        Args:
            before: what is shown until there is a first step.
            stays: the step that goes on when others begin.
        """
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskID, TextColumn

        self._bar = Progress(
            TextColumn("{task.description:<7}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._before = before
        self._stays = stays
        self._tasks: dict[str, TaskID] = {}
        self._starting: TaskID | None = None

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        self._starting = self._bar.add_task("start", total=None, state=self._before)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def log_handler(self) -> logging.Handler:
        """Shows log lines above the bar."""
        from rich.logging import RichHandler

        handler = RichHandler(
            console=self._bar.console, show_time=False, show_level=False, show_path=False
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
        return handler

    def start_over(self) -> None:
        """Forgets the steps so far, but for the one that stays."""
        for step in [step for step in self._tasks if step != self._stays]:
            self._bar.remove_task(self._tasks.pop(step))

    def step(
        self,
        name: str,
        done: int,
        total: int | None,
        seconds: float | None = None,
        text: str | None = None,
    ) -> None:
        if self._starting is not None:
            self._bar.remove_task(self._starting)
            self._starting = None
        if name not in self._tasks:
            others = (task for step, task in self._tasks.items() if step != self._stays)
            for before in others:
                # Who looks now and then does not see a step's end.
                self._bar.update(before, completed=total or done, state="done")
            self._tasks[name] = self._bar.add_task(name, state="")
        task_id = self._tasks[name]
        task = next(task for task in self._bar.tasks if task.id == task_id)
        self._bar.update(
            task_id,
            completed=done,
            total=total,
            state=text or describe(done, total, seconds or task.elapsed or 0.0),
        )


def show_log(bar: ProgressBar | None, level: int = logging.INFO) -> None:
    """Our log lines of that level and above on standard error, above the bar where there is one."""
    # basicConfig gives the format to handlers that have none.
    logging.basicConfig(
        handlers=[bar.log_handler() if bar else logging.StreamHandler()],
        format="%(asctime)s %(levelname)s %(message)s",
        level=logging.WARNING,
    )
    logger.setLevel(level)


def run(video: str | None, *, as_json: bool, debug: bool, **request: Any) -> int:
    """Runs direct mode for the command line.

    Returns:
        The exit code.
    """
    stop = StopSignal()

    def leave(number: int, frame: FrameType | None) -> None:
        # Said twice: an exception may be swallowed, or become another, in the midst of an import.
        stop.set()
        interrupt(number, frame)

    for number in STOPPING:
        signal.signal(number, leave)
    with ExitStack() as stack:
        bar: ProgressBar | None = None
        if sys.stderr.isatty() and not as_json:
            bar = stack.enter_context(ProgressBar())
        show_log(bar, logging.DEBUG if debug else logging.INFO)
        progress = bar or LogProgress()
        answer = run_detect_track(video, progress=progress, stop=stop, own_process=True, **request)
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    return end(answer, as_json, debug)


def end(answer: dict[str, Any], as_json: bool, debug: bool) -> int:
    """Prints how a run ended.

    Returns:
        The exit code.
    """
    detail = answer.get("error", {}).pop("detail", None)
    if debug and detail:
        print(detail, file=sys.stderr)
    if as_json:
        print_json(answer)
    elif answer["status"] == "completed" and "summary" in answer:
        print(screen(answer))
    if "error" in answer:
        print(f"facetracks: {answer['error']['message']}", file=sys.stderr)
        return int(answer["error"]["exit_code"])
    if answer["status"] == "cancelled":
        print(f"facetracks: run {answer['job_id']} was cancelled", file=sys.stderr)
        return 130
    return 0


def interrupt(_: int, __: FrameType | None) -> None:
    """Ctrl-C, SIGTERM and SIGHUP all end what the command does; once is enough."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def print_json(answer: dict[str, Any]) -> None:
    """One object on standard output."""
    print(json.dumps(answer, ensure_ascii=False))


def screen(answer: dict[str, Any]) -> str:
    """The result of a completed run."""
    summary = answer["summary"]
    video_s, elapsed_s = summary["video_seconds"], answer["elapsed_seconds"]
    if answer.get("already_done"):
        pace = "done before, nothing to do"
    else:
        pace = f"{elapsed_s:.1f} s, {video_s / elapsed_s:.1f} times real time"
    rows = [
        ("video", f"{video_s:.2f} s, {summary['frames']} frames"),
        ("shots", f"{summary['shots']}"),
        ("detections", f"{summary['detections']}"),
    ]
    if "tracks" in summary:
        rows.append(
            (
                "tracks",
                f"{summary['tracks']} (mean {summary['mean_track_s']:.1f} s, "
                f"longest {summary['longest_track_s']:.1f} s)",
            )
        )
        if rate := summary.get("tracks_per_minute"):
            rows.append(("", f"{rate:.0f} a minute{_tracks_quality(summary)}"))
    if summary["frames_lost"]:
        rows.append(("lost", f"{summary['frames_lost']} frames could not be read"))
    rows.append(("time", pace))
    paths = [Path(path) for path in answer["outputs"].values()]
    rows.append(("outputs", str(paths[0].parent)))
    rows.append(("", ", ".join(path.name for path in paths)))
    return "\n".join(
        [f"episode {answer['ep_id']}", *(f"  {name:<14}{value}" for name, value in rows)]
    )


def _tracks_quality(summary: dict[str, Any]) -> str:
    """The rest of the line about tracks; the summary has more."""
    text = ""
    if (per_face := summary["tracks_per_shot_face"]) is not None:
        text += f", {per_face:.1f} for each face of a shot"
    if (short := summary["short_fraction"]) is not None:
        text += f", {short:.0%} short"
    if (switches := summary["id_switch_estimate"]) is not None:
        text += f", id switches {switches:.0%}"
    return text
