"""Small odd videos for the tests, made from real frames with FFmpeg's encoders (PyAV)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""A picture: `(H, W, 3)` uint8, BGR."""

TICKS_PER_S = 90_000
"""Clock of the videos made here: exact for every usual frame rate."""

FASTSTART = {"movflags": "faststart"}
"""Container option of MP4: the index comes first, so that a cut-off file can still be opened."""


_FIXED_RATE = ("mpeg4", "mpeg2video")
"""Encoders that know no other clock than the frame rate."""


def decode(path: Path) -> Iterator[tuple[float, Image]]:
    """PyAV's own decode, the tests' reference: each frame's time in seconds, and its picture."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.pts is not None and frame.time_base is not None
            image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            yield float(frame.pts * frame.time_base), image


def pictures(path: Path, count: int) -> list[Image]:
    """The first `count` frames of a video."""
    return [image for (_, image), _ in zip(decode(path), range(count), strict=False)]


def pan(count: int, width: int = 176, height: int = 144) -> list[Image]:
    """A camera that moves over blurred colours: one shot, and nothing like a face."""
    random = np.random.default_rng(0)
    coarse = random.integers(40, 216, (height // 16 + 2, (width + count) // 16 + 2, 3), np.uint8)
    wide = cv2.resize(coarse, None, fx=16, fy=16, interpolation=cv2.INTER_CUBIC)
    return [np.asarray(wide[:height, i : i + width], np.uint8) for i in range(count)]


def scaled(images: Iterable[Image], width: int, height: int) -> list[Image]:
    """The pictures in another size."""
    return [np.asarray(cv2.resize(image, (width, height)), np.uint8) for image in images]


def even_ticks(count: int, fps: Fraction | int = 25, start_s: float = 0.0) -> list[int]:
    """Presentation times of a constant frame rate, in ticks."""
    return [round(start_s * TICKS_PER_S) + round(i * TICKS_PER_S / fps) for i in range(count)]


def write_video(
    path: Path,
    images: Sequence[Image],
    ticks: Sequence[int] | None = None,
    *,
    fps: Fraction | int = 25,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rotation: int = 0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encodes pictures of one size.

    Args:
        ticks: presentation time of each picture, in 1/90000 s; default: evenly, from 0.
        rotation: degrees, counterclockwise, by which a player has to turn the picture.
        options: of the encoder. H.264 is quick to encode, near lossless, a key frame every 12.
        container_options: of the muxer, such as `FASTSTART`.
    """
    ticks = even_ticks(len(images), fps) if ticks is None else ticks
    if options is None:
        options = {"preset": "ultrafast", "crf": "12", "g": "12"} if codec == "libx264" else {}
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        stream.options = options
        if codec not in _FIXED_RATE:
            stream.codec_context.time_base = Fraction(1, TICKS_PER_S)
        if rotation:
            stream.set_display_rotation(rotation)
        for image, tick in zip(images, ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            frame.pts, frame.time_base = tick, Fraction(1, TICKS_PER_S)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_audio(path: Path, seconds: float = 1.0) -> Path:
    """A file with sound and no picture."""
    rate = 44_100
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate)
        time_s = np.arange(int(seconds * rate)) / rate
        samples = np.sin(2 * np.pi * 440 * time_s).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def packets(path: Path) -> list[tuple[int, int]]:
    """Position and size in bytes of each video packet, in the order of the file."""
    with av.open(str(path)) as container:
        demuxed: Iterable[Any] = container.demux(container.streams.video[0])
        return [(packet.pos, packet.size) for packet in demuxed if packet.size]


def readable(path: Path) -> int:
    """Frames of a damaged file that FFmpeg can decode, when it goes on after each error."""
    frames = 0
    with av.open(str(path)) as container, suppress(av.error.FFmpegError):
        for packet in container.demux(container.streams.video[0]):
            with suppress(av.error.FFmpegError):
                frames += len(packet.decode())
    return frames


def cut_off(path: Path, target: Path, size: int) -> Path:
    """The first `size` bytes of a file."""
    target.write_bytes(path.read_bytes()[:size])
    return target


def cut_at_frame(path: Path, target: Path, frames: int, extra: float = 0.0) -> Path:
    """A file that ends after `frames` packets and a part, `extra`, of the next one."""
    position, size = packets(path)[frames]
    return cut_off(path, target, position + int(extra * size))


def spoil(path: Path, target: Path, first: int, count: int) -> Path:
    """A file in which `count` packets from number `first` on are zeros, as from a bad sector."""
    content = bytearray(path.read_bytes())
    for position, size in packets(path)[first : first + count]:
        content[position : position + size] = bytes(size)
    target.write_bytes(content)
    return target
