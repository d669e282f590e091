"""SSD beyond its parity with torchvision: the loss by slow loops, default boxes, odd sizes, the decoder."""

import math
from functools import partial
from typing import Any

import pytest
import torch

from tests.detection.scenes import BOXES, SIZE, K, batch_of, target
from tests.references.boxes import Box, iou
from vidi.detection.ssd import (
    SSD300,
    WORLD,
    WORLD_END,
    DefaultBoxes,
    MultiBoxCriterion,
    ScaledL2Norm,
    SsdDecode,
    SsdOutputs,
    default_boxes_of,
    ssd300_vgg16,
    ssd_tiny,
)
from vidi.detection.targets import Objects
from vidi.model import Step
from vidi.ops.boxes import box_iou
from vidi.preprocess import Placement

MAPS = ((8, 12), (4, 6), (2, 3))
SMALL: dict[str, Any] = {"categories": K, "size": (64, 64), "width": 16}


def random_outputs(images: int, seed: int = 0, outputs: int = K + 1) -> SsdOutputs:
    """Raw outputs that could come from any network, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    boxes = default_boxes_of(WORLD, WORLD_END).double()(SIZE, MAPS)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64, requires_grad=True)
    return SsdOutputs(draw(images, len(boxes), outputs), draw(images, len(boxes), 4), boxes)


def rows(outputs: SsdOutputs, images: Any) -> SsdOutputs:
    return SsdOutputs(outputs.class_logits[images], outputs.box_deltas[images], outputs.default_boxes)


def criterion(**options: Any) -> MultiBoxCriterion:
    return MultiBoxCriterion(tuple(range(K)), **options)


def assigned(outputs: SsdOutputs, boxes: Any, crowd: Any = None) -> torch.Tensor:
    objects = Objects.of(target(boxes, crowd=crowd), like=outputs.default_boxes)
    return criterion().assign(outputs.default_boxes, objects)


# ----------------------------------------------------------------------------------------------------------------------
# Loss


def slow_loss(outputs: SsdOutputs, targets: Any) -> tuple[float, float]:
    """The two sums of equation 1 over the number of positives, over plain numbers."""
    default: list[Box] = [tuple(box) for box in outputs.default_boxes.tolist()]
    class_sum, box_sum, count = 0.0, 0.0, 0
    for logits, deltas, own in zip(outputs.class_logits.tolist(), outputs.box_deltas.tolist(), targets, strict=True):
        objects, labels = [tuple(box) for box in own["boxes"].tolist()], own["labels"].tolist()
        overlaps = [[iou(truth, box) for box in default] for truth in objects]
        of_box: dict[int, int] = {}
        for row in range(len(default)):
            best = max(range(len(objects)), key=lambda m: (overlaps[m][row], -m), default=None)
            if best is not None and overlaps[best][row] >= 0.5:
                of_box[row] = best
        for truth, overlap in enumerate(overlaps):
            of_box[overlap.index(max(overlap))] = truth
        negative_losses = []
        for row, box in enumerate(default):
            label = labels[of_box[row]] if row in of_box else K
            log_loss = math.log(sum(math.exp(x) for x in logits[row])) - logits[row][label]
            if row not in of_box:
                negative_losses.append(log_loss)
                continue
            count += 1
            class_sum += log_loss
            for residual in residuals(deltas[row], box, objects[of_box[row]]):
                box_sum += 0.5 * residual**2 if abs(residual) < 1 else abs(residual) - 0.5
        class_sum += sum(sorted(negative_losses, reverse=True)[: 3 * len(of_box)])
    return class_sum / count, box_sum / count


def residuals(deltas: list[float], box: Box, truth: Box) -> list[float]:
    (x1, y1, x2, y2), (a1, b1, a2, b2) = truth, box
    w, h = a2 - a1, b2 - b1
    wanted = [
        10 * ((x1 + x2) / 2 - (a1 + a2) / 2) / w,
        10 * ((y1 + y2) / 2 - (b1 + b2) / 2) / h,
        5 * math.log((x2 - x1) / w),
        5 * math.log((y2 - y1) / h),
    ]
    return [delta - want for delta, want in zip(deltas, wanted, strict=True)]


@pytest.mark.system("4.3.3-SSD")
def test_the_loss_is_that_of_the_paper_by_slow_loops() -> None:
    targets = [target(BOXES["at the border"] + BOXES["one"], [0, 2, 1]), target([]), target(BOXES["twice the same"])]
    outputs = random_outputs(3)
    losses = criterion().compare(outputs, batch_of(targets), Step())
    expected = slow_loss(outputs, targets)
    assert losses["classification"].item() == pytest.approx(expected[0], rel=1e-10)
    assert losses["box"].item() == pytest.approx(expected[1], rel=1e-10)


@pytest.mark.system("4.3.4-HNM")
def test_each_image_adds_three_negatives_for_each_positive() -> None:
    """What has a gradient took part in the loss."""
    targets = [target(BOXES["one"]), target(BOXES["long"]), target([])]
    outputs = random_outputs(3)
    criterion().compare(outputs, batch_of(targets), Step())["classification"].backward()
    assert outputs.class_logits.grad is not None
    used = (outputs.class_logits.grad != 0).any(2).sum(1)
    positives = torch.stack([(assigned(outputs, t["boxes"]) >= 0).sum() for t in targets])
    assert torch.equal(used, 4 * positives)


def test_every_object_has_a_default_box_of_its_own() -> None:
    outputs = random_outputs(1)
    for boxes in ([[20, 10, 52, 40], [60, 5, 61, 6], [0, 0, 96, 64]], BOXES["of one pixel"]):
        matches = assigned(outputs, boxes)
        best = box_iou(torch.tensor(boxes, dtype=torch.float64), outputs.default_boxes).argmax(1)
        assert matches[best].tolist() == list(range(len(boxes)))


def test_the_later_of_two_objects_takes_the_box_that_is_the_best_of_both() -> None:
    outputs = random_outputs(1)
    same = torch.tensor(BOXES["one"], dtype=torch.float64)
    best = box_iou(same, outputs.default_boxes).argmax()
    assert assigned(outputs, BOXES["twice the same"])[best] == 1


def test_an_object_outside_of_all_boxes_takes_none() -> None:
    assert (assigned(random_outputs(1), [[500, 500, 510, 510]]) == -1).all()


def test_crowds_are_neither_objects_nor_background() -> None:
    outputs = random_outputs(1)
    matches = assigned(outputs, [[0, 0, 48, 64], [60, 20, 90, 50]], [True, False])
    x1, y1, x2, y2 = outputs.default_boxes.unbind(1)
    inside = (x1 >= 0) & (x2 <= 48) & (y1 >= 0) & (y2 <= 64)
    assert set(matches[inside].tolist()) == {-2}
    assert torch.equal(matches >= 0, assigned(outputs, [[60, 20, 90, 50]]) >= 0)
    only = target([[0, 0, 96, 64]], crowd=[True])
    assert all(v == 0 for v in criterion().compare(outputs, batch_of([only]), Step()).values())


# ----------------------------------------------------------------------------------------------------------------------
# Network


def test_default_boxes_of_the_paper() -> None:
    boxes = default_boxes_of(SSD300, 1.05)
    assert boxes.per_cell == (4, 6, 6, 6, 4, 4)
    cells = (38, 19, 10, 5, 3, 1)
    counts = [n * n * k for n, k in zip(cells, boxes.per_cell, strict=True)]
    rows_of = boxes((300, 300), [(n, n) for n in cells]).split(counts)
    sides = rows_of[2][:6, 2:] - rows_of[2][:6, :2]
    s, following = 0.33 * 300, 0.51 * 300
    expected = [(s, s), (math.sqrt(s * following),) * 2]
    for ratio in (2, 3):
        w, h = s * math.sqrt(ratio), s / math.sqrt(ratio)
        expected += [(w, h), (h, w)]
    torch.testing.assert_close(sides, torch.tensor(expected), rtol=1e-5, atol=0)
    centres = (rows_of[2][:, 2:] + rows_of[2][:, :2]) / 2
    torch.testing.assert_close(centres[[0, 6, -1]], torch.tensor([[16.0, 16], [48, 16], [304, 304]]))
    (last,) = rows_of[5].view(1, 4, 4)
    assert ((last[:, 2:] - last[:, :2]) <= 300 + 1e-4).all()
    torch.testing.assert_close((last[:, 2:] + last[:, :2]) / 2, torch.full((4, 2), 150.0))


def test_default_boxes_need_numbers_for_every_level() -> None:
    with pytest.raises(ValueError, match="one scale more"):
        DefaultBoxes((0.1, 0.2), ((2,), (2,)), (8, 16))


def test_scaled_norm() -> None:
    norm = ScaledL2Norm(4, 20)
    x = torch.tensor([3.0, 0, 4, 0]).view(1, 4, 1, 1)
    assert norm(x).flatten().tolist() == pytest.approx([12, 0, 16, 0])
    assert norm(torch.zeros(1, 4, 1, 1)).isfinite().all()


@pytest.mark.parametrize(("maps", "size"), [(2, (64, 64)), (3, (48, 200)), (6, (268, 268))])
def test_images_of_other_sizes(maps: int, size: tuple[int, int]) -> None:
    model: Any = ssd300_vgg16(categories=K, width=8, maps=maps, size=size)
    outputs = model(torch.randn(1, 3, *size))
    assert outputs.class_logits.shape[1:] == (len(outputs.default_boxes), K + 1)
    centres = (outputs.default_boxes[:, 2:] + outputs.default_boxes[:, :2]) / 2
    assert (centres > 0).all()
    assert (centres <= torch.tensor([size[1], size[0]]) + 32).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (200, 300)}, "fewer maps"),
        ({"maps": 7}, r"expected 2\.\.6"),
        ({"maps": 1}, r"expected 2\.\.6"),
        ({"trainable_backbone_layers": 6}, r"expected 0\.\.5"),
        ({"score_threshold": 1.5}, r"in \[0, 1\]"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: Any, message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        ssd300_vgg16(**options)


def test_weights_that_are_not_numbers_are_caught() -> None:
    model: Any = ssd_tiny(**SMALL)
    with torch.no_grad():
        model.network.pyramid.backbone.stem.conv.weight.fill_(torch.nan)
    batch = batch_of([target([[10, 12, 50, 60]])], images=torch.zeros(1, 3, 64, 64))
    assert not model.losses("network", batch, Step())["classification"].isfinite()
    (result,) = model.decode(model.eval()(batch.images), batch.placements)
    assert len(result) == 0


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


def test_numbers_that_are_none_hide_no_other_box() -> None:
    outputs = random_outputs(1)
    (expected,) = SsdDecode(("a", "b", "c"))(rows(outputs, slice(1)), [Placement(SIZE, SIZE)])
    boxes = torch.cat((outputs.default_boxes, outputs.default_boxes[:50]))
    logits = torch.cat((outputs.class_logits, torch.full((1, 50, K + 1), torch.nan)), 1)
    broken = SsdOutputs(logits, torch.cat((outputs.box_deltas, outputs.box_deltas[:, :50]), 1), boxes)
    (result,) = SsdDecode(("a", "b", "c"))(broken, [Placement(SIZE, SIZE)])
    assert torch.equal(result.boxes, expected.boxes)


def test_only_the_best_of_each_class_and_image_are_candidates() -> None:
    outputs = random_outputs(2)
    decode = SsdDecode(("a", "b", "c"), score_threshold=0.2, candidates_per_class=20)
    found = decode.candidates(outputs, [SIZE] * 2)
    probabilities = outputs.class_logits.softmax(2)
    for image in range(2):
        for label in range(K):
            own = found.scores[image, found.valid[image] & (found.labels[image] == label)]
            expected = probabilities[image, :, label].sort(descending=True).values[:20]
            torch.testing.assert_close(own, expected[expected > 0.2], rtol=0, atol=0)


def test_boxes_of_one_class_do_not_overlap() -> None:
    decode = SsdDecode(("a", "b", "c"), nms_threshold=0.3, detections_per_image=10_000)
    (result,) = decode(random_outputs(1), [Placement(SIZE, SIZE)])
    overlap = box_iou(result.boxes, result.boxes).fill_diagonal_(0)
    same = result.labels[:, None] == result.labels
    assert overlap[same].max() <= 0.3
    assert overlap[~same].max() > 0.3


def test_outputs_without_a_category_are_dropped_after_the_softmax() -> None:
    outputs = random_outputs(1, outputs=5)
    placements = [Placement(SIZE, SIZE)]
    (result,) = SsdDecode(("a", None, "b", "c"))(outputs, placements)
    (everything,) = SsdDecode(("a", "?", "b", "c"), detections_per_image=10_000)(outputs, placements)
    expected = everything.labels != 1
    assert result.categories == ("a", "b", "c")
    assert torch.equal(result.scores, everything.scores[expected][:200])
    assert torch.equal(result.labels, torch.tensor([0, -1, 1, 2])[everything.labels[expected]][:200])


@pytest.mark.system("4.3.4-HNM")
def test_negatives_that_cover_each_other_train_once_where_that_is_asked_for() -> None:
    """With `negatives_nms` a training step takes the hardest negatives that are left after their suppression."""
    model, plain = ssd_tiny(**SMALL, negatives_nms=0.3), ssd_tiny(**SMALL)
    assert plain.criterion.negatives_nms is None  # type: ignore[attr-defined]
    batch = batch_of([target([[4, 4, 40, 44]]), target([[20, 10, 52, 40]])], images=torch.rand(2, 3, 64, 64))
    outputs = model.eval().network(batch.images)
    boxes = outputs.default_boxes
    assign: Any = model.criterion
    positive = torch.stack([assign.assign(boxes, Objects.of(t, like=boxes)) for t in batch.targets]) >= 0
    hardest_first = torch.zeros_like(outputs.class_logits)  # neighbours, which overlap, are about as hard
    hardest_first[..., -1] = torch.linspace(-5, 5, len(boxes))
    trained = []  # default boxes whose logits have a gradient
    for criterion in (model.criterion, plain.criterion):
        logits = hardest_first.clone().requires_grad_()
        losses = criterion.compare(outputs._replace(class_logits=logits), batch, Step())  # type: ignore[attr-defined]
        (gradient,) = torch.autograd.grad(losses["classification"], logits)
        trained.append(gradient.abs().sum(2) > 0)
    largest = [
        [float(box_iou(chosen, chosen).fill_diagonal_(0).max()) for chosen in (boxes[row] for row in rows & ~positive)]
        for rows in trained
    ]
    assert max(largest[0]) <= 0.3 < min(largest[1])
    for rows in trained:
        assert torch.equal(rows & positive, positive)
        assert (rows & ~positive).sum(1).min() > 1
