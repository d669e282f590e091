"""The losses of Depth Pro against slow loops in float64, and numbers that can be counted by hand."""

import itertools
import math
import statistics

import pytest
import torch
from torch import Tensor

from tests.closeness import EXACT, assert_close
from vidi.losses.depth_derivatives import derivative_error, mean_error, normalised_map, without_worst

SCHARR = [[-3, 0, 3], [-10, 0, 10], [-3, 0, 3]]  # Scharr 2000; the sum of one side times two pixels is 32
LAPLACE = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]


def maps(*size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    difference = torch.randn(*size, dtype=torch.float64, generator=generator)
    return difference, torch.rand(*size, generator=generator) > 0.05


def slow_derivative_error(difference: Tensor, valid: Tensor, name: str, power: int, scales: int) -> float:
    """Equation 2 of the paper, pixel by pixel: mean over scales, then over pictures."""
    kernels = [LAPLACE] if name == "laplace" else [SCHARR, [list(row) for row in zip(*SCHARR, strict=True)]]
    factor = 1 if name == "laplace" else 32
    pictures = []
    for values, known in zip(difference.tolist(), valid.tolist(), strict=True):
        found = []
        for _ in range(scales):
            H, W = len(values), len(values[0]) if values else 0
            errors = []
            for i, j in itertools.product(range(1, H - 1), range(1, W - 1)):
                around = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
                if all(known[i + a][j + b] for a, b in around):
                    sums = [sum(k[a + 1][b + 1] * values[i + a][j + b] for a, b in around) / factor for k in kernels]
                    errors.append(sum(abs(total) ** power for total in sums))
            if errors:
                found.append(statistics.fmean(errors))
            four = [(0, 0), (0, 1), (1, 0), (1, 1)]
            cells = [[[(2 * i + a, 2 * j + b) for a, b in four] for j in range(W // 2)] for i in range(H // 2)]
            smaller = [[statistics.fmean(values[a][b] for a, b in cell) for cell in row] for row in cells]
            known = [[all(known[a][b] for a, b in cell) for cell in row] for row in cells]
            values = smaller
        if found:
            pictures.append(statistics.fmean(found))
    return statistics.fmean(pictures) if pictures else 0.0


@pytest.mark.parametrize("size", [(3, 16, 16), (2, 13, 22)])
@pytest.mark.parametrize(("name", "power"), [("scharr", 1), ("laplace", 1), ("scharr", 2)])
def test_derivatives_at_all_scales(size: tuple[int, ...], name: str, power: int) -> None:
    difference, valid = maps(*size)
    valid[-1] = False  # a picture without a truth does not count
    difference = difference.where(valid, torch.nan)  # what is not valid is never looked at
    for scales in (1, 2, 6):
        found = derivative_error(difference, valid, derivative=name, power=power, scales=scales)  # type: ignore[arg-type]
        assert_close(found, slow_derivative_error(difference, valid, name, power, scales), EXACT)
    six = derivative_error(difference, valid, derivative=name, power=power)  # type: ignore[arg-type]
    assert six == derivative_error(difference, valid, derivative=name, power=power, scales=6)  # type: ignore[arg-type]


def test_derivatives_of_known_maps() -> None:
    """A plane of slopes 2 and 3 has them at each scale, twice as steep each time; a parabola bends by its factor."""
    rows, columns = torch.arange(16.0, dtype=torch.float64)[:, None], torch.arange(16.0, dtype=torch.float64)
    everywhere = torch.ones(1, 16, 16, dtype=torch.bool)
    plane = (2 * columns + 3 * rows)[None]
    assert_close(derivative_error(plane, everywhere, derivative="scharr", power=1, scales=1), 5.0)
    assert_close(derivative_error(plane, everywhere, derivative="scharr", power=1, scales=3), 5 * (1 + 2 + 4) / 3)
    assert_close(derivative_error(plane, everywhere, derivative="scharr", power=2, scales=1), 4.0 + 9.0)
    assert_close(derivative_error(plane, everywhere, derivative="laplace", power=1, scales=3), 0.0, size=1.0)
    bowl = (3 * columns**2 + 0 * rows)[None]
    assert_close(derivative_error(bowl, everywhere, derivative="laplace", power=1, scales=1), 6.0)
    smallest = bowl[:, :3, :3], everywhere[:, :3, :3]  # of one derivative
    assert_close(derivative_error(*smallest, derivative="laplace", power=1), 6.0)


def test_derivatives_of_nothing() -> None:
    difference, nowhere = torch.randn(2, 8, 8, requires_grad=True), torch.zeros(2, 8, 8, dtype=torch.bool)
    found = derivative_error(difference, nowhere, derivative="scharr", power=2)
    found.backward()
    assert found == 0
    assert difference.grad is not None
    assert not difference.grad.any()
    assert derivative_error(torch.ones(1, 2, 2), ~nowhere[:1, :2, :2], derivative="scharr", power=1) == 0  # too small


def test_mean_errors() -> None:
    difference = torch.tensor([[[1.0, -3.0], [math.nan, 5.0]], [[7.0, 7.0], [7.0, 7.0]], [[2.0, 2.0], [9.0, 9.0]]])
    valid = torch.tensor([[[True, True], [False, True]], [[False] * 2] * 2, [[True, True], [False, False]]])
    assert_close(mean_error(difference, valid), (3.0 + 2.0) / 2)
    assert_close(mean_error(difference, valid, power=2), (35 / 3 + 4.0) / 2, 1e-6)
    assert mean_error(difference, torch.zeros_like(valid)) == 0


def test_half_precision_is_widened() -> None:
    half, valid = torch.randn(1, 8, 8).half(), torch.ones(1, 8, 8, dtype=torch.bool)
    for found in (
        mean_error(half, valid),
        derivative_error(half, valid, derivative="scharr", power=1),
        normalised_map(half, valid),
    ):
        assert found.dtype == torch.float32


@pytest.mark.parametrize(("count", "dropped"), [(1, 0), (4, 0), (5, 1), (9, 1), (10, 2), (15, 3)])
def test_the_worst_fifth_of_each_picture_is_left_out(count: int, dropped: int) -> None:
    generator = torch.Generator().manual_seed(0)
    difference = torch.stack([torch.randperm(16, generator=generator).reshape(4, 4) + 1.0 for _ in range(2)])
    difference = difference * torch.tensor([1.0, -1.0])[:, None, None]
    valid = torch.zeros(2, 4, 4, dtype=torch.bool)
    valid.flatten(1)[:, :count] = True
    kept = without_worst(difference, valid)
    assert kept.sum((1, 2)).tolist() == [count - dropped] * 2
    assert not (kept & ~valid).any()
    for row in range(2):
        left_out = valid[row] & ~kept[row]
        if left_out.any():
            assert difference[row][left_out].abs().min() > difference[row][kept[row]].abs().max()


def test_other_shares_are_left_out() -> None:
    difference, valid = torch.arange(8.0)[None, None], torch.ones(1, 1, 8, dtype=torch.bool)
    assert without_worst(difference, valid, share=0.5)[0, 0].tolist() == [True] * 4 + [False] * 4
    assert without_worst(difference, valid, share=0.0).all()
    assert not without_worst(difference, torch.zeros_like(valid)).any()
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"share={share}"):
            without_worst(difference, valid, share=share)


def test_normalised_maps_have_no_scale_and_no_shift() -> None:
    """Median and mean deviation from it, of the valid pixels (MiDaS, equations 6 and 7)."""
    values, valid = maps(3, 5, 7)
    valid[2] = False
    found = normalised_map(values.where(valid, torch.nan), valid)
    for row in range(2):
        own = sorted(values[row][valid[row]].tolist())
        middle = own[(len(own) - 1) // 2]
        deviation = statistics.fmean(abs(value - middle) for value in own)
        assert_close(found[row], ((values[row] - middle) / deviation).where(valid[row], 0), EXACT)
    assert not found[2].any()
    assert_close(normalised_map(3 * values + 5, valid), found, EXACT)
    assert not normalised_map(torch.full((1, 4, 4), 3.0), torch.ones(1, 4, 4, dtype=torch.bool)).any()


def test_gradients_pass_through_all() -> None:
    values, valid = maps(2, 6, 6)
    valid[0, :2, :2] = False
    values.requires_grad_()
    with torch.no_grad():
        true = normalised_map(maps(2, 6, 6, seed=1)[0], valid)

    def losses(found: Tensor) -> Tensor:
        difference = normalised_map(found, valid) - true
        derivatives = [
            derivative_error(difference, valid, derivative="scharr", power=2),
            derivative_error(difference, valid, derivative="laplace", power=1),
        ]
        return torch.stack([mean_error(difference, without_worst(difference, valid)), *derivatives])

    assert torch.autograd.gradcheck(losses, (values,))
