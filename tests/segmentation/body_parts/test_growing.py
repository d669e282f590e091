"""Trees, bags and forests against scikit-learn, and the numbers of the notes."""

from typing import Any

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from tests.closeness import EXACT, NUMBERS, assert_close
from vidi.segmentation.body_parts import growing_kernels
from vidi.segmentation.body_parts.growing import (
    Growth,
    bagged,
    bootstrap,
    bootstrap_coverage,
    decision_tree,
    grow_forest,
    random_forest,
    source_of_table,
    variance_of_mean,
)
from vidi.segmentation.body_parts.trees import Trees, binary_tree, joined, rounded_down

CLASSES = 3


def clouds(count: int = 400, features: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes whose features overlap, in float32."""
    random = np.random.default_rng(seed)
    labels = random.integers(CLASSES, size=count)
    centres = random.normal(size=(CLASSES, features))
    return (centres[labels] + random.normal(size=(count, features))).astype(np.float32), labels


def imported(tree) -> Trees:
    """A tree of scikit-learn as ours."""
    return binary_tree(tree.children_left, tree.children_right, tree.feature, tree.threshold, tree.value[:, 0])


def walked(trees: Trees, tree, node: int = 0, ours: int = 0) -> list[tuple]:
    """Pairs of our nodes and scikit-learn's, from the root down."""
    pairs = [(ours, node)]
    if tree.children_left[node] >= 0:
        left = int(trees.left[ours])
        pairs += walked(trees, tree, tree.children_left[node], left)
        pairs += walked(trees, tree, tree.children_right[node], left + 1)
    return pairs


def assert_equal_trees(trees: Trees, tree) -> None:
    """Ask for the same splits at the same places, and the same leaves."""
    assert len(trees.feature) == tree.node_count
    for ours, node in walked(trees, tree):
        if tree.children_left[node] < 0:
            assert trees.feature[ours] == -1
            assert_close(trees.leaves[trees.left[ours]], tree.value[node, 0])
        else:
            assert trees.feature[ours] == tree.feature[node]
            assert trees.threshold[ours] == rounded_down(tree.threshold[node : node + 1])[0]


@pytest.mark.system("5.1.1-TREE")
@pytest.mark.parametrize("criterion", ["entropy", "gini"])
def test_a_tree_splits_as_that_of_scikit_learn(criterion):
    table, labels = clouds(2000)  # so many that no two splits are equally good
    peer = DecisionTreeClassifier(criterion=criterion, max_depth=5, min_samples_leaf=25, random_state=0)
    peer.fit(table, labels)
    ours = decision_tree(table, labels, classes=CLASSES, growth=Growth(criterion=criterion, depth=5, least=25))
    assert len(ours.trees.feature) > 30
    assert_equal_trees(ours.trees, peer.tree_)
    assert_close(ours.importances, peer.feature_importances_, NUMBERS)
    fresh, _ = clouds(seed=1)
    assert_close(ours.trees.probabilities(fresh), peer.predict_proba(fresh))


@pytest.mark.system("5.1.1-TREE")
def test_the_first_split_has_the_largest_information_gain():
    """Against a slow loop over all features and all places between two values."""
    table, labels = clouds(60)

    def entropy(own):
        shares = np.bincount(own, minlength=CLASSES) / len(own)
        return -sum(p * np.log2(p) for p in shares if p > 0)

    best = (-1.0, -1, 0.0)
    for f in range(table.shape[1]):
        values = np.unique(table[:, f]).astype(np.float64)
        for threshold in (values[:-1] + values[1:]) / 2:
            low, high = labels[table[:, f] <= threshold], labels[table[:, f] > threshold]
            after = (len(low) * entropy(low) + len(high) * entropy(high)) / len(labels)
            best = max(best, (entropy(labels) - after, f, threshold))
    gain, feature, threshold = best
    trees = decision_tree(table, labels, classes=CLASSES, growth=Growth(depth=1)).trees
    assert trees.feature[0] == feature
    assert trees.threshold[0] == pytest.approx(threshold, rel=1e-6)
    low = table[:, feature] <= trees.threshold[0]
    after = low.mean() * entropy(labels[low]) + (1 - low.mean()) * entropy(labels[~low])
    assert entropy(labels) - after == pytest.approx(gain, rel=EXACT)


@pytest.mark.system("5.1.1-TREE")
def test_a_tree_without_limits_fits_what_can_be_told_apart():
    table, labels = clouds()
    trees = decision_tree(table, labels, classes=CLASSES).trees
    assert (trees.probabilities(table).argmax(1) == labels).all()
    assert set(np.unique(trees.leaves)) == {0.0, 1.0}
    twins = np.zeros((4, 2), np.float32)
    lone = decision_tree(twins, np.array([0, 1, 1, 1]), classes=2)
    assert_close(lone.trees.leaves, np.array([[0.25, 0.75]]))
    assert not lone.importances.any()


@pytest.mark.system("5.1.1-TREE")
@pytest.mark.parametrize("values", [[1.0, np.nextafter(np.float32(1), np.float32(2))], [1.0, 1.0 + 0.9e-7]])
def test_values_that_hardly_differ_are_not_told_apart(values):
    table = np.array(values, np.float32)[:, None]
    trees = decision_tree(table, np.array([0, 1]), classes=2).trees
    peer = DecisionTreeClassifier().fit(table, [0, 1])
    assert len(trees.feature) == peer.tree_.node_count


@pytest.mark.system("5.1.1-BAGGING")
def test_a_bag_gives_the_probabilities_of_scikit_learns():
    table, labels = clouds()
    tree = DecisionTreeClassifier(criterion="entropy", max_depth=4)
    peer = BaggingClassifier(tree, n_estimators=7, random_state=0).fit(table, labels)
    fresh, _ = clouds(seed=1)
    expected = peer.predict_proba(fresh)
    carried = joined([imported(one.tree_) for one in peer.estimators_])
    assert len(carried) == 7
    assert_close(carried.probabilities(fresh), expected)
    replicas = [np.asarray(rows, np.int64) for rows in peer.estimators_samples_]
    grown = grow_forest(source_of_table(table), labels, CLASSES, Growth(depth=4), replicas=replicas)
    assert (grown.trees.feature[grown.trees.roots] == [one.tree_.feature[0] for one in peer.estimators_]).all()
    same = np.isclose(grown.trees.probabilities(fresh), expected).all(1)
    assert same.mean() > 0.9  # the rest: splits of equal gain, of which each takes its first


@pytest.mark.system("5.1.1-FOREST")
def test_a_forest_gives_the_probabilities_and_importances_of_scikit_learns():
    table, labels = clouds()
    fresh, _ = clouds(seed=1)
    peer = RandomForestClassifier(8, criterion="entropy", max_features="sqrt", random_state=0).fit(table, labels)
    carried = joined([imported(one.tree_) for one in peer.estimators_])
    assert_close(carried.probabilities(fresh), peer.predict_proba(fresh))
    assert (carried.probabilities(fresh).argmax(1) == peer.predict(fresh)).all()
    every: Any = None
    deep = RandomForestClassifier(
        5, criterion="entropy", max_features=every, max_depth=3, min_samples_leaf=1, random_state=0
    ).fit(table, labels)
    replicas = [np.asarray(rows, np.int64) for rows in deep.estimators_samples_]
    grown = grow_forest(source_of_table(table), labels, CLASSES, Growth(depth=3), replicas=replicas)
    assert_close(grown.trees.probabilities(fresh), deep.predict_proba(fresh))
    assert_close(grown.importances, deep.feature_importances_, NUMBERS)


@pytest.mark.system("5.1.1-FOREST")
def test_each_split_chooses_from_a_few_features_and_replicas_differ():
    table, labels = clouds(200, 25)
    forest = random_forest(table, labels, classes=CLASSES, trees=40, growth=Growth(depth=1, features="sqrt"))
    first = np.bincount(forest.trees.feature[forest.trees.roots], minlength=25)
    assert (first > 0).sum() > 8  # with all 25 features to choose from, a few would win always
    every = bagged(table, labels, classes=CLASSES, trees=40, growth=Growth(depth=1))
    assert (np.bincount(every.trees.feature[every.trees.roots], minlength=25) > 0).sum() < 8
    assert Growth(features="sqrt").numbers(25)[3] == 5
    assert Growth(features=9).numbers(4)[3] == 4


@pytest.mark.system("5.1.1-FOREST")
def test_a_feature_without_two_values_is_no_choice():
    table, labels = clouds(100, 1)
    padded = np.concatenate((np.zeros((100, 20), np.float32), table), 1)
    trees = random_forest(padded, labels, classes=CLASSES, trees=5, growth=Growth(features=1, depth=2)).trees
    assert set(trees.feature[trees.roots]) == {20}


@pytest.mark.system("5.1.1-FOREST")
def test_equal_seeds_grow_equal_forests_on_any_number_of_threads():
    table, labels = clouds()
    rng = np.random.default_rng(0)
    replicas = [bootstrap(len(labels), rng) for _ in range(4)]
    growth = Growth(features="sqrt")
    one, two = (
        grow_forest(source_of_table(table), labels, CLASSES, growth, replicas=replicas, seed=5, threads=t)
        for t in (1, 3)
    )
    other = grow_forest(source_of_table(table), labels, CLASSES, growth, replicas=replicas, seed=6)
    assert (one.trees.feature == two.trees.feature).all()
    assert (one.trees.threshold == two.trees.threshold).all()
    assert len(other.trees.feature) != len(one.trees.feature) or (other.trees.feature != one.trees.feature).any()


@pytest.mark.system("5.1.1-FOREST")
def test_importances_show_which_features_matter():
    table, labels = clouds(400, 4)
    random = np.random.default_rng(3)
    padded = np.concatenate((table, random.normal(size=(400, 4)).astype(np.float32)), 1)
    forest = random_forest(padded, labels, classes=CLASSES, trees=30, growth=Growth(features="sqrt", depth=5))
    assert forest.importances.sum() == pytest.approx(1, rel=EXACT)
    assert forest.importances[:4].min() > forest.importances[4:].max()
    assert forest.importances[:4].sum() > 0.7


@pytest.mark.system("5.1.1-TREE", "5.1.1-FOREST")
def test_thresholds_that_are_tried_are_values_of_the_feature_and_the_best_of_them_is_taken():
    table, labels = clouds()
    trees = decision_tree(table, labels, classes=CLASSES, growth=Growth(depth=3, thresholds=12)).trees
    inner = np.flatnonzero(trees.feature >= 0)
    assert len(inner) == 7
    for node in inner:
        assert trees.threshold[node] in table[:, trees.feature[node]]
    many = decision_tree(table, labels, classes=CLASSES, growth=Growth(depth=1, thresholds=4000)).trees
    exact = decision_tree(table, labels, classes=CLASSES, growth=Growth(depth=1)).trees
    column = table[:, exact.feature[0]]
    assert many.feature[0] == exact.feature[0]
    assert ((column <= many.threshold[0]) == (column <= exact.threshold[0])).all()


@pytest.mark.system("5.1.1-TREE")
def test_the_smallest_tried_threshold_is_found_in_whichever_order_they_are_drawn():
    labels = np.arange(10) % 2
    table = labels[:, None].astype(np.float32) - 2
    growth = Growth(depth=1, thresholds=2)
    grown = [decision_tree(table, labels, classes=2, growth=growth, seed=seed).trees for seed in range(256)]
    found = [float(trees.threshold[0]) for trees in grown if trees.feature[0] == 0]
    assert len(found) > 160  # about 192: where -1 is drawn twice there is nothing to split
    assert set(found) == {-2}


def test_a_tried_threshold_may_part_one_sample_from_one():
    table, labels = np.array([[0.0], [1.0]], np.float32), np.array([0, 1])
    growth = Growth(depth=1, thresholds=2)
    grown = [decision_tree(table, labels, classes=2, growth=growth, seed=seed).trees for seed in range(8)]
    assert {len(trees.feature) for trees in grown} == {1, 3}  # where 1 is drawn twice there is nothing to split


def test_a_tree_may_have_thousands_of_nodes():
    table, labels = np.arange(4000, dtype=np.float32)[:, None], np.random.default_rng(0).integers(2, size=4000)
    trees = decision_tree(table, labels, classes=2).trees
    assert len(trees.feature) > 3 * 1024
    assert (trees.probabilities(table).argmax(1) == labels).all()


def test_draws_are_those_of_splitmix64():
    """The first numbers from the state 1234567, as other implementations print them; here without the sign's bit."""
    draw = getattr(growing_kernels._draw, "py_func", growing_kernels._draw)
    state = np.array([1234567], np.uint64)
    with np.errstate(over="ignore"):  # whole numbers of 64 bits that wrap around
        drawn = [draw(state, 2**63) for _ in range(4)]
    expected = (6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431)
    assert drawn == [number % 2**63 for number in expected]


@pytest.mark.system("B5.14", "5.1.1-BAGGING")
def test_the_variance_of_a_mean_and_the_samples_of_a_replica():
    assert variance_of_mean(0.3, 50) == pytest.approx(0.314, rel=EXACT)
    assert variance_of_mean(0.3, 10**9, 2.0) == pytest.approx(0.6, rel=1e-6)  # not 0: errors that go together stay
    assert bootstrap_coverage(10**6) == pytest.approx(1 - np.exp(-1), rel=1e-5)
    assert round(100 * bootstrap_coverage(10**6), 1) == 63.2
    assert bootstrap_coverage(2) == 0.75
    rows = bootstrap(20_000, np.random.default_rng(0))
    assert len(rows) == 20_000
    assert (np.diff(rows) >= 0).all()
    assert len(np.unique(rows)) / 20_000 == pytest.approx(0.632, abs=0.01)


@pytest.mark.system("5.1.1-BAGGING", "5.1.1-FOREST")
def test_trees_are_unstable_and_their_mean_is_less_so_but_not_without_bound():
    """C5.3, C5.4: low bias, high variance.

    Predictions over fresh training sets vary less for bags, and less again for forests; their bias stays.
    """
    fresh, truth = clouds(150, 8, seed=99)

    def predictions(grow):
        return np.stack([grow(*clouds_of(seed)).trees.probabilities(fresh) for seed in range(12)])

    def clouds_of(seed):
        random = np.random.default_rng(seed)
        labels = random.integers(CLASSES, size=120)
        centres = np.random.default_rng(99)
        centres.integers(CLASSES, size=150)
        means = centres.normal(size=(CLASSES, 8))
        return (means[labels] + random.normal(size=(120, 8))).astype(np.float32), labels

    def variance(all_of_them):
        return float(all_of_them.var(0).sum(1).mean())

    alone = predictions(lambda x, y: decision_tree(x, y, classes=CLASSES))
    few = predictions(lambda x, y: random_forest(x, y, classes=CLASSES, trees=10))
    many = predictions(lambda x, y: random_forest(x, y, classes=CLASSES, trees=100))
    bag = predictions(lambda x, y: bagged(x, y, classes=CLASSES, trees=100))
    assert variance(bag) < 0.5 * variance(alone)
    assert variance(many) < variance(bag)
    assert 0.2 * variance(few) < variance(many) < variance(few)  # a tenth, were the trees independent
    truths = np.eye(CLASSES)[truth]

    def bias(all_of_them):
        return float(((all_of_them.mean(0) - truths) ** 2).sum(1).mean())

    assert bias(many) == pytest.approx(bias(few), rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"criterion": "error"}, "entropy"),
        ({"features": "log2"}, "sqrt"),
        ({"depth": 0}, "depth=0"),
        ({"least": 0}, "least=0"),
        ({"features": 0}, "features=0"),
        ({"thresholds": -1}, "thresholds=-1"),
        ({"sought": 1}, "sought=1"),
    ],
)
def test_growth_that_cannot_be_is_refused(arguments, message):
    with pytest.raises((ValueError, TypeCheckError), match=message):  # the tests' hook comes first
        Growth(**arguments)


def test_samples_that_cannot_be_are_refused():
    table, labels = clouds(10)
    with pytest.raises(ValueError, match=r"some of 0\.\.1"):
        decision_tree(table, labels, classes=2)
    with pytest.raises(ValueError, match="replica of 1 samples"):
        grow_forest(source_of_table(table), labels, CLASSES, Growth(), replicas=[np.array([10])])
    with pytest.raises(ValueError, match="not finite"):
        decision_tree(table * np.nan, labels, classes=CLASSES)
    trees = decision_tree(table, labels, classes=CLASSES).trees
    with pytest.raises(ValueError, match="expected at least"):
        trees.probabilities(table[:, :0])
    with pytest.raises(ValueError, match="no trees"):
        joined([])
