"""The tracks against exact truth: what the defaults reach is not lost again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows import run_detect_track
from tests.scoring import score


def _idf1(video: Path, output_root: Path, **options: Any) -> float:
    """Of a run on an episode, of which no track mixes two people."""
    source: dict[str, Any] = {"video": video}
    if options.get("operation") == "track":
        source = {"ep_id": video.stem}
    answer = run_detect_track(**source, output_root=output_root, **options)
    assert answer["status"] == "completed", answer
    assert answer["summary"]["shots"] == 14
    tracks = pd.read_parquet(answer["outputs"]["tracks"])
    found = score(tracks, video.with_suffix(".truth.csv"))
    assert found.mixed == 0, found
    return found.idf1


# The plain program, every frame, with its tracker reset at the true cuts: 0.934 and 0.868.
@pytest.mark.parametrize(("episode", "idf1"), [("episode11", 0.95), ("episode12", 0.88)])
def test_tracks_follow_the_truth(
    episode: str, idf1: float, shared_data: Path, tmp_path: Path
) -> None:
    video = shared_data / "truth" / f"{episode}.mp4"
    assert _idf1(video, tmp_path, profile="high_accuracy", tracker="strongsort") >= idf1
    # The same detections.
    best = _idf1(video, tmp_path, profile="high_accuracy", operation="track")
    assert best >= idf1
    assert _idf1(video, tmp_path, profile="balanced") >= best - 0.01


@pytest.mark.parametrize("episode", ["episode11", "episode12"])
def test_tracks_hardly_depend_on_the_stride(
    episode: str, shared_data: Path, tmp_path: Path
) -> None:
    video = shared_data / "truth" / f"{episode}.mp4"
    found = [_idf1(video, tmp_path, stride=stride) for stride in (1, 3, 6)]
    assert max(found) - min(found) <= 0.02, found


@pytest.mark.parametrize(
    ("episode", "stride", "idf1"),
    [("episode11", 1, 0.94), ("episode12", 3, 0.87), ("episode12", 6, 0.87)],
)
def test_strongsort_follows_the_truth(
    episode: str, stride: int, idf1: float, shared_data: Path, tmp_path: Path
) -> None:
    video = shared_data / "truth" / f"{episode}.mp4"
    assert _idf1(video, tmp_path, tracker="strongsort", stride=stride) >= idf1
