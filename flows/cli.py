"""The command `facetracks`.

What a command needs is imported when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from flows import cli_measure
from flows.cli_parser import build_parser, print_error
from pipeline.errors import FacetracksError, OptionError, one_line


def _run(arguments: argparse.Namespace) -> int:
    from flows import terminal

    _check_mode(arguments, arguments.mode)
    start = terminal.run
    if arguments.mode == "queued":
        from flows import queue_terminal

        start = partial(queue_terminal.run, detach=arguments.detach)
    return start(
        getattr(arguments, "video", None),
        as_json=arguments.json,
        debug=arguments.debug,
        ep_id=arguments.ep_id,
        output_root=arguments.output_root,
        operation=arguments.command,
        timeout_s=arguments.timeout,
        force=arguments.force,
        **_options(arguments),
    )


def _check_mode(arguments: argparse.Namespace, mode: str) -> None:
    if mode == "direct" and arguments.detach:
        raise OptionError("--detach is for queued mode: add --mode queued")
    if mode == "queued" and arguments.timeout is not None:
        raise OptionError("--timeout is for direct mode: a queued run goes on until it is done")
    if arguments.timeout is not None and not arguments.timeout > 0:
        raise OptionError(f"timeout is {arguments.timeout:g}: give a number of seconds above 0")


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of `Options` that were given."""
    return {
        key.removeprefix("option_"): value
        for key, value in vars(arguments).items()
        if key.startswith("option_") and value is not None
    }


def _backfill(arguments: argparse.Namespace) -> int:
    from flows import backfill_terminal

    arguments.mode = mode = arguments.mode or backfill_terminal.default_mode()
    if len(arguments.source) > 1:
        raise OptionError(
            "give one source: quote a pattern, so that the shell leaves it alone, "
            "or list the videos in a file"
        )
    _check_mode(arguments, mode)
    return backfill_terminal.run(
        arguments.source[0],
        mode=mode,
        as_json=arguments.json,
        dry_run=arguments.dry_run,
        detach=arguments.detach,
        name=arguments.name,
        output_root=arguments.output_root,
        retry_failed=arguments.retry_failed,
        force=arguments.force,
        at_a_time=arguments.at_a_time,
        timeout_s=arguments.timeout,
        **_options(arguments),
    )


def _queue(arguments: argparse.Namespace) -> int:
    from flows import queue_terminal

    call = queue_terminal.cancel if arguments.command == "cancel" else queue_terminal.status
    return call(arguments.run_id, as_json=arguments.json)


def _stack(arguments: argparse.Namespace) -> int:
    from flows import stack_terminal

    return int(getattr(stack_terminal, arguments.action)(as_json=arguments.json))


def _worker(arguments: argparse.Namespace) -> int:
    from deployments.worker import become_worker

    become_worker(arguments.name, arguments.limit)
    return 1


def _models(arguments: argparse.Namespace) -> int:
    from flows import models_terminal

    if arguments.action == "pull":
        return models_terminal.pull(
            arguments.name, arguments.source, arguments.sha256, as_json=arguments.json
        )
    if arguments.action == "verify":
        return models_terminal.verify(arguments.name, as_json=arguments.json)
    return models_terminal.list_all(as_json=arguments.json)


def _sample(arguments: argparse.Namespace) -> int:
    from pipeline import models

    return _print_path(models.pull(models.SAMPLE), arguments.json)


def _print_path(path: Path, as_json: bool) -> int:
    print(json.dumps({"path": str(path)}) if as_json else path)
    return 0


_CALLS = {
    "run": _run,
    "backfill": _backfill,
    "queue": _queue,
    "stack": _stack,
    "worker": _worker,
    "measure": cli_measure.call,
    "models": _models,
    "sample": _sample,
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        code = _CALLS[arguments.call](arguments)
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever read our output has heard enough. What is left of it must not fail at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except FacetracksError as error:
        if getattr(arguments, "json", False):
            mode = getattr(arguments, "mode", "queued")
            name = type(error).__name__
            print_error(arguments.command, mode, name, one_line(error), error.exit_code)
        print(f"facetracks: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    # An interrupt inside an exec, as dataclasses do on import, has CPython end by SIGINT in spite
    # of being caught (run_eval_code_obj in pythonrun.c); the next exec takes that back.
    exec("")  # noqa: S102
    return code


if __name__ == "__main__":
    sys.exit(main())
