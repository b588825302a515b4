"""The command line of `facetracks`: what can be said, not what is done then.

Options come from `pipeline.options.Options`: a field there is an option here.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any

from flows import cli_measure
from pipeline.model_table import MODELS
from pipeline.options import Options, defaults_by_profile

EXIT_CODES = """\
exit codes:
  0 done, 1 failed, 2 wrong input or usage, 3 the episode is busy, 4 timed out,
  5 the Prefect server or Redis is not there, 130 cancelled
"""


def print_error(operation: str, mode: str, name: str, message: str, exit_code: int) -> None:
    """What went wrong before there was a run, in the shape of every answer."""
    answer = {
        "status": "error",
        "logs": [f"error: {message}"],
        "elapsed_seconds": 0.0,
        "ep_id": None,
        "operation": operation,
        "execution_mode": mode,
        "error": {"type": name, "message": message, "exit_code": exit_code},
    }
    sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and as JSON where JSON was asked for."""

    def error(self, message: str) -> typing.NoReturn:
        if "--json" in sys.argv:
            print_error(self.prog.split()[-1], "direct", "UsageError", message, 2)
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class _Version(argparse.Action):
    """Looks the version up when it is asked for: that takes longer than all the parsing."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> typing.NoReturn:
        from importlib.metadata import version

        sys.stdout.write(f"facetracks {version('facetracks')}\n")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="facetracks",
        description="Finds every face of an episode and follows each one through each shot.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print it and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("run", "a video in, detections and tracks out"),
        ("detect", "only find the faces of a video"),
        ("track", "only track stored detections again; decodes no video"),
    ):
        command = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == "track":
            command.add_argument("ep_id", metavar="EP_ID", help="an episode with detections")
        else:
            command.add_argument("video", metavar="VIDEO", help="path of the video file")
            command.add_argument("--ep-id", help="names the episode; default: from the file name")
        _add_run_arguments(command)
        _add_options(command)
    _add_backfill(commands)
    _add_queue(commands)
    cli_measure.add_commands(commands)
    _add_models(commands)
    sample = commands.add_parser("sample", help="print the path of a short clip to try this on")
    sample.add_argument("--json", action="store_true", help="print one JSON object")
    sample.set_defaults(call="sample")
    return parser


def _add_run_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--mode",
        choices=("direct", "queued"),
        default="direct",
        help="direct: in this process (default); queued: on a worker, see `stack`",
    )
    _add_common_arguments(command, "direct mode; default: 3600")
    command.add_argument("--debug", action="store_true", help="show where an error comes from")
    command.set_defaults(call="run")


def _add_common_arguments(command: argparse.ArgumentParser, timeout: str) -> None:
    command.add_argument(
        "--output-root", help="folder of the outputs; default: $FACETRACKS_OUTPUT_ROOT or 'output'"
    )
    command.add_argument(
        "--detach", action="store_true", help="queued mode: print the run id and return"
    )
    command.add_argument("--timeout", type=float, metavar="SECONDS", help=timeout)
    command.add_argument("--force", action="store_true", help="do it again even where it is done")
    command.add_argument("--json", action="store_true", help="print the answer as one JSON object")


def _add_backfill(commands: Any) -> None:
    command = commands.add_parser(
        "backfill",
        help="all episodes of a folder or list that are not done yet",
        description="Detects and tracks every episode of a folder or list that is not done yet.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "source",
        metavar="SOURCE",
        nargs="+",
        help="a folder, a quoted pattern such as '/media/*.mp4', or a list: a text file of paths; "
        "CSV, JSON or Parquet with the columns video, ep_id and, where wanted, options",
    )
    command.add_argument(
        "--mode",
        choices=("direct", "queued"),
        help="direct: one after another in this process; queued: on workers; "
        "default: queued where a server is configured",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and start nothing"
    )
    command.add_argument(
        "--retry-failed", action="store_true", help="try again what has failed before"
    )
    command.add_argument(
        "--name", help="names the table, backfill-NAME.parquet; default: from the source"
    )
    command.add_argument(
        "--at-a-time",
        type=_whole(1, 50),
        default=8,
        metavar="N",
        help="queued mode: episodes queued or running at once, 1 to 50; default: 8",
    )
    _add_common_arguments(command, "direct mode, for each episode; default: 3600")
    command.set_defaults(call="backfill")
    _add_options(command)


def _whole(low: int, high: int) -> Callable[[str], int]:
    """For argparse: a whole number within these bounds."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return int(text)

    return parse


def _add_options(command: argparse.ArgumentParser) -> None:
    """One command-line option for each field of the options model."""
    group = command.add_argument_group("options")
    for name, field in Options.model_fields.items():
        kind = _plain_type(field.annotation)
        choices = [item.value for item in kind] if issubclass(kind, Enum) else None
        group.add_argument(
            "--" + name.replace("_", "-"),
            dest=f"option_{name}",
            type=str if choices else kind,
            choices=choices,
            metavar=None if choices else kind.__name__.upper(),
            help=f"{field.description} {_default_text(name, field.default)}",
        )


def _plain_type(annotation: Any) -> type[Any]:
    """`int` of `int | None`."""
    if isinstance(annotation, types.UnionType):
        annotation = next(kind for kind in annotation.__args__ if kind is not types.NoneType)
    return typing.cast("type[Any]", annotation)


def _default_text(name: str, default: Any) -> str:
    if default is not None:
        return f"Default: {default}."
    return defaults_by_profile(name)


def _add_queue(commands: Any) -> None:
    for name, text in (
        ("status", "how a queued run stands"),
        ("cancel", "end a queued run"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("run_id", metavar="RUN_ID", help="as `run --mode queued` printed it")
        command.add_argument("--json", action="store_true", help="print one JSON object")
        command.set_defaults(call="queue")
    stack = commands.add_parser("stack", help="the local Prefect server, Redis and worker")
    actions = stack.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("up", "start what is not running, and wait until all is well"),
        ("status", "each part's health"),
        ("down", "stop what `up` started"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--json", action="store_true", help="print one JSON object")
    stack.set_defaults(call="stack")
    worker = commands.add_parser("worker", help="a worker for a Prefect server elsewhere")
    worker.add_argument("--name", help="as the Prefect UI shows it; default: host and home")
    worker.add_argument(
        "--limit",
        type=_whole(1, 256),
        metavar="N",
        help="runs at once, 1 to 256; default: FACETRACKS_WORKER_LIMIT",
    )
    worker.set_defaults(call="worker")


def _add_models(commands: Any) -> None:
    models = commands.add_parser("models", help="the networks' weights: list, pull, verify")
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="what there is, from where, under which licence")
    pull = actions.add_parser("pull", help="get a file, and check its sha256")
    verify = actions.add_parser("verify", help="check the sha256 of the files that are here")
    for action in (listing, pull, verify):
        action.add_argument("--json", action="store_true", help="print one JSON object")
    pull.add_argument("name", choices=MODELS, metavar="NAME", help=", ".join(MODELS))
    pull.add_argument(
        "--from", dest="source", metavar="FILE_OR_URL", help="take it from there instead"
    )
    pull.add_argument(
        "--sha256", metavar="HEX", help="what the file has to be, where no publisher states it"
    )
    verify.add_argument(
        "name", nargs="?", choices=MODELS, metavar="NAME", help="default: all that are here"
    )
    models.set_defaults(call="models")
