"""Settings of an installation, from the environment: names starting with `FACETRACKS_`."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, Field

_PREFIX = "FACETRACKS_"


class Settings(BaseModel):
    """What holds for all runs on this machine; options of a run win over it."""

    output_root: Path = Field(
        default_factory=lambda: Path(os.environ.get(f"{_PREFIX}OUTPUT_ROOT") or "output"),
        description="FACETRACKS_OUTPUT_ROOT: folder of the episodes' output folders.",
    )
    cpu_threads: int | None = Field(
        default_factory=lambda: _positive(f"{_PREFIX}CPU_THREADS"),
        description="FACETRACKS_CPU_THREADS: CPUs a run may keep busy, where it does not say.",
    )


def _positive(name: str) -> int | None:
    from pipeline.errors import OptionError

    text = os.environ.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1024):
        raise OptionError(f"{name}={text!r}: give a whole number of CPUs, 1 to 1024")
    return int(text)
