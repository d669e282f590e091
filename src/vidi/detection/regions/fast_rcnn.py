"""Fast R-CNN: classify and correct given proposals, from one pass of the backbone; the second stage of Faster R-CNN.

Girshick 2015, "Fast R-CNN", arXiv 1504.08083; notes 4.3.2.

    images       B 3 H W, proposals B N 4 (selective search, sliding windows, a region proposal network)
    backbone     one map of stride 16, or the levels of a feature pyramid
    pooling      each proposal's part of its map, brought to 7 x 7: R C 7 7
    head         fully connected layers, then K+1 class logits (the last: background) and 4 deltas for each class
    criterion    proposals to objects by IoU, some of them sampled; cross entropy + smooth L1 of the positive ones
    decode       softmax, boxes of the likely classes, suppression within each class: Detections

Differs from the notes: targets of the deltas are divided by their deviations (0.1, 0.1, 0.2, 0.2). The slope of smooth
L1 stays 1 where that of the squared error grows with the *residual*. At and beyond 1 both forms of the loss agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torchvision import tv_tensors

from vidi.backbones.resnet import ResNet, trunk
from vidi.detection.anchors import ASPECT_RATIOS
from vidi.detection.candidates import Candidates
from vidi.detection.options import check_choice
from vidi.detection.regions.proposal_search import ProposalSearch
from vidi.detection.regions.region_proposals import image_sizes
from vidi.detection.targets import (
    DELTA_WEIGHTS,
    Objects,
    check_objects,
    mostly_inside,
    named_outputs,
)
from vidi.losses.box import smooth_l1_loss
from vidi.model import Losses, Step, Supervised, builder, evaluating, widened
from vidi.nn.convolution import ConvNorm
from vidi.nn.normalization import Norm, NormLayer
from vidi.ops.anchors import anchor_grid, base_anchors
from vidi.ops.boxes import Size, box_iou, boxes_at_least, clip_boxes, clip_boxes_to_images, decode_boxes, encode_boxes
from vidi.ops.matching import BACKGROUND, IGNORED, match_anchors, sample_balanced
from vidi.ops.roi import CANONICAL_LEVEL, CANONICAL_SIZE, box_levels, roi_align_levels, roi_pool
from vidi.preprocess import Batch, Placement, Preprocess, as_images
from vidi.results.categories import Categories, category_names
from vidi.results.detections import Detections

Pooling = Literal["align", "max"]
ProposalSource = Literal["windows", "selective_search"]

SMALLEST = 1e-2  # pixels a detection's sides must have (torchvision)


class RegionPredictions(NamedTuple):
    """What the head says of regions: one row each."""

    class_logits: Float[Tensor, "R C"]  # of K classes and, last, the background
    box_deltas: Float[Tensor, "R K 4"]  # dx, dy, dw, dh for each class, times `DELTA_WEIGHTS`: see `encode_boxes`


class TwoStageOutputs(NamedTuple):
    """Proposals and what the second stage says of each; slots that are not valid mean nothing."""

    proposals: Float[Tensor, "B N 4"]  # xyxy, pixels of the canvas
    valid: Bool[Tensor, "B N"]
    class_logits: Float[Tensor, "B N C"]  # of K classes and, last, the background
    box_deltas: Float[Tensor, "B N K 4"]


# ----------------------------------------------------------------------------------------------------------------------
# From boxes to predictions


@dataclass(frozen=True)
class RegionPooling:
    """How regions are cut out of feature maps: from which levels, to which size, by which rule.

    With several levels each box takes the one that suits its size (Lin et al. 2017, arXiv 1612.03144, equation 1).
    """

    strides: tuple[int, ...]  # of the levels, finest first; powers of two
    size: tuple[int, int] = (7, 7)
    method: Pooling = "align"  # "max" is RoIPool, of one level
    sampling_ratio: int = 2
    aligned: bool = True
    canonical_size: float | int = CANONICAL_SIZE  # side of a box that is pooled from the level of stride 16

    def __post_init__(self) -> None:
        check_choice("pooling", self.method, Pooling)
        if self.method == "max" and len(self.strides) > 1:
            raise ValueError(f"received pooling='max' for {len(self.strides)} levels, expected 'align'")

    def __call__(
        self, features: Sequence[Float[Tensor, "B C _ _"]], boxes: Float[Tensor, "R 4"], images: Int64[Tensor, " R"]
    ) -> Float[Tensor, "R C h w"]:
        """Return the regions; `images` are the rows of the batch that the boxes lie in."""
        if self.method == "max":
            return roi_pool(features[0], boxes, images, self.size, stride=self.strides[0])
        first, last = (int(math.log2(stride)) for stride in (self.strides[0], self.strides[-1]))
        levels = box_levels(
            boxes, first=first, last=last, canonical_size=self.canonical_size, canonical_level=CANONICAL_LEVEL
        )
        options = {"sampling_ratio": self.sampling_ratio, "aligned": self.aligned}
        pyramid = features[: len(self.strides)]  # anchors may have coarser levels still
        return roi_align_levels(pyramid, boxes, images, levels - first, self.size, strides=self.strides, **options)


class BoxPredictor(nn.Module):
    """Two linear layers side by side: K+1 class logits, and 4 deltas for each of K classes."""

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.classes = nn.Linear(features, classes + 1)
        self.deltas = nn.Linear(features, 4 * classes)

    def forward(self, x: Float[Tensor, "R D"]) -> RegionPredictions:
        return RegionPredictions(self.classes(x), self.deltas(x).unflatten(1, (-1, 4)))


class LinearHead(nn.Module):
    """Two hidden layers over the flattened region, as in AlexNet and VGG (section 3.1), then the predictions."""

    def __init__(self, channels: int, classes: int, *, size: tuple[int, int] = (7, 7), hidden: int = 1024):
        super().__init__()
        self.hidden1 = nn.Linear(channels * size[0] * size[1], hidden)
        self.hidden2 = nn.Linear(hidden, hidden)
        self.predict = BoxPredictor(hidden, classes)

    def forward(self, regions: Float[Tensor, "R C h w"]) -> RegionPredictions:
        x = F.relu(self.hidden1(regions.flatten(1)), inplace=True)
        return self.predict(F.relu(self.hidden2(x), inplace=True))


class ConvolutionalHead(nn.Module):
    """Convolutions with norm over the region, one hidden layer, then the predictions (torchvision's second version)."""

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        norm: NormLayer,
        depth: int = 4,
        size: tuple[int, int] = (7, 7),
        hidden: int = 1024,
    ):
        super().__init__()
        self.tower = nn.Sequential(*(ConvNorm(channels, channels, 3, norm=norm) for _ in range(depth)))
        self.hidden = nn.Linear(channels * size[0] * size[1], hidden)
        self.predict = BoxPredictor(hidden, classes)
        for module in self.tower.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, regions: Float[Tensor, "R C h w"]) -> RegionPredictions:
        return self.predict(F.relu(self.hidden(self.tower(regions).flatten(1)), inplace=True))


def background_of(head: nn.Module) -> int:
    """Return the output that stands for none of the classes, the last."""
    predictor: Any = head if isinstance(head, BoxPredictor) else head.predict
    return predictor.classes.out_features - 1


def rows_of_batch(boxes: Float[Tensor, "B N 4"]) -> tuple[Float[Tensor, "R 4"], Int64[Tensor, " R"]]:
    """Flatten the boxes of a batch to rows, and say in which image each lies."""
    B, N, _ = boxes.shape
    images = torch.arange(B, device=boxes.device)[:, None].expand(B, N)
    return boxes.flatten(0, 1), images.flatten()


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


class Samples(NamedTuple):
    """The proposals of a batch that train the second stage, row by row."""

    boxes: Float[Tensor, "R 4"]
    images: Int64[Tensor, " R"]
    labels: Int64[Tensor, " R"]  # output of the class, K for background
    truths: Float[Tensor, "R 4"]  # the object's box; of background, the proposal itself
    objects: Int64[Tensor, " R"]  # row of the object among those of its image that are no crowds; BACKGROUND without


@dataclass(frozen=True)
class RegionCriterion:
    """Cross entropy of sampled proposals and smooth L1 of the positive ones' deltas for their class (equation 1).

    A proposal is positive from an IoU of 0.5 with its best object, background from `lowest` to there, else unused, as
    is background that lies mostly in a crowd; the objects themselves are proposals too. The counts that divide the
    sums are those of the batch, over all processes.
    """

    named: tuple[int, ...]  # the outputs that have a category; labels count these
    count: int = 512  # sampled proposals an image: 64 in the paper, 512 with feature pyramids
    positive_share: float = 0.25
    positive_from: float = 0.5
    lowest: float = 0.0  # 0.1 in the paper: what overlaps objects a little is background worth learning
    beta: float = 1.0  # knee of the smooth L1 loss; 1/9 in torchvision
    box_weight: float = 1.0  # lambda

    @torch.no_grad()
    def sample(
        self,
        proposals: Sequence[Float[Tensor, "_ 4"]],
        objects: Sequence[Objects],
        background: int,
        generator: torch.Generator | None,
    ) -> Samples:
        """Draw the proposals of each image that train; `background` is the output that stands for none of the classes.

        Raises:
            ValueError: for boxes without area and labels without category.
        """
        columns = []
        outputs = torch.tensor(self.named, device=proposals[0].device)
        for image, (own, truth) in enumerate(zip(proposals, objects, strict=True)):
            check_objects(truth.boxes, truth.labels, len(self.named))
            boxes = torch.cat((own.to(truth.boxes.dtype), truth.boxes))  # N 4
            matches = self.assign(boxes, truth)
            options = {"count": self.count, "positive_share": self.positive_share, "generator": generator}
            positive, negative = sample_balanced(matches >= 0, matches == BACKGROUND, **options)
            labels = torch.cat((outputs[truth.labels[matches[positive]]], torch.full_like(negative, background)))
            truths = torch.cat((truth.boxes[matches[positive]], boxes[negative]))
            rows = torch.cat((positive, negative))
            columns.append((boxes[rows], torch.full_like(rows, image), labels, truths, matches[rows]))
        return Samples(*(torch.cat(column) for column in zip(*columns, strict=True)))

    def assign(self, boxes: Float[Tensor, "N 4"], objects: Objects) -> Int64[Tensor, " N"]:
        """Return for each proposal the row of its object, BACKGROUND or IGNORED."""
        iou = box_iou(objects.boxes, boxes)  # M N
        matches = match_anchors(iou, low=self.positive_from, high=self.positive_from, allow_low_quality=False)
        if self.lowest > 0 and len(objects.boxes):
            matches[iou.amax(0) < self.lowest] = IGNORED
        if len(objects.crowd):
            matches[(matches == BACKGROUND) & mostly_inside(boxes, objects.crowd)] = IGNORED
        return matches

    def __call__(self, predictions: RegionPredictions, samples: Samples, step: Step) -> Losses:
        """Return the losses "classification" and "box"."""
        logits, deltas = predictions
        count = step.normaliser(logits.new_tensor(len(samples.labels)))
        log_loss = F.cross_entropy(logits, samples.labels, reduction="sum")
        positive = (samples.labels < logits.shape[1] - 1).nonzero()[:, 0]  # P
        targets = encode_boxes(samples.truths[positive], samples.boxes[positive], weights=DELTA_WEIGHTS)
        own = deltas[positive, samples.labels[positive]]  # P 4
        box_loss = smooth_l1_loss(own, targets, beta=self.beta, reduction="sum")
        return {"classification": log_loss / count, "box": self.box_weight * box_loss / count}


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


@dataclass(frozen=True)
class RegionDecode:
    """Softmax, boxes of all classes above a score, suppression within each class."""

    options: ClassVar[tuple[str, ...]] = ("score_threshold", "nms_threshold", "detections_per_image")

    categories: Categories  # of all outputs but the background; those without a name are dropped after the softmax
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    detections_per_image: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"received score_threshold={self.score_threshold}, expected a number in [0, 1]")

    def __call__(self, outputs: TwoStageOutputs, placements: Sequence[Placement]) -> list[Detections]:
        sizes = outputs.proposals.new_tensor([placement.resized for placement in placements])
        return self.find(outputs, sizes).detections(placements, self.categories)

    def find(self, outputs: TwoStageOutputs, sizes: Float[Tensor, "B 2"]) -> Candidates:
        """Return the detections, the surest first, in images of these sizes (h, w), which may share a canvas.

        A proposal cannot have more than 1 / t classes with a probability above t: so many are looked at.
        """
        named = list(named_outputs(self.categories))
        probabilities = outputs.class_logits.softmax(2)[..., named]  # B N K
        likely = len(named) if self.score_threshold == 0 else min(len(named), int(1 / self.score_threshold))
        scores, labels = probabilities.topk(likely, 2)  # B N k
        deltas = outputs.box_deltas[:, :, named].gather(2, labels[..., None].expand(-1, -1, -1, 4))  # B N k 4
        boxes = decode_boxes(deltas, outputs.proposals[:, :, None], weights=DELTA_WEIGHTS).flatten(1, 2)  # B Nk 4
        boxes = clip_boxes_to_images(boxes, sizes)
        valid = (outputs.valid[..., None] & (scores > self.score_threshold)).flatten(1)
        valid = valid & boxes_at_least(boxes, SMALLEST)
        found = Candidates(boxes, scores.flatten(1), labels.flatten(1), valid)
        return found.best(threshold=self.nms_threshold, most=self.detections_per_image)


# ----------------------------------------------------------------------------------------------------------------------
# Fast R-CNN by itself


class FastRCNN(nn.Module):
    """A backbone of stride 16, RoIPool and a head, for proposals that come from elsewhere.

    Without any, selective search proposes (the paper), or, if there is no `search`, windows slide over the image: of
    some sizes and three shapes, half a side apart (sections 5.5 and 5.6 of the paper look at such dense proposals).
    """

    windows: Tensor

    def __init__(
        self,
        backbone: ResNet,
        head: nn.Module,
        pooling: RegionPooling,
        window_sizes: Sequence[int],
        search: ProposalSearch | None = None,
    ):
        super().__init__()
        self.backbone, self.head = backbone, head
        self.pooling, self.search = pooling, search
        self.window_sizes = tuple(window_sizes)
        windows = torch.stack([base_anchors((size,), ASPECT_RATIOS) for size in window_sizes])
        self.register_buffer("windows", windows, persistent=False)  # sizes 3 4

    def features(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B C h w"], ...]:
        """Return the map that regions are cut from."""
        return self.backbone.features(images)[-1:]

    def sliding_windows(self, canvas: Size) -> Float[Tensor, "N 4"]:
        """Return the windows over images of size (H, W), clipped to them."""
        H, W = canvas
        grids = [
            anchor_grid(shapes, (-(-2 * H // size), -(-2 * W // size)), size // 2)
            for shapes, size in zip(self.windows.unbind(), self.window_sizes, strict=True)
        ]
        return clip_boxes(torch.cat(grids), canvas)

    def proposals(self, images: Float[Tensor, "B 3 H W"], mask: Bool[Tensor, "B H W"] | None) -> Float[Tensor, "B N 4"]:
        """Return the proposals of each image, in pixels of the canvas, among boxes without area."""
        if self.search is not None:
            return self.search.slots(self.search.of_batch(images, mask))
        windows = self.sliding_windows(images.shape[2:])
        return clip_boxes_to_images(windows.expand(images.shape[0], -1, -1), image_sizes(images, mask))

    def second_stage(
        self, features: Sequence[Float[Tensor, "B C _ _"]], boxes: Float[Tensor, "R 4"], images: Int64[Tensor, " R"]
    ) -> RegionPredictions:
        """Return what the head says of boxes in some images of the batch."""
        return self.head(self.pooling(features, boxes, images))

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        mask: Bool[Tensor, "B H W"] | None = None,  # True on the images, of which a canvas may have padding
        proposals: Float[Tensor, "B N 4"] | None = None,
    ) -> TwoStageOutputs:
        """Return the predictions for proposals in pixels of the canvas, by default for its own."""
        if proposals is None:
            proposals = self.proposals(images, mask)
        boxes, rows = rows_of_batch(proposals)
        predictions = self.second_stage(self.features(images), boxes, rows)
        logits, deltas = (value.unflatten(0, proposals.shape[:2]) for value in predictions)
        return TwoStageOutputs(proposals, boxes_at_least(proposals, 1), logits, deltas)


@dataclass(frozen=True)
class FastCriterion:
    """Train on the proposals of the targets ("proposals" N 4), or on the network's own where a target has none."""

    regions: RegionCriterion

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        detector: Any = network
        features = detector.features(batch.images)
        with torch.autocast(batch.images.device.type, enabled=False):
            given = ["proposals" in target for target in batch.targets]
            own = batch.images.new_zeros(0) if all(given) else detector.proposals(batch.images, batch.mask)
            like = own.new_zeros(0, dtype=torch.promote_types(own.dtype, torch.float32))
            proposals = [
                target["proposals"].to(like.dtype) if is_given else own[row].to(like.dtype)
                for row, (target, is_given) in enumerate(zip(batch.targets, given, strict=True))
            ]
            proposals = [boxes[boxes_at_least(boxes, 1)] for boxes in proposals]
            objects = [Objects.of(target, like=like) for target in batch.targets]
            samples = self.regions.sample(proposals, objects, background_of(detector.head), step.generator)
        predictions = detector.second_stage(features, samples.boxes, samples.images)
        with torch.autocast(batch.images.device.type, enabled=False):
            return self.regions(RegionPredictions(*widened(tuple(predictions))), samples, step)


class FastDetector(Supervised):
    """A Fast R-CNN that also predicts for proposals of the caller's."""

    def predict_proposals(self, images: Any, proposals: Sequence[Float[Tensor, "_ 4"]]) -> list[Detections]:
        """Return the objects among given boxes: one tensor of boxes (xyxy, pixels) for each image."""
        results = []
        with evaluating(self), torch.no_grad():
            for image, boxes in zip(as_images(images), proposals, strict=True):
                typed = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=image.shape[-2:])  # type: ignore[call-overload]
                placed = self.preprocess.place(image, {"proposals": typed})
                batch = self.preprocess.collate([placed]).to(self.device)
                windows = batch.targets[0]["proposals"].to(batch.images.dtype)[None]
                outputs = self.network(batch.images, proposals=windows)
                results += self.decode(TwoStageOutputs(*widened(tuple(outputs))), batch.placements)
        return results


@builder
def fast_rcnn_resnet18(
    *,
    categories: int | tuple[str | None, ...] = 20,
    width: int = 64,
    hidden: int = 1024,
    proposals: ProposalSource = "windows",
    window_sizes: tuple[int, ...] = (64, 128, 256, 512),
    search: str = "fast",
    found: int = 2000,
    smallest: int = 20,
    norm: Norm = "batch",
    pooling: Pooling = "max",
    pool: int = 7,
    sampled: int = 64,
    size: tuple[int, int] | None = None,
    shorter: int = 600,
    longest: int = 1000,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.3,
    detections_per_image: int = 100,
) -> FastDetector:
    """Build Fast R-CNN over ResNet-18, whose last stage dilates to keep stride 16.

    Proposals are sliding windows, or those of selective search (`proposals="selective_search"`, the paper).

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        hidden: units of the linear layers of the head.
        proposals: "windows" or "selective_search".
        window_sizes: square roots of the windows' areas, in pixels.
        search: mode of selective search: "single", "fast" or "quality".
        found: boxes of an image that it may propose.
        smallest: pixels that their sides have at least.
        norm: of the backbone: "batch", "frozen" or "group".
        pooling: of regions: "max" (RoI pooling) or "align" (RoI align).
        pool: cells of a pooled region's sides: 7 in the paper's VGG-16, 6 in its AlexNet.
        sampled: proposals of an image that train.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most.
        score_threshold: the least that is returned, in [0, 1].
        nms_threshold: IoU with a better box of its class at which a box is suppressed.
        detections_per_image: at most.
    """
    check_choice("proposals", proposals, ProposalSource)
    if pool < 1 or found < 1:
        raise ValueError(f"received pool={pool} and found={found}, expected at least 1 of both")
    names = category_names(categories)
    preprocess = Preprocess(shorter, longest, size, stride=32, masked=True)
    backbone = trunk("resnet18", norm=norm, width=width, dilated=(False, False, True))
    head = LinearHead(backbone.channels[-1], len(names), size=(pool, pool), hidden=hidden)
    regions = RegionPooling((backbone.strides[-1],), (pool, pool), pooling)
    searches = ProposalSearch(search, found, smallest, preprocess) if proposals == "selective_search" else None
    network = FastRCNN(backbone, head, regions, window_sizes, searches)
    criterion = FastCriterion(RegionCriterion(named_outputs(names), count=sampled, lowest=0.1))
    decode = RegionDecode(names, score_threshold, nms_threshold, detections_per_image)
    return FastDetector(network, criterion, decode, preprocess)
