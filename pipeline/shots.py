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
from pipeline.video import Frame, Grey

MIN_SHOT_S = 0.25
"""A new shot cannot start this many seconds after the last one: flashes and single bad frames."""

FLASH_PART = 0.2
"""A change of which no more than this part is left one or two frames later was a flash or a bad
frame, and so is the change back. Between two shots with a black frame between them more is left:
what differs in them."""

_WIDTH = 256
"""Pixels of width the cut detector sees."""


_LEVELS = np.clip((np.arange(256) - 16) * 255 / 219, 0, 255).round().astype(np.uint8)
"""Levels of a picture by those of luma, 16 to 235 (ITU-R BT.601)."""


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
    # It would count a flash as a cut, after which another is too soon: that is decided here.
    detector = _BrightnessDetector(min_scene_len=0, luma_only=True)
    delay = detector.event_buffer_length
    waiting: deque[Frame] = deque()
    pictures: deque[Grey] = deque(maxlen=delay + 2)
    shot_id = 0
    fresh = True
    start_pts: int | None = None
    shot_start_s, flash_ends = 0.0, -1
    for frame in frames:
        if start_pts is None:
            start_pts, shot_start_s = frame.pts, frame.pts_s
        waiting.append(frame)
        clock = FrameTimecode(Timecode(frame.pts - start_pts, time_base), frame_rate)
        small = _small(frame.brightness())
        pictures.append(small)
        cut = bool(detector.process_frame(clock, small))
        transitions.add(frame, small)
        if len(waiting) > delay:
            first = waiting[0]
            cut = cut and first.index > flash_ends
            cut = cut and first.pts_s - shot_start_s >= MIN_SHOT_S - 1e-6
            if cut and _is_flash([*pictures]):
                cut, flash_ends = False, first.index + delay
            if cut:
                shot_id += 1
                fresh = True
                shot_start_s = first.pts_s
                transitions.cut(first.index)
            yield ShotFrame(waiting.popleft(), shot_id, fresh)
            fresh = False
    for frame in waiting:
        yield ShotFrame(frame, shot_id, fresh)
        fresh = False


def _is_flash(pictures: list[Grey]) -> bool:
    """Whether a change is undone.

    Args:
        pictures: before the change, with it, and after.
    """
    before, changed, *after = pictures
    if any(picture.shape != before.shape for picture in pictures):
        return False
    change = cv2.norm(before, changed, cv2.NORM_L1)
    return any(cv2.norm(before, later, cv2.NORM_L1) <= FLASH_PART * change for later in after)


class _BrightnessDetector(AdaptiveDetector):  # type: ignore[misc]  # scenedetect has no types
    """Scores pictures of brightness alone, all that `luma_only` gives weight to."""

    _before: Grey | None = None

    def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: Grey) -> float:  # noqa: ARG002
        before, self._before = self._before, frame_img
        if before is None or before.shape != frame_img.shape:
            return 0.0
        return cv2.norm(frame_img, before, cv2.NORM_L1) / frame_img.size


def _small(brightness: Grey) -> Grey:
    """A small picture, its levels from 0 to 255.

    Args:
        brightness: `(H, W)` uint8 luma.
    """
    height, width = brightness.shape
    if width > _WIDTH:
        size = (_WIDTH, max(1, round(height * _WIDTH / width)))
        # One pixel in many: next to a mean it costs a quarter, and no cut of the truth is lost.
        brightness = np.asarray(
            cv2.resize(brightness, size, interpolation=cv2.INTER_NEAREST), np.uint8
        )
    return np.asarray(cv2.LUT(brightness, _LEVELS), np.uint8)
