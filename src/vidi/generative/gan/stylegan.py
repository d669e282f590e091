"""StyleGAN: a picture's style decides every layer (Karras et al. 2019, arXiv 1812.04948; notes 8.2.4).

    z  B 512, on a sphere   -> 8 linear layers -> w  B 512      rate x 0.01
    w, of each layer        -> linear -> scale and shift        B C, of AdaIN
    constant 512 4 4        -> noise, AdaIN, 3 x 3, noise, AdaIN
                            -> upsample, 3 x 3, blur, noise, AdaIN, 3 x 3, noise, AdaIN, ...
                            -> to RGB   B 3 1024 1024

A layer's noise is one number a pixel, times a learnt factor of each channel; after it come bias and leaky ReLU, then
AdaIN. Two layers for each of 9 sizes are 18: 26.2 M parameters at 1024 pixels, as section 2 of the paper says.
Mixing: of 90 % of the pictures in a training, layers from a random one on follow another w. Truncation: w is replaced
by w_mean + psi (w - w_mean) in the first 8 layers, w_mean a running mean over the training.
The discriminator is ProGAN's, with blurred reductions; non-saturating loss, R1 penalty of weight 10, or, as for
CelebA-HQ, ProGAN's Wasserstein loss. Adam, 0.001, betas 0 and 0.99, and an averaged generator.

Differs from the paper: it does not grow, all sizes are trained from the first step on, as in StyleGAN2; noise is drawn
in training, and fixed where pictures are sampled, so that a picture is a function of its w.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vidi.generative.gan.players import SMALLEST, AdversarialCriterion, Player, WassersteinCriterion
from vidi.generative.gan.progressive import DRIFT, PENALTY, Discriminator, channels_of, doubled, halved
from vidi.generative.gan.wgan import Wgan
from vidi.model import builder, with_defaults
from vidi.nn.adain import styled
from vidi.nn.equalised import EqualisedConv2d, EqualisedLinear, leaky, pixel_norm
from vidi.ops.latents import normal_latents
from vidi.ops.noise import seeded_normal
from vidi.preprocess import signed

MAPPING_LAYERS, MAPPING_RATE = 8, 0.01
MIXED = 0.9
"""Share of the pictures of a training that follow two styles."""

TRUNCATED_LAYERS = 8
"""Layers from the first on that truncation reaches: those of 4 to 32 pixels (appendix B)."""

MEAN_DECAY = 0.995
"""Of the running mean of w."""


class Draws(NamedTuple):
    """What the pictures of a training step follow."""

    latents: Float[Tensor, "N 2 D"]  # of the first and the second style
    turn: Int64[Tensor, " N"]  # the layer from which on the second style is followed
    noise: list[Float[Tensor, "_ 1 _ _"]]  # of each layer


def blurred(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Return maps smoothed by 1 2 1 along both axes; beyond the edge is 0."""
    line = x.new_tensor([1.0, 2.0, 1.0]) / 4
    kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


class Mapping(nn.Sequential):
    """z to w."""

    def __init__(self, latent: int, layers: int):
        super().__init__(*(EqualisedLinear(latent, latent, rate=MAPPING_RATE) for _ in range(layers)))

    def forward(self, latents: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        w = pixel_norm(latents)
        for layer in self:
            w = leaky(layer(w))
        return w


class Layer(nn.Module):
    """A map, or a convolution of one, with noise and style.

    Args:
        inside: channels of the map that is convolved; None: it is taken as it is.
        outside: channels.
        latent: length of w.
        doubles: whether the map is enlarged first.
    """

    def __init__(self, inside: int | None, outside: int, latent: int, *, doubles: bool):
        super().__init__()
        self.doubles = doubles
        self.convolution = None if inside is None else EqualisedConv2d(inside, outside, 3, bias=False)
        self.strength = nn.Parameter(torch.zeros(outside))
        self.bias = nn.Parameter(torch.zeros(outside))
        self.scale = EqualisedLinear(latent, outside, gain=1, bias=1)
        self.shift = EqualisedLinear(latent, outside, gain=1)

    def forward(
        self, x: Float[Tensor, "N C h w"], w: Float[Tensor, "N D"], noise: Float[Tensor, "n 1 H W"]
    ) -> Float[Tensor, "N K H W"]:
        if self.convolution is not None:
            x = self.convolution(doubled(x) if self.doubles else x)
        x = blurred(x) if self.doubles else x
        x = x + self.strength[:, None, None] * noise + self.bias[:, None, None]
        return styled(leaky(x), self.scale(w), self.shift(w))


class Generator(Player):
    """Latent vectors, or the w of each layer, to images."""

    spherical = False  # w has no prior whose length counts

    def __init__(self, latent: int, channels: list[int], mapping_layers: int):
        super().__init__(latent)
        self.mapping = Mapping(latent, mapping_layers)
        self.constant = nn.Parameter(torch.ones(1, channels[0], SMALLEST, SMALLEST))
        layers = [Layer(None, channels[0], latent, doubles=False)]
        for level, outside in enumerate(channels):
            if level:
                layers.append(Layer(channels[level - 1], outside, latent, doubles=True))
            layers.append(Layer(outside, outside, latent, doubles=False))
        self.layers = nn.ModuleList(layers)
        self.to_rgb = EqualisedConv2d(channels[-1], 3, 1, gain=1)
        self.register_buffer("mean_style", torch.zeros(latent))

    @property
    def sides(self) -> list[int]:
        """Return the pixels a side of each layer's map."""
        return [SMALLEST * 2 ** (number // 2) for number in range(len(self.layers))]

    def draw(self, count: int, generator: torch.Generator | None) -> Draws:
        """Draw latent vectors, the layers where styles are mixed, and noise."""
        device, layers = self.constant.device, len(self.layers)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=device, dtype=self.constant.dtype)

        turns = torch.randint(1, layers, (count,), generator=generator, device=device)
        mixed = torch.rand(count, generator=generator, device=device) < MIXED
        noise = [normal(count, 1, side, side) for side in self.sides]
        return Draws(normal(count, 2, self.latent), torch.where(mixed, turns, layers), noise)

    def forward(self, draws: Draws) -> Float[Tensor, "N 3 H W"]:
        w = self.mapping(draws.latents.flatten(0, 1)).unflatten(0, (-1, 2))  # N 2 D
        if self.training:
            mean = cast(Tensor, self.mean_style)
            mean.lerp_(w[:, 0].detach().mean(0), 1 - MEAN_DECAY)
        second = torch.arange(len(self.layers), device=w.device) >= draws.turn[:, None]  # N L
        return self.synthesis(torch.where(second[..., None], w[:, 1:], w[:, :1]), draws.noise)

    def synthesis(
        self, styles: Float[Tensor, "N L D"], noise: Sequence[Float[Tensor, "_ 1 _ _"]]
    ) -> Float[Tensor, "N 3 H W"]:
        """Return images from the w and the noise of each layer; one noise may serve all images."""
        x = self.constant.expand(len(styles), -1, -1, -1)
        for number, layer in enumerate(self.layers):
            x = layer(x, styles[:, number], noise[number])
        return self.to_rgb(x)

    def styles(self, latents: Float[Tensor, "N D"], truncation: float | int | None) -> Float[Tensor, "N L D"]:
        """Return the w of each layer, in the first ones truncated by a factor psi, 0 to 1, of the way from the mean."""
        w = self.mapping(latents)[:, None].expand(-1, len(self.layers), -1)
        if truncation is None:
            return w
        mean = cast(Tensor, self.mean_style)
        reached = torch.arange(len(self.layers), device=w.device)[:, None] < TRUNCATED_LAYERS
        return torch.where(reached, torch.lerp(mean, w, float(truncation)), w)

    def codes(self, seeds: Sequence[int], truncation: float | int | None) -> Float[Tensor, "N LD"]:
        """Return the w of all layers in a row, which is what interpolation walks between."""
        weight = self.constant
        latents = normal_latents(self.latent, seeds, device=weight.device).to(weight.dtype)
        return self.styles(latents, truncation).flatten(1)

    def render(self, codes: Float[Tensor, "N LD"]) -> Float[Tensor, "N 3 H W"]:
        weight = self.constant
        fixed = [
            seeded_normal((1, side, side), [number], device=weight.device, dtype=weight.dtype)
            for number, side in enumerate(self.sides)
        ]
        return self.synthesis(codes.unflatten(1, (len(self.layers), self.latent)), fixed)


class BlurringDiscriminator(Discriminator):
    """ProGAN's discriminator of one size, which smooths maps before it halves them."""

    def reduced(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        return halved(blurred(x))


@builder
def stylegan(
    *,
    size: tuple[int, int] = (1024, 1024),
    latent: int = 512,
    width: int = 16,
    most: int = 512,
    mapping_layers: int = MAPPING_LAYERS,
    loss: Literal["non_saturating", "wasserstein"] = "non_saturating",
    r1: float = 10.0,
    critic_turns: int = 1,
) -> Wgan:
    """Build StyleGAN.

    Args:
        size: (H, W) of the images: square, a power of two from 8.
        latent: length of z and w.
        width: channels of the last layers; those of half the side have twice as many.
        most: channels of a layer at most.
        mapping_layers: from z to w.
        loss: of the players; the Wasserstein one has ProGAN's penalties.
        r1: weight of the gradient penalty at real pictures, of the non-saturating loss.
        critic_turns: of the discriminator for one of the generator.
    """
    channels = channels_of(size, width, most)
    players = (Generator(latent, channels, mapping_layers), BlurringDiscriminator(channels, grows=False))
    wasserstein = WassersteinCriterion(penalty=PENALTY, drift=DRIFT)
    criterion = AdversarialCriterion(r1=r1) if loss == "non_saturating" else wasserstein
    return Wgan(*players, criterion, signed(size), turns=critic_turns, clip=None)


stylegan_tiny = with_defaults(
    stylegan,
    "stylegan_tiny",
    "32 pixels, 0.3 M parameters in both; small discriminators overlook lost modes, a critic with three turns does not",
    size=(32, 32),
    latent=64,
    width=8,
    most=64,
    loss="wasserstein",
    critic_turns=3,
)
