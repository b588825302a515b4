"""Two runs of one video side by side: options, summaries, and how far their tracks agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.episode import EpisodeFolder
from pipeline.errors import ResultError
from pipeline.evaluate import agreement
from pipeline.record import read_record
from pipeline.truth import read_tracks


def compare(a: Path, b: Path) -> dict[str, Any]:
    """Compares two episode folders.

    Returns:
        `options`: by name of each that differs, its values in A and in B; `summary`: by name of
        each number of the runs' summaries, A, B and B - A (None where either has none);
        `agreement`: IDF1 of B's tracks with A's in the place of the truth, or None where either
        has only been detected.

    Raises:
        ResultError: a folder has no complete result, or the two are of different videos.
    """
    record_a, record_b = _record(a), _record(b)
    sha_a, sha_b = (str(record["source"]["sha256"]) for record in (record_a, record_b))
    if sha_a != sha_b:
        raise ResultError(
            f"{a} and {b} are results of different videos (sha256 {sha_a[:12]} and {sha_b[:12]}): "
            "give two runs of the same one"
        )
    options = [record["options"] for record in (record_a, record_b)]
    summaries = [record["summary"] for record in (record_a, record_b)]
    return {
        "options": {name: pair for name, pair in _pairs(*options).items() if pair[0] != pair[1]},
        "summary": {name: [*pair, _difference(*pair)] for name, pair in _pairs(*summaries).items()},
        "agreement": _agreement(a, b, summaries),
    }


def _record(folder: Path) -> dict[str, Any]:
    episode = EpisodeFolder(folder.parent, folder.name)
    record = read_record(episode.record)
    if not record:
        raise ResultError(
            f"{folder} has no complete result: give the folder of an episode, with its run.json"
        )
    return record


def _pairs(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [a.get(name), b.get(name)] for name in {**a, **b}}


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else round(b - a, 4)


def _agreement(a: Path, b: Path, summaries: list[dict[str, Any]]) -> float | None:
    if not all("tracks" in summary for summary in summaries):
        return None
    return round(agreement(read_tracks(b), read_tracks(a)), 4)
