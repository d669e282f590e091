"""The losses of chapter 7 by name, each as a criterion: what an embedder is trained by is one word (notes 7.2).

    pairs       contrastive                                     distances, as the network gives them
    triplets    triplet, drawn_triplet                          squared distances of unit vectors
                angular_triplet, tuple, n_pairs, nt_xent        cosines; Sohn's n_pairs products
    templates   softmax                                         products
                normalized_softmax, arcface                     cosines

A loss takes the options that it has, and refuses others: one that has no effect was meant for another loss.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from vidi.embedding.criterion import BatchCriterion, DrawnTripletCriterion, TemplateCriterion
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
from vidi.model import Criterion


@dataclass(frozen=True)
class Choice:
    """A loss, the options that it takes, and how long the vectors are that it compares.

    Attributes:
        loss: of a batch, or against templates.
        options: of `loss`, by name.
        templates: whether it has a template for each identity of the training.
        unit: whether it compares vectors of length 1, which then are what the network gives.
        cosine: whether vectors are compared by their directions in use, however long they were in training.
    """

    loss: Callable[..., Any]
    options: tuple[str, ...] = ()
    templates: bool = False
    unit: bool = True
    cosine: bool = False


def _contrastive(embeddings: Any, identities: Any, **options: Any) -> Any:
    return batch_contrastive_loss(embeddings, identities, partial(contrastive_loss, **options))


CHOICES: dict[str, Choice] = {
    "contrastive": Choice(_contrastive, ("margin", "positive_margin"), unit=False),
    "triplet": Choice(batch_triplet_loss, ("margin", "kind")),
    "drawn_triplet": Choice(DrawnTripletCriterion, ("margin", "kind")),
    "angular_triplet": Choice(angular_triplet_loss),
    "tuple": Choice(batch_tuple_loss),
    "n_pairs": Choice(batch_n_pairs_loss, ("penalty",), unit=False, cosine=True),
    "nt_xent": Choice(nt_xent_loss, ("temperature",)),
    "softmax": Choice(softmax_loss, templates=True, unit=False, cosine=True),
    "normalized_softmax": Choice(normalized_softmax_loss, ("scale",), templates=True),
    "arcface": Choice(arcface_loss, ("margin", "scale"), templates=True),
}


def choice_of(name: str) -> Choice:
    """Return a loss by its name; another name is a ValueError with the choices."""
    if name not in CHOICES:
        raise ValueError(f"received loss={name!r}, expected one of {', '.join(CHOICES)}")
    return CHOICES[name]


def criterion_of(name: str, options: Mapping[str, Any], *, identities: int, dimensions: int) -> Criterion:
    """Return the criterion of a loss.

    Args:
        name: in `CHOICES`.
        options: of the loss; None leaves one as the loss has it.
        identities: of the training, for losses with templates.
        dimensions: of the vectors.

    Raises:
        ValueError: for another name, or an option that the loss does not have.
    """
    choice = choice_of(name)
    given = {key: value for key, value in options.items() if value is not None}
    if unknown := [key for key in given if key not in choice.options]:
        takes = ", ".join(choice.options) or "no options"
        raise ValueError(f"received {', '.join(unknown)} for the loss {name}, which takes {takes}")
    if choice.loss is DrawnTripletCriterion:
        return DrawnTripletCriterion(**given)
    loss = partial(choice.loss, **given)
    if choice.templates:
        return TemplateCriterion(loss, identities, dimensions, name=name)
    return BatchCriterion(loss, name=name)
