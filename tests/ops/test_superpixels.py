"""Superpixels against scikit-image, label for label."""

import numpy as np
import pytest
import skimage.data
from skimage.segmentation import felzenszwalb as skimage_felzenszwalb

from vidi.ops.superpixels import cut_graph, felzenszwalb, pixel_graph

OPTIONS = [(1.0, 0.8, 20), (50.0, 0.8, 50), (100.0, 0.5, 10), (300.0, 0.8, 100), (50.0, 0.0, 0), (0.0, 0.8, 5)]


def photo(name: str) -> np.ndarray:
    return getattr(skimage.data, name)()[100:220, 150:310]


def flat() -> np.ndarray:
    """Rectangles of one colour each: most of the edges cost the same."""
    image = np.zeros((60, 80, 3), np.uint8)
    image[10:30, 20:50] = 200
    image[5:50, 60:70] = 90
    image[40:] += 30
    return image


@pytest.mark.system("4.3.2-SUPERPIX")
@pytest.mark.parametrize(("scale", "sigma", "min_size"), OPTIONS)
@pytest.mark.parametrize("image", [photo("astronaut"), photo("coffee"), photo("chelsea"), flat()], ids=lambda _: "")
def test_the_labels_are_scikit_images(image, scale, sigma, min_size):
    ours = felzenszwalb(image, scale=scale, sigma=sigma, min_size=min_size)
    theirs = skimage_felzenszwalb(image, scale=scale, sigma=sigma, min_size=min_size)
    assert np.array_equal(ours, theirs)


@pytest.mark.system("4.3.2-SUPERPIX")
@pytest.mark.filterwarnings("ignore:Got image with third dimension of 5")  # as it is meant
@pytest.mark.parametrize("channels", [None, 1, 2, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_any_number_of_channels_and_floats(channels, dtype):
    random = np.random.default_rng(0)
    image = random.random((24, 31) if channels is None else (24, 31, channels))
    image = (image * 255).astype(dtype) if dtype == np.uint8 else image.astype(dtype)
    ours = felzenszwalb(image, scale=20, sigma=0.6, min_size=4)
    theirs = skimage_felzenszwalb(image, scale=20, sigma=0.6, min_size=4, channel_axis=None if channels is None else -1)
    assert np.array_equal(ours, theirs)
    assert ours.max() > 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 2)])
def test_the_smallest_images(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    labels = felzenszwalb(image, min_size=0)
    assert labels.shape == size
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert (felzenszwalb(image, min_size=100) == 0).all()


def test_one_graph_serves_every_scale():
    image = photo("coffee")
    before = image.copy()
    graph = pixel_graph(image, sigma=0.8)
    for scale in (50, 200):
        expected = felzenszwalb(image, scale=scale, min_size=scale)
        assert np.array_equal(cut_graph(graph, scale=scale, min_size=scale), expected)
    assert np.array_equal(image, before)


def test_no_region_is_too_small_and_large_scales_give_few():
    coarse, fine = (felzenszwalb(photo("chelsea"), scale=scale, min_size=30) for scale in (400, 20))
    assert coarse.max() < fine.max()
    assert min(np.bincount(coarse.ravel()).min(), np.bincount(fine.ravel()).min()) >= 30


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), {}, "without an empty axis"),
        (np.zeros((2, 5, 3, 1), np.uint8), {}, "expected H W or H W C"),
        (np.zeros((5, 5), np.int64), {}, "of int64, expected uint8"),
        (np.full((5, 5), np.nan), {}, "NaN"),
        (np.zeros((5, 5)), {"scale": -1}, "scale -1"),
        (np.zeros((5, 5)), {"sigma": -0.5}, "sigma -0.5"),
        (np.zeros((5, 5)), {"min_size": -2}, "min_size -2"),
    ],
)
def test_bad_input(image, options, message):
    with pytest.raises(ValueError, match=message):
        felzenszwalb(image, **options)
