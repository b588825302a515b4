"""`facetracks eval`: published figures, the rule for ignored faces, wrong files."""

from __future__ import annotations

import json
from pathlib import Path

import motmetrics
import numpy as np
import pandas as pd
import pytest

from pipeline.errors import ResultError
from pipeline.evaluate import Evaluation, evaluate
from pipeline.truth import TRUTH_COLUMNS, read_tracks, read_truth
from tests.conftest import Command

EXAMPLES = Path(motmetrics.__file__).parent / "data"
"""py-motmetrics carries ground truth and results of a tracker (CEM) for two MOT 2015 sequences."""

HEADER = ",".join(TRUTH_COLUMNS)
FACE = "10,20,50,60"


@pytest.mark.parametrize(
    ("sequence", "idf1", "mota", "switches", "hota", "det_a", "ass_a"),
    [
        # IDF1, MOTA and switches: MOTChallenge's Matlab devkit, as py-motmetrics' README has them.
        # HOTA, DetA, AssA: py-motmetrics' example of HOTA, in its later versions.
        ("TUD-Campus", 55.8, 52.6, 7, 39.1, 41.8, 36.9),
        ("TUD-Stadtmitte", 64.5, 56.4, 7, 39.8, 39.2, 40.9),
    ],
)
def test_the_figures_are_the_published_ones(
    sequence: str, idf1: float, mota: float, switches: int, hota: float, det_a: float, ass_a: float
) -> None:
    folder = EXAMPLES / sequence
    found = evaluate(read_tracks(folder / "test.txt"), read_truth(folder / "gt.txt"))
    assert found.id_switches == switches
    shares = (found.idf1, found.mota, found.hota, found.det_a, found.ass_a)
    assert [round(100 * share, 1) for share in shares] == [idf1, mota, hota, det_a, ass_a]


def test_two_stretches_are_scored_as_the_library_combines_two_sequences(tmp_path: Path) -> None:
    """Of both sequences as one, shifted in time; OVERALL of the Matlab devkit's counts."""
    for name in ("gt", "test"):
        first, second = (
            pd.read_csv(EXAMPLES / sequence / f"{name}.txt", header=None)
            for sequence in ("TUD-Campus", "TUD-Stadtmitte")
        )
        second[0] += 71
        second[1] += 1000
        pd.concat([first, second]).to_csv(tmp_path / f"{name}.txt", header=False, index=False)
    found = evaluate(read_tracks(tmp_path / "test.txt"), read_truth(tmp_path / "gt.txt"))
    objects = 359 + 1156
    assert found.id_switches == 7 + 7
    assert found.mota == pytest.approx(1 - (13 + 150 + 7 + 45 + 452 + 7) / objects)


def _mot(path: Path, rows: list[str]) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def _score(tmp_path: Path, tracks: list[str], truth: list[str]) -> Evaluation:
    """Of MOTChallenge rows against rows of our truth CSV."""
    truth_csv = _mot(tmp_path / "truth.csv", [HEADER, *truth])
    return evaluate(read_tracks(_mot(tmp_path / "tracks.txt", tracks)), read_truth(truth_csv))


def test_a_track_on_every_face_scores_full(tmp_path: Path) -> None:
    found = _score(
        tmp_path,
        [f"{frame + 1},7,10,20,40,40,0.9,-1,-1,-1" for frame in range(5)],
        [f"{frame},0,anna,{FACE},0" for frame in range(5)],
    )
    assert (found.hota, found.idf1, found.mota) == (1, 1, 1)
    assert (found.purity, found.tracks_per_identity, found.mixed_tracks) == (1, 1, 0)


@pytest.mark.parametrize(
    ("row", "mota"),
    [
        # On a face that is to be ignored: neither a hit nor a miss.
        ("1,8,100,20,40,40,1,-1,-1,-1", 1.0),
        # On no face: a false positive beside two hits.
        ("1,8,300,20,40,40,1,-1,-1,-1", 0.5),
    ],
)
def test_a_row_on_an_ignored_face_counts_neither_way(row: str, mota: float, tmp_path: Path) -> None:
    truth = [f"{frame},0,anna,{FACE},0" for frame in (0, 1)]
    truth += [f"{frame},0,ben,100,20,140,60,1" for frame in (0, 1)]
    tracks = [f"{frame},7,10,20,40,40,1,-1,-1,-1" for frame in (1, 2)]
    assert _score(tmp_path, [*tracks, row], truth).mota == mota


def test_a_face_in_another_shot_is_another_identity(tmp_path: Path) -> None:
    found = _score(
        tmp_path,
        [f"{frame + 1},7,10,20,40,40,1,-1,-1,-1" for frame in range(4)],
        [f"{frame},{frame // 2},anna,{FACE},0" for frame in range(4)],
    )
    assert (found.identities, found.mixed_tracks, found.purity) == (2, 1, 0.5)


def test_a_broken_track_is_two_tracks_for_one_identity(tmp_path: Path) -> None:
    found = _score(
        tmp_path,
        [f"{frame + 1},{frame // 2},10,20,40,40,1,-1,-1,-1" for frame in range(4)],
        [f"{frame},0,anna,{FACE},0" for frame in range(4)],
    )
    assert (found.tracks_per_identity, found.id_switches, found.purity) == (2, 1, 1)
    assert found.idf1 == 0.5


def test_a_tracker_that_found_nothing_scores_nothing(tmp_path: Path) -> None:
    found = _score(tmp_path, [], [f"0,0,anna,{FACE},0"])
    assert (found.hota, found.idf1, found.mota, found.tracks) == (0, 0, 0, 0)
    assert (found.purity, found.tracks_per_identity) == (None, None)


def test_rows_after_the_truth_are_told_and_not_judged(tmp_path: Path) -> None:
    tracks = [f"{frame},7,10,20,40,40,1,-1,-1,-1" for frame in (1, 2, 3)]
    found = _score(tmp_path, tracks, [f"0,0,anna,{FACE},0"])
    assert (found.rows_beyond, found.frames, found.mota) == (2, 1, 1)


def test_a_gt_row_with_flag_0_is_to_be_ignored(tmp_path: Path) -> None:
    truth = _mot(tmp_path / "gt.txt", ["1,1,10,20,40,40,1,1,1", "1,2,100,20,40,40,0,1,1"])
    assert read_truth(truth).ignore.tolist() == [False, True]
    assert read_truth(truth).boxes.tolist() == [[10, 20, 50, 60], [100, 20, 140, 60]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no face that counts"),
        (f"{HEADER}\n", "no face that counts"),
        (f"{HEADER}\n0,0,anna,{FACE},1\n", "no face that counts"),
        (f"frame,shot,name,x1,y1,x2,y2,ignore\n0,0,anna,{FACE},0\n", "has no column 'face'"),
        ("1,1,10,20,40\n", "has 5 columns, MOTChallenge's format at least 7"),
        ("0,1,10,20,40,40,1\n", "frame 0 is out of range"),
        (f"{HEADER}\n-1,0,anna,{FACE},0\n", "frame -1 is out of range"),
        (f"{HEADER}\n0.5,0,anna,{FACE},0\n", "frame 0.5 is out of range"),
        (f"{HEADER}\n0,0,anna,{FACE},0\n1,0,anna,ten,20,50,60,0\n", "line 3: x1 is 'ten'"),
        (f"{HEADER}\n0,0,anna,{FACE},2\n", "ignore has to be 0 or 1"),
        (f"{HEADER}\n0,0,anna,50,20,10,60,0\n", "a box is empty"),
        ("1,1,10,20,40,40,1\n1,1,10,20,40,40,1\n", "two boxes in frame 0"),
        ("PAR1\x00\xff\x00", "is no table of numbers"),
    ],
)
def test_a_wrong_truth_is_named_in_one_line(content: str, message: str, tmp_path: Path) -> None:
    truth = tmp_path / "gt.txt"
    truth.write_text(content, encoding="latin-1")
    with pytest.raises(ResultError, match=message) as caught:
        read_truth(truth)
    assert str(truth) in str(caught.value) and "\n" not in str(caught.value)


def test_a_parquet_file_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tracks.parquet"
    pd.DataFrame({"frame_index": [0]}).to_parquet(path)
    with pytest.raises(ResultError, match="no column 'track_id'"):
        read_tracks(path)
    path.write_bytes(b"no Parquet at all")
    with pytest.raises(ResultError, match="cannot be read"):
        read_tracks(path)


def test_the_truth_of_a_longer_video_is_refused(tmp_path: Path) -> None:
    boxes = {
        side: np.array([number], np.float32) for number, side in enumerate(("x1", "y1", "x2", "y2"))
    }
    rows = pd.DataFrame({"frame_index": [0], "track_id": [1], **boxes})
    rows.to_parquet(tmp_path / "tracks.parquet")
    pd.DataFrame({"frame_index": range(10)}).to_parquet(tmp_path / "frames.parquet")
    truth = read_truth(_mot(tmp_path / "truth.csv", [HEADER, f"10,0,anna,{FACE},0"]))
    with pytest.raises(ResultError, match="only 10 frames"):
        evaluate(read_tracks(tmp_path), truth)


def test_tracks_that_begin_after_the_truth_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="the truth of the same video"):
        _score(tmp_path, ["9,1,10,20,40,40,1,-1,-1,-1"], [f"0,0,anna,{FACE},0"])


def test_the_command_prints_figures(facetracks: Command) -> None:
    folder = EXAMPLES / "TUD-Campus"
    done = facetracks("eval", folder / "test.txt", folder / "gt.txt")
    assert done.returncode == 0, done.stderr
    assert "IDF1          0.558\n" in done.stdout
    done = facetracks("eval", folder / "test.txt", folder / "gt.txt", "--json")
    answer = json.loads(done.stdout)
    assert (answer["idf1"], answer["hota"], answer["mixed_tracks"]) == (0.5577, 0.3914, 3)


def test_a_missing_file_is_one_line_and_exit_code_2(facetracks: Command) -> None:
    done = facetracks("eval", "tracks.parquet", EXAMPLES / "TUD-Campus" / "gt.txt", "--json")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "tracks.parquet does not exist" in done.stderr
    assert json.loads(done.stdout)["error"]["type"] == "ResultError"
