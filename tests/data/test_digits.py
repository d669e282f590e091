"""The shipped digits are scikit-learn's, whole and in order."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torchvision import tv_tensors

from vidi.data.digits import Digits, digits

SPLITS = ("train", "val", "test")


@pytest.mark.system("0-DATA-CLS")
def test_the_splits_together_are_the_published_set():
    published_images, published_labels = load_digits(return_X_y=True)
    images = torch.cat([digits(split)[0] for split in SPLITS])
    labels = torch.cat([digits(split)[1] for split in SPLITS])
    assert torch.equal(images[:, 0].double() * 16, torch.from_numpy(published_images).unflatten(1, (8, 8)))
    assert np.array_equal(labels.numpy(), published_labels)


@pytest.mark.system("0-DATA-CLS")
def test_a_sample_keeps_the_contract():
    data = Digits("val")
    image, target = data[7]
    assert len(data) == 300
    assert isinstance(image, tv_tensors.Image)
    assert image.dtype == torch.uint8
    assert image.shape == (3, 8, 8)
    assert int(image.max()) == 255
    assert set(target) == data.kinds
    assert data.categories[int(target["label"])] == str(int(digits("val")[1][7]))


def test_every_split_has_every_digit():
    for split in SPLITS:
        assert torch.bincount(digits(split)[1], minlength=10).min() >= 25


def test_a_linear_classifier_learns_them():
    (train, labels), (test, truth) = digits("train"), digits("test")
    model = LogisticRegression(max_iter=300).fit(train.flatten(1), labels)
    assert model.score(test.flatten(1), truth) > 0.88


def test_an_unknown_split_is_an_error_with_the_choices():
    with pytest.raises(ValueError, match="expected one of train, val, test"):
        Digits("all")
