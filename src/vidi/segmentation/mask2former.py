"""Mask2Former: MaskFormer whose queries look only where they saw their segment, at three scales in turn (notes 5.3.3).

Cheng, Misra, Schwing, Kirillov, Girdhar 2022, "Masked-attention Mask Transformer for Universal Image Segmentation",
arXiv 2112.01527; pixel decoder of Zhu et al. 2021, "Deformable DETR", arXiv 2010.04159; points of Kirillov et al. 2020,
"PointRend", arXiv 1912.08193.

    images         B 3 H W
    backbone       C2 .. C5 of a ResNet or a Swin, strides 4 .. 32
    pixel decoder  deformable attention among all cells of C5, C4, C3 (every cell a query of 4 points a map and head);
                   C2 joins as in a pyramid: pixel embeddings, B C_e H/4 W/4, and the three maps, coarsest first
    decoder        Q queries with learnt content; before the first layer and after each: class and mask of every query;
                   layer l looks at map l mod 3, only where the mask before is above 1/2, everywhere if that is nowhere;
                   then queries look at each other; feed-forward
    criterion      that of MaskFormer at points: matched at P uniform ones, the same for all masks of an image, judged
                   at P of which three quarters are the least certain of 3 P; cross-entropy instead of focal loss
    decode         `vidi.segmentation.mask_classification`

Differs from the notes: points are not left out at random as in dropout, most are those where the mask is uncertain.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vidi.backbones.resnet import trunk
from vidi.backbones.trunk import Backbone
from vidi.detection.targets import named_outputs
from vidi.losses.classification import binary_cross_entropy
from vidi.losses.mask import dice_loss, pairwise_binary_cross_entropy, pairwise_dice_loss
from vidi.model import Step, Supervised
from vidi.necks.pixel_decoder import LEVELS, DeformablePixelDecoder, places_of
from vidi.nn.attention import MultiHeadAttention
from vidi.nn.feed_forward import FeedForward
from vidi.nn.normalization import Norm
from vidi.nn.transformer import Residual
from vidi.ops.points import random_points, sample_points, uncertain_points
from vidi.preprocess import Preprocess
from vidi.results.categories import category_names
from vidi.segmentation.mask_classification import (
    MaskCriterion,
    MaskOutputs,
    Matched,
    PaddedSegments,
    form_of,
    mask_decode,
    of_form,
)
from vidi.segmentation.maskformer import COCO_THINGS, MaskEmbedding, backbone_of

# ----------------------------------------------------------------------------------------------------------------------
# Transformer decoder


def foreground(mask_logits: Float[Tensor, "B Q H W"], size: tuple[int, int]) -> Bool[Tensor, "B Q T"]:
    """Return where each query may look in a map of `size`: where its mask is at least 1/2, everywhere if nowhere.

    The masks are brought to the map's size first; no gradient flows (section 3.2.1, equations 2 and 3).
    """
    resized = F.interpolate(mask_logits.detach(), size, mode="bilinear", align_corners=False).flatten(2)  # B Q T
    inside = resized.sigmoid() >= 0.5
    return inside | ~inside.any(-1, keepdim=True)


class MaskedLayer(nn.Module):
    """Masked attention to a map, self-attention, feed-forward: in this order, as queries have seen nothing at first."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        around = {"norm_first": False, "dropout": dropout, "eps": 1e-5}
        self.cross_attention = MultiHeadAttention(width, heads, dropout=dropout)
        self.cross_attention_residual = Residual(width, **around)
        self.self_attention = MultiHeadAttention(width, heads, dropout=dropout)
        self.self_attention_residual = Residual(width, **around)
        self.feed_forward = FeedForward(width, hidden, dropout=dropout)
        self.feed_forward_residual = Residual(width, **around)

    def forward(
        self,
        x: Float[Tensor, "B Q D"],
        tokens: Float[Tensor, "B T D"],
        *,
        positions: Float[Tensor, "1 Q D"],
        places: Float[Tensor, "1 T D"],
        mask: Bool[Tensor, "B Q T"],
    ) -> Float[Tensor, "B Q D"]:
        """Return the queries after the layer; positions and places are added to queries and keys, not to values."""
        keys = tokens + places

        def look_at_the_map(y: Tensor) -> Tensor:
            return self.cross_attention(y + positions, keys, tokens, mask=mask)

        def look_around(y: Tensor) -> Tensor:
            return self.self_attention(y + positions, y + positions, y)

        x = self.cross_attention_residual(x, look_at_the_map)
        x = self.self_attention_residual(x, look_around)
        return self.feed_forward_residual(x, self.feed_forward)


class Mask2Former(nn.Module):
    """Backbone, pixel decoder, masked transformer decoder, and two heads that read every query.

    Args:
        backbone: maps of strides 4 to 32.
        outputs: logits of a query, without that of "no object".
        queries: Q, the most segments that can be found in an image.
        width, heads, hidden: D, of attention, inside the feed-forward networks of the decoder.
        layers: of the transformer decoder; queries are also judged before the first.
        pixel_layers, pixel_hidden: of the pixel decoder.
        dropout: in both, while training.

    Raises:
        ValueError: for a width that is no multiple of 4 and of the heads.
    """

    def __init__(
        self,
        backbone: Backbone,
        outputs: int,
        *,
        queries: int = 100,
        width: int = 256,
        heads: int = 8,
        hidden: int = 2048,
        layers: int = 9,
        pixel_layers: int = 6,
        pixel_hidden: int = 1024,
        dropout: float = 0.0,
    ):
        super().__init__()
        if width % 4:
            raise ValueError(f"received width={width}, expected a multiple of 4: half of it for y, in pairs of waves")
        self.backbone = backbone
        pixels = {"heads": heads, "hidden": pixel_hidden, "layers": pixel_layers, "dropout": dropout}
        self.pixel_decoder = DeformablePixelDecoder(backbone.channels, width, width, **pixels)
        self.level_embedding = nn.Parameter(torch.randn(LEVELS, width))
        self.content, self.positions = (nn.Parameter(torch.randn(queries, width)) for _ in range(2))
        self.layers = nn.ModuleList(MaskedLayer(width, heads, hidden, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.class_head = nn.Linear(width, outputs + 1)
        self.mask_embedding = MaskEmbedding(width, width)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> MaskOutputs:
        pixels, maps = self.pixel_decoder(self.backbone.features(images))
        tokens = [  # B T D each
            level.flatten(2).transpose(1, 2) + own for level, own in zip(maps, self.level_embedding, strict=True)
        ]
        places, sizes = [places_of(level) for level in maps], [(level.shape[2], level.shape[3]) for level in maps]
        x = self.content.expand(images.shape[0], -1, -1)  # B Q D
        classes, masks = [], []
        for row in range(len(self.layers) + 1):
            objects = self.norm(x)
            classes.append(self.class_head(objects))
            masks.append(torch.einsum("bqe,behw->bqhw", self.mask_embedding(objects), pixels))
            if row < len(self.layers):
                level = row % LEVELS
                looked_at = foreground(masks[-1], sizes[level])
                around = {"positions": self.positions[None], "places": places[level], "mask": looked_at}
                x = self.layers[row](x, tokens[level], **around)
        return MaskOutputs.of_layers(torch.stack(classes, 1), torch.stack(masks, 1))


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


@dataclass(frozen=True)
class Mask2FormerCriterion(MaskCriterion):
    """Cross-entropy and dice loss of masks at points (section 3.3)."""

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    points: int = 12_544  # 112 x 112
    oversampling: float = 3.0
    uncertain_share: float = 0.75

    def mask_costs(
        self, mask_logits: Float[Tensor, "B L Q h w"], segments: PaddedSegments, step: Step
    ) -> Float[Tensor, "B L Q M"]:
        B, L = mask_logits.shape[:2]
        places = random_points(B * L, self.points, like=mask_logits, generator=step.generator)  # BL P 2
        found = sample_points(mask_logits.flatten(0, 1), places)  # BL Q P
        truth = sample_points(segments.masks.to(places), places.unflatten(0, (B, L)).flatten(1, 2))  # B M LP
        truth = truth.unflatten(2, (L, -1)).transpose(1, 2).flatten(0, 1)  # BL M P
        pixels = pairwise_binary_cross_entropy(found, truth)
        costs = self.mask_weight * pixels + self.dice_weight * pairwise_dice_loss(found, truth)
        return costs.unflatten(0, (B, L))

    def mask_terms(self, pairs: Matched, step: Step) -> dict[str, Float[Tensor, " N"]]:
        numbers = {"oversampling": self.oversampling, "share": self.uncertain_share}
        places = uncertain_points(pairs.mask_logits, self.points, generator=step.generator, **numbers)  # N P 2
        found = sample_points(pairs.mask_logits[:, None], places)[:, 0]  # N P
        truth = sample_points(pairs.masks[:, None].to(places), places)[:, 0]
        pixels = binary_cross_entropy(found, truth, reduction="none").mean(1)
        return {
            "mask": self.mask_weight * pixels,
            "dice": self.dice_weight * dice_loss(found, truth, reduction="none"),
        }


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def mask2former_model(
    name: str,
    backbone: Backbone,
    categories: int | tuple[str | None, ...],
    things: int | tuple[str, ...],
    preprocess: Preprocess,
    thresholds: dict[str, Any],  # of the decoder, see `mask_decode`
    points: int,
    **numbers: Any,  # of the network, see `Mask2Former`
) -> Supervised:
    """Put network, criterion, decoder and preprocessing together."""
    names, form = category_names(categories), form_of(name)
    network = Mask2Former(backbone, len(names), **numbers)
    criterion = Mask2FormerCriterion(named_outputs(names), form=form, points=points)
    decode = mask_decode(form, names, things, **thresholds, only_inside=True)
    return Supervised(network, criterion, decode, preprocess)


BACKBONES: dict[str, tuple[str, int]] = {
    "mask2former_resnet50": ("resnet50", 7),
    "mask2former_resnet101": ("resnet101", 7),
    "mask2former_swin_t": ("swin_t", 7),
    "mask2former_swin_s": ("swin_s", 7),
    "mask2former_swin_b": ("swin_b", 12),
    "mask2former_swin_l": ("swin_l", 12),
    "mask2former_swin_t_semantic": ("swin_t", 7),
    "mask2former_resnet50_instance": ("resnet50", 7),
    "mask2former_swin_t_instance": ("swin_t", 7),
}
"""The backbone of each network, and the side of its windows if it is a Swin (12: trained with 384 pixels)."""


def mask2former(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 133,
    things: int | tuple[str, ...] = COCO_THINGS,
    queries: int = 100,
    backbone_width: int | None = None,
    width: int = 256,
    hidden: int = 2048,
    layers: int = 9,
    pixel_layers: int = 6,
    pixel_hidden: int = 1024,
    dropout: float = 0.0,
    norm: Norm = "batch",
    points: int = 12_544,
    size: tuple[int, int] | None = None,
    shorter: int = 800,
    longest: int = 1333,
    score_threshold: float = 0.8,
    overlap_threshold: float = 0.8,
    mask_threshold: float = 0.5,
    detections_per_image: int = 100,
) -> Supervised:
    """Build a network of the paper by its name in `BACKBONES`.

    COCO PQ is that of the authors' weights on val2017.

    Args:
        categories: the number of classes, or their names.
        things: which of them are things: their names, or the number of the first ones that are.
        queries: the most segments that can be found in an image.
        backbone_width: channels of the backbone's first stage; None: the paper's; fewer make all of it narrower.
        width: of the queries, the maps and the pixels' embeddings.
        hidden: width inside the feed-forward networks of the decoder.
        layers: of the transformer decoder.
        pixel_layers: of the pixel decoder.
        pixel_hidden: width inside its feed-forward networks.
        dropout: in both, while training.
        norm: of a ResNet: "batch", "frozen" or "group".
        points: at which masks are matched and judged.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least probability of a segment's class, or score of an instance.
        overlap_threshold: the least share of its mask that a segment must keep from others.
        mask_threshold: the least probability of a pixel that belongs to a mask.
        detections_per_image: at most.
    """
    shape = {"queries": queries, "width": width, "hidden": hidden, "layers": layers, "dropout": dropout}
    pixels = {"pixel_layers": pixel_layers, "pixel_hidden": pixel_hidden}
    backbone, side = BACKBONES[name]
    thresholds = {"score_threshold": score_threshold, "overlap_threshold": overlap_threshold}
    return mask2former_model(
        name,
        backbone_of(backbone, norm, backbone_width, side),
        categories,
        things,
        Preprocess(shorter, longest, size, stride=32),
        {**thresholds, "mask_threshold": mask_threshold, "detections_per_image": detections_per_image},
        points,
        **shape,
        **pixels,
    )


mask2former_resnet50 = of_form(mask2former, "mask2former_resnet50", "44 M parameters, COCO PQ 51.9")
mask2former_resnet101 = of_form(mask2former, "mask2former_resnet101", "63 M parameters, COCO PQ 52.6")
mask2former_swin_t = of_form(mask2former, "mask2former_swin_t", "47 M parameters, COCO PQ 53.2")
mask2former_swin_s = of_form(mask2former, "mask2former_swin_s", "69 M parameters, COCO PQ 54.6")
mask2former_swin_b = of_form(mask2former, "mask2former_swin_b", "107 M parameters, COCO PQ 55.1")
mask2former_swin_l = of_form(
    mask2former, "mask2former_swin_l", "216 M parameters, COCO PQ 57.8 after ImageNet-22k", queries=200
)

mask2former_swin_t_semantic = of_form(
    mask2former, "mask2former_swin_t_semantic", "the class of each pixel, 47 M parameters, ADE20K mIoU 47.7"
)
mask2former_resnet50_instance = of_form(
    mask2former, "mask2former_resnet50_instance", "things alone, 44 M parameters, COCO mask AP 43.7"
)
mask2former_swin_t_instance = of_form(
    mask2former, "mask2former_swin_t_instance", "things alone, 47 M parameters, COCO mask AP 45.0"
)


def small_mask2former(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 133,
    things: int | tuple[str, ...] = COCO_THINGS,
    queries: int = 100,
    backbone_width: int = 64,
    width: int = 128,
    heads: int = 8,
    hidden: int = 512,
    layers: int = 6,
    pixel_layers: int = 3,
    pixel_hidden: int = 512,
    dropout: float = 0.0,
    norm: Norm = "batch",
    points: int = 4096,
    size: tuple[int, int] | None = None,
    shorter: int = 800,
    longest: int = 1333,
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.8,
    mask_threshold: float = 0.5,
    detections_per_image: int = 100,
) -> Supervised:
    """Build a small network with ResNet-18 by its name.

    Args:
        categories: the number of classes, or their names.
        things: which of them are things: their names, or the number of the first ones that are.
        queries: the most segments that can be found in an image.
        backbone_width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        width: of the queries, the maps and the pixels' embeddings, a multiple of 32.
        heads: of the attention.
        hidden: width inside the feed-forward networks of the decoder.
        layers: of the transformer decoder.
        pixel_layers: of the pixel decoder.
        pixel_hidden: width inside its feed-forward networks.
        dropout: in both, while training.
        norm: of the backbone: "batch", "frozen" or "group".
        points: at which masks are matched and judged.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least probability of a segment's class, or score of an instance.
        overlap_threshold: the least share of its mask that a segment must keep from others.
        mask_threshold: the least probability of a pixel that belongs to a mask.
        detections_per_image: at most.
    """
    shape = {"queries": queries, "width": width, "heads": heads, "hidden": hidden, "layers": layers}
    pixels = {"pixel_layers": pixel_layers, "pixel_hidden": pixel_hidden, "dropout": dropout}
    thresholds = {"score_threshold": score_threshold, "overlap_threshold": overlap_threshold}
    return mask2former_model(
        name,
        trunk("resnet18", norm=norm, width=backbone_width),
        categories,
        things,
        Preprocess(shorter, longest, size, stride=32),
        {**thresholds, "mask_threshold": mask_threshold, "detections_per_image": detections_per_image},
        points,
        **shape,
        **pixels,
    )


mask2former_resnet18 = of_form(
    small_mask2former,
    "mask2former_resnet18",
    "ResNet-18 and small decoders, which train from random weights on small data",
)
TINY: dict[str, Any] = {
    "queries": 16,
    "backbone_width": 32,
    "width": 64,
    "heads": 4,
    "hidden": 128,
    "layers": 3,
    "pixel_layers": 1,
    "pixel_hidden": 128,
    "points": 1024,
    "shorter": 128,
    "longest": 256,
}
TINY_SAYS = "trains on a CPU on images of 128 pixels: narrow and shallow"
mask2former_tiny = of_form(small_mask2former, "mask2former_tiny", TINY_SAYS, categories=7, things=5, **TINY)
mask2former_tiny_semantic = of_form(
    small_mask2former, "mask2former_tiny_semantic", f"the class of each pixel; {TINY_SAYS}", categories=7, **TINY
)
mask2former_tiny_instance = of_form(
    small_mask2former, "mask2former_tiny_instance", f"things alone; {TINY_SAYS}", categories=5, **TINY
)
