"""Growing and using a forest on pixels gives what it gives on the table of their features."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier

from tests.closeness import assert_close
from vidi.data.world.depth_bodies import DepthBodies
from vidi.segmentation.body_parts.background import BACKGROUND
from vidi.segmentation.body_parts.depth_features import depth_features, draw_offsets
from vidi.segmentation.body_parts.growing import Growth, grow_forest, source_of_table
from vidi.segmentation.body_parts.pixel_forest import (
    FEW,
    PartPicture,
    PixelForest,
    gather_pixels,
    replica_of_pictures,
)
from vidi.segmentation.body_parts.trees import binary_tree, joined

CLASSES = len(DepthBodies.parts)


def pictures(count: int = 4, split: str = "train") -> list[PartPicture]:
    found = []
    for image, target in (DepthBodies(split, count=count, size=(60, 80))[row] for row in range(count)):
        depth = torch.where(image[0] > 0, image[0], BACKGROUND)
        found.append(PartPicture(depth.numpy(), target["parts"].numpy(), float(target["intrinsics"][0, 0])))
    return found


def thetas(count: int = 60) -> np.ndarray:
    return draw_offsets(count, 0.6, torch.Generator().manual_seed(0)).numpy()


def tabulated(samples, of: list[PartPicture]) -> np.ndarray:
    """The features of drawn pixels, from whole pictures."""
    table = np.empty((len(samples.labels), len(samples.source.thetas)), np.float32)
    for number, (depth, _, focal) in enumerate(of):
        own = samples.pictures == number
        corner = np.argwhere(depth < BACKGROUND).min(0)
        pixels = samples.source.pixels[own, 1:] + corner
        offsets = torch.from_numpy(samples.source.thetas)
        table[own] = depth_features(torch.from_numpy(depth), torch.from_numpy(pixels), offsets, focal=focal)
    return table


@pytest.mark.system("5.1.1-PIXELCLS", "5.1.1-FOREST")
@pytest.mark.parametrize("growth", [Growth(features="sqrt", depth=8, thresholds=10), Growth(depth=3, sought=500)])
def test_trees_grown_on_pixels_are_those_grown_on_the_table_of_their_features(growth):
    of = pictures()
    samples = gather_pixels(of, CLASSES, thetas(), 300, np.random.default_rng(0))
    rows = [replica_of_pictures(samples, np.random.default_rng(seed)) for seed in range(2)]
    on_pixels = grow_forest(samples.source, samples.labels, CLASSES, growth, replicas=rows)
    table = source_of_table(tabulated(samples, of))
    on_table = grow_forest(table, samples.labels, CLASSES, growth, replicas=rows)
    assert len(on_pixels.trees.feature) > 14
    for name in ("feature", "threshold", "left", "roots"):
        assert np.array_equal(getattr(on_pixels.trees, name), getattr(on_table.trees, name)), name
    assert_close(on_pixels.trees.leaves, on_table.trees.leaves)
    assert_close(on_pixels.importances, on_table.importances)


@pytest.mark.system("5.1.1-PIXELCLS", "5.1.1-FOREST")
@pytest.mark.parametrize("threads", [1, 3])
def test_probabilities_on_the_fly_are_those_of_scikit_learn_on_the_table(threads):
    samples = gather_pixels(pictures(), CLASSES, thetas(), 300, np.random.default_rng(0))
    peer = RandomForestClassifier(3, criterion="entropy", max_depth=10, random_state=0)
    peer.fit(tabulated(samples, pictures()), samples.labels)
    counts = [np.zeros((one.tree_.node_count, CLASSES)) for one in peer.estimators_]
    for count, one in zip(counts, peer.estimators_, strict=True):
        count[:, peer.classes_] = one.tree_.value[:, 0]
    trees = [
        binary_tree(t.children_left, t.children_right, t.feature, t.threshold, count)
        for t, count in zip((one.tree_ for one in peer.estimators_), counts, strict=True)
    ]
    forest = PixelForest(joined(trees), samples.source.thetas)
    depth, _, focal = pictures(1, "val")[0]
    large = np.kron(depth, np.ones((6, 6), np.float32))
    pixels = np.argwhere(large < BACKGROUND)
    assert len(pixels) > 2 * FEW
    found = forest.probabilities(large, pixels, 6 * focal, threads=threads)
    offsets = torch.from_numpy(samples.source.thetas)
    table = depth_features(torch.from_numpy(large), torch.from_numpy(pixels), offsets, focal=6 * focal)
    expected = np.zeros((len(pixels), CLASSES))
    expected[:, peer.classes_] = peer.predict_proba(table.numpy())
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 2e-7
    assert_close(found.sum(1), np.ones(len(found), np.float32), 1e-6)


@pytest.mark.system("5.1.1-PIXELCLS")
def test_as_many_pixels_of_every_part_are_drawn_and_each_is_of_its_part():
    of = pictures()
    samples = gather_pixels(of, CLASSES, thetas(2), 2300, np.random.default_rng(0))
    assert np.bincount(samples.pictures).tolist() == [2300] * 4
    for number, (depth, parts, focal) in enumerate(of):
        own = samples.pictures == number
        seen = np.unique(parts[parts < CLASSES])
        shares = np.bincount(samples.labels[own], minlength=CLASSES)[seen] / 2300
        assert np.abs(shares - 1 / len(seen)).max() < 0.03
        rows = samples.source.pixels[own, 1:] + np.argwhere(depth < BACKGROUND).min(0)
        assert (parts[rows[:, 0], rows[:, 1]] == samples.labels[own]).all()
        assert (samples.source.scales[own] == np.float32(focal) / depth[rows[:, 0], rows[:, 1]]).all()


@pytest.mark.system("5.1.1-PIXELCLS")
def test_only_parts_on_the_body_are_drawn_and_no_more_than_the_body_is_kept():
    depth, parts = np.full((5, 6), BACKGROUND, np.float32), np.full((5, 6), 2)
    depth[1:4, 2:5] = 3.0  # of which two pixels are of a part
    parts[1, 2], parts[3, 4], parts[0, 0] = 0, 1, 1
    samples = gather_pixels([PartPicture(depth, parts, 10.0)], 2, thetas(2), 40, np.random.default_rng(0))
    assert {tuple(pixel) for pixel in samples.source.pixels.tolist()} == {(0, 0, 0), (0, 2, 2)}
    assert (samples.labels == (samples.source.pixels[:, 1] == 2)).all()
    assert samples.source.frames.tolist() == [[0, 3, 3]]
    assert samples.source.cells.tolist() == [3.0] * 9


@pytest.mark.system("5.1.1-BAGGING")
def test_a_replica_holds_whole_pictures_as_often_as_they_are_drawn():
    samples = gather_pixels(pictures(), CLASSES, thetas(2), 50, np.random.default_rng(0))
    rows = replica_of_pictures(samples, np.random.default_rng(1))
    times = np.bincount(rows, minlength=200).reshape(4, 50)
    assert (times == times[:, :1]).all()
    assert len(rows) == 200
    assert times[:, 0].tolist() != [1, 1, 1, 1]
    assert (np.diff(rows) >= 0).all()


def test_pictures_without_a_body_are_passed_over_and_none_at_all_is_refused():
    empty = PartPicture(np.full((9, 9), BACKGROUND, np.float32), np.full((9, 9), CLASSES), 10.0)
    samples = gather_pixels([empty, *pictures(1)], CLASSES, thetas(2), 50, np.random.default_rng(0))
    assert np.unique(samples.pictures).tolist() == [0]
    with pytest.raises(ValueError, match="no picture with a body"):
        gather_pixels([empty], CLASSES, thetas(2), 50, np.random.default_rng(0))
