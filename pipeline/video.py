"""A video file: what it holds, and its frames with their true presentation times.

All through PyAV, FFmpeg's own view of a file. Most frames are looked at by the cut detector alone,
for which their brightness does, as the decoder leaves it: only a frame in which faces are looked
for becomes a picture of three colours, which costs half as much as decoding it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import VideoError

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

Image = NDArray[np.uint8]
"""A picture: `(H, W, 3)` uint8, BGR."""

Grey = NDArray[np.uint8]
"""A picture's brightness: `(H, W)` uint8."""


@dataclass(frozen=True)
class VideoInfo:
    """What the container says of its video stream.

    Attributes:
        codec: FFmpeg's name of the decoder.
        frame_rate: average frames per second, exact.
        time_base: seconds per tick of the stream's clock.
        start_pts: tick of the first frame on the container's clock.
        duration_s: seconds, or None where the container does not say.
        frame_count: frames the header promises, or None where it does not say.
    """

    codec: str
    frame_rate: Fraction
    time_base: Fraction
    start_pts: int
    duration_s: float | None
    frame_count: int | None

    def as_record(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "frame_rate": str(self.frame_rate),
            "time_base": str(self.time_base),
            "start_s": float(self.start_pts * self.time_base),
        }

    @property
    def expected_frames(self) -> int | None:
        """Frames to expect, for progress: the header's count, or duration times rate."""
        if self.frame_count:
            return self.frame_count
        if self.duration_s is None:
            return None
        return max(1, round(self.duration_s * self.frame_rate))


def probe(path: Path) -> VideoInfo:
    """Reads the container's header.

    Raises:
        VideoError: it is no media file, is cut off before its index, has no video stream, or one
            in a codec for which there is no decoder.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path} holds no video stream (audio only?): give a video file")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError(f"{path} is in a codec nobody here knows: convert it to H.264")
            duration = stream.duration
            if duration is not None and stream.time_base is not None:
                seconds: float | None = float(duration * stream.time_base)
            elif container.duration is not None:
                seconds = container.duration / av.time_base
                if "matroska" in container.format.name and stream.time_base is not None:
                    # Matroska's duration counts from 0, not from the first frame.
                    seconds -= max(0.0, float((stream.start_time or 0) * stream.time_base))
            else:
                seconds = None
            rate = stream.average_rate or stream.base_rate or Fraction(25)
            return VideoInfo(
                codec=stream.codec_context.name,
                frame_rate=Fraction(rate),
                time_base=Fraction(stream.time_base or Fraction(1, 1000)),
                start_pts=stream.start_time or 0,
                duration_s=seconds,
                frame_count=stream.frames or None,
            )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(
            f"{path} is not a video that can be read ({reason}): "
            "it may be cut off, damaged or no video at all; copy it again or convert it"
        ) from None


class Frame:
    """One decoded frame.

    Attributes:
        index: 0-based, in the order of decoding.
        pts: presentation time in ticks of the stream.
        pts_s: the same in seconds on the container's clock, as ffprobe prints `pts_time`.
    """

    __slots__ = ("_decoded", "index", "pts", "pts_s")

    def __init__(self, index: int, pts: int, pts_s: float, decoded: av.VideoFrame) -> None:
        self.index, self.pts, self.pts_s = index, pts, pts_s
        self._decoded = decoded

    def brightness(self) -> Grey:
        """`(H, W)` uint8 luma as it is stored: not turned upright, and mostly from 16 to 235."""
        decoded = self._decoded
        if decoded.format.name not in _EIGHT_BIT_LUMA:
            decoded = _reformatter().reformat(decoded, format="gray", threads=1)
        return _rows(decoded, 1)

    def picture(self) -> Image:
        """The upright picture, `(H, W, 3)` uint8 BGR. Made anew by each call, in any thread."""
        coloured = _reformatter().reformat(self._decoded, format="bgr24", threads=1)
        height, width = coloured.height, coloured.width
        image = _rows(coloured, 3).reshape(height, width, 3)
        turned = _UPRIGHT.get(self._decoded.rotation % 360)
        return image if turned is None else np.asarray(cv2.rotate(image, turned), np.uint8)


_EIGHT_BIT_LUMA = frozenset(
    f"{kind}{ratio}p" for kind in ("yuv", "yuvj") for ratio in ("420", "422", "444", "440", "411")
) | {"nv12", "nv21", "gray"}
"""Pixel formats whose first plane is one byte of luma a pixel."""

_UPRIGHT = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_CLOCKWISE,
}
"""How to turn a picture by the degrees the container says, counterclockwise."""

_local = threading.local()


def _reformatter() -> VideoReformatter:
    """This thread's own: it keeps what it has set up for the last frame's format."""
    if not hasattr(_local, "reformatter"):
        from av.video.reformatter import VideoReformatter

        _local.reformatter = VideoReformatter()
    return cast("VideoReformatter", _local.reformatter)


def _rows(decoded: av.VideoFrame, channels: int) -> NDArray[np.uint8]:
    """The first plane's pixels, `(H, W * channels)`, without a copy."""
    plane = decoded.planes[0]
    rows = np.asarray(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: decoded.height, : decoded.width * channels]


_BAD_READS_IN_A_ROW = 2000
"""After so many damaged packets in a row it is the end."""


class VideoReader:
    """Decodes a file frame by frame. A context manager; use from one thread at a time.

    Raises:
        VideoError: at the end of the frames, where none could be decoded.
    """

    def __init__(self, path: Path, info: VideoInfo, decoder_threads: int = 1) -> None:
        self.path = path
        self.info = info
        self.irregular_times = 0
        """Frames whose time did not increase and was set one frame after the one before."""
        self._threads = decoder_threads
        self._frame_ticks = max(1, round(1 / info.frame_rate / info.time_base))

    def __enter__(self) -> VideoReader:
        import av

        av.logging.set_level(av.logging.PANIC)  # What is wrong with a file is said once, by us.
        self._container = av.open(str(self.path))
        self._stream = self._container.streams.video[0]
        decoder = self._stream.codec_context
        decoder.thread_count = self._threads
        decoder.thread_type = "AUTO"
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """What can be decoded of the file, damaged packets left out."""
        import av

        failures = 0
        packets = self._container.demux(self._stream)
        while failures < _BAD_READS_IN_A_ROW:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                failures += 1
                packets = self._container.demux(self._stream)
                continue
            try:
                for frame in packet.decode():
                    failures = 0
                    yield frame
            except av.error.FFmpegError:
                failures += 1

    def frames(self) -> Iterator[Frame]:
        """All frames, in order."""
        index, last_pts = 0, None
        last_read = latest = 0
        for decoded in self._decoded():
            # Without a time of its own, as in a raw stream, a frame follows the one before.
            stored = decoded.dts if decoded.pts is None else decoded.pts
            read_pts = pts = self.info.start_pts if stored is None else stored
            if last_pts is not None and pts <= last_pts:
                # A frame that comes late, or the first after it, must not push all others on.
                late = pts < last_read or pts > latest
                pts = last_pts + (1 if late else self._frame_ticks)
                self.irregular_times += 1
            last_pts, last_read, latest = pts, read_pts, max(latest, read_pts)
            yield Frame(index, pts, float(pts * self.info.time_base), decoded)
            index += 1
        if index == 0:
            raise VideoError(
                f"{self.path} ({self.info.codec}) has no frame that can be decoded: "
                "it may be damaged; copy it again or convert it to H.264"
            )
