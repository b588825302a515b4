"""Fades and dissolves, told from tiny grey pictures of the frames that go by.

While one picture turns into another, every frame lies on the straight line between the two (the
model of chromatic edits in Hampapur et al., "Production model based digital video segmentation",
1995). A camera that moves, or people who do, leave that line; but then every frame is as rich in
detail as the two, where two pictures over each other, unlike as they are, cancel part of theirs
out (what Alattar, "Detecting and compressing dissolve regions in video sequences", 1993, sees in
the variance of the grey levels). Both are tested on windows that end at the newest frame, about
ten times a second, so that the stage is delayed by nothing. A shot goes through a transition;
`pipeline.track_splits` decides which tracks do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.changes import Floats, Kind, Seen, Transition, correlation, gradients, is_flat
from pipeline.video import Frame, Grey
from pipeline.whips import WhipFinder

SIZE = (64, 36)
"""Width and height of the tiny picture: small movements do not show, pans are not straight."""

WINDOWS_S = (0.5, 0.8, 1.2, 1.8)
"""Seconds of the windows that a dissolve is looked for in: the shortest it fits in, for the least
movement beside it, and the longest, or it is not found."""

WINDOW_S = WINDOWS_S[-1]

SETTLED_S = 2 * WINDOW_S
"""So long after a transition nothing that is seen changes it any more."""

_CHECK_EVERY_S = 0.09
_DIFFERENT = 16.0
"""Root mean square of the difference of two pictures, in grey levels: less is the same picture."""
_UNLIKE = 0.6
"""Correlation of a dissolve's two pictures; a camera that moves a little leaves more, 0.7 to 1."""
_OFF_LINE = {"dissolve": 0.5, "fade": 0.45}
"""Greatest distance of a frame from the line, in parts of its length. Dissolves between pieces of
the evaluation media, where cameras and people move, keep within it, nine in ten."""
_DETAIL = 1.2
"""Detail of the frames halfway, at most, in parts of what the two pictures have over each other.
Beside the line of 0.5: in the evaluation media as they are and at two to four times their speed
nothing else is below 1.49, and of 300 dissolves 2 in 100 are above 1.2."""
_GRADUAL_S = {"dissolve": 0.2, "fade": 0.12}
"""Seconds that the way from a tenth to nine tenths takes at least."""
_STEP, _BACK = 0.45, 0.1
"""Longest step on the line from frame to frame, and longest way back, in parts of its length."""
_UNEVEN = 0.15
"""Furthest that a frame may lie, in parts of the length, before or behind an even pace: a window
with two transitions in it, or one and a moving camera, has a rest in between."""
_APART_S = 0.3
"""Seconds between a dissolve and the transition before it; less is one."""


class TransitionFinder:
    """Takes every frame's picture, and knows the fades, dissolves and whip pans up to there."""

    def __init__(self) -> None:
        self.found: list[Transition] = []
        self.whips = WhipFinder()
        self._settled = {"fades and dissolves": 0, "whips": 0}
        self._seen: deque[Seen] = deque()
        self._cut_at = 0
        self._checked_s = -np.inf
        # The first and last frame of the last black or white ones, and the first of those that
        # the last fade goes through.
        self._blank_from = self._flat_at = self._blank = -1
        self._faded_from: Floats | None = None
        self._clarity = 0.0

    def add(self, frame: Frame, image: Grey) -> None:
        """The next frame.

        Args:
            image: `(H, W)` uint8 from 0 to 255, the frame's brightness in any size.
        """
        grey = cv2.resize(image, SIZE, interpolation=cv2.INTER_LINEAR).astype(np.float32)
        slopes = gradients(grey)
        seen = Seen(frame.index, frame.pts_s, grey, float(slopes @ slopes))
        self.whips.add(seen)
        self._seen.append(seen)
        while frame.pts_s - self._seen[0].pts_s > WINDOW_S:
            self._seen.popleft()
        flat = is_flat(grey)
        due = frame.pts_s - self._checked_s >= _CHECK_EVERY_S
        if flat and self._flat_at != frame.index - 1:
            self._blank_from = frame.index
            self._check_fade_out()
        elif due and not flat:
            self._checked_s = frame.pts_s
            after = [seen for seen in self._seen if seen.index >= self._flat_at]
            if after[0].index == self._flat_at:
                self._check_fade_in(after)
            for window in self._windows():
                if window[0].index > max(self._flat_at, self._fade_ends()):
                    self._check_dissolve(window)
        if flat:
            self._flat_at = frame.index

    def _windows(self, shorter: bool = False) -> Iterator[list[Seen]]:
        """The last frames, of each of `WINDOWS_S`.

        Args:
            shorter: also where there are no frames for that long.
        """
        now_s = self._seen[-1].pts_s
        for length_s in WINDOWS_S:
            window = [seen for seen in self._seen if now_s - seen.pts_s <= length_s]
            if shorter or now_s - window[0].pts_s >= length_s - _CHECK_EVERY_S:
                yield window

    def settled(self, pts_s: float) -> list[Transition]:
        """The changes that are settled by a time and were not before: each is given once."""
        new = []
        for what, found in (("fades and dissolves", self.found), ("whips", self.whips.found)):
            for change in found[self._settled[what] :]:
                if pts_s - change.last_pts_s <= SETTLED_S:
                    break
                new.append(change)
                self._settled[what] += 1
        return new

    def cut(self, first_frame: int) -> None:
        """A hard cut was found: no transition goes across it."""
        self._cut_at = first_frame
        while self._seen and self._seen[0].index < first_frame:
            self._seen.popleft()
        self.whips.cut(first_frame)

    def _check_fade_out(self) -> None:
        """Notes a fade that has just come to black or white."""
        fades = []
        for window in self._windows(shorter=True):
            way = _Way.through(window)
            if way is not None and way.is_straight("fade") and (ends := way.ends("fade")):
                fades.append((way.clarity(), ends, way.first))
        if not fades:
            return
        _, ends, before = max(fades, key=lambda fade: fade[0])
        match self._known():
            case Transition("dissolve", first, last) if ends[0] < (first + last) / 2:
                self.found.pop()  # It was the beginning of this.
        self.found.append(Transition("fade", *ends))
        self._clarity, self._faded_from, self._blank = 0.0, before, self._blank_from

    def _check_fade_in(self, window: list[Seen]) -> None:
        """Notes a fade from black or white; out and in again are one."""
        way = _Way.through(window)
        if way is None or not way.is_straight("fade"):
            return
        ends = way.ends("fade")
        if ends is None:
            return
        known = self._known()
        if known is None or self._blank != self._blank_from:
            self.found.append(Transition("fade", *ends))
            self._faded_from, self._blank = None, self._blank_from
        elif known.kind != "fade" or way.clarity() <= self._clarity:
            return
        elif self._faded_from is None:
            self.found[-1] = Transition("fade", *ends)
        else:
            first_frame, first_pts_s = known.first_frame, known.first_pts_s
            likeness = correlation(self._faded_from, way.last)
            whole = (first_frame, ends[1], first_pts_s, ends[3])
            self.found[-1] = Transition("fade", *whole, likeness)
        self._clarity = way.clarity()

    def _check_dissolve(self, window: list[Seen]) -> None:
        """Notes a dissolve, where the window's frames are its first and last over each other."""
        likeness = correlation(window[0].grey, window[-1].grey)
        way = _Way.through(window) if likeness < _UNLIKE else None
        if way is None or not way.is_straight("dissolve") or way.detail() > _DETAIL:
            return
        ends = way.ends("dissolve")
        if ends is None:
            return
        new, known = Transition("dissolve", *ends, likeness), self._known()
        if known is None or new.first_pts_s - known.last_pts_s > _APART_S:
            self.found.append(new)
        elif known.kind != "dissolve" or way.clarity() <= self._clarity:
            return
        else:
            self.found[-1] = new  # Windows overlap.
        self._clarity = way.clarity()

    def _fade_ends(self) -> int:
        """The last frame of the shot's last transition, where that is a fade."""
        known = self._known()
        return known.last_frame if known is not None and known.kind == "fade" else -1

    def _known(self) -> Transition | None:
        """The last transition of the shot."""
        known = self.found[-1] if self.found else None
        return known if known is None or known.last_frame >= self._cut_at else None


class _Way:
    """A window's frames on their way from the first picture to the last.

    Attributes:
        first, last: the two pictures, `(N,)` grey levels.
        length: root mean square of their difference, in grey levels.
        part: `(frames,)` where each frame lies, 0 being the first picture and 1 the last.
        off: `(frames,)` how far it is off the line, in parts of its length.
    """

    def __init__(self, window: list[Seen], line: Floats, length: float) -> None:
        self._window = window
        self.first, self.last = (window[i].grey.ravel() for i in (0, -1))
        self.length = length
        way = np.stack([seen.grey.ravel() for seen in window]) - self.first
        self.part = way @ line / float(line @ line)
        # Pythagoras: what of the way is not along the line.
        far = np.einsum("ij,ij->i", way, way) / line.size
        self.off = np.sqrt(np.maximum(far / length**2 - self.part**2, 0))

    @classmethod
    def through(cls, window: list[Seen]) -> Self | None:
        """The way, where there are frames between two different pictures."""
        line = (window[-1].grey - window[0].grey).ravel()
        length = float(np.sqrt(line @ line / line.size))
        if len(window) < 4 or length < _DIFFERENT:
            return None
        return cls(window, line, length)

    def clarity(self) -> float:
        """How much of the way is along the line, in grey levels; ranks windows that overlap."""
        return self.length * (1 - float(self.off.max()))

    def is_straight(self, kind: Kind) -> bool:
        """Whether all frames are near the line, and go along it in small steps."""
        step = np.diff(self.part)
        return bool(
            step.max() <= _STEP and step.min() >= -_BACK and self.off.max() <= _OFF_LINE[kind]
        )

    def ends(self, kind: Kind) -> tuple[int, int, float, float] | None:
        """First and last frame and their times, of those that are neither picture wholly.

        They follow from when a quarter and three quarters of the way are gone: what moves in
        either picture is far less than that, and may be more than a tenth.
        """
        times = np.array([seen.pts_s for seen in self._window])
        quarter, three = (self._passes(part, times) for part in (0.25, 0.75))
        start_s, end_s = 1.5 * quarter - 0.5 * three, 1.5 * three - 0.5 * quarter
        between = np.flatnonzero((times > start_s) & (times < end_s))
        even = np.clip((times - start_s) / (end_s - start_s), 0, 1)
        if np.abs(self.part - even).max() > _UNEVEN:
            return None
        if not len(between) or 0.8 * (end_s - start_s) < _GRADUAL_S[kind]:
            return None
        start, end = self._window[between[0]], self._window[between[-1]]
        return start.index, end.index, start.pts_s, end.pts_s

    def _passes(self, part: float, times: NDArray[np.float64]) -> float:
        """When that part of the way is gone, in seconds."""
        after = int(np.argmax(self.part >= part))
        before = after - 1
        step = (part - self.part[before]) / (self.part[after] - self.part[before])
        return float(times[before] + step * (times[after] - times[before]))

    def detail(self) -> float:
        """Mean detail of the frames halfway, in parts of what it is of the two over each other."""
        halfway = np.flatnonzero(np.abs(self.part - 0.5) < 0.25)
        if not len(halfway):
            halfway = np.flatnonzero(np.abs(self.part - 0.5) < 0.4)
        if not len(halfway):
            return np.inf
        one, other = (gradients(self._window[i].grey) for i in (0, -1))
        new = self.part[halfway]
        old = 1 - new
        ideal = old**2 * (one @ one) + new**2 * (other @ other) + 2 * old * new * (one @ other)
        actual = [self._window[i].detail for i in halfway]
        return float(np.mean(actual) / max(1e-6, np.mean(ideal)))
