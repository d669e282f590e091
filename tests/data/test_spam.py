"""The spam table: the notes' eight messages with their errors, and drawn messages that overlap as they should."""

import numpy as np
import pytest
from sklearn.ensemble import AdaBoostClassifier

from vidi.data.spam import CATEGORIES, spam_table, worked_example


@pytest.mark.parametrize(("feature", "threshold", "wrong"), [(0, 3, "ab"), (0, 10, "cd"), (1, 20, "afg")])
def test_the_worked_example_has_the_published_errors(feature, threshold, wrong):
    features, labels = worked_example()
    assert [CATEGORIES[label] for label in labels] == ["ham", "ham", "spam", "spam", "ham", "ham", "spam", "spam"]
    missed = (features[:, feature] > threshold) != labels
    assert "".join(np.array(list("abcdefgh"))[missed]) == wrong


@pytest.mark.system("0-DATA-CLS")
def test_features_are_counts_and_classes_are_balanced():
    features, labels = spam_table(1000)
    assert features.shape == (1000, 2)
    assert features.min() >= 0.0
    assert (features == np.rint(features)).all()
    assert 450 < labels.sum() < 550


@pytest.mark.system("0-DATA-CLS")
def test_boosted_stumps_beat_the_best_single_stump():
    features, labels = spam_table(800)
    test_features, truth = spam_table(800, split="test")
    stump, boosted = (AdaBoostClassifier(n_estimators=n, random_state=0).fit(features, labels) for n in (1, 40))
    assert 0.65 < stump.score(test_features, truth) < boosted.score(test_features, truth) < 0.95


def test_no_messages_and_fewer():
    features, labels = spam_table(0)
    assert features.shape == (0, 2)
    assert labels.shape == (0,)
    with pytest.raises(ValueError, match="received count -1"):
        spam_table(-1)
