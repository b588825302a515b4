"""Figures with their targets, on the screen and in `benchmarks/results/`."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnxruntime
import psutil

from benchmarks.media import ROOT
from pipeline.machine import available_cpus

_PACKAGES = (
    "facetracks",
    "opencv-python",
    "boxmot",
    "torch",
    "numpy",
    "scenedetect",
    "av",
    "pyarrow",
    "prefect",
    "celery",
    "trackeval",
)


_SECTIONS = {
    "latency",
    "backfill",
    "alternatives",
    "profiles",
    "long",
    "tracking",
    "startup",
    "scaling",
    "quality",
    "altered",
    "transitions",
}
"""Parts of the record that are measured and replaced on their own."""


@dataclass(frozen=True)
class Figure:
    """One number with what it should be.

    Attributes:
        value: a ratio, or seconds where the name says so.
        at_least, at_most: the target, if there is one.
        detail: what it was made of.
    """

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    def line(self) -> str:
        """For the screen."""
        start = f"{self.name:<58}{self.value:>8.2f}"
        if self.at_least is None and self.at_most is None:
            return start
        bound = f">= {self.at_least:.2f}" if self.at_least is not None else f"<= {self.at_most:.2f}"
        return f"{start}   {bound:<8} {'met' if self.met else 'MISSED'}"

    def as_record(self) -> dict[str, Any]:
        target = {"at_least": self.at_least, "at_most": self.at_most}
        return {
            "name": self.name,
            "value": round(self.value, 3),
            "target": {bound: limit for bound, limit in target.items() if limit is not None},
            "met": self.met,
            **self.detail,
        }


def cpu_model() -> str:
    """The processor's name as the machine tells it."""
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", listed.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def machine() -> str:
    """In words, as the README names it."""
    return f"{available_cpus()}-core {cpu_model()}"


def write(
    figures: list[Figure], cpu_ms: dict[str, dict[str, float]], options: dict[str, Any]
) -> Path:
    """Writes the results of this machine, in place of earlier ones; returns the path.

    Args:
        cpu_ms: CPU milliseconds per frame of each part, by clip.
    """
    record = {
        **_circumstances(options),
        "figures": [figure.as_record() for figure in figures],
        "cpu_ms_per_frame": {
            clip: {part: round(ms, 3) for part, ms in parts.items()}
            for clip, parts in cpu_ms.items()
        },
    }
    kept = {name: section for name, section in _stored().items() if name in _SECTIONS}
    return _store(record | kept)


def write_section(name: str, figures: list[Figure], options: dict[str, Any]) -> Path:
    """Writes figures of their own date and options beside the others; returns the path."""
    assert name in _SECTIONS, name
    section = {**_circumstances(options), "figures": [figure.as_record() for figure in figures]}
    return _store(_stored() | {name: section})


def _circumstances(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "cpu": cpu_model(),
            "cpus_used": available_cpus(),
            "cpus": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": platform.platform(),
        },
        "versions": {
            "python": platform.python_version(),
            # Not by its package's name: other builds have others.
            "onnxruntime": onnxruntime.__version__,
        }
        | {name: version(name) for name in _PACKAGES},
        "options": options,
    }


def _path() -> Path:
    slug = re.sub(r"[^a-z0-9]+", "-", cpu_model().lower()).strip("-") or "unknown"
    return ROOT / "benchmarks" / "results" / f"{slug}.json"


def _stored() -> dict[str, Any]:
    path = _path()
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _store(record: dict[str, Any]) -> Path:
    path = _path()
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path


def table(cpu_ms: dict[str, dict[str, float]]) -> str:
    """CPU milliseconds per frame: a row a part, a column a clip."""
    parts = list(dict.fromkeys(part for column in cpu_ms.values() for part in column))
    lines = ["CPU ms per frame".ljust(34) + "".join(f"{clip:>18}" for clip in cpu_ms)]
    for part in parts:
        cells = (column.get(part) for column in cpu_ms.values())
        texts = ("-" if cell is None else f"{cell:.2f}" for cell in cells)
        lines.append(f"  {part:<32}" + "".join(f"{text:>18}" for text in texts))
    return "\n".join(lines)
