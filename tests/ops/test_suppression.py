"""Non-maximum suppression: bit for bit torchvision's decisions, by the scan, by the grid and by the operator."""

import numpy as np
import pytest
import torch
import torchvision.ops
from hypothesis import given
from hypothesis import strategies as st

from tests.references import boxes as slow
from vidi.ops import suppression
from vidi.ops.suppression import class_wise_suppression, non_maximum_suppression, suppress

EXAMPLE = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 11.0, 11.0], [20.0, 20.0, 30.0, 30.0]])


def crowded(count: int, *, objects: int = 30, seed: int = 0, dtype: torch.dtype = torch.float32):
    """Boxes that scatter around a few objects of very different sizes, as a detector's do, and distinct scores."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.exp(torch.randn(objects, 2, generator=generator, dtype=torch.float64) + 3)
    centre = (torch.rand(objects, 2, generator=generator, dtype=torch.float64) - 0.3) * 400
    of = torch.randint(objects, (count,), generator=generator)
    centre = centre[of] + torch.randn(count, 2, generator=generator, dtype=torch.float64) * side[of] * 0.15
    side = side[of] * torch.exp(torch.randn(count, 2, generator=generator, dtype=torch.float64) * 0.2)
    boxes = torch.cat([centre - side / 2, centre + side / 2], 1).to(dtype)
    scores = torch.randperm(count, generator=generator).to(dtype) / count
    return boxes, scores, torch.randint(5, (count,), generator=generator)


def on_a_grid(boxes: torch.Tensor) -> torch.Tensor:
    """Coordinates in quarters of a pixel: shifting them by whole numbers rounds nothing."""
    return (boxes * 4).round() / 4


@pytest.fixture(params=["scan", "grid"])
def kernel(request, monkeypatch):
    monkeypatch.setattr(suppression, "GRID_FROM", 0 if request.param == "grid" else 10**9)


# ----------------------------------------------------------------------------------------------------------------------
# One image


@pytest.mark.system("B4.9", "4.2.4-NMS")
def test_the_worked_example(kernel):
    assert non_maximum_suppression(EXAMPLE, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]
    assert slow.iou(*EXAMPLE[:2].tolist()) == pytest.approx(0.680672, abs=5e-7)


@pytest.mark.system("4.2.4-NMS")
def test_close_objects_are_lost(kernel):
    """Two persons side by side overlap by more than the threshold: only the better one survives."""
    pair, scores = torch.tensor([[0.0, 0.0, 30.0, 90.0], [8.0, 0.0, 38.0, 90.0]]), torch.tensor([0.9, 0.95])
    assert non_maximum_suppression(pair, scores, 0.5).tolist() == [1]
    assert non_maximum_suppression(pair, scores, 0.6).tolist() == [1, 0]
    assert class_wise_suppression(pair, scores, torch.tensor([0, 1]), 0.5).tolist() == [1, 0]


@pytest.mark.system("4.2.4-NMS")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [0, 0.05, 0.2, 0.3, 0.5, 0.7, 0.95, 0.99, 1])
def test_kept_boxes_are_torchvisions(threshold, dtype, kernel):
    for seed, (count, objects) in enumerate([(1, 1), (50, 3), (700, 30), (3000, 2000)]):
        boxes, scores, _ = crowded(count, objects=objects, seed=seed, dtype=dtype)
        kept = non_maximum_suppression(boxes, scores, threshold)
        assert torch.equal(kept, torchvision.ops.nms(boxes, scores, threshold))


@pytest.mark.system("4.2.4-NMS")
def test_kept_boxes_are_the_loops(kernel):
    boxes, scores, labels = crowded(120, objects=8, dtype=torch.float64)
    zeros = [0] * 120
    assert non_maximum_suppression(boxes, scores, 0.4).tolist() == slow.suppress(
        boxes.tolist(), scores.tolist(), zeros, 0.4
    )
    assert class_wise_suppression(boxes, scores, labels, 0.4).tolist() == slow.suppress(
        boxes.tolist(), scores.tolist(), labels.tolist(), 0.4
    )


def test_many_boxes_go_to_the_grid_and_stay_torchvisions():
    boxes, scores, _ = crowded(12_000, objects=300)
    assert len(boxes) > suppression.GRID_FROM
    assert torch.equal(non_maximum_suppression(boxes, scores, 0.5), torchvision.ops.nms(boxes, scores, 0.5))


def test_sizes_and_places_of_every_magnitude(kernel):
    generator = torch.Generator().manual_seed(0)
    boxes, scores, _ = crowded(1500, objects=400)
    factor = 10.0 ** torch.randint(-6, 8, (1500, 1), generator=generator)
    boxes = boxes * factor - 5 * factor
    assert torch.equal(non_maximum_suppression(boxes, scores, 0.5), torchvision.ops.nms(boxes, scores, 0.5))


def test_equal_scores_keep_their_order(kernel):
    boxes, _, _ = crowded(400)
    scores = torch.arange(400).div(40, rounding_mode="floor").float()
    assert torch.equal(non_maximum_suppression(boxes, scores, 0.5), torchvision.ops.nms(boxes, scores, 0.5))


def test_equal_boxes_and_an_iou_of_the_threshold_itself(kernel):
    halves = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 2.0], [0.0, 0.0, 4.0, 4.0]])
    assert non_maximum_suppression(halves, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 1]  # IoU 0.5 stays
    assert non_maximum_suppression(halves, torch.tensor([0.9, 0.8, 0.7]), 1).tolist() == [0, 1, 2]


def test_boxes_without_area_or_number_are_kept_and_harmless(kernel):
    nan, inf = float("nan"), float("inf")
    odd = torch.tensor(
        [[nan, 0.0, 9.0, 9.0], [0.0, 0.0, inf, 9.0], [5.0, 5.0, 5.0, 9.0], [9.0, 9.0, 0.0, 0.0], [-inf, 0.0, inf, 1.0]]
    )
    boxes = torch.cat([odd, EXAMPLE, odd])
    scores = torch.linspace(1, 0, len(boxes))
    kept = non_maximum_suppression(boxes, scores, 0.5)
    assert torch.equal(kept, torchvision.ops.nms(boxes, scores, 0.5))
    assert kept.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]


def test_nan_scores_come_first_as_in_torchvision(kernel):
    scores = torch.tensor([0.9, float("nan"), 0.7])
    assert non_maximum_suppression(EXAMPLE, scores, 0.5).tolist() == [1, 2]
    assert torchvision.ops.nms(EXAMPLE, scores, 0.5).tolist() == [1, 2]


def test_half_precision_gradients_and_strided_boxes(kernel):
    boxes, scores, _ = crowded(300)
    expected = non_maximum_suppression(boxes.bfloat16().float(), scores, 0.5)
    assert torch.equal(non_maximum_suppression(boxes.bfloat16(), scores, 0.5), expected)
    leaf = boxes.clone().requires_grad_()
    wide = torch.cat([leaf, leaf], 1)[:, :4]
    assert torch.equal(non_maximum_suppression(wide, scores, 0.5), torchvision.ops.nms(boxes, scores, 0.5))


def test_nothing_in_nothing_out(kernel):
    empty = torch.zeros(0, 4), torch.zeros(0)
    assert non_maximum_suppression(*empty, 0.5).shape == (0,)
    labels = torch.zeros(0, dtype=torch.int64)
    assert class_wise_suppression(*empty, labels, 0.5).dtype == torch.int64
    none = suppress(
        torch.zeros(2, 0, 4),
        torch.zeros(2, 0),
        labels.view(1, 0).expand(2, 0),
        labels.bool().expand(2, 0),
        threshold=0.5,
    )
    assert none.shape == (2, 0)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_impossible_thresholds_are_refused(threshold):
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        non_maximum_suppression(EXAMPLE, torch.ones(3), threshold)


corner, side = st.integers(0, 24).map(float), st.integers(0, 12).map(float)
some_boxes = st.lists(st.tuples(corner, corner, side, side), min_size=1, max_size=14)


@given(some_boxes, st.sampled_from([0.15, 0.3, 0.5, 0.75]), st.randoms(use_true_random=False))
def test_suppression_is_idempotent_and_blind_to_the_order_of_entry(found, threshold, random):
    boxes = torch.tensor([(x, y, x + w, y + h) for x, y, w, h in found])
    scores = torch.linspace(1, 0.1, len(boxes))
    for first in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(suppression, "GRID_FROM", first)
            kept = non_maximum_suppression(boxes, scores, threshold)
            assert torch.equal(kept, torchvision.ops.nms(boxes, scores, threshold))
            again = non_maximum_suppression(boxes[kept], scores[kept], threshold)
            assert again.tolist() == list(range(len(kept)))
            shuffled = torch.tensor(random.sample(range(len(boxes)), len(boxes)))
            moved = non_maximum_suppression(boxes[shuffled], scores[shuffled], threshold)
            assert torch.equal(shuffled[moved], kept)


# ----------------------------------------------------------------------------------------------------------------------
# Classes and batches


@pytest.mark.system("4.2.4-NMS")
@pytest.mark.parametrize("count", [300, 3000])  # torchvision shifts the boxes below 1,000 and loops over classes above
def test_classes_do_not_meet_and_kept_boxes_are_torchvisions(count, kernel):
    boxes, scores, labels = crowded(count)
    boxes = on_a_grid(boxes - boxes.min())  # torchvision's shift mixes the classes of negative coordinates
    kept = class_wise_suppression(boxes, scores, labels, 0.5)
    assert torch.equal(kept, torchvision.ops.batched_nms(boxes, scores, labels, 0.5))


def batch(count: int = 300):
    parts = [crowded(count, seed=seed) for seed in range(3)]
    boxes, scores, labels = (torch.stack(part) for part in zip(*parts, strict=True))
    valid = torch.rand(3, count, generator=torch.Generator().manual_seed(9)) < 0.7
    valid[1] = False
    return on_a_grid(boxes), scores, labels, valid


def image_by_image(boxes, scores, labels, valid, threshold):
    keep = torch.zeros_like(valid)
    for b in range(len(boxes)):
        real = valid[b].nonzero().flatten()
        keep[b, real[class_wise_suppression(boxes[b, real], scores[b, real], labels[b, real], threshold)]] = True
    return keep


@pytest.mark.system("4.2.4-NMS")
def test_a_batch_is_its_images(kernel):
    boxes, scores, labels, valid = batch()
    keep = suppress(boxes, scores, labels, valid, threshold=0.5)
    assert torch.equal(keep, image_by_image(boxes, scores, labels, valid, 0.5))
    assert keep.any(1).tolist() == [True, False, True]


def test_invalid_boxes_may_hold_anything(kernel):
    boxes, scores, labels, valid = batch()
    keep = suppress(boxes, scores, labels, valid, threshold=0.5)
    wild = torch.where(valid[..., None], boxes, float("nan")), torch.where(valid, scores, float("inf"))
    assert torch.equal(suppress(*wild, labels, valid, threshold=0.5), keep)
    negative = torch.where(valid, labels, -7)
    assert torch.equal(suppress(*wild, negative, valid, threshold=0.5), keep)


def test_the_operator_of_other_devices_decides_alike(monkeypatch):
    boxes, scores, labels, valid = batch()
    boxes[0, :3] = torch.tensor([float("nan"), 0.0, float("inf"), 1.0])
    expected = suppress(boxes, scores, labels, valid, threshold=0.5)
    kept = class_wise_suppression(boxes[2], scores[2], labels[2], 0.5)
    monkeypatch.setattr(suppression, "_operator_runs", lambda boxes: True)
    wild = torch.where(valid[..., None], boxes, float("nan"))
    assert torch.equal(suppress(wild, scores, labels, valid, threshold=0.5), expected)
    assert torch.equal(class_wise_suppression(boxes[2], scores[2], labels[2], 0.5), kept)
    assert non_maximum_suppression(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)


class Suppression(torch.nn.Module):
    def forward(self, boxes, scores, labels, valid):
        return suppress(boxes, scores, labels, valid, threshold=0.5)


def test_it_exports_with_a_dynamic_batch():
    boxes, scores, labels, valid = batch(40)
    B = torch.export.Dim("B", min=1, max=16)
    program = torch.export.export(
        Suppression(), (boxes[:2], scores[:2], labels[:2], valid[:2]), dynamic_shapes=({0: B},) * 4, strict=False
    )
    keep = program.module()(boxes, scores, labels, valid)
    assert torch.equal(keep, suppress(boxes, scores, labels, valid, threshold=0.5))
    assert any("nms" in str(node.target) for node in program.graph.nodes)


def test_the_two_kernels_agree_where_boxes_are_dense_and_thin():
    from vidi.ops import suppression_kernels

    generator = np.random.default_rng(0)
    for _ in range(20):
        side = np.exp(generator.normal(0, 2, (400, 2)))
        centre = generator.normal(0, 1, (400, 2)) * generator.choice([0.1, 1, 10])
        boxes = np.concatenate([centre - side / 2, centre + side / 2], 1)
        order, groups = generator.permutation(400), generator.integers(0, 2, 400)
        for threshold in (0.1, 0.33, 0.6, 0.9, 0.97):
            scan = suppression_kernels.scan(boxes, order, groups, threshold)
            assert np.array_equal(scan, suppression_kernels.scan_grid(boxes, order, groups, threshold))
