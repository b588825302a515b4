"""Looks in several sizes: what is looked at again, and what becomes of the answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.detector import open_detector
from pipeline.faces import MIN_SCORE, NMS_IOU, Faces
from pipeline.links import pairwise_iou
from pipeline.options import Device, Options, Profile, Zoom
from pipeline.video import Image
from pipeline.zoom import SURE_SCORE, ZOOMS, fuse, pieces
from tests.test_detector import picture_at


@pytest.fixture(scope="module")
def crowd(shared_data: Path) -> Image:
    """A frame of 1280x720 with small faces, some of which 640 pixels leave in doubt."""
    return picture_at(shared_data / "truth" / "episode12.mp4", 100)


def _look(image: Image, zoom: Zoom, det_size: int = 640) -> Faces:
    return open_detector(det_size=det_size, zoom=zoom, device=Device.cpu).detect(image)


def test_sure_faces_stay_and_the_others_get_mean_scores(crowd: Image) -> None:
    plain, zoomed = _look(crowd, Zoom.off), _look(crowd, Zoom.faces)
    sure = plain.scores >= SURE_SCORE
    assert sure.any() and not sure.all()
    again = zoomed.scores >= SURE_SCORE
    np.testing.assert_array_equal(zoomed.boxes[again][: sure.sum()], plain.boxes[sure])
    assert not np.isin(zoomed.scores, plain.scores[~sure]).any()
    iou = pairwise_iou(zoomed.boxes, zoomed.boxes) - np.eye(len(zoomed), dtype=np.float32)
    assert iou.max() <= NMS_IOU and zoomed.scores.min() >= MIN_SCORE


def test_a_piece_tells_what_the_whole_picture_tells(crowd: Image) -> None:
    faces, picture = _look(crowd, Zoom.faces), _look(crowd, Zoom.picture)
    clear = picture.chosen(picture.scores >= 0.5)
    iou = pairwise_iou(clear.boxes, faces.boxes)
    assert iou.max(axis=1).min() > 0.7
    assert np.abs(clear.scores - faces.scores[iou.argmax(axis=1)]).max() < 0.25


def test_the_whole_picture_is_the_mean_of_three_looks(crowd: Image) -> None:
    sizes = [640, *(int(640 * zoom) for zoom in ZOOMS)]
    looks = [_look(crowd, Zoom.off, size) for size in sizes]
    picture = _look(crowd, Zoom.picture)
    best = picture.boxes[:1]
    seen = [look.scores[int(pairwise_iou(best, look.boxes).argmax())] for look in looks]
    assert picture.scores[0] == pytest.approx(np.mean(seen), abs=1e-5)


def test_a_small_picture_is_never_enlarged(sample: Path) -> None:
    image = picture_at(sample, 0)
    plain = _look(image, Zoom.off)
    assert len(plain)
    for zoom in (Zoom.faces, Zoom.picture):
        zoomed = _look(image, zoom)
        np.testing.assert_array_equal(zoomed.boxes, plain.boxes)


def test_a_size_that_is_given_is_meant() -> None:
    assert Options(profile=Profile.high_accuracy).resolve().zoom is Zoom.picture
    assert Options(det_size=640).resolve().zoom is Zoom.off
    assert Options(det_size=640, zoom=Zoom.faces).resolve().zoom is Zoom.faces


def _faces(*rows: tuple[float, float, float, float, float]) -> Faces:
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    scores = np.array([row[4] for row in rows], np.float32)
    return Faces(boxes, scores, np.repeat(boxes[:, None, :2], 5, axis=1))


def test_fused_boxes_are_means_by_score_and_a_look_that_misses_counts() -> None:
    looks = [
        _faces((0, 0, 10, 10, 0.6)),
        _faces((0, 0, 13, 10, 0.3), (50, 50, 60, 60, 0.9)),
        _faces((0, 0, 12, 10, 0.0), (50, 50, 60, 60, 0.6)),
    ]
    fused = fuse(looks)
    np.testing.assert_allclose(fused.boxes, [[0, 0, 11, 10], [50, 50, 60, 60]], atol=1e-5)
    np.testing.assert_allclose(fused.scores, [0.3, 0.5], atol=1e-6)


def test_two_boxes_of_a_look_do_not_count_twice() -> None:
    looks = [_faces((0, 0, 10, 10, 0.9)), _faces((0, 0, 10, 9, 0.9), (0, 0, 10, 7, 0.8))]
    np.testing.assert_allclose(fuse(looks).scores, [0.9], atol=1e-6)


def test_no_faces_are_no_faces() -> None:
    assert not len(fuse([_faces(), _faces(), _faces()]))


@given(
    boxes=st.lists(
        st.tuples(*[st.floats(0, 1), st.floats(0, 1), st.floats(2, 300)]), min_size=1, max_size=12
    ),
    size=st.tuples(st.integers(40, 2000), st.integers(40, 1200)),
    scale=st.floats(0.2, 1.0),
)
def test_pieces_lie_in_the_picture_and_hold_the_boxes(
    boxes: list[tuple[float, float, float]], size: tuple[int, int], scale: float
) -> None:
    xyxy = np.array(
        [(x * size[0], y * size[1], x * size[0] + s, y * size[1] + s) for x, y, s in boxes],
        np.float32,
    )
    limits = np.tile(np.array(size, np.float32), 2)
    xyxy = np.minimum(xyxy, limits)
    reach = np.array([s + 8 for *_, s in boxes], np.float32)
    found = pieces(xyxy, reach, size, scale)
    assert 1 <= len(found) <= len(boxes)
    for left, top, right, bottom in found:
        assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
    for x1, y1, x2, y2 in xyxy.tolist():
        assert any(
            left <= x1 + 1 and top <= y1 + 1 and x2 - 1 <= right and y2 - 1 <= bottom
            for left, top, right, bottom in found
        )
