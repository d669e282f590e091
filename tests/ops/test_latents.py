"""Latent vectors: drawn picture by picture, truncated as scipy's distribution says, and walked between."""

import math

import pytest
import scipy.stats
import torch
from torch import Tensor

from tests.closeness import EXACT, FLOAT32, assert_close
from vidi.ops.latents import direction, lerp, normal_latents, slerp, strips


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.system("8.2-TRUNC")
@pytest.mark.parametrize("truncation", [None, 0.5])
def test_each_vector_is_that_of_its_own_seed(truncation: float | None) -> None:
    together = normal_latents(6, [3, 4, 9], truncation=truncation)
    assert torch.equal(together[1:2], normal_latents(6, [4], truncation=truncation))
    assert len(together.unique(dim=0)) == 3


@pytest.mark.system("8.2-TRUNC", "B8.16")
@pytest.mark.parametrize(("threshold", "deviation"), [(2, 0.879626), (1.0, 0.539560), (0.5, 0.283882)])
def test_numbers_beyond_the_threshold_are_drawn_again(threshold: float, deviation: float) -> None:
    assert scipy.stats.truncnorm.std(-threshold, threshold) == pytest.approx(deviation, abs=6e-7)
    plain, drawn = (normal_latents(20_000, [1, 2], truncation=t) for t in (None, threshold))
    kept = plain.abs() <= threshold
    assert torch.equal(drawn[kept], plain[kept])  # what lies within is left
    assert drawn.abs().max() <= threshold
    assert (drawn[~kept] != threshold).all()  # not clipped
    fit = scipy.stats.kstest(drawn.flatten().numpy(), scipy.stats.truncnorm(-threshold, threshold).cdf)
    assert fit.pvalue > 1e-3
    assert drawn.std().item() == pytest.approx(deviation, rel=0.02)


def test_a_threshold_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="received truncation=0, expected more than 0"):
        normal_latents(3, [0], truncation=0)


@pytest.mark.system("8.2.1-ARITH")
def test_a_line_is_straight_and_even() -> None:
    a, b = vectors(4, 7), vectors(4, 7, seed=1)
    t = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    found = lerp(a, b, t)
    assert_close(found[0], a)
    assert_close(found[1], 0.75 * a + 0.25 * b)
    assert_close(found[2], b)


@pytest.mark.system("8.2.1-ARITH")
def test_an_arc_turns_evenly_and_keeps_the_length() -> None:
    """White 2016: sin((1 - t) w) / sin w a + sin(t w) / sin w b, where w is the angle; by loops."""
    a, b = vectors(3, 5), vectors(3, 5, seed=1)
    t = torch.linspace(0, 1, 6, dtype=torch.float64)
    found = slerp(a, b, t)
    for row in range(3):
        dot = float(a[row] @ b[row]) / math.sqrt(float(a[row] @ a[row]) * float(b[row] @ b[row]))
        angle = math.acos(dot)
        for step, share in enumerate(t.tolist()):
            first, second = (math.sin(part * angle) / math.sin(angle) for part in (1 - share, share))
            assert_close(found[step, row], first * a[row] + second * b[row])
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    walked = slerp(a, b, t)
    assert_close(walked.norm(dim=2), torch.ones(6, 3).double())
    turns = (walked[1:] * walked[:-1]).sum(2)
    assert_close(turns, turns[:1].expand(5, 3))
    middle = lerp(a, b, t)[3].norm(dim=1)
    assert (middle < 1).all()


@pytest.mark.system("8.2.1-ARITH")
@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_vectors_on_one_line_are_joined_by_it(factor: float) -> None:
    a = vectors(2, 4)
    t = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    assert_close(slerp(a, factor * a, t), lerp(a, factor * a, t))


@pytest.mark.system("8.2.1-ARITH")
def test_a_direction_is_what_an_attribute_adds_on_average() -> None:
    smile, faces, others = vectors(6), vectors(40, 6), vectors(50, 6, seed=1)
    assert_close(direction(faces + smile, others), faces.mean(0) + smile - others.mean(0))
    assert_close(direction(faces + smile, faces), smile)


@pytest.mark.system("8.2.1-ARITH")
@pytest.mark.parametrize("spherical", [True, False])
def test_strips_lead_from_end_to_end(spherical: bool) -> None:
    a, b = vectors(3, 5), vectors(3, 5, seed=1)
    found = strips(a, b, 4, spherical=spherical)
    assert found.shape == (3, 4, 5)
    assert_close(found[:, 0], a)
    assert_close(found[:, -1], b)
    t = torch.tensor([1 / 3], dtype=torch.float64)
    assert_close(found[:, 1], (slerp if spherical else lerp)(a, b, t)[0], EXACT)
    assert not torch.allclose(strips(a, b, 4)[:, 1], strips(a, b, 4, spherical=False)[:, 1], atol=FLOAT32)
    assert_close(strips(a, b, 2, spherical=spherical), torch.stack([a, b], 1))
    with pytest.raises(ValueError, match="received 1 steps"):
        strips(a, b, 1)
