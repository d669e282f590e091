"""The table of timm's weights of the ResNet family, against timm's own."""

import re

import pytest
import timm
import torch

from tests.closeness import OUTPUTS, assert_close
from tests.parity.networks import randomise
from vidi.backbones import resnet, resnext, senet, wide_resnet
from vidi.weights.loading import load_tensors
from vidi.weights.published import Published
from vidi.weights.tables import timm_resnet, timm_senet

SOURCES = list(timm_resnet.PUBLISHED.values())
MODELS = sorted({source.model for source in SOURCES})


def timm_name(source: Published) -> str:
    """Return timm's name, which takes a network with other norms for another model."""
    version = source.version.removeprefix("timm/")
    return f"{source.model}_gn.{version[3:]}" if version.startswith("gn_") else f"{source.model}.{version}"


@pytest.mark.parametrize("source", SOURCES, ids=timm_name)
def test_timm_says_the_same(source: Published) -> None:
    theirs = timm.models.get_pretrained_cfg(timm_name(source))
    assert theirs is not None
    size = (theirs.test_input_size or theirs.input_size)[1:]
    share = theirs.test_crop_pct or theirs.crop_pct
    assert source.files[0].url == theirs.url
    assert f"-{source.files[0].sha256}." in source.files[0].name
    assert re.fullmatch("[0-9a-f]{8}", source.files[0].sha256)
    assert source.licence.lower() == theirs.license
    assert source.preprocess.crop == size
    assert source.preprocess.shorter == int(size[0] / share)
    assert source.preprocess.interpolation == theirs.interpolation
    assert (source.preprocess.mean, source.preprocess.std) == (theirs.mean, theirs.std)
    assert theirs.num_classes == len(source.categories()) == 1000


def test_every_weight_of_timm_is_there() -> None:
    """All that have a file with a digest, but for torchvision's own files."""
    theirs = set()
    for model in (*resnet.VARIANTS, "resnet50_gn"):
        for name in timm.models.list_pretrained(f"{model}.*"):
            config = timm.models.get_pretrained_cfg(name)
            assert config is not None
            if re.search(r"-[0-9a-f]{8,}\.pth$", str(config.url)) and ".tv" not in name:
                theirs.add(name)
    assert theirs == {timm_name(s) for s in (*SOURCES, *timm_senet.PUBLISHED.values())}


@pytest.mark.parametrize(
    "model",
    [m if m in ("resnet18", "seresnet50") else pytest.param(m, marks=pytest.mark.extended) for m in MODELS],
)
def test_the_builder_takes_the_tensors(model: str) -> None:
    source = next(source for source in SOURCES if source.model == model and not source.arguments)
    modules = (resnet, resnext, senet, wide_resnet)
    builder = next(getattr(module, model) for module in modules if hasattr(module, model))
    with torch.device("meta"):
        built, theirs = builder(categories=source.categories()), timm.create_model(model, pretrained=False)
    load_tensors(built, theirs.state_dict(), source.layout)


@pytest.mark.parametrize("name", ["resnet18/timm/a1_in1k", "resnet50/timm/gn_a1h_in1k"])
def test_the_network_gives_the_same(name: str) -> None:
    source = timm_resnet.PUBLISHED[name]
    theirs = timm.create_model(timm_name(source).split(".")[0], pretrained=False).double().eval()
    randomise(theirs)
    model = getattr(resnet, source.model)(categories=source.categories(), **source.arguments).double().eval()
    load_tensors(model, theirs.state_dict(), source.layout)
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    expected = theirs(images).detach()
    assert_close(model(images).logits, expected, OUTPUTS)
