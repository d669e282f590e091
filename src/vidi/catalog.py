"""Every system by name: what builds it, what it is for, where it comes from, what proves it.

A dict literal of callables: go-to-definition works, and a diff shows what was added.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vidi.backbones.progressive import progressive_resnet18
from vidi.backbones.resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from vidi.backbones.resnet_cifar import resnet20, resnet32, resnet44, resnet56, resnet110
from vidi.backbones.resnext import resnext50_32x4d, resnext101_32x8d, resnext101_64x4d
from vidi.backbones.senet import (
    seresnet18,
    seresnet34,
    seresnet50,
    seresnet101,
    seresnet152,
    seresnext50_32x4d,
    seresnext101_32x8d,
)
from vidi.backbones.wide_resnet import (
    wide_resnet16_4,
    wide_resnet28_10,
    wide_resnet40_4,
    wide_resnet50_2,
    wide_resnet101_2,
)
from vidi.detection.anchor_sizes import anchor_kmeans
from vidi.detection.retinanet import (
    retinanet_resnet18_fpn,
    retinanet_resnet50_fpn,
    retinanet_resnet50_fpn_v2,
    retinanet_tiny,
)
from vidi.generative.gan.original import gan
from vidi.model import Saved


@dataclass(frozen=True)
class Entry:
    """One system.

    Attributes:
        builder: makes the model; keyword arguments only.
        task: a key of `vidi.engine.scoring.TASKS`.
        section: of the course notes.
        paper: authors, year and arXiv id.
        reference: the implementation whose numbers it gives; empty where none can be installed.
        tiny: builder arguments of a variant small enough for the contract tests.
    """

    builder: Callable[..., Saved]
    task: str
    section: str
    paper: str
    reference: str = ""
    tiny: Mapping[str, Any] = field(default_factory=dict)


RESNET = "He et al. 2016, 1512.03385"
RESNEXT = "Xie et al. 2017, 1611.05431"
SENET = "Hu et al. 2018, 1709.01507"
WIDE = "Zagoruyko & Komodakis 2016, 1605.07146"
RETINANET = "Lin et al. 2017, 1708.02002"
PROGRESSIVE = "Howard et al. 2018; Touvron et al. 2019, 1906.06423"
YOLO9000 = "Redmon & Farhadi 2017, 1612.08242"
GAN = "Goodfellow et al. 2014, 1406.2661"

SMALL_IMAGE = {"categories": 3, "size": (64, 64), "width": 16}
SMALL_CIFAR = {"categories": 3}
SMALL_STAGES = {"categories": 3, "low": (16, 16), "high": (32, 32)}
SMALL_DETECTOR = {"categories": 3, "size": (64, 64), "channels": 32, "head_depth": 1}

CATALOG: dict[str, Entry] = {
    "resnet18": Entry(resnet18, "classification", "2.2.1", RESNET, "torchvision resnet18", SMALL_IMAGE),
    "resnet34": Entry(resnet34, "classification", "2.2.1", RESNET, "torchvision resnet34", SMALL_IMAGE),
    "resnet50": Entry(resnet50, "classification", "2.2.1", RESNET, "torchvision resnet50", SMALL_IMAGE),
    "resnet101": Entry(resnet101, "classification", "2.2.1", RESNET, "torchvision resnet101", SMALL_IMAGE),
    "resnet152": Entry(resnet152, "classification", "2.2.1", RESNET, "torchvision resnet152", SMALL_IMAGE),
    "resnet20": Entry(resnet20, "classification", "2.2.1", RESNET, "", SMALL_CIFAR),
    "resnet32": Entry(resnet32, "classification", "2.2.1", RESNET, "", SMALL_CIFAR),
    "resnet44": Entry(resnet44, "classification", "2.2.1", RESNET, "", SMALL_CIFAR),
    "resnet56": Entry(resnet56, "classification", "2.2.1", RESNET, "", SMALL_CIFAR),
    "resnet110": Entry(resnet110, "classification", "2.2.1", RESNET, "", SMALL_CIFAR),
    "progressive_resnet18": Entry(progressive_resnet18, "classification", "2.2.1", PROGRESSIVE, "", SMALL_STAGES),
    "resnext50_32x4d": Entry(
        resnext50_32x4d, "classification", "2.3", RESNEXT, "torchvision resnext50_32x4d", SMALL_IMAGE
    ),
    "resnext101_32x8d": Entry(
        resnext101_32x8d, "classification", "2.3", RESNEXT, "torchvision resnext101_32x8d", SMALL_IMAGE
    ),
    "resnext101_64x4d": Entry(
        resnext101_64x4d, "classification", "2.3", RESNEXT, "torchvision resnext101_64x4d", SMALL_IMAGE
    ),
    "seresnet18": Entry(seresnet18, "classification", "2.4", SENET, "timm seresnet18", SMALL_IMAGE),
    "seresnet34": Entry(seresnet34, "classification", "2.4", SENET, "timm seresnet34", SMALL_IMAGE),
    "seresnet50": Entry(seresnet50, "classification", "2.4", SENET, "timm seresnet50", SMALL_IMAGE),
    "seresnet101": Entry(seresnet101, "classification", "2.4", SENET, "timm seresnet101", SMALL_IMAGE),
    "seresnet152": Entry(seresnet152, "classification", "2.4", SENET, "timm seresnet152", SMALL_IMAGE),
    "seresnext50_32x4d": Entry(
        seresnext50_32x4d, "classification", "2.4", SENET, "timm seresnext50_32x4d", SMALL_IMAGE
    ),
    "seresnext101_32x8d": Entry(
        seresnext101_32x8d, "classification", "2.4", SENET, "timm seresnext101_32x8d", SMALL_IMAGE
    ),
    "wide_resnet16_4": Entry(wide_resnet16_4, "classification", "2.6.1", WIDE, "", SMALL_CIFAR),
    "wide_resnet28_10": Entry(wide_resnet28_10, "classification", "2.6.1", WIDE, "", SMALL_CIFAR),
    "wide_resnet40_4": Entry(wide_resnet40_4, "classification", "2.6.1", WIDE, "", SMALL_CIFAR),
    "wide_resnet50_2": Entry(
        wide_resnet50_2, "classification", "2.6.1", WIDE, "torchvision wide_resnet50_2", SMALL_IMAGE
    ),
    "wide_resnet101_2": Entry(
        wide_resnet101_2, "classification", "2.6.1", WIDE, "torchvision wide_resnet101_2", SMALL_IMAGE
    ),
    "anchor_kmeans": Entry(anchor_kmeans, "anchors", "4.3.4", YOLO9000, "", {"anchors": 3}),
    "retinanet_tiny": Entry(retinanet_tiny, "detection", "4.3.4", RETINANET, "", SMALL_DETECTOR),
    "retinanet_resnet18_fpn": Entry(retinanet_resnet18_fpn, "detection", "4.3.4", RETINANET, "", SMALL_DETECTOR),
    "retinanet_resnet50_fpn": Entry(
        retinanet_resnet50_fpn, "detection", "4.3.4", RETINANET, "torchvision retinanet_resnet50_fpn", SMALL_DETECTOR
    ),
    "retinanet_resnet50_fpn_v2": Entry(
        retinanet_resnet50_fpn_v2,
        "detection",
        "4.3.4",
        RETINANET,
        "torchvision retinanet_resnet50_fpn_v2",
        SMALL_DETECTOR,
    ),
    "gan": Entry(gan, "generation", "8.2", GAN, "", {"size": (16, 16), "hidden": 16}),
}
