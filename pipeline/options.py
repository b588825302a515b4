"""Every knob of a run, in one model.

The command line, the Prefect form, the Python call and the options hash all come from `Options`.
A field left at None takes the value of the chosen profile; `Options.resolve` fills it in.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from pipeline.errors import OptionError
from pipeline.model_table import (
    DEFAULT_DETECTOR,
    DEFAULT_EMBEDDER,
    MODELS,
    Asset,
    Detector,
    Embedder,
)

ALGORITHM_VERSION = 8
"""Raised when the same options give other rows than before, so that old results count as stale."""


class Tracker(StrEnum):
    bytetrack = "bytetrack"
    strongsort = "strongsort"


class Profile(StrEnum):
    low_power = "low_power"
    balanced = "balanced"
    high_accuracy = "high_accuracy"


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    coreml = "coreml"
    openvino = "openvino"


class Zoom(StrEnum):
    off = "off"
    faces = "faces"
    picture = "picture"


PROFILE_DEFAULTS: dict[Profile, dict[str, Any]] = {
    Profile.low_power: {"looks_per_s": 2, "det_size": 640, "zoom": Zoom.faces, "cpu_threads": 1},
    Profile.balanced: {"looks_per_s": 3, "det_size": 640, "zoom": Zoom.faces},
    Profile.high_accuracy: {"stride": 1, "det_size": 640, "zoom": Zoom.picture},
}
"""What each profile puts in place of an option that was not given."""


def defaults_by_profile(name: str) -> str:
    """What a person is told of an option whose default the profile decides; else nothing."""
    values = {profile: v[name] for profile, v in PROFILE_DEFAULTS.items() if name in v}
    if not values:
        return ""
    if len(values) == len(PROFILE_DEFAULTS) and len({*values.values()}) == 1:
        return f"Default: {next(iter(values.values()))}."
    listed = ", ".join(f"{profile} {value}" for profile, value in values.items())
    return f"Default by profile: {listed}."


class Options(BaseModel):
    """What a person may choose for a run. None means: as the profile says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: Profile = Field(
        Profile.balanced,
        title="Profile",
        description="Sets the defaults of the other options; an option given explicitly wins.",
    )
    tracker: Tracker = Field(
        Tracker.bytetrack,
        title="Tracker",
        description="ByteTrack joins boxes by motion; StrongSORT by motion and face embeddings.",
    )
    looks_per_s: float | None = Field(
        None,
        ge=0.1,
        le=250,
        title="Looks per second",
        description="Look for faces so many times a second of video, whatever its frame rate; "
        "the frames between are filled in.",
    )
    stride: int | None = Field(
        None,
        ge=1,
        le=250,
        title="Stride",
        description="Look for faces in every Nth frame instead.",
    )
    det_size: int | None = Field(
        None,
        ge=64,
        le=4096,
        title="Detector size",
        description="Longer side, in pixels, of the picture the detector sees. Never upscaled.",
    )
    zoom: Zoom | None = Field(
        None,
        title="Zoom",
        description="What the detector sees again, 1.25 and 1.5 times as large: the faces it is "
        "unsure of, or all of the picture; off where a detector size is given.",
    )
    min_face: float = Field(
        16.0,
        ge=0,
        le=10_000,
        title="Smallest face",
        description="Faces whose longer side is below this many pixels of the stored frame "
        "are detected but not tracked.",
    )
    min_score: float = Field(
        0.6,
        ge=0,
        le=1,
        title="Best score of a track",
        description="A track is kept only where its best detection has at least this score, and "
        "its detections three quarters of it on average.",
    )
    min_track_s: float = Field(
        0.25,
        ge=0,
        le=60,
        title="Shortest track",
        description="Tracks shorter than this many seconds are dropped, unless a shot is as short.",
    )
    max_gap_s: float = Field(
        1.0,
        ge=0,
        le=60,
        title="Longest gap",
        description="A face hidden for up to this many seconds keeps its track; "
        "the gap is filled with interpolated rows.",
    )
    detector: Detector = Field(
        DEFAULT_DETECTOR,
        title="Detector",
        description="The network that finds faces; others than the default have to be pulled "
        "first: facetracks models list.",
    )
    embedder: Embedder = Field(
        DEFAULT_EMBEDDER,
        title="Embedder",
        description="The network whose face embeddings StrongSORT compares; others than the "
        "default have to be pulled first.",
    )
    device: Device = Field(
        Device.auto,
        title="Device",
        description="Where the networks run; auto takes the best one present.",
    )
    cpu_threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        title="CPU threads",
        description="CPUs the whole process tree may keep busy. "
        "Default: those this process may use.",
    )
    max_cpu_percent: int = Field(
        100,
        ge=1,
        le=100,
        title="CPU percent",
        description="Share of the CPU time of its threads that the work may use, on average; "
        "below 100 it pauses now and then.",
    )
    max_temperature: int | None = Field(
        None,
        ge=30,
        le=120,
        title="Highest temperature",
        description="Degrees Celsius of the CPU at which the work pauses until it has cooled down "
        "by 5; without effect where the machine reports none.",
    )
    nice: int = Field(
        0,
        ge=0,
        le=19,
        title="Niceness",
        description="Priority of the work's processes: 19 leaves the CPUs to whatever else "
        "wants them.",
    )

    @model_validator(mode="after")
    def _one_pace(self) -> Self:
        if self.looks_per_s is not None and self.stride is not None:
            raise PydanticCustomError("two_paces", "looks_per_s and stride: give one of them")
        return self

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """Options from plain values, or an `OptionError` that names the option and its range."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            if not first["loc"]:
                raise OptionError(first["msg"]) from None
            name = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                known = ", ".join(cls.model_fields)
                raise OptionError(f"unknown option '{name}': choose from {known}") from None
            raise OptionError(f"{name}: {first['msg']} (got {first['input']!r})") from None

    def resolve(self) -> ResolvedOptions:
        """These options with the profile's values in place of None."""
        given = self.model_dump(exclude_none=True)
        if "det_size" in given:
            # Who names a size means that size.
            given.setdefault("zoom", Zoom.off)
        return ResolvedOptions(**overridden(PROFILE_DEFAULTS[self.profile], given))


_PACES = ("looks_per_s", "stride")
"""Two ways to say the same: how often faces are looked for."""


def overridden(options: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    """Options with those of `by` in their place, the one pace by the other too."""
    if any(by.get(name) is not None for name in _PACES):
        options = {name: value for name, value in options.items() if name not in _PACES}
    return {**options, **by}


DETECT_FIELDS = ("looks_per_s", "stride", "det_size", "zoom", "detector", "embedder")
"""The options that detections keep when they are tracked again."""


class ResolvedOptions(Options):
    """Options without None for what the profile decides; `cpu_threads` may be None (all).

    Either `looks_per_s` or `stride` is None.
    """

    det_size: int = Field(ge=1)
    zoom: Zoom

    @property
    def start_score(self) -> float:
        """The score from which on a detection may start a track.

        At the default `min_score`, 0.45 to 0.55 give the same IDF1 within 0.002 on the truth
        episodes; at 0.6, faces that come near are followed a second too late.
        """
        return self.min_score * 5 / 6

    @property
    def embeds(self) -> bool:
        """Whether detection computes face embeddings for the tracker."""
        return self.tracker is Tracker.strongsort

    def detect_options(self) -> dict[str, Any]:
        """The options that decide the rows of the detections."""
        return {name: getattr(self, name) for name in (*_PACES, "det_size", "zoom")}

    def networks(self) -> dict[str, Asset]:
        """The networks that detection runs: `detector`, and where it embeds `embedder`.

        They enter the options hash by the sha256 of their weights, not by name.
        """
        used = {"detector": MODELS[self.detector]}
        return used | ({"embedder": MODELS[self.embedder]} if self.embeds else {})

    def track_options(self) -> dict[str, Any]:
        """The options that decide the tracks, given the detections."""
        names = ("tracker", "min_face", "min_score", "min_track_s", "max_gap_s")
        return {name: getattr(self, name) for name in names}


def options_hash(options: dict[str, Any], *parts: str) -> str:
    """A short hash of options and of what else decides the result (model hashes, other hashes)."""
    text = json.dumps([ALGORITHM_VERSION, options, parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
