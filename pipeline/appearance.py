"""The embeddings of stored detections: read, and given to the detections that carry them on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.episode import EpisodeFolder
from pipeline.footer import Footer
from pipeline.links import EmbeddingPlan
from pipeline.tables import BOX_SIDES, column, read_table

Embedded = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""`(E,)` ascending `det_id` of the detections that were embedded, and their `(E, D)` vectors."""


def stored_embeddings(folder: EpisodeFolder) -> Embedded | None:
    """The embeddings of these detections, where there are any."""
    own, theirs = Footer.read(folder.embeddings), Footer.read(folder.detections)
    if own is None or own != theirs:
        return None
    stored = read_table(folder.embeddings)
    dimensions = stored.schema.field("embedding").type.list_size
    lists: Any = stored.column("embedding").combine_chunks()
    return column(stored, "det_id"), lists.flatten().to_numpy().reshape(-1, dimensions)


def spread_embeddings(
    embedded: Embedded, frames: pa.Table, detections: pa.Table
) -> np.ndarray[Any, Any]:
    """`(N, D)`: each detection's embedding, its own or that of the one it carries on."""
    known, vectors = embedded
    det_id = column(detections, "det_id").tolist()
    boxes = np.stack([column(detections, side) for side in BOX_SIDES], axis=1)
    looks = np.flatnonzero(column(frames, "looked_at"))
    shot_id, pts_s = column(frames, "shot_id")[looks], column(frames, "pts_s")[looks]
    frame_of_look = column(frames, "frame_index")[looks]
    frame_of_det = column(detections, "frame_index")
    starts = np.searchsorted(frame_of_det, frame_of_look)
    ends = np.searchsorted(frame_of_det, frame_of_look, side="right")
    plan = EmbeddingPlan()
    sources: list[int] = []
    for look, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        sources += plan.next_look(
            int(shot_id[look]), float(pts_s[look]), boxes[start:end], det_id[start:end]
        )
    position = np.searchsorted(known, np.array(sources, np.int64))
    return np.asarray(vectors[position])


def all_alike(count: int) -> np.ndarray[Any, Any]:
    """The same vector for every face, which leaves the decision to motion."""
    return np.ones((count, 1), np.float32)
