"""Inception-v3 against torchvision, the network of FID against pytorch-fid."""

from functools import partial
from typing import Any

import pytest
import pytorch_fid.inception
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from tests.closeness import FLOAT32, assert_close
from tests.parity.networks import assert_same_training, randomise
from vidi.backbones.classifier import Classifier, Logits
from vidi.backbones.googlenet import AuxiliaryClassifier, AuxiliaryCriterion
from vidi.backbones.inception_v3 import VARIANTS, AuxiliaryHead, InceptionV3, inception_v3, inception_v3_fid, trunk
from vidi.nn.branches import ConvUnit
from vidi.nn.normalization import norm_layer
from vidi.weights.renaming import renamed
from vidi.weights.tables import torchvision_inception

WRONG = (ValueError, TypeError)  # the shape checks of the test suite refuse a wrong Literal before we do
RENAME = partial(renamed, names=torchvision_inception.CLASSIFIER)
SMALLEST = (75, 91)  # torchvision's smallest side, and another one


def images(size: tuple[int, int] = SMALLEST, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(7))


def without_dropout(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def scores(network: nn.Module) -> Tensor:
    outputs = network(images())
    return outputs.logits if isinstance(outputs, Logits) else outputs


def every_score(network: nn.Module) -> Tensor:
    """The main head's scores and the auxiliary ones, at the smallest size at which theirs has those."""
    x = images((299, 299))
    outputs: Any = network.with_auxiliary(x) if isinstance(network, AuxiliaryClassifier) else network(x)
    other = outputs.auxiliary[0] if isinstance(network, AuxiliaryClassifier) else outputs.aux_logits
    return torch.cat((outputs.logits, other), 1)


# ----------------------------------------------------------------------------------------------------------------------
# Parity


@pytest.mark.system("8.1.2-INCEPTIONV3")
@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.extended)])
def test_equals_torchvision(training: bool) -> None:
    theirs = torchvision.models.Inception3(7, aux_logits=False, init_weights=False, dropout=0.0)
    ours = inception_v3(categories=7, auxiliary=False, dropout=0.0).network
    assert_same_training(ours, theirs, RENAME, scores, training=training)


@pytest.mark.system("8.1.2-INCEPTIONV3")
@pytest.mark.extended
def test_training_with_the_auxiliary_head_equals_torchvision() -> None:
    theirs = torchvision.models.Inception3(7, init_weights=False, dropout=0.0)
    ours = inception_v3(categories=7, dropout=0.0).network
    rename = partial(renamed, names=torchvision_inception.CLASSIFIER | torchvision_inception.AUXILIARY)
    assert_same_training(ours, theirs, rename, every_score, training=True)


@pytest.mark.parametrize("side", [17, 25])
def test_auxiliary_head_equals_torchvision(side: int) -> None:
    ours = AuxiliaryHead(7, unit=ConvUnit(norm_layer("batch", eps=1e-3)))
    theirs = torchvision.models.inception.InceptionAux(768, 7)
    x = torch.randn(2, 768, side, side, dtype=torch.float64)

    def rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        names = {name.removeprefix("AuxLogits."): new for name, new in torchvision_inception.AUXILIARY.items()}
        return {name.removeprefix("auxiliary.0."): value for name, value in renamed(tensors, names).items()}

    assert_same_training(ours, theirs, rename, lambda head: head(x), training=True)


@pytest.mark.system("8.1.2-INCEPTIONV3")
def test_network_of_fid_equals_pytorch_fid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs keeps its random weights: the file that its builder asks for is not downloaded."""
    monkeypatch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(torchvision.models.Inception3, "load_state_dict", lambda *_: None)
    theirs = pytorch_fid.inception.fid_inception_v3()
    monkeypatch.undo()
    without_dropout(theirs)
    ours = inception_v3_fid().network
    assert_same_training(ours, theirs, RENAME, scores, training=False)
    assert ours.state_dict()["head.linear.bias"].shape == (1008,)

    monkeypatch.setattr(pytorch_fid.inception, "fid_inception_v3", lambda: theirs)
    extractor, picture = pytorch_fid.inception.InceptionV3().float().eval(), torch.rand(3, 90, 120)
    preprocess = inception_v3_fid(width=8).preprocess
    batch = preprocess.collate([preprocess.place(picture, {})])
    backbone = ours.float().get_submodule("backbone")
    assert isinstance(backbone, InceptionV3)
    with torch.no_grad():
        expected = extractor(picture[None])[0].flatten(1)
        received = backbone.pool_features(batch.images)
    assert received.shape == (1, 2048)
    assert_close(received, expected, FLOAT32)


@pytest.mark.system("8.1.2-INCEPTIONV3")
@pytest.mark.extended
def test_variants_differ() -> None:
    """Only in pools: the same weights give other numbers, or parity would prove nothing."""
    one, other = trunk("inception_v3", width=8).eval(), trunk("inception_v3_fid", width=8).eval()
    other.load_state_dict(one.state_dict())
    x = images(dtype=torch.float32)
    maps = zip(one(x), other(x), strict=True)
    assert [torch.equal(a, b) for a, b in maps] == [True, False, False, False]


def test_float32_evaluation_equals_torchvision() -> None:
    theirs = torchvision.models.Inception3(7, init_weights=False).eval()
    ours = inception_v3(categories=7).network.eval()
    randomise(theirs)
    names = torchvision_inception.CLASSIFIER | torchvision_inception.AUXILIARY
    ours.load_state_dict(renamed(theirs.state_dict(), names))
    x = images((107, 83), torch.float32)
    assert_close(ours(x).logits, theirs(x), FLOAT32)


# ----------------------------------------------------------------------------------------------------------------------
# Counts and maps


@pytest.mark.parametrize(
    ("auxiliary", "count"), [(True, 27_161_264), (False, 23_834_568)], ids=["with auxiliary head", "without"]
)
def test_parameter_counts(auxiliary: bool, count: int) -> None:
    """The first is what torchvision states; the second is also timm's inception_v3."""
    with torch.device("meta"):
        network = inception_v3(auxiliary=auxiliary).network
    assert sum(p.numel() for p in network.parameters()) == count


def test_maps_of_299_pixels() -> None:
    backbone, image = trunk(width=8).eval(), torch.zeros(1, 3, 299, 299)  # a quarter of all channels
    with torch.no_grad():
        maps, stem = backbone(image), backbone.stem(image)
    sizes = [(192, 71), (288, 35), (768, 17), (2048, 8)]
    assert [tuple(x.shape[1:]) for x in maps] == [(channels // 4, side, side) for channels, side in sizes]
    assert tuple(stem.shape[1:]) == (192 // 4, 35, 35)
    assert backbone.channels == tuple(x.shape[1] for x in maps)
    assert backbone.strides == (4, 8, 16, 32)


def test_small_stem() -> None:
    backbone = trunk(stem="small", width=8).eval()
    maps = backbone(images((28, 40), torch.float32))
    assert backbone.channels == tuple(x.shape[1] for x in maps) == (48, 72, 192, 512)
    assert [tuple(x.shape[2:]) for x in maps] == [(22, 34), (10, 16), (4, 7), (1, 3)]
    assert backbone.strides == (1, 2, 4, 8)


def test_pool_features_are_the_averages_of_the_last_map() -> None:
    backbone = trunk(width=8).eval()
    x = images(dtype=torch.float32)
    expected = F.adaptive_avg_pool2d(backbone(x)[-1], 1).flatten(1)
    torch.testing.assert_close(backbone.pool_features(x), expected)


# ----------------------------------------------------------------------------------------------------------------------
# The auxiliary head, options


@pytest.mark.parametrize("size", [(299, 299), (80, 107)], ids=["17 pixels", "fewer"])
def test_auxiliary_head_sees_the_last_b(size: tuple[int, int]) -> None:
    network = inception_v3(categories=3, width=8).network.eval()
    assert isinstance(network, AuxiliaryClassifier)
    x = images(size, torch.float32)
    outputs = network.with_auxiliary(x)
    maps = network.features(x)
    assert torch.equal(outputs.auxiliary[0], network.auxiliary[0](maps[2]))
    assert torch.equal(outputs.logits, network(x).logits)


def test_builders() -> None:
    model = inception_v3(categories=("cat", "dog"), width=8, smoothing=0.1)
    assert model.origin is not None
    assert model.origin[0] == "inception_v3"
    assert isinstance(model.criterion, AuxiliaryCriterion)
    assert (model.criterion.weight, model.criterion.smoothing) == (0.4, 0.1)
    assert type(inception_v3(width=8, auxiliary=False).network) is Classifier
    assert inception_v3_fid(width=8).preprocess.exact == (299, 299)
    assert inception_v3_fid(width=8, size=(75, 75)).preprocess.exact == (75, 75)


def test_initialisation_has_the_deviations_of_torchvision() -> None:
    network = inception_v3(width=16).network
    expected = {
        "backbone.mixed_6b.1.1.conv.weight": 0.1,
        "head.linear.weight": 0.1,
        "auxiliary.0.conv1.conv.weight": 0.1,
        "auxiliary.0.linear.weight": 0.001,
    }
    received = {name: float(network.get_parameter(name).detach().std()) for name in expected}
    assert received == pytest.approx(expected, rel=0.03)


def test_frozen_norms_stay() -> None:
    backbone = trunk(norm="frozen", width=8)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    assert all(module.eps == VARIANTS["inception_v3"].eps for module in backbone.modules() if hasattr(module, "eps"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "inception_v4"}, "inception_v3"),
        ({"norm": "group"}, "'batch'.*'frozen'"),
        ({"stem": "tiny"}, "'imagenet'.*'small'"),
        ({"width": 4}, "at least 8"),
    ],
)
def test_wrong_arguments_name_the_choices(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(WRONG, match=message):
        trunk(**arguments)
