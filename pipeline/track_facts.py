"""What can be counted about tracks without labels, shot by shot; `pipeline.quality` makes rates.

An evaluation needs truth. These counts need none, and still tell most of what goes wrong: faces
whose tracks break up, false alarms that live for a moment, tracks that change from one person to
another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SHORT_S = 1.0
"""A track that lasts less, and that no cut ended, is short."""

SAME_FACE_COSINE = 0.363
"""Two SFace embeddings below this cosine are of different people: the limit that OpenCV's zoo
gives for SFace, where it is most accurate on LFW (opencv_zoo, models/face_recognition_sface)."""

CLEAR_SCORE = 0.9
"""Faces below this score are not compared: half hidden or turned away, a face is unlike itself.
In the tracks of the truth episodes, none of which mixes people, 7 to 13 % of the embedded faces
are unlike the one before; of those with this score, 1 % at most (`make bench-quality`)."""


class TrackFacts:
    """Counts over the shots of an episode. Feed it all shots in order."""

    def __init__(
        self,
        min_score: float,
        embedded: tuple[NDArray[np.int64], NDArray[np.float32]] | None,
    ) -> None:
        """
        Args:
            min_score: of the best detection of a track.
            embedded: `(E,)` ascending `det_id`, and their `(E, 128)` SFace vectors of length 1.
        """
        self._min_score = min_score
        self._embedded = embedded
        self._short = 0
        self._faces_at_once = 0
        self._frames_with_face = 0
        self._score_sum = 0.0
        self._scored = 0
        self._pairs = 0
        self._unlike_pairs = 0

    def add_faces(self, look: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """The detections of a shot.

        Args:
            look: `(N,)` position of each detection's frame in the shot's frames.
            scores: `(N,)` in 0..1.
        """
        faces = look[scores >= self._min_score]
        if len(faces):
            self._faces_at_once += int(np.bincount(faces).max())

    def add_tracks(
        self,
        looked_at: NDArray[np.bool_],
        pts_s: NDArray[np.float64],
        frame: NDArray[np.int64],
        track: NDArray[np.int64],
        det_id: NDArray[np.int64],
        scores: NDArray[np.float32],
        filled: NDArray[np.bool_],
    ) -> None:
        """The rows of a shot's tracks, sorted by frame; at least one.

        Args:
            looked_at, pts_s: `(F,)`, of the shot's frames.
            frame, track: `(R,)` position of the frame in those, and the track's number in 0..T-1.
            det_id, scores, filled: `(R,)`; the first two mean nothing where a row is filled in.
        """
        looks = np.flatnonzero(looked_at)
        order = np.argsort(track, kind="stable")
        starts = np.searchsorted(track[order], np.arange(int(track.max()) + 1))
        first = frame[order[starts]]
        last = frame[order[np.append(starts[1:], len(order)) - 1]]
        by_cut = (first <= looks[0]) | (last >= looks[-1])
        self._short += int((~by_cut & (pts_s[last] - pts_s[first] < SHORT_S)).sum())
        self._frames_with_face += len(np.unique(frame))
        self._score_sum += float(scores[~filled].sum(dtype=np.float64))
        self._scored += int((~filled).sum())
        if self._embedded is not None:
            seen = order[~filled[order]]
            seen = seen[scores[seen] >= CLEAR_SCORE]
            self._compare(track[seen], det_id[seen], *self._embedded)

    def _compare(
        self,
        track: NDArray[np.int64],
        det_id: NDArray[np.int64],
        known: NDArray[np.int64],
        vectors: NDArray[np.float32],
    ) -> None:
        """Counts the embedded faces that follow one another in a track, and those unlike."""
        position = np.searchsorted(known, det_id)
        own = np.append(known, -1)[position] == det_id
        track, position = track[own], position[own]
        pairs = np.flatnonzero(track[1:] == track[:-1])
        before, after = vectors[position[pairs]], vectors[position[pairs + 1]]
        cosine = np.einsum("ij,ij->i", before, after)
        self._pairs += len(pairs)
        self._unlike_pairs += int((cosine < SAME_FACE_COSINE).sum())

    def record(self) -> dict[str, Any]:
        """The counts.

        Returns:
            `short_tracks`: shorter than `SHORT_S`, though no cut ended them (neither their first
            nor their last row is at the first or last look of the shot).
            `faces_at_once`: the largest number of faces in one frame, with a score that a
            track needs (`min_score`), summed over the shots.
            `frames_with_face`: frames in which a face is tracked.
            `mean_score`: of the tracked detections; None without any.
            `embedded_pairs`, `unlike_pairs`: within tracks, each embedded face of `CLEAR_SCORE`
            and the next one, and those of them below `SAME_FACE_COSINE`; None without embeddings.
        """
        no_embeddings = self._embedded is None
        return {
            "short_tracks": self._short,
            "faces_at_once": self._faces_at_once,
            "frames_with_face": self._frames_with_face,
            "mean_score": self._score_sum / self._scored if self._scored else None,
            "embedded_pairs": None if no_embeddings else self._pairs,
            "unlike_pairs": None if no_embeddings else self._unlike_pairs,
        }
