"""How good tracks are, and how two runs differ, as a person at a terminal sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.terminal import print_json


def evaluate(tracks: str, truth: str, *, as_json: bool) -> int:
    """Prints how well tracks follow a truth.

    Returns:
        The exit code.
    """
    from pipeline.evaluate import evaluate as score
    from pipeline.truth import read_tracks, read_truth

    found = score(read_tracks(Path(tracks)), read_truth(Path(truth)))
    if as_json:
        files = {"tracks_file": tracks, "truth_file": truth}
        print_json({"status": "completed", "operation": "eval", **files, **found.as_record()})
        return 0
    rows = [
        ("HOTA", f"{found.hota:.3f} (detection {found.det_a:.3f}, association {found.ass_a:.3f})"),
        ("IDF1", f"{found.idf1:.3f}"),
        ("MOTA", f"{found.mota:.3f} ({found.id_switches} identity switches)"),
        ("purity", _number(found.purity)),
        (
            "tracks",
            f"{found.tracks} for {found.identities} identities "
            f"({_number(found.tracks_per_identity)} on each that was found)",
        ),
        ("mixed tracks", str(found.mixed_tracks)),
        ("frames", str(found.frames)),
    ]
    if found.rows_beyond:
        rows.append(("not judged", f"{found.rows_beyond} rows after the truth's last frame"))
    print("\n".join(f"{name:<14}{value}" for name, value in rows))
    return 0


def compare(a: str, b: str, *, as_json: bool) -> int:
    """Prints what differs between two runs of one video.

    Returns:
        The exit code.
    """
    from pipeline.compare import compare as difference

    found = difference(Path(a), Path(b))
    if as_json:
        print_json({"status": "completed", "operation": "compare", "a": a, "b": b, **found})
        return 0
    rows: list[tuple[str, Any, Any, Any]] = [("", "A", "B", "B - A")]
    rows += [(name, *pair, "") for name, pair in found["options"].items()]
    if not found["options"]:
        rows.append(("options", "the same", "the same", ""))
    rows += [(name, *values) for name, values in found["summary"].items()]
    print("\n".join(_line(*row) for row in rows))
    agreement = found["agreement"]
    if agreement is None:
        print("one of the two has only been detected: no tracks to compare")
    else:
        print(f"IDF1 of B's tracks against A's: {agreement:.3f}")
    return 0


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _line(name: str, *values: object) -> str:
    return (f"{name:<26}" + "".join(f"{_cell(value):>14}" for value in values)).rstrip()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
