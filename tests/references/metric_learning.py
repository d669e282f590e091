"""Losses of pairs and triplets by slow loops over plain numbers, straight from the papers."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

Vector = Sequence[float]


def squared(a: Vector, b: Vector) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def cosine(a: Vector, b: Vector) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / math.sqrt(squared(a, [0.0] * len(a)) * squared(b, [0.0] * len(b)))


def triplets(identities: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield every anchor with every positive and every negative."""
    for a, p, n in itertools.product(range(len(identities)), repeat=3):
        if a != p and identities[a] == identities[p] != identities[n]:
            yield a, p, n


def kinds(vectors: Sequence[Vector], identities: Sequence[int], margin: float) -> dict[str, set[tuple[int, int, int]]]:
    """Sort all triplets by kind."""
    found: dict[str, set[tuple[int, int, int]]] = {"easy": set(), "semi_hard": set(), "hard": set()}
    for a, p, n in triplets(identities):
        positive, negative = squared(vectors[a], vectors[p]), squared(vectors[a], vectors[n])
        kind = "hard" if negative <= positive else "semi_hard" if negative < positive + margin else "easy"
        found[kind].add((a, p, n))
    return {**found, "violating": found["semi_hard"] | found["hard"], "all": set().union(*found.values())}


def mean_hinge(
    vectors: Sequence[Vector],
    listed: set[tuple[int, int, int]],
    margin: float,
    compare: Callable[[Vector, Vector], float],
) -> float:
    """Return the mean of max(0, v_p - v_n + m) over listed triplets, 0 without any."""
    hinges = [
        max(0.0, compare(vectors[a], vectors[p]) - compare(vectors[a], vectors[n]) + margin) for a, p, n in listed
    ]
    return sum(hinges) / max(len(hinges), 1)


def contrastive(
    vectors: Sequence[Vector],
    identities: Sequence[int],
    *,
    margin: float | None,
    positive_margin: float,
    squared_hinge: bool,
    factor: float,
) -> float:
    """Return the mean over pairs of one identity, plus the mean over pairs of two."""
    same, other = [], []
    for i, j in itertools.combinations(range(len(identities)), 2):
        d = math.sqrt(squared(vectors[i], vectors[j]))
        if identities[i] == identities[j]:
            same.append(factor * max(0.0, d - positive_margin) ** 2)
        elif margin is None:
            other.append(-factor * d**2)
        else:
            other.append(factor * max(0.0, margin - d) ** (2 if squared_hinge else 1))
    return sum(same) / max(len(same), 1) + sum(other) / max(len(other), 1)


def over_pairs(
    vectors: Sequence[Vector], identities: Sequence[int], loss: Callable[[float, list[float]], float]
) -> float:
    """Return the mean of loss(cosine with the positive, cosines with all negatives) over pairs of one identity."""
    losses = []
    for a, p in itertools.permutations(range(len(identities)), 2):
        if identities[a] == identities[p]:
            others = [n for n in range(len(identities)) if identities[n] != identities[a]]
            losses.append(loss(cosine(vectors[a], vectors[p]), [cosine(vectors[a], vectors[n]) for n in others]))
    return sum(losses) / max(len(losses), 1)


def arcface_logit(angle: float, margin: float) -> float:
    """Return cos(theta + m), and beyond pi the straight line of the authors' code."""
    return math.cos(angle + margin) if angle + margin <= math.pi else math.cos(angle) - margin * math.sin(margin)
