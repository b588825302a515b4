"""One run at a time for an episode: a file lock under the output root.

`flock` belongs to the open file, which child processes inherit: the lock is free when, and only
when, the last process of the run is gone, however it went. That inheritance is why this is not
the `filelock` package.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, Self

from pipeline.episode import EpisodeFolder
from pipeline.errors import EpisodeBusy
from pipeline.files import make_folder, remove_leftovers, write_error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Holder:
    """Who holds an episode, as a person refused is told.

    Attributes:
        run: id of the queued run; empty in direct mode.
    """

    operation: str
    run: str = ""
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    started_at: str = field(default_factory=_now)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self | None:
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def busy(self, ep_id: str) -> EpisodeBusy:
        """The refusal."""
        run = f" (queued run {self.run})" if self.run else ""
        return EpisodeBusy(
            f"episode '{ep_id}' is busy: '{self.operation}'{run} on host {self.host}, "
            f"pid {self.pid}, since {self.started_at}; wait for it or stop it"
        )


class Lease(Protocol):
    """A lock beside the file's, for machines that do not share a file system."""

    def acquire(self) -> None:
        """Takes it, or raises `EpisodeBusy` or `ServerError`."""
        ...

    def release(self) -> None:
        """Gives it back; never raises."""
        ...


class EpisodeLock:
    """Held from `acquire` to `release`.

    Attributes:
        fd: the locked file, to be inherited by every process that works for the run.
    """

    def __init__(self, folder: EpisodeFolder, holder: Holder) -> None:
        self._folder = folder
        self._holder = holder
        self._root_is_new = not folder.root.exists()
        self.fd = -1

    def acquire(self) -> None:
        """Takes the lock, or says who has it. A holder that died holds nothing.

        Raises:
            EpisodeBusy: another run holds the episode.
            OutputError, DiskFull: the lock cannot be written.
        """
        path = self._folder.lock
        while True:
            make_folder(path.parent)
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except FileNotFoundError:
                continue  # Another run has just removed the folder, which was empty.
            except OSError as error:
                self._remove_empty_folders()
                raise write_error(error, path) from None
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                raise self._refusal() from None
            except OSError as error:  # A file system without locks, say.
                os.close(fd)
                self._remove_empty_folders()
                raise write_error(error, path) from None
            if _still_names(path, fd):
                break
            os.close(fd)  # The holder before us removed the file between our open and lock.
        self.fd = fd
        try:
            self._write_holder()
        except OSError as error:
            self.release()
            raise write_error(error, path) from None
        if self._folder.path.is_dir():
            remove_leftovers(self._folder.path)

    def release(self) -> None:
        """Frees the episode and leaves no empty folder behind."""
        if self.fd < 0:
            return
        remove_leftovers(self._folder.path)
        self._folder.lock.unlink(missing_ok=True)
        os.close(self.fd)
        self.fd = -1
        self._remove_empty_folders()

    def __enter__(self) -> EpisodeLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _write_holder(self) -> None:
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, self._holder.to_json().encode(), 0)

    def _refusal(self) -> EpisodeBusy:
        holder = _read_holder(self._folder.lock)
        ep_id = self._folder.ep_id
        if not holder:
            return EpisodeBusy(f"episode '{ep_id}' is being worked on by another run: wait for it")
        return holder.busy(ep_id)

    def _remove_empty_folders(self) -> None:
        folders: list[Path] = [self._folder.path, self._folder.lock.parent]
        if self._root_is_new:
            folders.append(self._folder.root)
        for folder in folders:
            with suppress(OSError):
                folder.rmdir()


def _still_names(path: Path, fd: int) -> bool:
    """Whether the path leads to the file that is open as `fd`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _read_holder(path: Path) -> Holder | None:
    """What the holder wrote; waits a moment for a holder that has only just come."""
    for _ in range(10):
        with suppress(OSError):
            if holder := Holder.from_json(path.read_text()):
                return holder
        time.sleep(0.02)
    return None
