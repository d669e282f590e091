"""GoogLeNet (Inception-v1): convolutions of three sizes side by side, behind 1x1 convolutions that make them cheap.

Szegedy et al. 2015 (arXiv 1409.4842), notes 2.1.

    images   B 3 H W
    stem     B 192 H/8 W/8      three convolutions (7x7 of stride 2, 1x1, 3x3) and two max-pools of stride 2
    stages   B 480 H/8 W/8 (modules 3a 3b), B 832 H/16 W/16 (4a to 4e), B 1024 H/32 W/32 (5a 5b)
    head     B K                global average, dropout, linear
    auxiliary heads             two more classifiers, on 4a and 4d: B K each, for training only

Differs from the notes: in the fourth branch the pool comes before its 1x1 convolution; the five layers of the stem are
three convolutions and two pools. Differs from the paper: batch normalisation, which came a year later, unless
`norm="response"`; auxiliary heads cut maps of any size into 4x4 windows, which are the paper's on its 14x14 pixels.
`form="torchvision"` has what torchvision trained instead: 3x3 in the place of 5x5 convolutions, a 2x2 pool before 5a,
adaptive windows in the auxiliary heads. `stem="small"`, a 3x3 convolution without stride or pool, is for small images.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.classifier import (
    ClassificationCriterion,
    ClassificationDecode,
    Classifier,
    GlobalAverageHead,
    Logits,
    MakeHead,
    image_preprocess,
    supervised_classifier,
)
from vidi.backbones.trunk import Backbone, Maps, Stem
from vidi.model import Losses, Step, Supervised, builder, in_float32, widened
from vidi.nn.branches import IMAGE_CHANNELS, Branches, ConvUnit
from vidi.nn.normalization import norm_layer
from vidi.preprocess import Batch, Preprocess
from vidi.results.categories import category_names

Form = Literal["paper", "torchvision"]
Normalisation = Literal["batch", "frozen", "response"]
Pool = Literal["max", "l2"]


# ----------------------------------------------------------------------------------------------------------------------
# Inception modules


class L2Pool(nn.Module):
    """Take the Euclidean norm of each channel over 3x3 pixels, zeros beyond the border (Schroff et al. 2015, NN2).

    Where a window holds zeros only, as behind a ReLU many do, the root has no slope; there the gradient is 0.
    """

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        squares = 9 * F.avg_pool2d(widened(x).square(), 3, stride=1, padding=1)
        return squares.clamp(min=torch.finfo(torch.float32).tiny).sqrt()


def same_size_pool(pool: Pool) -> nn.Module:
    """Return the pool of the fourth branch, over 3x3 pixels with stride 1.

    Raises:
        ValueError: for another name.
    """
    if pool not in ("max", "l2"):
        raise ValueError(f"received pool={pool!r}, expected 'max' or 'l2'")
    return nn.MaxPool2d(3, stride=1, padding=1) if pool == "max" else L2Pool()


@dataclass(frozen=True)
class Widths:
    """Channels inside an inception module, in the order of the paper's table 1."""

    one: int  # 1x1
    reduce3: int  # 1x1 before the 3x3
    three: int  # 3x3
    reduce5: int  # 1x1 before the 5x5
    five: int  # 5x5
    pool: int  # 1x1 behind the pool

    @property
    def out(self) -> int:
        """The channels that the module gives."""
        return self.one + self.three + self.five + self.pool


class InceptionModule(Branches):
    """1x1; 1x1 and 3x3; 1x1 and 5x5; pool and 1x1: all keep the size (paper, figure 2b; notes figure 2.1)."""

    def __init__(
        self,
        in_channels: int,
        widths: Widths,
        *,
        unit: ConvUnit,
        largest: int = 5,  # kernel of the third branch
        pool: Pool = "max",
    ):
        super().__init__(
            unit(in_channels, widths.one),
            nn.Sequential(unit(in_channels, widths.reduce3), unit(widths.reduce3, widths.three, 3)),
            nn.Sequential(unit(in_channels, widths.reduce5), unit(widths.reduce5, widths.five, largest)),
            nn.Sequential(same_size_pool(pool), unit(in_channels, widths.pool)),
        )


class NaiveInceptionModule(Branches):
    """1x1, 3x3, 5x5 and pool side by side, without the 1x1 convolutions that reduce (paper, figure 2a).

    What the reductions save: without them 3a takes 303 million multiply-adds on 28x28x192 instead of 128 million, and
    each further module gets all channels of the last one on top of its own.
    """

    def __init__(self, in_channels: int, one: int, three: int, five: int, *, unit: ConvUnit, pool: Pool = "max"):
        super().__init__(
            unit(in_channels, one), unit(in_channels, three, 3), unit(in_channels, five, 5), same_size_pool(pool)
        )


# ----------------------------------------------------------------------------------------------------------------------
# Network


@dataclass(frozen=True)
class Variant:
    """What tells the paper's network from the one that torchvision trained."""

    largest: int  # kernel of the third branch
    last_pool: int  # kernel of the max-pool before 5a; its stride is 2
    adaptive: bool  # windows of the auxiliary heads: adaptive (they differ in size) or equal
    eps: float = 1e-3
    momentum: float = 0.1
    std: float = 0.01  # of the initial weights where norms follow
    bias: float = 0.2  # at the start, where they do not


VARIANTS: dict[str, Variant] = {
    "paper": Variant(largest=5, last_pool=3, adaptive=False),
    "torchvision": Variant(largest=3, last_pool=2, adaptive=True),
}

MODULES: dict[str, Widths] = {  # table 1
    "3a": Widths(64, 96, 128, 16, 32, 32),
    "3b": Widths(128, 128, 192, 32, 96, 64),
    "4a": Widths(192, 96, 208, 16, 48, 64),
    "4b": Widths(160, 112, 224, 24, 64, 64),
    "4c": Widths(128, 128, 256, 24, 64, 64),
    "4d": Widths(112, 144, 288, 32, 64, 64),
    "4e": Widths(256, 160, 320, 32, 128, 128),
    "5a": Widths(256, 160, 320, 32, 128, 128),
    "5b": Widths(384, 192, 384, 48, 128, 128),
}
FULL_WIDTH = 64  # channels of the first convolution in table 1
TAPS = ("4a", "4d")  # the modules with an auxiliary head
AUXILIARY_WEIGHT = 0.3


def halving_pool(kernel: int = 3) -> nn.Module:
    """Return a max-pool of stride 2 that rounds sizes up, as Caffe does."""
    return nn.MaxPool2d(kernel, stride=2, ceil_mode=True)


def response_norm() -> nn.Module:
    """Return the local response normalisation of the authors' time, with the numbers of the published Caffe model."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)


class GoogLeNetStem(nn.Module):
    """Bring images of 224 pixels to 28: convolution, pool, two convolutions, pool; with response norms in the paper."""

    def __init__(self, unit: ConvUnit, stem: Stem):
        super().__init__()
        if stem not in ("imagenet", "small"):
            raise ValueError(f"received stem={stem!r}, expected 'imagenet' or 'small'")
        imagenet = stem == "imagenet"
        self.conv1 = unit(IMAGE_CHANNELS, 64, 7, 2) if imagenet else unit(IMAGE_CHANNELS, 64, 3)
        self.pool1 = halving_pool() if imagenet else nn.Identity()
        self.norm1 = response_norm() if unit.norm is None else nn.Identity()
        self.conv2 = unit(64, 64)
        self.conv3 = unit(64, 192, 3)
        self.norm2 = response_norm() if unit.norm is None else nn.Identity()
        self.pool2 = halving_pool()

    def convolved(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Return the map of stride 4, before the last norm and the last pool."""
        return self.conv3(self.conv2(self.norm1(self.pool1(self.conv1(images)))))

    def pooled(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h2 w2"]:
        """Return the map of stride 8 from that of stride 4."""
        return self.pool2(self.norm2(x))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        return self.pooled(self.convolved(images))


class TappedBackbone(Backbone):
    """A backbone that also gives maps of its middle, for auxiliary heads."""

    def features_and_taps(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Maps, Maps]:
        """Return the maps, and those for the heads, nearest to the image first."""
        raise NotImplementedError


class GoogLeNet(TappedBackbone):
    """Images to four maps, finest first: of the stem's last convolution, and of modules 3b, 4e and 5b."""

    def __init__(self, variant: Variant, *, unit: ConvUnit, pool: Pool = "max", stem: Stem = "imagenet"):
        super().__init__()
        self.stem = GoogLeNetStem(unit, stem)
        in_channels = 192
        for name, widths in MODULES.items():
            module = InceptionModule(in_channels, widths, unit=unit, largest=variant.largest, pool=pool)
            self.add_module(f"inception{name}", module)
            in_channels = widths.out
        self.pool3 = halving_pool()
        self.pool4 = halving_pool(variant.last_pool)
        self.channels = tuple(unit.channels(count) for count in (192, *(MODULES[n].out for n in ("3b", "4e", "5b"))))
        self.strides = (4, 8, 16, 32) if stem == "imagenet" else (1, 2, 4, 8)

    def features_and_taps(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Maps, Maps]:
        """Return the four maps, and those of 4a and 4d for the auxiliary heads."""
        stem = self.stem.convolved(images)
        stage3 = self._run(self.stem.pooled(stem), "3a", "3b")
        tap1 = self._run(self.pool3(stage3), "4a")
        tap2 = self._run(tap1, "4b", "4c", "4d")
        stage4 = self._run(tap2, "4e")
        stage5 = self._run(self.pool4(stage4), "5a", "5b")
        return (stem, stage3, stage4, stage5), (tap1, tap2)

    def _run(self, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = getattr(self, f"inception{name}")(x)
        return x

    def features(self, images: Float[Tensor, "B 3 H W"]) -> Maps:
        """Return the four maps."""
        return self.features_and_taps(images)[0]


def variant_of(form: Form) -> Variant:
    """Return the row of `VARIANTS`.

    Raises:
        ValueError: for another name.
    """
    if form not in VARIANTS:
        raise ValueError(f"received form={form!r}, expected one of {', '.join(map(repr, VARIANTS))}")
    return VARIANTS[form]


def unit_of(form: Form, norm: Normalisation, width: int) -> ConvUnit:
    """Return what makes the convolutions of a network.

    Raises:
        ValueError: for another norm, or a width below 8, with which reduced layers get one channel or none.
    """
    if norm not in ("batch", "frozen", "response"):
        raise ValueError(f"received norm={norm!r}, expected 'batch', 'frozen' or 'response'")
    if width < 8:
        raise ValueError(f"received width={width}, expected at least 8")
    variant = variant_of(form)
    layer = None if norm == "response" else norm_layer(norm, eps=variant.eps, momentum=variant.momentum)
    return ConvUnit(layer, width, FULL_WIDTH)


def initialise(network: nn.Module, variant: Variant) -> None:
    """Draw weights as torchvision does where norms follow, as the published Caffe model does where they do not.

    With norms: normal, with one small deviation for all layers. Without them that would let the signal die in 22
    layers: uniform with variance 1 / fan-in (Xavier, as Caffe has it), and positive biases.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.kaiming_uniform_(module.weight, nonlinearity="linear")
            nn.init.constant_(module.bias, variant.bias)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=variant.std)


def trunk(
    *,
    form: Form = "paper",
    norm: Normalisation = "batch",
    pool: Pool = "max",
    stem: Stem = "imagenet",
    width: int = FULL_WIDTH,
) -> GoogLeNet:
    """Return the network without its heads, for other systems to build on; the arguments are those of `googlenet`."""
    variant = variant_of(form)
    network = GoogLeNet(variant, unit=unit_of(form, norm, width), pool=pool, stem=stem)
    initialise(network, variant)
    return network


# ----------------------------------------------------------------------------------------------------------------------
# Auxiliary heads


def equal_windows(x: Float[Tensor, "B C H W"], count: int) -> Float[Tensor, "B C {count} {count}"]:
    """Average count x count windows of equal size that cover a map: 5x5 pixels and stride 3 for 4 of them on 14 pixels.

    On a map of fewer than `count` pixels a side they overlap and are not equal.
    """
    H, W = x.shape[2:]
    if min(H, W) < count:
        return F.adaptive_avg_pool2d(x, count)
    strides = (H // count, W // count)
    return F.avg_pool2d(x, (H - (count - 1) * strides[0], W - (count - 1) * strides[1]), strides)


class AuxiliaryHead(nn.Module):
    """Classify a map of the middle of the network (paper, section 5): averages of 4x4 windows, 1x1, two linear maps."""

    def __init__(
        self,
        channels: int,  # of the map, at full width
        outputs: int,
        *,
        unit: ConvUnit,
        adaptive: bool = False,  # windows as torchvision has them
        dropout: float = 0.7,
    ):
        super().__init__()
        self.adaptive = adaptive
        self.conv = unit(channels, 128)
        self.hidden = nn.Linear(unit.channels(128) * 4 * 4, unit.channels(1024))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(unit.channels(1024), outputs)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        windows = F.adaptive_avg_pool2d(x, 4) if self.adaptive else equal_windows(x, 4)  # B C 4 4
        hidden = F.relu(self.hidden(self.conv(windows).flatten(1)), inplace=True)
        return self.linear(self.dropout(hidden))


class AuxiliaryLogits(NamedTuple):
    """The scores of all heads, before the softmax."""

    logits: Float[Tensor, "B K"]
    auxiliary: tuple[Float[Tensor, "B K"], ...]  # nearest to the image first


class AuxiliaryClassifier(Classifier):
    """A classifier with further heads on maps of its middle, which only training runs."""

    backbone: TappedBackbone

    def __init__(self, backbone: TappedBackbone, outputs: int, head: MakeHead, auxiliary: Iterable[nn.Module]):
        super().__init__(backbone, outputs, head)
        self.auxiliary = nn.ModuleList(auxiliary)

    def with_auxiliary(self, images: Float[Tensor, "B 3 H W"]) -> AuxiliaryLogits:
        """Return the scores of all heads."""
        maps, taps = self.backbone.features_and_taps(images)
        auxiliary = tuple(head(tap) for head, tap in zip(self.auxiliary, taps, strict=True))
        return AuxiliaryLogits(self.head(maps[-1]), auxiliary)


@dataclass(frozen=True)
class AuxiliaryCriterion:
    """Softmax cross entropy of the main head, and of the auxiliary heads with a weight (paper, section 5)."""

    weight: float  # of each auxiliary head
    smoothing: float = 0.0  # share of the target spread evenly over all classes, in [0, 1)

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(cast(AuxiliaryClassifier, network).with_auxiliary(batch.images), batch, step)

    @in_float32
    def compare(self, outputs: Logits | AuxiliaryLogits, batch: Batch, step: Step) -> Losses:
        """Return the mean cross entropies of a batch; without "auxiliary" for the output of a forward pass.

        Raises:
            ValueError: if an image has no `label`.
        """
        entropy = ClassificationCriterion(self.smoothing).compare
        losses = entropy(Logits(outputs.logits), batch, step)
        if isinstance(outputs, AuxiliaryLogits):
            terms = [entropy(Logits(logits), batch, step)["cross_entropy"] for logits in outputs.auxiliary]
            losses["auxiliary"] = self.weight * torch.stack(terms).sum()
        return losses


def auxiliary_classifier(
    backbone: TappedBackbone,
    categories: int | tuple[str | None, ...],
    preprocess: Preprocess,
    *,
    head: MakeHead,
    auxiliary: Callable[[int], Iterable[nn.Module]],
    weight: float,
    smoothing: float = 0.0,
) -> Supervised:
    """Put a backbone, its heads, the loss and the decoder together; see `supervised_classifier`.

    Args:
        backbone: whose middle the auxiliary heads look at.
        categories: the number of classes or their names; None in the place of a name marks an unused output.
        preprocess: how an image becomes input.
        head: makes the main head.
        auxiliary: makes the auxiliary heads from the number of outputs.
        weight: of each auxiliary head's loss.
        smoothing: label smoothing, in [0, 1).
    """
    names = category_names(categories)
    network = AuxiliaryClassifier(backbone, len(names), head, auxiliary(len(names)))
    return Supervised(network, AuxiliaryCriterion(weight, smoothing), ClassificationDecode(names), preprocess)


# ----------------------------------------------------------------------------------------------------------------------
# Builder


@builder
def googlenet(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    size: tuple[int, int] | None = None,
    stem: Stem = "imagenet",
    form: Form = "paper",
    norm: Normalisation = "batch",
    pool: Pool = "max",
    width: int = FULL_WIDTH,
    auxiliary: bool = True,
    dropout: float = 0.4,
    smoothing: float = 0.0,
) -> Supervised:
    """Build GoogLeNet: 7.0 M parameters, 13.4 M with auxiliary heads, ImageNet top-1 69.8 % with torchvision's weights.

    Args:
        categories: the number of classes, or their names.
        size: (H, W) that every image is resized to; None: the shorter side to 256, then the central 224 x 224.
        stem: "imagenet", or "small" for images of 28 to 64 pixels (strides 1, 2, 4, 8).
        form: "paper", or "torchvision" with the 3x3 convolutions of the published weights.
        norm: "batch", "frozen", or the paper's "response": biases, and two response norms in the stem.
        pool: of the modules: "max", or "l2" as in FaceNet's NN2.
        width: channels of the first convolution, 64 in the paper; fewer (at least 8) make the whole network narrower.
        auxiliary: train two more classifiers on 4a and 4d, each with a weight of 0.3.
        dropout: of the averages before the last layer.
        smoothing: of the labels, in [0, 1).
    """
    variant, unit = variant_of(form), unit_of(form, norm, width)
    backbone = GoogLeNet(variant, unit=unit, pool=pool, stem=stem)
    head = partial(GlobalAverageHead, dropout=dropout)

    def auxiliary_heads(outputs: int) -> list[nn.Module]:
        make = partial(AuxiliaryHead, outputs=outputs, unit=unit, adaptive=variant.adaptive)
        return [make(MODULES[name].out) for name in TAPS]

    put_together = supervised_classifier
    if auxiliary:
        put_together = partial(auxiliary_classifier, auxiliary=auxiliary_heads, weight=AUXILIARY_WEIGHT)
    model = put_together(backbone, categories, image_preprocess(size), head=head, smoothing=smoothing)
    initialise(model.network, variant)
    return model
