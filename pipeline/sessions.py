"""onnxruntime sessions: which execution provider a device means, and threads that do not spin."""

from __future__ import annotations

import onnxruntime

from pipeline.errors import OptionError
from pipeline.options import Device

PROVIDERS = {
    Device.cuda: "CUDAExecutionProvider",
    Device.coreml: "CoreMLExecutionProvider",
    Device.openvino: "OpenVINOExecutionProvider",
    Device.cpu: "CPUExecutionProvider",
}
"""Execution provider of each device, the best first."""


def choose_device(device: Device, available: list[str]) -> Device:
    """The device to use: the wanted one, or for `auto` the best there is.

    Raises:
        OptionError: the wanted one is not among the available providers.
    """
    present = [known for known, provider in PROVIDERS.items() if provider in available]
    if device is Device.auto:
        return present[0]
    if device not in present:
        names = ", ".join(present)
        raise OptionError(
            f"device '{device}' is not there: this onnxruntime has {names}; "
            "choose one of them or install the onnxruntime build for it"
        )
    return device


def open_session(model: bytes | str, device: Device) -> onnxruntime.InferenceSession:
    """A session of one thread; parallel work uses several sessions, which scale better.

    Args:
        model: the ONNX file's content, or its path.
        device: any but `auto`.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    providers = [PROVIDERS[device]]
    if device is not Device.cpu:
        providers.append(PROVIDERS[Device.cpu])
    return onnxruntime.InferenceSession(model, options, providers=providers)
