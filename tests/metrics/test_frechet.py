"""Frechet distance and FID: pytorch-fid, torchmetrics, scipy's root of a matrix, closed forms."""

import copy

import numpy as np
import pytest
import scipy.linalg
import torch
import torchmetrics.image.fid
from pytorch_fid.fid_score import calculate_frechet_distance
from tests.closeness import EXACT, NUMBERS, assert_close
from torch import Tensor

from vidi.metrics import frechet
from vidi.metrics.frechet import (
    FeatureStatistics,
    Normal,
    fid,
    frechet_distance,
    normal_of_features,
    normal_of_moments,
)

SAME = 1e-9  # relative, of distances from the same statistics


def features(count: int, dimensions: int, *, seed: int = 0, shift: float = 0.0) -> Tensor:
    """Draw correlated features, as far from the origin as rectified ones are."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimensions, dimensions, generator=generator, dtype=torch.float64)
    return torch.randn(count, dimensions, generator=generator, dtype=torch.float64) @ mixing + 5 + shift


def moments(rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return rows.numpy().mean(0), np.atleast_2d(np.cov(rows.numpy(), rowvar=False))


def normal(rows: Tensor) -> Normal:
    return normal_of_moments(*map(torch.from_numpy, moments(rows)))


# ----------------------------------------------------------------------------------------------------------------------
# Distance


@pytest.mark.system("8.1.2-FRECHET", "B8.9", "B8.10")
def test_worked_examples():
    def on_a_line(mean: float, variance: float) -> Normal:
        return normal_of_moments(torch.tensor([float(mean)]), torch.tensor([[float(variance)]]))

    assert frechet_distance(on_a_line(0, 1), on_a_line(1, 4)) == pytest.approx(2, rel=EXACT)
    one, other = torch.tensor([[2, 0.5], [0.5, 1]]), torch.tensor([[1, -0.3], [-0.3, 2]]).double()
    first, second = normal_of_moments(torch.tensor([1.0, 0]), one), normal_of_moments(torch.tensor([0, 1.0]), other)
    assert frechet_distance(first, second) == pytest.approx(2.575426, abs=6e-7)
    root = scipy.linalg.sqrtm(one.double().numpy() @ other.numpy())
    assert frechet_distance(first, second) == pytest.approx(2 + 6 - 2 * np.trace(root), rel=1e-7)
    half = scipy.linalg.sqrtm(one.double().numpy())
    assert np.trace(scipy.linalg.sqrtm(half @ other.numpy() @ half)) == pytest.approx(np.trace(root))


@pytest.mark.system("8.1.2-FRECHET", "8.1.2-FID")
@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")  # pytorch-fid gives it
@pytest.mark.parametrize("dimensions", [2, 7, 64])
def test_distance_is_that_of_pytorch_fid_from_the_same_statistics(dimensions: int):
    one, other = features(300, dimensions), features(400, dimensions, seed=1, shift=0.3)
    expected = calculate_frechet_distance(*moments(one), *moments(other))
    found = frechet_distance(normal(one), normal(other))
    assert found == pytest.approx(float(expected), rel=SAME)
    assert frechet_distance(normal(other), normal(one)) == pytest.approx(found, rel=SAME)  # symmetric


@pytest.mark.system("8.1.2-FRECHET")
@pytest.mark.parametrize("singular", ["one", "both"])
def test_singular_covariances_have_a_distance(singular: str):
    """As the limit of covariances with a little added to the diagonal, from scipy's root of the symmetric form."""
    D = 12
    one, other = features(8, D), features(8 if singular == "both" else 40, D, seed=1)
    (m, S), (n, T) = moments(one), moments(other)
    values, vectors = np.linalg.eigh(S)
    half = vectors * np.sqrt(values.clip(0)) @ vectors.T
    roots = np.sqrt(np.linalg.eigvalsh(half @ T @ half).clip(0)).sum()
    expected = ((m - n) ** 2).sum() + np.trace(S) + np.trace(T) - 2 * roots
    assert frechet_distance(normal(one), normal(other)) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(normal(other), normal(one)) == pytest.approx(expected, rel=1e-6)
    points = normal_of_moments(torch.zeros(D), torch.zeros(D, D))
    assert frechet_distance(points, normal(one)) == pytest.approx((m**2).sum() + np.trace(S), rel=NUMBERS)
    assert frechet_distance(points, points) == 0


@pytest.mark.system("8.1.2-FRECHET", "8.1.2-FID")
@pytest.mark.parametrize("count", [2, 5, 64, 65, 500])
def test_identical_sets_are_at_no_distance(count: int):
    rows = features(count, 64)
    ill = rows * torch.logspace(0, -9, 64, dtype=torch.float64)  # the last feature hardly varies
    equal = rows.clone()
    equal[:, 3:] = equal[:, :1]  # most features say the same
    for each in (rows, ill, equal):
        for fitted in (normal_of_features(each), normal(each)):
            assert frechet_distance(fitted, fitted) < 1e-6
        assert frechet_distance(normal_of_features(each), normal(each)) < 1e-6
        assert fid(normal_of_features(each), each).value < 1e-6 if count >= 4 else True


@pytest.mark.system("8.1.2-FRECHET")
def test_roots_of_rounding_are_not_summed(monkeypatch: pytest.MonkeyPatch):
    """With eigenvalues alone, equal normal distributions with small variances seem to be apart."""
    one, other = (torch.linalg.qr(torch.randn(200, 200, dtype=torch.float64)).Q for _ in range(2))
    factor = one * torch.logspace(2, -7, 200, dtype=torch.float64)
    fitted, turned = (Normal(torch.zeros(200).double(), each) for each in (factor, factor @ other))
    assert frechet_distance(fitted, turned) < 1e-6
    monkeypatch.setattr(frechet, "DOUBTFUL", -1.0)
    assert not frechet_distance(fitted, turned) < 1e-6


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="received 3 and 4 dimensions"):
        frechet_distance(normal_of_features(features(9, 3)), normal_of_features(features(9, 4)))


# ----------------------------------------------------------------------------------------------------------------------
# Statistics


@pytest.mark.system("8.1.2-FID")
@pytest.mark.parametrize("offset", [0, 1e6])
def test_parts_and_processes_add_up_to_the_whole(offset: float):
    rows = features(101, 6) + offset
    mean, covariance = moments(rows)
    parts = FeatureStatistics(rows[:0])
    for part in rows[:60].split(7):
        parts.update(part)
    others = [FeatureStatistics(rows[60:61]), FeatureStatistics(rows[61:61]), FeatureStatistics(rows[61:])]
    kept = copy.deepcopy(others)
    parts.merge(others)
    assert parts.count == 101
    assert_close(parts.mean, mean)
    assert_close(parts.covariance, covariance, EXACT if not offset else 1e-9)
    assert all(torch.equal(a.scatter, b.scatter) and a.count == b.count for a, b in zip(others, kept, strict=True))
    assert parts.normal().factor.dtype == torch.float64


@pytest.mark.system("8.1.2-FID")
@pytest.mark.parametrize("count", [2, 3, 20, 21, 22, 90])
def test_features_fit_as_their_moments_do(count: int):
    """By fewer columns where there are fewer pictures than dimensions."""
    rows = features(count, 20)
    fitted = normal_of_features(rows.float())
    mean, covariance = moments(rows.float().double())
    assert fitted.factor.shape == (20, min(count - 1, 20))
    assert_close(fitted.mean, mean)
    assert_close(fitted.factor @ fitted.factor.T, covariance)


@pytest.mark.system("8.1.2-FID")
def test_features_that_are_no_numbers_are_refused():
    rows = features(30, 4)
    broken = rows.clone()
    broken[3, 1], broken[4, 0] = torch.nan, torch.inf
    statistics = FeatureStatistics(rows)
    for attempt in (
        lambda: FeatureStatistics(broken),
        lambda: statistics.update(broken),
        lambda: normal_of_features(broken),
        lambda: normal_of_features(broken[:6].repeat(1, 9)),
        lambda: fid(statistics.normal(), broken),
        lambda: normal_of_moments(broken[3], torch.eye(4)),
        lambda: normal_of_moments(rows[0], torch.eye(4) * torch.nan),
    ):
        with pytest.raises(ValueError, match="NaN or infinite, expected none"):
            attempt()
    assert statistics.count == 30


def test_too_few_features_are_refused():
    rows = features(5, 4)
    for few in (0, 1):
        with pytest.raises(ValueError, match=f"the features of {few} pictures, expected at least 2"):
            normal_of_features(rows[:few])
        with pytest.raises(ValueError, match=f"the features of {few} pictures, expected at least 2"):
            FeatureStatistics(rows[:few]).normal()
    with pytest.raises(ValueError, match="the features of 3 pictures, expected at least 4"):
        fid(normal_of_features(rows), rows[:3])
    assert fid(normal_of_features(rows), rows[:4]).value > 0


# ----------------------------------------------------------------------------------------------------------------------
# FID


class Given(torch.nn.Module):
    """An extractor for torchmetrics whose pictures are the features."""

    num_features = 24

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.flatten(1)[:, : self.num_features]


@pytest.mark.system("8.1.2-FID")
@pytest.mark.parametrize("counts", [(200, 300), (200, 10), (12, 10)])
def test_fid_is_that_of_torchmetrics(counts: tuple[int, int]):
    """With any extractor, and with fewer pictures than dimensions."""
    real, generated = features(counts[0], 24), features(counts[1], 24, seed=1)
    judge = torchmetrics.image.fid.FrechetInceptionDistance(feature=Given(), normalize=True)
    judge.set_dtype(torch.float64)
    for rows, is_real in ((real, True), (generated, False)):
        judge.update(rows[:, :, None, None].expand(-1, -1, 1, 1).unsqueeze(1), real=is_real)
    expected = float(judge.compute())
    found = fid(FeatureStatistics(real).normal(), generated)
    assert found.value == pytest.approx(expected, rel=1e-6)  # theirs sums the roots of rounding too
    assert fid(normal_of_features(real), generated).value == pytest.approx(found.value, rel=1e-7)


@pytest.mark.system("8.1.2-FID")
def test_the_error_says_how_far_chance_moves_the_distance(monkeypatch: pytest.MonkeyPatch):
    real = normal_of_features(features(4000, 5))
    generator = torch.Generator().manual_seed(4)
    mixing = features(5, 5) / 5
    found = [fid(real, torch.randn(400, 5, generator=generator, dtype=torch.float64) @ mixing + 5) for _ in range(60)]
    values = torch.tensor([one.value for one in found])
    errors = torch.tensor([one.error for one in found], dtype=torch.float64)
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(values.std()), rel=0.35)
    halves = features(11, 5)
    one, other = (frechet_distance(real, normal_of_features(part)) for part in (halves[::2], halves[1::2]))
    assert fid(real, halves).error == abs(one - other) / 2
    monkeypatch.setattr(frechet, "ENOUGH", 11)
    assert fid(real, halves).error is None
    assert fid(real, halves[:10]).error is not None


@pytest.mark.system("8.1.2-FID")
def test_ten_thousand_pictures_are_enough():
    assert frechet.ENOUGH == 10_000
