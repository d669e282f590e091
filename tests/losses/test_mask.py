"""Losses of masks against slow loops over their pixels; those of every pair against those of single pairs."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.closeness import NUMBERS, assert_close
from vidi.losses.mask import dice_loss, pairwise_binary_cross_entropy, pairwise_dice_loss, pairwise_focal_loss

BATCH, QUERIES, SEGMENTS, PIXELS = 2, 3, 4, 30


def drawn() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(BATCH, QUERIES, PIXELS, generator=generator, dtype=torch.float64)
    return logits, torch.rand(BATCH, SEGMENTS, PIXELS, generator=generator) > 0.6


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def dice_of(logits: list[float], targets: list[float]) -> float:
    p = [sigmoid(x) for x in logits]
    shared = sum(a * b for a, b in zip(p, targets, strict=True))
    return 1 - (2 * shared + 1) / (sum(p) + sum(targets) + 1)


def focal_of(x: float, y: float, gamma: float, alpha: float | None) -> float:
    p = sigmoid(x) if y == 1 else 1 - sigmoid(x)
    weight = 1.0 if alpha is None else alpha if y == 1 else 1 - alpha
    return -weight * (1 - p) ** gamma * math.log(p)


@pytest.mark.system("5.3.2-MFLOSS")
def test_dice_by_slow_loops() -> None:
    """A hand with soft targets too, as points between pixels have them."""
    logits, masks = drawn()
    targets = masks[:, :QUERIES].double()
    targets[0, 0] = torch.linspace(0, 1, PIXELS, dtype=torch.float64)
    expected = [
        [dice_of(*pair) for pair in zip(*rows, strict=True)]
        for rows in zip(logits.tolist(), targets.tolist(), strict=True)
    ]
    assert_close(dice_loss(logits, targets, reduction="none"), torch.tensor(expected, dtype=torch.float64), NUMBERS)
    assert_close(dice_loss(logits, targets), torch.tensor(expected, dtype=torch.float64).mean(), NUMBERS)
    assert_close(dice_loss(logits, masks[:, :QUERIES]), dice_loss(logits, masks[:, :QUERIES].double()), NUMBERS)


@pytest.mark.system("5.3.2-MFLOSS")
def test_every_mask_with_every_other_is_the_loss_of_each_pair() -> None:
    logits, masks = drawn()
    dice, cross_entropy = pairwise_dice_loss(logits, masks), pairwise_binary_cross_entropy(logits, masks)
    assert dice.shape == cross_entropy.shape == (BATCH, QUERIES, SEGMENTS)
    for b in range(BATCH):
        for q, own in enumerate(logits[b].tolist()):
            for m, truth in enumerate(masks[b].double().tolist()):
                assert dice[b, q, m].item() == pytest.approx(dice_of(own, truth), rel=NUMBERS)
                terms = [focal_of(x, y, 0, None) for x, y in zip(own, truth, strict=True)]
                assert cross_entropy[b, q, m].item() == pytest.approx(sum(terms) / PIXELS, rel=NUMBERS)


@pytest.mark.system("5.3.2-MFLOSS")
@pytest.mark.parametrize(("numbers", "gamma", "alpha"), [({}, 2, 0.25), ({"gamma": 1.5, "alpha": None}, 1.5, None)])
def test_the_focal_loss_of_every_pair(numbers: dict[str, Any], gamma: float, alpha: float | None) -> None:
    """The defaults are those of the paper, section 4.1: gamma 2, alpha 0.25."""
    logits, masks = drawn()
    found = pairwise_focal_loss(logits, masks, **numbers)
    for b in range(BATCH):
        for q, own in enumerate(logits[b].tolist()):
            for m, truth in enumerate(masks[b].double().tolist()):
                terms = [focal_of(x, y, gamma, alpha) for x, y in zip(own, truth, strict=True)]
                assert found[b, q, m].item() == pytest.approx(sum(terms) / PIXELS, rel=NUMBERS)


def test_half_precision_is_computed_in_float32() -> None:
    """The sum of 3,000 probabilities has no place in float16."""
    logits, masks = torch.full((1, 1, 3000), 4.0, dtype=torch.float16), torch.ones(1, 1, 3000, dtype=torch.bool)
    expected = {
        loss.__name__: loss(logits.float(), masks) for loss in (pairwise_dice_loss, pairwise_binary_cross_entropy)
    }
    for loss in (pairwise_dice_loss, pairwise_binary_cross_entropy):
        found = loss(logits, masks)
        assert found.dtype == torch.float32
        assert torch.equal(found, expected[loss.__name__])
    assert torch.equal(dice_loss(logits[0], masks[0]), dice_loss(logits[0].float(), masks[0]))


def test_large_logits_stay_finite() -> None:
    logits = torch.tensor([[[500.0, -500.0]]], dtype=torch.float64)
    truth = torch.tensor([[[True, False], [False, True]]])
    assert pairwise_binary_cross_entropy(logits, truth).tolist() == [[[0.0, 500.0]]]
