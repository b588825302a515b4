"""When faces are looked for: so many times a second, or in every Nth frame."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.frame_source import LookTimes
from pipeline.options import Options


def _looks(times_s: list[float], starts: set[int], rate: float, **options: float) -> list[int]:
    look_times = LookTimes(Options.parse(options).resolve(), Fraction(rate))
    return [i for i, at_s in enumerate(times_s) if look_times.due(i, at_s, i in starts)]


@given(
    fps=st.sampled_from([12, 24000 / 1001, 24, 25, 30, 50, 60000 / 1001]),
    looks_per_s=st.sampled_from([0.5, 2.0, 3.0, 7.5, 100.0]),
    first_s=st.sampled_from([0.0, 1.4, 95443.7]),
    cut=st.integers(1, 300),
)
def test_looks_so_many_a_second_are_in_the_nearest_frames_from_the_start_of_the_shot(
    fps: float, looks_per_s: float, first_s: float, cut: int
) -> None:
    times_s = [first_s + i / fps for i in range(600)]
    found = np.array(_looks(times_s, {0, cut}, fps, looks_per_s=looks_per_s))
    for start, end in ((0, cut), (cut, 600)):
        mine = found[(start <= found) & (found < end)] - start
        wanted = np.arange(0, end - start, max(1.0, fps / looks_per_s))
        # A moment between two frames belongs to either; what is due later than the end is not.
        assert abs(len(mine) - len(wanted)) <= 1
        paired = min(len(mine), len(wanted))
        assert np.abs(mine[:paired] - wanted[:paired]).max() <= 0.5 + 1e-3


def test_a_hole_in_the_times_is_followed_by_one_look_not_by_those_missed() -> None:
    times_s = [0.0, 0.1, 0.2, 5.05, 5.1, 5.2, 5.3, 5.4, 5.5]
    assert _looks(times_s, {0}, 10, looks_per_s=2) == [0, 3, 8]


def test_every_nth_frame_is_counted_from_the_first_one() -> None:
    assert _looks([i / 25 for i in range(20)], {0, 5}, 25, stride=6) == [0, 6, 12, 18]
