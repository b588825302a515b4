"""Where the networks run: which provider a device means, and OpenVINO's at work."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from pipeline.errors import OptionError
from pipeline.links import pairwise_iou
from pipeline.options import Device
from pipeline.sessions import devices_for, open_session
from tests.conftest import Command
from tests.networks import mobilenet
from tests.processes import RunningCommand, cpus_busy
from tests.test_limits import TOLERANCE

CPU, CUDA, COREML = "CPUExecutionProvider", "CUDAExecutionProvider", "CoreMLExecutionProvider"

OPENVINO = Path(sys.prefix) / "openvino"
"""Where `make test` puts Intel's build of onnxruntime."""


@pytest.mark.parametrize(
    ("wanted", "there", "tried"),
    [
        (Device.auto, [CPU], [Device.cpu]),
        (Device.auto, [CPU, CUDA], [Device.cuda, Device.cpu]),
        (Device.auto, [CPU, COREML], [Device.coreml, Device.cpu]),
        (Device.cpu, [CUDA, CPU], [Device.cpu]),
        (Device.cuda, [CUDA, CPU], [Device.cuda]),
    ],
)
def test_the_device_is_the_best_one_present(
    wanted: Device, there: list[str], tried: list[Device]
) -> None:
    assert devices_for(wanted, there) == tried


@pytest.mark.parametrize(
    ("device", "remedy"),
    [(Device.cuda, "onnxruntime-gpu"), (Device.openvino, "onnxruntime-openvino")],
)
def test_a_device_that_is_not_there_is_refused_with_what_is(device: Device, remedy: str) -> None:
    with pytest.raises(OptionError, match=rf"'{device}' is not there.*has cpu.*install {remedy} "):
        devices_for(device, [CPU])


# This onnxruntime has no CUDA: told that it had, it runs on the CPU instead, as one does whose
# CUDA libraries are missing.
without_cuda = pytest.mark.skipif(
    CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA"
)


@without_cuda
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_an_error_where_it_was_asked_for() -> None:
    with pytest.raises(OptionError, match=r"'cuda' does not start.*CUDAExecutionProvider.*cpu"):
        open_session(mobilenet(), Device.cuda, [CUDA, CPU])


@without_cuda
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_with_auto_the_next_one_runs_and_is_named() -> None:
    session, device = open_session(mobilenet(), Device.auto, [CUDA, CPU])
    assert device is Device.cpu
    assert session.get_providers() == [CPU]


# OpenVINO, which is there where `make test` could install it.

with_openvino = pytest.mark.skipif(
    not OPENVINO.is_dir(), reason="no OpenVINO: make openvino-beside (Linux x86-64)"
)


def _run(
    facetracks: Command, sample: Path, device: str, *options: str, **environment: str
) -> tuple[dict[str, Any], pd.DataFrame]:
    """What `run.json` tells of the detect step, and the detections of every frame."""
    arguments = ("--device", device, "--stride", "1", "--output-root", device, "--json", *options)
    done = facetracks("run", sample, *arguments, env=environment)
    assert done.returncode == 0, done.stderr
    outputs = json.loads(done.stdout)["outputs"]
    record = json.loads(Path(outputs["record"]).read_text())
    return record["steps"]["detect"], pd.read_parquet(outputs["detections"])


@with_openvino
@pytest.mark.parametrize("device", ["openvino", "auto"])
def test_openvino_finds_the_faces_that_the_cpu_finds(
    device: str, sample: Path, facetracks: Command
) -> None:
    step, found = _run(facetracks, sample, device, PYTHONPATH=str(OPENVINO))
    expected_step, expected = _run(facetracks, sample, "cpu")
    assert (step["device"], expected_step["device"]) == ("openvino", "cpu")
    assert expected_step["precision"] == "float32"
    flags = Path("/proc/cpuinfo").read_text()
    has_bfloat16 = "avx512_bf16" in flags or "amx_bf16" in flags
    assert step["precision"] == ("bfloat16" if has_bfloat16 else "float32")

    boxes = ["x1", "y1", "x2", "y2"]
    clear, clearly_expected = found[found.score >= 0.5], expected[expected.score >= 0.5]
    assert clear.frame_index.tolist() == clearly_expected.frame_index.tolist()
    iou = np.diag(pairwise_iou(clear[boxes].to_numpy(), clearly_expected[boxes].to_numpy()))
    assert len(iou) >= 100
    assert iou.min() >= 0.9
    differences = np.abs(clear.score.to_numpy() - clearly_expected.score.to_numpy())
    assert differences.max() <= (0.05 if has_bfloat16 else 1e-4)


@with_openvino
@pytest.mark.parametrize("threads", [1, 2])
def test_openvino_keeps_to_its_cpus(threads: int, long_clip: Path, tmp_path: Path) -> None:
    options = ("--output-root", tmp_path, "--device", "openvino", "--cpu-threads", str(threads))
    run = RunningCommand("run", long_clip, *options, cwd=tmp_path, PYTHONPATH=str(OPENVINO))
    busy = cpus_busy(run.alive, lambda: run.process.poll() is not None)
    _, stderr = run.process.communicate()
    assert run.process.returncode == 0, stderr
    assert busy <= threads * TOLERANCE


@with_openvino
@pytest.mark.parametrize(("episode", "least"), [("episode11", 0.942), ("episode12", 0.878)])
def test_openvino_follows_the_truth(
    episode: str, least: float, shared_data: Path, facetracks: Command
) -> None:
    """No worse by 0.01 than `balanced` on the CPU."""
    video = shared_data / "truth" / f"{episode}.mp4"
    done = facetracks(
        "run", video, "--device", "openvino", env={"PYTHONPATH": str(OPENVINO)}, timeout=300
    )
    assert done.returncode == 0, done.stderr
    done = facetracks("eval", f"output/{episode}", video.with_suffix(".truth.csv"), "--json")
    scores = json.loads(done.stdout)
    assert scores["idf1"] >= least
    assert scores["mixed_tracks"] == 0
