"""EfficientDet: scaling, losses on awkward targets, heads, anchors, decoding, necks; parity is in tests/parity."""

import math
from functools import partial
from typing import Any

import pytest
import torch

from tests.detection.scenes import BOXES, SIZE, K, batch_of, target
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
from vidi.preprocess import Placement

MAPS = ((8, 12), (4, 6))


def random_outputs(images: int, seed: int = 0, outputs: int = K) -> RetinaOutputs:
    """Raw outputs that could come from any network, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    anchors, levels = Anchors(2.0).double()(SIZE, MAPS)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64, requires_grad=True)
    return RetinaOutputs(draw(images, len(anchors), outputs), draw(images, len(anchors), 4), anchors, levels)


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


def test_every_object_that_an_anchor_touches_has_a_positive_anchor() -> None:
    anchors = random_outputs(1).anchors
    for boxes in (BOXES[name] for name in BOXES if name not in ("twice the same", "in one cell")):
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


def test_crowds_are_no_objects_and_anchors_in_them_are_ignored() -> None:
    outputs = random_outputs(1)
    crowd = target([[0, 0, 48, 64], [60, 20, 90, 50]], [0, 1], [True, False])
    matches = criterion().assign(outputs.anchors, Objects.of(crowd, like=outputs.anchors))
    x1, y1, x2, y2 = outputs.anchors.unbind(1)
    assert set(matches[(x1 >= 0) & (x2 <= 48) & (y1 >= 0) & (y2 <= 64)].tolist()) == {-2}
    assert set(matches[x1 > 48].tolist()) == {-1, 0}


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
    batch = batch_of([{"boxes": boxes, "labels": torch.tensor([1])}, empty], images=torch.randn(2, 3, 128, 64))
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


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


def test_the_best_pairs_of_all_levels_together_are_taken() -> None:
    outputs = random_outputs(1)
    decode = EfficientDetDecode(("a", "b", "c"), nms_threshold=1.0, detections_per_image=20, candidates=20)
    (result,) = decode(outputs, [Placement(SIZE, SIZE)])
    best = outputs.class_logits.flatten().sort(descending=True).values[:20].sigmoid()
    torch.testing.assert_close(result.scores, best)


def test_weights_that_are_no_numbers_end_in_no_error() -> None:
    model = tiny()
    with torch.no_grad():
        model.network.class_head.predict.pointwise.weight.fill_(torch.nan)
    (result,) = model.predict(torch.rand(3, 64, 64))
    assert result.boxes.shape[1] == 4
