"""`run.json`: what was done with what, and how it went.

Written last: a folder with a record is a complete result.
"""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.files import writing, written_whole
from pipeline.footer import SCHEMA_VERSION
from pipeline.model_table import MODELS, SFACE, Detector
from pipeline.models import identity_of, locate
from pipeline.quality import quality_warnings

_PACKAGES = ("facetracks", "opencv-python", "boxmot", "scenedetect", "av", "pyarrow")


@dataclass(frozen=True)
class RunRecord:
    """One finished run.

    Attributes:
        source: the video file: path, sha256 of the content, inode, size and time.
        options: every option, resolved.
        steps: the facts of each step, by its name.
        caller_cpu_seconds: of the process that started the steps, over the run.
    """

    ep_id: str
    operation: str
    source: dict[str, Any]
    options: dict[str, Any]
    steps: dict[str, dict[str, Any]]
    summary: dict[str, Any]
    cpu_threads: int
    elapsed_seconds: float
    caller_cpu_seconds: float

    def write(self, path: Path) -> None:
        """Writes the record, whole or not at all.

        Raises:
            DiskFull, OutputError: it cannot be written.
        """
        text = json.dumps(self._content(), indent=2, ensure_ascii=False) + "\n"
        with written_whole(path) as temporary, writing(path):
            temporary.write_text(text, encoding="utf-8")

    def _content(self) -> dict[str, Any]:
        used = [step["usage"] for step in self.steps.values() if "usage" in step]
        return {
            "schema_version": SCHEMA_VERSION,
            "ep_id": self.ep_id,
            "operation": self.operation,
            "source": self.source,
            "options": self.options,
            "models": models_used(self.steps["detect"]),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in _PACKAGES},
            "machine": {"system": platform.platform(), "cpu_threads": self.cpu_threads},
            "steps": self.steps,
            "summary": self.summary,
            "warnings": _warnings(self.steps),
            "elapsed_seconds": self.elapsed_seconds,
            **_whole_usage(used, self.elapsed_seconds, self.caller_cpu_seconds),
        }


def _whole_usage(
    steps: list[dict[str, Any]], elapsed_s: float, caller_cpu_s: float
) -> dict[str, Any]:
    """What the run took, from the `usage` of the steps it worked at, in order."""
    cpu_s = caller_cpu_s + sum(usage["cpu_seconds"] for usage in steps)
    whole: dict[str, Any] = {
        "cpu_seconds": round(cpu_s, 3),
        "mean_cpus": round(cpu_s / elapsed_s, 2) if elapsed_s > 0 else 0.0,
    }
    for name in ("peak_cpus", "peak_memory_mib"):
        whole[name] = max((usage[name] for usage in steps), default=0.0)
    whole["paused_seconds"] = round(sum(usage["paused_seconds"] for usage in steps), 1)
    for name in ("temperature_c", "frequency_mhz"):
        first, last = (steps[0][name], steps[-1][name]) if steps else (None, None)
        whole[name] = first and last and {"start": first["start"], "end": last["end"]}
    return whole


def read_record(path: Path) -> dict[str, Any]:
    """A stored record, or an empty one where there is none of this schema version."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(record) if record.get("schema_version") == SCHEMA_VERSION else {}


def models_used(detect: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Name and sha256 of each network by its role: `detector`; `embedder`, where there are
    embeddings; `comparison`, where faces were compared at transitions.

    Args:
        detect: the facts of the detections. Those from before there was a choice name no networks.
    """
    if "models" in detect:
        return dict(detect["models"])
    used = {"detector": identity_of(MODELS[Detector.mobilenet])}
    return used | ({"embedder": identity_of(SFACE)} if detect["embedded"] else {})


def detect_warnings(facts: dict[str, Any]) -> list[str]:
    """What to tell a person of detections: of frames that are lost, of faces not compared."""
    warnings = []
    if lost := facts["frames_lost"]:
        total = facts["frames"] + lost
        warnings.append(
            f"{lost} of {total} frames could not be read: the video is damaged or cut off"
        )
    if why := facts.get("not_compared"):
        warnings.append(
            f"faces before and after fades and dissolves were told apart by place and shape: {why}"
        )
    return warnings


def lacked_what_is_here(detect: dict[str, Any]) -> bool:
    """Whether detections were made without a network that would have been used, and is here now.

    Args:
        detect: their facts.
    """
    if not detect.get("not_compared"):
        return False
    with suppress(ModelError):
        locate(SFACE)
        return True
    return False


def step_text(step: str, facts: dict[str, Any]) -> str:
    """The log line of a step that is done."""
    usage = facts["usage"]
    if step == "detect":
        what = f"detections {facts['detections']}, frames {facts['frames']}, shots {facts['shots']}"
    else:
        what = f"tracks {facts['tracks']}, rows filled in {facts['interpolated_rows']}"
    return f"{step}: {what}; {usage['seconds']:.1f} s, {usage['cpu_seconds']:.1f} s of CPU"


def _warnings(steps: dict[str, dict[str, Any]]) -> list[str]:
    tracking = steps.get("track", {}).get("warnings", [])
    return [*detect_warnings(steps["detect"]), *tracking, *quality_warnings(steps)]
