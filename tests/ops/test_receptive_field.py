"""Receptive fields against the gradients of real convolutions, costs against torch's counter and the notes."""

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vidi.ops.receptive_field import (
    Window,
    factorisation_cost,
    multiply_adds,
    receptive_field,
    seen_by_gradient,
    valid_taps,
)

windows = st.lists(
    st.builds(Window, *[st.sampled_from([1, 3, 5])] * 2, st.integers(1, 2), st.integers(1, 2)), min_size=1, max_size=3
)


def convolutions(row: list[Window], channels: list[int], *, padded: bool) -> nn.Sequential:
    """The row as layers of torch; all weights are 1."""
    layers = []
    for window, (before, after) in zip(row, pairwise(channels), strict=True):
        padding = (window.dilation * (window.rows // 2), window.dilation * (window.columns // 2))
        layer = nn.Conv2d(
            before,
            after,
            (window.rows, window.columns),
            window.stride,
            padding=padding if padded else 0,
            dilation=window.dilation,
            bias=False,
        )
        nn.init.ones_(layer.weight)
        layers.append(layer)
    return nn.Sequential(*layers)


@pytest.mark.system("2.2.2-FACTOR")
@given(windows)
def test_receptive_field_is_where_the_gradient_reaches(row: list[Window]) -> None:
    rows, columns = receptive_field(row)
    image = torch.zeros(1, 1, rows, columns, requires_grad=True)
    output = convolutions(row, [1] * (len(row) + 1), padded=False)(image)
    assert output.shape == (1, 1, 1, 1)  # one position needs just so many pixels
    output.sum().backward()
    assert image.grad is not None
    reached = image.grad[0, 0].nonzero()
    assert (reached.amin(0).tolist(), reached.amax(0).tolist()) == ([0, 0], [rows - 1, columns - 1])


@pytest.mark.system("2.2.2-FACTOR")
@given(windows, st.lists(st.integers(1, 3), min_size=4, max_size=4), st.integers(5, 9))
def test_cost_is_that_of_torchs_counter(row: list[Window], channels: list[int], side: int) -> None:
    channels = channels[: len(row) + 1]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        convolutions(row, channels, padded=True)(torch.zeros(1, channels[0], side, side + 1))
    assert 2 * multiply_adds(row, channels, (side, side + 1)) == counter.get_total_flops()


@pytest.mark.system("2.2.2-FACTOR", "B2.15")
@pytest.mark.parametrize(
    ("whole", "parts", "cost", "decimal"),
    [
        (Window(5, 5), [Window(3, 3), Window(3, 3)], Fraction(18, 25), 0.72),
        (Window(7, 7), [Window(1, 7), Window(7, 1)], Fraction(14, 49), 0.2857),
    ],
)
def test_factorised_convolutions_of_the_notes(
    whole: Window, parts: list[Window], cost: Fraction, decimal: float
) -> None:
    assert receptive_field(parts) == receptive_field([whole]) == (whole.rows, whole.columns)
    assert factorisation_cost(whole, parts) == cost
    assert float(cost) == pytest.approx(decimal, abs=5e-5)
    size, channels = (17, 17), 24
    ratio = Fraction(
        multiply_adds(parts, [channels] * (len(parts) + 1), size), multiply_adds([whole], [channels] * 2, size)
    )
    assert ratio == cost


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="the parts see 3 x 3 pixels, expected 5 x 5"):
        factorisation_cost(Window(5, 5), [Window(3, 3)])
    with pytest.raises(ValueError, match="strides"):
        factorisation_cost(Window(3, 3, 2), [Window(1, 3), Window(3, 1, 2)])
    with pytest.raises(ValueError, match="at least 1"):
        receptive_field([])
    with pytest.raises(ValueError, match="at least 1"):
        receptive_field([Window(0, 3)])
    with pytest.raises(ValueError, match="2 numbers of channels for 2 convolutions"):
        multiply_adds([Window(3, 3)] * 2, [1, 2], (4, 4))
    with pytest.raises(ValueError, match="size"):
        multiply_adds([Window(3, 3)], [1, 2], (0, 4))


# ----------------------------------------------------------------------------------------------------------------------
# Dilation


@pytest.mark.system("5.1.5-RF", "B5.7", "B5.8")
def test_stacked_dilated_convolutions_see_twice_as_far_with_each_layer() -> None:
    """After n layers 2^(n+1) - 1; weights grow with n, and the map keeps its size. Plain ones see 2 n + 1."""
    assert [(3 - 1) * dilation + 1 for dilation in (1, 2, 4)] == [3, 5, 9]  # pixels that a dilated kernel covers
    image = torch.rand(1, 1, 65, 67, dtype=torch.float64)
    for layers in range(1, 5):
        row = [Window(3, 3, dilation=2**level) for level in range(layers)]
        stack = convolutions(row, [1] * (layers + 1), padded=True).double()
        seen = 2 ** (layers + 1) - 1
        assert receptive_field(row) == seen_by_gradient(stack, image) == (seen, seen)
        assert sum(p.numel() for p in stack.parameters()) == 9 * layers
        assert stack(image).shape == image.shape
        plain = [Window(3, 3)] * layers
        assert receptive_field(plain) == (2 * layers + 1, 2 * layers + 1)
        assert (
            seen_by_gradient(convolutions(plain, [1] * (layers + 1), padded=True).double(), image)[0] == 2 * layers + 1
        )


@pytest.mark.system("5.1.5-RF")
def test_gradients_see_what_windows_say_of_strides_and_oblong_kernels() -> None:
    row = [Window(7, 5, 2), Window(3, 3, 2), Window(1, 3, 1, 2)]
    image = torch.rand(1, 2, 90, 94, dtype=torch.float64)
    assert seen_by_gradient(convolutions(row, [2, 3, 3, 2], padded=True).double(), image) == receptive_field(row)
    assert seen_by_gradient(nn.Conv2d(1, 1, 1).requires_grad_(False), torch.rand(1, 1, 5, 5)) == (1, 1)
    dead = nn.Conv2d(1, 1, 3)
    nn.init.zeros_(dead.weight)
    assert seen_by_gradient(dead, torch.rand(1, 1, 5, 5)) == (0, 0)


@pytest.mark.system("5.A.1-VALIDW", "B5.11")
@pytest.mark.parametrize(
    ("dilation", "shares"),
    [
        (6, {9: 0.665, 6: 0.301, 4: 0.034}),
        (12, {9: 0.398, 6: 0.466, 4: 0.136}),
        (24, {9: 0.068, 6: 0.386, 4: 0.545}),
    ],
)
def test_weights_of_large_rates_fall_on_padding(dilation: int, shares: dict[int, float]) -> None:
    found = valid_taps(65, dilation)
    assert found == pytest.approx(shares, abs=6e-4)
    assert sum(found.values()) == pytest.approx(1, rel=1e-12)
    conv = nn.Conv2d(1, 1, 3, padding=dilation, dilation=dilation, bias=False)
    nn.init.ones_(conv.weight)
    counted = conv(torch.ones(1, 1, 65, 65)).round().int().flatten().bincount()
    assert {taps: int(count) / 65**2 for taps, count in enumerate(counted) if count} == pytest.approx(found, rel=1e-6)


@pytest.mark.system("5.A.1-VALIDW", "B5.11")
def test_at_the_size_of_the_map_one_tap_is_left() -> None:
    assert valid_taps(65, 64)[1] == pytest.approx(0.939, abs=6e-4)
    assert valid_taps(65, 65) == {1: 1.0}
    with pytest.raises(ValueError, match="at least 1"):
        valid_taps(0, 1)
