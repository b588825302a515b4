"""`facetracks compare`: two runs of one video side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from flows import run_detect_track
from pipeline.compare import compare
from pipeline.errors import ResultError
from tests.conftest import Command
from tests.media import pan, write_video


@pytest.fixture(scope="module")
def runs(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of two runs of the sample, at strides 6 and 3."""
    root = tmp_path_factory.mktemp("runs")
    folders = []
    for stride in (6, 3):
        answer = run_detect_track(
            sample, ep_id="e", output_root=root / str(stride), stride=stride, cpu_threads=1
        )
        assert answer["status"] == "completed", answer
        folders.append(root / str(stride) / "e")
    return folders[0], folders[1]


def test_what_differs_is_shown_with_its_difference(runs: tuple[Path, Path]) -> None:
    found = compare(*runs)
    assert found["options"] == {"stride": [6, 3]}
    before, after, difference = found["summary"]["detections"]
    assert after > before and difference == after - before
    assert found["summary"]["id_switch_estimate"] == [None, None, None]
    assert found["agreement"] > 0.95


def test_a_run_is_as_itself(runs: tuple[Path, Path]) -> None:
    found = compare(runs[0], runs[0])
    assert found["options"] == {}
    assert all(values[2] in (0, None) for values in found["summary"].values())
    assert found["agreement"] == 1


def test_tracks_that_were_moved_away_agree_no_more(runs: tuple[Path, Path], tmp_path: Path) -> None:
    moved = tmp_path / "e"
    shutil.copytree(runs[0], moved)
    tracks = pd.read_parquet(moved / "tracks.parquet")
    tracks[["x1", "x2"]] += 1000
    tracks.to_parquet(moved / "tracks.parquet")
    assert compare(runs[0], moved)["agreement"] == 0


def test_rows_after_the_end_of_the_others_count(runs: tuple[Path, Path], tmp_path: Path) -> None:
    half = tmp_path / "e"
    shutil.copytree(runs[0], half)
    tracks = pd.read_parquet(half / "tracks.parquet")
    tracks[tracks.frame_index < 60].to_parquet(half / "tracks.parquet")
    # 60 rows agree, of 60 and 120.
    assert compare(half, runs[0])["agreement"] == pytest.approx(2 * 60 / 180, abs=1e-4)
    assert compare(runs[0], half)["agreement"] == pytest.approx(2 * 60 / 180, abs=1e-4)


def test_runs_of_different_videos_are_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_video(tmp_path / "other.mp4", pan(12))
    answer = run_detect_track(other, output_root=tmp_path, operation="detect")
    folder = Path(answer["outputs"]["record"]).parent
    with pytest.raises(ResultError, match="different videos"):
        compare(runs[0], folder)
    alone = compare(folder, folder)
    assert alone["agreement"] is None, "there are no tracks yet"


def test_a_folder_without_a_result_is_named(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"nowhere has no complete result"):
        compare(runs[0], tmp_path / "nowhere")


def test_the_command_prints_both(facetracks: Command, runs: tuple[Path, Path]) -> None:
    done = facetracks("compare", *runs)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["stride", "6", "3"] in lines
    assert ["frames", "120", "120", "0"] in lines
    done = facetracks("compare", *runs, "--json")
    assert json.loads(done.stdout)["options"] == {"stride": [6, 3]}
