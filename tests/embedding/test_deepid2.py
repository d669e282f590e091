"""DeepID2 against figure 1 of its paper, both of its losses, and the margin that follows the pairs."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.closeness import GRADIENTS, NUMBERS, assert_close
from tests.embedding.batches import batch_of
from vidi.embedding.deepid2 import DeepID2Criterion, deepid2
from vidi.losses.embedding import batch_contrastive_loss, contrastive_loss
from vidi.metrics.verification import fit_threshold
from vidi.model import Step

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])
SMALL = {"identities": 4, "size": (32, 32), "channels": (2, 3, 4, 5), "dimensions": 6}


@pytest.mark.system("7.2.1-DEEPID2")
def test_layers_are_those_of_figure_1() -> None:
    with torch.device("meta"):
        network: Any = deepid2().network
        x, shapes = torch.zeros(1, 3, 55, 47), []
        for layer in [*network.front, network.conv3, network.pool3, network.conv4]:
            x = layer(x)
            if not isinstance(layer, torch.nn.ReLU):
                shapes.append(tuple(x.shape[1:]))
        outputs = network(torch.zeros(2, 3, 55, 47))
    assert shapes == [
        (20, 52, 44), (20, 26, 22), (40, 24, 20), (40, 12, 10), (60, 10, 8), (60, 5, 4), (80, 4, 3)
    ]  # fmt: skip
    assert network.conv3.weight.shape == (5, 4, 60, 40 * 9)  # one region is 2 x 2 places
    assert network.conv4.weight.shape == (4, 3, 80, 60 * 4)  # of its own everywhere
    assert network.deepid2.in_features == 60 * 5 * 4 + 80 * 4 * 3
    assert (outputs.embeddings.shape, outputs.logits.shape) == ((2, 160), (2, 8192))


@pytest.mark.system("7.2.1-DEEPID2")
def test_the_loss_names_people_and_compares_pairs() -> None:
    """lambda = 0.05 and 1/2 of both branches: equations 2 and 3 of the paper."""
    model = deepid2(**SMALL).double()  # type: ignore[arg-type]
    assert deepid2(**SMALL).criterion.weight == 0.05  # type: ignore[arg-type]
    model.criterion.margin.fill_(0.7)
    images = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    ours = model.losses("network", batch_of(images, LABELS), Step())
    outputs = model.network(images)
    same, other = [], []
    for row in range(6):
        for column in range(6):
            apart = (outputs.embeddings[row] - outputs.embeddings[column]).square().sum()
            if row != column and LABELS[row] == LABELS[column]:
                same.append(apart / 2)
            elif row != column:
                other.append((0.7 - apart.sqrt()).clamp(min=0).square() / 2)
    verification = 0.05 * (torch.stack(same).mean() + torch.stack(other).mean())
    assert_close(ours["verification"], verification, NUMBERS)
    identification = F.cross_entropy(outputs.logits, LABELS)
    assert_close(ours["identification"], identification, NUMBERS)
    parameters = [*model.network.parameters()]
    found, expected = (
        torch.autograd.grad(loss, parameters)
        for loss in (torch.stack([*ours.values()]).sum(), verification + identification)
    )
    size = max(float(gradient.abs().max()) for gradient in expected)
    for one, two in zip(found, expected, strict=True):
        assert_close(one, two, GRADIENTS, size=size)


@pytest.mark.system("7.2.1-DEEPID2")
def test_the_margin_is_the_best_threshold_of_the_last_pairs() -> None:
    model = deepid2(**SMALL)  # type: ignore[arg-type]
    criterion = model.criterion
    batch = batch_of(torch.randn(6, 3, 32, 32), LABELS)
    model.losses("network", batch, Step())
    model.after_step("network", Step())
    assert float(criterion.margin) == 1.0  # nothing is remembered out of training
    model.train()
    model.losses("network", batch, Step())
    assert float(criterion.margin) == 1.0  # one step has one margin
    assert int((criterion.same >= 0).sum()) == int((criterion.other >= 0).sum()) == 4
    criterion.same[:4] = torch.tensor([0.1, 0.2, 0.3, 0.9])
    criterion.other[:4] = torch.tensor([0.5, 0.7, 0.8, 1.0])
    model.after_step("network", Step())
    apart = torch.tensor([0.1, 0.2, 0.3, 0.9, 0.5, 0.7, 0.8, 1.0])
    assert float(criterion.margin) == pytest.approx(0.4)
    assert fit_threshold(apart, torch.arange(8) < 4) == pytest.approx(0.4)
    criterion.same[:4], criterion.other[:4] = 1.0, 0.5  # no threshold is right: it stays
    model.after_step("network", Step())
    assert float(criterion.margin) == pytest.approx(0.4)


def test_what_is_remembered_is_the_newest() -> None:
    criterion = DeepID2Criterion().train()
    criterion.same.fill_(9.0)
    criterion.other.fill_(9.0)
    vectors = torch.zeros(6, 3)
    vectors[LABELS == 1] = 2.0
    criterion._remember(vectors, LABELS)
    assert criterion.same[:5].tolist() == [0, 0, 0, 0, 9]
    assert len(criterion.same) == len(criterion.other) == 5000
    assert int((criterion.other != 9).sum()) == 4


def test_without_a_weight_people_are_only_named() -> None:
    model = deepid2(**SMALL, weight=0.0)  # type: ignore[arg-type]
    losses = model.losses("network", batch_of(torch.randn(6, 3, 32, 32), LABELS), Step())
    assert float(losses["verification"].detach()) == 0
    vectors = torch.randn(6, 3)
    expected = batch_contrastive_loss(vectors, LABELS, lambda d, s, **o: contrastive_loss(d, s, factor=0.5, **o))
    assert float(expected) == pytest.approx(float(batch_contrastive_loss(vectors, LABELS)) / 2)
