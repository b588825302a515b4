"""Changes of the picture that are no cuts: what is known of one, and what they are told from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

_FLAT = 10.0
"""Standard deviation below which a picture is of one colour: black, if it is dark, or white."""
_BLACK, _WHITE = 32.0, 223.0

Floats = NDArray[np.float32]

Kind = Literal["fade", "dissolve", "whip"]


@dataclass(frozen=True)
class Transition:
    """A change of the picture that takes a while.

    Attributes:
        kind: `fade` (to or from black or white, or through it), `dissolve`, or `whip` (pan).
        first_frame, last_frame: 0-based, of the frames that are neither picture wholly.
        first_pts_s, last_pts_s: their times, seconds on the container's clock.
        likeness: correlation of the pictures before and after, at most 1; None for a fade that
            has a picture on one side only.
    """

    kind: Kind
    first_frame: int
    last_frame: int
    first_pts_s: float
    last_pts_s: float
    likeness: float | None = None

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame, and a tiny grey picture of it.

    Attributes:
        detail: sum of squares of its `gradients`.
    """

    index: int
    pts_s: float
    grey: Floats
    detail: float = 0.0


def gradients(grey: Floats) -> Floats:
    """All differences of a picture's neighbouring pixels, `(N,)` grey levels."""
    across, down = np.diff(grey, axis=1), np.diff(grey, axis=0)
    return np.concatenate([across.ravel(), down.ravel()])


def is_flat(grey: NDArray[Any]) -> bool:
    """Whether a picture is black or white."""
    mean, deviation = cv2.meanStdDev(grey)
    return not _BLACK < float(mean[0, 0]) < _WHITE and float(deviation[0, 0]) < _FLAT


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Of two pictures, at most 1; what makes one lighter or of more contrast does not count."""
    one, other = (each.ravel().astype(np.float32) for each in (one, other))
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other) / max(1e-6, float(np.sqrt((one @ one) * (other @ other))))
