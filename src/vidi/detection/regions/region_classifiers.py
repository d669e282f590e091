"""The last stage of R-CNN: support vector machines and box regressors on the vectors of regions.

Girshick et al. 2014, arXiv 1311.2524, sections 2.3 and appendices B and C; notes 4.3.2.

    data set    images and objects -> proposals and vectors N D of each image, by the trained network
    machines    one a class: its objects against proposals with an IoU below 0.3 with all of them; of these only hard
                ones, inside the margin, are kept (Felzenszwalb et al. 2010)
    regressors  ridge, one a class: vectors of proposals with an IoU of 0.6 or more to the deltas of their object
    decode      margins R K as scores, corrected boxes, suppression within each class: Detections

Differs from the paper: scores are sigmoids of the margins, which rank alike within a class and lie in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vidi.detection.candidates import Candidates
from vidi.detection.regions.fast_rcnn import SMALLEST
from vidi.detection.regions.linear_models import RidgeSums, linear_svm
from vidi.detection.targets import Objects, check_objects, mostly_inside, named_outputs
from vidi.model import Fitted, Predicts, evaluating
from vidi.ops.boxes import box_iou, boxes_at_least, clip_boxes_to_images, decode_boxes, encode_boxes
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import Categories
from vidi.results.detections import Detections

NORM = 20.0  # mean length that vectors are scaled to, so that one cost serves all networks (the authors' code)
HARD, EASY = -1.0, -1.2  # margins from which on a negative is taken, and below which it is dropped again
RETRAIN_AFTER = 2000  # new negatives of a class


class RegionClassifiers(nn.Module):
    """What is learnt from the vectors of regions: K machines and K regressors."""

    scale: Tensor
    class_weights: Tensor
    class_biases: Tensor
    box_weights: Tensor
    box_biases: Tensor

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.register_buffer("scale", torch.ones(()))  # of the vectors
        self.register_buffer("class_weights", torch.zeros(features, classes))
        self.register_buffer("class_biases", torch.zeros(classes))
        self.register_buffer("box_weights", torch.zeros(classes, features, 4))
        self.register_buffer("box_biases", torch.zeros(classes, 4))

    def margins(self, features: Float[Tensor, "R D"]) -> Float[Tensor, "R K"]:
        """Return w x + b of each class; 1 and -1 are the edges of the margin."""
        return self.scale * features @ self.class_weights + self.class_biases

    def deltas(self, features: Float[Tensor, "R D"]) -> Float[Tensor, "R K 4"]:
        """Return the correction of a region for each class (`decode_boxes` without weights)."""
        boxes = torch.einsum("rd,kdt->rkt", self.scale * features, self.box_weights)
        return boxes + self.box_biases


class MarginOutputs(NamedTuple):
    """Proposals and what the linear models say of each; slots that are not valid mean nothing."""

    proposals: Float[Tensor, "B N 4"]  # xyxy, pixels of the canvas
    valid: Bool[Tensor, "B N"]
    margins: Float[Tensor, "B N K"]
    box_deltas: Float[Tensor, "B N K 4"]


@dataclass(frozen=True)
class SVMDecode:
    """Corrected boxes of all classes with a margin above a floor, greedy suppression within each class."""

    categories: Categories  # of all machines; those without a name are dropped
    lowest_margin: float = -1.1
    nms_threshold: float = 0.3
    detections_per_image: int = 100

    def __call__(self, outputs: MarginOutputs, placements: Sequence[Placement]) -> list[Detections]:
        named = list(named_outputs(self.categories))
        margins = outputs.margins[..., named]  # B N K
        boxes = decode_boxes(outputs.box_deltas[:, :, named], outputs.proposals[:, :, None])  # B N K 4
        sizes = boxes.new_tensor([placement.resized for placement in placements])
        boxes = clip_boxes_to_images(boxes.flatten(1, 2), sizes)  # B NK 4
        valid = (outputs.valid[..., None] & (margins > self.lowest_margin)).flatten(1)
        valid = valid & boxes_at_least(boxes, SMALLEST)
        labels = torch.arange(len(named), device=boxes.device).expand_as(margins).flatten(1)
        scores = margins.flatten(1).sigmoid()
        found = Candidates(boxes, scores, labels, valid)
        best = found.best(threshold=self.nms_threshold, most=self.detections_per_image)
        return best.detections(placements, self.categories)


# ----------------------------------------------------------------------------------------------------------------------
# Fitting


@dataclass(frozen=True)
class RegionPlan:
    """The numbers of the fitting."""

    cost: float = 1e-3  # C of the machines (the authors' code, as the next two)
    positive_weight: float = 2.0
    bias_scale: float = 10.0
    negative_below: float = 0.3  # IoU with all objects of a class
    corrected_from: float = 0.6  # IoU with the nearest object
    ridge: float = 1000.0


class HardNegatives:
    """The machine of one class, and the negatives that it was trained on."""

    def __init__(self, positive: Float[Tensor, "P D"], plan: RegionPlan):
        self.positive, self.plan = positive, plan
        self.negative = positive[:0]
        self.new = 0
        self.weights, self.bias = positive.new_zeros(positive.shape[1]), positive.new_zeros(())

    def margins(self, features: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Return w x + b."""
        return features @ self.weights + self.bias

    def add(self, features: Float[Tensor, "N D"]) -> None:
        """Keep those negatives that lie inside the margin or beyond it, and train anew once they are many."""
        hard = features[self.margins(features) > HARD]
        self.negative = torch.cat((self.negative, hard))
        self.new += len(hard)
        if self.new >= RETRAIN_AFTER:
            self.train()

    def train(self) -> None:
        """Fit the machine to all that is kept, then drop the negatives that have become easy."""
        self.new = 0
        if len(self.positive) == 0:
            self.bias = self.bias.new_tensor(HARD)  # a class that was never seen is never found
            return
        features = torch.cat((self.positive, self.negative))
        positive = torch.arange(len(features)) < len(self.positive)
        plan = self.plan
        options = {"cost": plan.cost, "positive_weight": plan.positive_weight, "bias_scale": plan.bias_scale}
        model = linear_svm(features, positive, **options)
        self.weights, self.bias = model.weights[:, 0], model.biases[0]
        self.negative = self.negative[self.margins(self.negative) >= EASY]


class RegionFitting(Fitted, Predicts):
    """A trained network, and the linear models that are fitted to its vectors."""

    def __init__(
        self,
        network: nn.Module,
        regions: RegionClassifiers,
        preprocess: Preprocess,
        decode: SVMDecode,
        plan: RegionPlan | None = None,
    ):
        super().__init__()
        self.network, self.regions = network, regions
        self.preprocess, self.decode = preprocess, decode
        self.plan = plan or RegionPlan()

    def fit(self, dataset: Any, *, generator: torch.Generator | None = None) -> None:
        """Fit the machines and the regressors in two walks over a data set; nothing is drawn at random.

        The first collects the vectors of the objects and the sums of the regressors, the second looks for negatives.

        Raises:
            ValueError: if no image has an object, for boxes without area, labels without category and vectors that
                are not finite.
        """
        outputs = named_outputs(self.decode.categories)
        with evaluating(self.network), torch.no_grad():
            positive, sums, lengths = self._objects(dataset, outputs)
            if not any(map(len, positive)):
                raise ValueError("received images without objects, expected some to learn from")
            scale = NORM / max(lengths, 1e-12)
            machines = [HardNegatives(scale * own, self.plan) for own in positive]
            self._negatives(dataset, machines, scale)
        regions = self.regions
        regions.scale.fill_(scale)
        for row, output in enumerate(outputs):
            machines[row].train()
            regions.class_weights[:, output] = machines[row].weights.to(regions.class_weights)
            regions.class_biases[output] = machines[row].bias.to(regions.class_biases)
            ridge = sums[row].scaled(scale).solve(self.plan.ridge)
            regions.box_weights[output] = ridge.weights.to(regions.box_weights)
            regions.box_biases[output] = ridge.biases.to(regions.box_biases)

    def _samples(self, dataset: Any) -> Any:
        """Yield proposals, vectors of them and of the objects, and the objects of each image, on the CPU."""
        network: Any = self.network
        for index in range(len(dataset)):
            image, target = dataset[index]
            batch = self.preprocess.collate([self.preprocess.place(image, target)]).to(self.device)
            (proposals,) = network.proposals(batch.images, batch.mask)
            objects = Objects.of(batch.targets[0], like=proposals)
            check_objects(objects.boxes, objects.labels, len(named_outputs(self.decode.categories)))
            boxes = torch.cat((proposals, objects.boxes))
            if len(boxes) == 0:
                continue
            rows = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
            features = network.features_in_parts(batch.images, boxes, rows).float().cpu()
            objects = Objects(*(value.cpu() for value in objects))
            yield proposals.cpu(), features[: len(proposals)], features[len(proposals) :], objects

    def _objects(self, dataset: Any, outputs: Sequence[int]) -> tuple[list[Tensor], list[RidgeSums], float]:
        """Return each class's vectors of objects and sums of corrections, and the mean length of all vectors."""
        D = self.regions.class_weights.shape[0]
        positive: list[list[Tensor]] = [[torch.zeros(0, D)] for _ in outputs]
        sums = [RidgeSums(D, 4) for _ in outputs]
        total, count = 0.0, 0
        for proposals, features, own, objects in self._samples(dataset):
            total += float(features.norm(dim=1).sum() + own.norm(dim=1).sum())
            count += len(features) + len(own)
            if len(objects.boxes) == 0:
                continue
            overlap, nearest = box_iou(objects.boxes, proposals).max(0) if len(proposals) else _no_overlap()
            targets = encode_boxes(objects.boxes[nearest], proposals)
            near = overlap >= self.plan.corrected_from
            for row in range(len(outputs)):
                positive[row].append(own[objects.labels == row])
                rows = near & (objects.labels[nearest] == row)
                sums[row].add(features[rows], targets[rows])
        return [torch.cat(rows) for rows in positive], sums, total / max(count, 1)

    def _negatives(self, dataset: Any, machines: Sequence[HardNegatives], scale: float) -> None:
        """Show each machine the proposals that overlap its class's objects little and lie in no crowd."""
        for proposals, features, _, objects in self._samples(dataset):
            free = ~mostly_inside(proposals, objects.crowd)
            iou = box_iou(objects.boxes, proposals)  # M N
            for row, machine in enumerate(machines):
                own = iou[objects.labels == row]
                far = own.amax(0) < self.plan.negative_below if len(own) else torch.ones_like(free)
                machine.add(scale * features[free & far])

    def predict_batch(self, batch: Batch) -> list[Detections]:
        """Return the objects of each image."""
        batch = batch.to(self.device)
        network: Any = self.network
        proposals, valid = network.slots(batch.images, batch.mask, None)
        K = self.regions.class_biases.shape[0]
        margins, deltas = proposals.new_zeros(*valid.shape, K), proposals.new_zeros(*valid.shape, K, 4)
        if valid.any():
            features = network.features_in_parts(batch.images, proposals[valid], valid.nonzero()[:, 0])
            features = features.to(self.regions.class_weights.dtype)
            margins[valid], deltas[valid] = self.regions.margins(features), self.regions.deltas(features)
        return self.decode(MarginOutputs(proposals, valid, margins, deltas), batch.placements)


def _no_overlap() -> tuple[Float[Tensor, " 0"], Int64[Tensor, " 0"]]:
    return torch.zeros(0), torch.zeros(0, dtype=torch.int64)
