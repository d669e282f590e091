"""Stumps and AdaBoost against the notes, slow loops, the paper's form and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier

from tests.closeness import EXACT, NUMBERS, assert_close
from tests.references import stumps as slow
from vidi.data.spam import spam_table, worked_example
from vidi.detection.viola_jones.boosting import Booster, Presorted, StrongClassifier, Stump, boost, fit_stump


def signs(labels: np.ndarray) -> np.ndarray:
    return 2 * labels - 1


def messages() -> tuple[np.ndarray, np.ndarray]:
    features, labels = worked_example()
    return features, signs(labels)


def rising(features: np.ndarray, labels: np.ndarray) -> Booster:
    return Booster(np.ascontiguousarray(features.T), labels, both_polarities=False)


class SlowStump(ClassifierMixin, BaseEstimator):
    """The loops of the reference as an estimator of scikit-learn."""

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray) -> "SlowStump":
        self.classes_ = np.array([-1, 1])
        self.stump_, _ = slow.best_stump(X.tolist(), y.tolist(), sample_weight.tolist())
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.array([slow.output(self.stump_, row) for row in X.tolist()])


# ----------------------------------------------------------------------------------------------------------------------
# The spam example of the notes


@pytest.mark.system("B4.3", "4.2.1-SPAM", "4.2.1-STUMP", "4.2.1-ADABOOST")
def test_the_worked_example_finds_the_published_stumps():
    booster = rising(*messages())
    rounds = [one for one in (booster.step() for _ in range(3)) if one]
    assert [one.stump for one in rounds] == [Stump(0, 3.0, 1), Stump(0, 10.0, 1), Stump(1, 20.0, 1)]
    assert [one.error for one in rounds] == pytest.approx([1 / 4, 1 / 6, 1 / 4], rel=EXACT)
    assert [one.beta for one in rounds] == pytest.approx([3, 5, 3], rel=EXACT)


@pytest.mark.system("B4.4", "4.2.1-SPAM", "4.2.1-ADABOOST")
def test_the_worked_example_has_the_published_weights():
    booster = rising(*messages())
    expected = [
        [1 / 8] * 8,
        [1 / 4] * 2 + [1 / 12] * 6,
        [3 / 20] * 2 + [1 / 4] * 2 + [1 / 20] * 4,
        [3 / 10, 1 / 10, 1 / 6, 1 / 6, 1 / 30, 1 / 10, 1 / 10, 1 / 30],
    ]
    for weights in expected:
        assert_close(booster.weights, weights)
        booster.step()


@pytest.mark.system("B4.5", "4.2.1-SPAM", "4.2.1-ADABOOST")
def test_the_worked_example_stays_wrong_about_the_first_message():
    features, labels = messages()
    strong = boost(features, labels, 3, both_polarities=False)
    expected = [0.5878, -1.6094, 0.5878, 0.5878, -3.8067, -1.6094, 1.6094, 3.8067]
    np.testing.assert_allclose(strong.scores(features), expected, atol=5e-5)
    assert (strong.predict(features) != labels).tolist() == [True] + [False] * 7
    np.testing.assert_allclose(strong.staged_scores(features)[-1], strong.scores(features), rtol=0, atol=0)


# ----------------------------------------------------------------------------------------------------------------------
# Stumps


@pytest.mark.system("4.2.1-STUMP")
@given(st.integers(0, 10**6), st.integers(2, 14), st.integers(1, 5), st.booleans())
def test_a_stump_has_the_least_weighted_error_of_all(seed, samples, features, ties):
    random = np.random.default_rng(seed)
    values = random.normal(size=(samples, features)) if not ties else random.integers(0, 3, (samples, features)) * 1.0
    values[0] = values[-1] + 1  # no feature has one value only
    labels, weights = random.choice([-1, 1], samples), random.random(samples) + 0.01
    weights /= weights.sum()
    found = fit_stump(values, labels, weights)
    expected, error = slow.best_stump(values.tolist(), labels.tolist(), weights.tolist())
    assert found.error == pytest.approx(error, rel=NUMBERS)
    assert found.error == pytest.approx(weights[found.stump.predict(values) != labels].sum(), rel=NUMBERS)
    assert tuple(found.stump) == pytest.approx(expected, rel=EXACT)


@pytest.mark.system("4.2.1-STUMP")
def test_a_stump_is_at_least_as_right_as_scikit_learns_tree():
    features, labels = spam_table(300)
    for seed in range(20):
        weights = np.random.default_rng(seed).dirichlet(np.ones(300))
        tree = DecisionTreeClassifier(max_depth=1, random_state=0).fit(features, labels, sample_weight=weights)
        found = fit_stump(features, signs(labels), weights)
        assert found.error <= weights[tree.predict(features) != labels].sum() + 1e-12
        assert found.error < 0.5


def test_neighbouring_floats_still_part():
    low = np.float32(1.0)
    high = np.nextafter(low, np.float32(2))
    for labels in ([-1, 1], [1, -1]):
        booster = Booster(np.array([[low, high]], np.float32), np.array(labels))
        one = booster.step()
        assert one is not None
        assert one.error == 0
        assert one.stump.of_values(np.array([low, high])).tolist() == labels


# ----------------------------------------------------------------------------------------------------------------------
# AdaBoost


@pytest.mark.system("4.2.1-ADABOOST")
def test_boosting_equals_scikit_learns():
    features, labels = spam_table(80)
    features = np.concatenate([features, features.sum(1, keepdims=True)], 1)
    theirs = AdaBoostClassifier(SlowStump(), n_estimators=12).fit(features, signs(labels))
    ours = boost(features, signs(labels), 12)
    assert [tuple(one.stump) for one in ours.rounds] == [one.stump_ for one in theirs.estimators_]
    assert_close([one.error for one in ours.rounds], theirs.estimator_errors_, NUMBERS)
    assert_close(ours.votes, theirs.estimator_weights_, NUMBERS)
    test, _ = spam_table(50, split="test")
    test = np.concatenate([test, test.sum(1, keepdims=True)], 1)
    decision = theirs.decision_function(test) * theirs.estimator_weights_.sum() / 2  # of two classes: their difference
    assert_close(ours.scores(test), decision, NUMBERS)
    for mine, staged in zip(ours.staged_scores(test), theirs.staged_predict(test), strict=True):
        assert np.array_equal(np.where(mine >= 0, 1, -1)[mine != 0], staged[mine != 0])


@pytest.mark.system("4.2.1-ADABOOST")
def test_the_papers_form_gives_the_same_after_normalisation():
    features, labels = spam_table(60)
    booster = Booster(np.ascontiguousarray(features.T), signs(labels))
    rounds = [one for one in (booster.step() for _ in range(8)) if one]
    chosen, weights = slow.papers_boosting(features.tolist(), signs(labels).tolist(), 8, [1.0] * 60)
    assert [tuple(one.stump) for one in rounds] == [stump for stump, _ in chosen]
    assert [one.vote for one in rounds] == pytest.approx([alpha for _, alpha in chosen], rel=NUMBERS)
    assert_close(booster.weights, weights, NUMBERS)
    ours = StrongClassifier(tuple(rounds)).predict(features)
    assert ((ours + 1) // 2).tolist() == [slow.papers_decision(chosen, row) for row in features.tolist()]


@pytest.mark.system("4.2.1-ADABOOST")
def test_the_training_error_stays_below_its_bound():
    features, labels = spam_table(400)
    strong = boost(features, signs(labels), 30)
    bound = np.cumprod([2 * np.sqrt(one.error * (1 - one.error)) for one in strong.rounds])
    wrong = (np.where(strong.staged_scores(features) >= 0, 1, -1) != signs(labels)).mean(1)
    assert (wrong <= bound + 1e-12).all()
    assert wrong[-1] < wrong[0]


def test_a_score_of_zero_is_positive():
    one, other = (Booster(np.array([[0.0, 1.0]]), np.array(y)).step() for y in ([-1, 1], [1, -1]))
    assert one is not None
    assert other is not None
    strong = StrongClassifier((one, other))
    assert strong.scores(np.array([[0.0]])).tolist() == [0]
    assert strong.predict(np.array([[0.0]])).tolist() == [1]


def test_boosting_ends_without_errors_and_without_chances():
    perfect = boost(np.array([[0.0], [1.0], [2.0]]), np.array([-1, -1, 1]), 10)
    assert len(perfect.rounds) == 1
    assert np.isfinite(perfect.votes).all()
    chance = boost(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([-1, 1, -1, 1]), 10)
    assert len(chance.rounds) == 0
    assert chance.predict(np.array([[3.0]])).tolist() == [1]


def test_more_than_65536_samples():
    values = np.random.default_rng(0).normal(size=(1, 70_000))
    labels = np.where(values[0] > 0.25, 1, -1)
    found = Presorted(values).best_stump(labels.astype(np.int8), np.full(70_000, 1 / 70_000))
    assert found is not None
    assert found.error == pytest.approx(0, abs=1e-9)
    assert found.stump.threshold == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 1)), np.array([0, 1])), "expected -1 and \\+1"),
        ((np.zeros((2, 1)), np.array([-1, 1])), "one value only"),
        ((np.array([[np.nan], [1.0]]), np.array([-1, 1])), "not finite"),
        ((np.zeros((2, 1)), np.array([-1, 1]), np.array([1.0, -1.0])), "expected one each, >= 0"),
        ((np.zeros((0, 1)), np.zeros(0, np.int64)), "one feature and sample or more"),
    ],
)
def test_what_cannot_be_learnt_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_stump(*arguments)
    with pytest.raises(ValueError, match="expected at least 1"):
        boost(np.array([[0.0], [1.0]]), np.array([-1, 1]), 0)
