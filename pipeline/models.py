"""Files of weights: found, checked, and pulled where they are not here yet."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.files import written_whole
from pipeline.model_sources import Source, source_of
from pipeline.model_table import MODELS as MODELS
from pipeline.model_table import SAMPLE as SAMPLE
from pipeline.model_table import SFACE as SFACE
from pipeline.model_table import Asset


def sha256_of(asset: Asset) -> str:
    """What the file's sha256 has to be, in hex: the table's, else the one stated at its pull.

    Raises:
        ModelError: nobody has stated it.
    """
    if asset.sha256 is not None:
        return asset.sha256
    try:
        words = asset.stated.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        words = []
    if not words or not _is_sha256(words[0]):
        raise ModelError(f"{asset.what} is not here ({asset.path}): {asset.remedy}")
    return words[0]


def identity_of(asset: Asset) -> dict[str, str]:
    """Name and sha256, as run records have them."""
    return {"name": asset.name, "sha256": sha256_of(asset)}


def present(asset: Asset) -> bool:
    """Whether there is a file, right or wrong."""
    try:
        return asset.path.exists()
    except ModelError:
        return False


def locate(asset: Asset) -> Path:
    """The path of the file, its content checked.

    Raises:
        ModelError: it is missing, or its content is wrong; the message has the command to run.
    """
    if asset.installed:
        installed_weights(asset)
        return asset.path
    expected, path = sha256_of(asset), asset.path
    if not path.exists():
        raise ModelError(f"{asset.what} is not here ({path}): {asset.remedy}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): {asset.remedy}") from None
    _check(content, expected, str(path), asset.remedy)
    return path


@cache
def installed_weights(asset: Asset) -> bytes:
    """The content of a file that an installed package carries.

    Raises:
        ModelError: the package is not installed, or carries another file.
    """
    assert asset.installed is not None
    content = asset.installed.fetch()
    what = f"{asset.what} in package {asset.installed.package}"
    _check(content, sha256_of(asset), what, asset.installed.remedy)
    return content


def weights(asset: Asset) -> bytes | str:
    """The ONNX model as onnxruntime takes it: its content, or its path.

    Raises:
        ModelError: it is missing or wrong.
    """
    return installed_weights(asset) if asset.installed else str(locate(asset))


def pull(
    asset: Asset,
    given: str | None = None,
    sha256: str | None = None,
    check: Callable[[bytes], None] | None = None,
) -> Path:
    """Gets the file where it is not here yet.

    Args:
        given: a path or an http(s) address to take it from, in place of the known sources.
        sha256: what it has to be, in hex; only for a file whose sha256 is not known in advance.
        check: raises a ModelError for content that is of no use, before it is kept.

    Returns:
        The file's path.

    Raises:
        ModelError: no source has the file it should be, or the sha256 is missing or a wrong one.
    """
    expected = _expected(asset, sha256)
    try:
        if sha256_of(asset) == expected:
            return locate(asset)
    except ModelError:
        if asset.installed:
            raise
    sources = (source_of(given),) if given else asset.sources
    if not sources:
        raise ModelError(f"{asset.name} is in no package: add --from FILE or --from URL")
    content = _first_right(sources, expected)
    if check is not None:
        check(content)
    try:
        asset.path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(asset.path) as temporary:
            temporary.write_bytes(content)
        if asset.sha256 is None:
            with written_whole(asset.stated) as temporary:
                temporary.write_text(f"{expected}  {asset.file_name}\n", encoding="utf-8")
    except OSError as error:
        raise ModelError(
            f"{asset.path} cannot be written ({error.strerror}): free some space, or name another "
            "folder by FACETRACKS_MODELS"
        ) from None
    return asset.path


def _expected(asset: Asset, stated: str | None) -> str:
    """The sha256 that a pulled file has to have."""
    if stated is not None and not _is_sha256(stated := stated.lower()):
        raise ModelError(f"{stated!r} is no sha256: give its 64 hexadecimal digits")
    if asset.sha256 is None:
        if stated is None:
            raise ModelError(
                f"no sha256 of {asset.name} is known in advance: get an ONNX file of it "
                f"(see {asset.page}), and add --from FILE and its --sha256"
            )
        return stated
    if stated is not None and stated != asset.sha256:
        raise ModelError(f"the sha256 of {asset.name} is {asset.sha256}: leave --sha256 out")
    return asset.sha256


def _first_right(sources: tuple[Source, ...], expected: str) -> bytes:
    """The content from the first source that has the right one; each one's fault where none has."""
    faults = []
    for source in sources:
        try:
            content = source.fetch()
            _check(content, expected, str(source), "give another source with --from")
            return content
        except ModelError as error:
            faults.append(str(error))
    raise ModelError("; ".join(faults))


def _is_sha256(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def _check(content: bytes, sha256: str, what: str, remedy: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelError(
            f"{what} is not the file it should be "
            f"(sha256 {found[:12]}..., expected {sha256[:12]}...): {remedy}"
        )
