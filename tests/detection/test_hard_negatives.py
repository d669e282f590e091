import pytest
import torch

from tests.references.hard_negatives import hardest
from vidi.detection.hard_negatives import hard_negatives

B, A = 4, 60


def drawn(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    corner = 60 * torch.rand(B, A, 2, generator=generator, dtype=torch.float64)
    boxes = torch.cat((corner, corner + 20 + 10 * torch.rand(B, A, 2, generator=generator, dtype=torch.float64)), 2)
    losses = torch.rand(B, A, generator=generator, dtype=torch.float64).requires_grad_()
    kind = torch.rand(B, A, generator=generator)
    positive, negative = kind < 0.08, kind > 0.2  # the rest is ignored
    positive[0] = False
    return losses, boxes, positive, negative


@pytest.mark.system("4.3.4-HNM")
@pytest.mark.parametrize("threshold", [0.7, 0.3, None])
@pytest.mark.parametrize(("ratio", "least"), [(3, 0), (1.5, 2), (100, 0), (0, 0)])
def test_the_choice_is_that_of_slow_loops(ratio, least, threshold):
    losses, boxes, positive, negative = drawn()
    chosen = hard_negatives(losses, boxes, positive, negative, ratio=ratio, nms_threshold=threshold, least=least)
    for image in range(B):
        kinds = positive[image].tolist(), negative[image].tolist()
        expected = hardest(losses[image].tolist(), boxes[image].tolist(), *kinds, ratio, threshold, least)
        assert set(chosen[image].nonzero()[:, 0].tolist()) == expected
    assert not chosen.requires_grad


@pytest.mark.system("4.3.4-HNM")
def test_at_most_three_negatives_stand_against_a_positive_of_the_same_image():
    losses, boxes, positive, negative = drawn(1)
    chosen = hard_negatives(losses, boxes, positive, negative, nms_threshold=None)
    assert chosen.sum(1).tolist() == (3 * positive.sum(1)).tolist()
    assert chosen[0].sum() == 0
    easiest = losses.where(chosen, torch.inf).amin(1)
    left = negative & ~chosen
    assert (losses.where(left, -torch.inf).amax(1) <= easiest).all()


def test_of_negatives_that_cover_each_other_the_hardest_is_taken():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 11], [30, 30, 40, 40], [50, 50, 60, 60]]])
    losses = torch.tensor([[3.0, 4.0, 1.0, 9.0]])
    positive = torch.tensor([[False, False, False, True]])
    assert hard_negatives(losses, boxes, positive, ~positive).tolist() == [[False, True, True, False]]
    assert hard_negatives(losses, boxes, positive, ~positive, ratio=1).tolist() == [[False, True, False, False]]
    both = hard_negatives(losses, boxes, positive, ~positive, ratio=2, nms_threshold=None)
    assert both.tolist() == [[True, True, False, False]]


def test_without_boxes_nothing_is_chosen():
    none = torch.zeros(2, 0, dtype=torch.bool)
    assert hard_negatives(torch.zeros(2, 0), torch.zeros(2, 0, 4), none, none, least=5).shape == (2, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": -1}, "ratio=-1"),
        ({"ratio": float("nan")}, "ratio=nan"),
        ({"least": -1}, "least=-1"),
        ({"nms_threshold": 2}, r"\[0, 1\]"),
    ],
)
def test_impossible_numbers_are_refused(options, message):
    losses, boxes, positive, negative = drawn()
    with pytest.raises(ValueError, match=message):
        hard_negatives(losses, boxes, positive, negative, **options)


def test_a_box_is_not_both():
    losses, boxes, positive, _ = drawn()
    with pytest.raises(ValueError, match="both positive and negative"):
        hard_negatives(losses, boxes, positive, positive)
