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

_DATA = ROOT.parent / "shared" / "data"
"""Evaluation media, present on some machines only."""

_REAL = {
    "640x360": _DATA / "clips" / "pyfeat_WolfgangLanger_Pexels.mp4",
    "1280x720": _DATA / "truth" / "episode11.mp4",
}

LONG_S = 60.0
"""A long clip lasts at least this many seconds."""

_LEAST_LOOPS = 2


@dataclass(frozen=True)
class Clip:
    """One content in two lengths.

    Attributes:
        name: its picture size, and for the packaged sample that it is one.
        short: the content once.
        long: the content `loops` times, at least `LONG_S` seconds.
        long_s: length of `long`, seconds.
    """

    name: str
    short: Path
    long: Path
    loops: int
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
    loops = max(_LEAST_LOOPS, ceil(LONG_S / duration_s))
    WORK.mkdir(parents=True, exist_ok=True)
    short, long = (WORK / f"{source.stem}-x{times}.mp4" for times in (1, loops))
    # The short one is written anew too, so that both are the same packets in the same container.
    _loop(source, 1, short)
    _loop(source, loops, long)
    return Clip(name, short, long, loops, duration_s * loops)


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
