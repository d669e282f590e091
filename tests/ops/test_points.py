"""Points on maps: their numbers, where they are drawn, and what is refused. Values are compared in tests/parity."""

from typing import Any

import pytest
import torch

from tests.closeness import EXACT, assert_close
from vidi.ops.points import random_points, sample_points, uncertain_points


def test_points_are_drawn_inside_from_the_generator_in_the_precision_asked_for() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    one, two = (random_points(3, 500, like=like, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (3, 500, 2)
    assert one.dtype == torch.float64
    assert 0 <= one.min() < 0.01
    assert 0.99 < one.max() <= 1


def test_values_fall_to_zero_beyond_the_border() -> None:
    maps = torch.tensor([[[[2.0, 4.0]]]])
    points = torch.tensor([[[0.25, 0.5], [0.5, 0.5], [0.0, 0.5], [0.25, 0.0], [1.25, 0.5]]])
    assert_close(sample_points(maps, points)[0, 0], torch.tensor([2.0, 3.0, 1.0, 1.0, 0.0]), EXACT)


@pytest.mark.system("5.3.3-POINTLOSS")
def test_uncertain_points_lie_where_the_logit_is_near_zero() -> None:
    """A mask whose left half is sure and whose right half is not: three quarters lie right, of the rest half."""
    logits = torch.full((2, 8, 8), 9.0)
    logits[..., 4:] = torch.linspace(-0.1, 0.1, 4)
    points = uncertain_points(logits, 400, generator=torch.Generator().manual_seed(0))
    assert points.shape == (2, 400, 2)
    assert (points[:, :300, 0] > 0.5).all()
    share = (points[:, 300:, 0] > 0.5).float().mean()
    assert 0.4 < share < 0.6
    everywhere = uncertain_points(logits, 400, share=0, generator=torch.Generator().manual_seed(0))
    assert 0.4 < (everywhere[..., 0] > 0.5).float().mean() < 0.6
    surest = uncertain_points(logits, 100, share=1, oversampling=1, generator=torch.Generator().manual_seed(0))
    assert surest.shape == (2, 100, 2)


@pytest.mark.parametrize("numbers", [{"oversampling": 0.9}, {"share": 1.1}, {"share": -0.1}])
def test_shares_that_cannot_be_are_refused(numbers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected at least 1, and a number in"):
        uncertain_points(torch.zeros(1, 4, 4), 8, **numbers)
