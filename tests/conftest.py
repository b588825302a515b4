"""What the tests share: media, and the command as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import av
import pytest

from pipeline import models
from tests.local_stack import LocalStack
from tests.made_faces import Sprite, photos, sprites

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
    """The clip of one talking face that `facetracks sample` gives: 176x144, 4 s."""
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


@pytest.fixture(scope="session")
def people() -> list[Sprite]:
    """Faces to make videos of; without the evaluation media one alone."""
    return sprites(photos(SHARED_DATA if SHARED_DATA.is_dir() else None))


@pytest.fixture(scope="session")
def long_clip(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample forty times over, 160 s."""
    return _repeated(sample, tmp_path_factory.mktemp("long") / "long.mp4", 40)


def _repeated(clip: Path, path: Path, times: int) -> Path:
    """A clip over and over: its packets, written again with later times."""
    with av.open(str(path), "w") as out:
        stream, offset = None, 0
        for _ in range(times):
            with av.open(str(clip)) as source:
                video = source.streams.video[0]
                stream = stream or out.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts += offset
                    packet.dts += offset
                    packet.stream = stream
                    out.mux(packet)
                offset += video.duration or 0
    return path


@pytest.fixture(scope="session")
def stack(sample: Path) -> Iterator[LocalStack]:
    """A stack of our own, with the sample and one of 8 minutes under its media root.

    So long that whoever cancels or asks comes in time: even a busy machine tracks it for a second.
    """
    with LocalStack() as local:
        local.add_media(sample, "sample.mp4")
        _repeated(sample, local.media / "long.mp4", 120)
        local.up()
        yield local
