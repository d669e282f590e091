"""Published FCN and DeepLab v3: each tensor of torchvision has its place, and the sources say what it says."""

from typing import Any

import pytest
import torch
from torchvision.models import get_model_weights, segmentation

from vidi.segmentation import deeplab, dilated
from vidi.weights.renaming import renamed
from vidi.weights.tables.torchvision_segmentation import PUBLISHED


def shapes(tensors: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_tensor_has_its_place(name: str) -> None:
    source = PUBLISHED[name]
    home = dilated if source.model.startswith("fcn") else deeplab
    with torch.device("meta"):
        theirs = getattr(segmentation, source.model)(weights=None, weights_backbone=None, aux_loss=True).state_dict()
        ours = getattr(home, source.model)(categories=source.categories(), **source.arguments)
    assert shapes(renamed(theirs, source.layout.names)) == shapes(ours.network.state_dict())
    assert set(source.layout.by_category) <= set(ours.network.state_dict())


@pytest.mark.parametrize("name", PUBLISHED)
def test_sources_say_what_torchvision_says(name: str) -> None:
    source = PUBLISHED[name]
    published = get_model_weights(source.model)["COCO_WITH_VOC_LABELS_V1"]
    assert source.files[0].url == published.url
    assert source.score["miou"] == published.meta["_metrics"]["COCO-val2017-VOC-labels"]["miou"]
    names = published.meta["categories"]
    assert source.categories() == ("background", *names[1:])
    assert source.preprocess.shorter == published.transforms().resize_size[0]
    assert (source.preprocess.mean, source.preprocess.std) == tuple(
        tuple(getattr(published.transforms(), key)) for key in ("mean", "std")
    )
    assert published.transforms().antialias == source.preprocess.antialias
