import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from tests.detection.scenes import BOXES, SIZE, K, batch_of, target
from tests.references.retinanet_loss import retinanet_loss
from vidi.backbones.resnet import trunk
from vidi.catalog.table import CATALOG
from vidi.detection.retinanet import (
    Anchors,
    Objects,
    RetinaCriterion,
    RetinaDecode,
    RetinaOutputs,
    frozen_below,
    retinanet_resnet18_fpn,
    retinanet_resnet50_fpn,
    retinanet_tiny,
)
from vidi.model import Step
from vidi.ops.boxes import box_iou
from vidi.preprocess import Placement

MAPS = ((8, 12), (4, 6))


def random_outputs(images, seed=0, outputs=K):
    """Raw outputs that could come from any network, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    anchors, levels = Anchors((12, 30), (8, 16), "paper").double()(SIZE, MAPS)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64, requires_grad=True)
    return RetinaOutputs(draw(images, len(anchors), outputs), draw(images, len(anchors), 4), anchors, levels)


def rows(outputs, images):
    return RetinaOutputs(outputs.class_logits[images], outputs.box_deltas[images], outputs.anchors, outputs.levels)


def criterion(**options):
    return RetinaCriterion(tuple(range(K)), **options)


# ----------------------------------------------------------------------------------------------------------------------
# Loss


@pytest.mark.system("4.3.4-RETINALOSS")
def test_the_loss_is_that_of_the_paper_by_slow_loops():
    targets = [
        target(BOXES["at the border"] + BOXES["one"], [0, 2, 1]),
        target([]),
        target(BOXES["long"] + [[50, 0, 90, 30]], [1, 0, 2], [False, False, True]),
    ]
    outputs = random_outputs(3)
    losses = criterion().compare(outputs, batch_of(targets), Step())
    expected = retinanet_loss(
        outputs.class_logits.tolist(),
        outputs.box_deltas.tolist(),
        [tuple(anchor) for anchor in outputs.anchors.tolist()],
        [[tuple(box) for box in t["boxes"][~t["crowd"]].tolist()] for t in targets],
        [t["labels"][~t["crowd"]].tolist() for t in targets],
        [[tuple(box) for box in t["boxes"][t["crowd"]].tolist()] for t in targets],
    )
    assert losses["classification"].item() == pytest.approx(expected[0], rel=1e-10)
    assert losses["box"].item() == pytest.approx(expected[1], rel=1e-10)


@pytest.mark.parametrize("box_loss", ["smooth_l1", "l1", "giou"])
def test_by_image_is_the_mean_of_the_images_alone(box_loss):
    targets = [target(boxes) for boxes in BOXES.values()]
    outputs, compare = random_outputs(len(targets)), criterion(normalise="image", box_loss=box_loss).compare
    together = compare(outputs, batch_of(targets), Step())
    alone = [compare(rows(outputs, [i]), batch_of([t]), Step()) for i, t in enumerate(targets)]
    for name, value in together.items():
        torch.testing.assert_close(value, torch.stack([losses[name] for losses in alone]).mean())
        value.backward()
    assert outputs.class_logits.grad is not None
    assert outputs.box_deltas.grad is not None
    assert outputs.class_logits.grad.isfinite().all()
    assert outputs.box_deltas.grad.isfinite().all()
    assert all((losses["box"] > 0) == bool(boxes) for losses, boxes in zip(alone, BOXES.values(), strict=True))


def test_every_object_that_an_anchor_touches_has_a_positive_anchor():
    for boxes in BOXES.values():
        outputs = random_outputs(1)
        objects = Objects.of(target(boxes), like=outputs.anchors)
        matches = criterion().assign(outputs.anchors, objects)
        best = box_iou(objects.boxes, outputs.anchors).max(0).indices if boxes else matches
        assert ((matches == best) | (matches < 0)).all()
        assert (matches >= 0).any() == bool(boxes)


def test_crowds_are_no_objects_and_anchors_in_them_are_ignored():
    outputs = random_outputs(1)
    crowd = target([[0, 0, 48, 64], [60, 20, 90, 50]], [0, 1], [True, False])
    matches = criterion().assign(outputs.anchors, Objects.of(crowd, like=outputs.anchors))
    x1, _, x2, _ = outputs.anchors.unbind(1)
    inside = (x1 >= 0) & (x2 <= 48) & (outputs.anchors[:, 1] >= 0) & (outputs.anchors[:, 3] <= 64)
    assert set(matches[inside].tolist()) == {-2}
    assert set(matches[x1 > 48].tolist()) >= {-1, 0}
    alone = target([[60, 20, 90, 50]], [1])
    without = criterion().assign(outputs.anchors, Objects.of(alone, like=outputs.anchors))
    assert torch.equal(matches >= 0, without >= 0)


@pytest.mark.parametrize("option", [{"box_loss": "l2"}, {"normalise": "class"}])
def test_unknown_options_are_refused(option):
    with pytest.raises((ValueError, TypeError)):  # a TypeError where the shape checks look at it first
        retinanet_tiny(**option) if "box_loss" in option else criterion(**option)


def test_the_first_class_loss_is_that_of_the_prior():
    model: Any = retinanet_tiny(categories=K)
    images = torch.randn(2, 3, 128, 128)
    batch = batch_of([target([]), target([])], images=images)
    with torch.no_grad():
        outputs = model(images)
        loss = model.criterion.compare(outputs, batch, Step())["classification"]
    # the weights add a variance to the logits, which differs between seeds
    assert outputs.class_logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.1)
    per_logit = 0.75 * 0.01**2 * -math.log(0.99)
    expected = outputs.class_logits.numel() * per_logit
    assert loss.item() == pytest.approx(expected, rel=0.25)
    with torch.no_grad():
        model.network.class_head.predict.weight.zero_()
        loss = model.criterion.compare(model(images), batch, Step())["classification"]
    assert loss.item() == pytest.approx(expected, rel=1e-5)


# ----------------------------------------------------------------------------------------------------------------------
# Network


@pytest.mark.system("4.3.4-RETINANET")
def test_outputs_of_the_paper_s_network():
    with torch.device("meta"):
        model: Any = retinanet_resnet50_fpn(categories=80)
        outputs = model.network(torch.zeros(2, 3, 800, 800))
    anchors = (100**2 + 50**2 + 25**2 + 13**2 + 7**2) * 9
    assert anchors == 120_087
    assert [tuple(value.shape) for value in outputs] == [(2, anchors, 80), (2, anchors, 4), (anchors, 4), (anchors,)]
    towers = [model.network.class_head.tower, model.network.box_head.tower]
    assert [sum(p.numel() for p in tower.parameters()) for tower in towers] == [4 * (256 * 256 * 9 + 256)] * 2
    assert model.network.class_head.predict.weight.shape == (9 * 80, 256, 3, 3)


def test_anchors_of_the_paper():
    sizes = (32.0, 64.0, 128.0, 256.0, 512.0)
    anchors, levels = Anchors(sizes, (8, 16, 32, 64, 128), "paper").double()(
        (256, 128), [(32, 16), (16, 8), (8, 4), (4, 2), (2, 1)]
    )
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = (anchors[:, 2:] + anchors[:, :2]) / 2
    third = anchors[levels == 2].view(8, 4, 9, 4)
    assert levels.bincount().tolist() == [32 * 16 * 9, 16 * 8 * 9, 8 * 4 * 9, 4 * 2 * 9, 2 * 1 * 9]
    expected = [128 * 2 ** (i / 3) for _ in range(3) for i in range(3)]
    torch.testing.assert_close(
        sides[levels == 2].prod(1).sqrt().view(8, 4, 9),
        torch.tensor(expected).double().expand(8, 4, 9),
        rtol=1e-6,
        atol=0,
    )
    ratios = (third[0, 0, :, 3] - third[0, 0, :, 1]) / (third[0, 0, :, 2] - third[0, 0, :, 0])
    torch.testing.assert_close(ratios, torch.tensor([0.5] * 3 + [1.0] * 3 + [2.0] * 3).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(centres[levels == 2][0], torch.tensor([16.0, 16.0]).double())
    torch.testing.assert_close(centres[levels == 2][-1], torch.tensor([112.0, 240.0]).double())


def test_layers_are_frozen_from_the_first():
    backbone = frozen_below(trunk("resnet18", width=16), 2)
    trained = {name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"stage3", "stage4"}
    with pytest.raises(ValueError, match=r"expected 0\.\.5"):
        frozen_below(backbone, 6)


def test_each_level_needs_an_anchor_size():
    with pytest.raises(ValueError, match="one for each of 5 levels"):
        retinanet_resnet18_fpn(width=16, channels=32, anchor_sizes=(16, 32, 64))


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


def test_boxes_of_one_class_do_not_overlap():
    decode = RetinaDecode(("a", "b", "c"), nms_threshold=0.3, detections_per_image=10_000)
    (result,) = decode(random_outputs(1), [Placement(SIZE, SIZE)])
    overlap = box_iou(result.boxes, result.boxes).fill_diagonal_(0)
    same = result.labels[:, None] == result.labels
    assert overlap[same].max() <= 0.3
    assert overlap[~same].max() > 0.3


def test_the_best_pairs_of_each_level_are_taken():
    outputs = random_outputs(2)
    decode = RetinaDecode(("a", "b", "c"), score_threshold=0.5, candidates_per_level=20)
    found = decode.candidates(outputs, [SIZE, SIZE])
    for image in range(2):
        best = [outputs.class_logits[image, outputs.levels == level].flatten().sort().values[-20:] for level in (0, 1)]
        best = torch.cat(best).sigmoid().sort().values
        scores = found.scores[image, found.valid[image]]
        torch.testing.assert_close(scores.sort().values, best[best > 0.5])


def test_outputs_without_a_category_are_dropped_before_they_take_a_place():
    outputs = random_outputs(1, outputs=4)
    louder = outputs._replace(class_logits=outputs.class_logits + torch.tensor([0, 9, 0, 0]))
    (result,) = RetinaDecode(("a", None, "b", "c"))(louder, [Placement(SIZE, SIZE)])
    kept = outputs._replace(class_logits=outputs.class_logits[..., [0, 2, 3]])
    (expected,) = RetinaDecode(("a", "b", "c"))(kept, [Placement(SIZE, SIZE)])
    assert torch.equal(result.scores, expected.scores)
    assert torch.equal(result.labels, expected.labels)
    assert result.categories == ("a", "b", "c")


@pytest.mark.parametrize("name", [name for name in CATALOG if name.startswith("retinanet")])
def test_the_numbers_of_the_loss_are_arguments_of_every_builder(name):
    """gamma and alpha of the focal loss, lambda of the notes before the boxes."""
    build: Callable[..., Any] = CATALOG[name].builder
    usual, tiny = build(**CATALOG[name].tiny).criterion, CATALOG[name].tiny
    assert (usual.alpha, usual.gamma, usual.box_weight) == (0.25, 2.0, 1.0)
    assert build(**tiny, alpha=0.3, gamma=0.0, box_weight=5.0).criterion == replace(
        usual, alpha=0.3, gamma=0.0, box_weight=5.0
    )
