"""Scanning and grouping against OpenCV, slow loops, and each other."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.detection.viola_jones.cascades import astronaut, opencv_file, random_cascade
from vidi.detection.viola_jones.grouping import group_rectangles, merge_by_groups, merge_by_suppression
from vidi.detection.viola_jones.haar import Windows
from vidi.detection.viola_jones.opencv_xml import read_cascade
from vidi.detection.viola_jones.scanning import Hits, grey, resize_linear_exact, scan, window_scales
from vidi.ops.boxes import box_iou
from vidi.ops.suppression import non_maximum_suppression

cv2.setNumThreads(1)
CASCADES = ("frontalface_default", "frontalface_alt2", "eye")
FURTHER = ("smile", "lefteye_2splits", "profileface", "fullbody")  # tilted features, trees, windows that are not square


def rows(boxes: object) -> list[tuple[int, ...]]:
    return [tuple(row) for row in np.asarray(boxes).reshape(-1, 4).tolist()]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


# ----------------------------------------------------------------------------------------------------------------------
# OpenCV


def test_grey_and_resizing_are_opencvs_bit_for_bit():
    image = astronaut()
    ours = grey(image.transpose(2, 0, 1))
    assert np.array_equal(ours, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    for height, width in [(512, 512), (300, 201), (511, 77), (600, 700), (1, 5)]:
        theirs = cv2.resize(ours, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
        assert np.array_equal(resize_linear_exact(ours, (height, width)), theirs)


@pytest.mark.system("4.2.3-CASCADE")
@pytest.mark.parametrize("name", [*CASCADES, *(pytest.param(n, marks=pytest.mark.extended) for n in FURTHER)])
def test_raw_hits_and_groups_are_opencvs(name):
    image = cv2.resize(cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY), (301, 257))
    cascade, theirs = read_cascade(opencv_file(name)), cv2.CascadeClassifier(str(opencv_file(name)))
    hits = scan(image, cascade, mode="image")
    assert sorted(rows(hits.boxes)) == sorted(rows(theirs.detectMultiScale(image, 1.1, 0)))
    for minimum in (1, 3):
        assert rows(group_rectangles(hits.boxes, minimum).boxes) == rows(theirs.detectMultiScale(image, 1.1, minimum))
    limited = scan(image, cascade, mode="image", scale_factor=1.3, min_size=(30, 30), max_size=(120, 120))
    expected = theirs.detectMultiScale(image, 1.3, 0, minSize=(30, 30), maxSize=(120, 120))
    assert sorted(rows(limited.boxes)) == sorted(rows(expected))


@pytest.mark.system("4.2.3-CASCADE")
@pytest.mark.parametrize("name", [CASCADES[0], *(pytest.param(n, marks=pytest.mark.extended) for n in CASCADES[1:])])
def test_grouped_faces_of_real_photos_are_opencvs(name, shared_data: Path):
    paths = sorted((shared_data / "group_faces" / "images").glob("*.jpg"))[:3]
    cascade, theirs = read_cascade(opencv_file(name)), cv2.CascadeClassifier(str(opencv_file(name)))
    found = 0
    for path in paths:
        image = np.array(Image.open(path).convert("L"))
        ours = group_rectangles(scan(image, cascade, mode="image").boxes).boxes
        expected = np.asarray(theirs.detectMultiScale(image, 1.1, 3)).reshape(-1, 4)
        assert rows(ours) == rows(expected)
        found += len(ours)
    assert found > 0


@pytest.mark.system("4.2.3-CASCADE")
def test_grouping_is_opencvs():
    for seed in range(20):
        random = np.random.default_rng(seed)
        centres = random.integers(0, 200, (6, 2))
        corners = centres[random.integers(0, 6, 60)] + random.integers(-8, 9, (60, 2))
        boxes = np.concatenate([corners, np.repeat(random.integers(20, 60, (60, 1)), 2, 1)], 1).astype(np.int64)
        for minimum in (1, 2, 4):
            theirs, weights = cv2.groupRectangles(boxes.tolist(), minimum, 0.2)
            ours = group_rectangles(boxes, minimum)
            assert rows(ours.boxes) == rows(theirs)
            assert ours.neighbours.tolist() == np.asarray(weights).ravel().tolist()


# ----------------------------------------------------------------------------------------------------------------------
# The scan of the paper


@pytest.mark.system("4.2.2-MULTISCALE")
@pytest.mark.parametrize("seed", range(4))
def test_at_scale_1_both_scans_are_the_cascade_on_every_window(seed):
    cascade, image = random_cascade(seed, tilted=False, depth=3), noise(30, 33, seed)
    H, W = cascade.window
    places = [(x, y) for y in range(30 - H + 1) for x in range(33 - W + 1)]
    passes = cascade.passes(Windows(np.stack([image[y : y + H, x : x + W] for x, y in places])))
    expected = [place for place, passed in zip(places, passes, strict=True) if passed]
    assert 0 < len(expected) < len(places)
    assert [row[:2] for row in rows(scan(image, cascade, mode="features", max_size=cascade.window).boxes)] == expected
    by_two = [place for place in expected if place[0] % 2 == 0 and place[1] % 2 == 0]
    assert {row[:2] for row in rows(scan(image, cascade, mode="image", max_size=cascade.window).boxes)} <= set(by_two)


@pytest.mark.system("4.2.2-MULTISCALE")
@given(st.integers(0, 10**6), st.sampled_from([2, 3]))
def test_features_that_grow_see_in_an_enlarged_image_what_they_saw_before(seed, factor):
    cascade, image = random_cascade(seed % 50, tilted=False), noise(20, 22, seed)
    enlarged = np.kron(image, np.ones((factor, factor), np.uint8))
    H, W = cascade.window
    grown = scan(enlarged, cascade, scale_factor=float(factor), min_size=(H * factor, W * factor), stride=1.0)
    small = scan(image, cascade, max_size=(H, W))
    seen = {tuple(v // factor for v in row) for row in rows(grown.boxes) if row[2] == W * factor}
    assert seen == set(rows(small.boxes))


@pytest.mark.system("4.2.2-MULTISCALE")
def test_stride_and_scale_factor():
    cascade, image = random_cascade(1), noise(60, 70)
    all_windows = scan(image, cascade.truncated(0), scale_factor=1.25)
    sides = np.unique(all_windows.boxes[:, 3])
    assert sides.tolist() == [14, 18, 22, 27, 34, 43, 53]
    expected = sum(((70 - w) // s + 1) * ((60 - h) // s + 1) for h, w, s in _sizes(cascade.window, 1.25))
    assert all_windows.windows == len(all_windows.boxes) == expected
    assert scan(image, cascade.truncated(0), scale_factor=1.25, stride=2).windows < expected / 3
    inside = all_windows.boxes[:, :2] + all_windows.boxes[:, 2:]
    assert (inside <= [70, 60]).all()


def _sizes(window: tuple[int, int], factor: float):
    for scale in window_scales((60, 70), window, factor):
        h, w = (int(np.rint(np.float32(side) * scale)) for side in window)
        yield h, w, max(1, round(float(scale)))


@pytest.mark.system("4.2.2-MULTISCALE", "4.2.4-NMS")
def test_a_face_is_found_at_every_size_by_growing_features():
    cascade = read_cascade(opencv_file("frontalface_default"))
    face = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY)[40:190, 150:300]
    for side in (60, 110, 150):
        image = np.full((200, 240), 128, np.uint8)
        image[20 : 20 + side, 40 : 40 + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
        hits = scan(image, cascade)
        truth = torch.tensor([[27, 26, 122, 121]]) * side / 150 + torch.tensor([40, 20, 40, 20])
        for merged in (merge_by_groups(hits), merge_by_suppression(hits, 0.3)):
            assert len(merged.boxes) >= 1
            best = torch.from_numpy(merged.boxes[merged.scores.argmax()])[None]
            assert box_iou(best.float(), truth.float()).item() > 0.6


# ----------------------------------------------------------------------------------------------------------------------
# Merging


def test_scores_grow_with_neighbours_and_margins():
    boxes = np.array([[10, 10, 40, 40]] * 5 + [[100, 10, 40, 40]] * 9 + [[200, 10, 40, 40]] * 2)
    merged = merge_by_groups(Hits(boxes, np.linspace(0, 1, 16), 16))
    assert merged.boxes[:, 0].tolist() == [10, 100]  # two hits are too few
    assert 0.5 < merged.scores[0] < merged.scores[1] < 1
    surer = merge_by_groups(Hits(boxes, np.linspace(2, 3, 16), 16))
    assert (surer.scores > merged.scores).all()


@pytest.mark.system("4.2.4-NMS")
def test_suppression_keeps_the_surest_hit():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 10, 10]])
    hits = Hits(boxes, np.array([2.0, 1.0, 0.5]), 3)
    merged = merge_by_suppression(hits)
    assert merged.boxes.tolist() == [[0, 0, 10, 10], [20, 20, 30, 30]]
    kept = non_maximum_suppression(torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]]), torch.tensor([2, 1, 0.5]), 0.5)  # fmt: skip  # noqa: E501
    assert kept.tolist() == [0, 2]


# ----------------------------------------------------------------------------------------------------------------------
# Edges


@pytest.mark.parametrize("mode", ["features", "image"])
@pytest.mark.parametrize("size", [(1, 1), (13, 40), (40, 11), (14, 12), (15, 300)])
def test_small_and_long_images(mode, size):
    cascade = random_cascade(0)
    hits = scan(noise(*size), cascade, mode=mode)
    fits = size[0] >= 14 and size[1] >= 12
    assert (hits.windows > 0) == fits
    assert hits.boxes.shape == (len(hits.margins), 4)
    assert len(merge_by_groups(hits).boxes) <= len(hits.boxes)
    assert len(merge_by_suppression(hits).boxes) <= len(hits.boxes)


@pytest.mark.parametrize("mode", ["features", "image"])
def test_an_even_image_shows_nothing(mode):
    hits = scan(np.full((50, 50), 99, np.uint8), random_cascade(0).truncated(0), mode=mode)
    assert len(hits.boxes) == hits.windows == 0


def test_wrong_settings_are_refused():
    cascade, image = random_cascade(0), noise(20, 20)
    with pytest.raises(ValueError, match="expected features or image"):
        scan(image, cascade, mode="both")
    with pytest.raises(ValueError, match="expected more than 1"):
        scan(image, cascade, scale_factor=1.0)
    with pytest.raises(ValueError, match="stride of 0"):
        scan(image, cascade, stride=0)
    with pytest.raises(ValueError, match="expected 0 or more"):
        group_rectangles(np.zeros((0, 4), np.int64), -1)
