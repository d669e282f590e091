"""R-CNN: selective search, each proposal warped to one size, a CNN over every crop, its class and its correction.

Girshick, Donahue, Darrell, Malik 2014, "Rich feature hierarchies", arXiv 1311.2524; notes 4.3.2.

    images       B 3 H W -> selective search: proposals B N 4
    crops        each proposal with 16 pixels of context, warped to one size: R 3 h w
    network      backbone and a vector of each crop, R D, then K+1 class logits and 4 deltas for each class
    criterion    proposals to objects, 32 positive ones and 96 of background a batch; cross entropy + lambda 1[c is no
                 background] mean squared error of the deltas
    decode       softmax, corrected boxes of the likely classes, suppression within each class: Detections
    regions      (`rcnn_svm_...`) on the vectors: a linear SVM for each class in place of the softmax, with hard
                 negatives, and ridge regression of the deltas in place of the head's

Differs from the notes: a proposal is positive from an IoU of 0.5 with its best object (`assignment="best"` for theirs:
the best proposal of each object), the objects are proposals too, and targets of the deltas are divided by deviations,
`deviations=(1, 1, 1, 1)` for theirs. Differs from the paper: deltas are learnt while the network is fine-tuned, which
`box_weight=0` leaves out; SVMs have the squared hinge; vectors of the regressors are those of the classifiers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vidi.backbones import alexnet
from vidi.backbones.resnet import trunk
from vidi.detection.options import check_choice
from vidi.detection.regions.fast_rcnn import (
    BoxPredictor,
    FastDetector,
    RegionDecode,
    RegionPredictions,
    Samples,
    TwoStageOutputs,
)
from vidi.detection.regions.proposal_search import ProposalSearch
from vidi.detection.regions.region_classifiers import RegionClassifiers, RegionFitting, SVMDecode
from vidi.detection.targets import DELTA_WEIGHTS, Objects, check_objects, mostly_inside, named_outputs
from vidi.losses.localization import localization_losses
from vidi.model import Losses, Predicts, Stage, Staged, Step, Supervised, builder, widened
from vidi.nn.normalization import Norm
from vidi.ops.boxes import Weights, box_iou, boxes_at_least, encode_boxes
from vidi.ops.matching import BACKGROUND, IGNORED, match_anchors, sample_balanced
from vidi.ops.roi import crop_and_warp
from vidi.preprocess import Batch, Preprocess
from vidi.results.categories import category_names
from vidi.results.detections import Detections

Assignment = Literal["overlap", "best"]
"""Whether each proposal that overlaps an object enough is positive (the paper), or the best one of each object."""

CROPS_AT_ONCE = 256

# ----------------------------------------------------------------------------------------------------------------------
# Network


class RCNN(nn.Module):
    """A classifier of warped proposals: backbone, vector, and two linear layers side by side."""

    def __init__(
        self,
        search: ProposalSearch,
        backbone: nn.Module,
        vector: nn.Module,  # the backbone's last map to R D
        predict: BoxPredictor,
        *,
        crop: tuple[int, int],  # H, W of the warped proposals
        context: int,  # pixels of a crop on each side that show what surrounds the proposal
    ):
        super().__init__()
        self.search = search
        self.backbone, self.vector, self.predict = backbone, vector, predict
        self.crop, self.context = crop, context

    def proposals(
        self, images: Float[Tensor, "B 3 H W"], mask: Bool[Tensor, "B H W"] | None
    ) -> list[Float[Tensor, "_ 4"]]:
        """Return the proposals of each image, in pixels of the canvas; `mask` is True on the images."""
        return self.search.of_batch(images, mask)

    def features(
        self, images: Float[Tensor, "B 3 H W"], boxes: Float[Tensor, "R 4"], rows: Int64[Tensor, " R"]
    ) -> Float[Tensor, "R D"]:
        """Return the vector of each box in some image of the batch."""
        crops = crop_and_warp(images, boxes, rows, self.crop, context=self.context)  # R 3 h w
        return self.vector(self.backbone(crops.to(images.dtype))[-1])

    def features_in_parts(
        self, images: Float[Tensor, "B 3 H W"], boxes: Float[Tensor, "R 4"], rows: Int64[Tensor, " R"]
    ) -> Float[Tensor, "R D"]:
        """Return `features` of any number of boxes, a few hundred crops at a time; for evaluation."""
        parts = zip(boxes.split(CROPS_AT_ONCE), rows.split(CROPS_AT_ONCE), strict=True)
        return torch.cat([self.features(images, *part) for part in parts])

    def second_stage(
        self, images: Float[Tensor, "B 3 H W"], boxes: Float[Tensor, "R 4"], rows: Int64[Tensor, " R"]
    ) -> RegionPredictions:
        """Return what the head says of boxes in some images of the batch."""
        return self.predict(self.features(images, boxes, rows))

    def slots(
        self,
        images: Float[Tensor, "B 3 H W"],
        mask: Bool[Tensor, "B H W"] | None,
        proposals: Float[Tensor, "B N 4"] | None,
    ) -> tuple[Float[Tensor, "B N 4"], Bool[Tensor, "B N"]]:
        """Return proposals in fixed shapes, and which slots hold one: those given, or as many as the search has."""
        if proposals is not None:
            return proposals, boxes_at_least(proposals, 1)
        slots = self.search.slots(self.proposals(images, mask))
        return slots, boxes_at_least(slots, 1)

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        mask: Bool[Tensor, "B H W"] | None = None,
        proposals: Float[Tensor, "B N 4"] | None = None,
    ) -> TwoStageOutputs:
        """Return the predictions for proposals in pixels of the canvas, by default those of selective search."""
        proposals, valid = self.slots(images, mask, proposals)
        K = self.predict.classes.out_features - 1
        logits = proposals.new_zeros(*valid.shape, K + 1)
        deltas = proposals.new_zeros(*valid.shape, K, 4)
        if valid.any():
            features = self.features_in_parts(images, proposals[valid], valid.nonzero()[:, 0])
            own_logits, own_deltas = self.predict(features)
            logits[valid], deltas[valid] = own_logits.to(logits.dtype), own_deltas.to(deltas.dtype)
        return TwoStageOutputs(proposals, valid, logits, deltas)


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


def best_of_each_object(iou: Float[Tensor, "M N"]) -> Int64[Tensor, " N"]:
    """Return for each proposal the object whose best proposal it is, or BACKGROUND (the notes' rule).

    Of two objects that share their best proposal the one that it overlaps more has it. An object that no proposal
    touches has none.
    """
    if 0 in iou.shape:
        return iou.new_full((iou.shape[1],), BACKGROUND, dtype=torch.int64)
    best = iou.max(1, keepdim=True)  # M 1
    claims = torch.zeros_like(iou).scatter(1, best.indices, best.values)
    overlap, objects = claims.max(0)
    return objects.where(overlap > 0, BACKGROUND)


@dataclass(frozen=True)
class RCNNCriterion:
    """`localization_losses` of a mini-batch of proposals that is drawn from all images of a batch."""

    named: tuple[int, ...]  # the outputs that have a category; labels count these
    assignment: Assignment = "overlap"
    sampled: int = 128  # proposals of a batch
    positive_share: float = 0.25
    positive_from: float = 0.5
    box_weight: float = 1.0  # lambda
    deviations: Weights = (0.1, 0.1, 0.2, 0.2)  # that targets of the deltas are divided by in the loss

    def __post_init__(self) -> None:
        check_choice("assignment", self.assignment, Assignment)
        if self.sampled < 1 or not self.box_weight >= 0 or not min(self.deviations) > 0:
            received = f"sampled={self.sampled}, box_weight={self.box_weight} and deviations={self.deviations}"
            raise ValueError(f"received {received}, expected a proposal, no negative weight, and positive deviations")

    def assign(self, boxes: Float[Tensor, "N 4"], objects: Objects) -> Int64[Tensor, " N"]:
        """Return for each proposal the row of its object, BACKGROUND or IGNORED (background mostly in a crowd)."""
        iou = box_iou(objects.boxes, boxes)  # M N
        if self.assignment == "best":
            matches = best_of_each_object(iou)
        else:
            matches = match_anchors(iou, low=self.positive_from, high=self.positive_from, allow_low_quality=False)
        if len(objects.crowd):
            matches[(matches == BACKGROUND) & mostly_inside(boxes, objects.crowd)] = IGNORED
        return matches

    @torch.no_grad()
    def sample(
        self,
        proposals: Sequence[Float[Tensor, "_ 4"]],
        objects: Sequence[Objects],
        background: int,
        generator: torch.Generator | None,
    ) -> Samples:
        """Draw the proposals of a batch that train; `background` is the output that stands for none of the classes.

        Raises:
            ValueError: for boxes without area and labels without category.
        """
        outputs = torch.tensor(self.named, device=proposals[0].device)
        columns = []
        for image, (own, truth) in enumerate(zip(proposals, objects, strict=True)):
            check_objects(truth.boxes, truth.labels, len(self.named))
            boxes = torch.cat((own, truth.boxes)) if self.assignment == "overlap" else own
            matches = self.assign(boxes, truth)
            positive = matches >= 0
            labels = torch.where(matches == BACKGROUND, background, IGNORED)
            labels[positive] = outputs[truth.labels[matches[positive]]]
            truths = boxes.clone()
            truths[positive] = truth.boxes[matches[positive]]
            columns.append((boxes, torch.full_like(matches, image), labels, truths, matches))
        whole = Samples(*(torch.cat(column) for column in zip(*columns, strict=True)))
        is_object = (whole.labels >= 0) & (whole.labels != background)
        options = {"count": self.sampled, "positive_share": self.positive_share, "generator": generator}
        rows = torch.cat(sample_balanced(is_object, whole.labels == background, **options))
        return Samples(*(column[rows] for column in whole))

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        """Return the losses "classification" and "box", on the targets' "proposals" N 4 or on those that are found."""
        detector: Any = network
        with torch.autocast(batch.images.device.type, enabled=False):
            given = ["proposals" in target for target in batch.targets]
            found = [] if all(given) else detector.proposals(batch.images, batch.mask)
            like = batch.images.new_zeros(0, dtype=torch.promote_types(batch.images.dtype, torch.float32))
            proposals = [
                target["proposals"].to(like.dtype) if own else found[row]
                for row, (target, own) in enumerate(zip(batch.targets, given, strict=True))
            ]
            proposals = [boxes[boxes_at_least(boxes, 1)] for boxes in proposals]
            objects = [Objects.of(target, like=like) for target in batch.targets]
            background = detector.predict.classes.out_features - 1
            samples = self.sample(proposals, objects, background, step.generator)
        if len(samples.labels) == 0:
            raise ValueError("received images with neither proposals nor objects, expected at least one of them")
        predictions = detector.second_stage(batch.images, samples.boxes, samples.images)
        with torch.autocast(batch.images.device.type, enabled=False):
            return self.of_samples(RegionPredictions(*widened(tuple(predictions))), samples, step)

    def of_samples(self, predictions: RegionPredictions, samples: Samples, step: Step) -> Losses:
        """Return the losses of proposals that were drawn."""
        logits, deltas = predictions
        K = logits.shape[1] - 1
        own = deltas[torch.arange(len(deltas), device=deltas.device), samples.labels.clamp(max=K - 1)]  # R 4
        targets = encode_boxes(samples.truths, samples.boxes, weights=DELTA_WEIGHTS)
        units = 1 / (own.new_tensor(DELTA_WEIGHTS) * own.new_tensor(self.deviations))  # ones by default
        return localization_losses(
            logits,
            samples.labels,
            own * units,
            targets * units,
            has_box=samples.labels < K,
            box_weight=self.box_weight,
            count=step.normaliser(logits.new_tensor(len(samples.labels))),
        )


# ----------------------------------------------------------------------------------------------------------------------
# With support vector machines


class StagedRCNN(Staged, Predicts):
    """The network, fine-tuned as a softmax classifier, then SVMs and regressors that are fitted to its vectors."""

    def __init__(self, detector: Supervised, regions: RegionClassifiers, decode: SVMDecode):
        super().__init__()
        self.parts = nn.ModuleDict({"network": detector.network, "regions": regions})
        self.criterion, self.softmax_decode, self.decode = detector.criterion, detector.decode, decode
        self.preprocess = detector.preprocess

    def stages(self) -> list[Stage]:
        """Return the fine-tuning of the network and the fitting of the linear models."""
        network, regions = self.parts["network"], cast(RegionClassifiers, self.parts["regions"])
        fine_tuning = Supervised(network, self.criterion, self.softmax_decode, self.preprocess)
        return [
            Stage("network", fine_tuning),
            Stage("regions", RegionFitting(network, regions, self.preprocess, self.decode)),
        ]

    def loss(self, images: Any, targets: Sequence[Mapping[str, Tensor]]) -> Losses:
        """Return the named losses of the fine-tuning, the only stage that has any; see `Supervised.loss`."""
        return cast(Supervised, self.stages()[0].model).loss(images, targets)

    def predict_batch(self, batch: Batch) -> list[Detections]:
        return self.stages()[1].model.predict_batch(batch)  # type: ignore[union-attr]


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def averaged() -> nn.Module:
    """Return the layers that make a vector of a residual network's last map."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def hidden_layers(channels: int, hidden: int) -> nn.Module:
    """Return the layers that make a vector of AlexNet's last map: fc6 and fc7."""
    h, w = alexnet.FEATURE_SIZE
    first = (nn.AdaptiveAvgPool2d((h, w)), nn.Flatten(), nn.Linear(channels * h * w, hidden), nn.ReLU(inplace=True))
    return nn.Sequential(*first, nn.Dropout(0.5), nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(0.5))


@builder
def rcnn_alexnet(
    *,
    categories: int | tuple[str | None, ...] = 20,
    width: int = alexnet.FULL_WIDTH,
    hidden: int = 4096,
    search: str = "fast",
    proposals: int = 2000,
    smallest: int = 20,
    crop: tuple[int, int] = (227, 227),
    context: int = 16,
    assignment: Assignment = "overlap",
    sampled: int = 128,
    box_weight: float = 1.0,
    deviations: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2),
    size: tuple[int, int] | None = None,
    longest: int = 500,
) -> FastDetector:
    """Build the paper's R-CNN with AlexNet in one tower, classes by softmax: 58.7 M parameters for 20 classes.

    Args:
        categories: the number of classes, or their names.
        width: of AlexNet, 64 for the paper's 96 first channels; fewer (at least 8) make all layers narrower.
        hidden: units of each of AlexNet's two hidden layers.
        search: mode of selective search: "single", "fast" or "quality".
        proposals: boxes of an image at most.
        smallest: pixels of their sides at least.
        crop: (H, W) of the warped proposals.
        context: pixels on each side of a crop that show what is around.
        assignment: whether each proposal that overlaps an object enough is positive ("overlap", the paper), or the
            "best" one of each object.
        sampled: proposals of a batch that train, a quarter of them positive if there are so many.
        box_weight: lambda, of the boxes' loss.
        deviations: of the targets of the deltas, which the loss divides them by.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        longest: pixels of the longer side.
    """
    names = category_names(categories)
    preprocess = Preprocess(longest=longest, exact=size, masked=True)
    backbone = alexnet.trunk("alexnet_ungrouped", width=width)
    network = RCNN(
        ProposalSearch(search, proposals, smallest, preprocess),
        backbone,
        hidden_layers(backbone.channels[-1], hidden),
        BoxPredictor(hidden, len(names)),
        crop=crop,
        context=context,
    )
    criterion = RCNNCriterion(named_outputs(names), assignment, sampled, box_weight=box_weight, deviations=deviations)
    return FastDetector(network, criterion, RegionDecode(names, 0.05, 0.3), preprocess)


@builder
def rcnn_tiny(
    *,
    categories: int | tuple[str | None, ...] = 5,
    width: int = 16,
    norm: Norm = "batch",
    search: str = "fast",
    proposals: int = 150,
    smallest: int = 6,
    crop: tuple[int, int] = (48, 48),
    context: int = 4,
    assignment: Assignment = "overlap",
    sampled: int = 128,
    box_weight: float = 1.0,
    deviations: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2),
    size: tuple[int, int] | None = None,
    longest: int = 128,
) -> FastDetector:
    """Build an R-CNN over a narrow ResNet-18, classes by softmax, that a CPU trains on images of 128 pixels.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        norm: of the backbone: "batch", "frozen" or "group".
        search: mode of selective search: "single", "fast" or "quality".
        proposals: boxes of an image at most.
        smallest: pixels of their sides at least.
        crop: (H, W) of the warped proposals.
        context: pixels on each side of a crop that show what is around.
        assignment: whether each proposal that overlaps an object enough is positive ("overlap", the paper), or the
            "best" one of each object.
        sampled: proposals of a batch that train, a quarter of them positive if there are so many.
        box_weight: lambda, of the boxes' loss.
        deviations: of the targets of the deltas, which the loss divides them by.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        longest: pixels of the longer side.
    """
    names = category_names(categories)
    preprocess = Preprocess(longest=longest, exact=size, masked=True)
    backbone = trunk("resnet18", norm=norm, width=width)
    network = RCNN(
        ProposalSearch(search, proposals, smallest, preprocess),
        backbone,
        averaged(),
        BoxPredictor(backbone.channels[-1], len(names)),
        crop=crop,
        context=context,
    )
    criterion = RCNNCriterion(named_outputs(names), assignment, sampled, box_weight=box_weight, deviations=deviations)
    return FastDetector(network, criterion, RegionDecode(names, 0.05, 0.3), preprocess)


def with_svms(detector: FastDetector, features: int) -> StagedRCNN:
    """Put linear models over the vectors (of length `features`) of a detector."""
    names = detector.decode.categories  # type: ignore[attr-defined]
    return StagedRCNN(detector, RegionClassifiers(features, len(names)), SVMDecode(names))


@builder
def rcnn_svm_alexnet(
    *,
    categories: int | tuple[str | None, ...] = 20,
    width: int = alexnet.FULL_WIDTH,
    hidden: int = 4096,
    search: str = "fast",
    proposals: int = 2000,
    smallest: int = 20,
    crop: tuple[int, int] = (227, 227),
    context: int = 16,
    sampled: int = 128,
    box_weight: float = 1.0,
    size: tuple[int, int] | None = None,
    longest: int = 500,
) -> StagedRCNN:
    """Build the paper's R-CNN with AlexNet, classes by support vector machines, boxes by ridge regression.

    Args:
        categories: the number of classes, or their names.
        width: of AlexNet, 64 for the paper's 96 first channels; fewer (at least 8) make all layers narrower.
        hidden: units of each of AlexNet's two hidden layers.
        search: mode of selective search: "single", "fast" or "quality".
        proposals: boxes of an image at most.
        smallest: pixels of their sides at least.
        crop: (H, W) of the warped proposals.
        context: pixels on each side of a crop that show what is around.
        sampled: proposals of a batch that train, a quarter of them positive if there are so many.
        box_weight: lambda, of the boxes' loss.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        longest: pixels of the longer side.
    """
    detector: Any = rcnn_alexnet(
        categories=categories,
        width=width,
        hidden=hidden,
        search=search,
        proposals=proposals,
        smallest=smallest,
        crop=crop,
        context=context,
        sampled=sampled,
        box_weight=box_weight,
        size=size,
        longest=longest,
    )
    return with_svms(detector, hidden)


@builder
def rcnn_svm_tiny(
    *,
    categories: int | tuple[str | None, ...] = 5,
    width: int = 16,
    norm: Norm = "batch",
    search: str = "fast",
    proposals: int = 150,
    smallest: int = 6,
    crop: tuple[int, int] = (48, 48),
    context: int = 4,
    sampled: int = 128,
    box_weight: float = 1.0,
    size: tuple[int, int] | None = None,
    longest: int = 128,
) -> StagedRCNN:
    """Build `rcnn_tiny` with support vector machines and ridge regression in place of its two linear layers.

    Args:
        categories: the number of classes, or their names.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        norm: of the backbone: "batch", "frozen" or "group".
        search: mode of selective search: "single", "fast" or "quality".
        proposals: boxes of an image at most.
        smallest: pixels of their sides at least.
        crop: (H, W) of the warped proposals.
        context: pixels on each side of a crop that show what is around.
        sampled: proposals of a batch that train, a quarter of them positive if there are so many.
        box_weight: lambda, of the boxes' loss.
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        longest: pixels of the longer side.
    """
    detector: Any = rcnn_tiny(
        categories=categories,
        width=width,
        norm=norm,
        search=search,
        proposals=proposals,
        smallest=smallest,
        crop=crop,
        context=context,
        sampled=sampled,
        box_weight=box_weight,
        size=size,
        longest=longest,
    )
    return with_svms(detector, 8 * width)
