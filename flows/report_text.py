"""What the Prefect UI shows of a finished run: a table of numbers and a page of text."""

from __future__ import annotations

import re
from typing import Any

from pipeline.request import RunRequest

_NAMES = {
    "video_seconds": "seconds of video",
    "frames": "frames",
    "frames_lost": "frames that could not be read",
    "shots": "shots",
    "detections": "face detections",
    "tracks": "tracks",
    "track_rows": "rows in tracks.parquet",
    "interpolated_rows": "rows filled in",
    "mean_track_s": "mean track, seconds",
    "longest_track_s": "longest track, seconds",
    "cuts_per_minute": "cuts a minute",
    "tracks_per_minute": "tracks a minute",
    "tracks_per_shot_face": "tracks for each face of a shot",
    "short_fraction": "share of tracks under 1 s that no cut ended",
    "id_switch_estimate": "share of a track's faces unlike the one before",
    "mean_score": "mean score of the tracked faces",
    "faces_per_frame": "tracked faces in a frame",
    "frames_without_face": "share of frames without a tracked face",
}


def quality_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a number: its key, what it is, its value."""
    return [
        {"measure": key, "what": _NAMES.get(key, key.replace("_", " ")), "value": value}
        for key, value in summary.items()
    ]


def summary_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The summary that `quality_rows` was made of."""
    return {row["measure"]: row["value"] for row in rows}


def markdown_report(
    ep_id: str, request: RunRequest, summary: dict[str, Any], outputs: dict[str, str]
) -> str:
    """The report: numbers, files, options."""
    lines = [f"# Episode {_code(ep_id)}", ""]
    if request.video is not None:
        lines += [f"Video: {_code(str(request.video))}", ""]
    lines += ["| | |", "| --- | --- |"]
    lines += [f"| {_NAMES.get(key, key)} | {shown(value)} |" for key, value in summary.items()]
    lines += ["", "## Files", ""]
    lines += [f"- {name}: {_code(path)}" for name, path in outputs.items()]
    lines += ["", "## Options", "", "| | |", "| --- | --- |"]
    options = request.options.model_dump(mode="json")
    lines += [f"| {name} | {'default' if v is None else v} |" for name, v in options.items()]
    return "\n".join(lines) + "\n"


def shown(value: object) -> str:
    """A value of a summary; a dash for one that could not be had."""
    return "-" if value is None else str(value)


def _code(text: str) -> str:
    """As Markdown code, whatever the text holds."""
    quote = "`" * (1 + max((len(run) for run in _backticks(text)), default=0))
    return f"{quote}{text}{quote}" if len(quote) == 1 else f"{quote} {text} {quote}"


def _backticks(text: str) -> list[str]:
    return re.findall(r"`+", text)
