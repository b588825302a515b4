"""Files that appear whole or not at all: written aside, synced, renamed.

Every file being written is remembered, so that a process told to die can take its half-written
files with it (`discard_unfinished`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import DiskFull, FacetracksError, OutputError

_SUFFIX = ".part"
_MAKE_TRIES = 20
_unfinished: set[Path] = set()


def discard_unfinished() -> None:
    """Deletes what this process has begun to write and not finished."""
    for path in list(_unfinished):
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Deletes half-written files in a folder whose writer is known to be dead."""
    for path in folder.glob(f".*{_SUFFIX}"):
        path.unlink(missing_ok=True)


def write_error(error: OSError, path: Path) -> FacetracksError:
    """The error for a person, of a write that failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return DiskFull(f"no space left to write {path}: free some and run again")
    reason = error.strerror or str(error)
    return OutputError(f"{path} cannot be written ({reason}): choose another --output-root")


def make_folder(path: Path) -> None:
    """Creates a folder and its parents, or says why it cannot."""
    for tries_left in reversed(range(_MAKE_TRIES)):
        try:
            path.mkdir(parents=True, exist_ok=True)
            return
        except OSError as error:
            # Another run may remove it, empty, in the midst of this.
            if tries_left and isinstance(error, FileExistsError | FileNotFoundError):
                continue
            raise write_error(error, path) from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """For a block that writes to a file of ours, and does nothing else that may fail.

    Raises:
        DiskFull, OutputError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise write_error(error, path) from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to, and renames it to `path` at the end.

    Nothing is left of it where the block fails. What fails in it is not translated: see `writing`.

    Raises:
        DiskFull, OutputError: the file cannot be finished.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_SUFFIX}")
    _unfinished.add(temporary)
    try:
        yield temporary
        with writing(path):
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        _unfinished.discard(temporary)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
