"""MaskFormer: segmentation as the prediction of a set of masks, each with one class (notes 5.3.2).

Cheng, Schwing, Kirillov 2021, "Per-Pixel Classification is Not All You Need for Semantic Segmentation", arXiv
2107.06278.

    images         B 3 H W
    backbone       C2 .. C5, strides 4 .. 32
    pixel decoder  top down from C5: pixel embeddings, B C_e H/4 W/4
    decoder        Q queries, content 0, look at each other and at C5 (projected to D, with sines and cosines of y, x)
    heads          class: linear, K + 1 logits; mask embeddings: an MLP, C_e; masks: their products with the pixels'
    criterion      matching; NLL of all queries + focal and dice loss of the masks of the matched ones, every layer
    decode         `vidi.segmentation.mask_classification`: panoptic, semantic, instances

The naive form of the notes has no pixel decoder (`coarse`): an MLP turns what the decoder gives for a query into a mask
of a few cells a side, which is enlarged. It has to say every cell of the mask from one vector.

Differs from the notes: they call its results not state of the art; those on ADE20K were when it appeared, and it does
need long training. Mask2Former is better in all three tasks.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones import swin
from vidi.backbones.resnet import trunk
from vidi.backbones.trunk import Backbone, Maps
from vidi.detection.targets import named_outputs
from vidi.losses.classification import focal_loss
from vidi.losses.mask import dice_loss, pairwise_dice_loss, pairwise_focal_loss
from vidi.model import Step, Supervised
from vidi.necks.pixel_decoder import PixelDecoder, places_of
from vidi.nn.attention import draw_as_one_matrix
from vidi.nn.normalization import Norm
from vidi.nn.transformer import Decoder
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

COCO_THINGS = 80  # of the 133 panoptic categories, which come first

# ----------------------------------------------------------------------------------------------------------------------
# Network


class MaskEmbedding(nn.Sequential):
    """Three linear maps with ReLU between them."""

    def __init__(self, width: int, outputs: int):
        super().__init__(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.append(nn.Linear(width, outputs))


def dot_product_masks(
    embeddings: Float[Tensor, "B L Q E"], pixels: Float[Tensor, "B E H W"]
) -> Float[Tensor, "B L Q H W"]:
    """Return the product of every mask embedding with every pixel embedding: the masks before the sigmoid."""
    return torch.einsum("blqe,behw->blqhw", embeddings, pixels)


class MaskFormer(nn.Module):
    """Backbone, pixel decoder, transformer decoder, and two heads that read every query.

    Args:
        backbone: maps of strides 4 to 32.
        outputs: logits of a query, without that of "no object".
        queries: Q, the most segments that can be found in an image.
        width, heads, hidden: D, of attention, inside the feed-forward networks.
        layers: of the transformer decoder.
        pixel_channels, embedding: of the pixel decoder, and C_e of its output.
        dropout: in the transformer, while training.
        coarse: cells a side of the masks of the naive form, which has no pixel decoder; None: with one.

    Raises:
        ValueError: for a width that is no multiple of 4 and of the heads, or of channels that are none of 32.
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
        layers: int = 6,
        pixel_channels: int = 256,
        embedding: int = 256,
        dropout: float = 0.1,
        coarse: int | None = None,
    ):
        super().__init__()
        if width % 4:
            raise ValueError(f"received width={width}, expected a multiple of 4: half of it for y, in pairs of waves")
        self.backbone = backbone
        self.projection = nn.Conv2d(backbone.channels[-1], width, 1)
        self.decoder = Decoder(layers, width, heads, hidden, final_norm=True, dropout=dropout)
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.class_head = nn.Linear(width, outputs + 1)
        self.coarse = coarse
        if coarse is None:
            self.pixel_decoder = PixelDecoder(backbone.channels, pixel_channels, embedding)
        self.mask_embedding = MaskEmbedding(width, embedding if coarse is None else coarse**2)
        draw_as_one_matrix(self)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)  # type: ignore[arg-type]

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> MaskOutputs:
        maps = self.backbone.features(images)
        x = self.projection(maps[-1])  # B D h w
        tokens = x.flatten(2).transpose(1, 2)  # B D h w -> B T D
        content = torch.zeros_like(self.queries).expand(images.shape[0], -1, -1)  # B Q D
        layers = self.decoder.outputs(content, tokens, positions=self.queries[None], context_positions=places_of(x))
        objects = torch.stack(layers, 1)  # B L Q D
        return MaskOutputs.of_layers(self.class_head(objects), self.masks(objects, maps))

    def masks(self, objects: Float[Tensor, "B L Q D"], maps: Maps) -> Float[Tensor, "B L Q H W"]:
        """Return the masks before the sigmoid, at the resolution of the finest map."""
        embeddings = self.mask_embedding(objects)  # B L Q E
        if self.coarse is None:
            return dot_product_masks(embeddings, self.pixel_decoder(maps))
        cells = embeddings.unflatten(-1, (self.coarse, self.coarse))  # B L Q c c
        size = maps[0].shape[2:]
        return F.interpolate(cells.flatten(0, 1), size, mode="bilinear").unflatten(0, cells.shape[:2])


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


@dataclass(frozen=True)
class MaskFormerCriterion(MaskCriterion):
    """Focal and dice loss of masks at all pixels of the canvas, matched at those of the masks (section 3.2)."""

    class_weight: float = 1.0
    mask_weight: float = 20.0
    dice_weight: float = 1.0
    no_object_weight: float = 0.1
    alpha: float = 0.25
    gamma: float = 2.0

    def mask_costs(
        self, mask_logits: Float[Tensor, "B L Q h w"], segments: PaddedSegments, step: Step
    ) -> Float[Tensor, "B L Q M"]:
        B, L = mask_logits.shape[:2]
        small = F.interpolate(segments.masks.float(), mask_logits.shape[3:], mode="nearest") > 0  # B M h w
        truth = small.flatten(2).repeat_interleave(L, 0)  # BL M N
        found = mask_logits.flatten(3).flatten(0, 1)  # BL Q N
        pixels = pairwise_focal_loss(found, truth, gamma=self.gamma, alpha=self.alpha)
        costs = self.mask_weight * pixels + self.dice_weight * pairwise_dice_loss(found, truth)
        return costs.unflatten(0, (B, L))

    def mask_terms(self, pairs: Matched, step: Step) -> dict[str, Float[Tensor, " N"]]:
        size = pairs.masks.shape[1:]
        found = F.interpolate(pairs.mask_logits[:, None], size, mode="bilinear", align_corners=False)
        found, truth = found.flatten(1), pairs.masks.flatten(1)  # N HW
        pixels = focal_loss(found, truth, gamma=self.gamma, alpha=self.alpha, reduction="none").mean(1)
        return {
            "mask": self.mask_weight * pixels,
            "dice": self.dice_weight * dice_loss(found, truth, reduction="none"),
        }


# ----------------------------------------------------------------------------------------------------------------------
# Builders


BACKBONES = {
    "maskformer_resnet50": "resnet50",
    "maskformer_resnet101": "resnet101",
    "maskformer_swin_t": "swin_t",
    "maskformer_resnet50_semantic": "resnet50",
    "maskformer_swin_t_semantic": "swin_t",
}
SWIN_DROP_PATH = 0.3  # in the authors' configurations, of Mask2Former too, for every size


def backbone_of(name: str, norm: Norm, width: int | None, side: int = 7) -> Backbone:
    """Return a backbone with maps of strides 4 to 32: a ResNet with the given norms, or a Swin with windows of `side`.

    Args:
        name: as in `vidi.backbones.swin` or `vidi.backbones.resnet`.
        norm: of a ResNet.
        width: channels of the first stage; None: the paper's.
        side: of a Swin's windows.
    """
    if name in swin.VARIANTS:
        return swin.trunk(name, side=side, always_shift=True, drop_path=SWIN_DROP_PATH, width=width)
    return trunk(name, norm=norm, width=width or 64)


def maskformer_model(
    name: str,
    backbone: Backbone,
    categories: int | tuple[str | None, ...],
    things: int | tuple[str, ...],
    preprocess: Preprocess,
    thresholds: dict[str, Any],  # of the decoder, see `mask_decode`
    no_object_weight: float,
    **numbers: Any,  # of the network, see `MaskFormer`
) -> Supervised:
    """Put network, criterion, decoder and preprocessing together."""
    names, form = category_names(categories), form_of(name)
    network = MaskFormer(backbone, len(names), **numbers)
    criterion = MaskFormerCriterion(named_outputs(names), no_object_weight=no_object_weight, form=form)
    return Supervised(network, criterion, mask_decode(form, names, things, **thresholds), preprocess)


def maskformer(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 133,
    things: int | tuple[str, ...] = COCO_THINGS,
    queries: int = 100,
    backbone_width: int | None = None,
    width: int = 256,
    hidden: int = 2048,
    layers: int = 6,
    dropout: float = 0.1,
    coarse: int | None = None,
    norm: Norm = "batch",
    no_object_weight: float = 0.1,
    size: tuple[int, int] | None = None,
    shorter: int = 800,
    longest: int = 1333,
    score_threshold: float = 0.8,
    overlap_threshold: float = 0.8,
    mask_threshold: float = 0.5,
    detections_per_image: int = 100,
) -> Supervised:
    """Build a network of the paper by its name in `BACKBONES`.

    Args:
        categories: the number of classes, or their names.
        things: which of them are things: their names, or the number of the first ones that are.
        queries: the most segments that can be found in an image.
        backbone_width: channels of the backbone's first stage; None: the paper's; fewer make all of it narrower.
        width: of the queries and of the pixels' embeddings.
        hidden: width inside the feed-forward networks.
        layers: of the transformer decoder.
        dropout: in the transformer, while training.
        coarse: cells a side of the masks of the naive form, without pixel decoder; None: with one.
        norm: of a ResNet: "batch", "frozen" or "group".
        no_object_weight: of queries without a segment in the class loss.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least probability of a segment's class, or score of an instance.
        overlap_threshold: the least share of its mask that a segment must keep from others.
        mask_threshold: the least probability of a pixel that belongs to a mask.
        detections_per_image: at most.
    """
    shape = {"queries": queries, "width": width, "hidden": hidden, "layers": layers, "dropout": dropout}
    channels = {"pixel_channels": width, "embedding": width, "coarse": coarse}
    thresholds = {"score_threshold": score_threshold, "overlap_threshold": overlap_threshold}
    return maskformer_model(
        name,
        backbone_of(BACKBONES[name], norm, backbone_width),
        categories,
        things,
        Preprocess(shorter, longest, size, stride=32),
        {**thresholds, "mask_threshold": mask_threshold, "detections_per_image": detections_per_image},
        no_object_weight,
        **shape,
        **channels,
    )


maskformer_resnet50 = of_form(maskformer, "maskformer_resnet50", "41 M parameters")
maskformer_resnet101 = of_form(maskformer, "maskformer_resnet101", "60 M parameters")
maskformer_swin_t = of_form(maskformer, "maskformer_swin_t", "42 M parameters")
maskformer_resnet50_semantic = of_form(
    maskformer, "maskformer_resnet50_semantic", "the class of each pixel, 41 M parameters, ADE20K mIoU 44.5"
)
maskformer_swin_t_semantic = of_form(
    maskformer, "maskformer_swin_t_semantic", "the class of each pixel, 42 M parameters, ADE20K mIoU 46.7"
)


def small_maskformer(
    name: str,
    *,
    categories: int | tuple[str | None, ...] = 133,
    things: int | tuple[str, ...] = COCO_THINGS,
    queries: int = 100,
    backbone_width: int = 64,
    width: int = 128,
    heads: int = 8,
    hidden: int = 512,
    layers: int = 3,
    dropout: float = 0.0,
    coarse: int | None = None,
    norm: Norm = "batch",
    no_object_weight: float = 0.1,
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
        width: of the queries and of the pixels' embeddings, a multiple of 32.
        heads: of the attention.
        hidden: width inside the feed-forward networks.
        layers: of the transformer decoder.
        dropout: in the transformer, while training.
        coarse: cells a side of the masks of the naive form, without pixel decoder; None: with one.
        norm: of the backbone: "batch", "frozen" or "group".
        no_object_weight: of queries without a segment in the class loss.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least probability of a segment's class, or score of an instance.
        overlap_threshold: the least share of its mask that a segment must keep from others.
        mask_threshold: the least probability of a pixel that belongs to a mask.
        detections_per_image: at most.
    """
    shape = {"queries": queries, "width": width, "heads": heads, "hidden": hidden, "layers": layers}
    channels = {"pixel_channels": width, "embedding": width, "dropout": dropout, "coarse": coarse}
    thresholds = {"score_threshold": score_threshold, "overlap_threshold": overlap_threshold}
    return maskformer_model(
        name,
        trunk("resnet18", norm=norm, width=backbone_width),
        categories,
        things,
        Preprocess(shorter, longest, size, stride=32),
        {**thresholds, "mask_threshold": mask_threshold, "detections_per_image": detections_per_image},
        no_object_weight,
        **shape,
        **channels,
    )


maskformer_resnet18 = of_form(
    small_maskformer,
    "maskformer_resnet18",
    "ResNet-18 and a small decoder, which train from random weights on small data",
)
TINY: dict[str, Any] = {
    "queries": 16,
    "backbone_width": 32,
    "width": 64,
    "heads": 4,
    "hidden": 128,
    "layers": 2,
    "shorter": 128,
    "longest": 256,
}
TINY_SAYS = "trains on a CPU on images of 128 pixels: narrow and shallow"
maskformer_tiny = of_form(small_maskformer, "maskformer_tiny", TINY_SAYS, categories=7, things=5, **TINY)
maskformer_tiny_semantic = of_form(
    small_maskformer, "maskformer_tiny_semantic", f"the class of each pixel; {TINY_SAYS}", categories=7, **TINY
)
