"""A queued run reads under the media roots and writes under the output root, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.roots import confine, resolve_media
from pipeline.errors import OptionError
from pipeline.options import Options
from pipeline.request import RunRequest


@pytest.fixture
def media(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "season 1").mkdir(parents=True)
    (root / "season 1" / "a.mp4").write_bytes(b"x")
    (root / "inside.mp4").symlink_to(root / "season 1" / "a.mp4")
    (tmp_path / "outside.mp4").write_bytes(b"x")
    (root / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    (root / "up").symlink_to(tmp_path)
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    (tmp_path / "media2").mkdir()
    (tmp_path / "media2" / "b.mp4").write_bytes(b"x")
    return root


def _request(video: Path | None, output_root: Path, ep_id: str | None = None) -> RunRequest:
    operation = "track" if video is None else "run"
    return RunRequest(operation, video, ep_id, output_root, Options().resolve())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "../outside.mp4", "season 1/../../outside.mp4", "link.mp4", "up/outside.mp4", "loop.mp4",
        "/etc/passwd", "../media2/b.mp4", "..", "a\0b.mp4",
    ],
)  # fmt: skip
def test_a_video_elsewhere_is_refused(name: str, media: Path) -> None:
    with pytest.raises(OptionError, match="is not under a media root"):
        resolve_media(media / name, (media,))


def test_a_relative_path_is_refused(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(media)
    with pytest.raises(OptionError, match="is not under a media root"):
        resolve_media(Path("inside.mp4"), (media,))


def test_with_no_root_all_is_refused_naming_the_setting(media: Path) -> None:
    with pytest.raises(OptionError, match="FACETRACKS_MEDIA_ROOTS"):
        resolve_media(media / "inside.mp4", ())


def test_links_within_the_roots_are_followed(media: Path, tmp_path: Path) -> None:
    request = confine(_request(media / "inside.mp4", tmp_path / "o"), (media,), tmp_path / "o")
    assert request.video == media / "season 1" / "a.mp4"
    assert request.ep_id == "inside", "named after the link, as in direct mode"
    other = confine(
        _request(tmp_path / "media2" / "b.mp4", tmp_path / "o"),
        (media, tmp_path / "media2"), tmp_path / "o",
    )  # fmt: skip
    assert other.ep_id == "b", "any root will do; one that starts like another is none of it"


@pytest.mark.parametrize("root", ["elsewhere", "o/../elsewhere", "ox", "o/link"])
def test_outputs_elsewhere_are_refused(root: str, media: Path, tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "link").symlink_to(tmp_path)
    with pytest.raises(OptionError, match=r"is not under .*FACETRACKS_OUTPUT_ROOT"):
        confine(_request(media / "inside.mp4", tmp_path / root), (media,), tmp_path / "o")
    confine(_request(media / "inside.mp4", tmp_path / "o" / "x"), (media,), tmp_path / "o")


@pytest.mark.parametrize("name", ["inside", ".locks"])
def test_a_linked_folder_of_outputs_is_refused(name: str, media: Path, tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / name).symlink_to(tmp_path)
    with pytest.raises(OptionError, match="is a link to outside"):
        confine(_request(media / "inside.mp4", tmp_path / "o"), (media,), tmp_path / "o")


@pytest.mark.parametrize("ep_id", ["../x", "a/b", ".hidden", "..", ""])
def test_an_id_that_leads_elsewhere_is_refused(ep_id: str, media: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot name a folder"):
        confine(_request(media / "inside.mp4", tmp_path, ep_id), (media,), tmp_path)
    with pytest.raises(OptionError, match="cannot name a folder"):
        confine(_request(None, tmp_path, ep_id), (media,), tmp_path)
