"""onnxruntime sessions: which execution provider a device means, and threads that do not spin."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime

from pipeline.errors import ModelError, OptionError, one_line
from pipeline.options import Device

PROVIDERS = {
    Device.cuda: "CUDAExecutionProvider",
    Device.coreml: "CoreMLExecutionProvider",
    Device.openvino: "OpenVINOExecutionProvider",
    Device.cpu: "CPUExecutionProvider",
}
"""Execution provider of each device, the best first."""

_BUILDS = {Device.cuda: "onnxruntime-gpu", Device.openvino: "onnxruntime-openvino"}
"""Packages that have a device's provider; each goes in place of the package onnxruntime."""

_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""Names by which Linux tells that a processor multiplies in bfloat16 (x86)."""


def devices_for(device: Device, available: list[str]) -> list[Device]:
    """The devices to try, the best first: the wanted one alone, or for `auto` all there are.

    Args:
        available: execution providers, as `onnxruntime.get_available_providers` gives them.

    Raises:
        OptionError: the wanted one is not among the available providers.
    """
    present = [known for known, provider in PROVIDERS.items() if provider in available]
    if device is Device.auto:
        return present
    if device not in present:
        names = ", ".join(present)
        build = _BUILDS.get(device)
        remedy = (
            f"install {build} in place of onnxruntime" if build else "use a machine that has it"
        )
        raise OptionError(
            f"device '{device}' is not there: this onnxruntime has {names}; "
            f"choose one of them or {remedy}"
        )
    return [device]


def precision(device: Device) -> str:
    """The type of number that networks are asked to compute in on that device.

    OpenVINO computes in bfloat16 where the processor does, nearly twice as fast: scores of the
    default detector from 0.3 on then differ by 0.002 in the mean and 0.035 at most from those in
    float32 (`benchmarks/network_alone.py`).
    """
    return "bfloat16" if device is Device.openvino and _has_bfloat16() else "float32"


def as_record(device: Device) -> dict[str, Any]:
    """What `run.json` tells of where networks ran: device, precision, onnxruntime's version."""
    return {
        "device": device,
        "precision": precision(device),
        "onnxruntime": onnxruntime.__version__,
    }


def open_session(
    model: bytes | str, device: Device, available: list[str] | None = None
) -> tuple[onnxruntime.InferenceSession, Device]:
    """A session of one thread; parallel work uses several sessions, which scale better.

    A provider that onnxruntime lists may still not start, as CUDA's does where CUDA's libraries
    are missing; onnxruntime then runs the network on the CPU and goes on.

    Args:
        model: the ONNX file's content, or its path.
        available: execution providers to choose from; default: those of this onnxruntime.

    Returns:
        The session, and the device it runs on: with `auto` the best one that starts.

    Raises:
        OptionError: the device is not there, or does not start.
        ModelError: the file is no network.
    """
    if available is None:
        available = onnxruntime.get_available_providers()
    for candidate in devices_for(device, available):
        session, reason = _try_to_open(model, candidate)
        if session is not None:
            return session, candidate
        if candidate is Device.cpu:
            raise ModelError(f"{_name(model)} cannot be opened as a network: {reason}")
        if device is not Device.auto:
            raise OptionError(
                f"device '{device}' does not start ({reason}): "
                "install what it needs, or choose auto or cpu"
            )
    raise OptionError("this onnxruntime cannot run on the CPU: install the package onnxruntime")


def _try_to_open(
    model: bytes | str, device: Device
) -> tuple[onnxruntime.InferenceSession | None, str]:
    """A session that does run on the device, or why there is none."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    providers: list[str | tuple[str, dict[str, str]]] = [_provider(device)]
    if device is not Device.cpu:
        providers.append(PROVIDERS[Device.cpu])
    try:
        session = onnxruntime.InferenceSession(
            model, options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # onnxruntime's errors have no base of their own
        return None, one_line(error)
    if PROVIDERS[device] not in session.get_providers():
        return None, f"onnxruntime could not load its {PROVIDERS[device]}"
    return session, ""


def _provider(device: Device) -> str | tuple[str, dict[str, str]]:
    """The device's execution provider, with its options as onnxruntime takes them."""
    if device is not Device.openvino:
        return PROVIDERS[device]
    settings = {
        "INFERENCE_NUM_THREADS": "1",
        # Pinned, the sessions of several threads would share the first CPU.
        "ENABLE_CPU_PINNING": "NO",
        # What is made for each layer and size of picture; by default 5000 are kept, 700 MB.
        "CPU_RUNTIME_CACHE_CAPACITY": "500",
        "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[precision(device)],
    }
    return PROVIDERS[device], {"device_type": "CPU", "load_config": json.dumps({"CPU": settings})}


@cache
def _has_bfloat16() -> bool:
    try:
        cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    flags = next((line for line in cpus.splitlines() if line.startswith("flags")), "")
    return not _BFLOAT16_FLAGS.isdisjoint(flags.split())


def _name(model: bytes | str) -> str:
    return model if isinstance(model, str) else "the file"
