"""The clips that are measured: real ones where they are present, looped without re-encoding."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import av

from pipeline.models import SAMPLE, pull
from pipeline.video import probe

ROOT = Path(__file__).resolve().parent.parent
"""The repository."""

WORK = ROOT / "benchmarks" / ".work"
"""Looped clips and outputs of the runs; not under version control."""

DATA = ROOT.parent / "shared" / "data"
"""Evaluation media, present on some machines only."""

_REAL = {
    "640x360": DATA / "clips" / "pyfeat_WolfgangLanger_Pexels.mp4",
    "1280x720": DATA / "truth" / "episode11.mp4",
}

LONG_S = 60.0
"""A long clip lasts at least this many seconds."""

_SHORT_S = 30.0
"""A short clip lasts about this many seconds: content below it is shown twice."""


@dataclass(frozen=True)
class Clip:
    """One content in several lengths.

    Attributes:
        name: its picture size, or that it is the packaged sample.
        once: the content once.
        short, long: the content `short_loops` and `long_loops` times; `long` lasts at least
            `LONG_S` seconds.
        long_s: length of `long`, seconds.
    """

    name: str
    once: Path
    short: Path
    long: Path
    short_loops: int
    long_loops: int
    long_s: float


def clips() -> list[Clip]:
    """The real clips that are present, smallest first; without any, the packaged sample.

    Raises:
        ModelError: there is no real clip, and the sample cannot be had.
    """
    sources = {name: path for name, path in _REAL.items() if path.is_file()}
    if not sources:
        sources = {"packaged sample": pull(SAMPLE)}
    return [_clip(name, path) for name, path in sources.items()]


def _clip(name: str, source: Path) -> Clip:
    duration_s = probe(source).duration_s or 1.0
    short_loops = 1 if duration_s >= _SHORT_S else 2
    long_loops = max(short_loops + 2, ceil(LONG_S / duration_s))
    WORK.mkdir(parents=True, exist_ok=True)
    # The content once is written anew too: the same packets in the same container.
    paths = {times: WORK / f"{source.stem}-x{times}.mp4" for times in (1, short_loops, long_loops)}
    for times, path in paths.items():
        _loop(source, times, path)
    once, short, long = paths[1], paths[short_loops], paths[long_loops]
    return Clip(name, once, short, long, short_loops, long_loops, duration_s * long_loops)


def truths() -> list[tuple[Path, Path]]:
    """Video and truth of each truth episode that is present."""
    found = sorted((DATA / "truth").glob("*.truth.csv"))
    return [(truth.with_name(truth.name.replace(".truth.csv", ".mp4")), truth) for truth in found]


def looped(clip: Clip, seconds: float) -> Path:
    """The clip's content so often that it lasts about that long."""
    times = round(seconds / (clip.long_s / clip.long_loops))
    target = clip.once.with_name(f"{clip.name}-{round(seconds)}s.mp4")
    if not target.exists():
        _loop(clip.once, times, target)
    return target


def head(source: Path, seconds: float) -> Path:
    """The first seconds of a file of ours, up to a packet, without encoding anything again."""
    target = source.with_name(f"{source.stem}-first.mp4")
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.dts is None or float(packet.dts * (stream.time_base or 0)) >= seconds:
                break
            packet.stream = copy
            output.mux(packet)
    return target


def _loop(source: Path, times: int, target: Path) -> None:
    """Writes the packets of the video stream `times` times over, each time with later clocks."""
    with av.open(str(target), "w") as output:
        copy = None
        shift = 0
        for _ in range(times):
            with av.open(str(source)) as container:
                stream = container.streams.video[0]
                if copy is None:
                    copy = output.add_stream_from_template(stream)
                first, end = None, 0
                for packet in container.demux(stream):
                    if packet.dts is None or packet.pts is None:
                        continue
                    first = packet.pts if first is None else min(first, packet.pts)
                    end = max(end, packet.pts + (packet.duration or 1))
                    packet.pts += shift
                    packet.dts += shift
                    packet.stream = copy
                    output.mux(packet)
                shift += end - (first or 0)
