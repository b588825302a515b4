"""Hard cuts, found while the frames go by: no second decode.

PySceneDetect's `AdaptiveDetector` compares each frame's change with that of its neighbours, so
it stays quiet while the camera moves; it therefore speaks two frames late, and this stage hands
frames on with the same delay. It sees brightness alone: hue is noise where a picture is dark.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.common import Timecode
from scenedetect.detectors import AdaptiveDetector

from pipeline.transitions import TransitionFinder
from pipeline.video import Frame, Image

MIN_SHOT_S = 0.25
"""A new shot cannot start this many seconds after the last one: flashes and single bad frames."""

_WIDTH = 256
"""Pixels of width the cut detector sees."""


@dataclass(slots=True)
class ShotFrame:
    """A frame and the 0-based number of the shot it belongs to."""

    frame: Frame
    shot_id: int
    starts_shot: bool
    ends_shot: bool = False


def with_shots(
    frames: Iterable[Frame],
    frame_rate: Fraction,
    time_base: Fraction,
    transitions: TransitionFinder | None = None,
) -> Iterator[ShotFrame]:
    """The same frames, each with its shot, a few frames late.

    Args:
        transitions: is shown every frame and told of every cut.
    """
    before: ShotFrame | None = None
    for item in _numbered(frames, frame_rate, time_base, transitions or TransitionFinder()):
        if before is not None:
            before.ends_shot = item.starts_shot
            yield before
        before = item
    if before is not None:
        before.ends_shot = True
        yield before


def _numbered(
    frames: Iterable[Frame],
    frame_rate: Fraction,
    time_base: Fraction,
    transitions: TransitionFinder,
) -> Iterator[ShotFrame]:
    """The frames with their shots; where those end is not known yet."""
    detector = _BrightnessDetector(min_scene_len=MIN_SHOT_S, luma_only=True)
    delay = detector.event_buffer_length
    waiting: deque[Frame] = deque()
    shot_id = 0
    fresh = True
    start_pts: int | None = None
    for frame in frames:
        if start_pts is None:
            start_pts = frame.pts
        waiting.append(frame)
        clock = FrameTimecode(Timecode(frame.pts - start_pts, time_base), frame_rate)
        small = _small(frame.image)
        cut = bool(detector.process_frame(clock, small))
        transitions.add(frame, small)
        if len(waiting) > delay:
            if cut:
                shot_id += 1
                fresh = True
                transitions.cut(waiting[0].index)
            yield ShotFrame(waiting.popleft(), shot_id, fresh)
            fresh = False
    for frame in waiting:
        yield ShotFrame(frame, shot_id, fresh)
        fresh = False


class _BrightnessDetector(AdaptiveDetector):  # type: ignore[misc]  # scenedetect has no types
    """The same scores, without the hues and saturations that `luma_only` gives no weight."""

    _before: Image | None = None

    def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: Image) -> float:  # noqa: ARG002
        blue, green, red = cv2.split(frame_img)
        brightest = np.asarray(cv2.max(cv2.max(blue, green), red), np.uint8)  # V of HSV.
        before, self._before = self._before, brightest
        if before is None:
            return 0.0
        return cv2.norm(brightest, before, cv2.NORM_L1) / brightest.size


def _small(image: Image) -> Image:
    height, width = image.shape[:2]
    if width <= _WIDTH:
        return image
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    # One pixel in many: next to a mean it costs a quarter, and no cut of the truth is lost.
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_NEAREST), np.uint8)
