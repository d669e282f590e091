"""Pictures of single shapes: the contract of samples, balanced labels, and labels that can be seen."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torchvision import tv_tensors

from vidi.data.shapes import ATTRIBUTES, COLOURS, SHAPES, TEXTURES, Figure, ShapeImages, outline, render, shape_images
from vidi.data.silhouettes import coverage, pixel_centres


@pytest.mark.system("0-DATA-CLS")
@pytest.mark.parametrize("label", ATTRIBUTES)
@pytest.mark.parametrize("size", [(32, 32), (19, 45)])
def test_a_sample_keeps_the_contract(label, size):
    data = ShapeImages("val", count=4, size=size, label=label)
    image, target = data[3]
    assert isinstance(image, tv_tensors.Image)
    assert image.dtype == torch.uint8
    assert image.shape == (3, *size)
    assert set(target) == data.kinds
    assert target["image_id"].dtype == target["label"].dtype == torch.int64
    assert 0 <= int(target["label"]) < len(data.categories) == len(ATTRIBUTES[label])


@pytest.mark.system("0-DATA-CLS")
def test_all_images_come_as_one_tensor_in_unit_range():
    images, labels = shape_images(6, size=(20, 28))
    assert images.shape == (6, 3, 20, 28)
    assert images.dtype == torch.float32
    assert float(images.min()) >= 0.0
    assert float(images.max()) <= 1.0
    assert labels.tolist() == [int(ShapeImages(count=6)[i][1]["label"]) for i in range(6)]


def test_attributes_are_balanced_and_independent():
    counts = np.zeros((len(SHAPES), len(COLOURS)))
    shapes, colours = (ShapeImages(count=640, size=(8, 8), label=label) for label in ("shape", "colour"))
    for index in range(640):
        counts[int(shapes[index][1]["label"]), int(colours[index][1]["label"])] += 1
    assert counts.sum(1).min() > 50
    assert counts.sum(0).min() > 50
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / 640
    assert ((counts - expected) ** 2 / expected).sum() < 85.4  # chi square with 49 degrees of freedom, p = 0.001


@pytest.mark.system("0-DATA-CLS")
def test_the_label_can_be_learnt_from_the_pixels():
    """Nearest neighbours on raw pixels are above chance (1/8) and far from perfect: there is something to learn."""
    (train, labels), (test, truth) = (
        shape_images(n, split=s, size=(16, 16)) for n, s in ((1200, "train"), (300, "test"))
    )
    nearest = KNeighborsClassifier(5).fit(train.flatten(1), labels)
    assert 0.2 < nearest.score(test.flatten(1), truth) < 0.9


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_has_the_area_that_geometry_gives(shape):
    s = np.sin(np.pi / 5)
    areas = {
        "disc": np.pi * 0.95**2,
        "ring": np.pi * (0.97**2 - 0.53**2),
        "triangle": 3 * np.sqrt(3) / 4,
        "square": 1.4**2,
        "bar": 1.88 * 0.64,
        "cross": 2 * 1.9 * 0.6 - 0.6**2,
        "star": 5 * 0.42 * s,
    }
    radius, side = 100.0, 240
    x, y = ((c - side / 2) / radius for c in pixel_centres((side, side)))
    distance = outline(shape, x, y)
    assert distance[np.hypot(x, y) > 1.0].min() > 0.0  # it fits into the unit disc
    if shape in areas:
        assert coverage(distance, radius).sum() / radius**2 == pytest.approx(areas[shape], rel=2e-3)


@pytest.mark.parametrize("texture", TEXTURES)
def test_a_texture_fills_the_shape_with_its_colour(texture):
    figure = Figure("square", "green", texture, (0.0, 0.0), 0.4, 0.0, (0.5, 0.5))
    image = render(figure, (64, 64), np.random.default_rng(0)).double() / 255
    inside = image[:, 16:48, 16:48]
    share = (inside[1] > 0.45).double().mean()
    assert (share == 1.0) == (texture == "plain")
    assert share > 0.3
    assert float((inside[1] - inside[0]).min()) > 0.0  # green everywhere, light or dark


def test_the_figure_is_the_same_at_every_size():
    small, large = (shape_images(8, size=size)[0] for size in ((32, 32), (96, 96)))
    reduced = torch.nn.functional.interpolate(large, (32, 32), mode="area")
    assert float((small - reduced).abs().mean()) < 0.03


def test_an_unknown_label_is_an_error_with_the_choices():
    with pytest.raises(ValueError, match="shape, colour, texture"):
        ShapeImages(label="size")
