"""Looking for faces, frame after frame, with N threads that all do the same.

Each takes the next frame (one decodes at a time, a little ahead), finds its faces with a session
of its own, and hands the result in. Results are written in frame order, so the files do not depend
on N. No thread is there for one stage only, so N threads keep N cores busy and no more.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.ahead import MadeAhead
from pipeline.changes import Transition
from pipeline.detector import FaceDetector, open_detector
from pipeline.embedder import FaceEmbedder, align
from pipeline.faces import Faces
from pipeline.frame_source import Look
from pipeline.links import EmbeddingPlan
from pipeline.options import Device, ResolvedOptions
from pipeline.pace import wait_for_leave
from pipeline.progress import Progress
from pipeline.tables import LANDMARKS, TableWriter
from pipeline.track_facts import CLEAR_SCORE
from pipeline.transition_faces import Comparison, FaceComparer, KeptFaces, TransitionFaces
from pipeline.video import Image

_PROGRESS_EVERY_S = 0.25


@dataclass(slots=True)
class Found:
    """A look's faces, and their aligned pictures, by index: of those that may be needed."""

    look: Look
    faces: Faces
    pictures: dict[int, Image]


class Detections:
    """Takes results in any order, writes them in frame order, and says which faces to embed."""

    def __init__(self, table: TableWriter, ep_id: str, embeds: bool) -> None:
        self.looks = 0
        self.embed_queue: deque[tuple[int, Image]] = deque()
        self.embedded: dict[int, np.ndarray[Any, Any]] = {}
        self._table = table
        self._ep_id = ep_id
        self._plan = EmbeddingPlan() if embeds else None
        self._transition_faces = TransitionFaces()
        self._early: dict[int, Found] = {}
        self._next_det_id = 0

    def add(self, found: Found) -> list[Comparison]:
        """Takes a result, and says which faces are to be compared at transitions."""
        self._early[found.look.number] = found
        comparisons: list[Comparison] = []
        while self.looks in self._early:
            in_turn = self._early.pop(self.looks)
            self._write(in_turn)
            self.looks += 1
            comparisons += self.comparisons(in_turn.look.settled)
        return comparisons

    def comparisons(self, transitions: list[Transition]) -> list[Comparison]:
        """Which faces are to be compared at transitions that are over."""
        return [self._transition_faces.comparison(each) for each in transitions]

    def _write(self, found: Found) -> None:
        look, faces = found.look, found.faces
        count = len(faces)
        det_ids = list(range(self._next_det_id, self._next_det_id + count))
        self._next_det_id += count
        if self._plan is not None:
            pts_s = look.frame.pts_s
            sources = self._plan.next_look(look.shot_id, pts_s, faces.boxes, det_ids)
            for i, (det_id, source) in enumerate(zip(det_ids, sources, strict=True)):
                if det_id == source:
                    self.embed_queue.append((det_id, found.pictures[i]))
        if not count:
            return
        if look.keeps:
            self._transition_faces.add(_kept(found, det_ids))
        points = faces.landmarks
        self._table.append(
            {
                "ep_id": [self._ep_id] * count,
                "frame_index": [look.frame.index] * count,
                "pts_s": [look.frame.pts_s] * count,
                "shot_id": [look.shot_id] * count,
                "det_id": det_ids,
                **{name: faces.boxes[:, i] for i, name in enumerate(("x1", "y1", "x2", "y2"))},
                "score": faces.scores,
                **{
                    f"{name}_{axis}": points[:, i, j]
                    for i, name in enumerate(LANDMARKS)
                    for j, axis in enumerate("xy")
                },
            }
        )


class LookThreads:
    """The threads, and what they share."""

    def __init__(
        self,
        looks: Iterator[Look],
        expected_frames: int | None,
        detections: Detections,
        options: ResolvedOptions,
        threads: int,
        progress: Progress,
    ) -> None:
        self.device = Device.auto
        self.comparer = FaceComparer(options.device)
        self._threads = threads
        self._looks = MadeAhead(looks, threads)
        self._detections, self._options = detections, options
        self._progress = progress
        self._expected = expected_frames
        self._writing = threading.Lock()
        self._failed = threading.Event()
        self._said_at = time.monotonic()

    def run(self) -> None:
        """Looks at all frames.

        Raises:
            FacetracksError: the first error of any thread.
        """
        with ThreadPoolExecutor(self._threads, thread_name_prefix="look") as pool:
            for done in [pool.submit(self._thread) for _ in range(self._threads)]:
                done.result()

    def _thread(self) -> None:
        """Embeds what waits to be embedded, else looks at the next frame."""
        try:
            options = self._options
            detector = open_detector(
                options.detector,
                det_size=options.det_size,
                zoom=options.zoom,
                device=options.device,
            )
            embedder = FaceEmbedder(options.embedder, options.device) if options.embeds else None
            self.device = detector.device
            while not self._failed.is_set():
                wait_for_leave()
                if embedder is not None and self._embed_one(embedder):
                    continue
                look = self._looks.take()
                if look is None:
                    if embedder is None or not self._embed_one(embedder):
                        return
                    continue
                self._look_at(look, detector)
        except BaseException:
            self._failed.set()
            self._looks.close()
            raise

    def _embed_one(self, embedder: FaceEmbedder) -> bool:
        try:
            det_id, picture = self._detections.embed_queue.popleft()
        except IndexError:
            return False
        self._detections.embedded[det_id] = embedder.embed(picture)
        return True

    def _look_at(self, look: Look, detector: FaceDetector) -> None:
        image = look.frame.picture()
        faces = detector.detect(image)
        needed = np.full(len(faces), self._options.embeds)
        if look.keeps:
            needed |= faces.scores >= CLEAR_SCORE
        aligned = {i: align(image, faces.landmarks[i]) for i in np.flatnonzero(needed).tolist()}
        with self._writing:
            comparisons = self._detections.add(Found(look, faces, aligned))
            now = time.monotonic()
            if now - self._said_at >= _PROGRESS_EVERY_S:
                self._said_at = now
                self._progress(look.frame.index, self._expected)
        for comparison in comparisons:
            self.comparer.compare(comparison)


def _kept(found: Found, det_ids: list[int]) -> KeptFaces:
    frame, scores = found.look.frame, found.faces.scores
    clear = np.flatnonzero(scores >= CLEAR_SCORE).tolist()
    return KeptFaces(
        frame.index,
        frame.pts_s,
        [det_ids[i] for i in clear],
        found.faces.boxes[clear],
        [found.pictures[i] for i in clear],
    )
