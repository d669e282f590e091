"""Weighted decision stumps and AdaBoost by slow loops: the notes' form, and that of Viola & Jones 2001."""

import math
from itertools import pairwise

Stump = tuple[int, float, int]  # feature, threshold, polarity
Rows = list[list[float]]


def output(stump: Stump, row: list[float]) -> int:
    feature, threshold, polarity = stump
    return 1 if polarity * row[feature] >= polarity * threshold else -1


def best_stump(rows: Rows, labels: list[int], weights: list[float]) -> tuple[Stump, float]:
    """Try every feature, threshold midway between two values, and polarity; the first of equals wins."""
    best, least = (0, 0.0, 1), math.inf
    for feature in range(len(rows[0])):
        values = sorted({row[feature] for row in rows})
        for low, high in pairwise(values):
            for polarity in (1, -1):
                stump = (feature, low + (high - low) / 2, polarity)
                pairs = zip(rows, labels, weights, strict=True)
                error = math.fsum(w for row, label, w in pairs if output(stump, row) != label)
                if error < least - 1e-12:
                    best, least = stump, error
    return best, least


def papers_boosting(
    rows: Rows, labels: list[int], rounds: int, weights: list[float]
) -> tuple[list[tuple[Stump, float]], list[float]]:
    """Boost as in table 1 of the paper: the weights of correct samples are multiplied by error / (1 - error).

    Returns stumps with alpha = ln((1 - error) / error), and the last weights, divided by their sum.
    """
    chosen = []
    for _ in range(rounds):
        total = sum(weights)
        weights = [w / total for w in weights]
        stump, error = best_stump(rows, labels, weights)
        beta = error / (1 - error)
        pairs = zip(rows, labels, weights, strict=True)
        weights = [w * beta if output(stump, row) == label else w for row, label, w in pairs]
        chosen.append((stump, math.log(1 / beta)))
    return chosen, [w / sum(weights) for w in weights]


def papers_decision(chosen: list[tuple[Stump, float]], row: list[float]) -> int:
    """1 if the sum of alpha * h, h in {0, 1}, is at least half the sum of alpha, else 0."""
    votes = sum(alpha for stump, alpha in chosen if output(stump, row) == 1)
    return int(votes >= 0.5 * sum(alpha for _, alpha in chosen))
