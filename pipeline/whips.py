"""Whip pans: the camera swings round so fast that the picture is another one a moment later.

No cut ends the tracks there, and a face that comes to lie where another one was looks, to a
tracker, like one that stays. From here, something large that passes looks the same. So a whip pan
ends nothing by itself: `pipeline.track_splits` parts a track whose faces before and after it are
of different people.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from pipeline.changes import Seen, Transition, correlation, is_flat

BACK_S = 0.4
"""A picture is compared with the one so long before."""

UNLIKE = 0.3
"""Correlation of the two, below which the camera has swung round. Cameras that pan and people who
move leave more, most of the time; where they do not, some faces are compared in vain."""

_BLUR_S = 0.15
"""Faces so near to it, on either side, may be blurred or on their way."""

_CHECK_EVERY_S = 0.09


class WhipFinder:
    """Takes every frame's tiny picture, and knows the whip pans up to there."""

    def __init__(self) -> None:
        self.found: list[Transition] = []
        self._seen: deque[Seen] = deque()
        self._checked_s = -np.inf
        self._first: Seen | None = None
        self._unlike_s = -np.inf

    def add(self, now: Seen) -> None:
        """The next frame."""
        self._seen.append(now)
        while now.pts_s - self._seen[0].pts_s > BACK_S + _BLUR_S:
            self._seen.popleft()
        if now.pts_s - self._checked_s < _CHECK_EVERY_S:
            return
        self._checked_s = now.pts_s
        before = self._at(now.pts_s - BACK_S)
        if now.pts_s - before.pts_s < BACK_S - _CHECK_EVERY_S:
            return  # The shot has only begun.
        if is_flat(now.grey) or is_flat(before.grey):
            return
        likeness = correlation(before.grey, now.grey)
        if likeness < UNLIKE:
            self._note(now, likeness)

    def cut(self, first_frame: int) -> None:
        """A hard cut was found, some frames late: what was unlike since then was another shot."""
        while self._seen and self._seen[0].index < first_frame:
            self._seen.popleft()
        if self._first is not None and self._first.index >= first_frame:
            self.found.pop()
        self._first = None

    def _note(self, now: Seen, likeness: float) -> None:
        """The camera moved in between all pictures that are unlike, and those they are unlike to.

        These pairs overlap for a short whip pan, so that it lies within what they share; where it
        is a long one, it goes from the first pair's later picture to the last pair's earlier one.
        """
        first, known = self._first, None
        if first is None or now.pts_s - self._unlike_s > BACK_S:
            first = self._first = now
        else:
            known = self.found.pop()
            likeness = min(likeness, known.likeness or 1.0)
        self._unlike_s = now.pts_s
        start_s, end_s = sorted((first.pts_s, now.pts_s - BACK_S))
        start, end = self._at(start_s - _BLUR_S), self._at(end_s + _BLUR_S)
        start_frame, start_pts_s = start.index, start.pts_s
        if known is not None and start_s == first.pts_s:
            # Long gone by; it was that before.
            start_frame, start_pts_s = known.first_frame, known.first_pts_s
        ends = (start_frame, end.index, start_pts_s, end.pts_s)
        self.found.append(Transition("whip", *ends, likeness))

    def _at(self, at_s: float) -> Seen:
        """The first frame from a time on, else the last one."""
        return next((seen for seen in self._seen if seen.pts_s >= at_s - 1e-6), self._seen[-1])
