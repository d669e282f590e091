"""The ring of Gaussians: where its modes are, how covered ones are counted, and that a Wasserstein GAN covers them."""

import math

import pytest
import torch

from tests.closeness import FLOAT32, NUMBERS, assert_close
from tests.conftest import Learnt
from tests.settings import SEED
from vidi.generative.gan.ring import Ring, fit_ring, points_of
from vidi.metrics.information import js_divergence
from vidi.metrics.modes import divergences, modes_covered


def test_modes_are_on_a_circle() -> None:
    ring = Ring()
    assert_close(ring.centres[2], torch.tensor([0.0, 2.0]), FLOAT32)
    assert_close(ring.centres.norm(dim=1), torch.full((8,), 2.0), FLOAT32)
    points = ring.draw(8000, torch.Generator().manual_seed(0))
    apart, mode = torch.cdist(points, ring.centres).min(1)
    assert mode.bincount().div(8000).tolist() == pytest.approx([1 / 8] * 8, abs=0.02)
    assert apart.square().mean().item() == pytest.approx(2 * 0.02**2, rel=0.1)
    found = modes_covered(points, ring.centres, ring.deviation)
    assert found.covered == 8
    assert found.quality == pytest.approx(1 - math.exp(-4.5), abs=0.01)  # within three deviations on a plane


def test_a_mode_is_covered_by_a_point_within_three_deviations() -> None:
    centres = torch.tensor([[0.0, 0.0], [10, 0], [0, 10]])
    points = torch.tensor([[2.9, 0], [0, -2.9], [10, 3.1], [0, 6.0]])
    assert modes_covered(points, centres, 1) == (1, 0.5)
    assert modes_covered(points, centres, 1, within=4) == (3, 1)


def test_the_two_divergences_are_from_the_mixture_and_average_to_js() -> None:
    p = torch.tensor([0.25, 0.25, 0.25, 0.25, 0.0]).double()
    lost, wrong = torch.tensor([0.5, 0.5, 0, 0, 0]).double(), torch.tensor([0.0, 0, 0, 0, 1]).double()
    for q in (lost, wrong):
        found = divergences(p, q)
        assert_close((found.coverage + found.quality) / 2, js_divergence(p, q), NUMBERS)
    # a generator that drops half of the modes: its density is in both terms
    assert divergences(p, lost).coverage.item() == pytest.approx((math.log(2) + math.log(2 / 3)) / 2)
    assert divergences(p, lost).quality.item() == pytest.approx(math.log(4 / 3))
    assert [float(term) for term in divergences(p, wrong)] == pytest.approx([math.log(2)] * 2)


def test_a_wasserstein_gan_covers_the_ring(learnt: Learnt) -> None:
    """Modes of eight, and how far points are from the nearest one, with a deviation that shows in few steps."""
    ring = Ring(deviation=0.1)
    generator = fit_ring(ring, "wasserstein", steps=600, seed=SEED)
    points = points_of(generator, 2000, seed=SEED)
    found = modes_covered(points, ring.centres, ring.deviation)
    learnt("modes", found.covered, least=7)
    learnt("quality", found.quality, least=0.28)
    untrained = points_of(fit_ring(ring, "minimax", steps=0, seed=SEED), 2000, seed=SEED)
    assert modes_covered(untrained, ring.centres, ring.deviation).covered <= 1


def test_equal_seeds_train_equal_generators() -> None:
    one, two, other = (fit_ring(Ring(), loss, steps=2, seed=1) for loss in ("minimax", "minimax", "non_saturating"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))
