"""Many short clips, no two the same, each a second of the sample clip."""

from __future__ import annotations

from pathlib import Path

from pipeline import models
from tests.media import packets, pictures, spoil, write_video

_RATE = 25


def one_second_clips(folder: Path, count: int, first: int = 0) -> list[Path]:
    """Writes `e0000.mp4` and on; the same number is the same clip, whenever it is made."""
    folder.mkdir(parents=True, exist_ok=True)
    images = pictures(models.pull(models.SAMPLE), 120)
    clips = []
    for number in range(first, first + count):
        start = number % (len(images) - _RATE)
        second = [image.copy() for image in images[start : start + _RATE]]
        # A corner that no face is in tells it from the clip that starts at the same frame.
        second[0][:8, :8] = number // len(images) * 16
        clips.append(write_video(folder / f"e{number:04}.mp4", second, fps=_RATE))
    return clips


def undecodable(clip: Path, target: Path) -> Path:
    """A file with a sound header, none of whose frames can be decoded."""
    return spoil(clip, target, 0, len(packets(clip)))
