"""VGG: nothing but 3x3 convolutions between max-pools, in four depths, with batch normalisation or without.

Simonyan & Zisserman 2015 (arXiv 1409.1556), notes 2.1 (what GoogLeNet saves on) and 2.2.1 (what ResNet is built after).

    images   B 3 H W
    stages   B 64 H W, B 128 H/2 W/2, B 256 H/4 W/4, B 512 H/8 W/8, B 512 H/16 W/16
             one to four 3x3 convolutions each, with ReLU; a 2x2 max-pool of stride 2 behind each
    maps     those five, each before its pool, and the last one after it: B 512 H/32 W/32
    head     B K                average to 7x7, flatten, two hidden layers of 4096, linear

Two 3x3 convolutions see 5x5 pixels, three see 7x7, at 18/25 and 27/49 of the cost (vidi.ops.receptive_field).

Differs from the paper: its A, B, D and E only (VGG-11, 13, 16, 19; not the 1x1 convolutions of C); the deep ones are
not started from a trained A but with He's initialisation, as torchvision's are; the head averages maps of other sizes
to 7x7. Batch normalisation is later than the paper; the convolutions before it keep their biases, as torchvision's do.
"""

from dataclasses import dataclass
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.alexnet import FlattenedHead
from vidi.backbones.classifier import image_preprocess, supervised_classifier
from vidi.backbones.trunk import Backbone, Maps
from vidi.model import Supervised, of_family
from vidi.nn.normalization import NormLayer, norm_layer

FULL_WIDTH = 64  # channels of the first stage
MULTIPLES = (1, 2, 4, 8, 8)  # of it, in the stages


@dataclass(frozen=True)
class Variant:
    """What tells the networks of the family apart."""

    convolutions: tuple[int, int, int, int, int]  # in the stages
    batch_norm: bool = False
    eps: float = 1e-5
    momentum: float = 0.1
    std: float = 0.01  # of the initial weights of linear layers


VARIANTS: dict[str, Variant] = {  # table 1
    "vgg11": Variant((1, 1, 2, 2, 2)),
    "vgg13": Variant((2, 2, 2, 2, 2)),
    "vgg16": Variant((2, 2, 3, 3, 3)),
    "vgg19": Variant((2, 2, 4, 4, 4)),
    "vgg11_bn": Variant((1, 1, 2, 2, 2), batch_norm=True),
    "vgg13_bn": Variant((2, 2, 2, 2, 2), batch_norm=True),
    "vgg16_bn": Variant((2, 2, 3, 3, 3), batch_norm=True),
    "vgg19_bn": Variant((2, 2, 4, 4, 4), batch_norm=True),
}


class Vgg(Backbone):
    """Images to six maps, finest first: of each stage before its pool, and the last one after it.

    Attributes:
        layers: convolutions, norms, ReLUs and pools in one row.
    """

    strides = (1, 2, 4, 8, 16, 32)

    def __init__(self, convolutions: tuple[int, ...], *, norm: NormLayer | None = None, width: int = FULL_WIDTH):
        super().__init__()
        if width < 1:
            raise ValueError(f"received width={width}, expected at least 1 channel")
        layers: list[nn.Module] = []
        in_channels = 3
        for count, multiple in zip(convolutions, MULTIPLES, strict=True):
            for _ in range(count):
                layers.append(nn.Conv2d(in_channels, width * multiple, 3, padding=1))
                layers += [] if norm is None else [norm(width * multiple)]
                layers.append(nn.ReLU(inplace=True))
                in_channels = width * multiple
            layers.append(nn.MaxPool2d(2, stride=2))
        self.layers = nn.Sequential(*layers)
        self.channels = tuple(width * multiple for multiple in (*MULTIPLES, MULTIPLES[-1]))

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the six maps."""
        maps, x = [], images
        for layer in self.layers:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(x)
            x = layer(x)
        return *maps, x


def initialise(network: nn.Module, variant: Variant) -> None:
    """Draw convolutions from N(0, 2 / fan-out) (He et al. 2015), linear layers from N(0, std^2); biases start at 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=variant.std)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def trunk(name: str, *, width: int = FULL_WIDTH) -> Vgg:
    """Return a network of the family without its head, for other systems to build on.

    Args:
        name: a key of `VARIANTS`.
        width: channels of the first stage; fewer make the whole network narrower.

    Raises:
        ValueError: for an unknown name, or a width below 1.
    """
    network = _bare(name, width)
    initialise(network, VARIANTS[name])
    return network


def _bare(name: str, width: int) -> Vgg:
    if name not in VARIANTS:
        raise ValueError(f"received the name {name!r}, expected one of {', '.join(VARIANTS)}")
    variant = VARIANTS[name]
    norm = norm_layer("batch", eps=variant.eps, momentum=variant.momentum) if variant.batch_norm else None
    return Vgg(variant.convolutions, norm=norm, width=width)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def vgg(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    width: int = FULL_WIDTH,
    hidden: int = 4096,
    dropout: float = 0.5,
    smoothing: float = 0.0,
) -> Supervised:
    """Build a network of the family by its name in `VARIANTS`.

    Scores on ImageNet are those of torchvision's weights.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the shorter side to 256, then the central 224 x 224.
        width: channels of the first stage, 64 in the paper; fewer make the whole network narrower.
        hidden: units of each of the two hidden layers of the head.
        dropout: share of the hidden units that is dropped.
        smoothing: of the labels, in [0, 1).
    """
    head = partial(FlattenedHead, size=(7, 7), hidden=hidden, dropout=(0.0, dropout, dropout))
    model = supervised_classifier(
        _bare(name, width), categories, image_preprocess(size), head=head, smoothing=smoothing
    )
    initialise(model.network, VARIANTS[name])
    return model


vgg11 = of_family(vgg, "vgg11", "132.9 M parameters, ImageNet top-1 69.0 %")
vgg13 = of_family(vgg, "vgg13", "133.0 M parameters, ImageNet top-1 69.9 %")
vgg16 = of_family(vgg, "vgg16", "138.4 M parameters, ImageNet top-1 71.6 %")
vgg19 = of_family(vgg, "vgg19", "143.7 M parameters, ImageNet top-1 72.4 %")
vgg11_bn = of_family(vgg, "vgg11_bn", "with batch normalisation, 132.9 M parameters, ImageNet top-1 70.4 %")
vgg13_bn = of_family(vgg, "vgg13_bn", "with batch normalisation, 133.1 M parameters, ImageNet top-1 71.6 %")
vgg16_bn = of_family(vgg, "vgg16_bn", "with batch normalisation, 138.4 M parameters, ImageNet top-1 73.4 %")
vgg19_bn = of_family(vgg, "vgg19_bn", "with batch normalisation, 143.7 M parameters, ImageNet top-1 74.2 %")
