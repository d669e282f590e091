"""Convolutions written to be read, against torch's layers in values and gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.closeness import assert_close
from vidi.ops import convolution as ops

GEOMETRIES = [
    {"stride": 1, "padding": 0},
    {"stride": 1, "padding": 2},
    {"stride": 2, "padding": 1},
    {"stride": 3, "padding": 0},
]
SIZES = [(7, 6), (8, 11)]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def assert_same(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Compare values and the gradients of every input; inputs stay as they are."""
    copies = [value.clone() for value in inputs]
    received_inputs, expected_inputs = ([v.clone().requires_grad_() for v in inputs] for _ in range(2))
    received, expected = ours(*received_inputs), theirs(*expected_inputs)
    assert received.shape == expected.shape
    assert_close(received, expected)
    direction = torch.randn_like(expected)
    (received * direction).sum().backward()
    (expected * direction).sum().backward()
    for one, other in zip(received_inputs, expected_inputs, strict=True):
        assert_close(one.grad, other.grad)
    ours(*inputs)
    assert all(torch.equal(value, copy) for value, copy in zip(inputs, copies, strict=True))


def multiply_adds(function: Callable[..., Tensor], *arguments: Any) -> int:
    """Let torch count the multiplications of a call."""
    with FlopCounterMode(display=False) as counter:
        function(*arguments)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 5)], ids=str)
def test_plain_equals_torch(size: tuple[int, int], geometry: dict[str, int], kernel: tuple[int, int]) -> None:
    x, kernels = draw(2, 3, *size), draw(4, 3, *kernel)
    assert_same(lambda x, k: ops.convolve(x, k, **geometry), lambda x, k: F.conv2d(x, k, None, **geometry), x, kernels)


# ----------------------------------------------------------------------------------------------------------------------
# Groups


@pytest.mark.system("2.3-GROUPCONV")
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_grouped_equals_torch(groups: int, geometry: dict[str, int]) -> None:
    x, kernels = draw(2, 6, 7, 8), draw(12, 6 // groups, 3, 3)
    assert_same(
        lambda x, k: ops.grouped_convolve(x, k, groups, **geometry),
        lambda x, k: F.conv2d(x, k, None, groups=groups, **geometry),
        x,
        kernels,
    )


@pytest.mark.system("2.3-GROUPCONV")
def test_a_group_sees_only_its_own_chunk() -> None:
    x, kernels = draw(1, 6, 5, 5), draw(9, 2, 3, 3)
    changed = x.clone()
    changed[:, 2:4] += 1
    moved = (ops.grouped_convolve(changed, kernels, 3) != ops.grouped_convolve(x, kernels, 3)).any(3).any(2)[0]
    assert moved.tolist() == [False] * 3 + [True] * 3 + [False] * 3


@pytest.mark.system("2.3-GROUPCONV", "B2.6")
def test_groups_divide_weights_and_multiplications() -> None:
    x, plain, grouped = draw(1, 256, 7, 6), draw(256, 256, 3, 3), draw(256, 256 // 32, 3, 3)
    assert (grouped.numel(), plain.numel()) == (18_432, 589_824)
    assert plain.numel() == 32 * grouped.numel()
    counted = [multiply_adds(ops.grouped_convolve, x, *rest) for rest in ((plain, 1), (grouped, 32))]
    assert counted == [589_824 * 5 * 4, 18_432 * 5 * 4]


@pytest.mark.system("2.5-DWCONV")
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_equals_torch(multiplier: int, geometry: dict[str, int]) -> None:
    x, kernels = draw(2, 5, 7, 8), draw(5 * multiplier, 1, 3, 3)
    assert_same(
        lambda x, k: ops.depthwise_convolve(x, k, **geometry),
        lambda x, k: F.conv2d(x, k, None, groups=5, **geometry),
        x,
        kernels,
    )


@pytest.mark.system("2.5-DWSEP")
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_separable_equals_the_two_layers(geometry: dict[str, int]) -> None:
    assert_same(
        lambda x, d, p: ops.separable_convolve(x, d, p, **geometry),
        lambda x, d, p: F.conv2d(F.conv2d(x, d, None, groups=4, **geometry), p),
        draw(2, 4, 8, 7),
        draw(4, 1, 3, 3),
        draw(6, 4, 1, 1),
    )


@pytest.mark.system("2.5-DWSEP")
def test_separable_is_a_plain_convolution_of_low_rank() -> None:
    """Fewer weights are less freedom: the kernels of all outputs share one shape per input channel."""
    x, depthwise, pointwise = draw(2, 4, 8, 7), draw(4, 1, 3, 3), draw(6, 4, 1, 1)
    plain = pointwise * depthwise.transpose(0, 1)  # D C 3 3
    received = ops.separable_convolve(x, depthwise, pointwise, padding=1)
    assert_close(received, ops.convolve(x, plain, padding=1))


@pytest.mark.system("2.5-DWSEP", "B2.11")
@pytest.mark.parametrize(
    ("channels", "gain"), [(32, 7.0244), (64, 7.8904), (128, 8.4088), (256, 8.6943), (512, 8.8445)]
)
def test_separable_gain(channels: int, gain: float) -> None:
    """The notes promise up to 10 times; with 3x3 kernels the limit is 9 (C2.8)."""
    assert ops.separable_gain(channels, 3) == pytest.approx(gain, abs=5e-5)
    x, plain, depthwise, pointwise = (
        draw(1, 8, 6, 7),
        draw(channels, 8, 3, 3),
        draw(8, 1, 3, 3),
        draw(channels, 8, 1, 1),
    )
    counted = multiply_adds(ops.convolve, x, plain) / multiply_adds(ops.separable_convolve, x, depthwise, pointwise)
    assert counted == pytest.approx(ops.separable_gain(channels, 3), rel=1e-12)
    assert ops.separable_gain(channels, 3) < ops.separable_gain(10**9, 3) == pytest.approx(9)


# ----------------------------------------------------------------------------------------------------------------------
# Holes


@pytest.mark.system("5.1.5-DILCONV")
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_dilated_equals_torch(dilation: int, geometry: dict[str, int]) -> None:
    assert_same(
        lambda x, k: ops.dilated_convolve(x, k, dilation, **geometry),
        lambda x, k: F.conv2d(x, k, None, dilation=dilation, **geometry),
        draw(2, 3, 9, 11),
        draw(4, 3, 3, 2),
    )


@pytest.mark.system("5.1.5-DILCONV", "5.1.4-FRACSTRIDE", "B5.8")
def test_zeros_between_pixels() -> None:
    received = ops.insert_zeros(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 3)
    assert received.tolist() == [[1, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]


# ----------------------------------------------------------------------------------------------------------------------
# Transposed

TRANSPOSED = [
    {"stride": 1, "padding": 0, "output_padding": 0},
    {"stride": 1, "padding": 2, "output_padding": 0},
    {"stride": 2, "padding": 1, "output_padding": 0},
    {"stride": 2, "padding": 1, "output_padding": 1},
    {"stride": 3, "padding": 0, "output_padding": 2},
]


@pytest.mark.system("5.1.4-TCONV", "5.1.4-FRACSTRIDE")
@pytest.mark.parametrize("form", [ops.transposed_convolve, ops.fractionally_strided_convolve], ids=lambda f: f.__name__)
@pytest.mark.parametrize("geometry", TRANSPOSED, ids=str)
@pytest.mark.parametrize("kernel", [(3, 3), (2, 4)], ids=str)
def test_transposed_equals_torch(
    form: Callable[..., Tensor], geometry: dict[str, int], kernel: tuple[int, int]
) -> None:
    assert_same(
        lambda y, k: form(y, k, **geometry),
        lambda y, k: F.conv_transpose2d(y, k, None, **geometry),
        draw(2, 4, 4, 5),
        draw(4, 3, *kernel),
    )


def test_fractional_stride_crops_where_the_padding_exceeds_the_kernel() -> None:
    y, kernels = draw(1, 2, 6, 6), draw(2, 3, 2, 2)
    expected = F.conv_transpose2d(y, kernels, stride=2, padding=3)
    received = ops.fractionally_strided_convolve(y, kernels, stride=2, padding=3)
    assert_close(received, expected)


@pytest.mark.system("5.1.4-CONVMAT")
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_matrix_is_the_convolution_and_its_transposed(size: tuple[int, int], geometry: dict[str, int]) -> None:
    x, kernels = draw(2, 3, *size), draw(4, 3, 3, 3)
    y = F.conv2d(x, kernels, None, **geometry)
    matrix = ops.convolution_matrix(kernels, size, **geometry)
    assert_close(x.flatten(1) @ matrix.T, y.flatten(1))

    extra = [(length + 2 * geometry["padding"] - 3) % geometry["stride"] for length in size]  # what the stride left out
    assert_same(
        lambda y, k: ops.transposed_by_matrix(y, k, size, **geometry),
        lambda y, k: F.conv_transpose2d(y, k, None, output_padding=extra, **geometry),
        torch.randn_like(y),
        kernels,
    )


@pytest.mark.system("5.1.4-CONVMAT", "B5.6")
def test_the_transposed_is_the_adjoint() -> None:
    x, y, kernels = draw(1, 3, 9, 7), draw(1, 4, 5, 4), draw(4, 3, 3, 3)
    left = (ops.convolve(x, kernels, stride=2, padding=1) * y).sum()
    right = (x * ops.transposed_convolve(y, kernels, stride=2, padding=1)).sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=0)


@pytest.mark.system("5.1.4-TCONV", "B5.2")
@pytest.mark.parametrize(("padding", "side"), [(0, 7), (1, 5)])
def test_three_pixels_become_five_with_padding_only(padding: int, side: int) -> None:
    result = ops.transposed_convolve(draw(1, 1, 3, 3), draw(1, 1, 3, 3), stride=2, padding=padding)
    assert result.shape == (1, 1, side, side)


@pytest.mark.system("5.1.4-TCONV", "B5.5")
def test_overlaps_of_stamps_make_a_checkerboard() -> None:
    ones = torch.ones(1, 1, 3, 3)
    row = [1, 2, 1, 2, 1]
    result = ops.transposed_convolve(ones, torch.ones(1, 1, 3, 3), stride=2, padding=1)
    assert result[0, 0].tolist() == [[a * b for a in row] for b in row]


# ----------------------------------------------------------------------------------------------------------------------
# Wrong arguments


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.convolve(draw(1, 3, 2, 9), draw(1, 3, 3, 3)), "fits"),
        (lambda: ops.grouped_convolve(draw(1, 6, 5, 5), draw(4, 2, 3, 3), 4), "divisor"),
        (lambda: ops.grouped_convolve(draw(1, 6, 5, 5), draw(4, 6, 3, 3), 2), "channels|C=3"),
        (lambda: ops.transposed_convolve(draw(1, 1, 3, 3), draw(1, 1, 3, 3), stride=2, output_padding=2), "0..1"),
        (lambda: ops.transposed_by_matrix(draw(1, 1, 3, 3), draw(1, 1, 3, 3), (6, 6)), "36|16"),
    ],
)
def test_wrong_arguments(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()
