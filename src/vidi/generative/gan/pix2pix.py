"""From grey to colour: an adversarial loss where there is a truth (Isola et al. 2017, arXiv 1611.07004; notes 8.2).

    grey   B 1 H W          -> U-Net generator, maps halved to 1 x 1 and doubled again        colours B 3 H W
    grey and colours B 4    -> patch discriminator: 4 x 4 convolutions of stride 2, 2, 2, 1, 1      logits B h w

    generator       -mean log D(x, G(x)) + 100 mean |y - G(x)|
    discriminator   half of -mean log D(x, y) - mean log(1 - D(x, G(x)))

The truth y is the picture itself, x its luminance, so that any pictures train it. A logit sees a patch of 70 pixels.
Noise comes in as dropout of one half in the generator's first three decoders, in training only. Batch norms, leaky ReLU
of slope 0.2 on the way down and in the discriminator; weights from N(0, 0.02). Adam, 0.0002, beta1 = 0.5, batches of 1.

Differs from the paper: dropout ends with the training, and batch norms then use their running statistics, so that a
picture has one colouring, whatever its batch; colours are RGB, where the authors' example of colouring has Lab.
"""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.generative.gan.dcgan import SLOPE, initialise
from vidi.generative.gan.players import doublings_of
from vidi.losses.adversarial import discriminator_loss, generator_loss
from vidi.model import Adversarial, Losses, Predicts, Step, builder, with_defaults
from vidi.preprocess import AnyBatch, Batch, signed
from vidi.results.coloured_picture import ColouredPicture

LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601)."""

NARROWEST = 8
"""A map's channels are at most so many times those of the first one."""

DROPPED = 3
"""Decoders with dropout."""


def grey_of(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 H W"]:
    """Return the luminance of pictures, in the range of their colours."""
    return (images * images.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)


class Generator(nn.Module):
    """Grey pictures to colours, with the map of each encoder beside that of the decoder of its size."""

    def __init__(self, levels: int, width: int):
        super().__init__()
        channels = [width * min(2**level, NARROWEST) for level in range(levels)]
        self.down = nn.ModuleList(
            nn.Sequential(
                *([] if level == 0 else [nn.LeakyReLU(SLOPE)]),
                nn.Conv2d(inside, outside, 4, 2, 1),
                *([] if level in (0, levels - 1) else [nn.BatchNorm2d(outside)]),
            )
            for level, (inside, outside) in enumerate(pairwise([1, *channels]))
        )
        up = []
        for level in reversed(range(levels)):
            inside = channels[level] * (1 if level == levels - 1 else 2)
            last = level == 0
            outside = 3 if last else channels[level - 1]
            dropped = not last and levels - 1 - level < DROPPED
            up.append(
                nn.Sequential(
                    nn.ReLU(),
                    nn.ConvTranspose2d(inside, outside, 4, 2, 1),
                    *([nn.Tanh()] if last else [nn.BatchNorm2d(outside)]),
                    *([nn.Dropout(0.5)] if dropped else []),
                )
            )
        self.up = nn.ModuleList(up)
        initialise(self)

    def forward(self, grey: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B 3 H W"]:
        maps = [grey]
        for encoder in self.down:
            maps.append(encoder(maps[-1]))
        x = maps.pop()
        for number, decoder in enumerate(self.up):
            x = decoder(x if number == 0 else torch.cat([x, maps.pop()], 1))
        return x


class PatchDiscriminator(nn.Module):
    """Grey pictures and their colours to a logit of each patch."""

    def __init__(self, width: int):
        super().__init__()
        channels = [4, width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = []
        for level, (inside, outside) in enumerate(pairwise(channels)):
            layers.append(nn.Conv2d(inside, outside, 4, 2 if level < 3 else 1, 1))
            layers += [nn.BatchNorm2d(outside)] if level else []
            layers.append(nn.LeakyReLU(SLOPE))
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, 4, 1, 1))
        initialise(self)

    def forward(self, grey: Float[Tensor, "B 1 H W"], colours: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B h w"]:
        return self.layers(torch.cat([grey, colours], 1)).squeeze(1)


class ColourCriterion:
    """The loss of each player; the truth is the picture.

    Args:
        l1: weight of the distance from the truth; the adversarial loss has 1.
    """

    def __init__(self, l1: float | int):
        self.l1 = l1

    def of_discriminator(self, generator: nn.Module, discriminator: nn.Module, batch: Batch, step: Step) -> Losses:
        grey = grey_of(batch.images)
        with torch.no_grad():
            made = generator(grey)
        real, generated = discriminator(grey, batch.images).flatten(), discriminator(grey, made).flatten()
        return {"adversarial": discriminator_loss(real, generated) / 2}

    def of_generator(self, generator: nn.Module, discriminator: nn.Module, batch: Batch, step: Step) -> Losses:
        grey = grey_of(batch.images)
        made = generator(grey)
        adversarial = generator_loss(discriminator(grey, made).flatten())
        return {"adversarial": adversarial, "l1": self.l1 * F.l1_loss(made, batch.images)}


class Colouriser(Adversarial, Predicts):
    """Gives a picture colours from its luminance alone."""

    def predict_batch(self, batch: AnyBatch) -> list[Any]:
        images = batch.to(self.device).inputs[0]
        made = (self.generator(grey_of(images)) + 1) / 2
        given = (images + 1) / 2
        return [
            ColouredPicture(*(placement.map_to_original(picture) for picture in pair))
            for *pair, placement in zip(made, given, batch.placements, strict=True)
        ]


@builder
def pix2pix_colours(*, size: tuple[int, int] = (256, 256), width: int = 64, l1: float = 100.0) -> Colouriser:
    """Build the network that colours grey pictures.

    Args:
        size: (H, W) of what the network sees: square, a power of two from 32; results have the picture's own.
        width: channels of the first maps.
        l1: weight of the distance from the truth.
    """
    levels = doublings_of(size, first=1, least=32)
    return Colouriser(Generator(levels, width), PatchDiscriminator(width), ColourCriterion(l1), signed(size))


pix2pix_colours_tiny = with_defaults(
    pix2pix_colours, "pix2pix_colours_tiny", "64 pixels, 1.1 M parameters in both", size=(64, 64), width=12
)
