"""The first GAN: fully connected generator and discriminator (Goodfellow et al. 2014, arXiv 1406.2661; notes 8.2).

    z  B D, standard normal -> generator -> images B C H W in [-1, 1]
    images B C H W          -> discriminator -> one logit an image, B

Turns: one discriminator step, then one generator step that draws new latent vectors.

Differs from the paper: standard normal latents in place of uniform ones, leaky ReLU in the discriminator in place of
maxout, Adam in place of SGD with momentum; the generator's loss is the non-saturating one of the paper's section 3.
The paper also has a generator of transposed convolutions for CIFAR-10: `dcgan` is the later form of that.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from vidi.generative.gan.players import AdversarialCriterion, Gan, Player
from vidi.model import builder
from vidi.preprocess import signed


class Generator(Player):
    """Latent vectors to images."""

    def __init__(self, latent: int, hidden: int, image: tuple[int, int, int]):
        super().__init__(latent)
        self.image = image
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
    players = (Generator(latent, hidden, image), Discriminator(hidden, image, dropout))
    return Gan(*players, AdversarialCriterion(form), signed(size))
