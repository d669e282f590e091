"""Joint errors and average precision against slow loops and numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from tests.closeness import EXACT

from vidi.metrics.body_joints import DISTANCE, JointEvaluator, average_precision


def at(*distances: float) -> torch.Tensor:
    return torch.tensor([[d, 0.0, 2.0] for d in distances])


TRUTH = torch.tensor([[0.0, 0, 2], [1, 0, 2]])


@pytest.mark.system("5.1.1-POSE")
def test_scores_of_two_images_worked_out_by_hand():
    evaluator = JointEvaluator(2)
    # joint 0: the surest is wrong (0.3 m), the second right, the third right but a repetition; joint 1 right at 0.05 m
    evaluator.update(torch.tensor([0, 0, 0, 1]), at(0.3, 0.02, 0.06, 1.05), torch.tensor([0.9, 0.5, 0.4, 0.7]), TRUTH)
    # joint 0 right and surest of all; joint 1 not proposed
    evaluator.update(torch.tensor([0]), at(0.04), torch.tensor([2.0]), TRUTH)
    scores = evaluator.compute()
    assert scores.error == pytest.approx((0.3 + 0.05 + 0.04) / 3, rel=1e-6)
    assert scores.near == 0.5
    assert scores.found == 0.75
    # joint 0 in order: 2.0 right, 0.9 wrong, 0.5 right, 0.4 wrong: (1/1 + 2/3) / 2; joint 1: 1/1 of two
    assert scores.average_precision.tolist() == pytest.approx([(1 + 2 / 3) / 2, 0.5], rel=EXACT)


@pytest.mark.system("5.1.1-POSE")
def test_a_proposal_is_right_within_ten_centimetres():
    assert DISTANCE == 0.1
    for away, right in ((0.0999, 1.0), (0.1001, 0.0)):
        evaluator = JointEvaluator(1)
        evaluator.update(torch.tensor([0]), at(away), torch.ones(1), TRUTH[:1])
        assert evaluator.compute().near == right
        assert evaluator.compute().average_precision.tolist() == [right]


@pytest.mark.system("5.1.1-POSE")
def test_average_precision_is_scikit_learns_where_every_true_one_is_proposed():
    random = np.random.default_rng(0)
    confidences, right = random.random(200), random.random(200) < 0.3
    ours = average_precision(torch.from_numpy(confidences), torch.from_numpy(right), int(right.sum()))
    assert ours == pytest.approx(average_precision_score(right, confidences), rel=EXACT)


def test_without_proposals_nothing_is_found_and_there_is_no_error():
    evaluator = JointEvaluator(2)
    evaluator.update(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3), torch.zeros(0), TRUTH)
    scores = evaluator.compute()
    assert math.isnan(scores.error)
    assert scores.near == scores.found == 0
    assert scores.average_precision.tolist() == [0, 0]


def test_images_without_scores_and_other_bodies_are_refused():
    with pytest.raises(ValueError, match="no images"):
        JointEvaluator(2).compute()
    with pytest.raises(ValueError, match="2 joints, expected 3"):
        JointEvaluator(3).update(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3), torch.zeros(0), TRUTH)
