"""Faces from 42 muscles: factors of a known prior, mildly correlated, and a picture that is a function of them."""

import pytest
import scipy.stats
import torch

from tests.closeness import FLOAT32, assert_close
from vidi.generative.expressions import FACTORS, MUSCLES, POINTS, contractions, draw_face, points_of
from vidi.ops.latents import normal_latents

pytestmark = pytest.mark.system("8.0-LATENT")


def test_there_are_42_muscles() -> None:
    assert FACTORS == 42
    assert len(MUSCLES) == 21
    assert {point for muscle in MUSCLES.values() for point in muscle} == set(POINTS)  # each point is moved


@pytest.mark.parametrize("together", [0, 0.8])
def test_contractions_are_uniform_and_only_the_two_sides_of_a_muscle_go_together(together: float) -> None:
    drawn = contractions(range(3000), together=together)
    assert scipy.stats.kstest(drawn.flatten().numpy(), "uniform").pvalue > 1e-3
    normal = torch.special.ndtri(drawn.double())
    expected = torch.eye(42).double()
    expected += together * (torch.eye(42).roll(21, 0)).double()
    assert_close(normal.T.cov(), expected, 0.1)
    assert_close(drawn[7:8], contractions([7], together=together), FLOAT32)


def test_independent_factors_are_the_prior_and_correlated_ones_the_default() -> None:
    assert_close(contractions([3], together=0), torch.special.ndtr(normal_latents(42, [3])), FLOAT32)
    assert torch.equal(contractions([3]), contractions([3], together=0.8))
    for together in (1.1, -1.1):
        with pytest.raises(ValueError, match="expected -1 to 1"):
            contractions([0], together=together)


def test_points_are_linear_in_the_factors_and_each_muscle_moves_its_own_side() -> None:
    rest = points_of(torch.zeros(1, 42))[0]
    assert_close(rest[1], torch.tensor(list(POINTS.values())), FLOAT32)
    assert_close(rest[0], rest[1] * torch.tensor([-1.0, 1]), FLOAT32)
    for side in range(2):
        for number, muscle in enumerate(MUSCLES.values()):
            one = torch.zeros(1, 42)
            one[0, 21 * side + number] = 0.5
            moved = points_of(one)[0] - rest
            assert not moved[1 - side].any()
            for place, point in enumerate(POINTS):
                out, down = muscle.get(point, (0.0, 0.0))
                expected = torch.tensor([(out if side else -out) / 2, down / 2])
                assert_close(moved[side, place], expected, FLOAT32, size=1)
    a, b = contractions([0, 1]).unsqueeze(1)
    assert_close(points_of((a + b) / 2), (points_of(a) + points_of(b)) / 2, FLOAT32)


def test_a_face_is_a_function_of_its_muscles() -> None:
    rest = torch.zeros(42)
    picture = draw_face(rest)
    assert picture.shape == (3, 64, 64)
    assert 0 <= picture.min() < 0.3
    assert_close(picture, picture.flip(2), FLOAT32)  # at rest both sides are alike
    for number in range(42):
        moved = rest.clone()
        moved[number] = 1
        changed = (draw_face(moved) - picture).abs().amax(0) > 0.05
        assert changed.any(), list(MUSCLES)[number % 21]
        others = changed[:, 38:] if number < 21 else changed[:, :26]  # beyond the lips' middle
        assert not others.any()
    assert draw_face(rest, (48, 80)).shape == (3, 48, 80)
