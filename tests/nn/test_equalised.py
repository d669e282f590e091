"""Layers of ProGAN against their definitions: slow loops, He's constant, and rates."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.closeness import EXACT, NUMBERS, assert_close
from vidi.nn.equalised import EqualisedConv2d, EqualisedLinear, leaky, pixel_norm, with_deviation


@pytest.mark.system("8.2.3-PROGAN")
@pytest.mark.parametrize(("kernel", "padding", "gain"), [(3, None, None), (1, None, 1.0), (4, 3, None), (4, 0, None)])
def test_a_convolution_multiplies_with_he_s_constant(kernel: int, padding: int | None, gain: float | None) -> None:
    layer = EqualisedConv2d(5, 6, kernel, padding=padding).double()
    if gain is not None:
        layer = EqualisedConv2d(5, 6, kernel, padding=padding, gain=gain).double()
    with torch.no_grad():
        layer.bias.normal_()  # type: ignore[union-attr]
    scale = (math.sqrt(2) if gain is None else gain) / math.sqrt(5 * kernel * kernel)
    x = torch.randn(2, 5, 7, 7, dtype=torch.float64)
    expected = F.conv2d(x, scale * layer.weight, layer.bias, padding=kernel // 2 if padding is None else padding)
    assert_close(layer(x).detach(), expected.detach(), NUMBERS)


@pytest.mark.system("8.2.3-PROGAN")
def test_weights_are_standard_normal_and_outputs_keep_their_size() -> None:
    layer = EqualisedConv2d(64, 64, 3)
    assert layer.weight.std().item() == pytest.approx(1, rel=0.02)
    assert (layer.bias == 0).all()  # type: ignore[union-attr]
    assert EqualisedConv2d(2, 2, 3, bias=False).bias is None
    x = torch.randn(4, 64, 16, 16)
    assert F.relu(layer(x)).square().mean().item() == pytest.approx(1, rel=0.2)  # He et al. 2015


@pytest.mark.system("8.2.3-PROGAN", "8.2.4-STYLEGAN")
def test_a_rate_multiplies_how_far_a_step_of_adam_moves_a_layer() -> None:
    plain, slow = EqualisedLinear(32, 48, gain=1.5), EqualisedLinear(32, 48, gain=1.5, rate=0.01, bias=2)
    assert slow.weight.std().item() == pytest.approx(100, rel=0.1)
    assert (slow.bias == 200).all()
    x = torch.randn(5, 32)
    assert_close(slow(x), F.linear(x, slow.weight * 1.5 * 0.01 / math.sqrt(32), torch.full((48,), 2.0)), 1e-4)
    moved = []
    for layer in (plain, slow):
        before = layer(x).detach()
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.001)
        layer(x).sum().backward()
        optimizer.step()
        moved.append((layer(x) - before).abs().mean().item())
    assert moved[1] / moved[0] == pytest.approx(0.01, rel=0.05)


@pytest.mark.system("8.2.3-PROGAN")
def test_pixels_are_normalised_over_channels() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    found = pixel_norm(x)
    for b in range(2):
        for i in range(4):
            for j in range(5):
                length = math.sqrt(sum(float(x[b, c, i, j]) ** 2 for c in range(3)) / 3 + 1e-8)
                assert_close(found[b, :, i, j], x[b, :, i, j] / length)
    assert_close(pixel_norm(x[..., 0, 0]), found[..., 0, 0])


@pytest.mark.system("8.2.3-PROGAN")
def test_the_deviation_of_the_minibatch_is_one_more_channel() -> None:
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    found = with_deviation(x)
    assert found.shape == (4, 4, 2, 2)
    assert torch.equal(found[:, :3], x)
    deviations = []
    for c in range(3):
        for i in range(2):
            for j in range(2):
                values = x[:, c, i, j].tolist()
                mean = sum(values) / 4
                deviations.append(math.sqrt(sum((v - mean) ** 2 for v in values) / 4 + 1e-8))
    assert_close(found[:, 3], torch.full((4, 2, 2), sum(deviations) / 12, dtype=torch.float64), EXACT)
    repeated = with_deviation(x[:1].expand(4, -1, -1, -1))
    assert float(repeated[:, 3].max()) == pytest.approx(1e-4)


@pytest.mark.system("8.2.3-PROGAN")
def test_the_slope_is_a_fifth() -> None:
    x = torch.tensor([-2.0, 3.0])
    assert torch.equal(leaky(x), nn.LeakyReLU(0.2)(x))
