"""Figure 11: how soon the command has a frame to look at, and how soon it shows its help."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from statistics import median

from benchmarks.media import WORK, Clip
from benchmarks.processes import facetracks, wall_s
from benchmarks.report import Figure

FIRST_FRAME_S, HELP_S = 3.0, 0.3

Say = Callable[[str], None]


def measure(clip: Clip, rounds: int, say: Say) -> list[Figure]:
    """In turns; medians. A first turn that fills the caches of files does not count.

    Raises:
        BenchError: a command failed.
    """
    first_s: list[float] = []
    help_s: list[float] = []
    for number in range(rounds + 1):
        first, shown = _first_frame_s(clip), wall_s([facetracks(), "--help"])
        turn = f"round {number}" if number else "not counted"
        say(f"{turn}: first frame after {first:.2f} s, --help {shown:.2f} s")
        if number:
            first_s.append(first)
            help_s.append(shown)
    return [
        Figure(name, median(times), at_most=target, detail=detail | {"s": _rounded(times)})
        for name, times, target, detail in (
            ("11. run to first frame, s, direct mode", first_s, FIRST_FRAME_S, {"clip": clip.name}),
            ("11. facetracks --help, s", help_s, HELP_S, {}),
        )
    ]


def _first_frame_s(clip: Clip) -> float:
    """From the start of the command to the time that its record has for the first frame."""
    root = WORK / "output-startup"
    started_at = time.time()
    wall_s([facetracks(), "run", str(clip.once), "--force", "--output-root", str(root)])
    record = json.loads((root / clip.once.stem / "run.json").read_text(encoding="utf-8"))
    at = datetime.fromisoformat(record["steps"]["detect"]["first_frame_at"])
    return at.timestamp() - started_at


def _rounded(times: list[float]) -> list[float]:
    return [round(each, 3) for each in times]
