"""Fades and dissolves, told from tiny grey pictures of the frames that go by.

While one picture turns into another, every frame lies on the straight line between the two (the
model of chromatic edits in Hampapur et al., "Production model based digital video segmentation",
1995). A camera that moves, or people who do, leave that line. It is tested on windows that end
at the newest frame, about ten times a second, so that the stage is delayed by nothing. A shot goes
through a transition; `pipeline.track_splits` decides which tracks do.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import cv2
import numpy as np

from pipeline.changes import Floats, Seen, Transition, correlation, is_flat
from pipeline.video import Frame, Grey
from pipeline.whips import WhipFinder

SIZE = (64, 36)
"""Width and height of the tiny picture: small movements do not show, pans are not straight."""

WINDOW_S = 1.2
"""A dissolve that lasts longer than this is not found."""

SETTLED_S = 2 * WINDOW_S
"""So long after a transition nothing that is seen changes it any more."""

_CHECK_EVERY_S = 0.09
_DIFFERENT = 16.0
"""Root mean square of the difference of two pictures, in grey levels: less is the same picture."""
_UNLIKE = 0.6
"""Correlation of a dissolve's two pictures; a camera that moves a little leaves more, 0.7 to 1."""
_OFF_LINE = {"dissolve": 0.28, "fade": 0.45}
"""Greatest distance of a frame from the line, in parts of its length. Of pictures that correlate
less than `_UNLIKE`, cameras and people in the evaluation media leave it by 0.33 and more."""
_GRADUAL_S = {"dissolve": 0.2, "fade": 0.12}
"""Seconds that the way from a tenth to nine tenths takes at least."""
_STEP, _BACK = 0.45, 0.1
"""Longest step on the line from frame to frame, and longest way back, in parts of its length."""
_APART_S = {"dissolve": 0.3, "fade": WINDOW_S}
"""Seconds between two transitions of a kind; less is one. Black may last that long in a fade."""


class TransitionFinder:
    """Takes every frame's picture, and knows the fades, dissolves and whip pans up to there."""

    def __init__(self) -> None:
        self.found: list[Transition] = []
        self.whips = WhipFinder()
        self._settled = {"fades and dissolves": 0, "whips": 0}
        self._seen: deque[Seen] = deque()
        self._flat_at = -1
        self._cut_at = 0
        self._checked_s = -np.inf
        self._contrast = 0.0
        self._before: Floats | None = None

    def add(self, frame: Frame, image: Grey) -> None:
        """The next frame.

        Args:
            image: `(H, W)` uint8 from 0 to 255, the frame's brightness in any size.
        """
        grey = cv2.resize(image, SIZE, interpolation=cv2.INTER_LINEAR)
        seen = Seen(frame.index, frame.pts_s, grey)
        self.whips.add(seen)
        self._seen.append(seen)
        while frame.pts_s - self._seen[0].pts_s > WINDOW_S:
            self._seen.popleft()
        flat = is_flat(grey)
        due = frame.pts_s - self._checked_s >= _CHECK_EVERY_S
        if flat and self._flat_at != frame.index - 1:
            self._check("fade", list(self._seen))
        elif due and not flat:
            self._checked_s = frame.pts_s
            after = [seen for seen in self._seen if seen.index >= self._flat_at]
            if after[0].index == self._flat_at:
                self._check("fade", after)
            elif frame.pts_s - self._seen[0].pts_s >= WINDOW_S - _CHECK_EVERY_S:
                self._check("dissolve", list(self._seen))
        if flat:
            self._flat_at = frame.index

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

    def _check(self, kind: Literal["fade", "dissolve"], window: list[Seen]) -> None:
        """Notes a transition, where the window's frames lie on the line from first to last."""
        first, last = (window[i].grey.ravel().astype(np.float32) for i in (0, -1))
        line = last - first
        contrast = float(np.sqrt(np.mean(line * line)))
        if len(window) < 4 or contrast < _DIFFERENT:
            return
        likeness = correlation(first, last) if kind == "dissolve" else None
        if likeness is not None and likeness >= _UNLIKE:
            return
        way = np.stack([seen.grey.ravel() for seen in window]) - first
        part = way @ line / float(line @ line)
        step = np.diff(part)
        if step.max() > _STEP or step.min() < -_BACK:
            return
        off = np.sqrt(np.mean((way - part[:, None] * line) ** 2, axis=1)) / contrast
        between = np.flatnonzero((part > 0.1) & (part < 0.9))
        if off.max() > _OFF_LINE[kind] or not len(between):
            return
        start, end = window[between[0]], window[between[-1]]
        if end.pts_s - start.pts_s >= _GRADUAL_S[kind]:
            ends = (start.index, end.index, start.pts_s, end.pts_s)
            new = Transition(kind, *ends, likeness)
            if kind == "dissolve":
                self._note(new, contrast)
            elif is_flat(window[-1].grey):
                self._note(new, contrast)
                self._before = first
            else:
                self._note(new, contrast, last)

    def _note(self, new: Transition, contrast: float, after: Floats | None = None) -> None:
        """Windows overlap: the one that spans the greater change knows the transition best.

        Args:
            after: the picture that a fade comes in to.
        """
        known = self.found[-1] if self.found else None
        apart_s = np.inf if known is None else new.first_pts_s - known.last_pts_s
        is_before_cut = known is not None and known.last_frame < self._cut_at
        if known is None or is_before_cut or new.kind != known.kind or apart_s > _APART_S[new.kind]:
            self.found.append(new)
            self._contrast, self._before = contrast, None
        elif new.kind == "fade":
            # Out and in again are one fade.
            likeness = known.likeness
            if self._before is not None and after is not None:
                likeness = correlation(self._before, after)
            self.found[-1] = Transition(
                "fade",
                min(known.first_frame, new.first_frame),
                max(known.last_frame, new.last_frame),
                min(known.first_pts_s, new.first_pts_s),
                max(known.last_pts_s, new.last_pts_s),
                likeness,
            )
        elif contrast > self._contrast:
            self.found[-1], self._contrast = new, contrast
