"""Gaussians and mixtures of them: densities, scores and draws in closed form, also of data that noise was added to.

    p(x) = sum_k w_k N(x; mu_k, v_k I)
    q(x_t) = sum_k w_k N(x; sqrt(a) mu_k, (a v_k + 1 - a) I)    the same after the diffusion kernel

What samplers and scores are compared with, since all of a diffusion model of such data is known (notes 8.3).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def gaussian_sample(
    mean: Float[Tensor, " D"], covariance: Float[Tensor, "D D"] | float, y: Float[Tensor, "N D"]
) -> Float[Tensor, "N D"]:
    """Return draws mu + Sigma^(1/2) y of N(mu, Sigma) from standard normal y.

    Args:
        mean: mu.
        covariance: Sigma, symmetric and positive semi-definite; or sigma^2 of the isotropic sigma^2 I.
        y: standard normal.

    Raises:
        ValueError: for a covariance that is none.
    """
    if not isinstance(covariance, Tensor):
        if covariance < 0:
            raise ValueError(f"received a variance of {covariance}, expected none below 0")
        return mean + covariance**0.5 * y
    values, vectors = torch.linalg.eigh(covariance)
    rounding = torch.finfo(covariance.dtype).eps * len(values) * float(values.abs().max())
    if float(values.min()) < -rounding or not torch.allclose(covariance, covariance.mT):
        raise ValueError(
            "received a matrix that is no covariance, expected a symmetric one without negative eigenvalues"
        )
    root = vectors * values.clamp(min=0).sqrt() @ vectors.mT  # symmetric
    return mean + y @ root


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A mixture of K isotropic Gaussians in D dimensions.

    Attributes:
        weights: K, positive, with sum 1.
        means: K D.
        variances: K, of each coordinate.
    """

    weights: Float[Tensor, " K"]
    means: Float[Tensor, "K D"]
    variances: Float[Tensor, " K"]

    def _joint(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Return log (w_k N(x; mu_k, v_k I))."""
        distances = (x[:, None] - self.means).square().sum(2)  # N K
        normal = -0.5 * (distances / self.variances + x.shape[1] * (2 * math.pi * self.variances).log())
        return self.weights.log() + normal

    def log_prob(self, x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Return log p(x), in nats."""
        return self._joint(x).logsumexp(1)

    def log_component(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Return log p(k | x): the exact classifier."""
        return self._joint(x).log_softmax(1)

    def score(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """Return the gradient of log p at x: sum_k p(k | x) (mu_k - x) / v_k."""
        pulls = (self.means - x[:, None]) / self.variances[:, None]  # N K D
        return (self.log_component(x).exp()[..., None] * pulls).sum(1)

    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "N D"]:
        """Draw points."""
        rows: Int64[Tensor, " N"] = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[rows] + self.variances[rows, None].sqrt() * noise

    def noised(self, alpha: float) -> "GaussianMixture":
        """Return the law of sqrt(a) x + sqrt(1 - a) e for x of this mixture and standard normal e."""
        return GaussianMixture(self.weights, alpha**0.5 * self.means, alpha * self.variances + 1 - alpha)

    def noise(self, x: Float[Tensor, "N D"], alpha: float) -> Float[Tensor, "N D"]:
        """Return the expected noise in x_t, all that a perfect denoiser can know: -sqrt(1 - a) times the score."""
        return -((1 - alpha) ** 0.5) * self.noised(alpha).score(x)

    def component(self, row: int) -> "GaussianMixture":
        """Return one Gaussian of it, as a mixture of one: the data given the class."""
        return GaussianMixture(torch.ones_like(self.weights[:1]), self.means[row, None], self.variances[row, None])

    def tilted(self, power: float | Float[Tensor, " K"]) -> "GaussianMixture":
        """Return the mixture with other weights, w_k exp(power_k)."""
        return GaussianMixture((self.weights.log() + power).softmax(0), self.means, self.variances)


def reverse_density(
    density: Float[Tensor, " G"], grid: Float[Tensor, " G"], x: float, beta: float
) -> Float[Tensor, " G"]:
    """Return q(x_{t-1} | x_t = x) on an even grid by Bayes' rule, from the density of x_{t-1} there.

    It is a Gaussian for a Gaussian density, else only in the limit of small beta (Feller 1949).

    Args:
        density: of x_{t-1}; need not be normalised.
        grid: the places, evenly spaced, that reach as far as the density does.
        x: x_t.
        beta: the variance of the step from t - 1 to t.
    """
    likelihood = (-((x - (1 - beta) ** 0.5 * grid) ** 2) / (2 * beta)).exp()
    joint = density * likelihood
    return joint / (joint.sum() * (grid[1] - grid[0]))
