"""AlexNet against torchvision, the network of 2012 against its paper."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from tests.closeness import FLOAT32, assert_close
from tests.parity.networks import assert_same_training, randomise
from tests.references.response_norm import response_norm
from vidi.backbones.alexnet import FlattenedHead, alexnet, alexnet_2012, alexnet_ungrouped, trunk
from vidi.backbones.alexnet import response_norm as layer
from vidi.backbones.classifier import Logits
from vidi.nn.cost import count_cost
from vidi.weights.renaming import renamed
from vidi.weights.tables import torchvision_alexnet

WRONG = (ValueError, TypeError)  # the shape checks of the test suite refuse a wrong Literal before we do
RENAME = partial(renamed, names=torchvision_alexnet.CLASSIFIER)


def images(size: tuple[int, int] = (64, 71), dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(7))


def scores(network: nn.Module) -> Tensor:
    torch.default_generator.manual_seed(5)  # both drop the same units
    outputs = network(images())
    return outputs.logits if isinstance(outputs, Logits) else outputs


def reference(hidden: int = 32) -> torchvision.models.AlexNet:
    """torchvision's network with smaller hidden layers, as 59 of its 61 million parameters are there."""
    with torch.device("meta"):
        theirs = torchvision.models.alexnet(weights=None, num_classes=7)
    theirs.classifier[1] = nn.Linear(256 * 6 * 6, hidden)
    theirs.classifier[4] = nn.Linear(hidden, hidden)
    theirs.classifier[6] = nn.Linear(hidden, 7)
    for index in (0, 3, 6, 8, 10):
        theirs.features[index].to_empty(device="cpu").reset_parameters()  # type: ignore[operator]
    return theirs


# ----------------------------------------------------------------------------------------------------------------------
# Parity


@pytest.mark.system("4.3.1-ALEXNET")
@pytest.mark.parametrize("training", [True, False])
def test_equals_torchvision(training: bool) -> None:
    """In training with its dropout: the units that fall out are drawn in the same order."""
    ours = alexnet(categories=7, hidden=32).network
    assert_same_training(ours, reference(), RENAME, scores, training=training)


def test_float32_evaluation_equals_torchvision() -> None:
    theirs = reference().eval()
    randomise(theirs)
    ours = alexnet(categories=7, hidden=32).network.eval()
    ours.load_state_dict(RENAME(theirs.state_dict()))
    x = images((224, 224), torch.float32)
    assert_close(ours(x).logits, theirs(x), FLOAT32)


@pytest.mark.parametrize(
    ("build", "count"), [(alexnet, 61_100_840), (alexnet_2012, 60_965_224), (alexnet_ungrouped, 62_378_344)]
)
def test_parameter_counts(build: Any, count: int) -> None:
    """Of torchvision, of the paper's sizes (60 million, its abstract), and of these in one tower."""
    with torch.device("meta"):
        network = build().network
    assert sum(p.numel() for p in network.parameters()) == count


# ----------------------------------------------------------------------------------------------------------------------
# The network of 2012


@pytest.mark.parametrize("channels", [3, 9])
def test_response_norm_is_the_equation_of_the_paper(channels: int) -> None:
    numbers = {"n": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}
    x = 100 * torch.randn(2, channels, 3, 4, dtype=torch.float64)
    assert_close(layer(**numbers)(x), response_norm(x, **numbers))


def test_network_of_2012_written_out() -> None:
    """The two halves of grouped convolutions see one half of the channels each, as one GPU did."""
    backbone = trunk("alexnet_2012", width=8).double()
    randomise(backbone)
    w = [parameter.detach() for parameter in backbone.parameters()]
    norm = partial(response_norm, n=5, alpha=1e-4, beta=0.75, k=2.0)
    pool = partial(F.max_pool2d, kernel_size=3, stride=2)

    def halves(x: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        pairs = zip(x.chunk(2, 1), weight.chunk(2), bias.chunk(2), strict=True)
        return torch.cat([F.conv2d(part, w, b, padding=padding) for part, w, b in pairs], 1).relu()

    x = 50 * images()
    first = F.conv2d(x, w[0], w[1], stride=4, padding=2).relu()
    second = halves(pool(norm(first)), w[2], w[3], 2)
    third = F.conv2d(pool(norm(second)), w[4], w[5], padding=1).relu()
    fifth = halves(halves(third, w[6], w[7], 1), w[8], w[9], 1)
    for received, expected in zip(backbone(x), (first, second, fifth, pool(fifth)), strict=True):
        torch.testing.assert_close(received, expected, rtol=1e-12, atol=1e-12)


def test_initialisation_of_the_paper() -> None:
    network = alexnet_2012(width=16, hidden=64).network
    ones = {name for name, p in network.named_parameters() if name.endswith("bias") and (p == 1).all()}
    zeros = {name for name, p in network.named_parameters() if name.endswith("bias") and (p == 0).all()}
    assert ones == {f"backbone.conv{i}.bias" for i in (2, 4, 5)} | {"head.hidden1.bias", "head.hidden2.bias"}
    assert zeros == {"backbone.conv1.bias", "backbone.conv3.bias", "head.linear.bias"}
    weights = torch.cat([p.detach().flatten() for name, p in network.named_parameters() if name.endswith("weight")])
    assert float(weights.std()) == pytest.approx(0.01, rel=0.02)
    assert trunk("alexnet_2012", width=16).conv2.bias.eq(1).all()  # type: ignore[union-attr]


def test_dropout_stands_where_each_network_has_it() -> None:
    rates = []
    for build in (alexnet, alexnet_2012):
        head = build(width=8, hidden=8).network.get_submodule("head")
        assert isinstance(head, FlattenedHead)
        rates.append((head.dropout0.p, head.dropout1.p, head.dropout2.p))
    assert rates == [(0.5, 0.5, 0.0), (0.0, 0.5, 0.5)]


# ----------------------------------------------------------------------------------------------------------------------
# One tower


@pytest.mark.system("4.3.1-ALEXNET", "B4.12")
def test_products_of_the_ungrouped_network() -> None:
    """At 227 pixels: five convolutions and three linear layers; every output adds its bias, one more operation."""
    with torch.device("meta"):
        network = alexnet_ungrouped().network
    report = count_cost(network, 227)
    assert report.total.convolution == 1_076_634_144
    assert report.total.linear == 58_621_952
    biases = 96 * 55**2 + 256 * 27**2 + (384 + 384 + 256) * 13**2
    assert (2 * report.total.convolution + biases) / 1e6 == pytest.approx(2153.92, abs=0.005)
    assert (2 * report.total.linear + 4096 + 4096 + 1000) / 1e6 == pytest.approx(117.25, abs=0.005)


@pytest.mark.system("4.3.1-ALEXNET")
def test_features_of_the_ungrouped_network() -> None:
    """A picture of 227 pixels gives 256 maps of 6 x 6, from a first map of 55 x 55 without border."""
    with torch.device("meta"):
        maps = trunk("alexnet_ungrouped")(torch.empty(1, 3, 227, 227))
    assert [tuple(x.shape[1:]) for x in maps] == [(96, 55, 55), (256, 27, 27), (256, 13, 13), (256, 6, 6)]
    preprocess = alexnet_ungrouped(width=8, hidden=8).preprocess
    assert (preprocess.shorter, preprocess.crop) == (256, (227, 227))


@pytest.mark.system("4.3.1-ALEXNET")
def test_one_tower_with_zeros_between_the_halves_is_the_network_of_two() -> None:
    """Weights of the groups, each put into its half of whole kernels, give the same maps, where both have a border."""
    grouped, whole = trunk("alexnet_2012", width=8).double(), trunk("alexnet_ungrouped", width=8).double()
    randomise(grouped)
    with torch.no_grad():
        for number in range(1, 6):
            source, target = grouped.get_submodule(f"conv{number}"), whole.get_submodule(f"conv{number}")
            assert isinstance(source, nn.Conv2d)
            assert isinstance(target, nn.Conv2d)
            target.weight.zero_()
            rows, columns = (side // source.groups for side in target.weight.shape[:2])
            for group in range(source.groups):
                part = slice(group * rows, (group + 1) * rows), slice(group * columns, (group + 1) * columns)
                target.weight[part] = source.weight[part[0]]
            target.bias.copy_(source.bias)  # type: ignore[union-attr, arg-type]
        x = images()
        for received, expected in zip(whole(F.pad(x, (2, 2, 2, 2))), grouped(x), strict=True):
            torch.testing.assert_close(received, expected, rtol=1e-12, atol=1e-12)


# ----------------------------------------------------------------------------------------------------------------------
# Maps and options


@pytest.mark.parametrize(
    ("name", "channels"), [("alexnet", (64, 192, 256, 256)), ("alexnet_2012", (96, 256, 256, 256))]
)
def test_maps_of_224_pixels(name: str, channels: tuple[int, ...]) -> None:
    backbone = trunk(name)
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, 224, 224))
    assert backbone.channels == tuple(x.shape[1] for x in maps) == channels
    assert [x.shape[2] for x in maps] == [55, 27, 13, 6]
    assert backbone.strides == (4, 8, 16, 32)


def test_small_stem() -> None:
    backbone = trunk(stem="small", width=8)
    assert [tuple(x.shape[2:]) for x in backbone(images((28, 32), torch.float32))] == [
        (28, 32),
        (13, 15),
        (6, 7),
        (2, 3),
    ]
    assert backbone.strides == (1, 2, 4, 8)


@pytest.mark.parametrize("build", [alexnet, alexnet_2012, alexnet_ungrouped])
def test_builders_record_name_and_arguments(build: Any) -> None:
    model = build(categories=("cat", "dog"), size=(67, 67), width=8, hidden=16)
    assert model.origin is not None
    assert model.origin[0] == build.__name__
    assert model.preprocess.exact == (67, 67)
    assert model.network(images((67, 67), torch.float32)).logits.shape == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "zfnet"}, "alexnet, alexnet_2012"),
        ({"stem": "tiny"}, "'imagenet'.*'small'"),
        ({"width": 4}, "at least 8"),
    ],
)
def test_wrong_arguments_name_the_choices(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(WRONG, match=message):
        trunk(**arguments)
