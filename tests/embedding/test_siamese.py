"""A siamese network: one set of weights for both inputs, and one loss, handed in as pairs or as a batch."""

from itertools import combinations

import pytest
import torch

from tests.closeness import EXACT, GRADIENTS, assert_close
from tests.embedding.batches import batch_of
from vidi.embedding.siamese import siamese
from vidi.losses.embedding import contrastive_loss
from vidi.model import Step

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


@pytest.mark.system("7.2.1-SIAMESE")
def test_the_loss_of_a_batch_is_that_of_its_pairs_handed_to_both_inputs() -> None:
    model = siamese(dimensions=3, margin=0.8).double()
    images = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    first, second = (torch.tensor(places) for places in zip(*combinations(range(6), 2), strict=True))
    squared = model.network.distances(images[first], images[second]).square()
    same = LABELS[first] == LABELS[second]
    pairs = contrastive_loss(squared[same], same[same], margin=0.8)
    pairs = pairs + contrastive_loss(squared[~same], same[~same], margin=0.8)
    whole = model.losses("network", batch_of(images, LABELS), Step())["contrastive"]
    assert_close(whole, pairs, EXACT)
    parameters = [*model.network.parameters()]
    ours, theirs = (torch.autograd.grad(loss, parameters) for loss in (whole, pairs))
    size = max(float(gradient.abs().max()) for gradient in theirs)
    assert size > 0
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one, other, GRADIENTS, size=size)


@pytest.mark.system("7.2.1-SIAMESE")
def test_both_inputs_go_through_the_same_weights() -> None:
    model = siamese()
    assert sum(p.numel() for p in model.parameters()) == 15 * 37 + 30 * (15 * 81 + 1) + 2 * 31
    one, other = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    apart = model.distances([one, one, other], [one, other, one])
    assert apart[0] == 0
    assert float(apart[1]) == pytest.approx(float(apart[2]), rel=1e-5)
    assert apart[1] > 0
    with pytest.raises(ValueError, match="received 1 and 2 pictures, expected pairs"):
        model.distances([one], [one, other])
