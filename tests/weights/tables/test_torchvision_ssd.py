from typing import Any

import pytest
import torch
from torchvision.models import VGG16_Weights, detection, vgg16

from vidi.detection import ssd
from vidi.weights.published import Published
from vidi.weights.renaming import renamed
from vidi.weights.tables.torchvision_ssd import CLASSES, PUBLISHED, background_last

COCO, FEATURES = "ssd300_vgg16/torchvision/coco_v1", "ssd300_vgg16/torchvision/imagenet1k_features"
THEIRS: dict[str, Any] = {
    COCO: detection.SSD300_VGG16_Weights.COCO_V1,
    FEATURES: VGG16_Weights.IMAGENET1K_FEATURES,
}


def shapes(tensors: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def built(source: Published) -> Any:
    with torch.device("meta"):
        return getattr(ssd, source.model)(categories=source.categories(), **source.arguments)


def theirs_of(name: str) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        if name == FEATURES:
            return vgg16(weights=None).state_dict()
        return detection.ssd300_vgg16(weights=None, weights_backbone=None).state_dict()


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_tensor_has_its_place(name: str) -> None:
    source = PUBLISHED[name]
    ours = source.layout.convert(renamed(theirs_of(name), source.layout.names))
    assert shapes(ours) == shapes(built(source).get_submodule(source.layout.into).state_dict())
    assert set(source.layout.by_category) <= ours.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_sources_say_what_torchvision_says(name: str) -> None:
    ours, theirs = PUBLISHED[name], THEIRS[name]
    assert THEIRS.keys() == PUBLISHED.keys()
    assert ours.files[0].url == theirs.url
    assert ours.files[0].name.rsplit("-", 1)[1] == f"{ours.files[0].sha256}.pth"
    if name == COCO:
        assert ours.score["ap"] == theirs.meta["_metrics"]["COCO-val2017"]["box_map"]
    assert built(ours).preprocess == ours.preprocess


def test_pixels_are_those_of_torchvision() -> None:
    with torch.device("meta"):
        resize: Any = detection.ssd300_vgg16(weights=None, weights_backbone=None).transform
    ours = PUBLISHED[COCO].preprocess
    assert (list(ours.mean), list(ours.std)) == (resize.image_mean, resize.image_std)
    assert ours.exact == resize.fixed_size
    transforms = VGG16_Weights.IMAGENET1K_FEATURES.transforms()
    assert (list(ours.mean), list(ours.std)) == (list(transforms.mean), list(transforms.std))


def test_the_background_moves_behind_the_classes_of_each_default_box() -> None:
    rows = torch.tensor([0, 1, 2, 10, 11, 12])  # two boxes a cell, background and two classes
    tensors = {
        "class_heads.3.bias": rows,
        "class_heads.3.weight": rows[:, None].expand(6, 5),
        "box_heads.3.bias": torch.arange(8),
        "box_heads.3.weight": torch.zeros(8, 5),
    }
    moved = background_last(tensors)
    assert moved["class_heads.3.bias"].tolist() == [1, 2, 0, 11, 12, 10]
    assert moved["class_heads.3.weight"][:, 4].tolist() == [1, 2, 0, 11, 12, 10]
    assert moved["box_heads.3.bias"] is tensors["box_heads.3.bias"]


def test_only_heads_of_classes_depend_on_the_categories() -> None:
    source = PUBLISHED[COCO]
    with torch.device("meta"):
        few: Any = ssd.ssd300_vgg16(categories=3).network
    own, other = shapes(built(source).network.state_dict()), shapes(few.state_dict())
    assert {name for name in own if own[name] != other[name]} == set(CLASSES)
    assert len(built(source).criterion.named) == 80
