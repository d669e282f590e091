"""Formats, geometry, overlap and corrections of boxes, against torchvision and slow loops."""

import math

import pytest
import torch
import torchvision.ops
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder

from tests.closeness import assert_close
from tests.references import boxes as slow
from vidi.ops import boxes as ops

coordinates = st.floats(-1000, 1000, width=32)
sides = st.floats(0.125, 500, width=32)
box = st.tuples(coordinates, coordinates, sides, sides).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def random_boxes(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 80
    side = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 40 + 1
    return torch.cat([corner, corner + side], -1).to(dtype)


# ----------------------------------------------------------------------------------------------------------------------
# Formats and geometry


@pytest.mark.system("0-BOX")
@pytest.mark.parametrize(
    ("convert", "source", "target"),
    [
        (ops.xyxy_to_xywh, "xyxy", "xywh"),
        (ops.xywh_to_xyxy, "xywh", "xyxy"),
        (ops.xyxy_to_cxcywh, "xyxy", "cxcywh"),
        (ops.cxcywh_to_xyxy, "cxcywh", "xyxy"),
        (ops.xywh_to_cxcywh, "xywh", "cxcywh"),
        (ops.cxcywh_to_xywh, "cxcywh", "xywh"),
    ],
)
def test_formats_are_torchvisions(convert, source, target):
    boxes = torchvision.ops.box_convert(random_boxes(50), "xyxy", source)
    expected = torchvision.ops.box_convert(boxes, source, target)
    assert_close(convert(boxes), expected)
    assert_close(convert(boxes.view(5, 10, 4)), expected.view(5, 10, 4))
    assert convert(boxes[:0]).shape == (0, 4)


@pytest.mark.system("0-BOX")
def test_normalized_formats_divide_by_width_and_height():
    boxes = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    size = (80, 40)  # H, W
    assert ops.xyxy_to_xyxy_normalized(boxes, size).tolist() == [[0.25, 0.25, 0.75, 0.75]]
    assert ops.xyxy_to_cxcywh_normalized(boxes, size).tolist() == [[0.5, 0.5, 0.5, 0.5]]
    assert ops.cxcywh_normalized_to_xyxy(torch.full((1, 4), 0.5), size).tolist() == boxes.tolist()
    assert ops.xyxy_normalized_to_xyxy(torch.tensor([[0.25, 0.25, 0.75, 0.75]]), size).tolist() == boxes.tolist()


@pytest.mark.system("0-BOX")
def test_clip_scale_flip_and_area():
    boxes = torch.tensor([[-5.0, 10.0, 50.0, 90.0], [3.0, 4.0, 8.0, 16.0]])
    assert ops.clip_boxes(boxes, (80, 40)).tolist() == [[0, 10, 40, 80], [3, 4, 8, 16]]
    assert torch.equal(ops.clip_boxes(boxes, (80, 40)), torchvision.ops.clip_boxes_to_image(boxes, (80, 40)))
    assert ops.scale_boxes(boxes, (80, 40), (160, 20)).tolist() == [[-2.5, 20, 25, 180], [1.5, 8, 4, 32]]
    assert ops.flip_boxes_horizontally(boxes, 40).tolist() == [[-10, 10, 45, 90], [32, 4, 37, 16]]
    assert ops.flip_boxes_vertically(boxes, 80).tolist() == [[-5, -10, 50, 70], [3, 64, 8, 76]]
    assert ops.box_area(boxes).tolist() == torchvision.ops.box_area(boxes).tolist() == [4400, 60]
    assert boxes.tolist() == [[-5, 10, 50, 90], [3, 4, 8, 16]]  # nothing was written in place


def test_clipping_a_batch_is_clipping_each_image():
    boxes = 80 * torch.randn(3, 20, 4, dtype=torch.float64)
    sizes = [(80, 40), (13, 200), (64, 64)]
    clipped = ops.clip_boxes_to_images(boxes, boxes.new_tensor(sizes))
    assert all(
        torch.equal(row, ops.clip_boxes(own, size)) for row, own, size in zip(clipped, boxes, sizes, strict=True)
    )


@pytest.mark.system("0-BOX")
def test_masks_of_small_and_of_crossing_boxes():
    boxes = random_boxes(200)
    kept = ops.boxes_at_least(boxes, 10.0).nonzero().flatten()
    assert torch.equal(kept, torchvision.ops.remove_small_boxes(boxes, 10.0))
    edge = torch.tensor([[0.0, 0.0, 40.0, 80.0], [-0.5, 0.0, 40.0, 80.0], [0.0, 0.0, 40.5, 80.0]])
    assert ops.boxes_inside(edge, (80, 40)).tolist() == [True, False, False]


@pytest.mark.system("0-BOX")
@given(box, st.integers(1, 500), st.integers(1, 500))
def test_flips_and_conversions_undo_themselves(corners, H, W):
    boxes = torch.tensor([corners], dtype=torch.float64)
    twice = ops.flip_boxes_horizontally(ops.flip_boxes_horizontally(boxes, W), W)
    assert_close(twice, boxes, 1e-9)
    back = ops.cxcywh_normalized_to_xyxy(ops.xyxy_to_cxcywh_normalized(boxes, (H, W)), (H, W))
    assert_close(back, boxes, 1e-9)


# ----------------------------------------------------------------------------------------------------------------------
# Overlap


@pytest.mark.system("B4.1", "4.1-IOU")
def test_the_denominator_is_the_union():
    one, two = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 3.0]])
    assert ops.box_iou(one, two).item() == pytest.approx(1 / 7)


@pytest.mark.system("4.1-IOU")
def test_iou_is_torchvisions_and_the_loops():
    a, b = random_boxes(40), random_boxes(30, seed=1)
    assert_close(ops.box_iou(a, b), torchvision.ops.box_iou(a, b))
    loops = [[slow.iou(x, y) for y in b.tolist()] for x in a.tolist()]
    assert_close(ops.box_iou(a, b), torch.tensor(loops, dtype=torch.float64))
    assert torch.equal(ops.box_iou(a.float(), b.float()), torchvision.ops.box_iou(a.float(), b.float()))
    assert ops.box_iou(a, b[:0]).shape == (40, 0)


def test_the_share_of_a_box_that_lies_in_another():
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [2, 2, 4, 4], [0, 0, 1, 1], [3, 3, 3, 5]])
    b = torch.tensor([[5.0, 0, 25, 10], [2, 2, 4, 4], [0, 0, 10, 10], [1, 0, 2, 1], [0, 0, 9, 9]])
    assert ops.paired_box_share(a, b).tolist() == pytest.approx([0.5, 0.04, 1, 0, 0])


def test_batches_of_pairs_and_paired_forms_agree_with_the_pairwise_form():
    a, b = random_boxes(3, 7), random_boxes(3, 5, seed=1)
    for pairwise, paired in (
        (ops.box_iou, ops.paired_box_iou),
        (ops.generalized_box_iou, ops.paired_generalized_box_iou),
    ):
        each = torch.stack([pairwise(x, y) for x, y in zip(a, b, strict=True)])
        assert torch.equal(pairwise(a, b), each)  # B N M
        assert torch.equal(paired(a[:, :5], b), pairwise(a[:, :5], b).diagonal(dim1=1, dim2=2))


@pytest.mark.system("4.1-IOU")
def test_boxes_without_area_overlap_by_0_and_have_a_finite_gradient():
    points = torch.tensor([[3.0, 3.0, 3.0, 3.0], [0.0, 3.0, 9.0, 3.0]], requires_grad=True)
    everything = ops.box_iou(points, torch.cat([points.detach(), torch.tensor([[0.0, 0.0, 9.0, 9.0]])]))
    assert everything.tolist() == [[0, 0, 0], [0, 0, 0]]
    ops.paired_generalized_box_iou(points, points.detach()).sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()


@pytest.mark.system("4.1-IOU")
@given(st.lists(box, min_size=1, max_size=4), st.lists(box, min_size=1, max_size=4))
def test_iou_is_symmetric_and_in_the_unit_interval(first, second):
    a, b = torch.tensor(first), torch.tensor(second)
    iou = ops.box_iou(a, b)
    assert torch.equal(iou, ops.box_iou(b, a).T)
    assert ((iou >= 0) & (iou <= 1)).all()
    assert (ops.box_iou(a, a).diagonal() == 1).all()
    assert (ops.generalized_box_iou(a, b) <= iou + 1e-6).all()
    assert (ops.generalized_box_iou(a, b) >= -1).all()  # -1 itself is rounding: some of the hull is in a box


@pytest.mark.system("B4.26")
def test_generalized_iou_of_boxes_a_box_apart():
    one, two = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[2.0, 0.0, 3.0, 1.0]])
    assert ops.generalized_box_iou(one, two).item() == pytest.approx(-1 / 3)


def test_generalized_iou_is_torchvisions_and_the_loops():
    a, b = random_boxes(40), random_boxes(30, seed=1)
    assert_close(ops.generalized_box_iou(a, b), torchvision.ops.generalized_box_iou(a, b))
    loops = [[slow.generalized_iou(x, y) for y in b.tolist()] for x in a.tolist()]
    assert_close(ops.generalized_box_iou(a, b), torch.tensor(loops, dtype=torch.float64))


# ----------------------------------------------------------------------------------------------------------------------
# Corrections


def box_from_cxcywh(*numbers: float) -> torch.Tensor:
    return ops.cxcywh_to_xyxy(torch.tensor([numbers], dtype=torch.float64))


@pytest.mark.system("B4.10", "4.3.2-BOXENC", "4.3.2-BOXDEC")
def test_correction_of_the_worked_example():
    proposal, target = box_from_cxcywh(50, 50, 20, 40), box_from_cxcywh(60, 58, 30, 30)
    deltas = ops.encode_boxes(target, proposal)
    assert deltas[0].tolist() == pytest.approx([0.5, 0.2, 0.405465, -0.287682], abs=5e-7)
    assert_close(ops.decode_boxes(deltas, proposal), target)


@pytest.mark.system("4.3.2-BOXENC", "4.3.2-BOXDEC")
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_corrections_are_torchvisions(weights, dtype):
    coder = BoxCoder(weights)
    boxes, anchors = random_boxes(60, dtype=dtype), random_boxes(60, seed=1, dtype=dtype)
    deltas = torch.randn(60, 4, dtype=dtype) * 3  # some beyond the clamp
    tolerance = 1e-10 if dtype == torch.float64 else 0  # float32: the same operations in the same order
    encoded = ops.encode_boxes(boxes, anchors, weights=weights)
    assert_close(encoded, coder.encode_single(boxes, anchors), tolerance)
    decoded = ops.decode_boxes(deltas * weights[2], anchors, weights=weights)
    assert_close(decoded, coder.decode_single(deltas * weights[2], anchors), tolerance)


@pytest.mark.system("4.3.2-BOXENC")
def test_corrections_are_the_loops():
    boxes, anchors = random_boxes(20), random_boxes(20, seed=1)
    loops = [slow.encode(box, anchor) for box, anchor in zip(boxes.tolist(), anchors.tolist(), strict=True)]
    expected = torch.tensor(loops, dtype=torch.float64)
    assert_close(ops.encode_boxes(boxes, anchors), expected)


@pytest.mark.system("4.3.2-BOXDEC")
def test_anchors_broadcast_over_images_and_classes():
    anchors, deltas = random_boxes(6), torch.randn(2, 6, 4, dtype=torch.float64)
    per_image = torch.stack([ops.decode_boxes(d, anchors) for d in deltas])
    assert torch.equal(ops.decode_boxes(deltas, anchors), per_image)  # B A 4 with A 4
    per_class = torch.randn(6, 3, 4, dtype=torch.float64)
    expected = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(per_class.flatten(1), anchors).view(6, 3, 4)
    assert_close(ops.decode_boxes(per_class, anchors[:, None]), expected)


@pytest.mark.system("4.3.2-BOXDEC")
def test_the_clamp_bounds_a_box_by_62_anchors():
    anchors = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    wild = ops.decode_boxes(torch.tensor([[0.0, 0.0, 1e9, 1e9]]), anchors)
    assert ops.box_area(wild).item() == pytest.approx(1000**2, rel=1e-5)
    assert math.exp(ops.MAXIMAL_LOG_SCALE) == pytest.approx(62.5)


@pytest.mark.system("4.3.2-BOXENC", "4.3.2-BOXDEC")
@given(box, box)
def test_decoding_undoes_encoding(target, anchor):
    boxes, anchors = torch.tensor([target], dtype=torch.float64), torch.tensor([anchor], dtype=torch.float64)
    deltas = ops.encode_boxes(boxes, anchors, weights=(10, 10, 5, 5))
    back = ops.decode_boxes(deltas, anchors, weights=(10, 10, 5, 5), clamp=math.inf)
    torch.testing.assert_close(back, boxes, rtol=1e-9, atol=1e-8)
