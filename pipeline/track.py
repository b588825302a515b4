"""The track step: `detections.parquet` in, `tracks.parquet` and `track_summary.parquet` out.

Decodes no video. Shots are independent, so N processes track N shots at a time; the files do not
depend on N.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import pace, tables
from pipeline.appearance import all_alike, spread_embeddings, stored_embeddings
from pipeline.episode import EpisodeFolder
from pipeline.footer import Footer, read_facts
from pipeline.machine import limit_loaded_libraries
from pipeline.model_table import SFACE
from pipeline.models import identity_of
from pipeline.options import ResolvedOptions, Tracker
from pipeline.progress import Progress
from pipeline.record import models_used
from pipeline.request import StepRequest
from pipeline.shot_tracks import FILLED, ShotDetections, TrackRows, track_shot
from pipeline.tables import (
    BOX_SIDES,
    LANDMARKS,
    TRACK_SUMMARY,
    TRACKS,
    TableWriter,
    column,
    read_table,
    table_writer,
)
from pipeline.track_facts import TrackFacts
from pipeline.track_splits import changes_of, changes_within
from pipeline.trackers import import_boxmot

MOTION_ONLY = (
    "the stored detections have no face embeddings: StrongSORT used motion alone; "
    "for appearance too, run again with the video: facetracks run VIDEO --tracker strongsort"
)


_JUMP = 20
"""A gap of so many usual ones between two looks is no pause of theirs."""


def warm(threads: int) -> None:
    """Starts importing what tracking needs, before there is anything to track."""
    limit_loaded_libraries()
    tables.warm()
    if threads == 1:
        import_boxmot()
    else:
        _pool_context()


def _pool_context() -> multiprocessing.context.BaseContext:
    """Processes forked from one that has imported boxmot: the import is paid once."""
    if _boxmot_is_here():
        return multiprocessing.get_context("fork")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.step_preload"])
    forkserver.ensure_running()
    return context


def track_episode(
    folder: EpisodeFolder,
    footer: Footer,
    options: ResolvedOptions,
    threads: int,
    progress: Progress,
) -> dict[str, Any]:
    """Tracks the stored detections and writes both tables; old ones are replaced at the end.

    Returns:
        A record: `tracks`, `track_rows`, `interpolated_rows`, `warnings`, ..., and what
        `TrackFacts.record` counts.

    Raises:
        ResultError: the detections are missing or damaged.
        DiskFull, OutputError: the tables cannot be written.
    """
    frames = read_table(folder.frames)
    detections = read_table(folder.detections)
    embeddings, warnings = None, []
    embedded = stored_embeddings(folder)
    if options.tracker is Tracker.strongsort:
        if embedded is not None:
            embeddings = spread_embeddings(embedded, frames, detections)
        else:
            warnings.append(MOTION_ONLY)
            embeddings = all_alike(detections.num_rows)
    changes = changes_of(read_facts(folder.frames))
    shots = _Shots(frames, detections, embeddings, changes, options)
    with _shot_trackers(threads, shots.count) as run:
        work = partial(track_shot, options=options, looks_per_s=shots.looks_per_s)
        summary = _Summary(folder.ep_id)
        facts = TrackFacts(options.min_score, embedded if _are_sface(folder) else None)
        with (
            table_writer(folder.track_summary, TRACK_SUMMARY, footer) as summary_table,
            table_writer(folder.tracks, TRACKS, footer) as table,
        ):
            for shot_id, rows in enumerate(run(work, shots)):
                summary.add(shot_id, shots, rows, table, facts)
                progress(int(shots.frame_index[shots.frame_ends[shot_id] - 1]) + 1, frames.num_rows)
            summary.write(summary_table)
            folder.record.unlink(missing_ok=True)
    return {
        "tracks": summary.tracks,
        "track_rows": table.rows,
        "interpolated_rows": summary.interpolated,
        "longest_track_s": summary.longest_s,
        "mean_track_s": summary.mean_s,
        **facts.record(),
        "appearance": embeddings is not None and not warnings,
        "warnings": warnings,
    }


def _are_sface(folder: EpisodeFolder) -> bool:
    """Whether the embeddings are of the network whose limit of likeness `TrackFacts` knows."""
    return models_used(read_facts(folder.frames)).get("embedder") == identity_of(SFACE)


def run_step(request: StepRequest, progress: Progress) -> dict[str, Any]:
    """The step as `pipeline.child` calls it."""
    return track_episode(request.folder, request.footer, request.options, request.threads, progress)


def _boxmot_is_here() -> bool:
    """Whether this process was forked from one that had imported it."""
    return "boxmot" in sys.modules


@contextmanager
def _shot_trackers(threads: int, shots: int) -> Iterator[Any]:
    """A `map` that tracks shots in this process, or several at a time in others."""
    if threads == 1 or (shots == 1 and _boxmot_is_here()):
        import_boxmot()
        yield map
        return
    context = _pool_context()
    leave = pace.leave_for(context)
    with ProcessPoolExecutor(threads, context, initializer=pace.obey, initargs=(leave,)) as pool:
        yield pool.map


class _Shots:
    """The episode cut into shots: iterates `ShotDetections` in order."""

    def __init__(
        self,
        frames: pa.Table,
        detections: pa.Table,
        embeddings: np.ndarray[Any, Any] | None,
        changes: list[dict[str, Any]],
        options: ResolvedOptions,
    ) -> None:
        self.frame_index = column(frames, "frame_index")
        self.pts_s = column(frames, "pts_s")
        self._looked_at = column(frames, "looked_at")
        shot_of_frame = column(frames, "shot_id")
        self.count = int(shot_of_frame[-1]) + 1
        self.frame_starts = np.searchsorted(shot_of_frame, np.arange(self.count))
        self.frame_ends = np.searchsorted(shot_of_frame, np.arange(self.count), side="right")
        boxes = np.stack([column(detections, side) for side in BOX_SIDES], axis=1)
        longer_side = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        nose = np.stack([column(detections, f"nose_{axis}") for axis in "xy"], axis=1)
        # Boxes end at the frame's edge: without its nose, half of a face is out of the picture.
        has_nose = np.all((boxes[:, :2] < nose) & (nose < boxes[:, 2:]), axis=1)
        chosen = np.flatnonzero((longer_side >= options.min_face) & has_nose)
        self.det_id = column(detections, "det_id")[chosen]
        self._boxes = boxes[chosen]
        points = [column(detections, f"{name}_{axis}") for name in LANDMARKS for axis in "xy"]
        self._landmarks = np.stack(points, axis=1)[chosen].reshape(-1, len(LANDMARKS), 2)
        self._changes = changes
        self.scores = column(detections, "score")[chosen]
        self._embeddings = None if embeddings is None else embeddings[chosen]
        shot_of_det = column(detections, "shot_id")[chosen]
        # Frames are numbered without holes, so a detection's frame is its position in them.
        self._frame_of_det = column(detections, "frame_index")[chosen]
        self.det_starts = np.searchsorted(shot_of_det, np.arange(self.count))
        self._det_ends = np.searchsorted(shot_of_det, np.arange(self.count), side="right")
        self.looks_per_s = _rate(self.pts_s[self._looked_at])

    def faces(self, shot: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Of each detection of a shot: position of its frame in the shot, and score."""
        dets = slice(self.det_starts[shot], self._det_ends[shot])
        return self._frame_of_det[dets] - self.frame_starts[shot], self.scores[dets]

    def looks(self, shot: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Of each frame of a shot: whether it was looked at, and its time."""
        frames = slice(self.frame_starts[shot], self.frame_ends[shot])
        return self._looked_at[frames], self.pts_s[frames]

    def __iter__(self) -> Iterator[ShotDetections]:
        for shot in range(self.count):
            frames = slice(self.frame_starts[shot], self.frame_ends[shot])
            dets = slice(self.det_starts[shot], self._det_ends[shot])
            yield ShotDetections(
                self.frame_index[frames],
                self.pts_s[frames],
                self._looked_at[frames],
                self._frame_of_det[dets] - self.frame_starts[shot],
                self._boxes[dets],
                self.scores[dets],
                None if self._embeddings is None else self._embeddings[dets],
                self._landmarks[dets],
                changes_within(self._changes, frames.start, frames.stop, self.det_id[dets]),
            )


def _rate(times_s: np.ndarray[Any, Any]) -> float:
    """How many a second, on average; where a clock jumps (joined recordings) does not count."""
    gaps = np.diff(times_s)
    gaps = gaps[gaps <= _JUMP * np.median(gaps)] if len(gaps) else gaps
    return len(gaps) / float(gaps.sum()) if len(gaps) and gaps.sum() > 0 else 1.0


class _Summary:
    """Writes the rows of each shot, and gathers one row a track."""

    def __init__(self, ep_id: str) -> None:
        self.tracks = 0
        self.interpolated = 0
        self._ep_id = ep_id
        self._rows: list[dict[str, Any]] = []

    def add(
        self,
        shot_id: int,
        shots: _Shots,
        rows: TrackRows,
        table: TableWriter,
        facts: TrackFacts,
    ) -> None:
        facts.add_faces(*shots.faces(shot_id))
        count = len(rows.frame)
        if not count:
            return
        frame_index = shots.frame_index[shots.frame_starts[shot_id] + rows.frame]
        pts_s = shots.pts_s[shots.frame_starts[shot_id] + rows.frame]
        filled = rows.detection == FILLED
        detection = shots.det_starts[shot_id] + np.where(filled, 0, rows.detection)
        det_id, score = shots.det_id[detection], shots.scores[detection]
        looked_at, shot_pts_s = shots.looks(shot_id)
        facts.add_tracks(looked_at, shot_pts_s, rows.frame, rows.track, det_id, score, filled)
        track_id = rows.track + self.tracks + 1
        table.append(
            {
                "ep_id": [self._ep_id] * count,
                "frame_index": frame_index,
                "pts_s": pts_s,
                "shot_id": np.full(count, shot_id),
                "track_id": track_id,
                "det_id": pa.array(det_id, mask=filled),
                **{side: rows.boxes[:, i] for i, side in enumerate(BOX_SIDES)},
                "score": pa.array(score, mask=filled),
                "interpolated": filled,
            }
        )
        self.interpolated += int(filled.sum())
        for number in range(int(rows.track.max()) + 1):
            mine = np.flatnonzero(rows.track == number)
            seen = mine[~filled[mine]]
            best = seen[int(score[seen].argmax())]
            self._rows.append(
                {
                    "ep_id": self._ep_id,
                    "track_id": int(track_id[mine[0]]),
                    "shot_id": shot_id,
                    "first_frame": int(frame_index[mine[0]]),
                    "last_frame": int(frame_index[mine[-1]]),
                    "first_pts_s": float(pts_s[mine[0]]),
                    "last_pts_s": float(pts_s[mine[-1]]),
                    "length_s": float(pts_s[mine[-1]] - pts_s[mine[0]]),
                    "rows": len(mine),
                    "detections": len(seen),
                    "mean_score": float(score[seen].mean()),
                    "best_frame": int(frame_index[best]),
                    "best_det_id": int(det_id[best]),
                }
            )
        self.tracks += int(rows.track.max()) + 1

    @property
    def longest_s(self) -> float:
        return max((float(row["length_s"]) for row in self._rows), default=0.0)

    @property
    def mean_s(self) -> float:
        return sum(float(row["length_s"]) for row in self._rows) / max(1, len(self._rows))

    def write(self, table: TableWriter) -> None:
        table.append({name: [row[name] for row in self._rows] for name in TRACK_SUMMARY.names})
