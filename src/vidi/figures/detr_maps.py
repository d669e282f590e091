"""What the parts of a DETR look at: attention maps and places of the object queries, as numbers (notes 4.3.6).

    encoder   which tokens a chosen pixel takes its values from, in the last layer: mostly those of its own object
    decoder   which tokens a found object takes its values from, in the last layer: mostly its ends
    queries   where and how large the boxes of each query are over a data set: each has its areas and sizes

Carion et al. 2020, 2005.12872, section 4.1.1 and figures 3, 6, 7; notes figures 4.21 to 4.23. Maps are means over the
attention heads; each sums to 1 over the image.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vidi.detection.detr import Detr, DetrDecode, DetrOutputs
from vidi.model import Supervised, evaluating
from vidi.nn.attention import recorded_attention
from vidi.preprocess import Batch, Placement
from vidi.results.detections import Detections

SMALL = 0.03  # of the image's area: 96^2 pixels of 640 x 480, from where COCO calls objects large

KINDS = ("small", "wide", "tall")
"""The colours of the notes' figure 4.23: small boxes, large ones that are wider than high, large ones that are not."""


class ObjectAttention(NamedTuple):
    """The objects of one image, the surest first, with what the decoder looked at for each."""

    detections: Detections
    queries: Int64[Tensor, " N"]  # that found them
    maps: Float[Tensor, "N h w"]


class QueryBoxes(NamedTuple):
    """What every query predicted for every image of a data set."""

    boxes_cxcywh_normalized: Float[Tensor, "I Q 4"]
    scores: Float[Tensor, "I Q"]  # of the best class


class _Looked(NamedTuple):
    """One image's forward, with the weights of one attention."""

    outputs: DetrOutputs
    placement: Placement
    grid: tuple[int, int]  # rows and columns of tokens
    maps: Float[Tensor, "N T"]  # mean over the heads


def pixel_attention(
    model: Supervised, image: Any, points: Sequence[tuple[float | int, float | int]]
) -> Float[Tensor, "P h w"]:
    """Return what the tokens under chosen points look at in the encoder's last layer.

    Args:
        model: what a builder of `vidi.detection.detr` made.
        image: as for `predict`.
        points: (x, y) in pixels of the image.

    Raises:
        ValueError: if a point is not in the image.
    """
    looked = _look(model, image, "encoder", "attention")
    H, W = looked.placement.original
    h, w = looked.placement.resized
    stride = cast(Detr, model.network).backbone.strides[-1]
    rows = []
    for x, y in points:
        if not (0 <= x < W and 0 <= y < H):
            raise ValueError(f"received the point ({x}, {y}), expected one in an image of {W} x {H} pixels")
        rows.append(int(y * h / H) // stride * looked.grid[1] + int(x * w / W) // stride)
    return looked.maps[rows].unflatten(1, looked.grid)  # P T -> P h w


def object_attention(model: Supervised, image: Any, *, threshold: float | int = 0.5) -> ObjectAttention:
    """Return what the queries that found objects looked at in the decoder's last layer.

    Args:
        model: what a builder of `vidi.detection.detr` made.
        image: as for `predict`.
        threshold: of the score, above which a query has found something.
    """
    looked = _look(model, image, "decoder", "cross_attention")
    decode = replace(cast(DetrDecode, model.decode), score_threshold=float(threshold))
    scores = decode.best_classes(looked.outputs)[0][0]  # Q
    order = scores.argsort(descending=True, stable=True)  # as `Detections` sorts
    queries = order[scores[order] > threshold]
    detections = decode(looked.outputs, [looked.placement])[0]
    return ObjectAttention(detections, queries, looked.maps[queries].unflatten(1, looked.grid))


def query_boxes(model: Supervised, images: Any) -> QueryBoxes:
    """Return the boxes and scores of all queries over the images of a data set (as for `predict`)."""
    boxes, scores = [], []
    decode = cast(DetrDecode, model.decode)
    with evaluating(model), torch.no_grad():
        for image in model.read(images):
            outputs = model(_alone(model, image).images)
            boxes.append(outputs.boxes_cxcywh_normalized[0].cpu())
            scores.append(decode.best_classes(outputs)[0][0].cpu())
    return QueryBoxes(torch.stack(boxes), torch.stack(scores))


def box_kinds(boxes_cxcywh_normalized: Float[Tensor, "*N 4"], *, small: float | int = SMALL) -> Int64[Tensor, "*N"]:
    """Return the index in `KINDS` of each box; `small` is an area, as a share of the image's."""
    _, _, w, h = boxes_cxcywh_normalized.unbind(-1)
    return torch.where(w * h < small, 0, torch.where(w > h, 1, 2))


def _look(model: Supervised, image: Any, stack: str, attention: str) -> _Looked:
    """Run the model on one image, and keep the weights of the last layer of a stack."""
    (pixels,) = model.read([image])
    batch = _alone(model, pixels)
    network = cast(Detr, model.network)
    with evaluating(model), torch.no_grad(), recorded_attention(network) as maps:
        outputs = model(batch.images)
    last = len(network.get_submodule(f"{stack}.layers")) - 1  # type: ignore[arg-type]
    weights = maps[f"{stack}.layers.{last}.{attention}"][0][0].mean(0)  # B h N T -> N T
    H, W = batch.images.shape[2:]
    return _Looked(outputs, batch.placements[0], network.grid((H, W)), weights)


def _alone(model: Supervised, pixels: Tensor) -> Batch:
    """Return an image as a batch of one."""
    return model.preprocess.collate([model.preprocess.place(pixels, {})]).to(model.device)
