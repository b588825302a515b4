"""Tracks against exact truth: every tracker, profile and usual stride, on the truth episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.media import WORK, truths
from benchmarks.processes import BenchError
from benchmarks.report import Figure
from flows import run_detect_track
from pipeline.evaluate import Evaluation, evaluate
from pipeline.options import Options, Profile, ResolvedOptions, Tracker
from pipeline.truth import read_tracks, read_truth

STRIDES = (1, 3, 6)
"""Measured with every profile, beside its own."""

_COLUMNS = ("HOTA", "IDF1", "mixed", "tracks/id.", "MOTA")


@dataclass
class Variant:
    """Options, and how a person comes by them.

    Attributes:
        profiles: those whose options these are, at the pace given; their own pace is marked.
    """

    options: ResolvedOptions
    profiles: list[str]

    @property
    def name(self) -> str:
        options = self.options
        pace = f"stride {options.stride}" if options.stride else f"{options.looks_per_s:g} looks/s"
        return f"{options.tracker}, {pace}, zoom {options.zoom}"


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Scores every variant on every truth episode there is, and says each row of the table.

    Faces are found once for each pace and zoom, with embeddings, and
    tracked again for each tracker.

    Raises:
        BenchError: a run failed.
    """
    episodes = truths()
    if not episodes:
        say("quality: left out, for want of the evaluation media")
        return []
    say(f"{'episode, tracker, pace, zoom':<44}" + "".join(f"{c:>11}" for c in _COLUMNS))
    figures = []
    for video, truth in episodes:
        for variant, found in scores(video, truth, _variants()):
            name = f"{video.stem}, {variant.name}"
            # A star marks the profile whose own pace it is.
            say(f"{name:<44}{_cells(found)}   {', '.join(variant.profiles)}")
            figures.append(_figure(name, video.stem, variant, found))
    return figures


def _cells(found: Evaluation) -> str:
    per_identity = found.tracks_per_identity or 0.0
    numbers = (found.hota, found.idf1, found.mixed_tracks, per_identity, found.mota)
    texts = (f"{each:.3f}" if isinstance(each, float) else str(each) for each in numbers)
    return "".join(f"{text:>11}" for text in texts)


def _variants() -> list[Variant]:
    """Each combination once: profiles differ in little else than pace and zoom."""
    found: dict[str, Variant] = {}
    for tracker in Tracker:
        for profile in Profile:
            own = Options(profile=profile, tracker=tracker).resolve()
            for stride in (None, *STRIDES):
                options = Options(profile=profile, tracker=tracker, stride=stride).resolve()
                key = repr((options.detect_options(), options.track_options()))
                variant = found.setdefault(key, Variant(options, []))
                if stride is None or stride != own.stride:
                    variant.profiles.append(f"{profile}{'*' * (stride is None)}")
    return sorted(found.values(), key=lambda v: (v.options.zoom, v.options.stride or 0))


def own_variants() -> list[Variant]:
    """Each profile with each tracker, nothing else given."""
    return [
        Variant(Options(profile=profile, tracker=tracker).resolve(), [f"{profile}*"])
        for profile in Profile
        for tracker in Tracker
    ]


def scores(
    video: Path, truth: Path, variants: list[Variant]
) -> Iterator[tuple[Variant, Evaluation]]:
    """Runs each variant on a video.

    Raises:
        BenchError: a run failed.
    """
    known = read_truth(truth)
    detected = set()
    for variant in variants:
        options = variant.options
        detect = options.detect_options()
        root = WORK / "output-quality" / "-".join(f"{name}{v}" for name, v in detect.items())
        looks = {"profile": options.profile, **detect, "output_root": root}
        # StrongSORT's detections have embeddings, and serve both trackers. They are made anew in
        # every run: nothing about stored ones tells which code they are of.
        if root not in detected:
            _run(video, operation="detect", tracker=Tracker.strongsort, force=True, **looks)
            detected.add(root)
        track = options.track_options()
        answer = _run(None, operation="track", ep_id=video.stem, force=True, **looks, **track)
        yield variant, evaluate(read_tracks(Path(answer["outputs"]["tracks"])), known)


def _run(video: Path | None, **request: Any) -> dict[str, Any]:
    answer: dict[str, Any] = run_detect_track(video, **request)
    if answer["status"] != "completed":
        raise BenchError(f"{request['operation']} of {video}: {answer['error']['message']}")
    return answer


def _figure(name: str, episode: str, variant: Variant, found: Evaluation) -> Figure:
    options = variant.options
    detail = {
        "episode": episode,
        "tracker": options.tracker.value,
        "looks_per_s": options.looks_per_s,
        "stride": options.stride,
        "zoom": options.zoom.value,
        "profiles": variant.profiles,
    }
    return Figure(f"HOTA, {name}", found.hota, detail=detail | found.as_record())
