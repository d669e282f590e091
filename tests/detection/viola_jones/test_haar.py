"""Haar-like features against scikit-image and the closed counts."""

import numpy as np
import pytest
from skimage.feature import haar_like_feature
from skimage.transform import integral_image

from vidi.detection.viola_jones.boosting import Booster
from vidi.detection.viola_jones.cascade import Stage, of_stumps
from vidi.detection.viola_jones.haar import HaarFeatures, Windows, describe, feature_counts, haar_features

TYPES = {
    "two beside": "type-2-x",
    "two below": "type-2-y",
    "three beside": "type-3-x",
    "three below": "type-3-y",
    "four": "type-4",
}


def windows(count: int = 3, height: int = 9, width: int = 11, seed: int = 0) -> Windows:
    return Windows(np.random.default_rng(seed).integers(0, 256, (count, height, width), dtype=np.uint8))


@pytest.mark.system("B4.7", "4.2.1-HAAR")
def test_the_number_of_features_of_a_24_x_24_window():
    assert list(feature_counts().values()) == [43_200, 43_200, 27_600, 27_600, 20_736]
    assert sum(feature_counts().values()) == 162_336
    assert len(haar_features()) == 162_336


@pytest.mark.system("4.2.1-HAAR")
@pytest.mark.parametrize("kind", TYPES)
def test_values_are_those_of_scikit_image_in_its_order(kind):
    some = windows()
    features = haar_features((9, 11), [kind], balanced=False)
    assert len(features) == feature_counts((9, 11))[kind]
    values = some.values(features, normalised=False)
    for n, pixels in enumerate(some.pixels):
        integral = integral_image(pixels, dtype=np.int64)
        assert np.array_equal(values[:, n], haar_like_feature(integral, 0, 0, 11, 9, TYPES[kind]))


@pytest.mark.system("4.2.1-HAAR")
def test_all_features_of_one_24_x_24_window_are_scikit_images():
    some = windows(1, 24, 24)
    integral = integral_image(some.pixels[0], dtype=np.int64)
    for kind, name in TYPES.items():
        values = some.values(haar_features((24, 24), [kind], balanced=False), normalised=False)[:, 0]
        assert np.array_equal(values, haar_like_feature(integral, 0, 0, 24, 24, name))


def test_balanced_features_do_not_see_an_even_patch_nor_its_lighting():
    even = Windows(np.full((1, 12, 12), 77, np.uint8))
    assert not even.values(haar_features((12, 12)), normalised=False).any()
    assert not even.show_something().any()
    dark = np.random.default_rng(0).integers(0, 100, (1, 12, 12), dtype=np.uint8)
    values = [Windows(p).values(haar_features((12, 12))) for p in (dark, (2 * dark + 50).astype(np.uint8))]
    np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-6)


@pytest.mark.system("4.2.1-HAARWL", "4.2.1-SELECT")
def test_boosting_picks_the_filter_that_tells_the_classes_apart():
    random = np.random.default_rng(0)
    pixels = random.integers(60, 190, (200, 12, 12)).astype(np.int64)
    labels = np.repeat([1, -1], 100)
    pixels[:100, 3:6, 2:10] -= 50  # what +1 shows: a dark bar above a bright one
    pixels[:100, 6:9, 2:10] += 50
    some = Windows(pixels.clip(0, 255).astype(np.uint8))
    features = haar_features((12, 12))
    values = some.values(features)
    booster = Booster(values, labels)
    one = booster.step()
    assert one is not None
    rectangles = features.rectangles[one.stump.feature]
    assert features.weights[one.stump.feature, 1] == 2  # two rectangles, the lower one positive
    assert rectangles[1, 1] == 6
    assert one.stump.polarity == 1
    assert one.error < 0.05
    text = next(describe(features[[one.stump.feature]]))
    assert text.startswith("-1 x [x ")
    rounds = [one, *(found for found in (booster.step() for _ in range(4)) if found)]
    cascade = of_stumps((12, 12), [Stage(rounds, 0.0)], features)
    assert len(cascade.features) == len(rounds)  # M filters out of all
    votes = sum(r.vote * r.stump.of_values(values[r.stump.feature]) for r in rounds)
    np.testing.assert_allclose(cascade.stage_votes(some)[0], votes, rtol=1e-5)


@pytest.mark.system("4.2.1-HAARWL")
@pytest.mark.parametrize("polarity", [1, -1])
def test_a_weak_learner_is_its_polarity_and_threshold(polarity):
    some = windows(50)
    features = haar_features((9, 11))
    values = some.values(features)
    labels = np.where(polarity * values[123] >= polarity * np.median(values[123]), 1, -1)
    one = Booster(values, labels).step()
    assert one is not None
    assert one.error == 0
    cascade = of_stumps((9, 11), [Stage([one], 0.0)], features)
    assert np.array_equal(np.sign(cascade.stage_votes(some)[0]), labels)


def test_wrong_features_are_refused():
    with pytest.raises(ValueError, match="expected some of"):
        haar_features((9, 9), ["five"])
    beyond = HaarFeatures(
        np.array([[[8, 0, 4, 4], [8, 0, 2, 4], [0, 0, 0, 0]]], np.int32),
        np.array([[-1, 2, 0]], np.float32),
        np.zeros(1, bool),
    )
    with pytest.raises(ValueError, match="beyond windows"):
        windows().values(beyond)
    with pytest.raises(ValueError, match="as many of each"):
        HaarFeatures(beyond.rectangles, beyond.weights, np.zeros(2, bool))
    assert len(haar_features((2, 2), ["three beside"])) == 0
