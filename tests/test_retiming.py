"""The same clip at another frame rate has the same tracks.

A truth episode is shown at other moments: frames are dropped or shown twice, and so is the truth.
A frame's detections do not depend on its neighbours: they are found, and embedded, once.
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
from pipeline.links import EmbeddingPlan
from pipeline.options import Options, ResolvedOptions, Tracker
from pipeline.tables import BOX_SIDES, DETECTIONS, EMBEDDINGS, FRAMES, table_writer
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
_EVERY_FRAME = {"stride": 1, "zoom": "faces"}
_OPTIONS = [
    Options.parse(pace | {"tracker": tracker}).resolve()
    for pace in (_EVERY_FRAME, {"profile": "balanced"})
    for tracker in Tracker
]
_EMBEDS = Options.parse(_EVERY_FRAME | {"tracker": "strongsort"}).resolve()
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
    if options.embeds:
        _embed(source, folder, shown)
    return folder


def _embed(source: EpisodeFolder, folder: EpisodeFolder, shown: np.ndarray) -> None:
    """Writes the embeddings that a run would make of the folder's detections."""
    detections = pd.read_parquet(folder.detections)
    frames = pd.read_parquet(folder.frames)
    by_look = dict([*detections.groupby("frame_index")])
    plan, own = EmbeddingPlan(), []
    looks = frames[frames.looked_at]
    for frame, at_s, shot in zip(looks.frame_index, looks.pts_s, looks.shot_id, strict=True):
        faces = by_look.get(frame, detections[:0])
        ids, boxes = faces.det_id.tolist(), faces[[*BOX_SIDES]].to_numpy(np.float32)
        sources = plan.next_look(int(shot), float(at_s), boxes, ids)
        own += [one for one, its in zip(ids, sources, strict=True) if one == its]
    known = pd.read_parquet(source.embeddings).embedding
    before = _shown(pd.read_parquet(source.detections), "frame_index", shown)
    looked_at = frames.looked_at.to_numpy()
    number = before[looked_at[before.frame_index]].det_id.to_numpy()[own]
    with table_writer(folder.embeddings, EMBEDDINGS, _FOOTER) as table:
        table.append({"det_id": own, "embedding": known[number].tolist()})


@pytest.mark.parametrize("episode", ["episode11", "episode12"])
def test_the_frame_rate_does_not_change_the_tracks(
    episode: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = shared_data / "truth" / f"{episode}.mp4"
    source = EpisodeFolder(tmp_path, episode)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.links.EMBED_EVERY_S", 0.0)  # Every face, to choose from.
        facts = detect_episode(video, source, _FOOTER, _EMBEDS, 2, lambda *_: None)
    assert facts["embeddings"] == facts["detections"]
    assert facts["transitions"] == [], "their frame numbers would have to be changed too"
    truth = pd.read_csv(video.with_suffix(".truth.csv"))
    spread = {}
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
        spread[f"{options.tracker}, {options.stride or options.looks_per_s}"] = idf1
    assert all(max(idf1) - min(idf1) <= 0.02 for idf1 in spread.values()), spread
