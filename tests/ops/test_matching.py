"""Labels of anchors against torchvision's Matcher and slow loops."""

import pytest
import torch
from torchvision.models.detection._utils import Matcher

from tests.references import boxes as slow
from vidi.ops.anchors import anchor_grid, base_anchors
from vidi.ops.boxes import box_iou
from vidi.ops.matching import BACKGROUND, IGNORED, match_anchors


def scene(seed: int, truths: int = 6) -> torch.Tensor:
    """IoU of a few objects with the anchors of a small map; every object touches some anchor."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(truths, 2, generator=generator, dtype=torch.float64) * 100
    side = torch.rand(truths, 2, generator=generator, dtype=torch.float64) * 60 + 4
    anchors = anchor_grid(base_anchors((16, 32, 64), dtype=torch.float64), (16, 16), 8)
    return box_iou(torch.cat([corner, corner + side], 1), anchors)


@pytest.mark.system("4.3.2-RPNASSIGN")
@pytest.mark.parametrize(("low", "high"), [(0.4, 0.5), (0.3, 0.7)])
@pytest.mark.parametrize("allow", [True, False])
def test_labels_are_torchvisions(low, high, allow):
    for seed in range(5):
        iou = scene(seed)
        ours = match_anchors(iou, low=low, high=high, allow_low_quality=allow)
        assert torch.equal(ours, Matcher(high, low, allow_low_quality_matches=allow)(iou))
        assert {BACKGROUND, IGNORED} < set(ours.tolist())


@pytest.mark.system("4.3.2-RPNASSIGN")
def test_labels_of_the_region_proposal_network_are_the_loops():
    iou = scene(7)
    ours = match_anchors(iou, low=0.3, high=0.7, allow_low_quality=True)
    assert ours.tolist() == slow.match(iou.tolist(), 0.3, 0.7)
    assert set(range(len(iou))) <= set(ours.tolist()) | set(iou.argmax(0)[ours >= 0].tolist())


def test_ties_for_the_best_anchor_are_all_positive():
    iou = torch.tensor([[0.2, 0.1, 0.2, 0.0], [0.0, 0.6, 0.0, 0.0]])
    assert match_anchors(iou, low=0.3, high=0.5, allow_low_quality=True).tolist() == [0, 1, 0, BACKGROUND]
    assert match_anchors(iou, low=0.15, high=0.5, allow_low_quality=False).tolist() == [-2, 1, -2, -1]


def test_without_objects_all_is_background():
    assert match_anchors(torch.zeros(0, 5), low=0.3, high=0.7, allow_low_quality=True).tolist() == [BACKGROUND] * 5
    assert match_anchors(torch.zeros(2, 3, 0), low=0.3, high=0.7, allow_low_quality=True).shape == (2, 0)


def test_an_object_that_no_anchor_touches_claims_none():
    iou = torch.tensor([[0.9, 0.1], [0.0, 0.0]])
    assert match_anchors(iou, low=0.3, high=0.7, allow_low_quality=True).tolist() == [0, BACKGROUND]


def test_rows_of_zeros_pad_a_batch():
    few, many = scene(0, truths=2), scene(1, truths=5)
    padded = torch.stack([torch.cat([few, few.new_zeros(3, few.shape[1])]), many])  # B M A
    options = {"low": 0.3, "high": 0.7, "allow_low_quality": True}
    expected = torch.stack([match_anchors(few, **options), match_anchors(many, **options)])
    assert torch.equal(match_anchors(padded, **options), expected)


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match=r"low=0.7 and high=0.3"):
        match_anchors(torch.zeros(1, 1), low=0.7, high=0.3, allow_low_quality=True)
