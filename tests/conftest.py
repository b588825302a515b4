"""What the tests share: media, and the command as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from pipeline import models

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Evaluation media that lie beside the checkout, where there are any; never part of it."""

_MODELS = "FACETRACKS_MODELS"
"""Says where the weights are, so the tests need it, too."""


class Command(Protocol):
    """`facetracks` with these arguments, in a process of its own."""

    def __call__(
        self,
        *args: str | os.PathLike[str],
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session")
def sample() -> Path:
    """The clip of one talking face that `facetracks sample` gives: 176x144, 10 s."""
    return models.pull(models.SAMPLE)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of evaluation media."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no evaluation media here (../shared/data beside the checkout)")
    return SHARED_DATA


@pytest.fixture
def facetracks(tmp_path: Path) -> Command:
    """Runs the command in `tmp_path`, with the settings of `env` and no others of ours."""

    def run(
        *args: str | os.PathLike[str],
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        ours = [name for name in os.environ if name.startswith("FACETRACKS_")]
        inherited = {k: v for k, v in os.environ.items() if k not in ours or k == _MODELS}
        command = [sys.executable, "-m", "flows.cli", *(os.fspath(arg) for arg in args)]
        return subprocess.run(
            command,
            cwd=cwd or tmp_path,
            env={**inherited, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
