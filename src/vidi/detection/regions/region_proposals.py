"""Region proposal network: the first stage of Faster R-CNN, which says where objects may be, not what they are.

Ren, He, Girshick, Sun 2015, "Faster R-CNN", arXiv 1506.01497, section 3.1; notes 4.3.2.

    features     one map of stride 16 (the paper), or the levels of a feature pyramid, each B C h w
    head         3x3 convolution and ReLU, then two parallel 1x1: objectness and 4 deltas for each of h x w x k anchors
    criterion    anchors to objects by IoU, a mini-batch of 256 an image, log loss + smooth L1 of the positive ones
    selection    the best anchors of each level, their boxes, clipped, suppressed: B N 4, scored, some slots empty

Differs from the notes: predictions are made at each location of the feature map, not at each pixel; an anchor is
negative if it overlaps *every* object by less than 0.3, and the best anchor of *each* object is positive even where
others exceed 0.7; at most half of a mini-batch is positive (`sampling="notes"` keeps all). 256 channels of the 3x3 are
those of ZF and of feature pyramids, VGG has 512. Differs from the paper: the box loss is divided by the size of the
mini-batch, like the log loss, not by the number of locations over lambda = 10, which is about equal (256, 2,400 / 10).
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vidi.detection.candidates import Candidates
from vidi.detection.options import check_choice
from vidi.detection.targets import Objects, mostly_inside
from vidi.losses.box import smooth_l1_loss
from vidi.model import Losses, Step, widened
from vidi.ops.boxes import box_iou, boxes_at_least, boxes_inside, clip_boxes_to_images, decode_boxes, encode_boxes
from vidi.ops.matching import BACKGROUND, IGNORED, match_anchors, sample_balanced

Border = Literal["keep", "ignore"]
"""Whether anchors that cross the image's border train: kept with feature pyramids (Lin et al. 2017, torchvision),
ignored by Ren et al. 2015. Proposals are clipped to the image in either case."""

Sampling = Literal["paper", "notes"]
"""Whether at most half of a mini-batch is positive, or all positives are in it."""

SMALLEST = 1e-3  # pixels a proposal's sides must have after clipping (torchvision)


class AnchorPredictions(NamedTuple):
    """What the head says of each anchor, by level; rows run over y, then x, then the anchors of a cell."""

    objectness: tuple[Float[Tensor, "B _"], ...]  # logits
    deltas: tuple[Float[Tensor, "B _ 4"], ...]  # see `encode_boxes`
    anchors: tuple[Float[Tensor, "_ 4"], ...]  # xyxy, pixels of the canvas


class Proposals(NamedTuple):
    """Boxes that may hold objects, the surest first, in fixed shapes; slots that are not valid are 0."""

    boxes: Float[Tensor, "B N 4"]  # xyxy, pixels of the canvas, clipped to the image
    scores: Float[Tensor, "B N"]  # probability of an object
    valid: Bool[Tensor, "B N"]


# ----------------------------------------------------------------------------------------------------------------------
# Head


class ProposalHead(nn.Module):
    """The same small network at every location of every level (section 3.1 and figure 3 of the paper).

    With `two_way`, objectness is a softmax over two logits, first those of the k anchors for "no object", then those
    for "object"; its probability is the sigmoid of their difference, which is what `forward` gives.
    """

    def __init__(
        self,
        channels: int,
        anchors: int,  # per cell, k
        *,
        width: int | None = None,  # channels of the 3x3; None: as many as come in
        depth: int = 1,  # of 3x3 convolutions
        two_way: bool = False,
    ):
        super().__init__()
        width = width or channels
        self.anchors, self.two_way = anchors, two_way
        convs = [nn.Conv2d(channels if layer == 0 else width, width, 3, padding=1) for layer in range(depth)]
        self.tower = nn.Sequential(*(nn.Sequential(conv, nn.ReLU(inplace=True)) for conv in convs))
        self.objectness = nn.Conv2d(width, 2 * anchors if two_way else anchors, 1)
        self.deltas = nn.Conv2d(width, 4 * anchors, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def logits(self, level: Float[Tensor, "B C h w"]) -> tuple[Float[Tensor, "B _ h w"], Float[Tensor, "B _ h w"]]:
        """Return the raw maps of one level: k or 2 k objectness channels, and 4 k deltas."""
        x = self.tower(level)
        return self.objectness(x), self.deltas(x)

    def forward(self, levels: Sequence[Float[Tensor, "B C _ _"]]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return one-way logits (B hwk) and deltas (B hwk 4) of each level."""
        maps = [self.logits(level) for level in levels]
        objectness = [o[:, self.anchors :] - o[:, : self.anchors] if self.two_way else o for o, _ in maps]  # B k h w
        scores = tuple(o.permute(0, 2, 3, 1).flatten(1) for o in objectness)  # B hwk
        deltas = tuple(d.permute(0, 2, 3, 1).reshape(d.shape[0], -1, 4) for _, d in maps)  # B hwk 4
        return scores, deltas


@torch.no_grad()
def as_one_way(head: ProposalHead) -> ProposalHead:
    """Return a copy of a head that has k objectness logits instead of 2 k, and the same probabilities."""
    one_way = copy.deepcopy(head)
    if head.two_way:
        k, own = head.anchors, head.objectness
        one_way.two_way = False
        one_way.objectness = nn.Conv2d(own.in_channels, k, 1).to(own.weight)
        one_way.objectness.weight.copy_(own.weight[k:] - own.weight[:k])
        one_way.objectness.bias.copy_(own.bias[k:] - own.bias[:k])  # type: ignore[union-attr, operator, index]
    return one_way


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


@dataclass(frozen=True)
class ProposalCriterion:
    """Log loss of sampled anchors and smooth L1 of the positive ones (equation 1 of the paper).

    An anchor is positive from an IoU of 0.7 with its best object, or as the best anchor of an object; negative below
    0.3 with all of them; else ignored, as are those that lie mostly in a crowd. The counts that divide the sums are
    those of the batch, over all processes.
    """

    border: Border = "keep"
    sampling: Sampling = "paper"
    count: int = 256  # sampled anchors an image
    low: float = 0.3
    high: float = 0.7
    beta: float = 1 / 9  # knee of the smooth L1 loss: that of the authors' program and of torchvision

    def __post_init__(self) -> None:
        check_choice("border", self.border, Border)
        check_choice("sampling", self.sampling, Sampling)

    def __call__(
        self, predictions: AnchorPredictions, objects: Sequence[Objects], sizes: Float[Tensor, "B 2"], step: Step
    ) -> Losses:
        """Return the losses "objectness" and "proposal"; `sizes` are those of the images, (h, w)."""
        objectness, deltas = (torch.cat(part, 1) for part in predictions[:2])  # B A, B A 4
        anchors = torch.cat(predictions.anchors)  # A 4
        matches = [self.assign(anchors, o, size) for o, size in zip(objects, sizes, strict=True)]
        drawn = [self.sample(match, step.generator) for match in matches]
        positives = [positive for positive, _ in drawn]
        image = torch.cat([torch.full_like(rows, i) for i, rows in enumerate(positives)])  # P
        positive, negative = torch.cat(positives), torch.cat([rows for _, rows in drawn])  # P, N
        image_of_negative = torch.cat([torch.full_like(rows, i) for i, (_, rows) in enumerate(drawn)])  # N
        truths = torch.cat([o.boxes[m[rows]] for o, m, rows in zip(objects, matches, positives, strict=True)])  # P 4

        log_loss = (
            F.softplus(-objectness[image, positive]).sum() + F.softplus(objectness[image_of_negative, negative]).sum()
        )
        targets = encode_boxes(truths, anchors[positive])
        box_loss = smooth_l1_loss(deltas[image, positive], targets, beta=self.beta, reduction="sum")
        count = step.normaliser(log_loss.new_tensor(len(positive) + len(negative)))
        return {"objectness": log_loss / count, "proposal": box_loss / count}

    def assign(self, anchors: Float[Tensor, "A 4"], objects: Objects, size: Float[Tensor, " 2"]) -> Int64[Tensor, " A"]:
        """Return for each anchor the row of its object, BACKGROUND or IGNORED."""
        iou = box_iou(objects.boxes, anchors)  # M A
        inside = torch.ones_like(anchors[:, 0], dtype=torch.bool)  # A
        if self.border == "ignore":
            inside = boxes_inside(anchors, size.long().tolist())
        # the best anchor of an object is the best of those that count
        matches = match_anchors(iou * inside, low=self.low, high=self.high, allow_low_quality=True)
        matches[~inside] = IGNORED
        if len(objects.crowd):
            matches[(matches == BACKGROUND) & mostly_inside(anchors, objects.crowd)] = IGNORED
        return matches

    def sample(
        self, matches: Int64[Tensor, " A"], generator: torch.Generator | None
    ) -> tuple[Int64[Tensor, " P"], Int64[Tensor, " N"]]:
        """Draw the positive and the negative anchors of one image's mini-batch."""
        share = 0.5 if self.sampling == "paper" else math.inf
        options = {"count": self.count, "positive_share": share, "generator": generator}
        return sample_balanced(matches >= 0, matches == BACKGROUND, **options)


# ----------------------------------------------------------------------------------------------------------------------
# Selection


@dataclass(frozen=True)
class ProposalSelection:
    """The best anchors of each level become boxes; of those that overlap each other the surest remain (section 3.3).

    Suppression is within a level. Nothing here has a gradient: the second stage takes its boxes as they are.
    """

    before: int  # anchors of each level that are looked at
    after: int  # proposals of an image
    threshold: float = 0.7  # IoU above which the less sure of two is dropped

    @torch.no_grad()
    def __call__(self, predictions: AnchorPredictions, sizes: Float[Tensor, "B 2"]) -> Proposals:
        """Return the proposals of a batch of images of these sizes (h, w), on one canvas."""
        levels = [
            self._best_of_level(objectness, deltas, anchors, sizes)
            for objectness, deltas, anchors in zip(*widened(tuple(predictions)), strict=True)
        ]
        boxes, scores, valid = (torch.cat(part, 1) for part in zip(*levels, strict=True))  # B N 4, B N, B N
        level = torch.arange(len(levels), device=scores.device).repeat_interleave(self.before).expand_as(scores)
        best = Candidates(boxes, scores, level, valid).best(threshold=self.threshold, most=self.after)
        return Proposals(best.boxes, best.scores, best.valid)

    def _best_of_level(
        self,
        objectness: Float[Tensor, "B A"],
        deltas: Float[Tensor, "B A 4"],
        anchors: Float[Tensor, "A 4"],
        sizes: Float[Tensor, "B 2"],
    ) -> tuple[Float[Tensor, "B N 4"], Float[Tensor, "B N"], Bool[Tensor, "B N"]]:
        """Return boxes, scores and validity of N = `before` anchors, however few the level has."""
        padded = F.pad(objectness, (0, self.before), value=-torch.inf)
        logits, anchor = padded.topk(self.before)  # B N
        valid = logits > -torch.inf
        anchor = anchor.where(valid, 0)
        boxes = decode_boxes(deltas.gather(1, anchor[..., None].expand(-1, -1, 4)), anchors[anchor])  # B N 4
        boxes = clip_boxes_to_images(boxes, sizes)
        return boxes, logits.sigmoid(), valid & boxes_at_least(boxes, SMALLEST)


def image_sizes(images: Float[Tensor, "B C H W"], mask: Bool[Tensor, "B H W"] | None) -> Float[Tensor, "B 2"]:
    """Return the size (h, w) of each image on its canvas; `mask` is True on its pixels, None where they fill it."""
    if mask is None:
        mask = torch.ones_like(images[:, 0], dtype=torch.bool)
    sizes = torch.stack((mask.any(2).sum(1), mask.any(1).sum(1)), 1)
    return sizes.to(torch.promote_types(images.dtype, torch.float32))
