"""Numbers about a run: what was found, on one screen."""

from __future__ import annotations

from typing import Any

from pipeline.episode import EpisodeFolder
from pipeline.tables import column, read_table


def summarize(folder: EpisodeFolder, steps: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The summary of a run, from the facts of its steps and its tables.

    Returns:
        `video_seconds`, `frames`, `frames_lost`, `shots`, `detections`, and where there are
        tracks `tracks`, `track_rows`, `interpolated_rows`, `longest_track_s`, `mean_track_s`.
    """
    detect = steps["detect"]
    summary: dict[str, Any] = {
        "video_seconds": round(detect["duration_s"], 3),
        "frames": detect["frames"],
        "frames_lost": detect["frames_lost"],
        "shots": detect["shots"],
        "detections": detect["detections"],
    }
    if "track" in steps:
        track = steps["track"]
        lengths = column(read_table(folder.track_summary, ["length_s"]), "length_s")
        summary |= {
            "tracks": track["tracks"],
            "track_rows": track["track_rows"],
            "interpolated_rows": track["interpolated_rows"],
            "mean_track_s": round(float(lengths.mean()), 3) if len(lengths) else 0.0,
            "longest_track_s": round(float(lengths.max()), 3) if len(lengths) else 0.0,
        }
    return summary
