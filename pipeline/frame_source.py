"""Which frames to look at, with their shots; every decoded frame goes to the frames table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import inf

from pipeline.changes import Transition
from pipeline.options import ResolvedOptions
from pipeline.shots import with_shots
from pipeline.tables import TableWriter
from pipeline.transition_faces import KEEP_EVERY_S
from pipeline.transitions import TransitionFinder
from pipeline.video import Frame, VideoInfo, VideoReader

_FRAMES_PER_WRITE = 256


@dataclass(slots=True)
class Look:
    """A frame to search for faces.

    Attributes:
        number: of the look, from 0.
        keeps: whether its faces are kept, should a transition come.
        settled: the transitions that are over since the look before.
    """

    number: int
    frame: Frame
    shot_id: int
    keeps: bool
    settled: list[Transition]


class LookTimes:
    """Says of each frame, in order, whether it is time to look.

    Looks so many a second are counted from the start of the shot, each in the frame nearest to its
    time: a shot has the same ones wherever it stands, and nearly so at another frame rate.
    """

    def __init__(self, options: ResolvedOptions, frame_rate: Fraction) -> None:
        self._looks_per_s, self._stride = options.looks_per_s, options.stride
        self._half_frame_s = 0.5 / float(frame_rate)
        self._shot_start_s = 0.0
        self._last = -1

    def due(self, frame_index: int, pts_s: float, starts_shot: bool) -> bool:
        if self._looks_per_s is None:
            assert self._stride is not None, "one of the two is given"
            return frame_index % self._stride == 0
        if starts_shot:
            self._shot_start_s, self._last = pts_s, -1
        in_shot_s = pts_s - self._shot_start_s
        number = int((in_shot_s + self._half_frame_s) * self._looks_per_s)
        due, self._last = number > self._last, max(number, self._last)
        return due


class FrameSource:
    """The frames to look at, in order. Every decoded frame is written to the frames table.

    Looked at are the frames that are due, and the first and last of each shot: a face that is
    there when a shot begins or ends has its track from there or to there.
    """

    def __init__(
        self, reader: VideoReader, info: VideoInfo, options: ResolvedOptions, ep_id: str
    ) -> None:
        self.read = 0
        self.last_pts_s = 0.0
        self.shots = 0
        self._look_times = LookTimes(options, info.frame_rate)
        self._ep_id = ep_id
        self.transitions = TransitionFinder()
        self._shot_frames = with_shots(
            reader.frames(), info.frame_rate, info.time_base, self.transitions
        )
        self._pending: list[tuple[int, float, int, bool]] = []

    def looks(self, frames_table: TableWriter) -> Iterator[Look]:
        looks, kept_s = 0, -inf
        for item in self._shot_frames:
            frame = item.frame
            due = self._look_times.due(frame.index, frame.pts_s, item.starts_shot)
            looked_at = due or item.starts_shot or item.ends_shot
            self._pending.append((frame.index, frame.pts_s, item.shot_id, looked_at))
            self.read, self.last_pts_s = frame.index + 1, frame.pts_s
            self.shots = item.shot_id + 1
            if len(self._pending) == _FRAMES_PER_WRITE:
                self._write(frames_table)
            if looked_at:
                keeps = frame.pts_s - kept_s >= KEEP_EVERY_S
                kept_s = frame.pts_s if keeps else kept_s
                settled = self.transitions.settled(frame.pts_s)
                yield Look(looks, frame, item.shot_id, keeps, settled)
                looks += 1
        self._write(frames_table)

    def _write(self, frames_table: TableWriter) -> None:
        if not self._pending:
            return
        index, pts_s, shot_id, looked_at = zip(*self._pending, strict=True)
        self._pending.clear()
        frames_table.append(
            {
                "ep_id": [self._ep_id] * len(index),
                "frame_index": index,
                "pts_s": pts_s,
                "shot_id": shot_id,
                "looked_at": looked_at,
            }
        )
