"""The first GAN: fully connected generator and discriminator (Goodfellow et al. 2014, arXiv 1406.2661; notes 8.2).

    z  B D, standard normal -> generator -> images B C H W in [-1, 1]
    images B C H W          -> discriminator -> one logit an image, B

Turns: one discriminator step, then one generator step that draws new latent vectors.

Differs from the paper: standard normal latents in place of uniform ones, leaky ReLU in the discriminator in place of
maxout, Adam in place of SGD with momentum; the generator's loss is the non-saturating one of the paper's section 3.
"""

from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidi.losses.adversarial import discriminator_loss, generator_loss, saturating_generator_loss
from vidi.model import Adversarial, Losses, Samples, Step, builder, evaluating
from vidi.preprocess import Batch, Preprocess


class Generator(nn.Module):
    """Latent vectors to images."""

    def __init__(self, latent: int, hidden: int, image: tuple[int, int, int]):
        super().__init__()
        self.latent, self.image = latent, image
        C, H, W = image
        self.layers = nn.Sequential(
            nn.Linear(latent, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 2 * hidden),
            nn.BatchNorm1d(2 * hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(2 * hidden, 4 * hidden),
            nn.BatchNorm1d(4 * hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(4 * hidden, C * H * W),
            nn.Tanh(),
        )

    def draw(self, count: int, generator: torch.Generator | None) -> Float[Tensor, "N D"]:
        """Draw latent vectors from the prior."""
        weight = next(self.parameters())
        return torch.randn(count, self.latent, generator=generator, device=weight.device, dtype=weight.dtype)

    def forward(self, latents: Float[Tensor, "N D"]) -> Float[Tensor, "N C H W"]:
        return self.layers(latents).unflatten(1, self.image)  # N C H W


class Discriminator(nn.Module):
    """Images to the logit of being real."""

    def __init__(self, hidden: int, image: tuple[int, int, int], dropout: float):
        super().__init__()
        C, H, W = image
        self.layers = nn.Sequential(
            nn.Linear(C * H * W, 4 * hidden),
            nn.LeakyReLU(0.2),
            nn.Dropout(dropout),
            nn.Linear(4 * hidden, 2 * hidden),
            nn.LeakyReLU(0.2),
            nn.Dropout(dropout),
            nn.Linear(2 * hidden, 1),
        )

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
        return self.layers(images.flatten(1)).squeeze(1)  # B


class AdversarialCriterion:
    """The loss of each player."""

    def __init__(self, form: Literal["non_saturating", "minimax"]):
        self.generator_loss = generator_loss if form == "non_saturating" else saturating_generator_loss

    def of_discriminator(self, generator: Generator, discriminator: nn.Module, batch: Batch, step: Step) -> Losses:
        with torch.no_grad():
            generated = generator(generator.draw(len(batch.images), step.generator))
        return {"adversarial": discriminator_loss(discriminator(batch.images), discriminator(generated))}

    def of_generator(self, generator: Generator, discriminator: nn.Module, batch: Batch, step: Step) -> Losses:
        generated = generator(generator.draw(len(batch.images), step.generator))
        return {"adversarial": self.generator_loss(discriminator(generated))}


class Gan(Adversarial, Samples):
    """Images from noise; the generator has `draw(count, generator)` and maps what it draws to images in [-1, 1]."""

    @torch.no_grad()
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "N C H W"]:
        with evaluating(self):
            network = cast(Generator, self.generator)
            return ((network(network.draw(count, generator)) + 1) / 2).clamp(0, 1)


@builder
def gan(
    *,
    size: tuple[int, int] = (28, 28),
    latent: int = 64,
    hidden: int = 128,
    dropout: float = 0.3,
    form: Literal["non_saturating", "minimax"] = "non_saturating",
) -> Gan:
    """Build the fully connected GAN.

    Args:
        size: (H, W) of the images.
        latent: length of the latent vectors.
        hidden: width of the generator's first layer; the others are 2 and 4 times as wide.
        dropout: in the discriminator, as in the paper.
        form: of the generator's loss.
    """
    image = (3, *size)
    preprocess = Preprocess(exact=size, mean=(0.5,) * 3, std=(0.5,) * 3)  # [0, 1] to [-1, 1]
    return Gan(
        Generator(latent, hidden, image), Discriminator(hidden, image, dropout), AdversarialCriterion(form), preprocess
    )
