"""Pictures a second of the detector's network and nothing else: what no program with it can exceed.

`python -m benchmarks.network_alone CLIP [--threads N] [--device DEVICE]`; prints one JSON line.
With `PYTHONPATH=.venv/openvino` before it, `--device openvino` is there; how far its scores are
from those of the CPU's provider is told, too.
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
import onnxruntime
from numpy.typing import NDArray

from benchmarks.parts import OPTIONS
from pipeline.faces import detector_input_size, scaled
from pipeline.machine import available_cpus, limit_loaded_libraries
from pipeline.model_table import DEFAULT_DETECTOR, MODELS
from pipeline.models import weights
from pipeline.options import Device
from pipeline.retinaface import MEAN_BGR
from pipeline.sessions import open_session
from pipeline.video import VideoReader, probe

_PICTURES, _PASSES = 64, 12
_SCORE = 0.3


def measure(video: Path, threads: int, device: Device) -> dict[str, float]:
    """Of `threads` sessions at once, each of one thread, as the pipeline has it.

    Returns:
        `pictures_a_second`, `cpu_ms` of a picture, and, on another device than the CPU, mean and
        largest difference of scores of `_SCORE` or more, by anchor.

    Raises:
        VideoError: it cannot be decoded.
        OptionError: the device is not there.
    """
    blobs = _blobs(video)
    sessions = [_session(device) for _ in range(threads)]

    def run(passes: int, number: int) -> None:
        for _ in range(passes):
            for blob in blobs:
                sessions[number].run(None, {"input": blob})

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(partial(run, 1), range(threads)))
        started, busy_s = time.perf_counter(), time.process_time()
        list(pool.map(partial(run, _PASSES), range(threads)))
        elapsed_s, busy_s = time.perf_counter() - started, time.process_time() - busy_s
    pictures = threads * _PASSES * len(blobs)
    found = {
        "pictures_a_second": round(pictures / elapsed_s, 1),
        "cpu_ms": round(busy_s / pictures * 1000, 1),
    }
    if device is Device.cpu:
        return found
    expected = _scores(_session(Device.cpu), blobs)
    off = np.abs(_scores(sessions[0], blobs) - expected)[expected >= _SCORE]
    return found | {
        "score_off_mean": round(float(off.mean()), 4),
        "score_off_most": round(float(off.max()), 4),
    }


def _session(device: Device) -> onnxruntime.InferenceSession:
    return open_session(weights(MODELS[DEFAULT_DETECTOR]), device)[0]


def _scores(
    session: onnxruntime.InferenceSession, blobs: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """`(pictures, anchors)` scores of a face."""
    return np.stack([session.run(["conf"], {"input": blob})[0][0, :, 1] for blob in blobs])


def _blobs(video: Path) -> list[NDArray[np.float32]]:
    """`(1, 3, H, W)` pictures as the network takes them."""
    with VideoReader(video, probe(video)) as reader:
        images = [frame.picture() for frame in islice(reader.frames(), _PICTURES)]
    height, width = images[0].shape[:2]
    size = detector_input_size(width, height, OPTIONS.det_size)
    small = [scaled(image, size) for image in images]
    mean = np.array(MEAN_BGR[DEFAULT_DETECTOR], np.float32)
    return [np.ascontiguousarray((image - mean).transpose(2, 0, 1)[None]) for image in small]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--threads", type=int, default=available_cpus())
    parser.add_argument("--device", type=Device, choices=[*Device], default=Device.cpu)
    given = parser.parse_args()
    limit_loaded_libraries()
    found = measure(given.video, given.threads, given.device)
    print(json.dumps({"threads": given.threads, "device": given.device, **found}))


if __name__ == "__main__":
    main()
