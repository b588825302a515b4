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
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.ahead import MadeAhead
from pipeline.detector import FaceDetector, open_detector
from pipeline.embedder import FaceEmbedder, align
from pipeline.faces import Faces
from pipeline.frame_source import Look
from pipeline.links import EmbeddingPlan
from pipeline.options import ResolvedOptions
from pipeline.pace import wait_for_leave
from pipeline.progress import Progress
from pipeline.tables import LANDMARKS, TableWriter
from pipeline.video import Image

_PROGRESS_EVERY_S = 0.25


@dataclass(slots=True)
class Found:
    """A look's faces, and where they are to be embedded their aligned pictures."""

    look: Look
    faces: Faces
    pictures: list[Image] = field(default_factory=list)


class Detections:
    """Takes results in any order, writes them in frame order, and says which faces to embed."""

    def __init__(self, table: TableWriter, ep_id: str, embeds: bool) -> None:
        self.looks = 0
        self.embed_queue: deque[tuple[int, Image]] = deque()
        self.embedded: dict[int, np.ndarray[Any, Any]] = {}
        self._table = table
        self._ep_id = ep_id
        self._plan = EmbeddingPlan() if embeds else None
        self._early: dict[int, Found] = {}
        self._next_det_id = 0

    def add(self, found: Found) -> None:
        self._early[found.look.number] = found
        while self.looks in self._early:
            self._write(self._early.pop(self.looks))
            self.looks += 1

    def _write(self, found: Found) -> None:
        look, faces = found.look, found.faces
        count = len(faces)
        if not count:
            return
        det_ids = list(range(self._next_det_id, self._next_det_id + count))
        self._next_det_id += count
        if self._plan is not None:
            pts_s = look.frame.pts_s
            sources = self._plan.next_look(look.shot_id, pts_s, faces.boxes, det_ids)
            for det_id, source, picture in zip(det_ids, sources, found.pictures, strict=True):
                if det_id == source:
                    self.embed_queue.append((det_id, picture))
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
        self.device = ""
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
        found = Found(look, faces)
        if self._options.embeds:
            found.pictures = [align(image, points) for points in faces.landmarks]
        with self._writing:
            self._detections.add(found)
            now = time.monotonic()
            if now - self._said_at >= _PROGRESS_EVERY_S:
                self._said_at = now
                self._progress(look.frame.index, self._expected)
