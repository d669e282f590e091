"""What the table of published weights says, against the publishers' own tables."""

import re

import pytest
import timm
import torch
import torchvision

from vidi.backbones import resnet, resnet_cifar, resnext, senet, wide_resnet
from vidi.weights.categories import imagenet_categories
from vidi.weights.table import PUBLISHED
from vidi.weights.tables import cifar_resnet, timm_senet, torchvision_resnet


@pytest.mark.parametrize("name", list(torchvision_resnet.PUBLISHED))
def test_torchvision_says_the_same(name: str) -> None:
    model, _, version = name.split("/")
    theirs = torchvision.models.get_model_weights(model)[version.upper()]
    ours = PUBLISHED[name]
    transforms = theirs.transforms()
    assert ours.files[0].url == theirs.url
    assert ours.files[0].sha256 in ours.files[0].name
    assert ours.score == {key.replace("acc@", "top"): v for key, v in theirs.meta["_metrics"]["ImageNet-1K"].items()}
    assert [ours.preprocess.shorter] == transforms.resize_size
    assert ours.preprocess.crop == tuple(transforms.crop_size * 2)
    assert (ours.preprocess.mean, ours.preprocess.std) == (tuple(transforms.mean), tuple(transforms.std))
    assert transforms.interpolation.value == ours.preprocess.interpolation


def test_every_weight_of_torchvision_is_there() -> None:
    models = {source.model for source in torchvision_resnet.PUBLISHED.values()}
    theirs = {
        f"{model}/torchvision/{w.name.lower()}" for model in models for w in torchvision.models.get_model_weights(model)
    }
    assert theirs == set(torchvision_resnet.PUBLISHED)


@pytest.mark.parametrize("name", list(timm_senet.PUBLISHED))
def test_timm_says_the_same(name: str) -> None:
    theirs, ours = timm.models.get_pretrained_cfg(name.replace("/timm/", ".")), PUBLISHED[name]
    assert theirs is not None
    assert (ours.files[0].url, ours.licence.lower()) == (theirs.url, theirs.license)
    assert ours.files[0].sha256 in ours.files[0].name
    assert theirs.test_input_size is not None
    assert ours.preprocess.crop == theirs.test_input_size[1:]
    assert theirs.test_crop_pct is not None
    assert ours.preprocess.shorter == int(theirs.test_input_size[1] / theirs.test_crop_pct)
    assert ours.preprocess.interpolation == theirs.interpolation
    assert (ours.preprocess.mean, ours.preprocess.std) == (theirs.mean, theirs.std)


@pytest.mark.parametrize("name", [*torchvision_resnet.PUBLISHED, *timm_senet.PUBLISHED, *cifar_resnet.PUBLISHED])
def test_every_source_names_a_builder_and_its_categories(name: str) -> None:
    source = PUBLISHED[name]
    modules = (resnet, resnext, senet, wide_resnet, resnet_cifar)
    builder = next(getattr(module, source.model) for module in modules if hasattr(module, source.model))
    with torch.device("meta"):
        model = builder(categories=source.categories(), **source.arguments)
    assert model.network.get_parameter("head.linear.weight").shape[0] == len(source.categories())
    assert name.split("/")[0] == source.model


def test_imagenet_categories() -> None:
    names = imagenet_categories()
    assert len(names) == 1000
    assert names[:2] == ("tench", "goldfish")


def test_every_file_has_a_digest_of_at_least_32_bits() -> None:
    for name, row in PUBLISHED.items():
        assert row.files, name
        assert all(re.fullmatch("[0-9a-f]{8,64}", file.sha256) for file in row.files), name
        assert len({file.name for file in row.files}) == len(row.files), name
        assert row.layout.publisher == row.version.split("/")[0], name
