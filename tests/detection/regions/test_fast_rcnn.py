"""The second stage by itself: sampling, loss, decoding, pooling; and Fast R-CNN on given proposals."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import tv_tensors
from torchvision.ops import batched_nms

from tests.cli.command import vidi
from tests.closeness import assert_close
from tests.detection.scenes import SIZE, K, boxes_of, objects
from vidi.api import load
from vidi.detection.regions.fast_rcnn import (
    BoxPredictor,
    FastDetector,
    LinearHead,
    RegionCriterion,
    RegionDecode,
    RegionPooling,
    RegionPredictions,
    Samples,
    TwoStageOutputs,
    fast_rcnn_resnet18,
    rows_of_batch,
)
from vidi.detection.regions.selective_search import selective_search
from vidi.model import Step
from vidi.ops.boxes import box_iou, decode_boxes
from vidi.ops.matching import BACKGROUND
from vidi.ops.roi import roi_pool
from vidi.preprocess import Placement

WRONG = (ValueError, TypeError)


def tiny(**options: Any) -> Any:
    return fast_rcnn_resnet18(
        **{"categories": K, "width": 16, "hidden": 16, "window_sizes": (16, 32), "size": SIZE} | options
    )


def pictures(count: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(0, 256, (3, *SIZE), generator=generator, dtype=torch.uint8) for _ in range(count)]


# ----------------------------------------------------------------------------------------------------------------------
# Sampling and loss


@pytest.mark.system("4.3.2-FASTRCNN")
def test_a_quarter_of_the_samples_is_positive_and_objects_are_proposals_too() -> None:
    truth = [objects([[10, 10, 30, 40], [50, 20, 90, 60]], [2, 0]), objects([], [])]
    near = truth[0].boxes.repeat(300, 1) + torch.randn(600, 4, dtype=torch.float64)
    proposals = [torch.cat([near, boxes_of(900)]), boxes_of(900, 1)]
    criterion = RegionCriterion((0, 1, 2), count=512)
    samples = criterion.sample(proposals, truth, K, torch.Generator().manual_seed(0))
    assert samples.images.bincount().tolist() == [512, 512]
    assert ((samples.labels < K) & (samples.images == 0)).sum() == 128
    assert (samples.labels[samples.images == 1] == K).all()
    iou = box_iou(truth[0].boxes, samples.boxes[samples.images == 0])
    labels = samples.labels[samples.images == 0]
    assert (iou.amax(0)[labels < K] >= 0.5).all()
    assert (iou.amax(0)[labels == K] < 0.5).all()
    assert torch.equal(truth[0].labels[iou.argmax(0)][labels < K], labels[labels < K])
    assert torch.equal(samples.objects[samples.images == 0][labels < K], iou.argmax(0)[labels < K])
    assert (samples.objects[samples.labels == K] == BACKGROUND).all()

    alone = criterion.sample([boxes_of(0)] * 2, truth, K, None)
    assert torch.equal(alone.boxes, truth[0].boxes)
    assert alone.labels.tolist() == [2, 0]


def test_background_may_have_to_touch_an_object() -> None:
    """Girshick 2015 takes it from an IoU of 0.1 on; an image without objects is all background."""
    truth = [objects([[10, 10, 50, 50]], [1]), objects([], [])]
    proposals = [boxes_of(400), boxes_of(400)]
    samples = RegionCriterion((0, 1, 2), count=10**6, lowest=0.1).sample(proposals, truth, K, None)
    iou = box_iou(truth[0].boxes, samples.boxes[samples.images == 0])[0]
    assert iou.min() >= 0.1
    assert (samples.images == 1).sum() == 400


def test_background_in_a_crowd_is_not_used() -> None:
    truth = [objects([[10, 10, 30, 30]], [1], crowd=[[40, 0, 96, 64]])]
    samples = RegionCriterion((0, 1, 2), count=10**6).sample([boxes_of(400)], truth, K, None)
    assert (samples.boxes[:, 0] < 60).all()
    assert (samples.labels == K).any()


@pytest.mark.system("4.3.2-FASTRCNN")
def test_the_loss_is_equation_1_by_slow_loops() -> None:
    """C4.44: targets are divided by the deviations 0.1, 0.1, 0.2, 0.2."""
    generator = torch.Generator().manual_seed(0)
    boxes, truths = boxes_of(20), boxes_of(20, 1)
    rows = torch.zeros(20).long()
    samples = Samples(boxes, rows, torch.arange(20) % (K + 1), truths, rows)
    logits = torch.randn(20, K + 1, generator=generator, dtype=torch.float64)
    deltas = torch.randn(20, K, 4, generator=generator, dtype=torch.float64)
    losses = RegionCriterion((0, 1, 2), box_weight=2.0)(RegionPredictions(logits, deltas), samples, Step())
    log_loss = box_loss = 0.0
    for row in range(20):
        label = row % (K + 1)
        log_loss += math.log(sum(math.exp(x) for x in logits[row].tolist())) - logits[row, label].item()
        if label == K:
            continue
        (px1, py1, px2, py2), (gx1, gy1, gx2, gy2) = boxes[row].tolist(), truths[row].tolist()
        w, h = px2 - px1, py2 - py1
        wanted = [(gx1 + gx2 - px1 - px2) / 2 / w / 0.1, (gy1 + gy2 - py1 - py2) / 2 / h / 0.1]
        wanted += [math.log((gx2 - gx1) / w) / 0.2, math.log((gy2 - gy1) / h) / 0.2]
        for given, delta in zip(deltas[row, label].tolist(), wanted, strict=True):
            residual = abs(given - delta)
            box_loss += 0.5 * residual**2 if residual < 1 else residual - 0.5
    assert losses["classification"].item() == pytest.approx(log_loss / 20, rel=1e-10)
    assert losses["box"].item() == pytest.approx(2 * box_loss / 20, rel=1e-10)


# ----------------------------------------------------------------------------------------------------------------------
# Pooling and heads


def test_maximum_pooling_is_of_one_level() -> None:
    features, boxes = torch.randn(2, 4, 8, 12, dtype=torch.float64), boxes_of(10)
    images = torch.arange(10) % 2
    pooled = RegionPooling((8,), (6, 6), "max")([features], boxes, images)
    assert torch.equal(pooled, roi_pool(features, boxes, images, (6, 6), stride=8))
    with pytest.raises(WRONG, match="expected 'align'"):
        RegionPooling((8, 16), (6, 6), "max")
    with pytest.raises(WRONG):
        RegionPooling((8,), (6, 6), "mean")  # type: ignore[arg-type]


def test_heads_flatten_channels_first_and_name_their_outputs() -> None:
    head = LinearHead(5, K, size=(2, 3), hidden=7)
    logits, deltas = head(torch.randn(4, 5, 2, 3))
    assert (logits.shape, deltas.shape) == ((4, K + 1), (4, K, 4))
    assert isinstance(head.predict, BoxPredictor)
    boxes, images = rows_of_batch(torch.arange(24.0).view(2, 3, 4))
    assert images.tolist() == [0, 0, 0, 1, 1, 1]
    assert boxes[3].tolist() == [12, 13, 14, 15]


# ----------------------------------------------------------------------------------------------------------------------
# Decoding


def outputs(count: int = 40, classes: int = K, seed: int = 0) -> TwoStageOutputs:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, count, classes + 1, generator=generator, dtype=torch.float64)
    deltas = torch.randn(2, count, classes, 4, generator=generator, dtype=torch.float64)
    proposals = torch.stack([boxes_of(count), boxes_of(count, 1)])
    return TwoStageOutputs(proposals, torch.arange(count).expand(2, count) < count - 5, logits, deltas)


@pytest.mark.system("4.3.2-FASTRCNN")
@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.4])
def test_decoding_is_that_of_a_loop_over_images_and_classes(threshold: float) -> None:
    given, sizes = outputs(), [SIZE, (50, 70)]
    results = RegionDecode(("a", "b", "c"), threshold, 0.4, 25)(given, [Placement(s, s) for s in sizes])
    for image, (result, (h, w)) in enumerate(zip(results, sizes, strict=True)):
        found = []
        for row in range(35):
            scores = given.class_logits[image, row].softmax(0)
            for k in range(K):
                (box,) = decode_boxes(
                    given.box_deltas[image, row, k][None], given.proposals[image, row][None], weights=(10, 10, 5, 5)
                )
                box = box.minimum(torch.tensor([w, h, w, h])).clamp(min=0)
                if scores[k] > threshold and (box[2:] - box[:2]).min() >= 0.01:
                    found.append((box, scores[k], k))
        boxes, scores = torch.stack([f[0] for f in found]), torch.stack([f[1] for f in found])
        labels = torch.tensor([f[2] for f in found])
        kept = batched_nms(boxes, scores, labels, 0.4)[:25]
        assert_close(result.boxes, boxes[kept])
        assert_close(result.scores, scores[kept])
        assert torch.equal(result.labels, labels[kept])


def test_outputs_without_a_category_are_dropped_after_the_softmax() -> None:
    given = outputs(classes=4)
    (result, _) = RegionDecode(("a", None, "b", "c"), 0.2)(given, [Placement(SIZE, SIZE)] * 2)
    assert result.categories == ("a", "b", "c")
    probabilities = given.class_logits[0].softmax(1)[:35]
    assert result.scores.max() <= probabilities[:, [0, 2, 3]].max()
    assert float(result.scores.max()) == pytest.approx(float(probabilities[:, [0, 2, 3]].max()))


def test_nothing_is_found_in_empty_slots_or_below_the_threshold() -> None:
    given = outputs()
    empty = given._replace(valid=torch.zeros_like(given.valid))
    decode = RegionDecode(("a", "b", "c"))
    placements = [Placement((32, 192), SIZE)] * 2
    assert [len(r) for r in decode(empty, placements)] == [0, 0]
    assert [len(r) for r in RegionDecode(("a", "b", "c"), 1.0)(given, placements)] == [0, 0]
    for result in decode(given, placements):
        assert (result.boxes <= torch.tensor([192, 32, 192, 32])).all()
    with pytest.raises(ValueError, match="score_threshold=2"):
        RegionDecode(("a",), 2.0)


# ----------------------------------------------------------------------------------------------------------------------
# Fast R-CNN


@pytest.mark.system("4.3.2-FASTRCNN", "4.3.2-TWOSTAGE")
def test_it_trains_on_the_proposals_of_its_targets() -> None:
    """One pass of the backbone, RoIPool to 7 x 7, a head of fully connected layers with two outputs."""
    model = tiny()
    images = pictures()
    given = tv_tensors.BoundingBoxes(boxes_of(30).float(), format="XYXY", canvas_size=SIZE)  # type: ignore[call-overload]
    target = {"boxes": torch.tensor([[2.0, 3.0, 20.0, 28.0]]), "labels": torch.tensor([1])}
    drawn: list[Samples] = []
    regions = model.criterion.regions
    sample = type(regions).sample

    class Watched(RegionCriterion):
        def sample(self, *arguments: Any) -> Samples:
            drawn.append(sample(self, *arguments))
            return drawn[-1]

    model.criterion = type(model.criterion)(Watched(regions.named, 10**6))
    losses = model.loss(images, [{**target, "proposals": given}, target])
    rows = drawn[0].boxes[drawn[0].images == 0]
    wanted = torch.cat([given.as_subclass(torch.Tensor), target["boxes"]])
    assert torch.equal(rows.sort(0).values, wanted.sort(0).values)
    windows = model.network.sliding_windows(SIZE)
    assert (drawn[0].images == 1).sum() == len(windows) + 1
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.system("4.3.2-FASTRCNN")
def test_predictions_for_given_proposals_are_those_of_their_regions() -> None:
    model = tiny(score_threshold=0.0, size=None, shorter=64, longest=96)
    assert isinstance(model, FastDetector)
    images, given = pictures(), [boxes_of(9).float(), boxes_of(4, 1).float()]
    results = model.predict_proposals(images, given)
    alone = [model.predict_proposals([image], [boxes])[0] for image, boxes in zip(images, given, strict=True)]
    for result, single in zip(results, alone, strict=True):
        assert len(result)
        assert torch.equal(result.boxes, single.boxes)
    half = torch.nn.functional.interpolate(images[0][None].float(), (32, 48)).byte()[0]
    (scaled,) = model.predict_proposals([half], [given[0] / 2])
    assert (scaled.boxes[:, 2] <= 48).all()
    assert len(model.predict(images)) == 2


def test_windows_cover_the_image() -> None:
    windows = tiny().network.sliding_windows(SIZE)
    assert len(windows) == 3 * (8 * 12 + 4 * 6)
    assert (windows >= 0).all()
    assert (windows <= torch.tensor([96, 64, 96, 64])).all()
    points = torch.rand(200, 2) * torch.tensor([96.0, 64.0])
    boxes = torch.cat([points - 9, points + 9], 1)
    assert box_iou(boxes.clamp(min=0), windows).amax(1).min() > 0.3


# ----------------------------------------------------------------------------------------------------------------------
# Selective search


@pytest.mark.system("4.3.2-FASTRCNN")
def test_it_trains_on_what_selective_search_proposes_pooled_to_six_by_six() -> None:
    """Girshick 2015: proposals of selective search, and H = W = 6 for the network that AlexNet is."""
    model = tiny(proposals="selective_search", pool=6, found=40, smallest=6, size=None, shorter=64, longest=96)
    assert model.network.head.hidden1.in_features == 8 * 16 * 6 * 6
    images = [image[:, : 64 - 8 * row, : 96 - 8 * row] for row, image in enumerate(pictures())]
    target = {"boxes": torch.tensor([[2.0, 3.0, 20.0, 28.0]]), "labels": torch.tensor([1])}
    drawn: list[tuple[list[torch.Tensor], Samples]] = []

    class Watched(RegionCriterion):
        def sample(self, proposals: Any, *arguments: Any) -> Samples:
            drawn.append((list(proposals), super().sample(proposals, *arguments)))
            return drawn[-1][1]

    model.criterion = type(model.criterion)(Watched(model.criterion.regions.named, 10**6))
    losses = model.loss(images, [target, target])
    ((proposals, samples),) = drawn
    assert samples.images.unique().tolist() == [0, 1]
    batch = model.preprocess.collate([model.preprocess.place(image, {}) for image in images])
    for boxes, image, mask in zip(proposals, batch.images, batch.mask, strict=True):
        h, w = int(mask.any(1).sum()), int(mask.any(0).sum())
        pixels = (image[:, :h, :w] * model.network.search.std + model.network.search.mean).mul(255).round()
        expected = selective_search(pixels.to(torch.uint8), mode="fast", most=40, minimum_side=6)
        assert 1 < len(boxes) <= 40
        torch.testing.assert_close(boxes, expected, rtol=0, atol=0)
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.system("4.3.2-FASTRCNN")
def test_predictions_are_those_for_the_boxes_of_selective_search() -> None:
    model = tiny(proposals="selective_search", pool=6, found=30, smallest=6, score_threshold=0.0)
    (image,) = pictures(1)
    (result,) = model.predict([image])
    proposals = selective_search(image, mode="fast", most=30, minimum_side=6)
    (given,) = model.predict_proposals([image], [proposals])
    assert len(result)
    assert_close(result.boxes, given.boxes, 1e-5)
    assert_close(result.scores, given.scores, 1e-5)


@pytest.mark.parametrize("wrong", [{"proposals": "edges"}, {"pool": 0}, {"found": 0}])
def test_proposals_and_pools_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(WRONG):
        tiny(**wrong)


@pytest.mark.system("4.3.2-FASTRCNN")
def test_the_command_trains_it_on_selective_search_with_six_cells_a_side(tmp_path: Path) -> None:
    """`vidi train fast_rcnn_resnet18 proposals=selective_search pool=6`, a few steps on small scenes of the world."""
    words = ["train", "fast_rcnn_resnet18", "--out", tmp_path / "run", "proposals=selective_search", "pool=6"]
    words += ["width=16", "hidden=16", "found=30", "smallest=6", "shorter=64", "longest=64", "device=cpu"]
    words += ["world_scenes=8", "steps=3", "batch_size=4", "workers=0"]
    done = vidi(*words)
    assert done.code == 0, done.err
    model = load(tmp_path / "run")
    assert model.network.search.most == 30  # type: ignore[union-attr]
    assert model.network.pooling.size == (6, 6)  # type: ignore[union-attr]
    assert model.network.head.hidden1.in_features == 8 * 16 * 36  # type: ignore[union-attr]
