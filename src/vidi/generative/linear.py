"""The simplest generative model: pictures are a linear map of a few independent factors (notes 8.0).

    z  K, standard normal -> mean + F z + noise of deviation s -> picture, 3 H W

Probabilistic principal component analysis (Tipping & Bishop 1999): F and s of the greatest likelihood are known from
the eigenvalues of the covariance, and a picture has a density, N(mean, F F' + s^2 I). It shows in closed form what
networks only approach: latent vectors from a known prior, a map to pictures, `fit`, `sample` and `log_prob`.

Differs from a network: all that it makes lies near a K-dimensional plane, which pictures do not.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.model import Fitted, Samples
from vidi.ops.latents import normal_latents
from vidi.ops.noise import picture_seeds, seeded_normal
from vidi.preprocess import Preprocess, unit_range


class LinearGaussian(Fitted, Samples):
    """Pictures from independent normal factors.

    Args:
        size: (H, W) of the pictures.
        factors: K, fewer than numbers in a picture.
    """

    mean: Tensor
    loadings: Tensor
    deviation: Tensor

    def __init__(self, size: tuple[int, int], factors: int):
        super().__init__()
        count = 3 * size[0] * size[1]
        if not 1 <= factors < count:
            raise ValueError(f"received {factors} factors of {count} numbers, expected 1 to {count - 1}")
        self.size, self.factors = size, factors
        self.preprocess = Preprocess(exact=size, mean=(0.0,) * 3, std=(1.0,) * 3)
        self.register_learnt("mean", torch.zeros(count, dtype=torch.float64))
        self.register_learnt("loadings", torch.zeros(count, factors, dtype=torch.float64))
        self.register_learnt("deviation", torch.ones((), dtype=torch.float64))

    def fit(self, dataset: Any, *, generator: torch.Generator | None = None) -> None:
        """Find mean, loadings and noise of the greatest likelihood; nothing is drawn.

        Raises:
            ValueError: if there are no more pictures than factors.
        """
        if len(dataset) <= self.factors:
            raise ValueError(f"received {len(dataset)} pictures for {self.factors} factors, expected more")
        placed = (self.preprocess.place(dataset[row][0], {})[0] for row in range(len(dataset)))
        rows = torch.stack([unit_range(picture).flatten() for picture in placed]).double()
        self.mean = rows.mean(0)
        _, roots, axes = torch.linalg.svd(rows - self.mean, full_matrices=False)
        variances = torch.zeros(len(self.mean), dtype=torch.float64)
        variances[: len(roots)] = roots.square() / len(rows)
        noise = variances[self.factors :].mean()
        self.loadings = axes[: self.factors].T * (variances[: self.factors] - noise).clamp(min=0).sqrt()
        self.deviation = noise.sqrt()

    def sample(
        self, count: int, *, generator: torch.Generator | None = None, truncation: float | None = None
    ) -> Float[Tensor, "N 3 H W"]:
        """Return images in [0, 1], by the factors of their seeds; `truncation` is the largest factor."""
        seeds = picture_seeds(generator, count)
        factors = normal_latents(self.factors, seeds, truncation=truncation).double()
        noise = seeded_normal((len(self.mean),), seeds, 1, dtype=torch.float64)
        drawn = self.mean + factors.to(self.mean) @ self.loadings.T + self.deviation * noise.to(self.mean)
        return drawn.unflatten(1, (3, *self.size)).clamp(0, 1).float()

    def log_prob(self, images: Float[Tensor, "N 3 H W"]) -> Float[Tensor, " N"]:
        """Return the log-density of images, in nats.

        With S = s^2 I + F F' of K columns, log |S| and S^-1 come from the K x K matrix s^2 I + F' F.
        """
        apart = images.flatten(1).double() - self.mean
        inner = self.deviation**2 * torch.eye(self.factors).to(self.mean) + self.loadings.T @ self.loadings
        along = apart @ self.loadings
        squares = apart.square().sum(1) - (along * torch.linalg.solve(inner, along.T).T).sum(1)
        rest = len(self.mean) - self.factors
        log_volume = torch.linalg.slogdet(inner).logabsdet + 2 * rest * self.deviation.log()
        return -(squares / self.deviation**2 + log_volume + len(self.mean) * math.log(2 * math.pi)) / 2
