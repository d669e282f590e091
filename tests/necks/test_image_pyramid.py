"""Both pyramids against the extractor that they are made of."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.transforms.v2.functional import resize

from tests.closeness import assert_close
from vidi.backbones.resnet import trunk
from vidi.necks.image_pyramid import CnnPyramid, ImagePyramid, pyramid_costs
from vidi.nn.cost import count_cost


@pytest.fixture(scope="module")
def extractor() -> Any:
    torch.default_generator.manual_seed(0)
    return trunk("resnet18", width=16).double().eval()


@pytest.mark.system("4.3.3-IMGPYR")
def test_the_image_pyramid_is_the_extractor_on_images_resized_one_by_one(extractor: Any) -> None:
    images = torch.randn(2, 3, 192, 128, dtype=torch.float64)
    pyramid = ImagePyramid(extractor, (2, 1, 0.5)).eval()
    with torch.no_grad():
        maps = pyramid(images)
        expected = []
        for size in ((384, 256), (192, 128), (96, 64)):
            resized = resize(images, list(size), antialias=True)
            expected.append(extractor(resized)[-1])
    assert [tuple(level.shape[1:]) for level in maps] == [(128, 12, 8), (128, 6, 4), (128, 3, 2)]
    for level, want in zip(maps, expected, strict=True):
        assert_close(level, want)
    assert pyramid.channels == (128, 128, 128)
    assert pyramid.strides == (16, 32, 64)
    assert {id(p) for p in pyramid.parameters()} == {id(p) for p in extractor.parameters()}  # one extractor, shared


@pytest.mark.system("4.3.3-IMGPYR")
@pytest.mark.parametrize(
    ("scales", "ratio"),
    [((1, 0.5, 0.25), 1 + 1 / 4 + 1 / 16), ((8, 4, 2, 1), 64 + 16 + 4 + 1), ((1, 0.5, 0.25, 0.125), (4 - 4**-3) / 3)],
)
def test_each_scale_costs_its_square(scales: tuple[float, ...], ratio: float) -> None:
    with torch.device("meta"):
        costs = pyramid_costs(trunk("resnet18"), 256, scales=scales)
    assert costs.image_ratio == pytest.approx(ratio, rel=1e-12)
    assert costs.image.parameters == costs.once.parameters
    table = costs.table().splitlines()
    assert f"{costs.image.macs:,} MACs" in table[2]
    assert table[2].endswith(f"{ratio:.3f}x")


@pytest.mark.system("4.3.3-CNNPYR")
def test_the_maps_of_all_stages_cost_what_the_last_one_costs() -> None:
    """The last map by torchvision's network, which makes no other."""
    with torch.device("meta"):
        costs = pyramid_costs(trunk("resnet18"), 224)
        theirs = nn.Sequential(*list(torchvision.models.resnet18(weights=None).children())[:-2])
        alone = count_cost(theirs, 224)
    assert costs.cnn.macs == costs.once.macs == alone.macs
    assert costs.cnn_ratio == 1
    assert "1.000x" in costs.table().splitlines()[1]


@pytest.mark.system("4.3.3-CNNPYR")
def test_the_cnn_pyramid_takes_maps_of_the_backbone_and_of_stages_on_top(extractor: Any) -> None:
    stages = [nn.Conv2d(128, 8, 3, 2, 1).double(), nn.Conv2d(8, 4, 1).double()]
    pyramid = CnnPyramid(extractor, (1, 3), stages, channels=(8, 4), strides=(64, 64))
    images = torch.randn(1, 3, 128, 192, dtype=torch.float64)
    with torch.no_grad():
        maps, own = pyramid(images), extractor(images)
        first = F.conv2d(own[-1], stages[0].weight, stages[0].bias, 2, 1)
        expected = (own[1], own[3], first, F.conv2d(first, stages[1].weight, stages[1].bias))
    assert pyramid.channels == (32, 128, 8, 4)
    assert pyramid.strides == (8, 32, 64, 64)
    for level, want in zip(maps, expected, strict=True):
        assert torch.equal(level, want)
    deeper = CnnPyramid(extractor, (), stages[:1], channels=(8,), strides=(32,), top=-1)
    assert torch.equal(deeper(images)[0], first)


@pytest.mark.parametrize("size", [(1, 1), (33, 57), (40, 160)])
def test_odd_and_tiny_images(extractor: Any, size: tuple[int, int]) -> None:
    maps = ImagePyramid(extractor)(torch.randn(1, 3, *size, dtype=torch.float64))
    assert len(maps) == 3
    assert all(level.isfinite().all() and min(level.shape) >= 1 for level in maps)


@pytest.mark.parametrize("scales", [(), (0.5, 1), (1, 1), (1, 0), (1, -0.5)])
def test_impossible_scales_are_refused(extractor: Any, scales: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="largest first"):
        ImagePyramid(extractor, scales)


def test_impossible_stages_are_refused(extractor: Any) -> None:
    with pytest.raises(ValueError, match="1 stages with 0 channels"):
        CnnPyramid(extractor, (0,), [nn.Identity()])
    with pytest.raises(ValueError, match="neither maps"):
        CnnPyramid(extractor, ())
