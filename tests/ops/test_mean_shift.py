"""Mean shift against scikit-learn, slow loops and simple truths."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from sklearn.cluster import MeanShift

from tests.closeness import NUMBERS, assert_close
from vidi.ops.mean_shift import mean_shift


def blobs(seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    centres = np.array([[0, 0, 2.0], [0.5, 0.1, 2.2], [-0.4, 0.6, 2.1]])
    return torch.from_numpy(
        np.concatenate([c + 0.05 * random.normal(size=(n, 3)) for c, n in zip(centres, (60, 40, 25), strict=True)])
    )


@pytest.mark.system("5.1.1-JOINTS")
@pytest.mark.parametrize("starts", ["points", "cells"])
@pytest.mark.parametrize("seed", [0, 1])
def test_unweighted_modes_of_the_flat_kernel_are_scikit_learns(starts, seed):
    points = blobs(seed)
    peer = MeanShift(bandwidth=0.2, bin_seeding=starts == "cells").fit(points.numpy())
    ours = mean_shift(points, 0.2, kernel="flat", starts=starts)
    assert_close(ours.centres, torch.from_numpy(peer.cluster_centers_), NUMBERS)
    inside = (torch.cdist(ours.centres, points) <= 0.2).sum(1).double()
    assert_close(ours.density, inside)
    assert ours.mass.sum() == len(points)
    assert (ours.assignment.bincount() == ours.mass).all()
    assert (ours.assignment == torch.from_numpy(peer.labels_)).float().mean() > 0.98


@pytest.mark.system("5.1.1-JOINTS")
def test_gaussian_modes_are_where_the_slope_of_the_density_is_zero():
    points, weights = blobs(), torch.rand(125, dtype=torch.float64)
    modes = mean_shift(points, 0.15, weights=weights, tolerance=1e-9)
    assert len(modes.centres) == 3
    centres = modes.centres.clone().requires_grad_()
    density = (weights * torch.exp(-((centres[:, None] - points) ** 2).sum(2) / 0.15**2)).sum(1)
    assert_close(modes.density, density.detach(), NUMBERS)
    density.sum().backward()
    assert centres.grad is not None
    assert centres.grad.abs().max() < 1e-6 * float(density.detach().max()) / 0.15
    assert (modes.density.diff() < 0).all()
    assert_close(modes.mass.sum(), weights.sum())
    assert_close(modes.mass, torch.zeros(3, dtype=torch.float64).index_add(0, modes.assignment, weights))


@pytest.mark.system("5.1.1-JOINTS")
def test_one_step_is_the_weighted_mean():
    points = torch.tensor([[0.03], [0.13]], dtype=torch.float64)
    weights = torch.tensor([3.0, 1.0], dtype=torch.float64)
    modes = mean_shift(points, 0.2, weights=weights, rounds=1, tolerance=0.0)
    near = math.exp(-0.25)
    expected = [0.03 + 0.1 * near / (3 + near), 0.03 + 0.1 / (1 + 3 * near)]
    densities = [sum(w * math.exp(-((x - e) ** 2) / 0.04) for w, x in ((3, 0.03), (1, 0.13))) for e in expected]
    assert modes.centres.item() == pytest.approx(expected[int(np.argmax(densities))], rel=1e-12)
    cells = mean_shift(points, 0.2, weights=weights, rounds=1, tolerance=0.0, starts="cells")
    first, second = 3 * math.exp(-0.0225), math.exp(-0.4225)  # from the middle of the cell at 0
    assert cells.centres.item() == pytest.approx(0.03 + 0.1 * second / (first + second), rel=1e-12)
    assert modes.density.item() == pytest.approx(max(densities), rel=1e-12)
    assert modes.mass.item() == 4


@pytest.mark.system("5.1.1-JOINTS")
def test_an_outlier_moves_the_centre_of_mass_but_not_the_mode():
    """C5.2: why joints are modes."""
    points = 0.02 * torch.randn(50, 3, dtype=torch.float64)
    far = torch.cat((points, torch.full((10, 3), 1.0, dtype=torch.float64)))
    alone, disturbed = mean_shift(points, 0.1), mean_shift(far, 0.1)
    assert_close(disturbed.centres[0], alone.centres[0], 1e-6, size=0.1)
    assert (far.mean(0) - points.mean(0)).norm() > 0.25
    assert disturbed.mass.tolist() == [50, 10]


@pytest.mark.system("5.1.1-JOINTS")
def test_cells_lead_to_the_modes_of_points():
    points = blobs()
    every, few = mean_shift(points, 0.15), mean_shift(points, 0.15, starts="cells")
    assert_close(few.centres, every.centres, 1e-2)
    assert few.mass.tolist() == every.mass.tolist()


def test_no_points_have_no_modes():
    for starts in ("points", "cells"):
        modes = mean_shift(torch.zeros(0, 3), 0.1, starts=starts)
        assert [len(part) for part in modes] == [0, 0, 0, 0]
        assert modes.centres.shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": "box"}, "flat"),
        ({"starts": "all"}, "cells"),
        ({"bandwidth": 0.0}, "bandwidth=0"),
        ({"rounds": 0}, "rounds=0"),
        ({"weights": torch.tensor([1.0, -1.0])}, "not negative"),
        ({"weights": torch.ones(3)}, "weights"),
        ({"points": torch.tensor([[math.nan], [0.0]])}, "finite"),
    ],
)
def test_what_has_no_modes_is_refused(arguments, message):
    with pytest.raises((ValueError, TypeCheckError), match=message):  # the tests' hook comes first
        mean_shift(**{"points": torch.zeros(2, 1), "bandwidth": 0.1, **arguments})
