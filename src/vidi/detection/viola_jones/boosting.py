"""AdaBoost on decision stumps (Freund & Schapire 1997; Viola & Jones 2001; section 4.2.1 of the notes).

    features F N, labels N in {-1, +1}, weights N -> best stump (feature, threshold, polarity), its error eps
    -> beta = (1 - eps) / eps -> weights of the misclassified times beta, all divided by their sum -> next stump
    score of x = sum over stumps of ln(beta) * (+1 if s f(x) >= s rho else -1)

A stump looks at one feature: each feature is sorted once, then every threshold between two of its values costs one
addition a round, O(F N) in all. As its error must only be lower than that of a coin, errors of 0.5 end the boosting.

Differs from the notes: a weak learner is slightly better than chance, not slightly worse; a score of exactly 0 counts
as +1, as in the notes' example and not as in their definition. The paper writes the same with outputs in {0, 1}, a
threshold of half the sum of ln(beta), and weights of the correct samples multiplied by eps / (1 - eps).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int, Int8, Num

LEAST_ERROR = 1e-10
"""Errors below count as this much, so that a stump without errors has a finite weight."""

LARGEST_UINT16 = 65_535


class Stump(NamedTuple):
    """A weak learner: +1 if polarity * feature >= polarity * threshold, else -1."""

    feature: int
    threshold: float
    polarity: int  # +1 or -1

    def predict(self, features: Num[np.ndarray, "N F"]) -> Int8[np.ndarray, " N"]:
        """Return -1 or +1 for each sample."""
        return self.of_values(features[:, self.feature])

    def of_values(self, values: Num[np.ndarray, " N"]) -> Int8[np.ndarray, " N"]:
        """Return -1 or +1 for values of the stump's own feature."""
        above = self.polarity * values >= self.polarity * self.threshold
        return np.where(above, 1, -1).astype(np.int8)


class FittedStump(NamedTuple):
    """The best stump for given weights, and its weighted error in [0, 0.5]."""

    stump: Stump
    error: float


class Presorted:
    """Features in a form in which the best stump for any weights is found in one pass.

    Args:
        features: a row for each feature. float32 stays float32.

    Raises:
        ValueError: if there are no samples or no features, or a value is not finite.
    """

    def __init__(self, features: Num[np.ndarray, "F N"]):
        if 0 in features.shape:
            raise ValueError(f"received features of shape {features.shape}, expected one feature and sample or more")
        features = features if features.dtype == np.float32 else features.astype(np.float64)
        if not np.isfinite(features).all():
            raise ValueError("received features that are not finite")
        self.count, samples = features.shape
        small = np.uint16 if samples <= LARGEST_UINT16 + 1 else np.uint32
        self.order = np.empty(features.shape, small)
        self.values = np.empty_like(features)
        for row, values in enumerate(features):
            order = np.argsort(values)
            self.order[row] = order
            self.values[row] = values[order]

    def best_stump(self, labels: Int8[np.ndarray, " N"], weights: Float64[np.ndarray, " N"]) -> FittedStump | None:
        """Return the stump of least weighted error; None if every feature has one value only.

        Of equal errors (within rounding) the first feature wins, then the lower threshold, then polarity +1. The
        weights sum to 1.
        """
        return self._best(labels, weights, both=True)

    def best_rising_stump(
        self, labels: Int8[np.ndarray, " N"], weights: Float64[np.ndarray, " N"]
    ) -> FittedStump | None:
        """Return the best stump of polarity +1: "feature above the threshold means +1"."""
        return self._best(labels, weights, both=False)

    def _best(self, labels: np.ndarray, weights: np.ndarray, *, both: bool) -> FittedStump | None:
        from vidi.detection.viola_jones import boosting_kernels

        negative = float(weights[labels < 0].sum())
        signed = labels * weights
        feature, place, rising, error = boosting_kernels.best_split(self.values, self.order, signed, negative, both)
        if feature < 0:
            return None
        below, above = self.values[feature, place - 1], self.values[feature, place]
        threshold = below + (above - below) / 2
        if threshold <= below:  # no number lies between them; s f >= s rho takes in the threshold itself
            threshold = above if rising else below
        return FittedStump(Stump(int(feature), float(threshold), 1 if rising else -1), float(max(error, 0.0)))


def fit_stump(
    features: Num[np.ndarray, "N F"],
    labels: Int[np.ndarray, " N"],
    weights: Float[np.ndarray, " N"] | None = None,
    *,
    both_polarities: bool = True,
) -> FittedStump:
    """Find the feature, threshold and polarity of least weighted error; thresholds lie midway between two values.

    Args:
        features: a row for each sample.
        labels: -1 or +1.
        weights: of the samples, uniform by default; they are divided by their sum.
        both_polarities: whether "below the threshold means +1" is tried too.

    Raises:
        ValueError: for labels or weights that are none, or features without two different values.
    """
    labels, weights = _checked(labels, weights)
    presorted = Presorted(np.ascontiguousarray(features.T))
    found = (presorted.best_stump if both_polarities else presorted.best_rising_stump)(labels, weights)
    if found is None:
        raise ValueError("received features that all have one value only: there is no threshold between two values")
    return found


class Round(NamedTuple):
    """One round of boosting."""

    stump: Stump
    error: float  # weighted, in [0, 0.5)
    beta: float  # (1 - error) / error

    @property
    def vote(self) -> float:
        """ln(beta), the stump's weight in the strong classifier."""
        return float(np.log(self.beta))


class Booster:
    """Boosting one round at a time: its `weights` say which samples are hard.

    Args:
        features: a row for each feature, sorted or not.
        labels: -1 or +1.
        weights: to begin with, 1 / N by default.
        both_polarities: as for `fit_stump`.

    Raises:
        ValueError: as `fit_stump` does.
    """

    def __init__(
        self,
        features: Presorted | Num[np.ndarray, "F N"],
        labels: Int[np.ndarray, " N"],
        weights: Float[np.ndarray, " N"] | None = None,
        *,
        both_polarities: bool = True,
    ):
        self.features = features if isinstance(features, Presorted) else Presorted(features)
        self.labels, self.weights = _checked(labels, weights)
        self.both_polarities = both_polarities
        self.finished = False

    def step(self) -> Round | None:
        """Fit one stump and reweight the samples; None once no stump is better than chance, or one had no errors."""
        if self.finished:
            return None
        find = self.features.best_stump if self.both_polarities else self.features.best_rising_stump
        found = find(self.labels, self.weights)
        if found is None or found.error >= 0.5 - 1e-12:
            self.finished = True
            return None
        self.finished = found.error < LEAST_ERROR
        error = max(found.error, LEAST_ERROR)
        beta = (1 - error) / error
        wrong = self._outputs(found.stump) != self.labels
        weights = np.where(wrong, self.weights * beta, self.weights)
        self.weights = weights / weights.sum()
        return Round(found.stump, found.error, beta)

    def _outputs(self, stump: Stump) -> np.ndarray:
        """Return what a stump says of the training samples."""
        outputs = np.empty(len(self.labels), np.int8)
        row = stump.feature
        outputs[self.features.order[row]] = stump.of_values(self.features.values[row])
        return outputs


@dataclass(frozen=True, eq=False)
class StrongClassifier:
    """A weighted vote of stumps."""

    rounds: tuple[Round, ...]

    @property
    def votes(self) -> Float64[np.ndarray, " M"]:
        """ln(beta) of every stump."""
        return np.array([one.vote for one in self.rounds], np.float64)

    def staged_scores(self, features: Num[np.ndarray, "N F"]) -> Float64[np.ndarray, "M N"]:
        """Return the scores after every round."""
        outputs = [one.vote * one.stump.predict(features) for one in self.rounds]
        return np.cumsum(np.array(outputs, np.float64).reshape(len(outputs), len(features)), axis=0)

    def scores(self, features: Num[np.ndarray, "N F"]) -> Float64[np.ndarray, " N"]:
        """Return the sum of the stumps' votes for +1 less that for -1."""
        return self.staged_scores(features)[-1] if self.rounds else np.zeros(len(features))

    def predict(self, features: Num[np.ndarray, "N F"]) -> Int8[np.ndarray, " N"]:
        """Return -1 or +1; a score of 0 is +1."""
        return np.where(self.scores(features) >= 0, 1, -1).astype(np.int8)


def boost(
    features: Num[np.ndarray, "N F"],
    labels: Int[np.ndarray, " N"],
    rounds: int,
    *,
    weights: Float[np.ndarray, " N"] | None = None,
    both_polarities: bool = True,
) -> StrongClassifier:
    """Boost `rounds` stumps, or fewer where no stump is better than chance or one makes no errors.

    Args:
        features: a row for each sample.
        labels: -1 or +1.
        rounds: at least 1.
        weights: to begin with, 1 / N by default.
        both_polarities: as for `fit_stump`.

    Raises:
        ValueError: as `fit_stump` does, and for fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"received rounds={rounds}, expected at least 1")
    booster = Booster(np.ascontiguousarray(features.T), labels, weights, both_polarities=both_polarities)
    done = [one for one in (booster.step() for _ in range(rounds)) if one is not None]
    return StrongClassifier(tuple(done))


def _checked(labels: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as int8 and weights that sum to 1."""
    if not np.isin(labels, (-1, 1)).all():
        raise ValueError(f"received labels {np.unique(labels)[:5].tolist()}, expected -1 and +1")
    if weights is None:
        return labels.astype(np.int8), np.full(len(labels), 1 / max(1, len(labels)))
    if len(weights) != len(labels) or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise ValueError(f"received weights of {len(labels)} samples that are no weights: expected one each, >= 0")
    return labels.astype(np.int8), weights.astype(np.float64) / weights.sum()
