"""Receptive fields against the gradients of real convolutions, costs against torch's counter and the notes."""

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vidi.ops.receptive_field import Window, factorisation_cost, multiply_adds, receptive_field

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
