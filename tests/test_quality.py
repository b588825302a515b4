"""Numbers about tracks without labels, and what they warn of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows import run_detect_track
from flows.report_text import markdown_report, quality_rows, summary_of
from flows.request import make_request
from pipeline.options import Options
from pipeline.quality import quality_warnings, summarize
from pipeline.track_facts import TrackFacts

FPS = 10


def _facts(
    tracks: list[list[int]],
    frames: int = 40,
    stride: int = 1,
    embedded: dict[int, list[float]] | None = None,
    unclear: tuple[int, ...] = (),
) -> dict[str, Any]:
    """Counts over one shot at 10 frames a second.

    Args:
        tracks: the frames of each track; detections are numbered in the order given.
        embedded: vectors by detection.
        unclear: detections of score 0.8, where the others have 0.95.
    """
    rows = [(frame, number) for number, track in enumerate(tracks) for frame in track]
    table = pd.DataFrame(rows, columns=["frame", "track"])
    table["det_id"] = range(len(table))
    table = table.sort_values(["frame", "track"])
    known = None
    if embedded is not None:
        vectors = np.array([embedded[each] for each in sorted(embedded)], np.float32)
        known = np.array(sorted(embedded), np.int64), vectors.reshape(-1, 2)
    facts = TrackFacts(0.6, known)
    index = np.arange(frames)
    scores = np.where(table.det_id.isin(unclear), 0.8, 0.95).astype(np.float32)
    facts.add_faces(table.frame.to_numpy(), scores)
    facts.add_tracks(
        (index % stride == 0) | (index == frames - 1),
        index / FPS,
        table.frame.to_numpy(),
        table.track.to_numpy(),
        table.det_id.to_numpy(),
        scores,
        table.frame.to_numpy() % stride != 0,
    )
    return facts.record()


@pytest.mark.parametrize(
    ("frames", "stride", "short"),
    [
        # Half a second in the midst of a shot of four.
        (range(10, 16), 1, 1),
        # A second and more.
        (range(10, 21), 1, 0),
        # From the shot's first frame on, and up to its last: the cuts are to blame.
        (range(6), 1, 0),
        (range(34, 40), 1, 0),
        # Up to the last look but one; the cut did not end it.
        (range(30, 37), 6, 1),
    ],
)
def test_a_track_is_short_where_no_cut_ended_it(frames: range, stride: int, short: int) -> None:
    assert _facts([[*frames]], stride=stride)["short_tracks"] == short


def test_faces_at_once_are_those_of_the_fullest_frame_of_each_shot() -> None:
    facts = TrackFacts(0.6, None)
    high = np.float32(0.9)
    facts.add_faces(np.array([0, 0, 0, 1]), np.array([high, high, 0.5, high], np.float32))
    facts.add_faces(np.empty(0, np.int64), np.empty(0, np.float32))
    facts.add_faces(np.array([4]), np.array([0.6], np.float32))
    assert facts.record()["faces_at_once"] == 2 + 1


def test_frames_and_scores_are_those_of_the_tracks() -> None:
    found = _facts([[*range(10)], [*range(5, 15)]])
    assert found["frames_with_face"] == 15
    assert found["mean_score"] == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("embedded", "pairs", "unlike"),
    [
        # Rows 0 to 9 are the first track's, 10 to 19 the second's.
        ({0: [1, 0], 5: [1, 0], 9: [0.6, 0.8]}, 2, 0),
        ({0: [1, 0], 5: [0, 1], 9: [1, 0]}, 2, 2),
        # The last of one track and the first of the next are no pair.
        ({9: [1, 0], 10: [0, 1]}, 0, 0),
        # Cosines on both sides of the limit, 0.363.
        ({0: [1, 0], 5: [0.37, 0.929]}, 1, 0),
        ({0: [1, 0], 5: [0.36, 0.933]}, 1, 1),
        ({}, 0, 0),
    ],
)
def test_faces_that_follow_one_another_in_a_track_are_compared(
    embedded: dict[int, list[float]], pairs: int, unlike: int
) -> None:
    found = _facts([[*range(10)], [*range(10)]], embedded=embedded)
    assert (found["embedded_pairs"], found["unlike_pairs"]) == (pairs, unlike)


def test_a_face_that_is_not_clearly_seen_is_compared_with_none() -> None:
    vectors = {0: [1.0, 0.0], 5: [0.0, 1.0], 9: [1.0, 0.0]}
    found = _facts([[*range(10)]], embedded=vectors, unclear=(5,))
    assert (found["embedded_pairs"], found["unlike_pairs"]) == (1, 0)


def test_without_embeddings_there_is_no_estimate_of_switches() -> None:
    found = _facts([[*range(10)]])
    assert (found["embedded_pairs"], found["unlike_pairs"]) == (None, None)


def _steps(minutes: float = 2.0, **track: float | None) -> dict[str, dict[str, Any]]:
    """Facts of a run without faults, but for what is given."""
    return {
        "detect": {
            "duration_s": 60 * minutes, "frames": 1000, "frames_lost": 0, "shots": 21,
            "detections": 300, "looks": 200,
        },
        "track": {
            "tracks": 40, "track_rows": 1500, "interpolated_rows": 1200, "mean_track_s": 2.0,
            "longest_track_s": 6.0, "short_tracks": 4, "faces_at_once": 32,
            "frames_with_face": 900, "mean_score": 0.9, "embedded_pairs": 100, "unlike_pairs": 5,
            "appearance": False,
            **track,
        },
    }  # fmt: skip


def test_the_summary_makes_rates_of_the_counts() -> None:
    summary = summarize(_steps())
    assert (summary["cuts_per_minute"], summary["tracks_per_minute"]) == (10, 20)
    assert (summary["tracks_per_shot_face"], summary["short_fraction"]) == (1.25, 0.1)
    assert (summary["id_switch_estimate"], summary["mean_score"]) == (0.05, 0.9)
    assert (summary["faces_per_frame"], summary["frames_without_face"]) == (1.5, 0.1)


def test_a_run_without_tracks_has_no_shares() -> None:
    nothing = dict.fromkeys(
        ("tracks", "track_rows", "short_tracks", "faces_at_once", "frames_with_face"), 0
    )
    summary = summarize(_steps(**nothing, mean_score=None, embedded_pairs=0, unlike_pairs=0))
    assert (summary["tracks_per_minute"], summary["frames_without_face"]) == (0, 1)
    for name in ("tracks_per_shot_face", "short_fraction", "id_switch_estimate", "mean_score"):
        assert summary[name] is None, name


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (_steps(), []),
        # Each at its limit, then beyond it.
        (_steps(tracks=100), []),
        (_steps(tracks=101), ["50.5 tracks a minute", "--min-score", "--max-gap-s"]),
        (_steps(short_tracks=12), []),
        (_steps(short_tracks=13), ["32.5% of the tracks", "--looks-per-s", "--min-track-s"]),
        (_steps(unlike_pairs=10), []),
        (_steps(unlike_pairs=11), ["11.0% of the faces", "--tracker strongsort"]),
        # A second with two faces has 120 tracks a minute, and nothing wrong with it.
        (_steps(minutes=1 / 60, tracks=2, short_tracks=0), []),
        # Chance: too few tracks, too few pairs.
        (_steps(tracks=9, short_tracks=9), []),
        (_steps(embedded_pairs=9, unlike_pairs=9), []),
        (_steps(embedded_pairs=None, unlike_pairs=None), []),
    ],
)
def test_a_limit_that_is_passed_is_warned_of_with_the_option_to_turn(
    steps: dict[str, dict[str, Any]], words: list[str]
) -> None:
    warnings = quality_warnings(steps)
    assert len(warnings) == bool(words)
    assert all(word in warnings[0] for word in words)


def test_no_option_is_named_that_is_turned_already() -> None:
    steps = _steps(short_tracks=13, unlike_pairs=11, appearance=True)
    steps["detect"]["looks"] = steps["detect"]["frames"]
    warnings = quality_warnings(steps)
    assert len(warnings) == 2
    for warning in warnings:
        assert "--looks-per-s" not in warning and "strongsort" not in warning


def test_every_number_reaches_the_record_and_the_report(sample: Path, tmp_path: Path) -> None:
    answer = run_detect_track(sample, output_root=tmp_path, tracker="strongsort")
    record = json.loads(Path(answer["outputs"]["record"]).read_text())
    summary = record["summary"]
    assert summary == answer["summary"]
    assert (summary["tracks_per_shot_face"], summary["short_fraction"]) == (1, 0)
    assert (summary["id_switch_estimate"], summary["frames_without_face"]) == (0, 0)
    assert record["warnings"] == []
    assert summary_of(quality_rows(summary)) == summary
    request = make_request(sample, None, tmp_path, Options(), "run", False)
    report = markdown_report("e", request, {**summary, "id_switch_estimate": None}, {})
    assert "| tracks a minute | 15" in report.replace("14.985", "15")
    assert "| share of a track's faces unlike the one before | - |" in report


def test_a_warning_is_said_once_in_the_log_and_once_in_the_record(
    shared_data: Path, tmp_path: Path
) -> None:
    """A stage and its audience, every low score a track: false alarms and broken tracks."""
    answer = run_detect_track(
        shared_data / "clips" / "short_hamilton_clip.mp4",
        output_root=tmp_path, stride=1, min_score=0.2, min_track_s=0, max_gap_s=0, min_face=0,
    )  # fmt: skip
    warnings = json.loads(Path(answer["outputs"]["record"]).read_text())["warnings"]
    assert warnings, answer["summary"]
    for warning in warnings:
        assert sum(warning in line for line in answer["logs"]) == 1
