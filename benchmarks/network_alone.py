"""Pictures a second of the detector's network and nothing else: what no program with it can exceed.

`python -m benchmarks.network_alone CLIP [--threads N]`; prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.parts import OPTIONS
from pipeline.faces import detector_input_size, scaled
from pipeline.machine import available_cpus, limit_loaded_libraries
from pipeline.model_table import DEFAULT_DETECTOR, MODELS
from pipeline.models import weights
from pipeline.options import Device
from pipeline.sessions import open_session
from pipeline.video import VideoReader, probe

_PICTURES, _PASSES = 64, 12


def measure(video: Path, threads: int) -> float:
    """Pictures a second of `threads` sessions at once, each of one thread, as the pipeline has it.

    Raises:
        VideoError: it cannot be decoded.
    """
    blobs = _blobs(video)
    sessions = [
        open_session(weights(MODELS[DEFAULT_DETECTOR]), Device.cpu)[0] for _ in range(threads)
    ]
    name = sessions[0].get_inputs()[0].name

    def run(passes: int, number: int) -> None:
        for _ in range(passes):
            for blob in blobs:
                sessions[number].run(None, {name: blob})

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(partial(run, 1), range(threads)))
        started = time.perf_counter()
        list(pool.map(partial(run, _PASSES), range(threads)))
        return threads * _PASSES * len(blobs) / (time.perf_counter() - started)


def _blobs(video: Path) -> list[NDArray[np.float32]]:
    """Pictures as the network takes them; their mean is left in, which costs nothing here."""
    with VideoReader(video, probe(video)) as reader:
        images = [frame.picture() for frame in islice(reader.frames(), _PICTURES)]
    height, width = images[0].shape[:2]
    size = detector_input_size(width, height, OPTIONS.det_size)
    small = [scaled(image, size) for image in images]
    return [np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) for image in small]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--threads", type=int, default=available_cpus())
    given = parser.parse_args()
    limit_loaded_libraries()
    found = measure(given.video, given.threads)
    print(json.dumps({"threads": given.threads, "pictures_a_second": round(found, 1)}))


if __name__ == "__main__":
    main()
