"""How far a backfill is: episodes, hours of video, time left."""

from __future__ import annotations

import time

from flows.backfill_plan import Episode, Outcome


class ListProgress:
    """Counts over the episodes of a backfill, as they stand."""

    def __init__(self, episodes: list[Episode]) -> None:
        self._episodes = episodes
        self._started = time.monotonic()
        self._before = {id(e) for e in episodes if e.outcome is not Outcome.TO_DO}

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    @property
    def total(self) -> int:
        return len(self._episodes)

    def done(self) -> int:
        """Episodes that have come to an end, good or bad."""
        return sum(episode.outcome is not Outcome.TO_DO for episode in self._episodes)

    def percent(self) -> float:
        """Of the video, not of the episodes."""
        done, total = self._video()
        if total > 0:
            return round(100.0 * done / total, 1)
        return 100.0 * self.done() / max(1, self.total)

    def _video(self) -> tuple[float, float]:
        """Seconds of video that is done, and of all that can be."""
        done = total = 0.0
        for episode in self._episodes:
            seconds = episode.video_seconds or 0.0
            total += seconds
            done += seconds * (episode.outcome is not Outcome.TO_DO)
        return done, total

    def left_s(self) -> float | None:
        """Seconds until the end, at the pace so far; None while there is none."""
        pace = [0, 0.0]
        left = [0, 0.0]
        for episode in self._episodes:
            if id(episode) in self._before:
                continue
            of = left if episode.outcome is Outcome.TO_DO else pace
            of[0] += 1
            of[1] += episode.video_seconds or 0.0
        if not pace[0]:
            return None
        share = left[1] / pace[1] if pace[1] else left[0] / pace[0]
        return self.seconds * share

    def text(self) -> str:
        """`12 of 300 episodes, 0.4 of 10.0 h of video, 35 min left`."""
        done, total = self._video()
        unit, name = (3600, "h") if total >= 3600 else (60, "min") if total >= 60 else (1, "s")
        words = (
            f"{self.done()} of {self.total} episodes, "
            f"{done / unit:.1f} of {total / unit:.1f} {name} of video"
        )
        left = self.left_s()
        return (
            words if left is None or self.done() == self.total else f"{words}, {_time(left)} left"
        )


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
