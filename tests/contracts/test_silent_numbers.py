"""Numbers of the catalogue that no tensor's shape shows, typed from the papers and from the references' own tables.

Another number of heads, probability, eps, crop or threshold loads the same weights and gives other results. Every
entry of the catalogue has a row in each table; where a reference is installed, its configuration is asked as well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any

import pytest
import timm
import torch
import torchvision
from effdet import get_efficientdet_config
from torch import nn
from torchvision.ops import StochasticDepth
from transformers import DetrConfig

from vidi.catalog.table import CATALOG
from vidi.detection import efficientdet_scaling, ssd, yolo
from vidi.nn.attention import MultiHeadAttention
from vidi.preprocess import Preprocess

NAMES = list(CATALOG)


@cache
def built(name: str) -> Any:
    """Return a system of the catalogue as its builder makes it when nothing is said, without memory for its weights."""
    with torch.device("meta"):
        return CATALOG[name].builder()


def same(names: Iterable[str], row: Any) -> dict[str, Any]:
    """Give several entries the same row."""
    return {name: row for name in names}  # the rows are dicts at times, which nothing changes


# ----------------------------------------------------------------------------------------------------------------------
# Layers


@dataclass(frozen=True)
class Layers:
    """What the layers of a network are told beside their sizes."""

    batch: frozenset[tuple[float, float]] = frozenset()  # eps and momentum of batch norms
    group: frozenset[tuple[int, float]] = frozenset()  # groups and eps
    layer: frozenset[float] = frozenset()  # eps of layer norms
    response: frozenset[tuple[int, float, float, float]] = frozenset()  # size, alpha, beta, k
    dropout: frozenset[float] = frozenset()
    drop_path: float = 0.0  # of the last residual branch
    slope: float | None = None  # of leaky ReLUs
    heads: int | tuple[int, ...] | None = None  # several where towers differ

    @classmethod
    def of(cls, network: nn.Module) -> "Layers":
        """Read a network."""
        every = list(network.modules())
        heads = sorted({m.heads for m in every if isinstance(m, MultiHeadAttention)})
        slopes = {m.negative_slope for m in every if isinstance(m, nn.LeakyReLU)}
        assert len(slopes) <= 1
        return cls(
            frozenset((m.eps, m.momentum or 0.0) for m in every if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)),
            frozenset((m.num_groups, m.eps) for m in every if isinstance(m, nn.GroupNorm)),
            frozenset(m.eps for m in every if isinstance(m, nn.LayerNorm)),
            frozenset((m.size, m.alpha, m.beta, m.k) for m in every if isinstance(m, nn.LocalResponseNorm)),
            frozenset(m.p for m in every if isinstance(m, nn.Dropout) and m.p),
            max((m.p for m in every if isinstance(m, StochasticDepth)), default=0.0),
            next(iter(slopes), None),
            tuple(heads) if len(heads) > 1 else next(iter(heads), None),
        )


def layers(
    batch: Iterable[tuple[float, float]] = (),
    group: Iterable[tuple[int, float]] = (),
    norm: Iterable[float] = (),
    response: Iterable[tuple[int, float, float, float]] = (),
    dropout: Iterable[float] = (),
    **numbers: Any,
) -> Layers:
    kinds = frozenset(batch), frozenset(group), frozenset(norm), frozenset(response), frozenset(dropout)
    return Layers(*kinds, **numbers)


USUAL, TENSORFLOW = (1e-5, 0.1), (1e-3, 0.01)  # eps and momentum: torch's own; those of the authors of EfficientNet
PLAIN = layers([USUAL])
KRIZHEVSKY = [(5, 5e-4, 0.75, 2.0)]  # section 3.3 writes 1e-4 for the sum of n = 5 squares, torch 5e-4 for their mean
GRADUAL = 0.2  # stochastic depth of EfficientNet: block i of n is left out with 0.2 i / n

DEPTHS = ("monodepth_", "depth_", "stereo_", "sfm_learner")
FCNS = [name for name in NAMES if name.startswith(("fcn8_", "fcn16_", "fcn32_"))]

LAYERS: dict[str, Layers] = {
    **same(["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"], PLAIN),
    **same(["resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "progressive_resnet18"], PLAIN),
    **same(["resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"], PLAIN),
    **same(["seresnet18", "seresnet34", "seresnet50", "seresnet101", "seresnet152"], PLAIN),
    **same(["seresnext50_32x4d", "seresnext101_32x8d"], PLAIN),
    # table 5 of the paper is without dropout, which its section 3.4 adds with 0.3 on CIFAR
    **same(["wide_resnet16_4", "wide_resnet28_10", "wide_resnet40_4"], PLAIN),
    **same(["wide_resnet50_2", "wide_resnet101_2"], PLAIN),
    "alexnet": layers(dropout=[0.5]),
    **same(["alexnet_2012", "alexnet_ungrouped"], layers(response=KRIZHEVSKY, dropout=[0.5])),
    **same(["vgg11", "vgg13", "vgg16", "vgg19"], layers(dropout=[0.5])),
    **same(["vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"], layers([USUAL], dropout=[0.5])),
    "googlenet": layers([(1e-3, 0.1)], dropout=[0.4, 0.7]),  # table 1: 40 %; section 5: 70 % in the auxiliary heads
    "inception_v3": layers([(1e-3, 0.1)], dropout=[0.5]),  # torchvision
    "inception_v3_fid": layers([(1e-3, 0.1)]),
    "inception_resnet_v2": layers([(1e-3, 0.1)], dropout=[0.2]),  # section 3.2: keep 0.8
    "mobilenet_v2": layers([USUAL], dropout=[0.2]),
    "efficientnet_b0": layers([USUAL], dropout=[0.2], drop_path=GRADUAL * 15 / 16),
    "efficientnet_b1": layers([USUAL], dropout=[0.2], drop_path=GRADUAL * 22 / 23),
    "efficientnet_b2": layers([USUAL], dropout=[0.3], drop_path=GRADUAL * 22 / 23),
    "efficientnet_b3": layers([USUAL], dropout=[0.3], drop_path=GRADUAL * 25 / 26),
    "efficientnet_b4": layers([USUAL], dropout=[0.4], drop_path=GRADUAL * 31 / 32),
    "efficientnet_b5": layers([TENSORFLOW], dropout=[0.4], drop_path=GRADUAL * 38 / 39),
    "efficientnet_b6": layers([TENSORFLOW], dropout=[0.5], drop_path=GRADUAL * 44 / 45),
    "efficientnet_b7": layers([TENSORFLOW], dropout=[0.5], drop_path=GRADUAL * 54 / 55),
    "efficientnet_compound": layers([USUAL], dropout=[0.2], drop_path=GRADUAL * 22 / 23),  # B0, a fifth deeper
    "efficientnet_lite0": layers([TENSORFLOW], dropout=[0.2], drop_path=GRADUAL * 15 / 16),
    "efficientnet_lite1": layers([TENSORFLOW], dropout=[0.2], drop_path=GRADUAL * 20 / 21),
    "efficientnet_lite2": layers([TENSORFLOW], dropout=[0.3], drop_path=GRADUAL * 20 / 21),
    "efficientnet_lite3": layers([TENSORFLOW], dropout=[0.3], drop_path=GRADUAL * 23 / 24),
    "efficientnet_lite4": layers([TENSORFLOW], dropout=[0.3], drop_path=GRADUAL * 29 / 30),
    "anynet": PLAIN,
    "searched_net": PLAIN,
    **same([name for name in NAMES if name.startswith("regnet_")], PLAIN),
    **same([name for name in NAMES if name.endswith("_bit")], layers(group=[(32, 1e-5)])),
    "vit_tiny": layers(norm=[1e-6], heads=3),
    "vit_small": layers(norm=[1e-6], heads=6),
    **same(["vit_b_16", "vit_b_32"], layers(norm=[1e-6], heads=12)),  # Dosovitskiy et al. 2021, table 1
    **same(["vit_l_16", "vit_l_32", "vit_h_14"], layers(norm=[1e-6], heads=16)),
    "swin_t": layers(norm=[1e-5], drop_path=0.2),  # Liu et al. 2021, appendix A2.1
    "swin_s": layers(norm=[1e-5], drop_path=0.3),
    "swin_b": layers(norm=[1e-5], drop_path=0.5),
    "swin_l": layers(norm=[1e-5], drop_path=0.2),
    "darknet53": layers([USUAL], slope=0.1),
    "anchor_kmeans": Layers(),
    "transformer": layers(norm=[1e-5], dropout=[0.1], heads=8),  # Vaswani et al. 2017, table 3, base
    "transformer_tiny": layers(norm=[1e-5], heads=4),
    "recurrent_translator": Layers(),
    "viola_jones": Layers(),
    **same(["body_parts", "body_parts_tiny"], Layers()),
    **same(["localizer_tiny", "localizer_resnet18"], PLAIN),
    "localizer_alexnet": layers(response=KRIZHEVSKY, dropout=[0.5]),
    **same(["sliding_window_tiny", "sliding_window"], PLAIN),
    **same(["rcnn_tiny", "rcnn_svm_tiny"], PLAIN),
    **same(["rcnn_alexnet", "rcnn_svm_alexnet"], layers(response=KRIZHEVSKY, dropout=[0.5])),
    "fast_rcnn_resnet18": PLAIN,
    **same([name for name in NAMES if name.startswith("fasterrcnn_")], PLAIN),
    **same([name for name in NAMES if name.startswith(("maskrcnn_", "keypointrcnn_"))], PLAIN),
    "maskrcnn_efficientnet_lite0_fpn": layers([USUAL, TENSORFLOW]),
    "ssd_tiny": PLAIN,
    "ssd300_vgg16": Layers(),
    "retinanet_tiny": layers([USUAL], group=[(8, 1e-5)]),
    **same(["retinanet_resnet18_fpn", "retinanet_resnet50_fpn_v2"], layers([USUAL], group=[(32, 1e-5)])),
    "retinanet_resnet50_fpn": PLAIN,
    **same(["yolov3_small", "yolov3"], layers([USUAL], slope=0.1)),
    "efficientdet_tiny": layers([USUAL, (1e-3, 0.1)]),
    "efficientdet_lite0": layers([TENSORFLOW], drop_path=GRADUAL * 15 / 16),
    "efficientdet_d0": layers([USUAL, TENSORFLOW], drop_path=GRADUAL * 15 / 16),
    "efficientdet_d1": layers([USUAL, TENSORFLOW], drop_path=GRADUAL * 22 / 23),
    "efficientdet_d2": layers([USUAL, TENSORFLOW], drop_path=GRADUAL * 22 / 23),
    "efficientdet_d3": layers([USUAL, TENSORFLOW], drop_path=GRADUAL * 25 / 26),
    "efficientdet_d4": layers([USUAL, TENSORFLOW], drop_path=GRADUAL * 31 / 32),
    "efficientdet_d5": layers([TENSORFLOW], drop_path=GRADUAL * 38 / 39),
    **same(["efficientdet_d6", "efficientdet_d7"], layers([TENSORFLOW], drop_path=GRADUAL * 44 / 45)),
    **same(["face_landmarks_tiny", *(name for name in NAMES if name.startswith("centernet_"))], PLAIN),
    "detr_tiny": layers([USUAL], norm=[1e-5], heads=4),
    "detr_resnet18": layers([USUAL], norm=[1e-5], heads=8),
    "detr_efficientnet_lite0": layers([TENSORFLOW], norm=[1e-5], heads=8),
    **same(
        ["detr_resnet50", "detr_resnet50_dc5", "detr_resnet101"],
        layers([USUAL], norm=[1e-5], dropout=[0.1], heads=8),  # Carion et al. 2020, appendix A.4
    ),
    **same([name for name in NAMES if name.startswith("panoptic_fpn_")], layers([USUAL], group=[(32, 1e-5)])),
    **same(["maskformer_tiny", "maskformer_tiny_semantic"], layers([USUAL], group=[(32, 1e-5)], norm=[1e-5], heads=4)),
    "maskformer_resnet18": layers([USUAL], group=[(32, 1e-5)], norm=[1e-5], heads=8),
    **same(
        ["maskformer_resnet50", "maskformer_resnet101", "maskformer_resnet50_semantic"],
        layers([USUAL], group=[(32, 1e-5)], norm=[1e-5], dropout=[0.1], heads=8),
    ),
    # the authors' configurations of Swin: DROP_PATH_RATE 0.3
    **same(
        ["maskformer_swin_t", "maskformer_swin_t_semantic"],
        layers(group=[(32, 1e-5)], norm=[1e-5], dropout=[0.1], drop_path=0.3, heads=8),
    ),
    **same(
        ["mask2former_tiny", "mask2former_tiny_semantic", "mask2former_tiny_instance"],
        layers([USUAL], group=[(32, 1e-5)], norm=[1e-5], heads=4),
    ),
    **same(
        [name for name in NAMES if name.startswith("mask2former_resnet")],
        layers([USUAL], group=[(32, 1e-5)], norm=[1e-5], heads=8),
    ),
    **same(
        [name for name in NAMES if name.startswith("mask2former_swin_")],
        layers(group=[(32, 1e-5)], norm=[1e-5], drop_path=0.3, heads=8),
    ),
    "gan": layers([USUAL], dropout=[0.3], slope=0.2),
    **same(["dcgan", "dcgan_tiny", "wgan", "wgan_gp", "wgan_gp_tiny"], layers([USUAL], slope=0.2)),
    **same(["pix2pix_colours", "pix2pix_colours_tiny"], layers([USUAL], dropout=[0.5], slope=0.2)),
    **same(["progan", "progan_tiny", "stylegan", "stylegan_tiny"], Layers()),  # functions; tests/nn/test_equalised.py
    "ddpm": layers(group=[(32, 1e-6)], dropout=[0.1], heads=1),  # appendix B and its code
    **same(["ddpm_tiny", "ddpm_class_tiny", "enlarger_tiny"], layers(group=[(8, 1e-5)], heads=4)),
    "dit_tiny": layers(norm=[1e-6], heads=4),
    "text_to_image_tiny": layers(group=[(8, 1e-5), (8, 1e-6)], norm=[1e-5], heads=(2, 4)),
    "imagen_tiny": layers([USUAL], group=[(8, 1e-5), (8, 1e-6)], norm=[1e-5], heads=(3, 4, 16)),
    "latent_diffusion_tiny": layers(group=[(8, 1e-5), (8, 1e-6)], norm=[1e-5], heads=(1, 2, 4)),
    **same([name for name in FCNS if "vgg16" in name], layers(dropout=[0.5])),
    **same([name for name in FCNS if "vgg16" not in name], PLAIN),
    **same(["unet_tiny", "unet_small", "unet_same"], PLAIN),
    **same(["unet", "patch_segmenter", "patch_segmenter_tiny"], Layers()),
    **same(["fcn_resnet50", "fcn_resnet101"], layers([USUAL], dropout=[0.1])),  # torchvision
    "deeplabv2_resnet101": PLAIN,
    "deeplabv3_resnet18": layers([USUAL], dropout=[0.5]),
    # torchvision's pyramid, and its head over C4
    **same(["deeplabv3_resnet50", "deeplabv3_resnet101"], layers([USUAL], dropout=[0.5, 0.1])),
    "deeplabv3_curriculum_resnet50": layers([USUAL], dropout=[0.5]),
    **same([name for name in NAMES if name.startswith("deeplabv3plus_")], layers([USUAL], dropout=[0.5])),
    "deeplabv3plus_efficientnet_lite0": layers([TENSORFLOW, USUAL], dropout=[0.5]),
    **same([name for name in NAMES if name.startswith(DEPTHS)], Layers()),
    **same(["monodepth_resnet18", "depth_resnet18"], PLAIN),
    "depth_pro": layers(norm=[1e-6], heads=16),  # ViT-L of DINOv2
    "depth_pro_tiny": layers(norm=[1e-6], heads=2),
    # Radford et al. 2021, tables 19 and 20: of the text tower, and of the image tower or its pooling
    "clip_tiny": layers(norm=[1e-5], heads=3),
    "clip_rn_tiny": layers([USUAL], norm=[1e-5], heads=(3, 16)),
    **same(["clip_vit_b_32", "clip_vit_b_16"], layers(norm=[1e-5], heads=(8, 12))),
    **same(["clip_vit_l_14", "clip_vit_l_14_336"], layers(norm=[1e-5], heads=(12, 16))),
    **same(["clip_rn50", "clip_rn101"], layers([USUAL], norm=[1e-5], heads=(8, 32))),
    "clip_rn50x4": layers([USUAL], norm=[1e-5], heads=(10, 40)),
    "clip_rn50x16": layers([USUAL], norm=[1e-5], heads=(12, 48)),
    "clip_rn50x64": layers([USUAL], norm=[1e-5], heads=(16, 64)),
    **same(["embedder_tiny", "embedder_resnet18", "embedder_resnet50", "identity_classifier"], PLAIN),
    "embedder_efficientnet_lite0": layers([TENSORFLOW]),
    "facenet": layers([(1e-3, 0.1)]),
    # Deng et al. 2019, section 3.1: dropout 0.4
    **same(["arcface_resnet18", "arcface_resnet50", "arcface_resnet100"], layers([USUAL], dropout=[0.4])),
    **same(["deepface", "deepface_tiny"], layers(dropout=[0.5])),  # Hinton et al. 2012, whom the paper follows
    **same(["deepid2", "deepid2_crops", "siamese"], Layers()),
}


@pytest.mark.system("2.1-GOOGLENET", "3.2-VARIANTS")
@pytest.mark.parametrize("name", NAMES)
def test_layers_are_told_what_the_papers_say(name: str) -> None:
    found, row = Layers.of(built(name)), LAYERS[name]
    assert found.drop_path == pytest.approx(row.drop_path, rel=1e-12)
    for number in fields(Layers):
        if number.name != "drop_path":
            assert getattr(found, number.name) == getattr(row, number.name), number.name


@pytest.mark.system("2.1-GOOGLENET")
def test_the_main_head_of_googlenet_drops_two_fifths() -> None:
    """Szegedy et al. 2015, table 1: dropout (40 %) after the average; 70 % in the auxiliary heads (section 5)."""
    network = built("googlenet").network
    assert network.head.dropout.p == 0.4
    assert [head.dropout.p for head in network.auxiliary] == [0.7, 0.7]
    assert built("inception_v3").network.head.dropout.p == 0.5


@pytest.mark.system("3.2-VARIANTS")
@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("vit_")])
def test_heads_of_vision_transformers_are_those_of_the_references(name: str) -> None:
    with torch.device("meta"):
        if name in ("vit_tiny", "vit_small"):
            small: Any = timm.create_model(f"{name}_patch16_224")
            of_layers = {block.attn.num_heads for block in small.blocks}
        else:
            reference: Any = torchvision.models.get_model(name)
            of_layers = {layer.num_heads for layer in reference.encoder.layers}
    assert of_layers == {LAYERS[name].heads}


# ----------------------------------------------------------------------------------------------------------------------
# Pictures


def pictures(**numbers: Any) -> Preprocess:
    """Return a preprocessing with all of its numbers said here, ImageNet's statistics if no others are."""
    usual = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "stride": 1}
    return Preprocess(**{**usual, "antialias": True, "interpolation": "bilinear", **numbers})


def within(shorter: int | None, longest: int, stride: int = 32, **numbers: Any) -> Preprocess:
    return pictures(shorter=shorter, longest=longest, stride=stride, **numbers)


HALF: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
BYTES: dict[str, Any] = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
LITE: dict[str, Any] = {
    "mean": (127 / 255,) * 3,
    "std": (128 / 255,) * 3,
}  # the authors', of 255
SQUARES_OF_CLIP = {  # Radford et al. 2021, tables 19 and 20
    **dict.fromkeys(("rn50", "rn101", "vit_b_32", "vit_b_16", "vit_l_14"), 224),
    "rn50x4": 288,
    "rn50x16": 384,
    "rn50x64": 448,
    "vit_l_14_336": 336,
    "tiny": 64,
    "rn_tiny": 64,
}
OF_CLIP: dict[str, Any] = {  # the authors' clip.py
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
}
IMAGENET = pictures(shorter=256, crop=(224, 224))
SQUARES = {0: 224, 1: 240, 2: 260, 3: 300, 4: 380, 5: 456, 6: 528, 7: 600}  # Tan & Le 2019, of B0 to B7
LITE_SQUARES = {0: 224, 1: 240, 2: 260, 3: 280, 4: 300}  # efficientnet_lite_builder.py of the authors
BIG = {0: 512, 1: 640, 2: 768, 3: 896, 4: 1024, 5: 1280, 6: 1280, 7: 1536}  # Tan et al. 2020, table 1
LEFT_OVER = 32  # pixels between the square and the shorter side, in the authors' preprocessing.py

PICTURES: dict[str, Preprocess] = {
    **same([name for name in NAMES if CATALOG[name].task.name == "classification"], IMAGENET),
    **same(["resnet20", "resnet32", "resnet44", "resnet56", "resnet110"], pictures(exact=(32, 32))),
    **same(["wide_resnet16_4", "wide_resnet28_10", "wide_resnet40_4"], pictures(exact=(32, 32))),
    **same(["anynet", "searched_net"], pictures(exact=(32, 32))),
    "progressive_resnet18": pictures(exact=(64, 64)),
    "alexnet_ungrouped": pictures(shorter=256, crop=(227, 227)),
    "inception_v3": pictures(shorter=342, crop=(299, 299), **HALF),
    "inception_v3_fid": pictures(exact=(299, 299), antialias=False, **HALF),
    "inception_resnet_v2": pictures(shorter=333, crop=(299, 299), interpolation="bicubic", **HALF),
    "darknet53": pictures(shorter=256, crop=(256, 256), **BYTES),
    **{
        f"efficientnet_b{k}": pictures(shorter=side + LEFT_OVER, crop=(side, side), interpolation="bicubic")
        for k, side in SQUARES.items()
    },
    "efficientnet_compound": pictures(shorter=258 + LEFT_OVER, crop=(258, 258), interpolation="bicubic"),  # 1.15 * 224
    **{
        f"efficientnet_lite{k}": pictures(shorter=side + LEFT_OVER, crop=(side, side), interpolation="bicubic", **LITE)
        for k, side in LITE_SQUARES.items()
    },
    **same([name for name in NAMES if name.endswith("_bit")], pictures(shorter=256, crop=(224, 224), **HALF)),
    # torchvision; 224 of 248 pixels are timm's 0.9
    **{
        f"swin_{size}": pictures(shorter=shorter, crop=(224, 224), interpolation="bicubic")
        for size, shorter in {"t": 232, "s": 246, "b": 238, "l": 248}.items()
    },
    "anchor_kmeans": pictures(),
    "viola_jones": pictures(**BYTES),
    **same(["localizer_tiny", "ssd_tiny"], pictures(exact=(128, 128))),
    "localizer_resnet18": pictures(exact=(224, 224)),
    "localizer_alexnet": pictures(exact=(227, 227)),
    "sliding_window_tiny": within(128, 256, 1),
    "sliding_window": within(480, 800, 1),
    **same(["rcnn_tiny", "rcnn_svm_tiny"], within(None, 128, 1)),
    **same(["rcnn_alexnet", "rcnn_svm_alexnet"], within(None, 500, 1)),
    **same(["fast_rcnn_resnet18", "fasterrcnn_resnet50"], within(600, 1000)),  # both papers: 600, at most 1000
    **same(["fasterrcnn_tiny", "retinanet_tiny", "efficientdet_tiny"], within(128, 256)),
    **same(["maskrcnn_tiny", "keypointrcnn_tiny"], within(128, 256)),
    **same(["maskrcnn_resnet18_fpn", "keypointrcnn_resnet18_fpn"], within(320, 512)),
    "maskrcnn_efficientnet_lite0_fpn": within(320, 512, **LITE),
    **same(["maskrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn"], within(800, 1333, antialias=False)),
    **same(["centernet_tiny", "centernet_pose_tiny", "centernet_3d_tiny", "face_landmarks_tiny"], within(128, 256)),
    **same(["fasterrcnn_resnet18_fpn", "retinanet_resnet18_fpn"], within(800, 1333)),
    **same(["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"], within(800, 1333, antialias=False)),
    **same(["retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"], within(800, 1333, antialias=False)),
    "ssd300_vgg16": pictures(exact=(300, 300), mean=(0.48235, 0.45882, 0.40784), std=(1 / 255,) * 3, antialias=False),
    "yolov3_small": within(None, 128, antialias=False, **BYTES),
    "yolov3": within(None, 416, antialias=False, **BYTES),
    **{f"efficientdet_d{k}": within(None, side, 128) for k, side in BIG.items()},
    "efficientdet_lite0": within(None, 384, 128, **LITE),
    **same(["centernet_resnet18", "centernet_resnet50", "centernet_pose_resnet18"], within(None, 512)),
    "centernet_3d_resnet18": within(None, 1280),  # Kitti's pictures are 1242 wide
    "detr_tiny": within(64, 128, 1),
    "detr_efficientnet_lite0": within(800, 1333, 1, **LITE),
    **same(["detr_resnet18", "detr_resnet50", "detr_resnet50_dc5", "detr_resnet101"], within(800, 1333, 1)),
    **same([name for name in NAMES if name.startswith(("maskformer_tiny", "mask2former_tiny"))], within(128, 256)),
    "panoptic_fpn_tiny": within(128, 256),
    "panoptic_fpn_resnet18": within(320, 512),
    "panoptic_fpn_resnet50": within(800, 1333, antialias=False),
    **same([f"maskformer_{name}" for name in ("resnet18", "resnet50", "resnet101", "swin_t")], within(800, 1333)),
    **same([f"mask2former_resnet{depth}" for depth in (18, 50, 101)], within(800, 1333)),
    **same(["mask2former_resnet50_instance", "mask2former_swin_t_instance"], within(800, 1333)),
    # MIN_SIZE_TEST and MAX_SIZE_TEST of the authors' configurations of ADE20K
    **same(["maskformer_resnet50_semantic", "maskformer_swin_t_semantic"], within(512, 2048)),
    "mask2former_swin_t_semantic": within(512, 2048),
    **same([f"mask2former_swin_{size}" for size in "tsbl"], within(800, 1333)),
    "gan": pictures(exact=(28, 28), **HALF),
    **same(["dcgan", "wgan", "wgan_gp"], pictures(exact=(64, 64), **HALF)),
    **same([f"{name}_tiny" for name in ("dcgan", "wgan_gp", "progan", "stylegan")], pictures(exact=(32, 32), **HALF)),
    **same(["progan", "stylegan"], pictures(exact=(1024, 1024), **HALF)),
    "pix2pix_colours": pictures(exact=(256, 256), **HALF),
    "pix2pix_colours_tiny": pictures(exact=(64, 64), **HALF),
    **same(
        [
            "ddpm",
            "ddpm_tiny",
            "ddpm_class_tiny",
            "dit_tiny",
            "enlarger_tiny",
            "text_to_image_tiny",
            "latent_diffusion_tiny",
        ],
        pictures(exact=(32, 32), **HALF),
    ),
    "imagen_tiny": pictures(exact=(64, 64), **HALF),
    **same([name for name in FCNS if "vgg16" in name], within(None, 500, 1)),  # pictures of VOC are 500 wide at most
    **same(["fcn8_resnet18", "fcn8_resnet50", "fcn16_resnet50", "fcn32_resnet50"], within(None, 500)),
    **same(["fcn8_tiny", "fcn8_coarse_to_fine_tiny"], within(None, 128)),
    "unet_tiny": within(None, 128, 16),
    **same(["unet_small", "unet_same"], pictures(stride=16)),
    "unet": pictures(),
    "patch_segmenter": within(None, 256, 1),
    "patch_segmenter_tiny": within(None, 64, 1),
    **same([name for name in NAMES if name.startswith(("fcn_", "deeplab"))], pictures(shorter=520)),  # torchvision
    "deeplabv3plus_efficientnet_lite0": pictures(shorter=520, **LITE),
    **same(["monodepth_vgg", "monodepth_resnet50", "monodepth_resnet18"], within(256, 512, 1, **BYTES)),  # 256 x 512
    **same(["monodepth_tiny", "depth_tiny"], within(128, 256, 1, **BYTES)),
    "depth_resnet18": within(256, 512, 1, **BYTES),
    "stereo_vgg": within(256, 512, 1, paired=True, **BYTES),
    "stereo_tiny": within(128, 256, 1, paired=True, **BYTES),
    "sfm_learner": within(128, 416, 1, **HALF),  # 128 x 416
    "sfm_learner_tiny": within(64, 128, 1, **HALF),
    "depth_pro": pictures(exact=(1536, 1536), antialias=False, **HALF),
    "depth_pro_tiny": pictures(exact=(128, 128), antialias=False, **HALF),
    **{f"clip_{name}": pictures(shorter=side, crop=(side, side), **OF_CLIP) for name, side in SQUARES_OF_CLIP.items()},
    **same(["embedder_tiny", "identity_classifier"], pictures(exact=(64, 64))),
    **same(["embedder_resnet18", "embedder_resnet50"], pictures(exact=(112, 112))),
    "embedder_efficientnet_lite0": pictures(exact=(112, 112), **LITE),
    "facenet": pictures(exact=(224, 224)),  # Schroff et al. 2015, table 2
    **same([f"arcface_resnet{depth}" for depth in (18, 50, 100)], pictures(exact=(112, 112), **HALF)),
    "deepface": pictures(exact=(152, 152)),  # Taigman et al. 2014, section 3.1
    "deepface_tiny": pictures(exact=(80, 80)),
    "deepid2": pictures(exact=(55, 47)),  # Sun et al. 2014, figure 1
    "deepid2_crops": pictures(exact=(110, 94)),
    "siamese": pictures(exact=(32, 32)),
}
NO_PICTURES = ("translation", "body_parts")
"""Tasks of sentences and of depth images, which are prepared in ways of their own."""
TWO_STAGES = ("rcnn_", "fast_rcnn_", "fasterrcnn_", "maskrcnn_", "keypointrcnn_", "panoptic_fpn_")
TOLD_OF_PADDING = (*TWO_STAGES, "detr_", "sliding_window")
"""What looks for objects in the picture alone, or lets no token look at padding; all others see a canvas."""


@pytest.mark.parametrize("name", [name for name in NAMES if CATALOG[name].task.name not in NO_PICTURES])
def test_pictures_are_prepared_as_the_papers_say(name: str) -> None:
    own = built(name).preprocess
    of_pictures = Preprocess(**{number.name: getattr(own, number.name) for number in fields(Preprocess)})
    assert of_pictures == replace(PICTURES[name], masked=name.startswith(TOLD_OF_PADDING))


@pytest.mark.parametrize("number", range(8))
def test_squares_of_efficientnet_are_cut_as_timm_cuts_those_of_the_authors(number: int) -> None:
    theirs = timm.models.get_pretrained_cfg(f"tf_efficientnet_b{number}")
    assert theirs is not None
    ours = built(f"efficientnet_b{number}").preprocess
    assert ours.crop == theirs.input_size[1:]
    assert ours.crop[0] / ours.shorter == pytest.approx(theirs.crop_pct, abs=1e-3)  # which timm gives three digits of
    assert (ours.interpolation, ours.mean, ours.std) == (theirs.interpolation, theirs.mean, theirs.std)


TORCHVISION = {  # whose first weights have the sizes of our builders
    "resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "alexnet", "vgg16", "vgg16_bn", "mobilenet_v2",
    "regnet_x_400mf", "regnet_y_400mf", "vit_b_16", "vit_b_32", "googlenet", "inception_v3",
    "swin_t", "swin_s", "swin_b",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(TORCHVISION))
def test_sizes_are_those_of_torchvisions_first_weights(name: str) -> None:
    theirs = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].transforms()
    ours = built(name).preprocess
    assert ([ours.shorter], list(ours.crop)) == (theirs.resize_size, theirs.crop_size * 2)
    assert ours.interpolation == theirs.interpolation.value


# ----------------------------------------------------------------------------------------------------------------------
# Training targets, and what is kept of what a detector finds


def flat(settings: Any) -> dict[str, Any]:
    """Return the plain numbers of nested dataclasses, named with dots."""
    found: dict[str, Any] = {}
    for each in fields(settings):
        value = getattr(settings, each.name)
        if is_dataclass(value):
            found |= {f"{each.name}.{key}": inner for key, inner in flat(value).items()}
        else:
            found[each.name] = value
    return found


def kept(score: float, nms: float, most: int, **numbers: Any) -> dict[str, Any]:
    return {"score_threshold": score, "nms_threshold": nms, "detections_per_image": most, **numbers}


def prefixed(name: str, numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}.{key}": value for key, value in numbers.items()}


CENTER = {"gamma": 2.0, "beta": 4.0, "offset_weight": 1.0, "size_weight": 0.1}  # Zhou et al. 2019, section 4: 1, 0.1
REGIONS = {"positive_share": 0.25, "positive_from": 0.5, "beta": 1.0, "box_weight": 1.0}
ANCHORS = {"low": 0.3, "high": 0.7, "beta": 1 / 9, "sampling": "paper"}


def two_stages(sampled: int, *, anchors: int = 256, border: str = "keep") -> dict[str, Any]:
    return {
        **prefixed("anchors", {**ANCHORS, "count": anchors, "border": border}),
        **prefixed("regions", {**REGIONS, "count": sampled, "lowest": 0.0}),
        "selection.threshold": 0.7,
    }


def retina(box_loss: str) -> dict[str, Any]:
    return {"alpha": 0.25, "gamma": 2.0, "low": 0.4, "high": 0.5, "box_weight": 1.0, "box_loss": box_loss}


RCNN = {"sampled": 128, "positive_share": 0.25, "positive_from": 0.5, "deviations": (0.1, 0.1, 0.2, 0.2)}
MULTIBOX = {"positive_from": 0.5, "negatives": 3.0, "box_weight": 1.0}  # Liu et al. 2016, sections 2.2: 0.5, 3:1, 1
EFFICIENT = {"alpha": 0.25, "gamma": 1.5, "delta": 0.1, "box_weight": 50.0, "positive_iou": 0.5}  # Tan et al. 2020, 5.1
SETS = {"class_weight": 1.0, "coordinate_weight": 5.0, "overlap_weight": 2.0, "no_object_weight": 0.1}
WINDOWS = {"rules.positive_from": 0.5, "rules.background_below": 0.4, "positive_share": 0.25}

FOCAL = {"alpha": 0.25, "gamma": 2.0}  # Cheng et al. 2021, section 3.2: as RetinaNet's
MASKS = {"class_weight": 1.0, "mask_weight": 20.0, "dice_weight": 1.0, "no_object_weight": 0.1, **FOCAL}
MASKS_AT_POINTS = {  # Cheng et al. 2022, section 4.1
    "class_weight": 2.0,
    "mask_weight": 5.0,
    "dice_weight": 5.0,
    "no_object_weight": 0.1,
    "oversampling": 3.0,
    "uncertain_share": 0.75,
}

CRITERIA: dict[str, dict[str, Any]] = {
    **same([name for name in NAMES if CATALOG[name].task.name == "classification"], {"smoothing": 0.0}),
    "googlenet": {"weight": 0.3, "smoothing": 0.0},  # Szegedy et al. 2015, section 5
    "inception_v3": {"weight": 0.4, "smoothing": 0.0},
    "transformer": {"smoothing": 0.1},  # Vaswani et al. 2017, section 5.4
    **same(["transformer_tiny", "recurrent_translator"], {"smoothing": 0.0}),
    **same(["localizer_tiny", "localizer_resnet18", "localizer_alexnet"], {"box_weight": 20.0}),
    "sliding_window_tiny": {**WINDOWS, "per_image": 32},
    "sliding_window": {**WINDOWS, "per_image": 64},
    **same(["rcnn_tiny", "rcnn_svm_tiny", "rcnn_alexnet", "rcnn_svm_alexnet"], RCNN),
    "fast_rcnn_resnet18": prefixed("regions", {**REGIONS, "count": 64, "lowest": 0.1}),  # Girshick 2015, 2.3
    "fasterrcnn_tiny": two_stages(64, anchors=64),
    "fasterrcnn_resnet18_fpn": two_stages(256),
    **same(["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"], two_stages(512)),
    "fasterrcnn_resnet50": two_stages(128, border="ignore"),
    "maskrcnn_tiny": {**prefixed("detector", two_stages(64)), "loss": "sigmoid", "aligned": True},
    **same(
        ["maskrcnn_resnet18_fpn", "maskrcnn_efficientnet_lite0_fpn"],
        {**prefixed("detector", two_stages(256)), "loss": "sigmoid", "aligned": True},
    ),
    "maskrcnn_resnet50_fpn": {**prefixed("detector", two_stages(512)), "loss": "sigmoid", "aligned": True},
    "keypointrcnn_tiny": prefixed("detector", two_stages(64)),
    "keypointrcnn_resnet18_fpn": prefixed("detector", two_stages(256)),
    "keypointrcnn_resnet50_fpn": prefixed("detector", two_stages(512)),
    **same(["ssd_tiny", "ssd300_vgg16"], MULTIBOX),
    **same(["retinanet_tiny", "retinanet_resnet50_fpn_v2"], retina("giou")),
    **same(["retinanet_resnet18_fpn", "retinanet_resnet50_fpn"], retina("smooth_l1")),
    **same(["yolov3_small", "yolov3"], {"ignore": 0.5}),  # Redmon & Farhadi 2018, 2.1
    **same([name for name in NAMES if name.startswith("efficientdet_")], EFFICIENT),
    **same(["centernet_tiny", "centernet_resnet18", "centernet_resnet50"], CENTER),
    **same(
        ["centernet_pose_tiny", "centernet_pose_resnet18", "face_landmarks_tiny"],
        {**prefixed("objects", CENTER), "offset_weight": 0.1, "heat_weight": 1.0, "residual_weight": 1.0},
    ),
    # boxes in the world are a few metres away, cars of Kitti up to 60
    "centernet_3d_tiny": {**prefixed("objects", CENTER), "depth_weight": 0.1, "orientation_weight": 1.0},
    "centernet_3d_resnet18": {**prefixed("objects", CENTER), "depth_weight": 1.0, "orientation_weight": 1.0},
    **same([name for name in NAMES if name.startswith("detr_")], SETS),
    # torchvision's training weighs the second head by a half; labels count all of VOC's classes
    **same([name for name in NAMES if CATALOG[name].task.name == "semantic"], {"auxiliary_weight": 0.5}),
    **same([name for name in NAMES if name.startswith("maskformer_")], MASKS),
    **same(
        ["mask2former_tiny", "mask2former_tiny_semantic", "mask2former_tiny_instance"],
        {**MASKS_AT_POINTS, "points": 1024},
    ),
    **same(
        [name for name in NAMES if CATALOG[name].task.name == "depth_from_stereo"],  # Godard et al. 2017, section 3.3
        {"alpha": 0.85, "appearance": 1.0, "smoothness": 0.1, "consistency": 1.0, "rebuilds": "left", "beyond": "zero"},
    ),
    "monodepth_tiny": {"alpha": 0.85, "smoothness": 0.1, "beyond": "edge"},
    # Zhou et al. 2017, section 4
    "sfm_learner": {"smoothness": 0.5, "explained": 0.2, "normalized": False, "beyond": "zero"},
    "sfm_learner_tiny": {"smoothness": 0.03, "normalized": True, "beyond": "edge"},
    **same([name for name in NAMES if name.startswith("clip_")], {"part": None}),
    **same(["depth_resnet18", "depth_tiny"], {"forgiven": 0.5}),  # Eigen et al. 2014, equation 4
    **same(["stereo_vgg", "stereo_tiny"], {}),
    # Kirillov et al. 2019, section 4; SEM_SEG_HEAD.LOSS_WEIGHT of detectron2's Base-Panoptic-FPN
    **same(["panoptic_fpn_tiny", "panoptic_fpn_resnet18"], {"stuff_weight": 0.5}),
    "panoptic_fpn_resnet50": {**prefixed("things.detector", two_stages(512)), "things.loss": "sigmoid"}
    | {"stuff_weight": 0.5, "things.aligned": True},
    "mask2former_resnet18": {**MASKS_AT_POINTS, "points": 4096},
    **same(
        [name for name in NAMES if name.startswith(("mask2former_resnet50", "mask2former_resnet101"))],
        {**MASKS_AT_POINTS, "points": 112 * 112},
    ),
    **same([name for name in NAMES if name.startswith("mask2former_swin_")], {**MASKS_AT_POINTS, "points": 112 * 112}),
}


def panoptic(score: float, *, only_inside: bool) -> dict[str, Any]:
    return {"score_threshold": score, "overlap_threshold": 0.8, "only_inside": only_inside}


PEAKS = {"score_threshold": 0.0, "detections_per_image": 100, "window": 3}  # Zhou et al. 2019, section 4: 3 x 3, 100
DECODERS: dict[str, dict[str, Any]] = {
    **same(["sliding_window_tiny", "sliding_window", "fast_rcnn_resnet18"], kept(0.05, 0.3, 100)),
    **same(["rcnn_tiny", "rcnn_alexnet", "fasterrcnn_resnet50"], kept(0.05, 0.3, 100)),
    **same(
        ["rcnn_svm_tiny", "rcnn_svm_alexnet"],
        {"lowest_margin": -1.1, "nms_threshold": 0.3, "detections_per_image": 100},
    ),
    **same(["fasterrcnn_tiny", "fasterrcnn_resnet18_fpn"], kept(0.05, 0.5, 100)),
    **same(["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"], kept(0.05, 0.5, 100)),
    **same(["ssd_tiny", "ssd300_vgg16"], kept(0.01, 0.45, 200, candidates_per_class=400)),
    **same([name for name in NAMES if name.startswith("retinanet_")], kept(0.05, 0.5, 100, candidates_per_level=1000)),
    **same(["yolov3_small", "yolov3"], kept(0.005, 0.45, 100)),
    "efficientdet_tiny": kept(0.05, 0.5, 100, candidates=5000),
    **same(
        [name for name in NAMES if name.startswith("efficientdet_") and name != "efficientdet_tiny"],
        kept(0.0, 0.5, 100, candidates=5000),
    ),
    **same(["centernet_tiny", "centernet_resnet18", "centernet_resnet50"], PEAKS),
    **same(
        ["centernet_pose_tiny", "centernet_pose_resnet18", "face_landmarks_tiny"],
        {**prefixed("objects", PEAKS), "peak_threshold": 0.1, "peaks_per_joint": 100},
    ),
    **same(["centernet_3d_tiny", "centernet_3d_resnet18"], prefixed("objects", PEAKS)),
    **same([name for name in NAMES if name.startswith("detr_")], {"score_threshold": 0.0}),
    # detectron2's Panoptic FPN: 0.5, 0.5, 4096
    **same(
        ["panoptic_fpn_resnet18", "panoptic_fpn_resnet50"],
        {"score_threshold": 0.5, "overlap_threshold": 0.5, "least_stuff": 4096},
    ),
    "panoptic_fpn_tiny": {"score_threshold": 0.5, "overlap_threshold": 0.5, "least_stuff": 64},
    # OBJECT_MASK_THRESHOLD and OVERLAP_THRESHOLD of the authors' configurations; small ones are less sure
    **same(["maskformer_tiny", "maskformer_resnet18"], panoptic(0.5, only_inside=False)),
    **same([f"maskformer_{name}" for name in ("resnet50", "resnet101", "swin_t")], panoptic(0.8, only_inside=False)),
    **same(["mask2former_tiny", "mask2former_resnet18"], panoptic(0.5, only_inside=True)),
    **same([f"mask2former_{name}" for name in ("resnet50", "resnet101")], panoptic(0.8, only_inside=True)),
    **same([f"mask2former_swin_{size}" for size in "tsbl"], panoptic(0.8, only_inside=True)),
    # the authors' instance inference: the best TEST.DETECTIONS_PER_IMAGE pairs of query and class, none left out
    **same(
        [name for name in NAMES if name.startswith("mask2former_") and name.endswith("_instance")],
        {"score_threshold": 0.0, "detections_per_image": 100},
    ),
}


@pytest.mark.parametrize("name", list(CRITERIA))
def test_losses_weigh_and_match_as_the_papers_say(name: str) -> None:
    found = flat(built(name).criterion)
    assert {key: found[key] for key in CRITERIA[name]} == CRITERIA[name]


@pytest.mark.parametrize("name", list(DECODERS))
def test_decoders_keep_what_the_papers_say(name: str) -> None:
    found = flat(built(name).decode)
    assert {key: found[key] for key in DECODERS[name]} == DECODERS[name]


def test_every_entry_has_a_row_in_every_table() -> None:
    assert LAYERS.keys() == CATALOG.keys()
    assert PICTURES.keys() == {name for name in NAMES if CATALOG[name].task.name not in NO_PICTURES}
    with_loss = {name for name in NAMES if is_dataclass(getattr(built(name), "criterion", None))}
    assert CRITERIA.keys() == with_loss
    thresholds = {"score_threshold", "lowest_margin", "objects.score_threshold"}
    with_threshold = {
        name
        for name in NAMES
        if is_dataclass(getattr(built(name), "decode", None)) and thresholds & flat(built(name).decode).keys()
    }
    assert DECODERS.keys() == with_threshold


# ----------------------------------------------------------------------------------------------------------------------
# Anchors

OCTAVE_SIZES = (32, 64, 128, 256, 512)  # Lin et al. 2017a, section 4.1, and 2017b, section 4: of P2..P6 and P3..P7
FIRST_SIZES: dict[str, tuple[int, ...]] = {
    **same(["fasterrcnn_resnet18_fpn", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"], OCTAVE_SIZES),
    **same(["retinanet_resnet18_fpn", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"], OCTAVE_SIZES),
    "fasterrcnn_resnet50": (128, 256, 512),  # Ren et al. 2015, section 3.3
}


@pytest.mark.parametrize("name", list(FIRST_SIZES))
def test_sizes_of_anchors_are_those_of_the_papers(name: str) -> None:
    assert built(name).origin[1]["anchor_sizes"] == FIRST_SIZES[name]


def test_default_boxes_of_ssd_are_those_of_the_paper() -> None:
    """Scales as in the published COCO model; aspect ratios of section 3.1: without 1/3 and 3 on three of the maps."""
    assert [level.scale for level in ssd.SSD300] == [0.07, 0.15, 0.33, 0.51, 0.69, 0.87]
    assert ssd.END == 1.05
    assert [level.aspect_ratios for level in ssd.SSD300] == [(2,), (2, 3), (2, 3), (2, 3), (2,), (2,)]
    reference: Any = torchvision.models.get_model("ssd300_vgg16", weights=None, weights_backbone=None)
    theirs = reference.anchor_generator
    assert theirs.scales == [*(level.scale for level in ssd.SSD300), ssd.END]
    assert theirs.aspect_ratios == [list(level.aspect_ratios) for level in ssd.SSD300]


def test_anchors_of_yolo_are_those_of_the_paper() -> None:
    """Redmon & Farhadi 2018, section 2.3."""
    pairs = [(10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)]
    assert tuple(side for pair in pairs for side in pair) == yolo.COCO_ANCHORS
    assert built("yolov3").origin[1]["anchors"] == yolo.COCO_ANCHORS


@pytest.mark.parametrize("number", range(8))
def test_silent_numbers_of_efficientdet_are_those_of_effdet(number: int) -> None:
    theirs: Any = get_efficientdet_config(f"tf_efficientdet_d{number}")
    variant = efficientdet_scaling.VARIANTS[f"efficientdet_d{number}"]
    assert variant.anchor_scale == theirs.anchor_scale
    assert variant.fusion == ("sum" if number >= 6 else "fast") == ("sum" if theirs.fpn_name == "bifpn_sum" else "fast")
    assert variant.backbone == f"efficientnet_b{min(number, 6)}" == theirs.backbone_name.removeprefix("tf_")
    assert (theirs.norm_kwargs["eps"], theirs.norm_kwargs["momentum"]) == TENSORFLOW
    losses = (theirs.alpha, theirs.gamma, theirs.delta, theirs.box_loss_weight)
    assert losses == tuple(EFFICIENT[key] for key in ("alpha", "gamma", "delta", "box_weight"))
    decoder = DECODERS[f"efficientdet_d{number}"]
    assert theirs.max_detection_points == decoder["candidates"]
    assert theirs.max_det_per_image == decoder["detections_per_image"]
    assert tuple(theirs.image_size) == (BIG[number],) * 2


def test_silent_numbers_of_detr_are_those_of_transformers() -> None:
    theirs: Any = DetrConfig()
    row = LAYERS["detr_resnet50"]
    assert theirs.encoder_attention_heads == theirs.decoder_attention_heads == row.heads
    assert {theirs.dropout} == row.dropout
    assert (theirs.class_cost, theirs.bbox_cost, theirs.giou_cost) == (1, 5, 2)
    weights = (theirs.bbox_loss_coefficient, theirs.giou_loss_coefficient, theirs.eos_coefficient)
    assert weights == (SETS["coordinate_weight"], SETS["overlap_weight"], SETS["no_object_weight"])


@pytest.mark.parametrize(
    "name",
    ["fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"],
)
def test_detectors_keep_what_torchvisions_keep(name: str) -> None:
    with torch.device("meta"):
        theirs: Any = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    rule = theirs if name.startswith("retinanet") else theirs.roi_heads
    numbers = DECODERS[name]
    assert rule.score_thresh == numbers["score_threshold"]
    assert rule.nms_thresh == numbers["nms_threshold"]
    assert (theirs.transform.min_size, theirs.transform.max_size) == ((800,), 1333)
    if name.startswith("fasterrcnn"):  # torchvision's RetinaNet keeps 300, of which COCO's score counts 100
        assert rule.detections_per_img == numbers["detections_per_image"]
        assert theirs.rpn.nms_thresh == CRITERIA[name]["selection.threshold"]
        assert theirs.rpn.proposal_matcher.high_threshold == CRITERIA[name]["anchors.high"]
        assert theirs.rpn.proposal_matcher.low_threshold == CRITERIA[name]["anchors.low"]
        assert theirs.rpn.fg_bg_sampler.batch_size_per_image == CRITERIA[name]["anchors.count"]
        assert rule.fg_bg_sampler.batch_size_per_image == CRITERIA[name]["regions.count"]
