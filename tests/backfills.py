"""Backfills in direct mode as the tests start them, and what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.clips import one_second_clips

NAMES = ["a", "b", "é ü 1"]
Done = subprocess.CompletedProcess[str]


@contextmanager
def without_settings(home: Path) -> Iterator[None]:
    """No settings of ours or of Prefect, and a home without a stack."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("FACETRACKS_", "PREFECT_")) and name != "FACETRACKS_MODELS":
                patch.delenv(name)
        patch.setenv("FACETRACKS_HOME", str(home))
        yield


def command(folder: Path, *args: str | Path) -> Done:
    """The command in that folder."""
    command = [sys.executable, "-m", "flows.cli", *map(str, args)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def backfill(folder: Path, *args: str | Path, code: int = 0) -> dict[str, Any]:
    """The answer to `facetracks backfill ARGS --json` in that folder."""
    done = command(folder, "backfill", *args, "--json")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return dict(json.loads(done.stdout))


def rows(folder: Path, name: str = "clips") -> dict[str, dict[str, Any]]:
    """The table of the last backfill: its rows by episode, in their order."""
    rows = pq.read_table(folder / "output" / f"backfill-{name}.parquet").to_pylist()
    return {row["ep_id"]: row for row in rows}


def states(folder: Path) -> dict[str, str]:
    """The states in it."""
    return {ep_id: row["state"] for ep_id, row in rows(folder).items()}


def tree(folder: Path) -> dict[str, int]:
    """All that is in a folder, and when it was written."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*")}


def episodes(folder: Path) -> dict[str, int]:
    """The same of the episodes' files."""
    return {n: ns for n, ns in tree(folder / "output").items() if "/" in n and n[0] != "."}


def tables(folder: Path) -> dict[str, bytes]:
    """What the Parquet files of the episodes hold."""
    root = folder / "output"
    return {str(p.relative_to(root)): p.read_bytes() for p in root.glob("*/*.parquet")}


def nothing_half_done(folder: Path) -> None:
    """Fails where a file, a lock or a folder of ours was left."""
    left = [name for name in tree(folder) if name.endswith((".part", ".lock"))]
    assert not left
    assert not list(folder.glob("facetracks-*")), "the nursery's folder"


def with_clips(folder: Path) -> Path:
    """The folder, with three clips in `clips`."""
    for clip, name in zip(one_second_clips(folder / "clips", 3), NAMES, strict=True):
        clip.rename(clip.with_stem(name))
    return folder
