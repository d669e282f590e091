"""AlexNet: five convolutions, three linear layers.

Krizhevsky et al. 2012 ("ImageNet classification with deep convolutional neural networks") and Krizhevsky 2014 (arXiv
1404.5997); notes 2.1, where its head is what global average pooling replaces, and 4.3, where detectors stand on it.

    images          B 3 H W
    convolutions    B 64 H/4 W/4 (11x11 of stride 4), pool, B 192 H/8 W/8 (5x5), pool, B 384, B 256, B 256 H/16 W/16
    last pool       B 256 H/32 W/32      every max-pool is 3x3 with stride 2
    head            B K                  average to 6x6, flatten, two hidden layers of 4096, linear

`alexnet` is the narrow network of 2014, as torchvision has it. `alexnet_2012` is the one that won: 96, 256, 384, 384
and 256 channels, half of them on each of two GPUs, which exchange maps before the third convolution only (groups of 2
in convolutions 2, 4 and 5); local response norms behind convolutions 1 and 2. `alexnet_ungrouped` is the same network
in one tower, without groups, for 227 pixels without border: what the notes count the costs of R-CNN with (table 4.1).

Differs from the paper: 224 pixels get a border of 2 in the first convolution (the paper has 224 but counts 227), and
images are normalised by mean and deviation. `stem="small"`, 5x5 without stride, is for images of 28 to 64 pixels.
"""

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import image_preprocess, supervised_classifier
from vidi.backbones.trunk import Backbone, Maps, Stem
from vidi.model import Supervised, of_family

FULL_WIDTH = 64  # channels of the first convolution of `alexnet`; the wide networks have 96 for it
FEATURE_SIZE = (6, 6)  # H, W of the last map of 224 or 227 pixels, which the head flattens


@dataclass(frozen=True)
class Variant:
    """What tells the networks apart."""

    channels: tuple[int, int, int, int, int]  # of the convolutions
    groups: tuple[int, int, int, int, int]
    response_norm: tuple[int, float, float, float] | None  # n, alpha, beta, k of the paper, section 3.3
    dropout: tuple[float, float, float]  # of the flattened map, of the first and the second hidden layer
    std: float | None  # of the initial weights; None: torch's own
    ones: tuple[int, ...] = ()  # the convolutions whose biases start at 1, as those of the hidden layers do
    border: int = 2  # pixels around the image
    crop: int = 224  # side of the images that the network is made for


VARIANTS: dict[str, Variant] = {
    "alexnet": Variant((64, 192, 384, 256, 256), (1, 1, 1, 1, 1), None, dropout=(0.5, 0.5, 0.0), std=None),
    "alexnet_2012": Variant(
        (96, 256, 384, 384, 256),
        (1, 2, 1, 2, 2),
        (5, 1e-4, 0.75, 2.0),
        dropout=(0.0, 0.5, 0.5),
        std=0.01,
        ones=(2, 4, 5),
    ),
    "alexnet_ungrouped": Variant(
        (96, 256, 384, 384, 256),
        (1, 1, 1, 1, 1),
        (5, 1e-4, 0.75, 2.0),
        dropout=(0.0, 0.5, 0.5),
        std=0.01,
        ones=(2, 4, 5),
        border=0,
        crop=227,
    ),
}


def response_norm(n: int, alpha: float, beta: float, k: float) -> nn.Module:
    """Return local response normalisation, b_i = a_i / (k + alpha sum a_j^2)^beta over n neighbouring channels.

    The equation is that of section 3.3; torch's layer (and Caffe's) divides alpha by n.
    """
    return nn.LocalResponseNorm(n, alpha=alpha * n, beta=beta, k=k)


class AlexNet(Backbone):
    """Images to four maps, finest first: of convolutions 1, 2 and 5, and of the last pool."""

    def __init__(self, variant: Variant, *, stem: Stem = "imagenet", width: int = FULL_WIDTH):
        super().__init__()
        if stem not in ("imagenet", "small"):
            raise ValueError(f"received stem={stem!r}, expected 'imagenet' or 'small'")
        if width < 8:
            raise ValueError(f"received width={width}, expected at least 8")
        c1, c2, c3, c4, c5 = (count * width // FULL_WIDTH for count in variant.channels)
        g1, g2, g3, g4, g5 = variant.groups
        kernel, stride, padding = (11, 4, variant.border) if stem == "imagenet" else (5, 1, 2)
        self.conv1 = nn.Conv2d(3, c1, kernel, stride, padding=padding, groups=g1)
        self.conv2 = nn.Conv2d(c1, c2, 5, padding=2, groups=g2)
        self.conv3 = nn.Conv2d(c2, c3, 3, padding=1, groups=g3)
        self.conv4 = nn.Conv2d(c3, c4, 3, padding=1, groups=g4)
        self.conv5 = nn.Conv2d(c4, c5, 3, padding=1, groups=g5)
        self.norm = nn.Identity() if variant.response_norm is None else response_norm(*variant.response_norm)
        self.pool = nn.MaxPool2d(3, stride=2)
        self.channels = (c1, c2, c5, c5)
        self.strides = (4, 8, 16, 32) if stem == "imagenet" else (1, 2, 4, 8)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the four maps, all but the last before norm and pool."""
        first = F.relu(self.conv1(images), inplace=True)
        second = F.relu(self.conv2(self.pool(self.norm(first))), inplace=True)
        x = F.relu(self.conv3(self.pool(self.norm(second))), inplace=True)
        x = F.relu(self.conv4(x), inplace=True)
        fifth = F.relu(self.conv5(x), inplace=True)
        return first, second, fifth, self.pool(fifth)


class FlattenedHead(nn.Module):
    """Average a map to a fixed size, flatten it, and classify it by three linear layers, as before global averaging."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        size: tuple[int, int],  # H, W of the averaged map; one of this size stays as it is
        hidden: int = 4096,
        dropout: tuple[float, float, float] = (0.0, 0.5, 0.5),  # of the map, of the first and the second hidden layer
    ):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(size)
        self.dropout0, self.dropout1, self.dropout2 = (nn.Dropout(rate) for rate in dropout)
        self.hidden1 = nn.Linear(channels * size[0] * size[1], hidden)
        self.hidden2 = nn.Linear(hidden, hidden)
        self.linear = nn.Linear(hidden, outputs)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        flat = self.dropout0(self.pool(x).flatten(1))  # B C*h*w
        first = self.dropout1(F.relu(self.hidden1(flat), inplace=True))
        second = self.dropout2(F.relu(self.hidden2(first), inplace=True))
        return self.linear(second)


def initialise(network: nn.Module, variant: Variant) -> None:
    """Draw weights as the variant has it; the paper's biases of 1 give ReLUs something positive to start from."""
    if variant.std is None:
        return
    ones = {f"conv{number}" for number in variant.ones} | {"hidden1", "hidden2"}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=variant.std)
            if module.bias is not None:
                nn.init.constant_(module.bias, float(name.rpartition(".")[2] in ones))


def trunk(name: str = "alexnet", *, stem: Stem = "imagenet", width: int = FULL_WIDTH) -> AlexNet:
    """Return a network without its head, for other systems to build on.

    Args:
        name: a key of `VARIANTS`.
        stem: "imagenet", or "small" for images of 28 to 64 pixels (strides 1, 2, 4, 8).
        width: 64; fewer (at least 8) make all layers narrower in proportion.

    Raises:
        ValueError: for another name or stem, or a width below 8.
    """
    if name not in VARIANTS:
        raise ValueError(f"received the name {name!r}, expected one of {', '.join(VARIANTS)}")
    network = AlexNet(VARIANTS[name], stem=stem, width=width)
    initialise(network, VARIANTS[name])
    return network


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def classifier(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    width: int = FULL_WIDTH,
    hidden: int = 4096,
    smoothing: float = 0.0,
) -> Supervised:
    """Build a network of the family by its name in `VARIANTS`.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the shorter side to 256, then the central 224 x 224, or
            227 x 227 without a border.
        stem: "imagenet", or "small" for images of 28 to 64 pixels.
        width: 64; fewer (at least 8) make all layers narrower in proportion.
        hidden: units of each of the two hidden layers of the head.
        smoothing: of the labels, in [0, 1).
    """
    variant = VARIANTS[name]
    head = partial(FlattenedHead, size=FEATURE_SIZE, hidden=hidden, dropout=variant.dropout)
    backbone = AlexNet(variant, stem=stem, width=width)
    preprocess = image_preprocess(size, crop=variant.crop)
    model = supervised_classifier(backbone, categories, preprocess, head=head, smoothing=smoothing)
    initialise(model.network, variant)
    return model


alexnet = of_family(
    classifier, "alexnet", "the network of 2014, 61.1 M parameters, ImageNet top-1 56.5 % with torchvision's weights"
)
alexnet_2012 = of_family(
    classifier, "alexnet_2012", "with two groups and response norms, 61.0 M parameters, ImageNet top-1 59.3 % (paper)"
)
alexnet_ungrouped = of_family(
    classifier, "alexnet_ungrouped", "the network of 2012 in one tower, for 227 pixels, 62.4 M parameters"
)
