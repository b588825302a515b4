"""The files as those who read them need them to be."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from flows import backfill_report, run_detect_track
from pipeline import tables
from pipeline.footer import Footer

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", params=["bytetrack", "strongsort"])
def outputs(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The files of a clip with cuts, gaps and several people."""
    clip = shared_data / "clips" / "short_hamilton_clip.mp4"
    root = tmp_path_factory.mktemp("out")
    answer = run_detect_track(clip, output_root=root, stride=2, tracker=request.param)
    assert answer["status"] == "completed", answer
    return {name: Path(path) for name, path in answer["outputs"].items()}


def test_the_columns_are_those_of_the_contract(outputs: dict[str, Path]) -> None:
    for name, schema in (
        ("frames", tables.FRAMES),
        ("detections", tables.DETECTIONS),
        ("tracks", tables.TRACKS),
        ("track_summary", tables.TRACK_SUMMARY),
    ):
        assert pq.read_schema(outputs[name]).equals(schema, check_metadata=False), name
    embeddings = outputs["tracks"].with_name("embeddings.parquet")
    if embeddings.exists():
        found = pq.read_schema(embeddings)
        assert found.equals(tables.EMBEDDINGS, check_metadata=False)


def test_every_row_that_is_not_interpolated_joins_one_detection(outputs: dict[str, Path]) -> None:
    tracks, detections = pd.read_parquet(outputs["tracks"]), pd.read_parquet(outputs["detections"])
    seen = tracks[~tracks.interpolated]
    assert seen.det_id.notna().all() and tracks[tracks.interpolated].det_id.isna().all()
    assert seen.det_id.is_unique and detections.det_id.is_unique
    joined = seen.merge(detections, on="det_id", suffixes=("", "_detection"), validate="1:1")
    assert len(joined) == len(seen)
    for column in ("frame_index", "pts_s", "shot_id", "x1", "y1", "x2", "y2", "score"):
        assert (joined[column] == joined[f"{column}_detection"]).all(), column


def test_a_track_stays_in_its_shot_and_its_times_increase(outputs: dict[str, Path]) -> None:
    tracks = pd.read_parquet(outputs["tracks"])
    frames = pd.read_parquet(outputs["frames"])
    assert (tracks.groupby("track_id").shot_id.nunique() == 1).all()
    for _, rows in tracks.groupby("track_id"):
        assert (np.diff(rows.pts_s) > 0).all()
        assert (np.diff(rows.frame_index) > 0).all()
    joined = tracks.merge(frames, on="frame_index", suffixes=("", "_frame"), validate="m:1")
    assert len(joined) == len(tracks)
    assert (joined.pts_s == joined.pts_s_frame).all()
    assert (joined.shot_id == joined.shot_id_frame).all()


def test_frames_are_all_there_and_every_second_one_was_looked_at(outputs: dict[str, Path]) -> None:
    frames = pd.read_parquet(outputs["frames"])
    assert frames.frame_index.tolist() == list(range(275))
    assert frames.pts_s.iloc[0] == pytest.approx(0.852, abs=0.001), "the container's clock"
    assert frames[frames.frame_index % 2 == 0].looked_at.all()
    looked_at = frames.groupby("shot_id").looked_at
    assert looked_at.first().all(), "the first frame of every shot"
    assert looked_at.last().all(), "and the last"


def test_the_summary_says_what_the_tracks_say(outputs: dict[str, Path]) -> None:
    tracks = pd.read_parquet(outputs["tracks"])
    summary = pd.read_parquet(outputs["track_summary"]).set_index("track_id")
    assert summary.index.tolist() == list(range(1, len(summary) + 1))
    groups = tracks.groupby("track_id")
    assert (summary["rows"] == groups.size()).all()
    assert (summary.detections == groups.det_id.count()).all()
    assert (summary.shot_id == groups.shot_id.first()).all()
    assert (summary.first_frame == groups.frame_index.min()).all()
    assert (summary.last_frame == groups.frame_index.max()).all()
    assert (summary.first_pts_s == groups.pts_s.min()).all()
    assert (summary.last_pts_s == groups.pts_s.max()).all()
    assert (summary.length_s == summary.last_pts_s - summary.first_pts_s).all()
    assert np.allclose(summary.mean_score, groups.score.mean(), atol=1e-6)
    best = tracks.loc[groups.score.idxmax()].set_index("track_id")
    assert (summary.best_frame == best.frame_index).all()
    assert (summary.best_det_id == best.det_id).all()


def test_boxes_lie_in_the_frame(outputs: dict[str, Path]) -> None:
    for name in ("detections", "tracks"):
        rows = pd.read_parquet(outputs[name])
        assert (rows.x1 >= 0).all() and (rows.x2 <= 640).all() and (rows.x1 < rows.x2).all()
        assert (rows.y1 >= 0).all() and (rows.y2 <= 360).all() and (rows.y1 < rows.y2).all()


def test_footers_say_where_the_rows_come_from(outputs: dict[str, Path]) -> None:
    footers = [Footer.read(outputs[name]) for name in ("frames", "detections", "tracks")]
    frames, detections, tracks = footers
    assert frames == detections
    assert tracks is not None and detections is not None
    assert tracks.source_sha256 == detections.source_sha256
    assert tracks.options_hash != detections.options_hash


def test_a_table_without_rows_is_a_table(tmp_path: Path) -> None:
    path = tmp_path / "empty.parquet"
    with tables.table_writer(path, tables.TRACKS, Footer("e", "s", "o")):
        pass
    assert pq.read_table(path).num_rows == 0
    assert Footer.read(path) == Footer("e", "s", "o")


def test_a_writer_that_fails_leaves_nothing_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_text("old")
    with (
        pytest.raises(RuntimeError, match="midway"),
        tables.table_writer(path, tables.TRACKS, Footer("e", "s", "o")),
    ):
        raise RuntimeError("midway")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


def test_row_groups_do_not_depend_on_how_rows_arrive(tmp_path: Path) -> None:
    def write(name: str, chunk: int) -> bytes:
        path = tmp_path / name
        with table_of_frames(path) as writer:
            for start in range(0, 150_000, chunk):
                index = range(start, min(start + chunk, 150_000))
                writer.append(
                    {
                        "ep_id": ["e"] * len(index),
                        "frame_index": list(index),
                        "pts_s": [i / 25 for i in index],
                        "shot_id": [0] * len(index),
                        "looked_at": [True] * len(index),
                    }
                )
        return path.read_bytes()

    def table_of_frames(path: Path):  # type: ignore[no-untyped-def]
        return tables.table_writer(path, tables.FRAMES, Footer("e", "s", "o"))

    assert write("a", 256) == write("b", 99_999)


def test_the_readme_lists_every_column_with_its_unit() -> None:
    readme = (ROOT / "README.md").read_text()
    for file, schema in (
        ("frames.parquet", tables.FRAMES),
        ("detections.parquet", tables.DETECTIONS),
        ("embeddings.parquet", tables.EMBEDDINGS),
        ("tracks.parquet", tables.TRACKS),
        ("track_summary.parquet", tables.TRACK_SUMMARY),
        ("backfill-NAME.parquet", backfill_report.schema()),
    ):
        section = readme.split(f"### `{file}`")[1].split("\n### ")[0].split("\n## ")[0]
        listed = re.findall(r"^\| `(\w+)` \| (\S+) \| (.+) \|$", section, re.M)
        expected = [
            (field.name, tables.plain_type(field), (field.metadata or {})[b"description"].decode())
            for field in schema
        ]
        assert listed == expected, f"README section of {file}: run python -m tests.schema_tables"
