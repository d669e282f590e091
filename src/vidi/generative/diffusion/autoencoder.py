"""The autoencoder of latent diffusion: pictures to small maps that look like noise of variance one, and back (8.3.7).

    picture  B 3 H W in [-1, 1]  -> encoder -> B 2z H/f W/f: mean and log variance of each number of the latent
    latent   B z H/f W/f         = mean + deviation e, with a slight pull towards N(0, I)
    picture  B 3 H W             <- decoder <- latent

Rombach et al. 2022, 2112.10752, appendix G; f = 2^(levels - 1). With the right numbers it is `AutoencoderKL` of
diffusers. Training compares pixels (L1) and, where an extractor of features is given, what it sees of both pictures;
the divergence from N(0, I) weighs 1e-6.

Diffusion takes the latent times `scale`, one over its deviation over the data, so that it has variance one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.generative.diffusion.blocks import Downsample, PlaceAttention, ResidualBlock, Upsample
from vidi.losses.diffusion import gaussian_kl
from vidi.model import Losses, OneLoss, Step, widened
from vidi.preprocess import Batch, Preprocess

EPS = 1e-6
LOWEST, HIGHEST = -30.0, 20.0
"""Within which the logarithm of a variance is kept."""


class LatentLaw(NamedTuple):
    """The normal law of the latent of a picture, each number by itself."""

    mean: Float[Tensor, "B Z h w"]
    log_variance: Float[Tensor, "B Z h w"]

    def draw(self, noise: Float[Tensor, "B Z h w"]) -> Float[Tensor, "B Z h w"]:
        """Return mean + deviation e."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def divergence(self) -> Float[Tensor, " B"]:
        """Return KL(law, N(0, I)) of each picture, in nats."""
        return gaussian_kl(self.mean, self.log_variance.exp(), torch.zeros_like(self.mean), 1.0)


@dataclass(frozen=True, kw_only=True)
class AutoencoderSizes:
    """The numbers of an autoencoder.

    Attributes:
        channels: of each level, the finest first; each but the last halves the size.
        latent: channels of the latent, z.
        blocks: residual blocks of a level of the encoder; the decoder has one more.
        groups: of the norms.
        attends: whether the smallest maps have attention, of one head.
    """

    channels: tuple[int, ...] = (128, 256, 512, 512)
    latent: int = 4
    blocks: int = 2
    groups: int = 32
    attends: bool = True

    def block(self, in_channels: int, out_channels: int) -> ResidualBlock:
        """Return a residual block, which knows no time."""
        return ResidualBlock(in_channels, out_channels, groups=self.groups, eps=EPS)

    def norm(self, channels: int) -> nn.GroupNorm:
        """Return a norm."""
        return nn.GroupNorm(self.groups, channels, EPS)


class Centre(nn.Module):
    """Residual block, attention of one head, residual block."""

    def __init__(self, sizes: AutoencoderSizes):
        super().__init__()
        width = sizes.channels[-1]
        self.blocks = nn.ModuleList(sizes.block(width, width) for _ in range(2))
        self.attention = PlaceAttention(width, 1, groups=sizes.groups, eps=EPS) if sizes.attends else nn.Identity()

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        return self.blocks[1](self.attention(self.blocks[0](x)))


class Scale(nn.Module):
    """Residual blocks of one size, then the way to the next or none."""

    def __init__(self, blocks: Sequence[nn.Module], resize: nn.Module | None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.resize = nn.Identity() if resize is None else resize

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        for block in self.blocks:
            x = block(x)
        return self.resize(x)


class Encoder(nn.Module):
    """Pictures to two numbers for each of the latent."""

    def __init__(self, sizes: AutoencoderSizes, colours: int):
        super().__init__()
        channels = sizes.channels
        self.conv_in = nn.Conv2d(colours, channels[0], 3, padding=1)
        self.down = nn.ModuleList()
        before = channels[0]
        for level, width in enumerate(channels):
            blocks = [sizes.block(before if k == 0 else width, width) for k in range(sizes.blocks)]
            is_last = level == len(channels) - 1
            self.down.append(Scale(blocks, None if is_last else Downsample(width, symmetric=False)))
            before = width
        self.middle = Centre(sizes)
        self.norm_out = sizes.norm(channels[-1])
        self.conv_out = nn.Conv2d(channels[-1], 2 * sizes.latent, 3, padding=1)

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        x = self.conv_in(pictures)
        for scale in self.down:
            x = scale(x)
        return self.conv_out(F.silu(self.norm_out(self.middle(x))))


class Decoder(nn.Module):
    """Latents to pictures."""

    def __init__(self, sizes: AutoencoderSizes, colours: int):
        super().__init__()
        channels = sizes.channels
        self.conv_in = nn.Conv2d(sizes.latent, channels[-1], 3, padding=1)
        self.middle = Centre(sizes)
        self.up = nn.ModuleList()
        before = channels[-1]
        for level, width in reversed(list(enumerate(channels))):
            blocks = [sizes.block(before if k == 0 else width, width) for k in range(sizes.blocks + 1)]
            self.up.append(Scale(blocks, None if level == 0 else Upsample(width)))
            before = width
        self.norm_out = sizes.norm(channels[0])
        self.conv_out = nn.Conv2d(channels[0], colours, 3, padding=1)

    def forward(self, latents: Float[Tensor, "B Z h w"]) -> Float[Tensor, "B C H W"]:
        x = self.middle(self.conv_in(latents))
        for scale in self.up:
            x = scale(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class AutoencoderNetwork(nn.Module):
    """Encoder and decoder, with a 1 x 1 convolution on each side of the latent.

    Args:
        sizes: of both.
        colours: channels of pictures.
        log_variance: of the latents, about, before any training. At 0, the published start, noise of deviation one
            drowns what the means say, and a short training goes by until it is quiet.
    """

    def __init__(self, sizes: AutoencoderSizes, colours: int = 3, log_variance: float = 0.0):
        super().__init__()
        self.sizes = sizes
        self.encoder = Encoder(sizes, colours)
        self.to_law = nn.Conv2d(2 * sizes.latent, 2 * sizes.latent, 1)
        cast(Tensor, self.to_law.bias).data[sizes.latent :] += log_variance
        self.from_latent = nn.Conv2d(sizes.latent, sizes.latent, 1)
        self.decoder = Decoder(sizes, colours)

    @property
    def factor(self) -> int:
        """f: how much smaller the latent is."""
        return 2 ** (len(self.sizes.channels) - 1)

    def encode(self, pictures: Float[Tensor, "B C H W"]) -> LatentLaw:
        """Return the law of the latents of pictures in [-1, 1] whose sides f divides.

        Raises:
            ValueError: for other sizes.
        """
        if any(side % self.factor for side in pictures.shape[2:]):
            raise ValueError(f"received pictures {tuple(pictures.shape)}, expected sides that {self.factor} divides")
        mean, log_variance = self.to_law(self.encoder(pictures)).chunk(2, 1)
        return LatentLaw(mean, log_variance.clamp(LOWEST, HIGHEST))

    def decode(self, latents: Float[Tensor, "B Z h w"]) -> Float[Tensor, "B C H W"]:
        """Return the pictures of latents."""
        return self.decoder(self.from_latent(latents))

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the pictures of the mean latents."""
        return self.decode(self.encode(pictures).mean)


Features = Callable[[Float[Tensor, "B C H W"]], Sequence[Float[Tensor, "B D h w"]]]
"""Pictures in [-1, 1] to maps, of one layer or several."""


def perceptual_distance(one: Sequence[Tensor], other: Sequence[Tensor], eps: float = 1e-10) -> Float[Tensor, ""]:
    """Return how far apart two pictures are to an extractor (Zhang et al. 2018, 1801.03924, equation 1, unweighted).

    The squared difference of the features of each place, which are brought to length one; the mean over places and
    pictures, the sum over layers.
    """
    total = one[0].new_zeros(())
    for a, b in zip(one, other, strict=True):
        a, b = (x / (x.square().sum(1, keepdim=True).sqrt() + eps) for x in (a, b))
        total = total + (a - b).square().sum(1).mean()
    return total


class AutoencoderCriterion:
    """Pixels, features, and the divergence of the latents from N(0, I).

    Args:
        divergence: weight of the divergence, of its sum over a picture's latent over the number of its pixels' values.
        perceptual: weight of the distance of features.
        features: of an extractor that is not trained; None: pixels alone are compared.
    """

    def __init__(self, divergence: float = 1e-6, perceptual: float = 1.0, features: Features | None = None):
        self.divergence, self.perceptual, self.features = divergence, perceptual, features

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        network = cast(AutoencoderNetwork, network)
        law = network.encode(batch.images)
        noise = torch.randn(law.mean.shape, generator=step.generator, device=law.mean.device, dtype=law.mean.dtype)
        return self.compare(network.decode(law.draw(noise)), law, batch.images)

    def compare(self, found: Float[Tensor, "B C H W"], law: LatentLaw, pictures: Float[Tensor, "B C H W"]) -> Losses:
        """Return the losses of decoded pictures."""
        with torch.autocast(pictures.device.type, enabled=False):
            found, law = widened(found), LatentLaw(*widened(tuple(law)))
            losses = {
                "pixels": F.l1_loss(found, pictures),
                "divergence": self.divergence * law.divergence().mean() / pictures[0].numel(),
            }
            if self.features is not None:
                seen = perceptual_distance(self.features(found), self.features(pictures))
                losses["perceptual"] = self.perceptual * seen
            return losses


class Autoencoder(OneLoss):
    """Pictures to latents and back."""

    def __init__(self, network: AutoencoderNetwork, criterion: AutoencoderCriterion, preprocess: Preprocess):
        super().__init__(network, criterion, preprocess)

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return pictures in [-1, 1] as the mean of their latents keeps them."""
        return widened(self.network(pictures))
