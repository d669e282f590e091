"""DCGAN: convolutions alone, with the rules that make them stable (Radford et al. 2016, arXiv 1511.06434; notes 8.2.1).

    z  B 100            -> project         B 1024 4 4     a linear layer, batch norm, ReLU
                        -> 3 x up          B 128 32 32    transposed convolution of stride 2, batch norm, ReLU
                        -> last            B 3 64 64      transposed convolution of stride 2, tanh
    images B 3 64 64    -> first           B 128 32 32    convolution of stride 2, leaky ReLU of slope 0.2
                        -> 3 x down        B 1024 4 4     convolution of stride 2, batch norm, leaky ReLU
                        -> linear          B              the logit of being real

No pooling and no hidden fully connected layer; no batch norm at the generator's output and the discriminator's input.
Weights from N(0, 0.02). Adam with a rate of 0.0002 and beta1 = 0.5, batches of 128, in `vidi.recipes.generation`.
Pictures of 32 pixels have one step less each, and half of the widest map.

Differs from the paper: standard normal latent vectors in place of uniform ones. Scales of batch norms are drawn from
N(1, 0.02), as in the authors' code.
"""

from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from vidi.generative.gan.players import SMALLEST, AdversarialCriterion, Gan, Player, doublings_of
from vidi.model import builder, with_defaults
from vidi.preprocess import signed

SLOPE = 0.2
"""Of leaky ReLUs."""

DEVIATION = 0.02
"""Of the weights before training."""


def widths_of(size: tuple[int, int], width: int) -> list[int]:
    """Return the channels of maps from 4 pixels to half of the size, each half of the one before.

    Raises:
        ValueError: if the size is not square, or no power of two from 8.
    """
    return [width * 2**step for step in reversed(range(doublings_of(size, first=SMALLEST, least=2 * SMALLEST)))]


class Generator(Player):
    """Latent vectors to images: each step doubles the side and halves the channels."""

    def __init__(self, latent: int, widths: list[int], kernel: int):
        super().__init__(latent)
        self.project = nn.Sequential(
            nn.Linear(latent, widths[0] * SMALLEST**2, bias=False),
            nn.Unflatten(1, (widths[0], SMALLEST, SMALLEST)),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.up = nn.Sequential(
            *(
                layer
                for inside, outside in pairwise(widths)
                for layer in (doubling(inside, outside, kernel), nn.BatchNorm2d(outside), nn.ReLU(inplace=True))
            )
        )
        self.last = nn.Sequential(doubling(widths[-1], 3, kernel, bias=True), nn.Tanh())
        initialise(self)

    def forward(self, latents: Float[Tensor, "N D"]) -> Float[Tensor, "N 3 H W"]:
        return self.last(self.up(self.project(latents)))


class Discriminator(nn.Module):
    """Images to the logit of being real; without batch norms, a critic."""

    def __init__(self, widths: list[int], kernel: int, *, norm: bool):
        super().__init__()
        widths = widths[::-1]
        self.first = nn.Sequential(halving(3, widths[0], kernel, bias=True), nn.LeakyReLU(SLOPE))
        self.down = nn.Sequential(
            *(
                layer
                for inside, outside in pairwise(widths)
                for layer in (
                    halving(inside, outside, kernel, bias=not norm),
                    *([nn.BatchNorm2d(outside)] if norm else []),
                    nn.LeakyReLU(SLOPE),
                )
            )
        )
        self.last = nn.Linear(widths[-1] * SMALLEST**2, 1)
        initialise(self)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, " B"]:
        return self.last(self.down(self.first(images)).flatten(1)).squeeze(1)  # B


def doubling(inside: int, outside: int, kernel: int, *, bias: bool = False) -> nn.ConvTranspose2d:
    """Return a transposed convolution that doubles a map's sides."""
    padding, odd = (kernel - 1) // 2, kernel % 2
    return nn.ConvTranspose2d(inside, outside, kernel, 2, padding, output_padding=odd, bias=bias)


def halving(inside: int, outside: int, kernel: int, *, bias: bool) -> nn.Conv2d:
    """Return a convolution that halves a map's sides."""
    return nn.Conv2d(inside, outside, kernel, 2, (kernel - 1) // 2, bias=bias)


def initialise(network: nn.Module) -> None:
    """Draw weights from N(0, 0.02), scales of batch norms from N(1, 0.02); biases are 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm2d):
            mean = 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0
            nn.init.normal_(module.weight, mean, DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@builder
def dcgan(
    *,
    size: tuple[int, int] = (64, 64),
    latent: int = 100,
    width: int = 128,
    kernel: Literal[4, 5] = 5,
    form: Literal["non_saturating", "minimax"] = "non_saturating",
    orthogonal: float = 0.0,
) -> Gan:
    """Build DCGAN.

    Args:
        size: (H, W) of the images: square, a power of two from 8.
        latent: length of the latent vectors.
        width: channels of the largest hidden map; each map of half the side has twice as many.
        kernel: pixels a side of the convolutions; 4 covers all pixels equally often.
        form: of the generator's loss.
        orthogonal: weight of the penalty on filters that are not orthogonal, for `truncation`; BigGAN has 1e-4.
    """
    widths = widths_of(size, width)
    players = (Generator(latent, widths, kernel), Discriminator(widths, kernel, norm=True))
    return Gan(*players, AdversarialCriterion(form, orthogonal=orthogonal), signed(size))


dcgan_tiny = with_defaults(
    dcgan, "dcgan_tiny", "32 pixels, 0.5 M parameters in both", size=(32, 32), latent=64, width=32, kernel=4
)
