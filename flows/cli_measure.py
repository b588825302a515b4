"""The commands that measure: `eval` and `compare`."""

from __future__ import annotations

import argparse
from typing import Any


def add_commands(commands: Any) -> None:
    """Adds both to the command line."""
    command = commands.add_parser(
        "eval",
        help="how well tracks follow a truth: HOTA, IDF1, MOTA, ...",
        description="Scores tracks against a truth: HOTA, IDF1, MOTA, purity, mixed tracks.",
    )
    command.add_argument(
        "tracks",
        metavar="TRACKS",
        help="an episode folder, its tracks.parquet, or a MOTChallenge text file",
    )
    command.add_argument(
        "truth",
        metavar="TRUTH",
        help="a MOTChallenge gt.txt, or a CSV with frame,shot,face,x1,y1,x2,y2,ignore",
    )
    _finish(command)
    command = commands.add_parser(
        "compare",
        help="what differs between two runs of an episode",
        description="Shows two runs of one video side by side: options, numbers, and how far "
        "their tracks agree.",
    )
    command.add_argument("a", metavar="A", help="folder of an episode")
    command.add_argument("b", metavar="B", help="the same episode's under another output root")
    _finish(command)


def call(arguments: argparse.Namespace) -> int:
    """Does what was asked for; returns the exit code."""
    from flows import eval_terminal

    if arguments.command == "eval":
        return eval_terminal.evaluate(arguments.tracks, arguments.truth, as_json=arguments.json)
    return eval_terminal.compare(arguments.a, arguments.b, as_json=arguments.json)


def _finish(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print one JSON object")
    # Every answer names a mode; there is no queue in between here.
    command.set_defaults(call="measure", mode="direct")
