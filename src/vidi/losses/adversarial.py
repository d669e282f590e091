"""Losses of the two players of a GAN (notes 8.2): Goodfellow et al. 2014 (arXiv 1406.2661), and its successors."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def discriminator_loss(real: Float[Tensor, " B"], generated: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Return -mean log D(x) - mean log(1 - D(G(z))), equation 1 with the sign turned, in nats."""
    return F.softplus(-real).mean() + F.softplus(generated).mean()


def saturating_generator_loss(generated: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Return mean log(1 - D(G(z))): the minimax form, whose gradient dies when the discriminator is sure."""
    return -F.softplus(generated).mean()


def generator_loss(generated: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Return -mean log D(G(z)): the non-saturating form that section 3 of the paper recommends for training."""
    return F.softplus(-generated).mean()


def optimal_discriminator(real: Float[Tensor, "*N"], generated: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Return p_real / (p_real + p_gen) from both densities (proposition 1): the probability of being real."""
    return real / (real + generated)


def discriminator_loss_of_densities(
    real: Float[Tensor, "*B N"], generated: Float[Tensor, "*B N"], opinion: Float[Tensor, "*B N"]
) -> Float[Tensor, "*B"]:
    """Return -sum p_real log D - sum p_gen log(1 - D) for discrete distributions and probabilities of being real.

    For the best D it is log 4 - 2 JS(p_real, p_gen): a functional of both densities, log 4 where they are equal.
    """
    return -(torch.xlogy(real, opinion) + torch.xlogy(generated, 1 - opinion)).sum(-1)


def critic_loss(real: Float[Tensor, " B"], generated: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Return mean f(G(z)) - mean f(x), whose minimum over 1-Lipschitz f is minus the Wasserstein distance.

    Arjovsky et al. 2017 (arXiv 1701.07875), equation 2: the dual form.
    """
    return generated.mean() - real.mean()


def critic_generator_loss(generated: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """Return -mean f(G(z))."""
    return -generated.mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Float[Tensor, "B C H W"],
    generated: Float[Tensor, "B C H W"],
    share: Float[Tensor, " B"],
    *,
    target: float | int = 1,
) -> Float[Tensor, ""]:
    """Return mean (|df/dx| - target)^2 / target^2 between real and generated pictures.

    Gulrajani et al. 2017 (arXiv 1704.00028), equation 3, without its weight of 10.

    Args:
        critic: of pictures.
        real: pictures.
        generated: as many.
        share: of the real picture in each mixture, uniform in [0, 1].
        target: length of the gradient.
    """
    share = share[:, None, None, None]
    mixed = (share * real + (1 - share) * generated).detach()
    slope = _slope(critic, mixed)
    return ((slope.flatten(1).norm(dim=1) - target) / target).square().mean()


@torch.enable_grad()
def _slope(score: Callable[[Tensor], Tensor], images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Return the gradient of each image's score by its pixels, also where no loss is to be differentiated."""
    images = images.requires_grad_()
    return torch.autograd.grad(score(images).sum(), images, create_graph=True)[0]


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """Return mean |dD/dx|^2 / 2 at real pictures (Mescheder et al. 2018, arXiv 1801.04406, equation 9), unweighted."""
    return _slope(discriminator, real.detach()).square().flatten(1).sum(1).mean() / 2


def drift(real: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Return mean f(x)^2, which keeps a critic near 0 (Karras et al. 2018, arXiv 1710.10196, appendix A.1)."""
    return real.square().mean()


def orthogonal_penalty(weights: Iterable[Tensor]) -> Float[Tensor, ""]:
    """Return the sum of |W'W (1 - I)|^2 over weights, each a matrix with a row for each output.

    Brock et al. 2019 (arXiv 1809.11096), equation 3, without its weight of 1e-4: filters are to be orthogonal to each
    other, of any length, so that a generator also takes latent vectors that were truncated.
    """
    terms = []
    for weight in weights:
        rows = weight.flatten(1)
        products = rows @ rows.T
        terms.append((products - products.diagonal().diag()).square().sum())
    return torch.stack(terms).sum()
