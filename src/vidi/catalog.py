"""Every system by name: what builds it, what it is for, where it comes from, what proves it.

A dict literal of callables: go-to-definition works, and a diff shows what was added.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vidi.backbones.alexnet import alexnet, alexnet_2012, alexnet_ungrouped
from vidi.backbones.darknet import darknet53
from vidi.backbones.efficientnet import (
    efficientnet_b0,
    efficientnet_b1,
    efficientnet_b2,
    efficientnet_b3,
    efficientnet_b4,
    efficientnet_b5,
    efficientnet_b6,
    efficientnet_b7,
    efficientnet_compound,
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
    efficientnet_lite3,
    efficientnet_lite4,
)
from vidi.backbones.googlenet import googlenet
from vidi.backbones.inception_resnet import inception_resnet_v2
from vidi.backbones.inception_v3 import inception_v3, inception_v3_fid
from vidi.backbones.mobilenet import mobilenet_v2
from vidi.backbones.progressive import progressive_resnet18
from vidi.backbones.regnet import (
    anynet,
    regnet_x_1_6gf,
    regnet_x_3_2gf,
    regnet_x_8gf,
    regnet_x_16gf,
    regnet_x_32gf,
    regnet_x_400mf,
    regnet_x_800mf,
    regnet_y_1_6gf,
    regnet_y_3_2gf,
    regnet_y_8gf,
    regnet_y_16gf,
    regnet_y_32gf,
    regnet_y_128gf,
    regnet_y_400mf,
    regnet_y_800mf,
)
from vidi.backbones.resnet import resnet18, resnet34, resnet50, resnet101, resnet152
from vidi.backbones.resnet_cifar import resnet20, resnet32, resnet44, resnet56, resnet110
from vidi.backbones.resnet_v2 import (
    resnetv2_50x1_bit,
    resnetv2_50x3_bit,
    resnetv2_101x1_bit,
    resnetv2_101x3_bit,
    resnetv2_152x2_bit,
    resnetv2_152x4_bit,
)
from vidi.backbones.resnext import resnext50_32x4d, resnext101_32x8d, resnext101_64x4d
from vidi.backbones.search_space import searched_net
from vidi.backbones.senet import (
    seresnet18,
    seresnet34,
    seresnet50,
    seresnet101,
    seresnet152,
    seresnext50_32x4d,
    seresnext101_32x8d,
)
from vidi.backbones.translation import recurrent_translator, transformer, transformer_tiny
from vidi.backbones.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from vidi.backbones.vit import vit_b_16, vit_b_32, vit_h_14, vit_l_16, vit_l_32, vit_small, vit_tiny
from vidi.backbones.wide_resnet import (
    wide_resnet16_4,
    wide_resnet28_10,
    wide_resnet40_4,
    wide_resnet50_2,
    wide_resnet101_2,
)
from vidi.detection.anchor_sizes import anchor_kmeans
from vidi.detection.centernet import centernet_resnet18, centernet_resnet50, centernet_tiny
from vidi.detection.centernet_3d import centernet_3d_resnet18, centernet_3d_tiny
from vidi.detection.centernet_pose import centernet_pose_resnet18, centernet_pose_tiny
from vidi.detection.detr import detr_resnet18, detr_resnet50, detr_resnet50_dc5, detr_resnet101, detr_tiny
from vidi.detection.efficientdet import (
    efficientdet_d0,
    efficientdet_d1,
    efficientdet_d2,
    efficientdet_d3,
    efficientdet_d4,
    efficientdet_d5,
    efficientdet_d6,
    efficientdet_d7,
    efficientdet_lite0,
    efficientdet_tiny,
)
from vidi.detection.fast_rcnn import fast_rcnn_resnet18
from vidi.detection.faster_rcnn import (
    fasterrcnn_resnet18_fpn,
    fasterrcnn_resnet50,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
    fasterrcnn_tiny,
)
from vidi.detection.localizer import localizer_alexnet, localizer_resnet18, localizer_tiny
from vidi.detection.rcnn import rcnn_alexnet, rcnn_svm_alexnet, rcnn_svm_tiny, rcnn_tiny
from vidi.detection.retinanet import (
    retinanet_resnet18_fpn,
    retinanet_resnet50_fpn,
    retinanet_resnet50_fpn_v2,
    retinanet_tiny,
)
from vidi.detection.sliding_window import sliding_window, sliding_window_tiny
from vidi.detection.ssd import ssd300_vgg16, ssd_tiny
from vidi.detection.viola_jones.detector import viola_jones
from vidi.detection.yolo import yolov3, yolov3_small
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
        reference: the package whose implementation gives the same numbers; empty where none can be installed.
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
ALEXNET = "Krizhevsky 2014, 1404.5997"
ALEXNET_2012 = "Krizhevsky et al. 2012"
VGG = "Simonyan & Zisserman 2015, 1409.1556"
GOOGLENET = "Szegedy et al. 2015, 1409.4842"
INCEPTION = "Szegedy et al. 2016, 1512.00567"
INCEPTION_RESNET = "Szegedy et al. 2017, 1602.07261"
MOBILENET = "Sandler et al. 2018, 1801.04381"
EFFICIENTNET = "Tan & Le 2019, 1905.11946"
MNASNET = "Tan et al. 2019, 1807.11626"
REGNET = "Radosavovic et al. 2020, 2003.13678"
BIT = "Kolesnikov et al. 2020, 1912.11370"
VIT = "Dosovitskiy et al. 2021, 2010.11929"
DEIT = "Touvron et al. 2021, 2012.12877"
DARKNET = "Redmon & Farhadi 2018, 1804.02767"
TRANSFORMER = "Vaswani et al. 2017, 1706.03762"
ADDITIVE_ATTENTION = "Bahdanau et al. 2015, 1409.0473"
VIOLA_JONES = "Viola & Jones 2001"
FAST_RCNN = "Girshick 2015, 1504.08083"
FASTER_RCNN = "Ren et al. 2015, 1506.01497"
FASTER_FPN = "Lin et al. 2017, 1612.03144"
FASTER_V2 = "Li et al. 2021, 2111.11429"
CENTERNET = "Zhou et al. 2019, 1904.07850"
DETR = "Carion et al. 2020, 2005.12872"
OVERFEAT = "Sermanet et al. 2014, 1312.6229"
RCNN = "Girshick et al. 2014, 1311.2524"
SSD = "Liu et al. 2016, 1512.02325"
EFFICIENTDET = "Tan et al. 2020, 1911.09070"
RETINANET = "Lin et al. 2017, 1708.02002"
PROGRESSIVE = "Howard et al. 2018; Touvron et al. 2019, 1906.06423"
YOLO9000 = "Redmon & Farhadi 2017, 1612.08242"
GAN = "Goodfellow et al. 2014, 1406.2661"

SMALL_IMAGE = {"categories": 3, "size": (64, 64), "width": 16}
SMALL_CIFAR = {"categories": 3}
SMALL_SCALED = {"categories": 3, "size": (64, 64), "width": 0.25}
SMALL_DEEP = {"categories": 3, "size": (64, 64), "width": 0.125}
SMALL_HUGE = {"categories": 3, "size": (64, 64), "width": 0.05}
SMALL_PLAIN = {"categories": 3, "size": (64, 64), "width": 16, "hidden": 32}
SMALL_VGG = {**SMALL_PLAIN, "dropout": 0.0}
SMALL_INCEPTION = {"categories": 3, "size": (64, 64), "stem": "small", "width": 8}
SMALL_INCEPTION_RESNET = {**SMALL_INCEPTION, "blocks": (1, 1, 2)}
SMALL_BIT = {"categories": 3, "size": (64, 64), "width": 32}
SMALL_VIT = {"categories": 3, "size": (64, 64), "patch": 16, "width": 32, "depth": 2, "heads": 2}
SMALL_DARKNET = {"categories": 3, "size": (64, 64), "width": 4}
SMALL_ANYNET = {"categories": 3, "size": (32, 32)}
SMALL_STAGES = {"categories": 3, "low": (16, 16), "high": (32, 32)}
SMALL_DETECTOR = {"categories": 3, "size": (64, 64), "channels": 32, "head_depth": 1}
SMALL_CASCADE = {
    "categories": ("background", "face"),
    "window": (12, 12),
    "stages": 2,
    "candidates": 50,
    "negatives": 40,
    "copies": 2,
}
SMALL_TWO_STAGE = {"categories": 3, "size": (64, 64), "channels": 32, "hidden": 32, "proposals": 30, "sampled": 32}
SMALL_SINGLE_MAP = {
    "categories": 3,
    "size": (64, 64),
    "width": 16,
    "proposals": 10,
    "sampled": 8,
    "anchor_sizes": (16, 32, 64),
}
SMALL_LOCALIZER = {"categories": 3, "size": (64, 64), "width": 16, "hidden": 16}
SMALL_SLIDING = {"categories": 3, "size": (64, 64), "width": 8, "hidden": 16}
SMALL_RCNN = {"categories": 3, "size": (64, 64), "width": 16, "proposals": 20, "sampled": 16}
SMALL_RCNN_ALEXNET = {
    "categories": 3,
    "size": (64, 64),
    "width": 8,
    "hidden": 16,
    "crop": (67, 67),
    "context": 4,
    "proposals": 5,
    "sampled": 4,
}
SMALL_FAST = {"categories": 3, "size": (64, 64), "width": 16, "hidden": 32, "window_sizes": (16, 32)}
SMALL_CENTERNET = {"categories": 3, "size": (64, 64), "channels": (32, 32, 32), "hidden": 16}
HANDS = {"jointed": (), "joints": ("head", "left_hand", "right_hand"), "bones": ((0, 1), (0, 2))}
SMALL_SSD = {"categories": 3, "size": (64, 64), "width": 16, "detections_per_image": 20}
SHALLOW_EFFICIENTDET = {**SMALL_SCALED, "channels": 16, "repeats": 1, "head_depth": 1}
SMALL_EFFICIENTDET = {**SMALL_SCALED, "channels": 16, "drop": 0.0}
SMALL_DETR = {
    "categories": 3,
    "size": (64, 64),
    "queries": 8,
    "width": 16,
    "hidden": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "dropout": 0.0,
}
SMALL_SENTENCES = {"width": 16, "heads": 2, "hidden": 16, "layers": 1, "dropout": 0.0}
SMALL_RECURRENT = {"width": 16, "hidden": 16}

CATALOG: dict[str, Entry] = {
    "resnet18": Entry(resnet18, "classification", "2.2.1", RESNET, "torchvision", SMALL_IMAGE),
    "resnet34": Entry(resnet34, "classification", "2.2.1", RESNET, "torchvision", SMALL_IMAGE),
    "resnet50": Entry(resnet50, "classification", "2.2.1", RESNET, "torchvision", SMALL_IMAGE),
    "resnet101": Entry(resnet101, "classification", "2.2.1", RESNET, "torchvision", SMALL_IMAGE),
    "resnet152": Entry(resnet152, "classification", "2.2.1", RESNET, "torchvision", SMALL_IMAGE),
    "resnet20": Entry(resnet20, "classification", "2.2.1", RESNET, "", SMALL_CIFAR),
    "resnet32": Entry(resnet32, "classification", "2.2.1", RESNET, "", SMALL_CIFAR),
    "resnet44": Entry(resnet44, "classification", "2.2.1", RESNET, "", SMALL_CIFAR),
    "resnet56": Entry(resnet56, "classification", "2.2.1", RESNET, "", SMALL_CIFAR),
    "resnet110": Entry(resnet110, "classification", "2.2.1", RESNET, "", SMALL_CIFAR),
    "progressive_resnet18": Entry(progressive_resnet18, "classification", "2.2.1", PROGRESSIVE, "", SMALL_STAGES),
    "resnext50_32x4d": Entry(resnext50_32x4d, "classification", "2.3", RESNEXT, "torchvision", SMALL_IMAGE),
    "resnext101_32x8d": Entry(resnext101_32x8d, "classification", "2.3", RESNEXT, "torchvision", SMALL_IMAGE),
    "resnext101_64x4d": Entry(resnext101_64x4d, "classification", "2.3", RESNEXT, "torchvision", SMALL_IMAGE),
    "seresnet18": Entry(seresnet18, "classification", "2.4", SENET, "timm", SMALL_IMAGE),
    "seresnet34": Entry(seresnet34, "classification", "2.4", SENET, "timm", SMALL_IMAGE),
    "seresnet50": Entry(seresnet50, "classification", "2.4", SENET, "timm", SMALL_IMAGE),
    "seresnet101": Entry(seresnet101, "classification", "2.4", SENET, "timm", SMALL_IMAGE),
    "seresnet152": Entry(seresnet152, "classification", "2.4", SENET, "timm", SMALL_IMAGE),
    "seresnext50_32x4d": Entry(seresnext50_32x4d, "classification", "2.4", SENET, "timm", SMALL_IMAGE),
    "seresnext101_32x8d": Entry(seresnext101_32x8d, "classification", "2.4", SENET, "timm", SMALL_IMAGE),
    "wide_resnet16_4": Entry(wide_resnet16_4, "classification", "2.6.1", WIDE, "", SMALL_CIFAR),
    "wide_resnet28_10": Entry(wide_resnet28_10, "classification", "2.6.1", WIDE, "", SMALL_CIFAR),
    "wide_resnet40_4": Entry(wide_resnet40_4, "classification", "2.6.1", WIDE, "", SMALL_CIFAR),
    "wide_resnet50_2": Entry(wide_resnet50_2, "classification", "2.6.1", WIDE, "torchvision", SMALL_IMAGE),
    "wide_resnet101_2": Entry(wide_resnet101_2, "classification", "2.6.1", WIDE, "torchvision", SMALL_IMAGE),
    "alexnet": Entry(alexnet, "classification", "2.1", ALEXNET, "torchvision", SMALL_PLAIN),
    "alexnet_2012": Entry(alexnet_2012, "classification", "2.1", ALEXNET_2012, "", SMALL_PLAIN),
    "alexnet_ungrouped": Entry(
        alexnet_ungrouped, "classification", "4.3.1", ALEXNET_2012, "torchvision", {**SMALL_PLAIN, "stem": "small"}
    ),
    "vgg11": Entry(vgg11, "classification", "2.1", VGG, "torchvision", SMALL_VGG),
    "vgg13": Entry(vgg13, "classification", "2.1", VGG, "torchvision", SMALL_VGG),
    "vgg16": Entry(vgg16, "classification", "2.1", VGG, "torchvision", SMALL_VGG),
    "vgg19": Entry(vgg19, "classification", "2.1", VGG, "torchvision", SMALL_VGG),
    "vgg11_bn": Entry(vgg11_bn, "classification", "2.1", VGG, "torchvision", SMALL_VGG),
    "vgg13_bn": Entry(vgg13_bn, "classification", "2.1", VGG, "torchvision", SMALL_VGG),
    "vgg16_bn": Entry(vgg16_bn, "classification", "2.1", VGG, "torchvision", SMALL_VGG),
    "vgg19_bn": Entry(vgg19_bn, "classification", "2.1", VGG, "torchvision", SMALL_VGG),
    "googlenet": Entry(googlenet, "classification", "2.1", GOOGLENET, "torchvision", SMALL_IMAGE),
    "inception_v3": Entry(inception_v3, "classification", "2.2.2", INCEPTION, "torchvision", SMALL_INCEPTION),
    "inception_v3_fid": Entry(inception_v3_fid, "classification", "8.1.2", INCEPTION, "pytorch-fid", SMALL_INCEPTION),
    "inception_resnet_v2": Entry(
        inception_resnet_v2,
        "classification",
        "2.2.2",
        INCEPTION_RESNET,
        "timm",
        SMALL_INCEPTION_RESNET,
    ),
    "mobilenet_v2": Entry(mobilenet_v2, "classification", "2.5", MOBILENET, "torchvision", SMALL_SCALED),
    "efficientnet_b0": Entry(efficientnet_b0, "classification", "2.7", EFFICIENTNET, "torchvision", SMALL_SCALED),
    "efficientnet_b1": Entry(efficientnet_b1, "classification", "2.7", EFFICIENTNET, "torchvision", SMALL_SCALED),
    "efficientnet_b2": Entry(efficientnet_b2, "classification", "2.7", EFFICIENTNET, "torchvision", SMALL_SCALED),
    "efficientnet_b3": Entry(efficientnet_b3, "classification", "2.7", EFFICIENTNET, "torchvision", SMALL_SCALED),
    "efficientnet_b4": Entry(efficientnet_b4, "classification", "2.7", EFFICIENTNET, "torchvision", SMALL_SCALED),
    "efficientnet_b5": Entry(efficientnet_b5, "classification", "2.7", EFFICIENTNET, "torchvision", SMALL_DEEP),
    "efficientnet_b6": Entry(efficientnet_b6, "classification", "2.7", EFFICIENTNET, "torchvision", SMALL_DEEP),
    "efficientnet_b7": Entry(efficientnet_b7, "classification", "2.7", EFFICIENTNET, "torchvision", SMALL_DEEP),
    "efficientnet_lite0": Entry(efficientnet_lite0, "classification", "2.7", EFFICIENTNET, "timm", SMALL_SCALED),
    "efficientnet_lite1": Entry(efficientnet_lite1, "classification", "2.7", EFFICIENTNET, "timm", SMALL_SCALED),
    "efficientnet_lite2": Entry(efficientnet_lite2, "classification", "2.7", EFFICIENTNET, "timm", SMALL_SCALED),
    "efficientnet_lite3": Entry(efficientnet_lite3, "classification", "2.7", EFFICIENTNET, "timm", SMALL_SCALED),
    "efficientnet_lite4": Entry(efficientnet_lite4, "classification", "2.7", EFFICIENTNET, "timm", SMALL_SCALED),
    "efficientnet_compound": Entry(
        efficientnet_compound, "classification", "2.6", EFFICIENTNET, "", {**SMALL_SCALED, "phi": 1}
    ),
    "searched_net": Entry(searched_net, "classification", "2.7", MNASNET, "", {"categories": 3}),
    "anynet": Entry(anynet, "classification", "2.8", REGNET, "", SMALL_ANYNET),
    "regnet_x_400mf": Entry(regnet_x_400mf, "classification", "2.8", REGNET, "torchvision", SMALL_SCALED),
    "regnet_x_800mf": Entry(regnet_x_800mf, "classification", "2.8", REGNET, "torchvision", SMALL_SCALED),
    "regnet_x_1_6gf": Entry(regnet_x_1_6gf, "classification", "2.8", REGNET, "torchvision", SMALL_SCALED),
    "regnet_x_3_2gf": Entry(regnet_x_3_2gf, "classification", "2.8", REGNET, "torchvision", SMALL_SCALED),
    "regnet_x_8gf": Entry(regnet_x_8gf, "classification", "2.8", REGNET, "torchvision", SMALL_SCALED),
    "regnet_x_16gf": Entry(regnet_x_16gf, "classification", "2.8", REGNET, "torchvision", SMALL_HUGE),
    "regnet_x_32gf": Entry(regnet_x_32gf, "classification", "2.8", REGNET, "torchvision", SMALL_HUGE),
    "regnet_y_400mf": Entry(regnet_y_400mf, "classification", "2.8", REGNET, "torchvision", SMALL_SCALED),
    "regnet_y_800mf": Entry(regnet_y_800mf, "classification", "2.8", REGNET, "torchvision", SMALL_SCALED),
    "regnet_y_1_6gf": Entry(regnet_y_1_6gf, "classification", "2.8", REGNET, "torchvision", SMALL_SCALED),
    "regnet_y_3_2gf": Entry(regnet_y_3_2gf, "classification", "2.8", REGNET, "torchvision", SMALL_SCALED),
    "regnet_y_8gf": Entry(regnet_y_8gf, "classification", "2.8", REGNET, "torchvision", SMALL_SCALED),
    "regnet_y_16gf": Entry(regnet_y_16gf, "classification", "2.8", REGNET, "torchvision", SMALL_HUGE),
    "regnet_y_32gf": Entry(regnet_y_32gf, "classification", "2.8", REGNET, "torchvision", SMALL_HUGE),
    "regnet_y_128gf": Entry(regnet_y_128gf, "classification", "2.8", REGNET, "torchvision", SMALL_SCALED),
    "resnetv2_50x1_bit": Entry(resnetv2_50x1_bit, "classification", "2.2.1", BIT, "timm", SMALL_BIT),
    "resnetv2_50x3_bit": Entry(resnetv2_50x3_bit, "classification", "2.2.1", BIT, "timm", SMALL_BIT),
    "resnetv2_101x1_bit": Entry(resnetv2_101x1_bit, "classification", "2.2.1", BIT, "timm", SMALL_BIT),
    "resnetv2_101x3_bit": Entry(resnetv2_101x3_bit, "classification", "2.2.1", BIT, "timm", SMALL_BIT),
    "resnetv2_152x2_bit": Entry(resnetv2_152x2_bit, "classification", "2.2.1", BIT, "timm", SMALL_BIT),
    "resnetv2_152x4_bit": Entry(resnetv2_152x4_bit, "classification", "2.2.1", BIT, "timm", SMALL_BIT),
    "vit_tiny": Entry(vit_tiny, "classification", "3.2", DEIT, "timm", SMALL_VIT),
    "vit_small": Entry(vit_small, "classification", "3.2", DEIT, "timm", SMALL_VIT),
    "vit_b_16": Entry(vit_b_16, "classification", "3.2", VIT, "torchvision", SMALL_VIT),
    "vit_b_32": Entry(vit_b_32, "classification", "3.2", VIT, "torchvision", SMALL_VIT),
    "vit_l_16": Entry(vit_l_16, "classification", "3.2", VIT, "torchvision", SMALL_VIT),
    "vit_l_32": Entry(vit_l_32, "classification", "3.2", VIT, "torchvision", SMALL_VIT),
    "vit_h_14": Entry(vit_h_14, "classification", "3.2", VIT, "torchvision", SMALL_VIT),
    "darknet53": Entry(darknet53, "classification", "4.3.4", DARKNET, "timm", SMALL_DARKNET),
    "anchor_kmeans": Entry(anchor_kmeans, "anchors", "4.3.4", YOLO9000, "", {"anchors": 3}),
    "transformer": Entry(transformer, "translation", "3.1", TRANSFORMER, "torch", SMALL_SENTENCES),
    "transformer_tiny": Entry(transformer_tiny, "translation", "3.1", TRANSFORMER, "torch", SMALL_SENTENCES),
    "recurrent_translator": Entry(
        recurrent_translator, "translation", "3.1.1", ADDITIVE_ATTENTION, "", SMALL_RECURRENT
    ),
    "viola_jones": Entry(viola_jones, "windows", "4.2", VIOLA_JONES, "opencv", SMALL_CASCADE),
    "localizer_tiny": Entry(
        localizer_tiny, "detection", "4.3.1", OVERFEAT, "", {"categories": 3, "size": (64, 64), "hidden": 16}
    ),
    "localizer_resnet18": Entry(localizer_resnet18, "detection", "4.3.1", OVERFEAT, "", SMALL_LOCALIZER),
    "localizer_alexnet": Entry(
        localizer_alexnet, "detection", "4.3.1", OVERFEAT, "", {**SMALL_LOCALIZER, "stem": "small"}
    ),
    "sliding_window_tiny": Entry(sliding_window_tiny, "detection", "4.3.1", OVERFEAT, "", SMALL_SLIDING),
    "sliding_window": Entry(
        sliding_window, "detection", "4.3.1", OVERFEAT, "", {**SMALL_SLIDING, "window_sizes": (20, 40)}
    ),
    "rcnn_tiny": Entry(rcnn_tiny, "detection", "4.3.2", RCNN, "", SMALL_RCNN),
    "rcnn_svm_tiny": Entry(rcnn_svm_tiny, "detection", "4.3.2", RCNN, "scikit-learn", SMALL_RCNN),
    "rcnn_alexnet": Entry(rcnn_alexnet, "detection", "4.3.2", RCNN, "", SMALL_RCNN_ALEXNET),
    "rcnn_svm_alexnet": Entry(rcnn_svm_alexnet, "detection", "4.3.2", RCNN, "scikit-learn", SMALL_RCNN_ALEXNET),
    "fast_rcnn_resnet18": Entry(fast_rcnn_resnet18, "detection", "4.3.2", FAST_RCNN, "", SMALL_FAST),
    "fasterrcnn_tiny": Entry(fasterrcnn_tiny, "detection", "4.3.2", FASTER_RCNN, "torchvision", SMALL_TWO_STAGE),
    "fasterrcnn_resnet18_fpn": Entry(
        fasterrcnn_resnet18_fpn, "detection", "4.3.3", FASTER_FPN, "torchvision", SMALL_TWO_STAGE
    ),
    "fasterrcnn_resnet50_fpn": Entry(
        fasterrcnn_resnet50_fpn, "detection", "4.3.3", FASTER_FPN, "torchvision", SMALL_TWO_STAGE
    ),
    "fasterrcnn_resnet50_fpn_v2": Entry(
        fasterrcnn_resnet50_fpn_v2, "detection", "4.3.3", FASTER_V2, "torchvision", SMALL_TWO_STAGE
    ),
    "fasterrcnn_resnet50": Entry(
        fasterrcnn_resnet50, "detection", "4.3.2", FASTER_RCNN, "torchvision", SMALL_SINGLE_MAP
    ),
    "ssd_tiny": Entry(ssd_tiny, "detection", "4.3.3", SSD, "", SMALL_SSD),
    "ssd300_vgg16": Entry(ssd300_vgg16, "detection", "4.3.3", SSD, "torchvision", {**SMALL_SSD, "width": 8, "maps": 3}),
    "retinanet_tiny": Entry(retinanet_tiny, "detection", "4.3.4", RETINANET, "", SMALL_DETECTOR),
    "retinanet_resnet18_fpn": Entry(retinanet_resnet18_fpn, "detection", "4.3.4", RETINANET, "", SMALL_DETECTOR),
    "retinanet_resnet50_fpn": Entry(
        retinanet_resnet50_fpn, "detection", "4.3.4", RETINANET, "torchvision", SMALL_DETECTOR
    ),
    "retinanet_resnet50_fpn_v2": Entry(
        retinanet_resnet50_fpn_v2,
        "detection",
        "4.3.4",
        RETINANET,
        "torchvision",
        SMALL_DETECTOR,
    ),
    "yolov3_small": Entry(yolov3_small, "detection", "4.3.4", DARKNET, "", SMALL_DARKNET),
    "yolov3": Entry(yolov3, "detection", "4.3.4", DARKNET, "", SMALL_DARKNET),
    "efficientdet_tiny": Entry(efficientdet_tiny, "detection", "4.A", EFFICIENTDET, "effdet", SHALLOW_EFFICIENTDET),
    "efficientdet_lite0": Entry(
        efficientdet_lite0, "detection", "4.A", EFFICIENTDET, "effdet", {**SHALLOW_EFFICIENTDET, "drop": 0.0}
    ),
    "efficientdet_d0": Entry(efficientdet_d0, "detection", "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d1": Entry(efficientdet_d1, "detection", "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d2": Entry(efficientdet_d2, "detection", "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d3": Entry(efficientdet_d3, "detection", "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d4": Entry(efficientdet_d4, "detection", "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d5": Entry(efficientdet_d5, "detection", "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d6": Entry(efficientdet_d6, "detection", "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d7": Entry(efficientdet_d7, "detection", "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "centernet_tiny": Entry(
        centernet_tiny, "detection", "4.3.5", CENTERNET, "", {**SMALL_CENTERNET, "channels": (32,)}
    ),
    "centernet_resnet18": Entry(centernet_resnet18, "detection", "4.3.5", CENTERNET, "", SMALL_CENTERNET),
    "centernet_resnet50": Entry(centernet_resnet50, "detection", "4.3.5", CENTERNET, "", SMALL_CENTERNET),
    "centernet_pose_tiny": Entry(
        centernet_pose_tiny, "pose", "4.3.5", CENTERNET, "", {**SMALL_CENTERNET, "channels": (32,), **HANDS}
    ),
    "centernet_pose_resnet18": Entry(
        centernet_pose_resnet18, "pose", "4.3.5", CENTERNET, "", {**SMALL_CENTERNET, **HANDS}
    ),
    "centernet_3d_tiny": Entry(
        centernet_3d_tiny, "detection_3d", "4.3.5", CENTERNET, "", {**SMALL_CENTERNET, "channels": (32,)}
    ),
    "centernet_3d_resnet18": Entry(centernet_3d_resnet18, "detection_3d", "4.3.5", CENTERNET, "", SMALL_CENTERNET),
    "detr_tiny": Entry(detr_tiny, "detection", "4.3.6", DETR, "transformers", SMALL_DETR),
    "detr_resnet18": Entry(detr_resnet18, "detection", "4.3.6", DETR, "transformers", SMALL_DETR),
    "detr_resnet50": Entry(detr_resnet50, "detection", "4.3.6", DETR, "transformers", SMALL_DETR),
    "detr_resnet50_dc5": Entry(detr_resnet50_dc5, "detection", "4.3.6", DETR, "transformers", SMALL_DETR),
    "detr_resnet101": Entry(detr_resnet101, "detection", "4.3.6", DETR, "transformers", SMALL_DETR),
    "gan": Entry(gan, "generation", "8.2", GAN, "", {"size": (16, 16), "hidden": 16}),
}
