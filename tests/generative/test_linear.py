"""The linear model of pictures: scikit-learn's probabilistic PCA, scipy's density, and factors that are independent."""

from typing import Any

import pytest
import scipy.stats
import sklearn.decomposition
import torch
from torch import Tensor

from tests.closeness import FLOAT32, NUMBERS, OUTPUTS, assert_close
from vidi.generative.linear import LinearGaussian

SIZE, FACTORS = (3, 4), 5


class Pictures(torch.utils.data.Dataset[Any]):
    """Pictures of a few factors, and noise."""

    def __init__(self, count: int = 200):
        generator = torch.Generator().manual_seed(0)
        mixing = torch.randn(6, 36, generator=generator) / 40
        rows = (
            0.5 + torch.randn(count, 6, generator=generator) @ mixing + torch.randn(count, 36, generator=generator) / 50
        )
        self.pictures = rows.clamp(0, 1).unflatten(1, (3, *SIZE))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        return self.pictures[index], {}


@pytest.fixture(scope="module")
def fitted() -> LinearGaussian:
    model = LinearGaussian(SIZE, FACTORS)
    model.fit(Pictures())
    return model


@pytest.mark.system("8.0-TASK")
def test_fit_and_density_are_those_of_scikit_learn_and_scipy(fitted: LinearGaussian) -> None:
    pictures = Pictures().pictures
    rows = pictures.flatten(1).double()
    covariance = fitted.loadings @ fitted.loadings.T + fitted.deviation**2 * torch.eye(36).double()
    normal: Any = scipy.stats.multivariate_normal
    expected = normal(fitted.mean.numpy(), covariance.numpy()).logpdf(rows.numpy())
    assert_close(fitted.log_prob(pictures), torch.from_numpy(expected), OUTPUTS)
    theirs = sklearn.decomposition.PCA(FACTORS, svd_solver="full").fit(rows.numpy())
    share = 199 / 200  # theirs divides by one picture less
    signal = fitted.loadings @ fitted.loadings.T
    noise = theirs.noise_variance_ * 199 / 200
    axes = torch.from_numpy(theirs.components_)
    own = axes.T @ torch.diag(torch.from_numpy(theirs.explained_variance_) * share - noise) @ axes
    assert_close(signal, own, OUTPUTS)
    assert float(fitted.deviation) ** 2 == pytest.approx(noise, rel=NUMBERS)


@pytest.mark.system("8.0-TASK")
def test_pictures_are_drawn_from_the_density_and_each_by_its_seed(fitted: LinearGaussian) -> None:
    drawn = fitted.sample(4000, generator=torch.Generator().manual_seed(1))
    assert drawn.shape == (4000, 3, *SIZE)
    assert_close(drawn.flatten(1).double().mean(0), fitted.mean, 0.02)
    covariance = fitted.loadings @ fitted.loadings.T + fitted.deviation**2 * torch.eye(36).double()
    assert_close(drawn.flatten(1).double().T.cov(), covariance, 0.15)
    assert_close(fitted.sample(1, generator=torch.Generator().manual_seed(6))[0], drawn[5], FLOAT32)
    close = fitted.sample(200, generator=torch.Generator().manual_seed(1), truncation=0.1)
    assert fitted.log_prob(close).mean() > fitted.log_prob(drawn[:200]).mean()


def test_the_model_refuses_too_many_factors_and_too_few_pictures() -> None:
    with pytest.raises(ValueError, match="received 36 factors of 36 numbers, expected 1 to 35"):
        LinearGaussian(SIZE, 36)
    with pytest.raises(ValueError, match="received 5 pictures for 5 factors, expected more"):
        LinearGaussian(SIZE, FACTORS).fit(Pictures(5))


def test_pictures_are_seen_as_they_are() -> None:
    model = LinearGaussian(SIZE, FACTORS)
    assert (model.preprocess.mean, model.preprocess.std) == ((0.0,) * 3, (1.0,) * 3)
