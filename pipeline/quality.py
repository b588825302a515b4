"""Numbers about a run that need no labels, and when they should worry somebody."""

from __future__ import annotations

from typing import Any

MOST_TRACKS_PER_MINUTE = 50.0
MOST_SHORT = 0.30
MOST_ID_SWITCHES = 0.10
"""The field's usual limits for tracks on television; beyond them something is mostly wrong."""

_ENOUGH = 10
"""Shares of fewer tracks, or fewer pairs of faces, are chance: nobody is warned of them."""


def summarize(steps: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The summary of a run, from the facts of its steps.

    Returns:
        `video_seconds`, `frames`, `frames_lost`, `shots`, `detections`, `cuts_per_minute`, and
        where there are tracks `tracks`, `track_rows`, `interpolated_rows`, `longest_track_s`,
        `mean_track_s`, and (None where there is nothing to divide by):

        `tracks_per_minute`: of video.
        `tracks_per_shot_face`: tracks over the largest number of faces seen at once in each shot,
        summed over the shots; 1 is one track for each face.
        `short_fraction`: share of tracks shorter than 1 s that no cut ended.
        `id_switch_estimate`: share of the clearly seen embedded faces that follow one another in
        a track and are too unlike to be one person's; None without embeddings.
        `mean_score`: of the tracked detections.
        `faces_per_frame`: rows of tracks over frames.
        `frames_without_face`: share of frames in which none is tracked.
    """
    detect = steps["detect"]
    minutes = detect["duration_s"] / 60
    summary: dict[str, Any] = {"video_seconds": round(detect["duration_s"], 3)}
    summary |= {name: detect[name] for name in ("frames", "frames_lost", "shots", "detections")}
    summary["cuts_per_minute"] = _share(max(0, detect["shots"] - 1), minutes)
    if "track" in steps:
        track = steps["track"]
        summary |= {name: track[name] for name in ("tracks", "track_rows", "interpolated_rows")}
        summary |= {name: round(track[name], 3) for name in ("mean_track_s", "longest_track_s")}
        seen, score = _share(track["frames_with_face"], detect["frames"]), track["mean_score"]
        summary |= {
            "tracks_per_minute": _share(track["tracks"], minutes),
            "tracks_per_shot_face": _share(track["tracks"], track["faces_at_once"]),
            "short_fraction": _share(track["short_tracks"], track["tracks"]),
            "id_switch_estimate": _share(track["unlike_pairs"], track["embedded_pairs"]),
            "mean_score": None if score is None else round(score, 3),
            "faces_per_frame": _share(track["track_rows"], detect["frames"]),
            "frames_without_face": None if seen is None else round(1 - seen, 3),
        }
    return summary


def quality_warnings(steps: dict[str, dict[str, Any]]) -> list[str]:
    """What in a run's numbers looks wrong, and which option changes it; a line each."""
    if "track" not in steps:
        return []
    track, summary = steps["track"], summarize(steps)
    warnings = []
    # A rate over less than a minute says little: a second with one face has 60 tracks a minute.
    minutes = max(1.0, steps["detect"]["duration_s"] / 60)
    if track["tracks"] > MOST_TRACKS_PER_MINUTE * minutes:
        warnings.append(
            f"{summary['tracks_per_minute']:.1f} tracks a minute (usual: up to "
            f"{MOST_TRACKS_PER_MINUTE:.0f}): many people, false alarms or broken tracks; against "
            "these try a higher --min-score or --min-track-s, or a longer --max-gap-s"
        )
    short = summary["short_fraction"]
    if track["tracks"] >= _ENOUGH and short > MOST_SHORT:
        warnings.append(
            f"{short:.1%} of the tracks last less than a second though no cut ends them (usual: up "
            f"to {MOST_SHORT:.0%}): try {_looking_more_often(steps)}a longer --max-gap-s to join "
            "them, or a higher --min-track-s or --min-score to drop them"
        )
    switches = summary["id_switch_estimate"]
    if (track["embedded_pairs"] or 0) >= _ENOUGH and switches > MOST_ID_SWITCHES:
        other_tracker = "" if track["appearance"] else "--tracker strongsort, "
        warnings.append(
            f"{switches:.1%} of the faces that follow one another in a track look like different "
            f"people (usual: up to {MOST_ID_SWITCHES:.0%}): try {other_tracker}"
            f"{_looking_more_often(steps)}a shorter --max-gap-s, or a larger --min-face"
        )
    return warnings


def _looking_more_often(steps: dict[str, dict[str, Any]]) -> str:
    """Names the option, where not every frame is looked at already."""
    detect = steps["detect"]
    return "more --looks-per-s, " if detect["looks"] < detect["frames"] else ""


def _share(part: float | None, whole: float | None) -> float | None:
    return round(part / whole, 3) if whole and part is not None else None
