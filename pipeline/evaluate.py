"""Tracks against truth: HOTA, IDF1 and MOTA by TrackEval, and how tracks and identities mix.

TrackEval (github.com/JonathonLuiten/TrackEval) is the reference implementation of HOTA and scores
the MOTChallenge benchmarks. It is given one sequence for each stretch of frames that no track and
no identity outlasts, as shots are: its figures for them combined are exactly those of the whole,
and the tables of all identities by all tracks stay small in an episode of an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ResultError
from pipeline.links import pairwise_iou
from pipeline.truth import BoxRows

HIT_IOU = 0.5
"""Overlap with which a box lies on a face; MOTChallenge's for IDF1 and MOTA."""

_CONFIG = {"THRESHOLD": HIT_IOU, "PRINT_CONFIG": False}
"""Of TrackEval's CLEAR and Identity."""


@dataclass(frozen=True)
class Evaluation:
    """How well tracks follow the truth. Shares are 0 to 1; None where there is nothing to share.

    Attributes:
        hota: HOTA (Luiten et al., IJCV 2021), mean over overlaps of 0.05 to 0.95.
        det_a, ass_a: its parts, detection and association accuracy.
        idf1: identity F1 (Ristani et al., 2016).
        mota: multiple object tracking accuracy (Bernardin and Stiefelhagen, 2008); may be below 0.
        id_switches: changes of the track that an identity is matched to, as MOTA counts them.
        purity: of the rows that lie on a face, the share on the one their track lies on most.
        tracks_per_identity: tracks that lie on an identity, over the identities that have one;
            1 is one track each.
        mixed_tracks: tracks that lie on more than one identity.
        tracks, identities: how many there are; only identities that count somewhere.
        frames: frames judged: up to the last one of the truth.
        rows_beyond: rows of tracks after that, which are not judged.
    """

    hota: float
    det_a: float
    ass_a: float
    idf1: float
    mota: float
    id_switches: int
    purity: float | None
    tracks_per_identity: float | None
    mixed_tracks: int
    tracks: int
    identities: int
    frames: int
    rows_beyond: int

    def as_record(self) -> dict[str, int | float | None]:
        """For JSON, shares with four decimals."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class _Frame:
    """What is judged in one frame: `(T,)` identities, `(H,)` tracks, `(T, H)` overlaps."""

    identity: NDArray[np.int64]
    track: NDArray[np.int64]
    iou: NDArray[np.float64]


def evaluate(tracks: BoxRows, truth: BoxRows) -> Evaluation:
    """Scores every frame up to the truth's last one.

    A row that lies on a face to be ignored, and on no other, counts neither way.

    Raises:
        ResultError: the two are not of the same frames.
    """
    last = int(truth.frame[-1])
    if tracks.frames is not None and last >= tracks.frames:
        raise ResultError(
            f"{truth.path} has frame {last} (counted from 0), the episode of {tracks.path} only "
            f"{tracks.frames} frames: give the truth of the same video"
        )
    if len(tracks.frame) and tracks.frame[0] > last:
        raise ResultError(
            f"{tracks.path} begins at frame {tracks.frame[0]}, {truth.path} ends at frame {last} "
            "(counted from 0): give the truth of the same video"
        )
    hits = _Hits()
    shown = int(np.searchsorted(tracks.frame, last, side="right"))
    frames = _judged_frames(tracks, truth, last, hits)
    return Evaluation(
        **_all_scores(frames),
        **hits.figures(),
        tracks=len(np.unique(tracks.identity[:shown])),
        identities=len(np.unique(truth.identity[~truth.ignore])),
        frames=last + 1,
        rows_beyond=len(tracks.frame) - shown,
    )


def agreement(tracks: BoxRows, others: BoxRows) -> float:
    """IDF1 of tracks with others in the place of the truth, over all frames of both."""
    ends = [int(rows.frame[-1]) for rows in (tracks, others) if len(rows.frame)]
    if not ends:
        return 1.0
    from trackeval.metrics import Identity

    frames = _judged_frames(tracks, others, max(ends), _Hits())
    return float(_combined(Identity(_CONFIG), _sequences(frames))["IDF1"])


class _Hits:
    """Which tracks lie on which identities, counted in rows."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[int, int]] = {}
        self._counted: set[tuple[int, int]] = set()

    def add(self, track: int, identity: int, counts: bool) -> None:
        rows = self._rows.setdefault(track, {})
        rows[identity] = rows.get(identity, 0) + 1
        if counts:
            self._counted.add((track, identity))

    def figures(self) -> dict[str, Any]:
        found = [list(rows.values()) for rows in self._rows.values()]
        total = sum(map(sum, found))
        identities = len({identity for _, identity in self._counted})
        return {
            "purity": sum(map(max, found)) / total if total else None,
            "tracks_per_identity": len(self._counted) / identities if identities else None,
            "mixed_tracks": sum(len(rows) > 1 for rows in found),
        }


def _judged_frames(tracks: BoxRows, truth: BoxRows, last: int, hits: _Hits) -> list[_Frame]:
    """The frames up to `last` in which there is anything; others change no figure."""
    with_any = np.union1d(truth.frame, tracks.frame)
    return [_judged(tracks, truth, frame, hits) for frame in with_any[with_any <= last].tolist()]


def _judged(tracks: BoxRows, truth: BoxRows, frame: int, hits: _Hits) -> _Frame:
    there, found = _slice(truth, frame), _slice(tracks, frame)
    iou = pairwise_iou(truth.boxes[there], tracks.boxes[found])
    identity, track = truth.identity[there], tracks.identity[found]
    counts = ~truth.ignore[there]
    hit = iou >= HIT_IOU
    for column in np.flatnonzero(hit.any(axis=0)):
        best = int(iou[:, column].argmax())
        hits.add(int(track[column]), int(identity[best]), bool(counts[best]))
    judged = ~hit.any(axis=0) | hit[counts].any(axis=0)
    return _Frame(identity[counts], track[judged], iou[counts][:, judged].astype(np.float64))


def _slice(rows: BoxRows, frame: int) -> slice:
    start, end = np.searchsorted(rows.frame, (frame, frame + 1))
    return slice(int(start), int(end))


def _all_scores(frames: list[_Frame]) -> dict[str, Any]:
    from trackeval.metrics import CLEAR, HOTA, Identity

    sequences = _sequences(frames)
    hota = _combined(HOTA(), sequences)
    clear = _combined(CLEAR(_CONFIG), sequences)
    return {
        "hota": float(np.mean(hota["HOTA"])),
        "det_a": float(np.mean(hota["DetA"])),
        "ass_a": float(np.mean(hota["AssA"])),
        "idf1": float(_combined(Identity(_CONFIG), sequences)["IDF1"]),
        "mota": float(clear["MOTA"]),
        "id_switches": int(clear["IDSW"]),
    }


def _combined(metric: Any, sequences: list[dict[str, Any]]) -> dict[str, Any]:
    """One of TrackEval's metrics over all sequences."""
    found = {number: metric.eval_sequence(data) for number, data in enumerate(sequences)}
    return dict(metric.combine_sequences(found))


def _sequences(frames: list[_Frame]) -> list[dict[str, Any]]:
    return [_sequence(frames[stretch]) for stretch in _stretches(frames)]


def _stretches(frames: list[_Frame]) -> Iterator[slice]:
    """The frames cut wherever no track and no identity goes on."""
    last: dict[tuple[str, int], int] = {}
    for number, frame in enumerate(frames):
        for kind, ids in (("identity", frame.identity), ("track", frame.track)):
            last.update(((kind, each), number) for each in ids.tolist())
    start = reach = 0
    for number, frame in enumerate(frames):
        if number > reach:
            yield slice(start, number)
            start = number
        for kind, ids in (("identity", frame.identity), ("track", frame.track)):
            reach = max([reach, number, *(last[kind, each] for each in ids.tolist())])
    yield slice(start, len(frames))


def _sequence(frames: list[_Frame]) -> dict[str, Any]:
    """As TrackEval's metrics take a sequence: ids are numbered from 0."""
    identities = np.unique(np.concatenate([frame.identity for frame in frames]))
    tracks = np.unique(np.concatenate([frame.track for frame in frames]))
    return {
        "num_timesteps": len(frames),
        "num_gt_ids": len(identities),
        "num_tracker_ids": len(tracks),
        "num_gt_dets": sum(len(frame.identity) for frame in frames),
        "num_tracker_dets": sum(len(frame.track) for frame in frames),
        "gt_ids": [np.searchsorted(identities, frame.identity) for frame in frames],
        "tracker_ids": [np.searchsorted(tracks, frame.track) for frame in frames],
        "similarity_scores": [frame.iou for frame in frames],
    }
