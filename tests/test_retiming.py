"""The same clip at another frame rate has the same tracks.

A truth episode is shown at other moments: frames are dropped or shown twice, and so is the truth.
A frame's detections do not depend on its neighbours: they are found once.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
import pytest

from pipeline.detect import detect_episode
from pipeline.episode import EpisodeFolder
from pipeline.footer import Footer, read_facts
from pipeline.frame_source import LookTimes
from pipeline.options import Options, ResolvedOptions
from pipeline.tables import DETECTIONS, FRAMES, table_writer
from pipeline.track import track_episode
from tests.made_truth import steady_times, uneven_times
from tests.scoring import score

_FPS = 24
_TIMINGS = [
    partial(steady_times, fps=12),
    partial(steady_times, fps=24),
    partial(steady_times, fps=30),
    partial(uneven_times, seed=5),
]
_OPTIONS = [Options.parse({"stride": 1, "zoom": "faces"}).resolve(), Options().resolve()]
_FOOTER = Footer("made", "0", "0")


def _shown(table: pd.DataFrame, frame: str, shown: np.ndarray) -> pd.DataFrame:
    """The rows of the frames that are shown, in the order and under the numbers they are shown."""
    at = pd.DataFrame({frame: shown, "shown": np.arange(len(shown))})
    rows = at.merge(table, on=frame, how="inner", sort=False)
    return rows.drop(columns=frame).rename(columns={"shown": frame})


def _looked_at(frames: pd.DataFrame, options: ResolvedOptions) -> list[bool]:
    """Whether a run would look at each frame."""
    rate = 1 / float(np.diff(frames.pts_s).mean())
    look_times = LookTimes(options, Fraction(rate))
    shots = frames.shot_id
    starts, ends = shots.diff().ne(0), shots.diff(-1).ne(0)
    rows = zip(frames.frame_index, frames.pts_s, starts, ends, strict=True)
    return [look_times.due(i, at_s, start) or start or end for i, at_s, start, end in rows]


def _retimed(
    source: EpisodeFolder, root: Path, times_s: np.ndarray, options: ResolvedOptions
) -> EpisodeFolder:
    """The stored tables as a run of the episode at these moments would leave them."""
    folder = EpisodeFolder(root, "retimed")
    folder.path.mkdir()
    shown = np.floor(times_s * _FPS + 1e-6).astype(int)
    with table_writer(folder.frames, FRAMES, _FOOTER) as table:
        rows = _shown(pd.read_parquet(source.frames), "frame_index", shown)
        rows = rows.assign(pts_s=times_s)
        rows["looked_at"] = looked_at = np.array(_looked_at(rows, options))
        table.append({name: rows[name].to_numpy() for name in FRAMES.names})
        table.annotate(read_facts(source.frames))
    with table_writer(folder.detections, DETECTIONS, _FOOTER) as table:
        rows = _shown(pd.read_parquet(source.detections), "frame_index", shown)
        rows = rows[looked_at[rows.frame_index]]
        rows = rows.assign(pts_s=times_s[rows.frame_index], det_id=np.arange(len(rows)))
        table.append({name: rows[name].to_numpy() for name in DETECTIONS.names})
    return folder


@pytest.mark.parametrize("episode", ["episode11", "episode12"])
def test_the_frame_rate_does_not_change_the_tracks(
    episode: str, shared_data: Path, tmp_path: Path
) -> None:
    video = shared_data / "truth" / f"{episode}.mp4"
    source = EpisodeFolder(tmp_path, episode)
    facts = detect_episode(video, source, _FOOTER, _OPTIONS[0], 2, lambda *_: None)
    assert facts["transitions"] == [], "their frame numbers would have to be changed too"
    truth = pd.read_csv(video.with_suffix(".truth.csv"))
    for options in _OPTIONS:
        idf1 = []
        for timing in _TIMINGS:
            times_s = np.array(timing(facts["frames"] / _FPS))
            root = Path(mkdtemp(dir=tmp_path))
            folder = _retimed(source, root, times_s, options)
            track_episode(folder, _FOOTER, options, 1, lambda *_: None)
            shown = np.floor(times_s * _FPS + 1e-6).astype(int)
            _shown(truth, "frame", shown).to_csv(root / "truth.csv", index=False)
            found = score(pd.read_parquet(folder.tracks), root / "truth.csv")
            assert found.mixed == 0
            idf1.append(found.idf1)
        assert max(idf1) - min(idf1) <= 0.02, (options, idf1)
