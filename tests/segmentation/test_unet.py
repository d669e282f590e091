"""U-Net against the paper's network written out; its size, its tiles, its padded form."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import OUTPUTS, assert_close
from vidi.nn.normalization import norm_layer
from vidi.ops.tiling import mirrored
from vidi.segmentation.unet import UNet, unet, unet_same, unet_small, unet_tiny


def written_out(network: UNet, x: Tensor) -> Tensor:
    """Figure 1 of the paper, by functions on the same weights."""
    maps = []
    pairs: Any = network.down
    for level, pair in enumerate(pairs):
        x = F.max_pool2d(x, 2) if level else x
        for layer in pair:
            x = F.conv2d(x, layer.weight, layer.bias).relu() if isinstance(layer, nn.Conv2d) else x
        maps.append(x)
    steps: Any = zip(network.up, network.merge, strict=True)
    for number, (up, pair) in enumerate(steps):
        x = F.conv_transpose2d(x, up.weight, up.bias, stride=2)
        own = maps[3 - number]
        cut = (own.shape[2] - x.shape[2]) // 2
        x = torch.cat((own[:, :, cut : cut + x.shape[2], cut : cut + x.shape[3]], x), 1)
        for layer in pair:
            x = F.conv2d(x, layer.weight, layer.bias).relu() if isinstance(layer, nn.Conv2d) else x
    return F.conv2d(x, network.score.weight, network.score.bias)


@pytest.mark.system("5.1.4-UNET", "B5.9")
def test_the_paper_s_size_and_parameters() -> None:
    with torch.device("meta"):
        network = UNet(2, in_channels=1)
        assert network(torch.zeros(1, 1, 572, 572)).logits.shape == (1, 2, 388, 388)
    assert sum(p.numel() for p in network.parameters()) == 31_030_658
    assert [pair[0].out_channels for pair in network.down] == [64, 128, 256, 512, 1024]  # type: ignore[union-attr]


@pytest.mark.system("5.1.4-UNET")
def test_the_network_is_the_paper_s_written_out() -> None:
    network = UNet(3, in_channels=2, width=4).double()
    x = torch.randn(2, 2, 188, 220, dtype=torch.float64)
    found = network(x).logits
    assert found.shape == (2, 3, 4, 36)
    assert_close(found, written_out(network, x), OUTPUTS)


@pytest.mark.system("5.1.4-TILING", "5.1.4-UNET")
@pytest.mark.parametrize("size", [(40, 51), (32, 64), (70, 33)])
def test_tiles_give_what_the_mirrored_whole_gives(size: tuple[int, int]) -> None:
    whole: Any = unet(categories=3, width=4, tile=0).double()
    tiled: Any = unet(categories=3, width=4, tile=32).double()
    tiled.load_state_dict(whole.state_dict())
    images = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = whole(images).logits
        assert expected.shape == (1, 3, *size)
        assert_close(tiled(images).logits, expected, OUTPUTS)
        H, W = (-(-side // 16) * 16 for side in size)
        window = mirrored(images, (92, 96 + W - size[1], 92, 96 + H - size[0]))
        assert_close(expected, written_out(whole.network.unet, window)[:, :, : size[0], : size[1]], OUTPUTS)
        tiled.train()
        assert_close(tiled(images).logits, expected, OUTPUTS)


@pytest.mark.parametrize("tile", [-16, 20, 388])
def test_tiles_that_pools_would_cut_otherwise_are_refused(tile: int) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        unet(tile=tile)


@pytest.mark.system("5.1.4-UNET")
def test_the_padded_form_keeps_the_size_and_has_norms() -> None:
    network = UNet(3, width=4, norm=norm_layer("batch"))
    assert network(torch.randn(2, 3, 48, 80)).logits.shape == (2, 3, 48, 80)
    convolutions = [
        layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)
    ]
    assert len(convolutions) == 18
    assert all(layer.padding == (1, 1) and layer.bias is None for layer in convolutions)
    assert len([layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]) == 18
    assert all(up.kernel_size == up.stride == (2, 2) for up in network.up)
    model: Any = unet_same(categories=3, width=4)
    assert model.preprocess.stride == 16


def test_narrow_variants_say_their_numbers() -> None:
    with torch.device("meta"):
        small: Any = unet_small(categories=11)
        tiny: Any = unet_tiny()
    assert small.network.score.in_channels == 16
    assert (tiny.network.score.in_channels, tiny.network.score.out_channels, tiny.preprocess.longest) == (16, 7, 128)
    with pytest.raises(ValueError, match="at least 1 channel"):
        UNet(2, width=0)
