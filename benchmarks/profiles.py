"""Figure 7: times real time of each profile, on television's usual format."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from benchmarks.media import WORK, Clip
from benchmarks.processes import OPENVINO, facetracks, on_openvino, usage, wall_s
from benchmarks.report import Figure
from pipeline.lost_frames import count_frames

TARGETS = {"low_power": 9.0, "balanced": 15.0, "high_accuracy": None}
"""Times real time, on two cores (`low_power` keeps to one)."""

_OPENVINO = ", OpenVINO"


def measure(clip: Clip, rounds: int) -> list[Figure]:
    """The long clip less the short one, for each profile in turns; medians.

    Times are taken with nobody watching: reading the memory of the processes costs some.

    Raises:
        BenchError: a command failed.
    """
    video_s = clip.long_s * (1 - clip.short_loops / clip.long_loops)
    times: dict[str, list[float]] = {profile: [] for profile in TARGETS}
    if OPENVINO.is_dir():
        times |= {profile + _OPENVINO: [] for profile in TARGETS}
    for _ in range(rounds):
        for way, found in times.items():
            short_s, long_s = (wall_s(_command(video, way)) for video in (clip.short, clip.long))
            found.append(video_s / (long_s - short_s))
    return [
        Figure(
            f"7. times real time, {way}, {clip.name}",
            median(found),
            at_least=TARGETS.get(way),
            detail={
                "clip": clip.name,
                "clip_s": round(clip.long_s, 1),
                "rounds": [round(each, 2) for each in found],
                **_watched(clip, way),
            },
        )
        for way, found in times.items()
    ]


def _watched(clip: Clip, way: str) -> dict[str, float]:
    """CPU time and memory, of one more run each."""
    short, long = (usage(_command(video, way), memory=True) for video in (clip.short, clip.long))
    frames = count_frames(clip.long) - count_frames(clip.short)
    return {
        "cpu_ms_per_frame": round((long.cpu_s - short.cpu_s) / frames * 1000, 2),
        "peak_memory_mib": round(long.peak_bytes / 2**20),
    }


def _command(video: Path, way: str) -> list[str]:
    profile = way.removesuffix(_OPENVINO)
    command = [facetracks(), "run", str(video), "--profile", profile, "--force"]
    command += ["--output-root", str(WORK / "output-profiles")]
    return command if way == profile else on_openvino(command)
