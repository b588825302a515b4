"""Numbers about a run: what was found, on one screen."""

from __future__ import annotations

from typing import Any


def summarize(steps: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The summary of a run, from the facts of its steps.

    Returns:
        `video_seconds`, `frames`, `frames_lost`, `shots`, `detections`, and where there are
        tracks `tracks`, `track_rows`, `interpolated_rows`, `longest_track_s`, `mean_track_s`.
    """
    detect = steps["detect"]
    summary: dict[str, Any] = {"video_seconds": round(detect["duration_s"], 3)}
    summary |= {name: detect[name] for name in ("frames", "frames_lost", "shots", "detections")}
    if "track" in steps:
        track = steps["track"]
        summary |= {name: track[name] for name in ("tracks", "track_rows", "interpolated_rows")}
        summary |= {name: round(track[name], 3) for name in ("mean_track_s", "longest_track_s")}
    return summary
