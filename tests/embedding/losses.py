"""Every loss of embeddings with the criterion that trains by it: what robustness and several processes are asked of."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.closeness import GRADIENTS, NUMBERS, assert_close
from vidi.embedding.criterion import BatchCriterion, DrawnTripletCriterion, TemplateCriterion
from vidi.embedding.deepface import SimilarityCriterion
from vidi.embedding.deepid2 import DeepID2Criterion
from vidi.losses.embedding import (
    arcface_loss,
    batch_contrastive_loss,
    batch_n_pairs_loss,
    batch_tuple_loss,
    contrastive_loss,
    normalized_softmax_loss,
    nt_xent_loss,
    softmax_loss,
)
from vidi.losses.triplets import angular_triplet_loss, batch_triplet_loss

BATCH_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "contrastive": batch_contrastive_loss,
    "contrastive unsquared": partial(
        batch_contrastive_loss,
        pair_loss=partial(contrastive_loss, squared_hinge=False, positive_margin=0.3, factor=0.5),
    ),
    "contrastive unbounded": partial(batch_contrastive_loss, pair_loss=partial(contrastive_loss, margin=None)),
    "triplet": partial(batch_triplet_loss, kind="all"),
    "triplet semi-hard": batch_triplet_loss,
    "triplet hard": partial(batch_triplet_loss, kind="hard"),
    "triplet violating": partial(batch_triplet_loss, kind="violating"),
    "angular triplet": angular_triplet_loss,
    "tuple": batch_tuple_loss,
    "InfoNCE": partial(nt_xent_loss, temperature=1.0),
    "NT-Xent": nt_xent_loss,
    "N-pairs": batch_n_pairs_loss,
    "N-pairs normalised": partial(batch_n_pairs_loss, normalize=True, penalty=0.02),
}

TEMPLATE_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "softmax": softmax_loss,
    "normalised softmax": normalized_softmax_loss,
    "ArcFace": arcface_loss,
}

CRITERIA: dict[str, Callable[[], Any]] = {
    **{name: partial(BatchCriterion, loss, name="loss") for name, loss in BATCH_LOSSES.items()},
    **{name: partial(TemplateCriterion, loss, 4, 6, name="loss") for name, loss in TEMPLATE_LOSSES.items()},
    "DeepID2": partial(DeepID2Criterion, 0.5),
    "DeepFace": partial(SimilarityCriterion, "manhattan"),
    "FaceNet": DrawnTripletCriterion,
    "FaceNet random": partial(DrawnTripletCriterion, kind="all"),
}


def drawn(*shape: int, seed: int = 0, scale: float = 0.5) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch_of(identities: int, pictures: int, dimensions: int = 6, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw vectors and identities in any order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(identities).repeat_interleave(pictures)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    return drawn(len(labels), dimensions, seed=seed + 1).requires_grad_(), labels


def number(value: Tensor) -> float:
    """Return a loss without its graph."""
    return float(value.detach())


def assert_equal_with_gradients(ours: Tensor, theirs: Tensor, *leaves: Tensor) -> None:
    assert_close(ours, theirs, NUMBERS)
    for mine, other in zip(*(torch.autograd.grad(loss, leaves) for loss in (ours, theirs)), strict=True):
        assert other.abs().max() > 0
        assert_close(mine, other, GRADIENTS)
