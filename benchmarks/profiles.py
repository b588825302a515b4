"""Figure 7: times real time of each profile, on television's usual format."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

from benchmarks.media import WORK, Clip
from benchmarks.processes import Usage, facetracks, usage
from benchmarks.report import Figure

TARGETS = {"low_power": 9.0, "balanced": 15.0, "high_accuracy": 0.0}
"""Times real time, on two cores (`low_power` keeps to one)."""


def measure(clip: Clip, rounds: int) -> list[Figure]:
    """The long clip less the short one, for each profile in turns; medians.

    Raises:
        BenchError: a command failed.
    """
    found: dict[str, list[tuple[Usage, Usage]]] = {profile: [] for profile in TARGETS}
    for _ in range(rounds):
        for profile, pairs in found.items():
            pairs.append((_run(clip.short, profile), _run(clip.long, profile)))
    video_s = clip.long_s * (1 - clip.short_loops / clip.long_loops)
    frames = _frames(clip.long) - _frames(clip.short)
    return [
        Figure(
            f"7. times real time, {profile}, {clip.name}",
            median(video_s / (long.wall_s - short.wall_s) for short, long in pairs),
            at_least=TARGETS[profile],
            detail={
                "clip": clip.name,
                "clip_s": round(clip.long_s, 1),
                "cpu_ms_per_frame": round(
                    median((long.cpu_s - short.cpu_s) / frames * 1000 for short, long in pairs), 2
                ),
                "peak_memory_mib": round(max(long.peak_bytes for _, long in pairs) / 2**20),
                "rounds": [
                    round(video_s / (long.wall_s - short.wall_s), 2) for short, long in pairs
                ],
            },
        )
        for profile, pairs in found.items()
    ]


def _run(video: Path, profile: str) -> Usage:
    command = [facetracks(), "run", str(video), "--profile", profile, "--force"]
    return usage([*command, "--output-root", str(WORK / "output-profiles")], memory=True)


def _frames(video: Path) -> int:
    record = WORK / "output-profiles" / video.stem / "run.json"
    return int(json.loads(record.read_text(encoding="utf-8"))["summary"]["frames"])
