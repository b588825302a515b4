"""One entry for a program that wants an episode's tracks: `run_detect_track`.

Direct mode: the flow's body in this process, the work in child processes that die with it. One
blocking call, one answer. Queued mode: a run id at once; `flows.follow_run` waits for the run.
In both, nothing is raised for what can go wrong with a video.
"""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

from flows.request import make_request, open_run
from pipeline.episode_run import EpisodeRun
from pipeline.errors import FacetracksError, OptionError, RunCancelled, StepFailed, one_line
from pipeline.options import Options
from pipeline.request import Operation
from pipeline.runtime import LogProgress, ProgressView, Runtime, StopSignal, runtime

Mode = Literal["direct", "queued"]
DEFAULT_TIMEOUT_S = 3600.0

_STATUS = {"RunTimeout": "timeout", "RunCancelled": "cancelled"}


def run_detect_track(
    video: str | os.PathLike[str] | None = None,
    *,
    ep_id: str | None = None,
    output_root: str | os.PathLike[str] | None = None,
    operation: Operation = "run",
    mode: Mode = "direct",
    timeout_s: float | None = None,
    force: bool = False,
    progress: ProgressView | None = None,
    stop: StopSignal | None = None,
    own_process: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Finds and follows every face of an episode: here and now, or on a worker.

    Direct mode blocks until that is done; Ctrl-C ends the work and gives the answer `cancelled`.
    Queued mode needs `facetracks stack up`, or a Prefect server that has the deployment; what
    concerns this process alone (timeout, progress, stop) is not for it.

    Args:
        video: path; None only for `operation="track"`, which takes stored detections.
        ep_id: names the episode; default: from the file name.
        output_root: default: `FACETRACKS_OUTPUT_ROOT`, else `output`.
        operation: `run` for both steps, `detect` or `track` for one.
        mode: `direct` or `queued`.
        timeout_s: direct mode: seconds after which the work is ended; default 3600.
        force: do it again even where it is done.
        progress: shows how far a step is; default: a log line every few seconds.
        stop: ends the work when set, from any thread.
        own_process: this process is there for the run alone and is held to its CPUs, too.
        **options: fields of `pipeline.options.Options`, e.g. `tracker="strongsort", stride=2`.

    Returns:
        `status` (completed, error, cancelled or timeout), `logs`, `elapsed_seconds`, `ep_id`,
        `operation`, `execution_mode`; where completed also `outputs` (paths), `summary` and
        `already_done`; else `error` (`type`, `message`, `exit_code`).
        In queued mode, where the run was queued, just `job_id`, `status`, `ep_id`, `operation`,
        `execution_mode`.
    """
    if timeout_s is None:
        timeout_s = DEFAULT_TIMEOUT_S
    paths = (Path(video) if video is not None else None, Path(output_root) if output_root else None)
    surroundings = Runtime(progress=progress or LogProgress(), timeout_s=timeout_s)
    answer: dict[str, Any] = {
        "status": "completed",
        "logs": surroundings.lines,
        "elapsed_seconds": 0.0,
        "ep_id": ep_id,
        "operation": operation,
        "execution_mode": mode,
    }
    try:
        with ExitStack() as stack:
            surroundings.stop = stop
            if stop is None:
                surroundings.stop = StopSignal()
                stack.callback(surroundings.stop.close)
            stack.enter_context(runtime(surroundings))
            if mode not in ("direct", "queued"):
                raise OptionError(f"mode is {mode!r}: choose direct or queued")
            if mode == "queued":
                from flows.queue import submit

                return submit(paths[0], ep_id, paths[1], options, operation, force)
            if not timeout_s > 0:
                raise OptionError(f"timeout is {timeout_s:g}: give a number of seconds above 0")
            surroundings.deadline = surroundings.started + timeout_s
            request = make_request(
                paths[0], ep_id, paths[1], Options.parse(options), operation, force
            )
            run = open_run(request)
            answer["ep_id"] = run.ep_id
            with run:
                if own_process:
                    run.share.confine_this_process()
                answer |= _work(run, surroundings)
    except KeyboardInterrupt:
        _fail(answer, RunCancelled("cancelled"))
    except FacetracksError as error:
        _fail(answer, error)
    except Exception as error:
        if stop is not None and stop.is_set():
            _fail(answer, RunCancelled("cancelled"))
        else:
            # A fault of ours; whoever called gets an answer all the same.
            _fail(answer, StepFailed(f"{type(error).__name__}: {one_line(error)}"))
        answer["error"]["detail"] = traceback.format_exc()
    answer["elapsed_seconds"] = round(time.monotonic() - surroundings.started, 3)
    return answer


def _work(run: EpisodeRun, surroundings: Runtime) -> dict[str, Any]:
    """Runs the flow's body, unless all is done already."""
    already_done = run.finished()
    if already_done:
        surroundings.log("already done with this video and these options (--force does it again)")
        summary = run.stored_summary()
    else:
        run.start_ahead()
        summary = _call_flow(run, surroundings)
    return {
        "already_done": already_done,
        "outputs": run.folder.outputs(),
        "summary": summary,
    }


def import_flow() -> None:
    """Imports Prefect and the flow, which takes seconds: after other processes were started."""
    # Read by Prefect when it is imported: it would report its use over the network.
    os.environ["DO_NOT_TRACK"] = "1"
    import flows.detect_track  # noqa: F401


def _call_flow(run: EpisodeRun, surroundings: Runtime) -> dict[str, Any]:
    import_flow()
    from flows.detect_track import detect_track, opened_run
    from flows.local_runner import call_flow_body

    assert surroundings.stop is not None
    token = opened_run.set(run)
    try:
        body = partial(detect_track.fn, operation=run.request.operation)
        return dict(call_flow_body(body, on_interrupt=surroundings.stop.set))
    finally:
        opened_run.reset(token)


def _fail(answer: dict[str, Any], error: FacetracksError) -> None:
    name = type(error).__name__
    answer["status"] = _STATUS.get(name, "error")
    answer["error"] = {"type": name, "message": one_line(error), "exit_code": error.exit_code}
    answer["error"]["detail"] = error.detail or "".join(traceback.format_exception(error))
    answer["logs"].append(f"{answer['status']}: {one_line(error)}")


async def run_detect_track_async(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """`run_detect_track` for asyncio: cancelling the awaiting task ends the work.

    Takes and returns the same. When cancelled, it returns control (raises `CancelledError`) only
    after the work has ended.
    """
    given: StopSignal | None = kwargs.pop("stop", None)
    stop = given or StopSignal()
    work = asyncio.ensure_future(asyncio.to_thread(run_detect_track, *args, stop=stop, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([work])
        raise
    finally:
        if given is None and work.done():
            stop.close()
