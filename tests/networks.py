"""Networks other than the defaults, for the tests that need them."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from pipeline import models
from pipeline.errors import ModelError
from pipeline.model_table import MODELS, Detector


def pulled(name: str) -> Path:
    """The path of a network's weights, pulled where they are not here (20 MB at most)."""
    try:
        return models.pull(MODELS[name])
    except ModelError as error:
        pytest.skip(str(error))


def mobilenet() -> bytes:
    """The ONNX file of the default detector."""
    return models.installed_weights(MODELS[Detector.mobilenet])


def renamed_mobilenet() -> bytes:
    """The default detector under other names of input and outputs, as another export has."""
    content = mobilenet()
    for old, new in ((b"input", b"image"), (b"loc", b"box"), (b"conf", b"prob")):
        length = bytes([len(old)])
        assert content.count(length + old) == 2, "once in the graph, once at its edge"
        content = content.replace(length + old, length + new)
    return content


def fixed_mobilenet(width: int, height: int, path: Path) -> None:
    """Writes the default detector as an export that takes pictures of one size only."""
    options = onnxruntime.SessionOptions()
    options.add_free_dimension_override_by_name("width", width)
    options.add_free_dimension_override_by_name("height", height)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(mobilenet(), options, providers=["CPUExecutionProvider"])
