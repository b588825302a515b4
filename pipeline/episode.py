"""Which episode a run is about: its id, the fingerprint of its video, its output folder."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import OptionError, VideoError

_FORBIDDEN = re.compile(r"[/\\\x00-\x1f\x7f]|\.\.")
_LONGEST_ID_BYTES = 180


def check_ep_id(ep_id: str) -> str:
    """The id, in Unicode NFC, if it can safely name a folder.

    Raises:
        OptionError: it is empty, too long, starts with a dot, or has a slash or control character.
    """
    ep_id = unicodedata.normalize("NFC", ep_id)
    try:
        length = len(ep_id.encode())
    except UnicodeEncodeError:
        raise OptionError(f"ep_id {ep_id!r} is no valid text: use letters and digits") from None
    if not ep_id.strip() or ep_id.startswith(".") or _FORBIDDEN.search(ep_id):
        raise OptionError(
            f"ep_id {ep_id!r} cannot name a folder: use letters, digits, '-', '_' and '.', "
            "not starting with a dot, without slashes and without '..'"
        )
    if length > _LONGEST_ID_BYTES:
        raise OptionError(f"ep_id is longer than {_LONGEST_ID_BYTES} bytes: choose a shorter one")
    return ep_id


def ep_id_of(video: Path) -> str:
    """The default id: the file name without its ending and leading dots."""
    return check_ep_id(re.sub(r"\.{2,}", ".", video.stem).lstrip(".") or "episode")


@dataclass(frozen=True)
class Source:
    """A video file as the file system knows it, to notice that it is still the same one."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, video: Path) -> Source:
        """Looks at the file.

        Raises:
            VideoError: there is no such file, it is not a file, is empty, or cannot be read.
        """
        try:
            str(video).encode()
        except UnicodeEncodeError:
            raise VideoError(
                f"the name of {os.fsencode(video)!r} is not UTF-8: rename it"
            ) from None
        try:
            stat = video.stat()
            if video.is_dir():
                raise VideoError(f"{video} is a folder: give the path of one video file")
            if not video.is_file():
                raise VideoError(f"{video} is not a regular file: give the path of a video file")
            if stat.st_size == 0:
                raise VideoError(f"{video} is empty (0 bytes): copy or download it again")
            with video.open("rb") as file:
                file.read(1)
        except FileNotFoundError:
            raise VideoError(f"{video} does not exist: check the path") from None
        except OSError as error:
            raise VideoError(f"{video} cannot be read ({error.strerror}): check the path") from None
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def as_record(self) -> dict[str, int]:
        return {"inode": self.inode, "size": self.size, "mtime_ns": self.mtime_ns}


def fingerprint(video: Path) -> str:
    """SHA-256 of the file's content: the same video has the same one under any name.

    Raises:
        VideoError: it cannot be read to its end.
    """
    try:
        with video.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise VideoError(
            f"{video} cannot be read to its end ({error.strerror}): check the disk it is on"
        ) from None


@dataclass(frozen=True)
class EpisodeFolder:
    """Where an episode's outputs are: `<root>/<ep_id>/`."""

    root: Path
    ep_id: str

    @property
    def path(self) -> Path:
        return self.root / self.ep_id

    @property
    def frames(self) -> Path:
        return self.path / "frames.parquet"

    @property
    def detections(self) -> Path:
        return self.path / "detections.parquet"

    @property
    def embeddings(self) -> Path:
        return self.path / "embeddings.parquet"

    @property
    def tracks(self) -> Path:
        return self.path / "tracks.parquet"

    @property
    def track_summary(self) -> Path:
        return self.path / "track_summary.parquet"

    @property
    def record(self) -> Path:
        return self.path / "run.json"

    @property
    def lock(self) -> Path:
        return self.root / ".locks" / f"{self.ep_id}.lock"

    def outputs(self) -> dict[str, str]:
        """The files a person is told of, those that are there, by what they hold."""
        files: dict[str, Any] = {
            "detections": self.detections,
            "tracks": self.tracks,
            "track_summary": self.track_summary,
            "frames": self.frames,
            "record": self.record,
        }
        return {name: str(path) for name, path in files.items() if path.exists()}
