"""EfficientDet: scaling, losses on awkward targets, heads, anchors, decoding, necks; parity is in tests/parity."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import Learnt
from tests.detection.pairing import assert_same_detections
from vidi.detection.efficientdet import (
    Anchors,
    EfficientDetCriterion,
    EfficientDetDecode,
    efficientdet_d0,
    efficientdet_lite0,
    efficientdet_tiny,
)
from vidi.detection.efficientdet_scaling import VARIANTS, compound_scale
from vidi.detection.retinanet import RetinaOutputs
from vidi.detection.targets import Objects
from vidi.model import Step
from vidi.necks.bifpn import BiFPN
from vidi.necks.nas_fpn import NASFPN
from vidi.necks.path_aggregation import PathAggregation
from vidi.ops.boxes import box_iou
from vidi.preprocess import Batch, Placement

K = 3
SIZE = (64, 96)
MAPS = ((8, 12), (4, 6))
BOXES: dict[str, list[list[float]]] = {
    "none": [],
    "one": [[20, 10, 52, 40]],
    "at the border": [[0, 0, 30, 30], [66, 34, 96, 64]],
    "of one pixel": [[40, 40, 41, 41], [0, 0, 1, 1]],
    "around everything": [[0, 0, 96, 64]],
    "long": [[0, 20, 96, 44], [10, 0, 16, 64]],
}
Target = dict[str, Tensor]


def target(rows: Any, labels: list[int] | None = None, crowd: list[bool] | None = None) -> Target:
    boxes = torch.as_tensor(rows, dtype=torch.float64).view(-1, 4)
    return {
        "boxes": boxes,
        "labels": torch.arange(len(boxes)) % K if labels is None else torch.tensor(labels),
        "crowd": torch.zeros(len(boxes), dtype=torch.bool) if crowd is None else torch.tensor(crowd),
    }


def batch_of(targets: list[Target], size: tuple[int, int] = SIZE) -> Batch:
    images = torch.randn(len(targets), 3, *size)
    mask = torch.ones(len(targets), *size, dtype=torch.bool)
    return Batch(images, mask, [Placement(size, size)] * len(targets), targets)


def random_outputs(images: int, seed: int = 0, outputs: int = K) -> RetinaOutputs:
    """Raw outputs that could come from any network, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    anchors, levels = Anchors(2.0).double()(SIZE, MAPS)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64, requires_grad=True)
    return RetinaOutputs(draw(images, len(anchors), outputs), draw(images, len(anchors), 4), anchors, levels)


def rows(outputs: RetinaOutputs, images: slice) -> RetinaOutputs:
    return outputs._replace(class_logits=outputs.class_logits[images], box_deltas=outputs.box_deltas[images])


def criterion() -> EfficientDetCriterion:
    return EfficientDetCriterion(tuple(range(K)))


def tiny(**options: Any) -> Any:
    return efficientdet_tiny(
        **{"categories": K, "width": 0.25, "channels": 16, "repeats": 1, "head_depth": 1, **options}
    )


# ----------------------------------------------------------------------------------------------------------------------
# Scaling


@pytest.mark.system("4.A-EFFDETSCALE", "B4.28")
def test_the_rule_and_the_published_sizes() -> None:
    """B4.28, C4.40: the closed formulas for phi 0 to 7, and the table that deviates from them."""
    rule = [compound_scale(phi) for phi in range(8)]
    assert [s.channels for s in rule] == [64, 86, 117, 157, 213, 287, 387, 523]
    assert [s.repeats for s in rule] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert [s.head_depth for s in rule] == [3, 3, 3, 4, 4, 4, 5, 5]
    assert [s.resolution for s in rule] == [512, 640, 768, 896, 1024, 1152, 1280, 1408]
    table = [VARIANTS[f"efficientdet_d{phi}"].scale for phi in range(8)]
    assert [s.channels for s in table] == [64, 88, 112, 160, 224, 288, 384, 384]
    assert [s.repeats for s in table] == [3, 4, 5, 6, 7, 7, 8, 8]
    assert [s.head_depth for s in table] == [3, 3, 3, 4, 4, 4, 5, 5]
    assert [s.resolution for s in table] == [512, 640, 768, 896, 1024, 1280, 1280, 1536]
    with pytest.raises(ValueError, match="at least 0"):
        compound_scale(-1)


# ----------------------------------------------------------------------------------------------------------------------
# Loss


@pytest.mark.parametrize("boxes", BOXES.values(), ids=BOXES)
def test_losses_and_gradients_are_finite(boxes: list[list[float]]) -> None:
    outputs = random_outputs(1)
    losses = criterion().compare(outputs, batch_of([target(boxes)]), Step())
    torch.stack(list(losses.values())).sum().backward()
    for tensor in outputs[:2]:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
    assert (losses["box"] > 0) == bool(boxes)


def test_every_object_that_an_anchor_touches_has_a_positive_anchor() -> None:
    anchors = random_outputs(1).anchors
    for boxes in BOXES.values():
        objects = Objects.of(target(boxes), like=anchors)
        matches = criterion().assign(anchors, objects)
        assert all((matches == row).any() for row in range(len(boxes)))


def test_an_object_that_no_anchor_touches_claims_none() -> None:
    anchors = random_outputs(1).anchors
    matches = criterion().assign(anchors, Objects.of(target([[900, 900, 910, 910]]), like=anchors))
    assert (matches < 0).all()


def test_the_first_of_two_equal_objects_gets_their_anchor() -> None:
    anchors = random_outputs(1).anchors
    objects = Objects.of(target([[3, 3, 4, 4], [3, 3, 4, 4]]), like=anchors)
    assert set(criterion().assign(anchors, objects).tolist()) == {-1, 0}


def test_three_hundred_objects() -> None:
    corner = torch.rand(300, 2, dtype=torch.float64) * torch.tensor([80, 50])
    boxes = torch.cat((corner, corner + 2 + 12 * torch.rand(300, 2, dtype=torch.float64)), 1)
    losses = criterion().compare(random_outputs(1), batch_of([target(boxes)]), Step())
    assert all(value.isfinite() for value in losses.values())


def test_crowds_are_no_objects_and_anchors_in_them_are_ignored() -> None:
    outputs = random_outputs(1)
    crowd = target([[0, 0, 48, 64], [60, 20, 90, 50]], [0, 1], [True, False])
    matches = criterion().assign(outputs.anchors, Objects.of(crowd, like=outputs.anchors))
    x1, y1, x2, y2 = outputs.anchors.unbind(1)
    assert set(matches[(x1 >= 0) & (x2 <= 48) & (y1 >= 0) & (y2 <= 64)].tolist()) == {-2}
    assert set(matches[x1 > 48].tolist()) == {-1, 0}


def test_two_processes_equal_one() -> None:
    targets = [target(BOXES[name]) for name in ("one", "none", "long", "at the border")]
    whole, parts = random_outputs(4), (slice(0, 2), slice(2, 4))
    counts = [sum(int((criterion().assign(whole.anchors, Objects.of(t, like=whole.anchors)) >= 0).sum()) for t in own)
              for own in (targets[:2], targets[2:])]  # fmt: skip
    shared = Step(share=0.5, mean=lambda own: torch.tensor(sum(counts) / 2, dtype=own.dtype))
    expected = criterion().compare(whole, batch_of(targets), Step())
    shares = [criterion().compare(rows(whole, p), batch_of(targets[p]), shared) for p in parts]
    for name, value in expected.items():
        torch.testing.assert_close((shares[0][name] + shares[1][name]) / 2, value, atol=0, rtol=1e-12)


def test_labels_count_the_outputs_that_have_a_category() -> None:
    outputs = random_outputs(1, outputs=5)
    batch = batch_of([target(BOXES["long"], [2, 0])])
    losses = EfficientDetCriterion((1, 2, 4)).compare(outputs, batch, Step())
    kept = outputs._replace(class_logits=outputs.class_logits[..., [1, 2, 4]])
    assert losses == criterion().compare(kept, batch, Step())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (target([[4, 4, 4, 9]]), "x1 < x2"),
        (target([[4, 4, 8, 9]], [K]), "expected 0..2"),
        ({"boxes": torch.zeros(0, 4)}, "labels"),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(wrong: Target, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        criterion().compare(random_outputs(1), batch_of([wrong]), Step())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    outputs = RetinaOutputs(*random_outputs(1))
    narrow = outputs._replace(
        class_logits=(outputs.class_logits * 20).to(dtype), box_deltas=outputs.box_deltas.to(dtype),
        anchors=outputs.anchors.float(),
    )  # fmt: skip
    losses = criterion().compare(narrow, batch_of([target(BOXES["one"])]), Step())
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())


# ----------------------------------------------------------------------------------------------------------------------
# Network


def test_probabilities_start_near_the_prior() -> None:
    model = tiny()
    head = model.network.class_head.predict.pointwise
    assert head.bias.tolist() == pytest.approx([-math.log(99)] * 27)
    outputs = model(torch.randn(2, 3, 64, 64))
    assert 0.002 < float(outputs.class_logits.detach().sigmoid().median()) < 0.05


def test_anchors_of_the_paper() -> None:
    """Four cells wide at least, three per octave, three shapes of nearly one area, centred on cells."""
    anchors, levels = Anchors(4.0)((128, 256), [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2)])
    assert levels.bincount().tolist() == [9 * h * w for h, w in ((16, 32), (8, 16), (4, 8), (2, 4), (1, 2))]
    own = anchors[levels == 1].view(8, 16, 9, 4)
    w, h = own[0, 0, :, 2] - own[0, 0, :, 0], own[0, 0, :, 3] - own[0, 0, :, 1]
    sides = [64 * 2 ** (i / 3) for i in range(3)]
    torch.testing.assert_close(w, torch.tensor([side * a for side in sides for a in (1, 1.4, 0.7)]))
    torch.testing.assert_close(h, torch.tensor([side * a for side in sides for a in (1, 0.7, 1.4)]))
    centres = (own[..., :2] + own[..., 2:]) / 2
    torch.testing.assert_close(centres[2, 3], torch.tensor([56.0, 40.0]).expand(9, 2))


def test_each_level_has_norms_of_its_own_and_convolutions_are_shared() -> None:
    model = tiny()
    head = model.network.box_head
    assert len(head.convs) == 1
    assert [len(norms) for norms in head.norms] == [3]
    level = torch.randn(2, 16, 4, 4)
    one, _, other = head.train()([level, level, level]).split(16 * 9, 1)
    torch.testing.assert_close(one, other)
    with torch.no_grad():
        head.norms[0][2].weight.mul_(2)
    one, same, other = head([level, level, level]).split(16 * 9, 1)
    torch.testing.assert_close(one, same)
    assert not torch.allclose(one, other)


@pytest.mark.system("4.A-PANET", "4.A-NASFPN")
@pytest.mark.parametrize(
    ("neck", "levels", "kind"),
    [("bifpn", 3, BiFPN), ("panet", 3, PathAggregation), ("panet", 5, PathAggregation), ("nas_fpn", 5, NASFPN)],
)
def test_every_parameter_learns_with_every_neck(neck: Any, levels: int, kind: type) -> None:
    model = tiny(neck=neck, levels=levels)
    assert isinstance(model.network.neck, kind)
    boxes = torch.tensor([[2.0, 3.0, 20.0, 28.0]])
    empty = {"boxes": boxes[:0], "labels": torch.tensor([1])[:0]}
    batch = batch_of([{"boxes": boxes, "labels": torch.tensor([1])}, empty], (128, 64))
    torch.stack(list(model.losses("network", batch, Step()).values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("neck", "levels"), [("panet", 6), ("nas_fpn", 3), ("fpn", 3)])
def test_necks_that_cannot_be_are_refused(neck: Any, levels: int) -> None:
    with pytest.raises((ValueError, TypeError)):
        tiny(neck=neck, levels=levels)


def test_builders_scale_and_prepare() -> None:
    with torch.device("meta"):
        d0: Any = efficientdet_d0(categories=("cat", None, "dog"))
        lite: Any = efficientdet_lite0()
    assert (d0.preprocess.longest, d0.preprocess.stride) == (512, 128)
    assert (lite.preprocess.longest, lite.preprocess.stride) == (384, 128)
    assert lite.preprocess.mean == (127 / 255,) * 3
    assert d0.criterion.named == (0, 2)
    assert d0.network.class_head.predict.pointwise.out_channels == 27


def test_one_batch_is_learnt(learnt: Learnt) -> None:
    model = tiny(head_depth=2)
    images = torch.rand(2, 3, 64, 64)
    targets = [{"boxes": torch.tensor([[10.0, 20.0, 42.0, 56.0]]), "labels": torch.tensor([i])} for i in range(2)]
    for image, own in zip(images, targets, strict=True):
        x1, y1, x2, y2 = own["boxes"][0].int().tolist()
        image[:, y1:y2, x1:x2] = torch.tensor([1.0, 0.0, float(own["labels"])]).view(3, 1, 1)
    batch = Batch(images, images[:, 0] > -1, [Placement((64, 64), (64, 64))] * 2, targets)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    model.train()
    start = float("nan")
    for step in range(40):
        loss = torch.stack(list(model.losses("network", batch, Step()).values())).sum()
        start = float(loss.detach()) if step == 0 else start
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learnt("share of the loss that is left", float(loss.detach()) / start, most=0.2)
    with torch.no_grad():
        results = model.decode(model(images), batch.placements)
    for result, own in zip(results, targets, strict=True):
        assert result.labels[0] == own["labels"][0]
        learnt("overlap", float(box_iou(result.boxes[:1], own["boxes"])), least=0.5)


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


def test_the_best_pairs_of_all_levels_together_are_taken() -> None:
    outputs = random_outputs(1)
    decode = EfficientDetDecode(("a", "b", "c"), nms_threshold=1.0, detections_per_image=20, candidates=20)
    (result,) = decode(outputs, [Placement(SIZE, SIZE)])
    best = outputs.class_logits.flatten().sort(descending=True).values[:20].sigmoid()
    torch.testing.assert_close(result.scores, best)


def test_boxes_lie_in_the_original_image_and_few_are_given() -> None:
    placements = [Placement((30, 40), (60, 80)), Placement((128, 64), (64, 32))]
    results = EfficientDetDecode(("a", "b", "c"), detections_per_image=7)(random_outputs(2), placements)
    for result, placement in zip(results, placements, strict=True):
        H, W = placement.original
        assert len(result) == 7
        assert (result.scores.diff() <= 0).all()
        assert (result.boxes >= 0).all()
        assert (result.boxes <= torch.tensor([W, H, W, H])).all()


def test_nothing_is_found_below_the_threshold() -> None:
    outputs = random_outputs(1)
    outputs = outputs._replace(class_logits=outputs.class_logits - 20)
    (result,) = EfficientDetDecode(("a", "b", "c"), score_threshold=0.05)(outputs, [Placement(SIZE, SIZE)])
    assert len(result) == 0


def test_weights_that_are_no_numbers_end_in_no_error() -> None:
    model = tiny()
    with torch.no_grad():
        model.network.class_head.predict.pointwise.weight.fill_(torch.nan)
    (result,) = model.predict(torch.rand(3, 64, 64))
    assert result.boxes.shape[1] == 4


def test_a_batch_equals_its_images_alone() -> None:
    model = tiny(score_threshold=0.001)
    torch.nn.init.normal_(model.network.class_head.predict.pointwise.weight)  # at first all scores are nearly the same
    images = [torch.rand(3, *size) for size in ((64, 64), (50, 75), (64, 64))]
    for image, result in zip(images, model.predict(images), strict=True):
        (alone,) = model.predict([image])
        assert len(result) == len(alone) > 0
        assert_same_detections(result, alone)
