"""DeepFace against figure 2 of its paper, and its distances by slow loops."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.closeness import GRADIENTS, NUMBERS, assert_close
from tests.embedding.batches import batch_of
from vidi.data.faces import Faces
from vidi.embedding import deepface as deepface_file
from vidi.embedding.deepface import (
    DeepFace,
    SimilarityTraining,
    WeightedSimilarity,
    deepface,
    deepface_tiny,
    similarity_loss,
)
from vidi.model import Step
from vidi.ops.neighbours import distances

SMALL = {"identities": 4, "size": (72, 72), "width": 2, "hidden": 12}
LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def training_of(model: DeepFace) -> SimilarityTraining:
    """Return the second stage."""
    stage = model.stages()[1].model
    assert isinstance(stage, SimilarityTraining)
    return stage


@pytest.mark.system("7.2-DEEPFACE")
def test_layers_are_those_of_figure_2() -> None:
    with torch.device("meta"):
        network: Any = deepface().parts["network"]
        x, shapes = torch.zeros(1, 3, 152, 152), []
        for layer in [*network.front, *network.local]:
            x = layer(x)
            if not isinstance(layer, torch.nn.ReLU):
                shapes.append(tuple(x.shape[1:]))
        outputs = network(torch.zeros(1, 3, 152, 152))
    assert shapes == [(32, 142, 142), (32, 71, 71), (16, 63, 63), (16, 55, 55), (16, 25, 25), (16, 21, 21)]
    assert (outputs.embeddings.shape, outputs.logits.shape) == ((1, 4096), (1, 4030))
    kernels = [layer.weight.shape for layer in network.local if hasattr(layer, "weight")]
    assert kernels == [(55, 55, 16, 16 * 81), (25, 25, 16, 16 * 49), (21, 21, 16, 16 * 25)]
    count = sum(p.numel() for p in network.parameters())
    assert count == pytest.approx(120e6, rel=0.01)  # "more than 120 million parameters"
    behind = count - sum(p.numel() for p in network.front.parameters())
    assert behind > 0.95 * count  # "more than 95% come from the local and fully connected layers"
    assert network.dropout.p == 0.5


def test_images_need_not_be_square() -> None:
    network: Any = deepface_tiny(**{**SMALL, "size": (72, 80)}).parts["network"]  # type: ignore[arg-type]
    assert network(torch.randn(2, 3, 72, 80)).logits.shape == (2, 4)


def fixed() -> tuple[WeightedSimilarity, torch.Tensor]:
    similarity = WeightedSimilarity(5).double()
    similarity.largest.copy_(torch.tensor([2.0, 1.0, 0.01, 4.0, 1.0]))
    similarity.weight.data = torch.tensor([0.5, 1.0, 2.0, 0.25, 0.0], dtype=torch.float64)
    features = torch.randn(4, 5, dtype=torch.float64).relu()
    return similarity, features


@pytest.mark.system("7.2-DEEPFACE")
@pytest.mark.parametrize("metric", ["chi_square", "manhattan"])
def test_distances_are_the_weighted_ones_of_the_paper(metric: str) -> None:
    similarity, features = fixed()
    assert features.max() > 0
    divided = features / torch.tensor([2.0, 1.0, 0.05, 4.0, 1.0], dtype=torch.float64)  # 0.05 at least
    f = (divided / divided.norm(dim=1, keepdim=True)).tolist()
    w = similarity.weight.tolist()
    vectors = similarity(features).detach()
    found = distances(vectors, vectors, metric=metric)
    for row in range(4):
        for column in range(4):
            expected = 0.0
            for weight, a, b in zip(w, f[row], f[column], strict=True):
                if metric == "manhattan":
                    expected += weight * abs(a - b)
                elif a + b > 0:
                    expected += weight * (a - b) ** 2 / (a + b)
            assert float(found[row, column]) == pytest.approx(expected, rel=NUMBERS, abs=1e-15)


@pytest.mark.system("7.2-DEEPFACE")
@pytest.mark.parametrize("hinge", [True, False])
def test_the_loss_of_pairs_is_that_of_a_slow_loop_with_its_gradients(hinge: bool) -> None:
    apart = (3 * torch.rand(6, 6, dtype=torch.float64)).requires_grad_()
    threshold = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    losses: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for row in range(6):
        for column in range(6):
            if row != column:
                same = bool(LABELS[row] == LABELS[column])
                score = (threshold - apart[row, column]) * (1 if same else -1)
                losses[same].append((1 - score).clamp(min=0) if hinge else torch.log1p(torch.exp(-score)))
    slow = sum((torch.stack(values).mean() for values in losses.values()), torch.zeros((), dtype=torch.float64))
    ours = similarity_loss(apart, LABELS, threshold, hinge=hinge)
    assert_close(ours, slow, NUMBERS)
    for one, other in zip(*(torch.autograd.grad(loss, (apart, threshold)) for loss in (ours, slow)), strict=True):
        assert_close(one, other, GRADIENTS)


@pytest.mark.system("7.2-DEEPFACE")
def test_a_kind_without_pairs_costs_nothing() -> None:
    apart, threshold = torch.tensor([[0.0, 1.5], [1.5, 0.0]]), torch.tensor(1.0)
    assert float(similarity_loss(apart, torch.tensor([0, 0]), threshold, hinge=True)) == 1.5  # 1 - (1 - 1.5)
    assert float(similarity_loss(apart, torch.tensor([0, 1]), threshold, hinge=True)) == 0.5  # 1 + (1 - 1.5)


@pytest.mark.system("7.2-DEEPFACE")
@pytest.mark.parametrize("metric", ["chi_square", "manhattan"])
def test_only_the_weights_are_learnt_on_pairs_and_stay_at_0_or_above(metric: str) -> None:
    model = deepface_tiny(**SMALL, similarity=metric)  # type: ignore[arg-type]
    training = training_of(model).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = batch_of(torch.randn(6, 3, 72, 72), LABELS)
    optimizer = torch.optim.SGD(training.parameters_of("network"), 100.0)
    loss = training.losses("network", batch, Step())["similarity"]
    loss.backward()
    optimizer.step()
    training.after_step("network", Step())
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"parts.similarity.weight", "parts.similarity.threshold"}
    training.network.similarity.weight.data[:3] = torch.tensor([-0.5, 0.0, 2.0])
    training.after_step("network", Step())
    assert model.state_dict()["parts.similarity.weight"][:3].tolist() == [0, 0, 2]


@pytest.mark.system("7.2-DEEPFACE")
def test_features_are_divided_by_the_largest_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepface_file, "BATCH", 4)
    model = deepface_tiny(**SMALL)  # type: ignore[arg-type]
    faces = Faces(identities=3, pictures=2, size=(72, 72))
    stage = model.stages()[1]
    assert stage.prepare(faces) is faces
    parts: Any = model.parts
    network, similarity = parts["network"], parts["similarity"]
    batch = model.preprocess.collate([model.preprocess.place(*faces[row]) for row in range(6)])
    features = network.features(batch.images)
    assert_close(similarity.largest, features.detach().amax(0), 1e-5)
    scaled = features / similarity.largest.clamp(min=0.05)
    assert float(scaled.detach().max()) <= 1 + 1e-5
    assert_close(similarity.normalise(features), F.normalize(scaled), 1e-5)


@pytest.mark.system("7.2-DEEPFACE")
def test_pairs_are_verified_by_the_learnt_threshold() -> None:
    model = deepface_tiny(**SMALL)  # type: ignore[arg-type]
    pictures = [*torch.randint(0, 256, (2, 3, 72, 72), dtype=torch.uint8)]
    vectors = model.predict(pictures)
    assert {vector.metric for vector in vectors} == {"chi_square"}
    apart = float(distances(vectors[0].vector[None], vectors[1].vector[None], metric="chi_square"))
    assert apart > 0
    similarity: Any = model.parts["similarity"]
    for threshold, expected in ((apart * 0.9, [True, False]), (apart * 1.1, [True, True])):
        similarity.threshold.data.fill_(threshold)
        assert model.same([pictures[0]] * 2, pictures) == expected
    similarity.threshold.data.fill_(0.0)
    assert model.same(pictures[:1], pictures[:1]) == [True]  # at the threshold itself
    with pytest.raises(ValueError, match="received 1 and 2 pictures"):
        model.same(pictures[:1], pictures)


def test_first_weights_bound_distances_and_others_similarities_are_refused() -> None:
    similarity = WeightedSimilarity(100)
    assert float(similarity.weight[0].detach()) == pytest.approx(4 / math.sqrt(100))
    assert float(similarity.threshold.detach()) == 2.0
    with pytest.raises(ValueError, match="received similarity='l2', expected 'chi_square' or 'manhattan'"):
        deepface_tiny(**SMALL, similarity="l2")  # type: ignore[arg-type]
