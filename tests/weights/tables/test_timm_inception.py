"""What the table says about Inception weights that timm publishes."""

from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from vidi.backbones.inception_resnet import inception_resnet_v2
from vidi.backbones.inception_v3 import inception_v3
from vidi.weights.categories import imagenet_categories
from vidi.weights.loading import load_tensors
from vidi.weights.tables import timm_inception
from vidi.weights.tables.timm_inception import PUBLISHED, background_last

BUILDERS = {"inception_v3": inception_v3, "inception_resnet_v2": inception_resnet_v2}
OF_TENSORFLOW = [name for name in PUBLISHED if "/tf_" in name]


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_timm_says_the_same(name: str) -> None:
    """But for the address: timm has moved the files to where their names carry no digest."""
    theirs, ours = timm.models.get_pretrained_cfg(name.replace("/timm/", ".")), PUBLISHED[name]
    assert theirs is not None
    assert ours.licence.lower() == theirs.license
    assert ours.files[0].sha256 in ours.files[0].name
    assert ours.files[0].url == f"{timm_inception.RELEASE}/{ours.files[0].name}"
    assert ours.preprocess.crop == theirs.input_size[1:]
    assert ours.preprocess.shorter == int(theirs.input_size[1] / theirs.crop_pct)
    assert ours.preprocess.interpolation == theirs.interpolation
    assert (ours.preprocess.mean, ours.preprocess.std) == (theirs.mean, theirs.std)


def test_every_weight_of_timm_is_there() -> None:
    """But those that torchvision publishes itself."""
    theirs = {name.replace(".", "/timm/") for name in timm.list_pretrained() if name.split(".")[0] in BUILDERS}
    assert theirs - {"inception_v3/timm/tv_in1k"} == set(PUBLISHED)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_every_tensor_of_a_file_has_its_place(name: str) -> None:
    source = PUBLISHED[name]
    outputs = len(source.categories())
    assert outputs == (1001 if name in OF_TENSORFLOW else 1000)
    with torch.device("meta"):
        model = BUILDERS[source.model](categories=source.categories(), **source.arguments)
        options: dict[str, Any] = {} if source.model == "inception_resnet_v2" else {"aux_logits": False}
        theirs = timm.create_model(source.model, pretrained=False, num_classes=outputs, **options)
    load_tensors(model, theirs.state_dict(), source.layout)


def test_background_becomes_the_last_output() -> None:
    """timm drops the first of the file's 1001 outputs; ours is the last one, without a name."""
    source = PUBLISHED["inception_resnet_v2/timm/tf_in1k"]
    assert source.categories() == (*imagenet_categories(), None)
    tensors: dict[str, Tensor] = {
        "head.linear.weight": torch.randn(4, 3),
        "head.linear.bias": torch.randn(4),
        "backbone.conv_7b.norm.bias": torch.randn(5),
    }
    features = torch.randn(2, 3)
    theirs = features @ tensors["head.linear.weight"].T + tensors["head.linear.bias"]
    moved = background_last(tensors)
    ours = features @ moved["head.linear.weight"].T + moved["head.linear.bias"]
    torch.testing.assert_close(ours[:, :3], theirs[:, 1:])
    torch.testing.assert_close(ours[:, 3], theirs[:, 0])
    assert moved["backbone.conv_7b.norm.bias"] is tensors["backbone.conv_7b.norm.bias"]
