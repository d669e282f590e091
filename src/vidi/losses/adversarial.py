"""Losses of the two players of a GAN, from logits (Goodfellow et al. 2014, arXiv 1406.2661)."""

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
