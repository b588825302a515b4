"""Scores tracks against exact truth, by the rules in the evaluation media's index."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import motmetrics
import numpy as np
import pandas as pd

from pipeline.links import pairwise_iou

_BOX = ["x1", "y1", "x2", "y2"]
HIT_IOU = 0.5


@dataclass(frozen=True)
class Score:
    """Attributes:
    idf1: identity F1 (Ristani et al. 2016), 0 to 1; an identity is a face within one shot.
    mixed: tracks that lie on more than one identity.
    """

    idf1: float
    mixed: int


def score(tracks: pd.DataFrame, truth_csv: Path) -> Score:
    """Scores every frame.

    A row on a face that is to be ignored (`ignore` 1), and on no other, counts neither way.

    Args:
        tracks: rows of `tracks.parquet`.
        truth_csv: `frame, shot, face, x1, y1, x2, y2, ignore`.
    """
    truth = pd.read_csv(truth_csv)
    truth["identity"] = truth.groupby(["shot", "face"]).ngroup()
    found = dict(iter(tracks.groupby("frame_index")))
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    people: dict[int, set[int]] = {}
    for frame in range(int(truth.frame.max()) + 1):
        there = truth[truth.frame == frame]
        rows = found.get(frame, tracks[:0])
        iou = pairwise_iou(_boxes(there), _boxes(rows))
        counts = (there["ignore"] == 0).to_numpy()
        identity, track = there.identity.to_numpy(), rows.track_id.to_numpy()
        hit = iou >= HIT_IOU
        for column in np.flatnonzero(hit.any(axis=0)):
            people.setdefault(int(track[column]), set()).add(
                int(identity[int(iou[:, column].argmax())])
            )
        judged = ~hit.any(axis=0) | hit[counts].any(axis=0)
        distance = np.where(hit, 1 - iou, np.nan)[counts][:, judged]
        accumulator.update(identity[counts], track[judged], distance)
    result: Any = motmetrics.metrics.create().compute(accumulator, metrics=["idf1"], name="x")
    return Score(float(result.idf1.iloc[0]), sum(len(ids) > 1 for ids in people.values()))


def _boxes(rows: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float32]]:
    return rows[_BOX].to_numpy(np.float32).reshape(-1, 4)
