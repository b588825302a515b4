"""`run.json`: what was done with what, and how it went.

Written last: a folder with a record is a complete result.
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.files import written_whole
from pipeline.footer import SCHEMA_VERSION
from pipeline.models import DETECTOR_NAME, DETECTOR_SHA256, SFACE
from pipeline.quality import quality_warnings

_PACKAGES = ("facetracks", "onnxruntime", "opencv-python", "boxmot", "scenedetect", "av", "pyarrow")


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
        with written_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _content(self) -> dict[str, Any]:
        used = [step["usage"] for step in self.steps.values() if "usage" in step]
        models = {"detector": {"name": DETECTOR_NAME, "sha256": DETECTOR_SHA256}}
        if self.steps["detect"]["embedded"]:
            models["embedder"] = {"name": SFACE.name, "sha256": SFACE.sha256}
        return {
            "schema_version": SCHEMA_VERSION,
            "ep_id": self.ep_id,
            "operation": self.operation,
            "source": self.source,
            "options": self.options,
            "models": models,
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in _PACKAGES},
            "machine": {"system": platform.platform(), "cpu_threads": self.cpu_threads},
            "steps": self.steps,
            "summary": self.summary,
            "warnings": _warnings(self.steps),
            "elapsed_seconds": self.elapsed_seconds,
            "cpu_seconds": round(
                self.caller_cpu_seconds + sum(usage["cpu_seconds"] for usage in used), 3
            ),
            "peak_memory_mib": max((usage["peak_memory_mib"] for usage in used), default=0.0),
        }


def read_record(path: Path) -> dict[str, Any]:
    """A stored record, or an empty one where there is none of this schema version."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(record) if record.get("schema_version") == SCHEMA_VERSION else {}


def lost_frames_text(facts: dict[str, Any]) -> str:
    """What to tell a person of a video that could not be read to its end."""
    lost, total = facts["frames_lost"], facts["frames"] + facts["frames_lost"]
    return f"{lost} of {total} frames could not be read: the video is damaged or cut off"


def _warnings(steps: dict[str, dict[str, Any]]) -> list[str]:
    detect = steps["detect"]
    warnings = [lost_frames_text(detect)] if detect["frames_lost"] else []
    return [*warnings, *steps.get("track", {}).get("warnings", []), *quality_warnings(steps)]
