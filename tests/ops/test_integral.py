"""Integral images against the notes, slow sums, scikit-image and OpenCV."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import integral_image as skimage_integral

from tests.closeness import assert_close
from vidi.ops.integral import (
    as_offsets,
    byte_integrals,
    dealt_columns,
    integral_image,
    rectangle_sum,
    squared_integral_image,
    tilted_integral_image,
    tilted_rectangle_sum,
)

NINE = np.arange(1, 10).reshape(3, 3)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


@pytest.mark.system("B4.6", "4.2.2-INTEGRAL", "4.2.2-RECTSUM")
def test_the_worked_example():
    integral = integral_image(NINE)
    assert integral[1:, 1:].tolist() == [[1, 3, 6], [5, 12, 21], [12, 27, 45]]
    assert rectangle_sum(integral, 1, 1, 2, 2) == 45 - 6 - 12 + 1 == 28


@pytest.mark.system("4.2.2-INTEGRAL")
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (48, 65)])
def test_the_integral_image_is_scikit_images_and_opencvs(size):
    image = noise(*size)
    integral, squares = integral_image(image), squared_integral_image(image)
    sums, sums_of_squares, tilted = cv2.integral3(image, sdepth=cv2.CV_32S, sqdepth=cv2.CV_64F)
    assert np.array_equal(integral[1:, 1:], skimage_integral(image, dtype=np.int64))
    assert np.array_equal(integral, sums)
    assert np.array_equal(squares, sums_of_squares)
    assert np.array_equal(tilted_integral_image(image), tilted)
    recursive, recursive_squares = byte_integrals(image)
    assert np.array_equal(recursive, sums)
    assert np.array_equal(recursive_squares, sums_of_squares)


@pytest.mark.system("4.2.2-INTEGRAL")
def test_the_recursive_form_holds():
    image = noise(9, 11).astype(np.int64)
    II = integral_image(image)
    assert np.array_equal(II[1:, 1:], II[1:, :-1] + II[:-1, 1:] - II[:-1, :-1] + image)


def test_batches_and_floats():
    images = np.random.default_rng(0).normal(size=(2, 3, 6, 5))
    integral = integral_image(images)
    assert integral.dtype == np.float64
    assert integral.shape == (2, 3, 7, 6)
    np.testing.assert_allclose(integral[1, 2], integral_image(images[1, 2]), rtol=0, atol=0)
    assert_close(rectangle_sum(integral[0, 1], 1, 2, 3, 4), images[0, 1, 2:6, 1:4].sum())


@pytest.mark.system("4.2.2-RECTSUM")
@given(st.data())
def test_a_rectangle_is_four_look_ups(data):
    H, W = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    image = noise(H, W, data.draw(st.integers(0, 99)))
    x, y = data.draw(st.integers(0, W)), data.draw(st.integers(0, H))
    width, height = data.draw(st.integers(0, W - x)), data.draw(st.integers(0, H - y))
    expected = image[y : y + height, x : x + width].astype(np.int64).sum()
    integral = integral_image(image)
    assert rectangle_sum(integral, x, y, width, height) == expected
    for step in (1, 2, 3):
        places = as_offsets(np.array([x, y, width, height]), W + 1, step=step)
        a, b, c, d = dealt_columns(integral, step).ravel()[places]
        assert a - b - c + d == expected


@pytest.mark.system("4.2.2-RECTSUM")
def test_many_rectangles_of_any_size_in_one_call():
    image = noise(30, 40)
    x, y, width, height = np.array([[0, 0, 40, 30], [3, 4, 1, 1], [10, 0, 30, 2]]).T
    expected = [image[b : b + h, a : a + w].astype(int).sum() for a, b, w, h in zip(x, y, width, height, strict=True)]
    assert np.asarray(rectangle_sum(integral_image(image), x, y, width, height)).tolist() == expected


def test_a_tilted_rectangle_covers_two_pixels_for_each_unit_of_its_area():
    image = np.ones((20, 20), np.uint8)
    assert tilted_rectangle_sum(tilted_integral_image(image), 8, 2, 4, 3) == 2 * 4 * 3
    places = as_offsets(np.array([8, 2, 4, 3]), 21, step=2, tilted=True)
    a, b, c, d = dealt_columns(tilted_integral_image(noise(20, 20)), 2).ravel()[places]
    assert a - b - c + d == tilted_rectangle_sum(tilted_integral_image(noise(20, 20)), 8, 2, 4, 3)


def test_sums_that_wrap_around_have_the_right_differences():
    image = np.full((3000, 3000), 255, np.uint8)
    sums, _ = byte_integrals(image)
    assert sums.min() < 0
    with np.errstate(over="ignore"):
        difference = sums[3000, 3000] - sums[2900, 3000] - sums[3000, 2900] + sums[2900, 2900]
    assert difference == 255 * 100 * 100
