"""The attentional cascade: rates, stages, early rejection, training with bootstrapped negatives."""

from itertools import pairwise

import numpy as np
import pytest

from tests.detection.viola_jones.cascades import random_cascade
from vidi.detection.viola_jones.cascade import Cascade, Rates, of_stumps, overall_rates, same
from vidi.detection.viola_jones.haar import Windows, haar_features
from vidi.detection.viola_jones.training import Picture, Plan, Training, mine_negatives, train_cascade

SMALL = Plan(stages=3, recall=0.98, false_positives=0.3, candidates=400, negatives=200, stumps=30)


def bars(count: int, seed: int = 0, side: int = 12) -> np.ndarray:
    """Windows that show a dark bar above a bright one."""
    random = np.random.default_rng(seed)
    pixels = random.integers(70, 180, (count, side, side))
    pixels[:, side // 4 : side // 2, 2:-2] -= 60
    pixels[:, side // 2 : 3 * side // 4, 2:-2] += 60
    return pixels.clip(0, 255).astype(np.uint8)


def clutter(count: int, seed: int = 1) -> list[Picture]:
    """Pictures of random blocks."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (count, 12, 14))
    return [Picture(np.kron(one, np.ones((5, 5))).astype(np.uint8)) for one in blocks]


@pytest.mark.system("B4.8", "4.2.3-CASCADE")
def test_the_rates_of_ten_stages():
    overall = overall_rates([Rates(0.99, 0.3)] * 10)
    assert overall.detection == pytest.approx(0.904382, abs=5e-7)
    assert overall.false_positive == pytest.approx(5.9049e-6, rel=1e-10)


@pytest.mark.system("4.2.3-CASCADE")
def test_training_meets_the_targets_stage_by_stage():
    random = np.random.default_rng(0)
    trained = train_cascade(bars(240), clutter(12), SMALL, random)
    assert 1 <= len(trained.stages) <= 3
    for stage in trained.stages:
        assert stage.rates.detection >= SMALL.recall - 1e-9
    assert trained.stages[0].rates.false_positive <= SMALL.false_positives
    assert trained.rates.detection == pytest.approx(np.prod([s.rates.detection for s in trained.stages]))
    fresh, others = Windows(bars(200, seed=9)), mine_negatives(_all(12), clutter(5, seed=8), 500, SMALL, random)
    assert trained.cascade.passes(fresh).mean() > 0.9
    assert trained.cascade.passes(Windows(others)).mean() < SMALL.false_positives ** len(trained.stages) * 3


PATTERN = np.random.default_rng(6).choice([-1, 1], 16)  # of 4 x 4 cells, dark and bright in no order
SIDE = 8  # windows of a picture, across and down


def patterned(count: int, seed: int) -> np.ndarray:
    """Windows that show one pattern of cells in as much noise: no sum of a few rectangles says it all."""
    return cells(np.tile(PATTERN, (count, 1)), seed)


def near_patterns(count: int, seed: int) -> list[Picture]:
    """Pictures tiled with windows in which two to nine of the pattern's sixteen cells have the other sign."""
    random = np.random.default_rng(seed)
    pictures = []
    for number in range(count):
        turned = random.random((SIDE**2, 16)).argsort(1) < random.integers(2, 10, (SIDE**2, 1))
        tiles = cells(np.where(turned, -PATTERN, PATTERN), seed * 1000 + number)
        rows = tiles.reshape(SIDE, SIDE, 12, 12).transpose(0, 2, 1, 3)
        pictures.append(Picture(np.ascontiguousarray(rows.reshape(12 * SIDE, 12 * SIDE))))
    return pictures


def cells(signs: np.ndarray, seed: int) -> np.ndarray:
    """Windows N 12 12 of 4 x 4 cells, darker or brighter by sign, with noise."""
    random = np.random.default_rng(seed)
    pattern = np.kron(signs.reshape(-1, 4, 4), np.ones((1, 3, 3)))
    return (125 + 25 * pattern + random.normal(0, 25, pattern.shape)).clip(0, 255).astype(np.uint8)


# negatives are the tiles themselves: windows of one size, a tile apart
HARD = Plan(
    stages=3,
    recall=0.97,
    false_positives=0.4,
    candidates=800,
    negatives=450,
    stumps=60,
    step=12,
    scale_factor=20.0,
)


@pytest.fixture(scope="module")
def hard() -> Training:
    return train_cascade(patterned(480, 1), near_patterns(160, 2), HARD, np.random.default_rng(1))


@pytest.mark.system("4.2.3-CASCADE")
def test_every_stage_meets_its_targets_where_no_stump_does(hard: Training) -> None:
    """Recall and false positives of each stage, on the windows held out from it; no stage makes do with one stump."""
    assert len(hard.stages) == 3
    for stage in hard.stages:
        assert stage.rates.detection >= HARD.recall - 1e-9
        assert stage.rates.false_positive <= HARD.false_positives
        assert stage.stumps > 1
        assert stage.negatives == HARD.negatives
    assert hard.rates.false_positive <= HARD.false_positives**3
    assert hard.cascade.passes(Windows(patterned(400, 77))).mean() > HARD.recall**3 - 0.05
    strangers = np.concatenate([tiles_of(one) for one in near_patterns(30, 9)])
    assert hard.cascade.passes(Windows(strangers)).mean() < 2 * HARD.false_positives**3


def tiles_of(picture: Picture) -> np.ndarray:
    """Return the windows N 12 12 that a picture is tiled with."""
    return picture.pixels.reshape(SIDE, 12, SIDE, 12).transpose(0, 2, 1, 3).reshape(-1, 12, 12)


@pytest.mark.system("4.2.3-CASCADE")
def test_each_stage_takes_more_features_than_the_one_before(hard: Training) -> None:
    """The harder the negatives that earlier stages leave, the more stumps their successor needs."""
    counts = [stage.stumps for stage in hard.stages]
    assert counts == hard.cascade.stage_trees.tolist()
    assert all(later > earlier for earlier, later in pairwise(counts))


@pytest.mark.system("4.2.3-CASCADE")
def test_negatives_are_false_alarms_of_the_stages_so_far():
    random = np.random.default_rng(0)
    trained = train_cascade(bars(240), clutter(12), SMALL, random)
    first = trained.cascade.truncated(1)
    mined = mine_negatives(first, clutter(6, seed=5), 60, SMALL, random)
    assert len(mined) > 0
    assert first.passes(Windows(mined)).all()
    again = mine_negatives(first, clutter(6, seed=5), 60, SMALL, np.random.default_rng(7))
    other = mine_negatives(first, clutter(6, seed=5), 60, SMALL, np.random.default_rng(7))
    assert np.array_equal(again, other)


def test_windows_on_objects_are_no_negatives():
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8)
    marked = pixels.copy()
    marked[20:40, 20:40] = 255 - marked[20:40, 20:40] // 2  # an object that every window on it shows
    plan = Plan(negatives=50_000, scale_factor=1.5)
    whole = mine_negatives(_all(12), [Picture(marked)], 50_000, plan, np.random.default_rng(0))
    boxed = Picture(marked, np.array([[20.0, 20, 40, 40]]))
    rest = mine_negatives(_all(12), [boxed], 50_000, plan, np.random.default_rng(0))
    covered = Picture(marked, np.array([[0.0, 0, 60, 60]]))
    assert 0 < len(rest) < len(whole)
    assert len(mine_negatives(_all(12), [covered], 10, plan, np.random.default_rng(0))) == 0


@pytest.mark.system("4.2.3-CASCADE")
def test_later_stages_see_only_what_earlier_ones_let_pass():
    cascade = random_cascade(1, tilted=False)
    windows = Windows(np.random.default_rng(0).integers(0, 256, (500, *cascade.window), dtype=np.uint8))
    passed = [cascade.truncated(n).passes(windows) for n in range(len(cascade) + 1)]
    assert passed[0].all()
    for earlier, later in pairwise(passed):
        assert not (later & ~earlier).any()
    assert 0 < passed[-1].sum() < passed[1].sum() < 500  # of the windows
    assert same(cascade.truncated(3), cascade) == (len(cascade) == 3)


def _all(side: int) -> Cascade:
    """A cascade that lets everything pass."""
    return of_stumps((side, side), [], haar_features((1, 1)))


def test_what_is_no_training_is_refused():
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no stage could be trained"):
        train_cascade(bars(10), [], SMALL, random)
    with pytest.raises(ValueError, match="no stage could be trained"):
        train_cascade(np.full((10, 12, 12), 7, np.uint8), clutter(2), SMALL, random)
    with pytest.raises(ValueError, match="two with some contrast"):
        train_cascade(bars(1), clutter(2), SMALL, random)
    with pytest.raises(ValueError, match=r"recall=1\.5"):
        Plan(recall=1.5)


def test_parts_that_do_not_fit_are_refused():
    good = random_cascade(0)
    parts = {name: getattr(good, name) for name in Cascade.__dataclass_fields__}
    for name, value, message in [
        ("window", (1, 9), "expected 3 to 1000"),
        ("stage_trees", np.array([4, 4, 5], np.int32), "but 12 trees"),
        ("tree_nodes", good.tree_nodes + 1, "nodes in all"),
        ("leaves", good.leaves[:-1], "leaves, expected one more"),
        ("node_features", good.node_features + 1, "a feature that is none of"),
        ("node_thresholds", good.node_thresholds * np.float32(np.inf), "not finite"),
        ("node_children", good.node_children - 9, "has children"),
    ]:
        with pytest.raises(ValueError, match=message):
            Cascade(**{**parts, name: value})
