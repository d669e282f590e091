"""FCN against the authors' network written out, a classifier turned into convolutions, and its training by stages."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import OUTPUTS, assert_close
from vidi.backbones import vgg
from vidi.backbones.vgg import vgg16
from vidi.model import Step
from vidi.ops.upsampling import bilinear_kernel
from vidi.preprocess import Batch, Placement
from vidi.segmentation import fcn
from vidi.segmentation.fcn import Grid, ResNetEncoder, VggEncoder, fcn_network, linear_to_convolution

SMALL: dict[str, Any] = {"categories": 3, "width": 4, "hidden": 16}
SIZES = [(40, 56), (33, 61), (64, 64)]


def spread(network: nn.Module) -> None:
    """Give scores and upsampling weights of their own: they begin at 0, and as interpolation."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(("scores", "doublings")):
                parameter.add_(0.3 * torch.randn_like(parameter))


def written_out(network: Any, images: Tensor, *, skips: int) -> Tensor:
    """The authors' networks: a border of 100, crops at 5, 9 and 31, 27 or 19 (their prototxt files)."""
    layers = network.encoder.backbone.layers
    x, pools = F.pad(images, (99, 99, 99, 99)), []
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            x = F.conv2d(x, layer.weight, layer.bias, padding=1)
        elif isinstance(layer, nn.ReLU):
            x = x.relu()
        else:
            x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            pools.append(x)
    fc6, fc7 = (layer for layer in network.encoder.head if isinstance(layer, nn.Conv2d))
    x = F.conv2d(F.conv2d(x, fc6.weight, fc6.bias).relu(), fc7.weight, fc7.bias).relu()
    scores = network.scores
    x = F.conv2d(x, scores[0].weight, scores[0].bias)
    for level, (pool, offset) in enumerate(((pools[3], 5), (pools[2], 9))[:skips], 1):
        x = F.conv_transpose2d(x, network.doublings[level - 1].weight, stride=2)
        finer = F.conv2d(pool, scores[level].weight, scores[level].bias)
        h, w = x.shape[2:]
        x = x + finer[:, :, offset : offset + h, offset : offset + w]
    factor, offset = {0: (32, 19), 1: (16, 27), 2: (8, 31)}[skips]
    K = x.shape[1]
    x = F.conv_transpose2d(x, bilinear_kernel(2 * factor).to(x).expand(K, 1, -1, -1), stride=factor, groups=K)
    H, W = images.shape[2:]
    return x[:, :, offset : offset + H, offset : offset + W]


@pytest.mark.parametrize(
    ("name", "skips"),
    [
        pytest.param("fcn32_vgg16", 0, marks=pytest.mark.system("5.1.3-FCN32", "5.1.3-SCORE")),
        pytest.param("fcn16_vgg16", 1, marks=pytest.mark.system("5.1.3-FCN16")),
        pytest.param("fcn8_vgg16", 2, marks=pytest.mark.system("5.1.3-FCN8", "5.1.3-VGG16")),
    ],
)
def test_the_network_is_the_authors_written_out(name: str, skips: int) -> None:
    model: Any = getattr(fcn, name)(**SMALL).double()
    spread(model.network)
    assert len(model.network.scores) == skips + 1
    for size in SIZES:
        images = torch.randn(2, 3, *size, dtype=torch.float64)
        with torch.no_grad():
            logits = model(images).logits
            assert logits.shape == (2, 3, *size)
            assert_close(logits, written_out(model.network, images, skips=skips), OUTPUTS)
    assert [layer.p for layer in model.network.encoder.head if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


@pytest.mark.system("5.1.3-FCN8", "5.1.3-FCN16", "5.1.3-FCN32")
def test_the_offsets_of_the_authors_follow_from_where_pixels_lie() -> None:
    encoder = VggEncoder(vgg.trunk("vgg16", width=1), hidden=1, dropout=0.5, border=100)
    pool3, pool4, fc7 = encoder.grids
    assert [grid.stride for grid in encoder.grids] == [8, 16, 32]
    first = fc7.stamped(4, 2)
    assert (first.start - pool4.start) / 16 == 5
    assert (first.stamped(4, 2).start - pool3.start) / 8 == 9
    starts = [fc7.stamped(64, 32).start, first.stamped(32, 16).start, first.stamped(4, 2).stamped(16, 8).start]
    assert starts == [-19, -27, -31]


@pytest.mark.system("5.1.3-FCN8")
def test_scores_begin_at_zero_and_upsampling_as_interpolation_that_is_learned() -> None:
    model: Any = fcn.fcn8_vgg16(**SMALL)
    assert all((p == 0).all() for p in model.network.scores.parameters())
    for layer in model.network.doublings:
        assert layer.weight.requires_grad
        assert torch.equal(layer.weight, torch.eye(3)[:, :, None, None] * bilinear_kernel(4).float())
        assert (layer.stride, layer.padding, layer.bias) == ((2, 2), (0, 0), None)
    fixed: Any = fcn.fcn8_vgg16(**SMALL, learned=False).double()
    assert not list(fixed.network.doublings.parameters())
    learned: Any = fcn.fcn8_vgg16(**SMALL).double()
    learned.load_state_dict(fixed.state_dict(), strict=False)
    for network in (fixed.network, learned.network):
        torch.manual_seed(0)
        for parameter in network.scores.parameters():
            nn.init.normal_(parameter)
    images = torch.randn(1, 3, 40, 40, dtype=torch.float64)
    assert_close(fixed(images).logits, learned(images).logits, OUTPUTS)


@pytest.mark.system("5.1.3-FCN8")
def test_parameters_of_the_published_network() -> None:
    """VGG-16's convolutions, fc6 and fc7, three score layers, two learned transposed convolutions for 21 classes."""
    with torch.device("meta"):
        model: Any = fcn.fcn8_vgg16()
    count = sum(p.numel() for p in model.parameters())
    fully = 512 * 49 * 4096 + 4096 + 4096 * 4096 + 4096
    scores = sum(channels * 21 + 21 for channels in (4096, 512, 256))
    assert count == 14_714_688 + fully + scores + 2 * 21 * 21 * 16
    assert round(count / 1e6, 1) == 134.4


@pytest.mark.parametrize("border", [1, 100])
@pytest.mark.parametrize("size", SIZES)
def test_every_pixel_has_a_score_in_its_place(border: int, size: tuple[int, int]) -> None:
    """The first and the last pixel of each map lie within half a stride of the picture's border."""
    H, W = size
    backbone = vgg.trunk("vgg16", width=1)
    encoder = VggEncoder(backbone, hidden=1, dropout=0.0, border=border)
    network: Any = fcn_network(encoder, 1, skips=2, learned=True).eval()
    assert network(torch.zeros(1, 3, H, W)).logits.shape == (1, 1, H, W)
    for grid, map_ in zip(encoder.grids, encoder(torch.zeros(1, 3, H, W)), strict=True):
        last = grid.start + (map_.shape[2] - 1) * grid.stride
        assert grid.start <= grid.stride / 2
        assert last >= H - 1 - grid.stride / 2


def test_grids_lie_where_gradients_say() -> None:
    """The mean place of what a pixel of a map sees is where its grid says."""
    encoder = VggEncoder(vgg.trunk("vgg16", width=1), hidden=1, dropout=0.0, border=100).double()
    for parameter in encoder.parameters():
        nn.init.constant_(parameter, 0.1)
    images = torch.rand(1, 3, 300, 300, dtype=torch.float64, requires_grad=True)
    for layer in encoder.backbone.layers:
        if isinstance(layer, nn.MaxPool2d):
            layer.forward = lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True)  # type: ignore[method-assign]
    pools = encoder.backbone.features(images)
    middle = pools[-1].shape[2] // 2
    (gradient,) = torch.autograd.grad(pools[-1][0, 0, middle, middle], images)
    weights = gradient[0].sum(0).abs()
    centre = float((weights.sum(1) * torch.arange(300)).sum() / weights.sum())
    fc7 = encoder.grids[2]
    assert centre == pytest.approx(fc7.start - 3 * 32 + middle * 32, abs=0.01)


@pytest.mark.parametrize("name", ["fcn32_resnet50", "fcn16_resnet50", "fcn8_resnet50", "fcn8_resnet18"])
@pytest.mark.parametrize("size", [(64, 96), (32, 32)])
def test_networks_over_resnet_cover_the_picture(name: str, size: tuple[int, int]) -> None:
    model: Any = getattr(fcn, name)(categories=3, width=16)
    spread(model.network)
    logits = model(torch.randn(1, 3, *size)).logits
    assert logits.shape == (1, 3, *size)
    assert (logits.std((2, 3)) > 0).all()
    assert isinstance(model.network.encoder, ResNetEncoder)
    assert model.preprocess.stride == 32


# ----------------------------------------------------------------------------------------------------------------------
# From a classifier


@pytest.mark.system("5.1.3-FC2CONV", "B5.15")
def test_linear_layers_become_convolutions_with_the_same_output() -> None:
    """On the training size one position; on a larger picture one for each stride, if nothing is padded inside."""
    classifier: Any = vgg16(categories=5, width=2, hidden=12).double().eval()
    backbone, head = classifier.network.backbone, classifier.network.head
    linear = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in linear] == [16 * 49, 12, 12]
    sizes = ((7, 7), (1, 1), (1, 1))
    convolutions = [linear_to_convolution(layer, size) for layer, size in zip(linear, sizes, strict=True)]
    assert [layer.kernel_size for layer in convolutions] == [*sizes]

    def dense(maps: Tensor) -> Tensor:
        for layer in convolutions[:-1]:
            maps = layer(maps).relu()
        return convolutions[-1](maps)

    images = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        assert_close(dense(backbone(images)[-1]).flatten(1), classifier(images).logits, OUTPUTS)
        for layer in backbone.layers:
            if isinstance(layer, nn.Conv2d):
                layer.padding = (0, 0)
        wide = torch.randn(1, 3, 440, 470, dtype=torch.float64)
        everywhere = dense_unpadded(backbone, dense, wide)
        window = next(side for side in range(200, 500) if unpadded_side(side) == 7)
        for row in range(everywhere.shape[2]):
            for column in range(everywhere.shape[3]):
                part = wide[:, :, 32 * row : 32 * row + window, 32 * column : 32 * column + window]
                assert_close(dense_unpadded(backbone, dense, part)[:, :, 0, 0], everywhere[:, :, row, column], OUTPUTS)


def unpadded_side(side: int) -> int:
    """Pixels that are left of a side behind VGG-16's unpadded stages."""
    for count in (2, 2, 3, 3, 3):
        side = (side - 2 * count) // 2
    return side


def dense_unpadded(backbone: Any, dense: Any, images: Tensor) -> Tensor:
    return dense(backbone.layers(images))


def test_a_layer_of_other_inputs_is_no_convolution() -> None:
    with pytest.raises(ValueError, match="multiple of 7 x 7"):
        linear_to_convolution(nn.Linear(50, 2), (7, 7))
    plain = linear_to_convolution(nn.Linear(8, 2, bias=False), (2, 2))
    assert plain.bias is None


# ----------------------------------------------------------------------------------------------------------------------
# Coarse to fine


@pytest.mark.system("5.1.3-FCN8")
def test_stages_refine_one_network() -> None:
    model: Any = fcn.fcn8_coarse_to_fine_tiny(categories=3)
    stages = {stage.name: stage.model for stage in model.stages()}
    assert [*stages] == ["stride32", "stride16", "stride8"]
    network = model.parts["network"]
    spread(network)
    images = torch.randn(1, 3, 64, 64)
    labels = torch.zeros(64, 64, dtype=torch.uint8)
    batch = Batch(images, images[:, 0] == 0, [Placement((64, 64), (64, 64))], [{"semantic": labels}])
    unused = {"stride32": [1, 2], "stride16": [2], "stride8": []}
    for name, trainable in stages.items():
        network.zero_grad()
        trainable.losses("network", batch, Step())["pixels"].backward()
        grown = [score.weight.grad is not None for score in network.scores]
        assert grown == [level not in unused[name] for level in range(3)]
        assert {id(p) for p in trainable.parameters()} <= {id(p) for p in model.parameters()}
    assert_close(stages["stride8"](images).logits, network(images).logits, 1e-6)
    for score in network.scores[1:]:  # a finer stage begins as what the coarser one ended as, up to interpolation
        for parameter in score.parameters():
            nn.init.zeros_(parameter)
    for doubling in network.doublings:
        with torch.no_grad():
            doubling.weight.copy_(torch.eye(3)[:, :, None, None] * bilinear_kernel(3).float())
    coarse, fine = (stages[name].eval()(images).logits[..., 24:40, 24:40] for name in ("stride32", "stride8"))
    assert_close(coarse, fine, 1e-5)


def test_stamping_moves_the_grid_by_half_the_kernel() -> None:
    grid = Grid(32, 12.5)
    assert grid.stamped(4, 2) == (16, 12.5 - 24)
    assert grid.stamped(3, 2) == (16, 12.5 - 16)
    assert grid.cut(3) == (32, 12.5 + 96)
    assert Grid(1, 0.0).convolved(7, 2, padding=3) == (2, 0.0)
    assert Grid(2, 0.5).convolved(2, 2) == (4, 1.5)
    assert math.isclose(grid.stamped(64, 32).start, -19)


def test_maps_between_each_others_pixels_are_refused() -> None:
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="do not lie on each other"):
        fcn.laid_upon(x, Grid(8, 3.5), x, Grid(8, 0.0))
    with pytest.raises(ValueError, match="do not lie on each other"):
        fcn.laid_upon(x, Grid(8, 0.0), x, Grid(16, 0.0))
