"""What each Parquet file says of where it comes from, in its footer.

pyarrow is imported only where a file is read: the process that starts a run need not wait for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ResultError

SCHEMA_VERSION = 1
"""Of the tables and of the run record."""

_PREFIX = "facetracks."


@dataclass(frozen=True)
class Footer:
    """The origin of a file's rows.

    Attributes:
        source_sha256: fingerprint of the video's content.
        options_hash: of all that decides the rows.
    """

    ep_id: str
    source_sha256: str
    options_hash: str

    def metadata(self) -> dict[str, str]:
        return {
            f"{_PREFIX}schema_version": str(SCHEMA_VERSION),
            f"{_PREFIX}ep_id": self.ep_id,
            f"{_PREFIX}source_sha256": self.source_sha256,
            f"{_PREFIX}options_hash": self.options_hash,
        }

    @classmethod
    def read(cls, path: Path) -> Footer | None:
        """The footer of a file, or None where there is no such file of this schema version."""
        metadata = _read_metadata(path)
        if metadata.get("schema_version") != str(SCHEMA_VERSION):
            return None
        return cls(*(metadata.get(name, "") for name in ("ep_id", "source_sha256", "options_hash")))


def missing(path: Path) -> ResultError:
    """The error of a file of the detect step that is not there, or is of no use."""
    return ResultError(f"{path} is missing or damaged: run `facetracks detect VIDEO` first")


def facts_metadata(facts: Mapping[str, Any]) -> dict[str, str]:
    """Facts about a file's making, for its footer."""
    return {f"{_PREFIX}facts": json.dumps(facts, sort_keys=True)}


def read_facts(path: Path) -> dict[str, Any]:
    """The facts in a file's footer.

    Raises:
        ResultError: the file is missing or damaged.
    """
    try:
        return dict(json.loads(_read_metadata(path)["facts"]))
    except (KeyError, ValueError):
        raise missing(path) from None


def _read_metadata(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return {}
    return {
        key.decode().removeprefix(_PREFIX): value.decode()
        for key, value in metadata.items()
        if key.startswith(_PREFIX.encode())
    }
