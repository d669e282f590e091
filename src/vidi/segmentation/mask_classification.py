"""Mask classification: a set of masks with a class each, from which every kind of segmentation follows (notes 5.3.2).

Cheng, Schwing, Kirillov 2021, "Per-Pixel Classification is Not All You Need for Semantic Segmentation", arXiv
2107.06278: what its network, and that of Mask2Former, give; what they are compared with; what follows from it.

    outputs    class_logits B Q K+1 ("no object" last), mask_logits B Q H/4 W/4, and both after each decoder layer
    truth      M masks with a class each. Panoptic: the segments of a target, things and stuff alike, but for crowds;
               semantic: one mask for each class that occurs; instances: the objects' own masks
    loss       queries and segments matched one to one; class, mask and overlap terms, for every decoder layer
    panoptic   each pixel to the mask i with the largest p_i(c_i) m_i(u, v)
    semantic   each pixel to the class c with the largest sum over i of p_i(c) m_i(u, v)
    instances  the best (query, class) pairs, each with its own mask; masks may overlap

Differs from the notes: they give the first rule alone, the semantic one is the better of the two where only the class
of a pixel counts (paper, table 8).
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Concatenate, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vidi.detection.detr import class_losses
from vidi.detection.targets import checked_objects, named_categories, named_outputs
from vidi.model import Arguments, Losses, Step, Supervised, in_float32, of_family
from vidi.ops.assignment import Assignment, assign
from vidi.ops.blocks import row_blocks
from vidi.ops.label_maps import VOID
from vidi.ops.masks import CodedMasks, boxes_of_masks
from vidi.ops.segments import segments_of
from vidi.ops.upsampling import bilinear_rows
from vidi.preprocess import Batch, Placement
from vidi.results.categories import Categories
from vidi.results.detections import Detections
from vidi.results.panoptic_map import PanopticMap, Segment
from vidi.results.result import BELOW
from vidi.segmentation.mask_rcnn import object_masks
from vidi.segmentation.semantic import ByPixelScores, PixelScores

Form = Literal["panoptic", "semantic", "instance"]
"""What a network is trained to give: every segment, the class of each pixel, or things that may overlap."""

STRIDE = 4  # pixels of the canvas for each of a mask
WITHOUT_OBJECT = "without an object"  # why a query became nothing: it says so itself
NOT_FINITE = 1e6  # the cost of a pair that has none, far above all others


class MaskOutputs(NamedTuple):
    """What the heads say of every query after the last decoder layer, and after each of the L - 1 before it."""

    class_logits: Float[Tensor, "B Q K+1"]  # "no object" last
    mask_logits: Float[Tensor, "B Q h w"]  # a quarter of the canvas
    auxiliary_class_logits: Float[Tensor, "B L-1 Q K+1"]
    auxiliary_mask_logits: Float[Tensor, "B L-1 Q h w"]

    @classmethod
    def of_layers(
        cls, class_logits: Float[Tensor, "B L Q C"], mask_logits: Float[Tensor, "B L Q h w"]
    ) -> "MaskOutputs":
        """Sort what all layers say."""
        return cls(class_logits[:, -1], mask_logits[:, -1], class_logits[:, :-1], mask_logits[:, :-1])

    def layers(self) -> tuple[Float[Tensor, "B L Q C"], Float[Tensor, "B L Q h w"]]:
        """Return the logits of classes and of masks after every layer, the last one last."""
        return (
            torch.cat((self.auxiliary_class_logits, self.class_logits[:, None]), 1),
            torch.cat((self.auxiliary_mask_logits, self.mask_logits[:, None]), 1),
        )


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


def segments_to_find(
    batch: Batch, row: int, form: Form, classes: int
) -> tuple[Bool[Tensor, "M h w"], Int64[Tensor, " M"]]:
    """Return the masks that an image's queries are to find, in the pixels of the image, and their classes.

    Raises:
        ValueError: if the target lacks what they are made of, or an object is wrong.
    """
    target = batch.targets[row]
    if form == "semantic":
        if "semantic" not in target:
            raise ValueError(f"received a target with {sorted(target)}, expected semantic")
        semantic = target["semantic"].as_subclass(Tensor)
        labels = semantic.unique()
        labels = labels[labels != VOID]
        return semantic == labels[:, None, None], labels.long()
    if form == "instance":
        (objects,) = checked_objects([target], classes, like=batch.images)
        masks, labels = object_masks(batch, row).as_subclass(Tensor).bool(), objects.labels
        seen = masks.flatten(1).any(1)  # others lost all of their pixels when the image was made smaller
        return masks[seen], labels[seen]
    segments = segments_of(target)
    kept = ~segments.crowd
    return segments.masks(target["panoptic"].as_subclass(Tensor))[kept], segments.labels[kept]


class PaddedSegments(NamedTuple):
    """The ground truth of a batch on its canvas, with as many rows for every image as the richest has."""

    masks: Bool[Tensor, "B M H W"]
    outputs: Int64[Tensor, "B M"]  # the logit of each segment
    counts: list[int]  # of the rows that count

    @classmethod
    def of(cls, batch: Batch, named: tuple[int, ...], form: Form = "panoptic") -> "PaddedSegments":
        """Collect the segments of a batch; a ValueError for targets without maps, and classes without a logit."""
        H, W = batch.images.shape[2:]
        logit_of = torch.tensor(named, device=batch.images.device)
        masks, outputs = [], []
        for row in range(len(batch.targets)):
            own, labels = segments_to_find(batch, row, form, len(named))
            wrong = labels[labels >= len(named)]
            if len(wrong):
                raise ValueError(f"received a segment of class {int(wrong[0])}, expected 0..{len(named) - 1}")
            masks.append(F.pad(own, (0, W - own.shape[2], 0, H - own.shape[1])))
            outputs.append(logit_of[labels])
        padded = pad_sequence(masks, batch_first=True), pad_sequence(outputs, batch_first=True)
        return cls(*padded, [len(rows) for rows in masks])


class Matched(NamedTuple):
    """Pairs of queries and segments: after which layer, of which image."""

    layer: Int64[Tensor, " N"]
    mask_logits: Float[Tensor, "N h w"]
    masks: Bool[Tensor, "N H W"]


@dataclass(frozen=True)
class MaskCriterion(ABC):
    """The loss of a set of masks (section 3.2 of the paper), of the last decoder layer and the sum of those before it.

    Every layer is matched for itself, at the cost -p[c] and the losses of the masks, with the weights of the losses.
    Class terms are divided by the weights of all queries (1, and `no_object_weight` for those without a segment), mask
    terms by the number of segments in the batch, at least 1; both are means over processes.
    """

    named: tuple[int, ...]  # the logits that a category has; labels count these
    class_weight: float
    mask_weight: float  # of the losses of pixels
    dice_weight: float
    no_object_weight: float
    form: Form = "panoptic"

    @abstractmethod
    def mask_costs(
        self, mask_logits: Float[Tensor, "B L Q h w"], segments: PaddedSegments, step: Step
    ) -> Float[Tensor, "B L Q M"]:
        """Return the cost of every query's mask for every segment of its image, weights applied."""

    @abstractmethod
    def mask_terms(self, pairs: Matched, step: Step) -> dict[str, Float[Tensor, " N"]]:
        """Return the losses "mask" and "dice" of matched masks, weights applied."""

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: MaskOutputs, batch: Batch, step: Step) -> Losses:
        """Return the losses of a batch whose targets hold what the form asks for.

        That is panoptic, semantic and maybe crowd; semantic alone; or boxes, labels, masks and maybe crowd. The losses
        are "classification", "mask" and "dice", and the same with "auxiliary_" before them where the decoder has
        more than one layer. Maps that are missing, and classes beyond the network's, are a ValueError.
        """
        logits, masks = outputs.layers()
        B, L, Q, outs = logits.shape
        segments = PaddedSegments.of(batch, self.named, self.form)
        pairs = self.match(logits, masks, segments, step)
        image, layer = pairs.problem // L, pairs.problem % L

        wanted = torch.full((B, L, Q), outs - 1, device=logits.device)
        wanted[image, layer, pairs.row] = segments.outputs[image, pairs.column]
        terms = {"classification": self.class_weight * class_losses(logits, wanted, self.no_object_weight, step)}

        number = step.normaliser(masks.new_tensor(float(sum(segments.counts))))
        found = Matched(layer, masks[image, layer, pairs.row], segments.masks[image, pairs.column])
        for name, losses in self.mask_terms(found, step).items():
            terms[name] = losses.new_zeros(L).index_add(0, layer, losses) / number
        auxiliary = {f"auxiliary_{name}": values[:-1].sum() for name, values in terms.items()} if L > 1 else {}
        return {name: values[-1] for name, values in terms.items()} | auxiliary

    @torch.no_grad()
    def match(
        self,
        class_logits: Float[Tensor, "B L Q C"],
        mask_logits: Float[Tensor, "B L Q h w"],
        segments: PaddedSegments,
        step: Step,
    ) -> Assignment:
        """Return which query (row) stands for which segment (column), after every layer of every image (problem)."""
        _, L, Q, _ = class_logits.shape
        counts = [count for count in segments.counts for _ in range(L)]
        if not sum(counts):  # torch resizes and samples no empty stack of masks
            return assign(class_logits.new_zeros(len(counts), Q, 0), counts)
        outputs = segments.outputs[:, None, None].expand(-1, L, Q, -1)  # B L Q M
        likely = class_logits.softmax(-1).gather(3, outputs)
        costs = self.mask_costs(mask_logits, segments, step) - self.class_weight * likely
        return assign(costs.nan_to_num(nan=NOT_FINITE).flatten(0, 1), counts)


# ----------------------------------------------------------------------------------------------------------------------
# From masks to the three kinds of segmentation


def semantic_scores(probabilities: Float[Tensor, "Q K"], masks: Float[Tensor, "Q H W"]) -> Float[Tensor, "K H W"]:
    """Return the sum over all masks of p_i(c) m_i(u, v) (section 3.4, semantic inference)."""
    return torch.einsum("qk,qhw->khw", probabilities, masks)


def best_masks(scores: Float[Tensor, " N"], masks: Float[Tensor, "N H W"]) -> Int64[Tensor, "H W"]:
    """Return for each pixel the mask with the largest p_i(c_i) m_i(u, v) (section 3.4, general inference)."""
    return (scores[:, None, None] * masks).argmax(0)


class Owners(NamedTuple):
    """Which mask each pixel is given to: all that segments need of masks that are too large to be held."""

    owner: Int64[Tensor, "H W"]
    inside: Bool[Tensor, "H W"]  # whether the pixel is one of its owner's own
    whole: Int64[Tensor, " N"]  # pixels of each mask

    @classmethod
    def of(
        cls, scores: Float[Tensor, " N"], masks: Iterable[Float[Tensor, "N _ W"]], mask_threshold: float
    ) -> "Owners":
        """Give pixels away in strips of rows, from the top down; a mask has the pixels of `mask_threshold` and more."""
        owners, insides, whole = [], [], torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
        for strip in masks:
            inside, owner = strip >= mask_threshold, best_masks(scores, strip)
            whole += inside.flatten(1).sum(1)
            owners.append(owner)
            insides.append(inside.gather(0, owner[None])[0])
        return cls(torch.cat(owners), torch.cat(insides), whole)


def panoptic_segments(
    scores: Float[Tensor, " N"],
    labels: Int64[Tensor, " N"],
    masks: Iterable[Float[Tensor, "N _ W"]],
    *,
    things: frozenset[int],
    overlap_threshold: float = 0.8,
    mask_threshold: float = 0.5,
    only_inside: bool = False,
) -> tuple[Int32[Tensor, "H W"], list[Segment], int]:
    """Give each pixel to a mask, and leave out masks of which too little is left; pieces of one stuff are joined.

    Args:
        scores: p_i(c_i) of masks that are not "no object".
        labels: c_i.
        masks: m_i, in [0, 1]; strips of their rows, from the top down.
        things: labels whose masks stay apart.
        overlap_threshold: the least share of a mask (its pixels of `mask_threshold` and more) that it must be given.
        mask_threshold: the least m_i of a pixel that is one of the mask's own.
        only_inside: whether a mask gets none of the pixels that are not its own (Mask2Former).

    Returns:
        The map of ids, its segments, and how many masks were left out because others hid them.
    """
    segments: list[Segment] = []
    if not len(scores):
        return torch.cat([torch.zeros(strip.shape[1:], dtype=torch.int32) for strip in masks]), segments, 0
    owners = Owners.of(scores, masks, mask_threshold)
    ids = torch.zeros_like(owners.owner, dtype=torch.int32)
    hidden, stuff = 0, {}
    rows = zip(scores.tolist(), labels.tolist(), owners.whole.tolist(), strict=True)
    for row, (score, label, whole) in enumerate(rows):
        given = owners.owner == row
        area = int(given.sum())
        if only_inside:
            given = given & owners.inside
        if not area or not whole or area < overlap_threshold * whole or not given.any():
            hidden += 1
        elif label in stuff:
            ids[given] = stuff[label]
        else:
            segments.append(Segment(len(segments) + 1, label, score, label in things))
            ids[given] = len(segments)
            if label not in things:
                stuff[label] = len(segments)
    return ids, segments, hidden


@dataclass(frozen=True)
class MaskDecode:
    """What the three decoders share."""

    categories: Categories  # of all logits but the last; those without a name are dropped
    things: frozenset[int]  # the labels of things; labels count the categories with a name

    def __post_init__(self) -> None:
        for name in ("score_threshold", "overlap_threshold", "mask_threshold"):
            value = getattr(self, name, 0.0)
            if not 0 <= value <= 1:
                raise ValueError(f"received {name}={value}, expected a number from 0 to 1")

    def probabilities(self, outputs: MaskOutputs) -> Float[Tensor, "B Q C"]:
        """Return the probabilities of the named classes, and of "no object"."""
        kept = [*named_outputs(self.categories), len(self.categories)]
        return outputs.class_logits.softmax(-1)[..., kept]

    @staticmethod
    def rows_of_masks(logits: Float[Tensor, "N h w"], placement: Placement) -> Callable[[slice], Tensor]:
        """Return what makes the rows that it is asked for of `masks`: N m W."""
        if not len(logits):
            return lambda rows: logits.new_zeros(0, rows.stop - rows.start, placement.original[1])
        h, w = logits.shape[1:]

        def canvas(rows: slice) -> Tensor:
            return bilinear_rows(lambda own: logits[:, own], h, (STRIDE * h, STRIDE * w), rows)

        return lambda rows: placement.rows_to_original(canvas, rows).sigmoid()

    @staticmethod
    def masks(logits: Float[Tensor, "N h w"], placement: Placement) -> Float[Tensor, "N H W"]:
        """Return masks in [0, 1] in the pixels of the original."""
        return MaskDecode.rows_of_masks(logits, placement)(slice(0, placement.original[0]))


@dataclass(frozen=True)
class PanopticDecode(MaskDecode):
    """Sure masks that are not hidden by others: one segment each, pieces of one stuff joined."""

    options: ClassVar[tuple[str, ...]] = ("score_threshold", "overlap_threshold", "mask_threshold")

    score_threshold: float = 0.8
    overlap_threshold: float = 0.8
    mask_threshold: float = 0.5
    only_inside: bool = False

    def __call__(self, outputs: MaskOutputs, placements: Sequence[Placement]) -> list[PanopticMap]:
        names, results = named_categories(self.categories), []
        scores, labels = self.probabilities(outputs).max(-1)  # B Q
        for image, placement in enumerate(placements):
            nothing = labels[image] == len(names)
            kept = ~nothing & (scores[image] > self.score_threshold)
            H, W = placement.original
            make = self.rows_of_masks(outputs.mask_logits[image, kept], placement)
            ids, segments, hidden = panoptic_segments(
                scores[image, kept],
                labels[image, kept],
                (make(rows) for rows in row_blocks(H, W * int(kept.sum()))),
                things=self.things,
                overlap_threshold=self.overlap_threshold,
                mask_threshold=self.mask_threshold,
                only_inside=self.only_inside,
            )
            absent = int(nothing.sum())
            unsure = len(kept) - absent - int(kept.sum())
            fallen = {WITHOUT_OBJECT: absent, BELOW: unsure, "hidden by others": hidden}
            results.append(PanopticMap(ids, tuple(segments), names, fallen))
        return results


@dataclass(frozen=True)
class SemanticDecode(MaskDecode, ByPixelScores):
    """The class of each pixel, by all masks together."""

    def scores(self, outputs: MaskOutputs, placements: Sequence[Placement]) -> Iterator[PixelScores]:
        probabilities = self.probabilities(outputs)[..., :-1]
        for own, logits, placement in zip(probabilities, outputs.mask_logits, placements, strict=True):
            scores = partial(self.scores_of_rows, own, self.rows_of_masks(logits, placement))
            yield PixelScores(scores, placement.original, sum(own.shape))

    @staticmethod
    def scores_of_rows(
        probabilities: Float[Tensor, "Q K"], masks: Callable[[slice], Tensor], rows: slice
    ) -> Float[Tensor, "K m W"]:
        """Return the scores of some rows, given what makes the rows of masks."""
        return semantic_scores(probabilities, masks(rows))


class Pairs(NamedTuple):
    """Queries of one image, each with a class."""

    likely: Float[Tensor, " N"]  # how likely the class is
    labels: Int64[Tensor, " N"]
    nothing: Bool[Tensor, " N"]  # whether "no object" is likelier than all classes
    logits: Float[Tensor, "N h w"]


@dataclass(frozen=True)
class InstanceDecode(MaskDecode):
    """The best pairs of query and thing, scored by the class and by how sure the mask is of its pixels."""

    options: ClassVar[tuple[str, ...]] = ("score_threshold", "mask_threshold", "detections_per_image")

    detections_per_image: int = 100
    score_threshold: float = 0.0
    mask_threshold: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.detections_per_image < 1:
            raise ValueError(f"received detections_per_image={self.detections_per_image}, expected at least 1")

    def __call__(self, outputs: MaskOutputs, placements: Sequence[Placement]) -> list[Detections]:
        results = []
        things = torch.tensor(sorted(self.things), dtype=torch.int64, device=outputs.class_logits.device)
        every = self.probabilities(outputs)  # B Q C
        nothing = every.argmax(-1) == every.shape[-1] - 1  # B Q
        probabilities = every[..., things].flatten(1)  # B QT
        for image, placement in enumerate(placements):
            best, pair = probabilities[image].topk(min(self.detections_per_image, probabilities.shape[1]))
            query, label = pair // len(things), things[pair % len(things)]
            pairs = Pairs(best, label, nothing[image, query], outputs.mask_logits[image, query])
            results.append(self.found(pairs, placement))
        return results

    def found(self, pairs: Pairs, placement: Placement) -> Detections:
        """Return the pairs whose masks have pixels and whose scores are above the threshold.

        Masks are made in blocks and kept as run lengths: a hundred of a photograph are gigabytes.
        """
        runs, columns, fallen = [], [], Counter[str]()
        for rows in row_blocks(len(pairs.labels), placement.original[0] * placement.original[1]):
            own = Pairs(*(column[rows] for column in pairs))
            masks = self.masks(own.logits, placement)
            inside = masks > self.mask_threshold
            pixels = inside.flatten(1).sum(1)
            scores = own.likely * (masks * inside).flatten(1).sum(1) / (pixels + 1e-6)
            kept = (pixels > 0) & (scores > self.score_threshold)
            runs += CodedMasks.of(inside[kept].cpu()).runs
            columns.append((boxes_of_masks(inside[kept]), scores[kept], own.labels[kept]))
            absent, empty = ~kept & own.nothing, ~kept & ~own.nothing & (pixels == 0)
            fallen.update({WITHOUT_OBJECT: int(absent.sum()), "without pixels": int(empty.sum())})
            fallen[BELOW] += int((~kept & ~absent & ~empty).sum())
        boxes, scores, labels = (torch.cat(column) for column in zip(*columns, strict=True))
        masks = CodedMasks(runs, placement.original)
        return Detections(boxes, scores, labels, named_categories(self.categories), masks, fallen={BELOW: 0} | +fallen)


def thing_labels(things: int | tuple[str, ...], names: Categories) -> frozenset[int]:
    """Return which labels are things, given their names or the number of the first categories that are.

    Raises:
        ValueError: for names that no category has, and a number that is not 0..K.
    """
    known = named_categories(names)
    if isinstance(things, int):
        if not 0 <= things <= len(known):
            raise ValueError(f"received things={things}, expected 0..{len(known)}, the number of categories")
        return frozenset(range(things))
    unknown = [name for name in things if name not in known]
    if unknown:
        raise ValueError(f"received the things {', '.join(map(repr, unknown))}, expected names of categories")
    return frozenset(known.index(name) for name in things)


# ----------------------------------------------------------------------------------------------------------------------
# Builders

NOT_TAKEN: dict[Form, tuple[str, ...]] = {
    "panoptic": ("detections_per_image",),
    "semantic": ("things", "score_threshold", "overlap_threshold", "mask_threshold", "detections_per_image"),
    "instance": ("things", "overlap_threshold"),
}
"""The arguments of a family that a network of a form has no use for."""
USUAL: dict[Form, dict[str, Any]] = {
    "panoptic": {},
    "semantic": {"categories": 150, "shorter": 512, "longest": 2048},
    "instance": {"categories": 80, "score_threshold": 0.0},
}
"""What the authors' networks have that differs from the panoptic ones: ADE20K's classes and sizes; COCO's things."""


def form_of(name: str) -> Form:
    """Return what a network gives, by its name in the catalogue: the last word of it, if that is a form."""
    last = name.rpartition("_")[2]
    return cast(Form, last) if last in NOT_TAKEN else "panoptic"


def of_form(
    build: Callable[Concatenate[str, Arguments], Supervised], name: str, says: str, **defaults: Any
) -> Callable[Arguments, Supervised]:
    """Return the builder of a member of a family, with the arguments that its form has a use for; see `of_family`."""
    form = form_of(name)
    return of_family(build, name, says, without=NOT_TAKEN[form], **{**USUAL[form], **defaults})


def mask_decode(
    form: Form,
    names: Categories,
    things: int | tuple[str, ...],
    *,
    score_threshold: float,
    overlap_threshold: float,
    mask_threshold: float,
    detections_per_image: int,
    only_inside: bool = False,
) -> PanopticDecode | SemanticDecode | InstanceDecode:
    """Return the decoder of a form; all categories of instances are things."""
    if form == "semantic":
        return SemanticDecode(names, frozenset())
    if form == "instance":
        every = frozenset(range(len(named_categories(names))))
        return InstanceDecode(names, every, detections_per_image, score_threshold, mask_threshold)
    thresholds = score_threshold, overlap_threshold, mask_threshold
    return PanopticDecode(names, thing_labels(things, names), *thresholds, only_inside)
