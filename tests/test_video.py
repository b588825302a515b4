"""What a video file holds: every frame, once, with the container's own time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import VideoError
from pipeline.lost_frames import count_frames, lost_frames
from pipeline.video import Frame, VideoReader, probe
from tests import media
from tests.conftest import SHARED_DATA
from tests.media import Image

B_FRAMES = {"preset": "ultrafast", "crf": "12", "g": "12", "bf": "3"}
"""Encoder options for frames that are stored in another order than shown."""

UNEVEN_TICKS = list(np.cumsum([0, *([900, 1800, 3600, 9000, 3003] * 6)]))[:30]
"""A variable frame rate, 10 to 100 frames per second."""

Make = Callable[[Path, list[Image]], Path]


def _made(name: str, **keywords: object) -> Make:
    def make(folder: Path, images: list[Image]) -> Path:
        return media.write_video(folder / name, images, **keywords)  # type: ignore[arg-type]

    return make


MADE: dict[str, Make] = {
    "constant rate": _made("a.mp4"),
    "30000/1001 frames per second": _made("a.mp4", fps=Fraction(30000, 1001)),
    "stored in another order than shown": _made("a.mp4", options=B_FRAMES),
    "starts at 1.5 s": _made("a.mp4", ticks=media.even_ticks(30, 25, 1.5), options=B_FRAMES),
    "starts at 1.5 s, Matroska": _made("a.mkv", ticks=media.even_ticks(30, 25, 1.5)),
    "starts at 1.5 s, MPEG-TS": _made("a.ts", ticks=media.even_ticks(30, 25, 1.5)),
    "variable rate": _made("a.mp4", ticks=UNEVEN_TICKS),
    "variable rate, stored in another order": _made("a.mp4", ticks=UNEVEN_TICKS, options=B_FRAMES),
    "variable rate, Matroska": _made("a.mkv", ticks=UNEVEN_TICKS),
    "MPEG-4 part 2 in AVI": _made("a.avi", codec="mpeg4", fps=Fraction(30000, 1001)),
    # VirtualDub and others leave an empty chunk where a frame was dropped.
    "AVI with frames left out": _made(
        "a.avi", codec="mpeg4", ticks=[i * 3600 for i in range(40) if i % 4]
    ),
    "QuickTime": _made("a.mov"),
    "fragments, no index": _made("a.mp4", container_options={"movflags": "frag_keyframe"}),
    "lossless": _made("a.mkv", codec="ffv1", pixels="bgr0"),
    "portrait": lambda folder, images: media.write_video(
        folder / "a.mp4", media.scaled(images, 90, 160)
    ),
    "odd width and height": lambda folder, images: media.write_video(
        folder / "a.mp4", media.scaled(images, 175, 143), pixels="yuv444p"
    ),
    "name with spaces and other letters": _made("Folge 1, Ünïcödé 名前.mp4"),
    "one frame": lambda folder, images: media.write_video(folder / "a.mp4", images[:1]),
}


@pytest.fixture(scope="session")
def images(sample: Path) -> list[Image]:
    """30 frames of the sample clip."""
    return media.pictures(sample, 30)


def _read(path: Path, threads: int = 1) -> list[Frame]:
    with VideoReader(path, probe(path), threads) as reader:
        return list(reader.frames())


def _lost(path: Path, frames: list[Frame]) -> int:
    return lost_frames(path, probe(path), len(frames), frames[-1].pts_s)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())
def test_every_frame_comes_with_its_picture_and_the_containers_time(
    make: Make, images: list[Image], tmp_path: Path
) -> None:
    path = make(tmp_path, images)
    expected = list(media.decode(path))
    frames = _read(path)
    assert [frame.index for frame in frames] == list(range(len(expected)))
    assert [frame.pts_s for frame in frames] == [pts_s for pts_s, _ in expected]
    for frame, (_, image) in zip(frames, expected, strict=True):
        assert np.array_equal(frame.picture(), image), f"frame {frame.index}"


@pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())
def test_a_sound_file_has_lost_no_frames(make: Make, images: list[Image], tmp_path: Path) -> None:
    path = make(tmp_path, images)
    assert _lost(path, _read(path)) == 0


def test_sound_that_goes_on_after_the_picture_is_no_loss(
    images: list[Image], tmp_path: Path
) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.height, video.width = images[0].shape[:2]
        sound = container.add_stream("pcm_s16le", rate=8000)
        for image in images:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(video.encode(None))
        for second in range(5):
            silence = np.zeros((1, 8000), np.int16)
            samples = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
            samples.sample_rate, samples.pts = 8000, second * 8000
            container.mux(sound.encode(samples))
        container.mux(sound.encode(None))
    assert _lost(path, _read(path)) == 0
    # Cut off, the sound ends with the picture.
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = _read(path)
    assert _lost(path, frames) > 0


def test_times_are_those_the_video_was_written_with(images: list[Image], tmp_path: Path) -> None:
    ticks = [135_000 + tick for tick in UNEVEN_TICKS]
    path = media.write_video(tmp_path / "a.mp4", images, ticks, options=B_FRAMES)
    assert [frame.pts_s for frame in _read(path)] == [
        float(tick * Fraction(1, media.TICKS_PER_S)) for tick in ticks
    ]


def test_times_that_do_not_increase_are_set_right_and_counted(
    images: list[Image], tmp_path: Path
) -> None:
    # A raw H.264 stream has no clock: all that is known is the order of the frames.
    path = media.write_video(tmp_path / "a.h264", images)
    with VideoReader(path, probe(path)) as reader:
        pts_s = [frame.pts_s for frame in reader.frames()]
    assert len(pts_s) == 30
    assert all(a < b for a, b in pairwise(pts_s))
    assert reader.irregular_times == 29


@pytest.mark.parametrize(
    ("rotation", "quarter_turns"),
    [
        (90, 1),  # a phone held upright
        (180, 2),  # upside down
        (270, 3),  # a phone held upright, the other way round
    ],
)
def test_a_rotated_video_comes_upright(
    rotation: int, quarter_turns: int, images: list[Image], tmp_path: Path
) -> None:
    path = media.write_video(tmp_path / "a.mp4", images[:3], rotation=rotation)
    for frame, (_, stored) in zip(_read(path), media.decode(path), strict=True):
        assert np.array_equal(frame.picture(), np.rot90(stored, quarter_turns))


def test_decoder_threads_do_not_change_the_frames(sample: Path) -> None:
    for one, four in zip(_read(sample, 1), _read(sample, 4), strict=True):
        assert (one.index, one.pts, one.pts_s) == (four.index, four.pts, four.pts_s)
        assert np.array_equal(one.picture(), four.picture())


def test_the_probe_says_what_the_container_says(images: list[Image], tmp_path: Path) -> None:
    fps = Fraction(30000, 1001)
    path = media.write_video(tmp_path / "a.mp4", images, media.even_ticks(30, fps, 1.5), fps=fps)
    info = probe(path)
    assert (info.codec, info.frame_rate, info.time_base) == ("h264", fps, Fraction(1, 90_000))
    assert info.start_pts * info.time_base == Fraction(3, 2)
    assert info.frame_count == info.expected_frames == 30
    assert info.duration_s == pytest.approx(30 / fps)
    record = json.loads(json.dumps(info.as_record()))
    assert (record["frame_rate"], record["start_s"]) == ("30000/1001", 1.5)


def test_frames_are_estimated_where_the_container_does_not_count_them(
    images: list[Image], tmp_path: Path
) -> None:
    path = media.write_video(tmp_path / "a.mkv", images)
    info = probe(path)
    assert info.frame_count is None
    assert info.expected_frames == count_frames(path) == 30


def test_the_estimate_does_not_count_the_time_before_the_first_frame(
    images: list[Image], tmp_path: Path
) -> None:
    # Matroska's duration is the time of the last frame's end, from 0.
    path = media.write_video(tmp_path / "a.mkv", images, media.even_ticks(30, 25, 60.0))
    assert probe(path).expected_frames == 30


CUT_OFF = {
    "between two frames": ("a.mp4", {}, 0.0),
    "within a frame": ("a.mp4", {}, 0.5),
    "between frames in storage order": ("a.mp4", {"options": B_FRAMES}, 0.0),
    "within a frame in storage order": ("a.mp4", {"options": B_FRAMES}, 0.5),
    "Matroska": ("a.mkv", {}, 0.0),
    "Matroska, first frame at 1.5 s": (
        "a.mkv",
        {"ticks": media.even_ticks(90, 25, 1.5)},
        0.0,
    ),
    "AVI": ("a.avi", {"codec": "mpeg4"}, 0.0),
}


@pytest.mark.parametrize(("name", "how", "extra"), CUT_OFF.values(), ids=CUT_OFF.keys())
def test_of_a_cut_off_file_all_that_is_readable_is_kept_and_the_rest_counted(
    name: str, how: dict[str, object], extra: float, images: list[Image], tmp_path: Path
) -> None:
    container = media.FASTSTART if name.endswith("mp4") else {}
    whole = media.write_video(
        tmp_path / name,
        images * 3,
        container_options=container,
        **how,  # type: ignore[arg-type]
    )
    path = media.cut_at_frame(whole, tmp_path / f"cut_{name}", 40, extra)
    assert media.readable(path) == 40
    frames = _read(path)
    assert len(frames) == 40
    assert _lost(path, frames) == 50


@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param("a.mp4", {}, id="H.264"),
        pytest.param("a.mp4", {"options": B_FRAMES}, id="H.264 in storage order"),
        pytest.param("a.avi", {"codec": "mpeg4"}, id="MPEG-4 part 2"),
    ],
)
@pytest.mark.parametrize("spoilt", [1, 20], ids=["one bad frame", "20 bad frames in a row"])
def test_a_video_damaged_in_the_middle_goes_on_after_the_damage(
    name: str, how: dict[str, object], spoilt: int, images: list[Image], tmp_path: Path
) -> None:
    whole = media.write_video(tmp_path / name, images * 3, **how)  # type: ignore[arg-type]
    path = media.spoil(whole, tmp_path / f"spoilt_{name}", 30, spoilt)
    readable = media.readable(path)
    assert 60 <= readable < 90
    frames = _read(path)
    assert len(frames) == readable
    assert _lost(path, frames) == 90 - readable
    assert frames[-1].pts_s == pytest.approx(89 / 25)


def _text(path: Path) -> Path:
    path.write_text("This is no video.\n" * 100)
    return path


def _without_index(path: Path, images: list[Image]) -> Path:
    whole = media.write_video(path.with_name("whole.mp4"), images)
    return media.cut_off(whole, path, whole.stat().st_size // 2)


def _unknown_codec(path: Path, images: list[Image]) -> Path:
    whole = media.write_video(path, images[:3]).read_bytes()
    assert whole.count(b"avc1") >= 2
    path.write_bytes(whole.replace(b"avc1", b"zzz1"))
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(lambda path, _: _text(path), "not a video that can be read", id="text"),
        pytest.param(lambda path, _: media.write_audio(path), "no video stream", id="sound only"),
        pytest.param(_without_index, "may be cut off", id="cut off before its index"),
        pytest.param(_unknown_codec, "in a codec nobody here knows", id="unknown codec"),
    ],
)
def test_the_probe_refuses_what_is_no_video(
    make: Callable[[Path, list[Image]], Path], reason: str, images: list[Image], tmp_path: Path
) -> None:
    path = make(tmp_path / "a.mp4", images)
    with pytest.raises(VideoError, match=reason) as caught:
        probe(path)
    assert str(path) in str(caught.value)


def test_a_video_without_a_decodable_frame_is_refused(images: list[Image], tmp_path: Path) -> None:
    whole = media.write_video(tmp_path / "whole.mp4", images)
    path = media.spoil(whole, tmp_path / "a.mp4", 0, 30)
    with (
        pytest.raises(VideoError, match="no frame that can be decoded") as caught,
        VideoReader(path, probe(path)) as reader,
    ):
        list(reader.frames())
    assert str(path) in str(caught.value)


def _container_times(path: Path) -> list[float]:
    """PyAV's times of all frames it can decode, seconds."""
    with av.open(str(path)) as container:
        times = []
        with suppress(av.error.FFmpegError):
            for frame in container.decode(video=0):
                assert frame.pts is not None and frame.time_base is not None
                times.append(float(frame.pts * frame.time_base))
    return times


SHARED = sorted(path for path in SHARED_DATA.rglob("*.*") if path.suffix not in (".csv", ".md"))


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize("path", SHARED or [Path("none")], ids=lambda path: path.name)
def test_real_videos_have_the_containers_times_and_lose_no_frame(path: Path) -> None:
    info = probe(path)
    with VideoReader(path, info) as reader:
        pts_s = [frame.pts_s for frame in reader.frames()]
    assert pts_s == _container_times(path)
    assert reader.irregular_times == 0
    assert lost_frames(path, info, len(pts_s), pts_s[-1]) == 0
