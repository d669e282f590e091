"""VGG against torchvision, its maps against timm."""

from functools import partial
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import vgg as reference

from tests.closeness import FLOAT32, assert_close
from tests.parity.networks import assert_same_training, randomise
from vidi.backbones import vgg
from vidi.backbones.classifier import Logits
from vidi.backbones.vgg import VARIANTS, trunk, vgg16, vgg16_bn
from vidi.ops.receptive_field import Window, receptive_field
from vidi.weights.renaming import renamed
from vidi.weights.tables import torchvision_vgg

LETTERS = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}  # torchvision's and the paper's
RENAME = partial(renamed, names=torchvision_vgg.CLASSIFIER)
NARROW = 8  # an eighth of all channels: 138 million parameters are too many for float64


def images(size: tuple[int, int] = (48, 64), dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(7))


def scores(network: nn.Module) -> Tensor:
    torch.default_generator.manual_seed(5)  # both drop the same units
    outputs = network(images())
    return outputs.logits if isinstance(outputs, Logits) else outputs


def narrow_reference(name: str) -> reference.VGG:
    """torchvision's network with an eighth of its channels and small hidden layers."""
    plan = [v if isinstance(v, str) else v * NARROW // 64 for v in reference.cfgs[LETTERS[name.removesuffix("_bn")]]]
    features = reference.make_layers(plan, batch_norm=name.endswith("_bn"))
    with torch.device("meta"):
        theirs = reference.VGG(nn.Sequential(), num_classes=7)
    theirs.features = features
    theirs.classifier[0] = nn.Linear(8 * NARROW * 7 * 7, 32)
    theirs.classifier[3] = nn.Linear(32, 32)
    theirs.classifier[6] = nn.Linear(32, 7)
    return theirs


def extended(name: str, training: bool) -> object:
    return pytest.param(name, training, marks=pytest.mark.extended)


@pytest.mark.system("5.1.3-VGG16")
@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("vgg16", True),
        ("vgg16_bn", True),
        ("vgg16_bn", False),
        *(extended(name, True) for name in VARIANTS if not name.startswith("vgg16")),
    ],
)
def test_narrow_network_equals_torchvision(name: str, training: bool) -> None:
    """In training with its dropout: the units that fall out are drawn in the same order."""
    ours = getattr(vgg, name)(categories=7, width=NARROW, hidden=32).network
    assert_same_training(ours, narrow_reference(name), RENAME, scores, training=training)


@pytest.mark.system("5.1.3-VGG16")
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_full_width_has_the_tensors_of_torchvision(name: str) -> None:
    with torch.device("meta"):
        ours = getattr(vgg, name)().network
        theirs = torchvision.models.get_model(name, weights=None, init_weights=False)
    expected = {key: value.shape for key, value in RENAME(theirs.state_dict()).items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected


@pytest.mark.system("5.1.3-VGG16")
@pytest.mark.parametrize(("name", "count"), [("vgg16", 138_357_544), ("vgg16_bn", 138_365_992)])
def test_parameter_counts(name: str, count: int) -> None:
    with torch.device("meta"):
        network = getattr(vgg, name)().network
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("size", [(224, 224), (57, 83)], ids=["of ImageNet", "odd"])
def test_float32_evaluation_equals_torchvision(size: tuple[int, int]) -> None:
    theirs = narrow_reference("vgg16_bn").eval()
    randomise(theirs)
    ours = vgg16_bn(categories=7, width=NARROW, hidden=32).network.eval()
    ours.load_state_dict(RENAME(theirs.state_dict()))
    x = images(size, torch.float32)
    assert_close(ours(x).logits, theirs(x), FLOAT32)


@pytest.mark.parametrize("name", ["vgg16", pytest.param("vgg11_bn", marks=pytest.mark.extended)])
def test_maps_equal_those_of_timm(name: str) -> None:
    with torch.device("meta"):  # its head is as large as torchvision's, and is thrown away
        theirs: Any = timm.create_model(name, pretrained=False, features_only=True)
        assert theirs.feature_info.channels() == list(trunk(name).channels)
        assert theirs.feature_info.reduction() == list(trunk(name).strides)
    ours = trunk(name).eval()
    theirs = theirs.to_empty(device="cpu").eval()
    state = renamed(ours.state_dict(), {"layers.*.*": "features_*.*"})
    theirs.load_state_dict(state)
    x = images((64, 96), torch.float32)
    with torch.no_grad():
        maps = zip(ours(x), theirs(x), strict=True)
        for received, expected in maps:
            assert_close(received, expected, 1e-5)


def test_maps_are_not_changed_by_what_follows() -> None:
    """ReLUs work in place: none may touch a map that was given out."""
    backbone = trunk("vgg11_bn", width=4).eval()
    x = images(dtype=torch.float32)
    before = x.clone()
    maps = backbone.features(x)
    for index, (map_, channels, stride) in enumerate(zip(maps, backbone.channels, backbone.strides, strict=True)):
        assert map_.shape == (2, channels, 48 // stride, 64 // stride)
        assert (map_ >= 0).all(), index
    torch.testing.assert_close(nn.functional.max_pool2d(maps[4], 2), maps[5])
    assert torch.equal(x, before)


def test_rows_of_3x3_see_what_larger_kernels_see() -> None:
    assert receptive_field([Window(3, 3)] * 2) == (5, 5)
    assert receptive_field([Window(3, 3)] * 3) == (7, 7)


def test_initialisation_is_that_of_torchvision() -> None:
    ours = vgg16(width=16, hidden=64).network
    weight = ours.get_parameter("backbone.layers.14.weight").detach()
    assert float(weight.std()) == pytest.approx((2 / (9 * weight.shape[0])) ** 0.5, rel=0.02)
    assert float(ours.get_parameter("head.hidden1.weight").detach().std()) == pytest.approx(0.01, rel=0.02)
    assert all((p == 0).all() for name, p in ours.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_builders_record_name_and_arguments(name: str) -> None:
    model = getattr(vgg, name)(categories=("cat", "dog"), size=(32, 32), width=2, hidden=4)
    assert model.origin is not None
    assert model.origin[0] == name
    assert model.preprocess.exact == (32, 32)
    assert model.network.eval()(images((32, 32), torch.float32)).logits.shape == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"name": "vgg12"}, "vgg11"), ({"name": "vgg11", "width": 0}, "at least 1")]
)
def test_wrong_arguments_name_the_choices(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trunk(**arguments)
