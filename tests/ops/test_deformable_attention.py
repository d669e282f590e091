"""Deformable attention against transformers' own, slow loops, and points outside the maps."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.mask2former.modeling_mask2former import multi_scale_deformable_attention

from tests.closeness import EXACT, FLOAT32, NUMBERS, assert_close
from vidi.ops import deformable_attention as module
from vidi.ops.deformable_attention import by_grid_sample, deformable_attention

SIZES = [(5, 7), (3, 4), (1, 2)]


def inputs(*, dtype: torch.dtype = torch.float64, queries: int = 6, reach: float = 1.6) -> tuple[Tensor, ...]:
    """Values, points of which some lie outside the maps, and weights, all different."""
    generator = torch.Generator().manual_seed(3)
    B, h, d, P = 2, 3, 4, 2
    values = torch.randn(B, sum(H * W for H, W in SIZES), h, d, dtype=dtype, generator=generator)
    locations = torch.rand(B, queries, h, len(SIZES), P, 2, dtype=dtype, generator=generator) * reach - (reach - 1) / 2
    weights = torch.randn(B, queries, h, len(SIZES) * P, dtype=dtype, generator=generator).softmax(-1)
    return values, locations, weights.unflatten(-1, (len(SIZES), P))


def slow(values: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Equation 3, point by point and corner by corner."""
    B, Q, h, L, P, _ = locations.shape
    found = torch.zeros(B, Q, h, values.shape[3], dtype=values.dtype)
    for b, q, k, level, p in torch.cartesian_prod(*(torch.arange(n) for n in (B, Q, h, L, P))).tolist():
        H, W = SIZES[level]
        start = sum(height * width for height, width in SIZES[:level])
        x, y = float(locations[b, q, k, level, p, 0]) * W - 0.5, float(locations[b, q, k, level, p, 1]) * H - 0.5
        for row in range(H):
            for column in range(W):
                near = max(0.0, 1 - abs(x - column)) * max(0.0, 1 - abs(y - row))
                found[b, q, k] += near * weights[b, q, k, level, p] * values[b, start + row * W + column, k]
    return found


@pytest.mark.system("5.3.3-MULTISCALE")
@pytest.mark.parametrize("function", [deformable_attention, by_grid_sample])
def test_equals_slow_loops(function: Any) -> None:
    values, locations, weights = inputs()
    assert_close(function(values, SIZES, locations, weights), slow(values, locations, weights), EXACT)


@pytest.mark.system("5.3.3-MULTISCALE")
@pytest.mark.parametrize("function", [deformable_attention, by_grid_sample])
def test_equals_transformers_with_all_gradients(function: Any) -> None:
    ours = [tensor.requires_grad_() for tensor in inputs()]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    found = function(ours[0], SIZES, *ours[1:])
    expected = multi_scale_deformable_attention(theirs[0], SIZES, *theirs[1:])  # type: ignore[arg-type]
    assert_close(found.flatten(2), expected, EXACT)
    direction = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad((found.flatten(2) * direction).sum(), ours),
        torch.autograd.grad((expected * direction).sum(), theirs),
        strict=True,
    ):
        assert_close(one, other, NUMBERS)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_share_the_work_and_float32_stays_float32(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARALLEL_FROM", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    leaves = [tensor.requires_grad_() for tensor in inputs(dtype=torch.float32, queries=7)]
    expected = [tensor.detach().double().requires_grad_() for tensor in leaves]
    found = deformable_attention(leaves[0], SIZES, *leaves[1:])
    assert found.dtype == torch.float32
    reference = by_grid_sample(expected[0], SIZES, *expected[1:])
    assert_close(found.double(), reference, FLOAT32)
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), leaves),
        torch.autograd.grad(reference.square().sum(), expected),
        strict=True,
    ):
        assert_close(one.double(), other, FLOAT32)


def test_points_at_corners_and_outside() -> None:
    """The centre of the first cell is its value; half a cell outside the map half of it; a cell outside, or no number,
    nothing."""
    values = torch.arange(1.0, 5.0, dtype=torch.float64).view(1, 4, 1, 1)  # a map 2 x 2: 1 2 / 3 4
    points = [[0.25, 0.25], [0.0, 0.25], [0.5, 0.5], [-0.25, 0.25], [float("nan"), 0.5], [0.75, 1.25], [1.25, 0.25]]
    locations = torch.tensor(points, dtype=torch.float64).view(1, 7, 1, 1, 1, 2).requires_grad_()
    weights = torch.ones(1, 7, 1, 1, 1, dtype=torch.float64).requires_grad_()
    found = deformable_attention(values, [(2, 2)], locations, weights)
    assert found.flatten().tolist() == [1.0, 0.5, 2.5, 0.0, 0.0, 0.0, 0.0]
    to_locations, to_weights = torch.autograd.grad(found.sum(), (locations, weights))
    assert to_weights.flatten().tolist() == [1.0, 0.5, 2.5, 0.0, 0.0, 0.0, 0.0]
    assert to_locations.flatten(0, 4)[2].tolist() == [2.0, 4.0]  # the map's slope times its sides
    assert to_locations.flatten(0, 4)[1].tolist() == [2.0, 2.0]  # half of 1 above half of 3
    assert not to_locations.flatten(0, 4)[3:].any()


def test_maps_that_do_not_fit_are_refused() -> None:
    values, locations, weights = inputs()
    with pytest.raises(ValueError, match=r"received 49 values and points in 3 maps, expected 47 and 2"):
        deformable_attention(values, SIZES[:2], locations, weights)
    with pytest.raises(ValueError, match="expected 51 and 3"):
        deformable_attention(values, [*SIZES[:2], (2, 2)], locations, weights)


def test_half_precision_is_computed_in_float32() -> None:
    values, locations, weights = (tensor.bfloat16() for tensor in inputs())
    found = deformable_attention(values, SIZES, locations, weights)
    assert found.dtype == torch.float32
    assert_close(found, by_grid_sample(values.float(), SIZES, locations.float(), weights.float()), FLOAT32)
