"""The tables of published weights of MobileNetV2, EfficientNet, RegNet and DarkNet-53, against the publishers' own."""

import inspect

import pytest
import timm
import torch
import torchvision

from vidi.backbones import darknet, efficientnet, mobilenet, regnet
from vidi.weights.renaming import renamed
from vidi.weights.tables import (
    efficientnet_lite,
    timm_darknet,
    timm_efficientnet,
    timm_mobilenet,
    torchvision_efficientnet,
    torchvision_mobilenet,
    torchvision_regnet,
)

TORCHVISION = torchvision_mobilenet.PUBLISHED | torchvision_efficientnet.PUBLISHED | torchvision_regnet.PUBLISHED
TIMM = timm_mobilenet.PUBLISHED | timm_efficientnet.PUBLISHED | timm_darknet.PUBLISHED
ALL = TORCHVISION | TIMM | efficientnet_lite.PUBLISHED


@pytest.mark.parametrize("name", list(TORCHVISION))
def test_torchvision_says_the_same(name: str) -> None:
    model, _, version = name.split("/")
    theirs = torchvision.models.get_model_weights(model)[version.upper()]
    ours = TORCHVISION[name]
    transforms = theirs.transforms()
    assert ours.files[0].url == theirs.url
    assert ours.files[0].sha256 in ours.files[0].name
    assert ours.score == {key.replace("acc@", "top"): v for key, v in theirs.meta["_metrics"]["ImageNet-1K"].items()}
    assert [ours.preprocess.shorter] == transforms.resize_size
    assert ours.preprocess.crop == tuple(transforms.crop_size * 2)
    assert (ours.preprocess.mean, ours.preprocess.std) == (tuple(transforms.mean), tuple(transforms.std))
    assert transforms.interpolation.value == ours.preprocess.interpolation
    assert (ours.licence == "CC-BY-NC-4.0") == ("SWAG" in theirs.meta.get("license", ""))


def test_every_weight_of_torchvision_is_there() -> None:
    models = {source.model for source in TORCHVISION.values()}
    assert models == {"mobilenet_v2", *(f"efficientnet_b{number}" for number in range(8)), *regnet.VARIANTS}
    theirs = {
        f"{model}/torchvision/{w.name.lower()}" for model in models for w in torchvision.models.get_model_weights(model)
    }
    assert theirs == set(TORCHVISION)


def timm_name(name: str) -> str:
    """Return timm's name of published weights: MODEL.TAG."""
    model, _, version = name.split("/")
    if model == "mobilenet_v2":
        width, tag = version.split("_", 1)
        return f"mobilenetv2_{width}.{tag}"
    if version.startswith("tf_"):
        return f"tf_{model}.{version.removeprefix('tf_')}"
    return f"{model}.{version}"


@pytest.mark.parametrize("name", list(TIMM))
def test_timm_says_the_same(name: str) -> None:
    theirs, ours = timm.models.get_pretrained_cfg(timm_name(name)), TIMM[name]
    assert theirs is not None
    assert isinstance(theirs.url, str)
    moved = theirs.url.replace("/huggingface/", "/rwightman/")  # one repository under its two owners
    assert (ours.files[0].url, ours.licence.lower()) == (moved, theirs.license)
    assert ours.files[0].sha256 in ours.files[0].name
    side = (theirs.test_input_size or theirs.input_size)[1]
    assert ours.preprocess.crop == (side, side)
    assert ours.preprocess.shorter == int(side / (theirs.test_crop_pct or theirs.crop_pct))
    assert ours.preprocess.interpolation == theirs.interpolation
    assert (ours.preprocess.mean, ours.preprocess.std) == (theirs.mean, theirs.std)


def test_every_file_of_timm_with_a_digest_is_there() -> None:
    architectures = {timm_name(name).split(".")[0] for name in TIMM}
    assert {f"tf_efficientnet_b{number}" for number in range(8)} < architectures
    configurations = {
        name: timm.models.get_pretrained_cfg(name)
        for name in timm.list_pretrained()
        if name.split(".")[0] in architectures
    }
    theirs = {name for name, found in configurations.items() if found is not None and found.url}
    assert theirs == {timm_name(name) for name in TIMM}


def test_sources_name_a_builder_its_arguments_and_categories() -> None:
    modules = (darknet, efficientnet, mobilenet, regnet)
    for name, source in ALL.items():
        builder = next(getattr(module, source.model) for module in modules if hasattr(module, source.model))
        inspect.signature(builder).bind(categories=source.categories(), **source.arguments)
        assert len(source.categories()) == 1000
        assert name.split("/")[0] == source.model


@pytest.mark.parametrize(
    "name",
    ["mobilenet_v2/timm/050_lamb_in1k", "mobilenet_v2/timm/100_ra_in1k", "mobilenet_v2/timm/140_ra_in1k"],
)
def test_mobilenets_of_timm_have_our_tensors(name: str) -> None:
    source = TIMM[name]
    with torch.device("meta"):
        ours = mobilenet.mobilenet_v2(categories=1000, **source.arguments).network
        theirs = timm.create_model(timm_name(name).split(".")[0])
    expected = {key: value.shape for key, value in renamed(theirs.state_dict(), source.layout.names).items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
