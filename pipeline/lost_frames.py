"""How much of a video file could not be read: its packets against what the container promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import VideoError
from pipeline.video import VideoInfo

if TYPE_CHECKING:
    from av.container import InputContainer

_MISSING_S = 1.0
"""Less than this at the end is no loss: containers state durations roughly."""


def count_frames(path: Path) -> int:
    """Frames that a whole decode would show: packets of the stream, without those it discards.

    Reads the file once without decoding.

    Raises:
        VideoError: it cannot be opened.
    """
    return _packets(path).shown


def lost_frames(path: Path, info: VideoInfo, read: int, last_pts_s: float) -> int:
    """How many frames of the file could not be read, 0 for a sound file.

    Counted where the container lists its frames, else estimated from its duration.

    Raises:
        VideoError: it cannot be opened any more.
    """
    if info.frame_count is not None:
        if read >= info.frame_count:
            return 0
        packets = _packets(path)
        end_s = last_pts_s - float(info.start_pts * info.time_base) + 1.5 / float(info.frame_rate)
        # AVI counts frames that were left out, too: there, time says that the end was reached.
        reached_end = end_s >= info.frame_count / float(info.frame_rate)
        # Else all that the header promises is in the file, and some is meant to be hidden.
        if read >= packets.shown and (reached_end or packets.found >= info.frame_count):
            return 0
        return max(packets.shown, info.frame_count) - read
    if info.duration_s is None:
        return max(0, count_frames(path) - read)
    end_s = last_pts_s - float(info.start_pts * info.time_base) + float(1 / info.frame_rate)
    missing_s = info.duration_s - end_s
    if missing_s <= _MISSING_S or _other_streams_go_on(path, info):
        return 0
    return round(missing_s * info.frame_rate)


@dataclass(frozen=True)
class _Packets:
    """Of the video stream: those there are, and those that are meant to be shown."""

    found: int
    shown: int


def _packets(path: Path) -> _Packets:
    import av

    found = shown = 0
    with _opened(path) as container:
        try:
            for packet in container.demux(container.streams.video[0]):
                found += packet.size > 0
                shown += packet.size > 0 and not packet.is_discard
        except av.error.FFmpegError:
            pass  # The broken tail is what the caller wants to know the size of.
    return _Packets(found, shown)


def _other_streams_go_on(path: Path, info: VideoInfo) -> bool:
    """Whether sound, say, reaches the end that the container states: so the file is whole.

    A container's duration is that of its longest stream.
    """
    import av

    assert info.duration_s is not None
    start_s = float(info.start_pts * info.time_base)
    last_s = start_s
    with _opened(path) as container:
        try:
            for packet in container.demux():
                if packet.pts is not None and packet.time_base is not None:
                    end = (packet.pts + (packet.duration or 0)) * packet.time_base
                    last_s = max(last_s, float(end))
        except av.error.FFmpegError:
            return False
    return last_s - start_s >= info.duration_s - _MISSING_S


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    import av

    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or error
        raise VideoError(
            f"{path} cannot be read any more ({reason}): check the disk it is on"
        ) from None
    with container:
        yield container
