from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.closeness import EXACT, NUMBERS, assert_close
from tests.detection.scenes import BOXES, SIZE, K, batch_of, target
from tests.references.yolo_loss import detections, image_loss, sigmoid
from vidi.backbones.darknet import DarkNet
from vidi.detection.targets import Objects
from vidi.detection.yolo import (
    COCO_ANCHORS,
    WORLD_ANCHORS,
    Grid,
    Yolo,
    YoloCriterion,
    YoloDecode,
    YoloOutputs,
    best_rows,
    box_targets,
    boxes_in_cells,
    yolov3,
    yolov3_small,
)
from vidi.model import Step
from vidi.nn.convolution import ConvNorm
from vidi.ops.matching import BACKGROUND, IGNORED
from vidi.preprocess import Placement

STRIDES = [8, 16, 32]
MAPS = [(8, 12), (4, 6), (2, 3)]
SIZES = (6, 8, 12, 10, 10, 16, 20, 24, 30, 18, 22, 40, 50, 30, 60, 60, 40, 62)
ANCHORS = [[(float(SIZES[6 * i + 2 * j]), float(SIZES[6 * i + 2 * j + 1])) for j in range(3)] for i in range(3)]


def random_rows(images, seed=0, outputs=K):
    """Rows as the heads give them: x, y, w, h, objectness, classes."""
    generator = torch.Generator().manual_seed(seed)
    count = 3 * sum(h * w for h, w in MAPS)
    rows = torch.randn(images, count, 5 + outputs, generator=generator, dtype=torch.float64)
    return rows.requires_grad_()


def outputs_of(rows):
    return YoloOutputs(rows[..., 5:], rows[..., 4], rows[..., :4], *Grid(SIZES, STRIDES).double()(MAPS))


def nested(rows: Tensor) -> list[Any]:
    """Rows of one image by scale, row, column and anchor: the order that outputs promise."""
    parts = rows.split([3 * h * w for h, w in MAPS])
    return [part.unflatten(0, (*size, 3)).tolist() for part, size in zip(parts, MAPS, strict=True)]


def criterion(**options):
    return YoloCriterion(tuple(range(K)), **options)


def compared(rows, targets, step=None, **options):
    return criterion(**options).compare(outputs_of(rows), batch_of(targets), step or Step())


def total(losses):
    return sum(losses.values(), torch.zeros(()))


# ----------------------------------------------------------------------------------------------------------------------
# Target and loss


@pytest.mark.system("4.3.4-YOLOLOSS", "4.3.4-MULTILABEL", "4.3.4-ONESTAGE")
@pytest.mark.parametrize("ignore", [0.5, 0.2])
def test_losses_and_gradients_are_darknet_s_by_slow_loops(ignore):
    targets = [target(boxes) for boxes in BOXES.values()]
    targets.append(target(BOXES["long"] + [[50, 0, 90, 30]], [1, 0, 2], [False, False, True]))
    rows = random_rows(len(targets))
    losses = compared(rows, targets, ignore=ignore)
    total(losses).backward()
    expected = dict.fromkeys(losses, 0.0)
    for image, t in enumerate(targets):
        boxes, labels, crowd = t["boxes"], t["labels"], t["crowd"]
        plain = (boxes[~crowd].tolist(), labels[~crowd].tolist(), boxes[crowd].tolist())
        of_image, deltas = image_loss(nested(rows.detach()[image]), STRIDES, ANCHORS, SIZE, *plain, ignore)
        for name, value in of_image.items():
            expected[name] += value / len(targets)
        gradient = -torch.tensor(deltas, dtype=torch.float64) / len(targets)
        assert rows.grad is not None
        torch.testing.assert_close(rows.grad[image], gradient, atol=1e-13, rtol=1e-10)
    for name, value in losses.items():
        assert value.item() == pytest.approx(expected[name], rel=1e-10)


@pytest.mark.system("4.3.4-MULTILABEL")
def test_two_objects_of_one_row_leave_it_both_classes_and_the_later_box():
    targets = target(BOXES["in one cell"], [0, 2])
    rows = random_rows(1)
    outputs = outputs_of(rows)
    row = best_rows(targets["boxes"], outputs.anchors, outputs.cells)
    assert row[0] == row[1]
    places, log_sides = box_targets(targets["boxes"][1:], outputs.anchors[row[1:]], outputs.cells[row[1:]])
    with torch.no_grad():
        rows[0, row[0], 5:] = torch.tensor([40.0, -40.0, 40.0])
        rows[0, row[0], :4] = torch.cat((places.logit(), log_sides), 1)[0]
    losses = compared(rows, [targets])
    assert losses["classification"].item() == pytest.approx(0, abs=EXACT)
    box = losses["box"]
    (gradient,) = torch.autograd.grad(box, rows)
    assert gradient.abs().max().item() == pytest.approx(0, abs=EXACT)


def test_an_image_without_objects_is_background_alone():
    rows = random_rows(1)
    losses = compared(rows, [target([])])
    expected = sum(-torch.log1p(torch.tensor(-sigmoid(x), dtype=torch.float64)) for x in rows[0, :, 4].tolist())
    torch.testing.assert_close(losses["objectness"], expected, atol=0, rtol=1e-12)
    assert losses["classification"] == losses["box"] == 0


@pytest.mark.parametrize("boxes", BOXES.values(), ids=BOXES)
def test_each_object_has_one_positive_row_on_its_cell(boxes):
    outputs = outputs_of(random_rows(1).detach())
    objects = Objects.of(target(boxes), like=outputs.anchors)
    rows = best_rows(objects.boxes, outputs.anchors, outputs.cells)
    predicted = boxes_in_cells(outputs.box_deltas[0], outputs.anchors, outputs.cells)
    matches = criterion().assign(predicted, objects, rows)
    assert set(matches.unique().tolist()) <= {IGNORED, BACKGROUND, *range(len(boxes))}
    assert torch.equal((matches >= 0).nonzero()[:, 0], rows.unique())
    for box, cell in zip(objects.boxes, outputs.cells[rows], strict=True):
        centre = (box[:2] + box[2:]) / 2
        assert (cell[:2] <= centre).all()
        assert (centre < cell[2:]).all()


def test_extreme_outputs_have_finite_losses_and_gradients():
    rows = (1000 * random_rows(2).detach()).requires_grad_()
    losses = compared(rows, [target(BOXES["long"]), target(BOXES["of one pixel"])])
    total(losses).backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_a_centre_off_the_canvas_counts_for_the_nearest_cell():
    outputs = outputs_of(random_rows(1).detach())
    boxes = torch.tensor([[90.0, 60.0, 130.0, 90.0], [-30.0, -30.0, -2.0, -2.0]], dtype=torch.float64)
    rows = best_rows(boxes, outputs.anchors, outputs.cells)
    assert outputs.cells[rows[0], 2:].tolist() == [96, 64]
    assert outputs.cells[rows[1], :2].tolist() == [0, 0]
    losses = compared(random_rows(1), [target(boxes)])
    assert all(value.isfinite() and value >= 0 for value in losses.values())


def test_crowds_are_no_objects_and_predictions_in_them_are_ignored():
    outputs = outputs_of(torch.zeros_like(random_rows(1)))  # each row predicts its anchor around its cell's centre
    predicted = boxes_in_cells(outputs.box_deltas[0], outputs.anchors, outputs.cells)
    crowd = target([[0, 0, 48, 64], [60, 20, 90, 50]], [0, 1], [True, False])
    objects = Objects.of(crowd, like=outputs.anchors)
    rows = best_rows(objects.boxes, outputs.anchors, outputs.cells)
    assert len(rows) == 1
    matches = criterion().assign(predicted, objects, rows)
    inside = (predicted[:, :2] >= 0).all(1) & (predicted[:, 2:] <= torch.tensor([48, 64])).all(1)
    assert set(matches[inside].tolist()) == {IGNORED}
    assert set(matches[predicted[:, 0] > 48].tolist()) >= {IGNORED, BACKGROUND}  # near the object, and far from both
    assert (matches == 0).nonzero()[:, 0].tolist() == rows.tolist()


def test_thresholds_and_anchors_are_checked():
    with pytest.raises(ValueError, match="expected an IoU"):
        criterion(ignore=1.5)
    for anchors in ((), (3, 4), (*WORLD_ANCHORS[:-1], 0), (*WORLD_ANCHORS, 5, 5)):
        with pytest.raises(ValueError, match="equally many anchors for each of 3 scales"):
            yolov3_small(anchors=anchors, width=4)


# ----------------------------------------------------------------------------------------------------------------------
# Network


def cfg_convolutions(classes: int) -> list[tuple[int, int, int, bool]]:
    """The convolutions of yolov3.cfg, in its order: channels in, channels out, side of the kernel, norm."""
    layers = [(3, 32, 3, True)]
    for C, repeats in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        layers += [(C // 2, C, 3, True), *([(C, C // 2, 1, True), (C // 2, C, 3, True)] * repeats)]
    for C, come_in in ((1024, 1024), (512, 256 + 512), (256, 128 + 256)):
        if C < 1024:
            layers.append((C, C // 2, 1, True))
        layers += [(come_in, C // 2, 1, True), (C // 2, C, 3, True)]
        layers += [(C, C // 2, 1, True), (C // 2, C, 3, True)] * 2
        layers.append((C, 3 * (5 + classes), 1, False))
    return layers


@pytest.mark.system("4.3.4-YOLO")
def test_parameters_are_those_of_the_published_configuration():
    layers = cfg_convolutions(80)
    with torch.device("meta"):
        model = yolov3()
    ours = [m.weight.shape for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert sorted(ours) == sorted((d, c, k, k) for c, d, k, _ in layers)
    parameters = sum(c * d * k * k + (2 * d if norm else d) for c, d, k, norm in layers)
    assert sum(p.numel() for p in model.parameters()) == parameters == 61_949_149
    buffers = sum(2 * d for _, d, _, norm in layers if norm)
    assert 20 + 4 * (parameters + buffers) == 248_007_048  # bytes of yolov3.weights


@pytest.mark.system("4.3.4-YOLO", "4.3.4-ONESTAGE")
def test_outputs_of_the_paper_s_network():
    with torch.device("meta"):
        outputs = yolov3()(torch.zeros(2, 3, 416, 416))
    rows = 3 * (52**2 + 26**2 + 13**2)
    assert rows == 10_647
    shapes = [tuple(value.shape) for value in outputs]
    assert shapes == [(2, rows, 80), (2, rows), (2, rows, 4), (rows, 2), (rows, 4)]


@pytest.mark.system("4.3.4-YOLO")
def test_the_network_is_the_published_graph_layer_by_layer():
    """Route, upsample and shortcut layers of yolov3.cfg, run over our convolutions as one list."""
    torch.manual_seed(0)
    network = Yolo(DarkNet((1, 1, 1, 1, 1), width=4), K, SIZES).double().eval()
    neck, heads = network.neck, network.heads
    units = partial(lambda module: [m for m in module.modules() if isinstance(m, ConvNorm)])
    x = torch.rand(2, 3, *SIZE, dtype=torch.float64)
    kept, y = [], network.backbone.stem(x)
    for stage in network.backbone.stages:
        down, first, second = units(stage)
        y = down(y)
        y = y + second(first(y))
        kept.append(y)
    expected = []
    for scale in (2, 1, 0):
        if scale < 2:
            y = neck.reduce[scale](y)
            y = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
            y = torch.cat((y, kept[2 + scale]), 1)
        for unit in units(neck.blocks[scale]):
            y = unit(y)
        head: Any = heads[scale]
        z = nn.functional.conv2d(head.widen(y), head.predict.weight, head.predict.bias)  # B 3(5+K) h w
        z = z.unflatten(1, (3, 5 + K)).permute(0, 3, 4, 1, 2).flatten(1, 3)
        expected.insert(0, z)
    outputs = network(x)
    rows = torch.cat((outputs.box_deltas, outputs.objectness[..., None], outputs.class_logits), -1)
    assert_close(rows, torch.cat(expected, 1))


def test_objectness_starts_at_the_prior():
    outputs = yolov3_small(categories=K, width=4)(torch.rand(2, 3, 64, 64))
    assert outputs.objectness.sigmoid().mean().item() == pytest.approx(0.01, rel=0.1)
    assert outputs.class_logits.sigmoid().mean().item() == pytest.approx(0.5, rel=0.1)


def test_cells_and_anchors_run_over_scales_rows_columns_and_shapes():
    anchors, cells = Grid(SIZES, STRIDES)(MAPS)
    flat = [
        (shape, (column * stride, row * stride, (column + 1) * stride, (row + 1) * stride))
        for (h, w), stride, shapes in zip(MAPS, STRIDES, ANCHORS, strict=True)
        for row in range(h)
        for column in range(w)
        for shape in shapes
    ]
    assert anchors.tolist() == [list(shape) for shape, _ in flat]
    assert cells.tolist() == [list(cell) for _, cell in flat]
    assert len(COCO_ANCHORS) == len(WORLD_ANCHORS) == 18


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


@pytest.mark.system("4.3.4-YOLO")
@pytest.mark.parametrize("thresholds", [(0.4, 0.45), (0.2, 0.3)])
def test_detections_are_those_of_slow_loops(thresholds):
    rows = random_rows(2, seed=3).detach()
    sizes = [(64, 96), (50, 80)]  # the second image does not fill the canvas
    decode = YoloDecode(("a", "b", "c"), *thresholds, detections_per_image=9999, candidates_per_image=9999)
    results = decode(outputs_of(rows), [Placement(size, size) for size in sizes])
    for image, (result, size) in enumerate(zip(results, sizes, strict=True)):
        expected = detections(nested(rows[image]), STRIDES, ANCHORS, size, *thresholds)
        scores, labels, boxes = zip(*expected, strict=True)
        assert result.labels.tolist() == list(labels)
        assert_close(result.scores, torch.tensor(scores, dtype=torch.float64), NUMBERS)
        assert_close(result.boxes, torch.tensor(boxes, dtype=torch.float64), NUMBERS)


@pytest.mark.system("4.3.4-YOLO")
def test_a_target_decodes_to_its_box():
    anchors, cells = Grid(SIZES, STRIDES).double()(MAPS)
    boxes = torch.tensor([box for some in BOXES.values() for box in some], dtype=torch.float64)
    rows = best_rows(boxes, anchors, cells)
    places, log_sides = box_targets(boxes, anchors[rows], cells[rows])
    assert ((places >= 0) & (places < 1)).all()
    deltas = torch.cat((places.logit(), log_sides), 1)  # -inf where a centre lies on the edge of its cell
    assert_close(boxes_in_cells(deltas, anchors[rows], cells[rows]), boxes, NUMBERS)


def test_the_best_candidates_are_taken():
    outputs = outputs_of(random_rows(2).detach())
    found = YoloDecode(("a", "b", "c"), candidates_per_image=20).candidates(outputs, [(999, 999)] * 2)
    scores = (outputs.objectness.sigmoid()[..., None] * outputs.class_logits.sigmoid()).flatten(1)
    assert found.scores.tolist() == scores.sort(descending=True).values[:, :20].tolist()


def test_outputs_without_a_category_are_dropped_before_they_take_a_place():
    rows = random_rows(1, outputs=4).detach()
    louder = outputs_of(rows + torch.tensor([0, 0, 0, 0, 0, 0, 9, 0, 0]))
    options = {"candidates_per_image": 50}
    (result,) = YoloDecode(("a", None, "b", "c"), **options)(louder, [Placement(SIZE, SIZE)])
    kept = outputs_of(rows[..., [0, 1, 2, 3, 4, 5, 7, 8]])
    (expected,) = YoloDecode(("a", "b", "c"), **options)(kept, [Placement(SIZE, SIZE)])
    assert torch.equal(result.scores, expected.scores)
    assert torch.equal(result.labels, expected.labels)
    assert result.categories == ("a", "b", "c")
