"""The loss of a class and a box together."""

import math

import pytest
import torch

from vidi.losses.localization import localization_losses

K = 3


@pytest.mark.system("4.3.1-LOCALIZER", "4.3.1-SLIDING")
def test_the_box_loss_of_background_is_masked() -> None:
    """The gradients too: one of four rows has a box, and the class loss is of all rows."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, K + 1, generator=generator, dtype=torch.float64, requires_grad=True)
    boxes = torch.randn(4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    truths = torch.full((4, 4), math.nan, dtype=torch.float64)
    truths[1] = 0.25
    labels = torch.tensor([K, 0, K, K])
    count = torch.tensor(4.0, dtype=torch.float64)
    losses = localization_losses(logits, labels, boxes, truths, has_box=labels < K, box_weight=2, count=count)
    expected = 2 * sum((x - 0.25) ** 2 for x in boxes[1].tolist()) / 4 / 4
    assert losses["box"].item() == pytest.approx(expected, rel=1e-10)
    (losses["classification"] + losses["box"]).backward()
    assert boxes.grad is not None
    assert logits.grad is not None
    torch.testing.assert_close(boxes.grad[1], (2 * 2 / 4 / 4) * (boxes.detach()[1] - 0.25))
    assert (boxes.grad[[0, 2, 3]] == 0).all()
    assert (logits.grad != 0).all()
