"""ArcFace: a residual network whose vectors lie on a sphere, each at least an angle nearer to its own template.

    images    B 3 112 112
    stem      B 64 112 112        3x3 convolution, norm, PReLU
    stages    B 64 56 56, B 128 28 28, B 256 14 14, B 512 7 7        improved residual blocks
    head      B 512               norm, dropout, linear, norm (the paper's option E)
    loss      cross-entropy of s cos(theta_y + m) and s cos(theta_k), one template for each identity of the training

Deng, Guo, Xue, Zafeiriou 2019 (arXiv 1801.07698), section 3.1; notes 7.2.3. A block is norm, convolution, norm, PReLU,
convolution of the stride, norm: `vidi.losses.embedding.arcface_loss` has the loss.

Differs from the notes: there is a scale s = 64, and the margin has a way out beyond pi (C7.8). On few people a scale of
about 30 trains more evenly: `scale=30`.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.trunk import Backbone, Maps
from vidi.embedding.criterion import TemplateCriterion
from vidi.embedding.vectors import EmbeddingDecode, EmbeddingModel, EmbeddingNetwork
from vidi.losses.embedding import arcface_loss
from vidi.model import of_family
from vidi.preprocess import HALF, Preprocess

FULL_WIDTH = 64
LEAST_WIDTH = 16  # a 1x1 convolution of stride 2 over fewer channels, channels last, corrupts memory in torch 2.14
STRIDE = 16  # of the last map
EPS, MOMENTUM = 1e-5, 0.1


class ImprovedBlock(nn.Module):
    """Norm, 3x3 convolution, norm, PReLU, 3x3 convolution of the stride, norm; beside them the map itself."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=EPS, momentum=MOMENTUM)
        self.layers = nn.Sequential(
            norm(in_channels),
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            norm(channels),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False),
            norm(channels),
        )
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or in_channels != channels:
            self.skip = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), norm(channels))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return self.layers(x) + self.skip(x)


class ImprovedResNet(Backbone):
    """Images to four maps, finest first.

    Args:
        blocks: of each stage.
        width: channels of the first stage.
    """

    strides = (2, 4, 8, STRIDE)

    def __init__(self, blocks: tuple[int, ...], width: int):
        super().__init__()
        self.channels = tuple(width * 2**stage for stage in range(len(blocks)))
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width, eps=EPS, momentum=MOMENTUM),
            nn.PReLU(width),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                ImprovedBlock(before, channels, 2), *(ImprovedBlock(channels, channels, 1) for _ in range(1, count))
            )
            for count, (before, channels) in zip(blocks, pairwise((width, *self.channels)), strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the four maps."""
        x, maps = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return tuple(maps)


def option_e(channels: int, positions: int, dimensions: int, dropout: float) -> nn.Module:
    """Return the head of the paper's option E: norm, dropout, a linear layer over all positions, norm."""
    return nn.Sequential(
        nn.BatchNorm2d(channels, eps=EPS, momentum=MOMENTUM),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(channels * positions, dimensions),
        nn.BatchNorm1d(dimensions, eps=EPS, momentum=MOMENTUM),
    )


@dataclass(frozen=True)
class Variant:
    """How many blocks the four stages have."""

    blocks: tuple[int, int, int, int]


VARIANTS: dict[str, Variant] = {  # the authors' code; section 3.1 has those of 50 and 100 layers
    "arcface_resnet18": Variant((2, 2, 2, 2)),
    "arcface_resnet50": Variant((3, 4, 14, 3)),
    "arcface_resnet100": Variant((3, 13, 30, 3)),
}


def arcface(
    name: str,
    *,
    identities: int = 100,
    size: tuple[int, int] = (112, 112),
    width: int = FULL_WIDTH,
    dimensions: int = 512,
    dropout: float = 0.4,
    margin: float = 0.5,
    scale: float = 64.0,
    aligned: bool = False,
) -> EmbeddingModel:
    """Build a network of the family by its name in `VARIANTS`.

    Args:
        identities: that the training has, each with a template. A training says its own.
        size: (H, W) that every image is resized to, multiples of 16.
        width: channels of the first stage, at least 16.
        dimensions: D, of the vectors.
        dropout: of the last map.
        margin: m, radians.
        scale: s.
        aligned: turn faces upright by five keypoints: those of the data set, or what `face_landmarks_tiny` finds.
    """
    if size[0] % STRIDE or size[1] % STRIDE:
        raise ValueError(f"received size={size}, expected multiples of {STRIDE}")
    if width < LEAST_WIDTH:
        raise ValueError(f"received width={width}, expected at least {LEAST_WIDTH}")
    backbone = ImprovedResNet(VARIANTS[name].blocks, width)
    positions = (size[0] // STRIDE) * (size[1] // STRIDE)
    head = option_e(backbone.channels[-1], positions, dimensions, dropout)
    network = EmbeddingNetwork(backbone, head, normalize=True)
    loss = partial(arcface_loss, margin=margin, scale=scale)
    criterion = TemplateCriterion(loss, identities, dimensions, name="arcface")
    preprocess = Preprocess(exact=size, mean=HALF, std=HALF, aligned=aligned)  # section 3.1: -127.5, then / 128
    return EmbeddingModel(network, criterion, preprocess, EmbeddingDecode())


arcface_resnet18 = of_family(arcface, "arcface_resnet18", "24.0 M parameters")
arcface_resnet50 = of_family(arcface, "arcface_resnet50", "43.6 M parameters")
arcface_resnet100 = of_family(arcface, "arcface_resnet100", "65.2 M parameters")
