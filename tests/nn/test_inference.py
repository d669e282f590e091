"""Models fused for inference: equal to the originals, channels last, and for nothing but prediction."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from tests.closeness import NUMBERS, assert_close
from tests.parity.networks import randomise
from vidi.backbones.progressive import progressive_resnet18
from vidi.backbones.resnet import resnet18
from vidi.backbones.resnet_v2 import StandardizedConv2d, resnetv2_50x1_bit
from vidi.catalog.table import CATALOG
from vidi.model import Supervised
from vidi.nn.convolution import SamePaddedConv2d
from vidi.nn.inference import FusedModel, fuse_for_inference, fuse_layers
from vidi.nn.normalization import FrozenBatchNorm2d, Norm

NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)
SUPERVISED = {n: e for n, e in CATALOG.items() if inspect.signature(e.builder).return_annotation is Supervised}
USUAL = ("resnet18", "resnet20", "resnext50_32x4d", "seresnet18", "wide_resnet16_4", "retinanet_tiny")
FIRST_OF_FILE = {entry.builder.__module__: name for name, entry in reversed(SUPERVISED.items())}
BLOCKS = ("resnet50", "retinanet_resnet50_fpn_v2")  # bottlenecks; group norms in the heads


@pytest.fixture(autouse=True)
def no_shape_checks() -> Iterator[None]:
    """Tracing calls functions with stand-ins for tensors, which the shape checks of the test suite would refuse."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def tiny(name: str) -> Any:
    model: Any = CATALOG[name].builder(**CATALOG[name].tiny)
    randomise(model.network)
    return model


def pictures(count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (3, 48, 56), generator=generator, dtype=torch.uint8) for _ in range(count)]


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, NORMS) for part in module.modules())


def close(received: Any, expected: Any, tolerance: float) -> None:
    """Compare two outputs, masks exactly."""
    if expected.dtype == torch.bool:
        assert torch.equal(received, expected)
    else:
        assert_close(received, expected, tolerance)


# ----------------------------------------------------------------------------------------------------------------------
# Every kind of network


@pytest.mark.parametrize(
    "name",
    [
        *USUAL,
        *(pytest.param(n, marks=pytest.mark.extended) for n in sorted({*BLOCKS, *FIRST_OF_FILE.values()} - {*USUAL})),
    ],
)
def test_fused_models_give_the_same(name: str) -> None:
    model = tiny(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    expected = model.predict(pictures())
    fused = fuse_for_inference(model)
    for result, other in zip(fused.predict(pictures()), expected, strict=True):
        tensors = {key: value for key, value in vars(other).items() if isinstance(value, Tensor)}
        assert tensors
        for key, value in tensors.items():
            close(getattr(result, key), value, 1e-4)

    assert not model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    images = torch.randn(2, 3, *(model.preprocess.exact or (64, 64)), dtype=torch.float64)
    outputs = model.double().eval()(images)
    for received, value in zip(fuse_for_inference(model)(images), outputs, strict=True):
        assert received.dtype == value.dtype
        close(received, value, 1e-8)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("resnet18", 0),
        ("seresnet18", 0),
        ("retinanet_tiny", 0),
        ("wide_resnet16_4", 6),  # those after a sum: one of each block but the first, and the last
    ],
)
def test_norms_after_convolutions_are_gone(name: str, left: int) -> None:
    model = tiny(name)
    assert norms(model) > 6
    assert norms(fuse_for_inference(model)) == left


@pytest.mark.parametrize("norm", ["frozen", "group"])
def test_other_norms(norm: Norm) -> None:
    model = resnet18(categories=3, size=(32, 32), stem="small", norm=norm, width=64 if norm == "group" else 16)
    randomise(model.network)
    fused = fuse_for_inference(model)
    assert norms(fused) == 0
    expected = model.predict(pictures())
    for result, other in zip(fused.predict(pictures()), expected, strict=True):
        close(result.probabilities, other.probabilities, 1e-4)


def test_detections_are_the_same() -> None:
    model = tiny("retinanet_tiny").double()
    nn.init.zeros_(model.network.get_parameter("class_head.predict.bias"))  # scores of 0.5: all anchors are candidates
    fused = fuse_for_inference(model)
    batch = model.preprocess.collate([model.preprocess.place(picture, {}) for picture in pictures()])
    images = batch.images.double()
    expected = model.eval().decode(model(images), batch.placements)
    for result, other in zip(model.decode(fused(images), batch.placements), expected, strict=True):
        assert len(result.boxes) > 10
        assert torch.equal(result.labels, other.labels)
        close(result.boxes, other.boxes, 1e-8)
        close(result.scores, other.scores, 1e-8)


# ----------------------------------------------------------------------------------------------------------------------
# What is folded, and what is not


class Net(nn.Module):
    """A network that runs its forward function on its layers."""

    def __init__(self, run: Any, **layers: nn.Module):
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def conv(**options: Any) -> nn.Conv2d:
    return nn.Conv2d(4, 4, 3, padding=1, **options)


def norm() -> nn.BatchNorm2d:
    return nn.BatchNorm2d(4)


def in_order(net: Any, x: Tensor) -> Tensor:
    return net.norm(net.conv(x))


@pytest.mark.parametrize(
    "layer",
    [
        conv(),
        conv(bias=False, groups=2, dilation=2),
        SamePaddedConv2d(4, 4, 3, 2),
        nn.ConvTranspose2d(4, 4, 3, 2, bias=False),
    ],
    ids=lambda layer: str(layer)[:24],
)
@pytest.mark.parametrize(
    "follows", [nn.BatchNorm2d(4, eps=1e-3), nn.BatchNorm2d(4, affine=False), FrozenBatchNorm2d(4)]
)
def test_kinds_that_are_folded(layer: nn.Module, follows: nn.Module) -> None:
    check(Net(in_order, conv=layer, norm=follows), left=0)


SHARED = conv()
FORKS = {
    "result used twice": Net(lambda n, x: n.norm(y := n.conv(x)) + y, conv=conv(), norm=norm()),
    "one convolution, two norms": Net(
        lambda n, x: n.one(n.conv(x)) + n.other(n.conv(x + 1)), conv=conv(), one=norm(), other=norm()
    ),
    "one norm, two convolutions": Net(
        lambda n, x: n.norm(n.one(x)) + n.norm(n.other(x)), one=conv(), other=conv(), norm=norm()
    ),
    "one convolution of two names": Net(lambda n, x: n.norm(n.second(x)), first=SHARED, second=SHARED, norm=norm()),
    "norm first": Net(lambda n, x: n.conv(n.norm(x)), conv=conv(), norm=norm()),
    "activation between": Net(lambda n, x: n.norm(n.conv(x).relu()), conv=conv(), norm=norm()),
    "standardised weights": Net(in_order, conv=StandardizedConv2d(4, 4, 3), norm=norm()),
    "statistics of the batch": Net(in_order, conv=conv(), norm=nn.BatchNorm2d(4, track_running_stats=False)),
    "grouped and transposed": Net(in_order, conv=nn.ConvTranspose2d(4, 4, 3, groups=2), norm=norm()),
    "spectral norm": Net(in_order, conv=nn.utils.spectral_norm(conv()), norm=norm()),
    "parametrised": Net(in_order, conv=nn.utils.parametrizations.weight_norm(conv()), norm=norm()),
}


@pytest.mark.parametrize("kind", FORKS)
def test_what_is_not_certain_stays(kind: str) -> None:
    check(FORKS[kind], left=norms(FORKS[kind]))


@pytest.mark.parametrize(
    ("run", "overwrites"),
    [
        (lambda n, x: n.act(n.norm(n.conv(x))), True),
        (lambda n, x: n.act(n.conv(x)) + n.norm(x), True),
        (lambda n, x: n.act(y := n.norm(n.conv(x))) + y, False),
        (lambda n, x: n.act(n.conv(x)) + n.act(n.norm(x)), False),
        (lambda n, x: n.norm(n.conv(n.act(x))), False),
        (lambda n, x: n.norm(n.conv(n.act(x + 0))), False),
    ],
    ids=["after a norm", "after a convolution", "read twice", "called twice", "of the input", "after a sum"],
)
def test_activations_overwrite_what_only_they_read(run: Any, overwrites: bool) -> None:
    net = Net(run, conv=conv(), norm=norm(), act=nn.SiLU())
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    before = x.clone()
    check(net)
    net(x)
    assert net.get_submodule("act").inplace is overwrites
    assert torch.equal(x, before)


def test_parts_of_a_network_that_cannot_be_traced_are_folded() -> None:
    """Control flow on values stops the tracing of the whole, not of its parts."""
    block = nn.Sequential(conv(), norm(), nn.ReLU())
    net = Net(lambda n, x: n.block(x) if x.sum() > 0 else n.norm(n.conv(x)), block=block, conv=conv(), norm=norm())
    check(net, left=1)


def check(network: nn.Module, *, left: int | None = None) -> None:
    """Fuse a network, compare its results, and count the norms that are left."""
    network.double().eval()
    randomise(network)
    inputs = [sign * torch.rand(2, 4, 7, 6, dtype=torch.float64) for sign in (1, -1)]
    expected = [network(x).clone() for x in inputs]
    fuse_layers(network)
    assert left is None or norms(network) == left
    for x, value in zip(inputs, expected, strict=True):
        assert_close(network(x), value, NUMBERS)


# ----------------------------------------------------------------------------------------------------------------------
# Layout, and what a fused model refuses


def test_weights_and_images_are_channels_last() -> None:
    model = tiny("resnet18")
    fused = fuse_for_inference(model)
    weights = [m.weight for m in fused.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    assert weights
    assert all(w.is_contiguous(memory_format=torch.channels_last) and not w.is_contiguous() for w in weights)
    assert all(value.is_contiguous() for value in model.parameters())
    seen: list[Tensor] = []
    fused.model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    fused.predict(pictures())
    fused(torch.randn(2, 3, 64, 64))
    assert len(seen) == 2
    assert all(x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous() for x in seen)
    assert all(value.dtype in (torch.float32, torch.int64) for value in fused.state_dict().values())


def test_a_model_without_batch_norms() -> None:
    model = resnetv2_50x1_bit(categories=3, size=(32, 32), stem="small", width=32)
    fused = fuse_for_inference(model)
    for result, other in zip(fused.predict(pictures()), model.predict(pictures()), strict=True):
        close(result.probabilities, other.probabilities, 1e-5)
    assert any(isinstance(module, StandardizedConv2d) for module in model.modules())
    assert not any(isinstance(module, StandardizedConv2d) for module in fused.modules())
    assert not any(parameter.requires_grad for parameter in fused.parameters())


def test_fused_models_predict_and_nothing_else(tmp_path: Path) -> None:
    fused = fuse_for_inference(tiny("resnet18"))
    assert isinstance(fused, FusedModel)
    assert not any(module.training for module in fused.modules())
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    with pytest.raises(ValueError, match="cannot be trained"):
        fused.train()
    fused.predict(pictures(1))
    assert not any(module.training for module in fused.eval().modules())
    with pytest.raises(ValueError, match="cannot be saved"):
        fused.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_only_models_of_one_network_are_fused() -> None:
    model = progressive_resnet18(categories=2, low=(16, 16), high=(32, 32), width=16)
    with pytest.raises(TypeError, match="received a Progressive, expected a model whose results come from one network"):
        fuse_for_inference(model)  # type: ignore[arg-type]
