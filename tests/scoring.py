"""The scores that the tests of the truth episodes look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipeline.evaluate import evaluate
from pipeline.truth import read_truth, rows_of_tracks


@dataclass(frozen=True)
class Score:
    """Attributes: `Evaluation.idf1` and `Evaluation.mixed_tracks`."""

    idf1: float
    mixed: int


def score(tracks: pd.DataFrame, truth_csv: Path) -> Score:
    """Scores rows of `tracks.parquet` by the rules of `pipeline.evaluate`."""
    found = evaluate(rows_of_tracks(tracks, Path("tracks")), read_truth(truth_csv))
    return Score(found.idf1, found.mixed_tracks)
