"""How real and how various generated pictures are, by a classifier's opinion or in a space of features (notes 8.1).

Salimans et al. 2016 (arXiv 1606.03498); Kynkaanniemi et al. 2019 (arXiv 1904.06991):

    probabilities N K                   -> inception_score       exp(H(mean of p) - mean of H(p)), 1 to K, by splits
    real N D, generated M D             -> precision_recall      the share of one set inside the spheres of the other
                                        -> distinct_neighbours   how many real pictures the generated ones are next to

A set's spheres have its pictures as centres, and reach as far as the k-th nearest other one. Matrices of N x M are
never there as a whole. FID is in `frechet`.

Differs from the notes: they say no splits of the Inception score, and radii that are proportional to the distance of
the k-th neighbour: here they are equal to it, times a factor of 1.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.metrics.information import entropy
from vidi.ops.blocks import row_blocks
from vidi.ops.neighbours import nearest
from vidi.ops.similarity import squared_distances


class InceptionScore(NamedTuple):
    """The score of each part of the pictures, and what papers report of them."""

    mean: float
    deviation: float  # of the parts' scores, divided by their number as in the paper's code
    scores: Float[Tensor, " S"]


class PrecisionRecall(NamedTuple):
    """Two shares."""

    precision: float  # of generated pictures among real ones: realism
    recall: float  # of real pictures among generated ones: coverage


def inception_score(probabilities: Float[Tensor, "N K"], *, splits: int = 10) -> InceptionScore:
    """Return how sure a classifier is of each picture, and how evenly they share its classes.

    Pictures are taken in the order given: shuffle those that are sorted by class.

    Args:
        probabilities: of the classes, for each picture.
        splits: equal parts, but for one picture, that are scored alone; 10 in papers, of 50,000 pictures.

    Raises:
        ValueError: if rows are no distributions, or there are fewer pictures than splits, or no split.
    """
    N = len(probabilities)
    if not 1 <= splits <= N:
        raise ValueError(f"received splits={splits} of {N} pictures, expected 1 to {N}")
    rows = probabilities.double()
    bounds = [i * N // splits for i in range(splits + 1)]
    parts = [rows[start:end] for start, end in pairwise(bounds)]
    scores = torch.stack([(entropy(part.mean(0)) - entropy(part).mean()).exp() for part in parts])
    return InceptionScore(float(scores.mean()), float(scores.std(correction=0)), scores)


@torch.no_grad()
def precision_recall(
    real: Float[Tensor, "N D"], generated: Float[Tensor, "M D"], *, k: int = 3, factor: float | int = 1
) -> PrecisionRecall:
    """Return the share of generated pictures that lie among real ones, and of real ones among generated ones.

    Scores depend on both counts: compare equal ones only.

    Args:
        real: features.
        generated: features.
        k: the neighbour that a sphere reaches to; the picture itself is none.
        factor: of the radii.

    Raises:
        ValueError: if k is not from 1 to the smaller count less one, the factor is not above 0, or a feature is NaN or
            infinite.
    """
    _check_features(real, generated)
    least = min(len(real), len(generated))
    if not 1 <= k < least or not factor > 0:
        given = f"k={k} and factor={factor} with {len(real)} real and {len(generated)} generated pictures"
        raise ValueError(f"received {given}, expected k from 1 to {least - 1} and a factor above 0")
    of_real, of_generated = (factor**2 * _squared_radii(features, k) for features in (real, generated))
    realistic = torch.zeros(len(generated), dtype=torch.bool, device=real.device)
    covered = 0
    for rows in row_blocks(len(real), len(generated)):
        apart = squared_distances(real[rows], generated)  # n M
        realistic |= (apart <= of_real[rows, None]).any(0)
        covered += int((apart <= of_generated).any(1).sum())
    return PrecisionRecall(float(realistic.double().mean()), covered / len(real))


def _squared_radii(features: Tensor, k: int) -> Float[Tensor, " N"]:
    """Return the squared distance of each vector from its k-th nearest other one."""
    radii = []
    for rows in row_blocks(len(features), len(features)):
        apart = squared_distances(features[rows], features)  # n N
        apart.diagonal(rows.start).fill_(math.inf)  # of each from itself
        radii.append(apart.topk(k, largest=False).values[:, -1])
    return torch.cat(radii)


@torch.no_grad()
def distinct_neighbours(real: Float[Tensor, "N D"], generated: Float[Tensor, "M D"]) -> float:
    """Return how many real pictures are the nearest one of a generated picture, as a share of what there could be.

    1 / min(N, M) where a generator repeats itself, and less than 1 for pictures that are as various as the real ones,
    which also share neighbours: see what other real pictures get.

    Raises:
        ValueError: if one has no picture, or a feature is NaN or infinite.
    """
    _check_features(real, generated)
    if not len(generated):
        raise ValueError("received no generated pictures, expected at least one")
    places = nearest(generated, real, 1).places  # M 1
    return len(places.unique()) / min(len(real), len(generated))


def _check_features(real: Tensor, generated: Tensor) -> None:
    for name, features in (("real", real), ("generated", generated)):
        wrong = int((~features.isfinite()).any(1).sum())
        if wrong:
            raise ValueError(f"received {wrong} {name} pictures with features that are NaN or infinite, expected none")
