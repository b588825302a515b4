"""CPU time per frame of each part of the work, each measured alone, in one thread.

Run in a process of its own, `python -m benchmarks.parts CLIP`; prints one JSON line. The parts of
the limit are those that nobody who wants these results can do without: decoding, shrinking to the
detector's size, the detector with its pre- and post-processing, the tracker. The cut detector is
measured too, beside the limit.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from pipeline.detector import open_detector
from pipeline.faces import Faces, detector_input_size, scaled
from pipeline.machine import limit_loaded_libraries
from pipeline.options import Options, ResolvedOptions
from pipeline.shots import with_shots
from pipeline.trackers import import_boxmot, open_tracker
from pipeline.video import Image, VideoInfo, VideoReader, probe

LIMIT = ("decode", "resize", "detector", "tracker")
"""The parts whose sum is the limit."""

OPTIONS: ResolvedOptions = Options(stride=1, det_size=640).resolve()

_BLOCK = 4
"""Frames in memory at a time: few enough to fit a last-level cache."""


class _Stopwatch:
    """CPU seconds of this process, by part."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.cpu_s[name] = self.cpu_s.get(name, 0.0) + time.process_time() - started


def measure(video: Path) -> dict[str, float]:
    """CPU milliseconds per frame of each part, and `frames`.

    Raises:
        VideoError: it cannot be decoded.
    """
    info = probe(video)
    watch = _Stopwatch()
    frames = _decode(video, watch)
    with VideoReader(video, info) as reader:
        looks = list(_looks(reader, watch))
    _track(looks, watch, float(info.frame_rate))
    _cuts(video, info, watch)
    return {"frames": frames, **{name: s / frames * 1000 for name, s in watch.cpu_s.items()}}


def _decode(video: Path, watch: _Stopwatch) -> int:
    """Every frame, all into the same memory; how many there are."""
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    read, image = capture.read()
    frames = 1
    with watch.part("decode"):
        while True:
            read, image = capture.read(image)
            if not read:
                break
            frames += 1
    capture.release()
    return frames


def _looks(reader: VideoReader, watch: _Stopwatch) -> Iterator[tuple[float, Faces]]:
    """Time in seconds and faces of every frame; boxes in pixels of the stored frame."""
    detector = open_detector(det_size=OPTIONS.det_size, device=OPTIONS.device)
    spare: list[Image] = []
    for block in _blocks(reader):
        height, width = block[0][1].shape[:2]
        size = detector_input_size(width, height, OPTIONS.det_size)
        # Into the same memory each time: fresh pages would cost as much as the work.
        spare = spare or [np.empty((size[1], size[0], 3), np.uint8) for _ in range(_BLOCK)]
        with watch.part("resize"):
            small = [scaled(image, size, to) for (_, image), to in zip(block, spare, strict=False)]
        with watch.part("detector"):
            found = [detector.detect(image) for image in small]
        scale = np.float32(width / size[0])
        for (pts_s, _), faces in zip(block, found, strict=True):
            yield pts_s, Faces(faces.boxes * scale, faces.scores, faces.landmarks * scale)


def _blocks(reader: VideoReader) -> Iterator[list[tuple[float, Image]]]:
    """Times in seconds and pictures, a few at a time."""
    block: list[tuple[float, Image]] = []
    for frame in reader.frames():
        block.append((frame.pts_s, frame.picture()))
        if len(block) == _BLOCK:
            yield block
            block = []
    if block:
        yield block


def _track(looks: list[tuple[float, Faces]], watch: _Stopwatch, frames_per_s: float) -> None:
    """One tracker over the whole clip, fed the faces that the pipeline would feed it."""
    import_boxmot()
    tracker = open_tracker(OPTIONS, frames_per_s)
    chosen = []
    for pts_s, faces in looks:
        sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
        large = sides.max(axis=1) >= OPTIONS.min_face
        chosen.append((pts_s, faces.boxes[large], faces.scores[large]))
    with watch.part("tracker"):
        for pts_s, boxes, scores in chosen:
            tracker.update(pts_s, boxes, scores, None)


def _cuts(video: Path, info: VideoInfo, watch: _Stopwatch) -> None:
    """The cut detector with all of its frames' clocks: decoding is measured along and taken off."""
    with VideoReader(video, info) as reader, watch.part("cuts"):
        for _ in with_shots(reader.frames(), info.frame_rate, info.time_base):
            pass
    alone = _Stopwatch()
    with VideoReader(video, info) as reader, alone.part("decode"):
        for _ in reader.frames():
            pass
    watch.cpu_s["cuts"] -= alone.cpu_s["decode"]


def main() -> int:
    limit_loaded_libraries()
    print(json.dumps(measure(Path(sys.argv[1]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
