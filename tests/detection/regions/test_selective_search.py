"""Selective search: colours against scikit-image, merging against slow loops and OpenCV, recall against OpenCV."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.color
import skimage.data
import torch
from PIL import Image

from tests.closeness import NUMBERS, assert_close
from tests.references import selective_search as reference
from vidi.data.world.dataset import World
from vidi.detection.regions.selective_search import (
    MODES,
    SIMILARITIES,
    Regions,
    colour_space,
    cut_hierarchy,
    describe_regions,
    feature_bins,
    group_regions,
    selective_search,
)
from vidi.metrics.proposals import average_recall, best_overlaps, recall
from vidi.ops.boxes import box_iou
from vidi.ops.superpixels import felzenszwalb

SUMS = [SIMILARITIES, ("texture", "size", "fill"), ("fill",), ("colour",), ("size",)]


def photo(height: int = 60, width: int = 80) -> np.ndarray:
    return np.ascontiguousarray(skimage.data.astronaut()[60 : 60 + height, 170 : 170 + width])


@pytest.fixture(scope="module")
def superpixels() -> tuple[np.ndarray, np.ndarray, Regions]:
    """Labels, channels and descriptions of a small photo."""
    channels = colour_space(photo(), "lab")
    labels = felzenszwalb(channels, scale=20, min_size=20)
    return labels, channels, describe_regions(labels, feature_bins(channels))


def as_reference(regions: Regions) -> list[reference.Region]:
    return [
        reference.Region(tuple(box.tolist()), int(size), colours.tolist(), textures.tolist())
        for box, size, colours, textures in zip(*regions[:4], strict=True)
    ]


# ----------------------------------------------------------------------------------------------------------------------
# Colours, gradients, regions


@pytest.mark.system("4.3.2-SELSEARCH")
def test_colour_spaces_are_scikit_images():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    image[:4], image[4:8], image[8:10] = 0, image[4:8, :, :1], 255
    assert_close(colour_space(image, "hsv"), skimage.color.rgb2hsv(image))
    lab = np.add(skimage.color.rgb2lab(image), [0, 128, 128]) / [100, 255, 255]
    assert_close(colour_space(image, "lab"), lab, NUMBERS)
    np.testing.assert_array_equal(colour_space(image, "hue"), colour_space(image, "hsv")[..., :1])
    intensity = colour_space(image, "intensity")
    np.testing.assert_allclose(intensity[..., 0] * 255, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), atol=0.51)
    shares = np.full((40, 50, 2), 1 / 3)
    shares[4:] = image[4:, :, :2] / np.maximum(image[4:].sum(2, keepdims=True, dtype=float), 1)
    shares[(image == 0).all(2)] = 1 / 3
    assert_close(colour_space(image, "rgi"), np.concatenate((shares, intensity), 2))
    for name in MODES["quality"].spaces:
        channels = colour_space(image, name)
        assert channels.min() >= 0
        assert channels.max() <= 1 + 1e-12


@pytest.mark.system("4.3.2-SELSEARCH")
def test_descriptions_are_those_of_slow_loops():
    channels = colour_space(photo(14, 18), "hsv")
    labels = felzenszwalb(channels, scale=5, sigma=0.5, min_size=6)
    bins = feature_bins(channels)
    texture_bins = reference.gradient_bins(channels)
    assert np.array_equal(bins[..., 3:], texture_bins)
    regions = describe_regions(labels, bins)
    expected = reference.describe(labels, channels, texture_bins)
    assert len(regions.sizes) == len(expected) > 5
    assert regions.sizes.tolist() == [region.size for region in expected]
    assert regions.boxes.tolist() == [list(region.box) for region in expected]
    assert_close(regions.colours, [region.colours for region in expected])
    assert_close(regions.textures, [region.textures for region in expected])
    assert list(map(tuple, regions.pairs.tolist())) == reference.touching(labels)


# ----------------------------------------------------------------------------------------------------------------------
# Merging


@pytest.mark.system("4.3.2-SELSEARCH")
@pytest.mark.parametrize("names", SUMS, ids="+".join)
def test_merging_is_that_of_slow_loops(superpixels, names):
    regions = superpixels[2]
    hierarchy = group_regions(regions, names)
    weights = [float(name in names) for name in SIMILARITIES]
    pairs = list(map(tuple, regions.pairs.tolist()))
    found, children = reference.group(as_reference(regions), pairs, weights)
    assert list(map(tuple, hierarchy.children.tolist())) == children
    assert hierarchy.boxes.tolist() == [list(region.box) for region in found]
    assert hierarchy.sizes.tolist() == [region.size for region in found]
    area = 60 * 80
    expected = [reference.similarities(found[a], found[b], area) for a, b in children]
    assert_close(hierarchy.similarities, expected)


@pytest.mark.system("4.3.2-SELSEARCH")
@pytest.mark.parametrize("names", SUMS, ids="+".join)
def test_merging_ends_with_the_image(superpixels, names):
    labels, _, regions = superpixels
    R = len(regions.sizes)
    hierarchy = group_regions(regions, names)
    assert R > 10
    assert len(hierarchy.boxes) == len(hierarchy.sizes) == 2 * R - 1
    assert hierarchy.boxes[-1].tolist() == [0, 0, 80, 60]
    assert hierarchy.sizes[-1] == 60 * 80
    assert sorted(hierarchy.children.ravel().tolist()) == list(range(2 * R - 2))  # each is merged once, but the last
    assert hierarchy.similarities.min() >= 0
    assert hierarchy.similarities.max() <= 1 + 1e-12
    assert np.array_equal(cut_hierarchy(labels, hierarchy, R), labels)
    assert (cut_hierarchy(labels, hierarchy, 1) == 2 * R - 2).all()


@pytest.mark.system("4.3.2-SELSEARCH")
def test_merged_histograms_are_those_of_the_merged_pixels(superpixels):
    labels, channels, regions = superpixels
    hierarchy = group_regions(regions)
    left = 6
    numbers, merged = np.unique(cut_hierarchy(labels, hierarchy, left), return_inverse=True)
    again = describe_regions(merged.reshape(labels.shape), feature_bins(channels))
    assert len(numbers) == left
    assert again.sizes.tolist() == hierarchy.sizes[numbers].tolist()
    assert again.boxes.tolist() == hierarchy.boxes[numbers].tolist()
    rest = group_regions(again)
    assert_close(rest.similarities, hierarchy.similarities[-(left - 1) :])
    assert rest.boxes[left:].tolist() == hierarchy.boxes[-(left - 1) :].tolist()


def opencv_regions(image: np.ndarray, segmentation: cv2.ximgproc.segmentation.GraphSegmentation) -> Regions:
    """OpenCV's superpixels as ours, with its neighbours: left, above and above left, not in the first row or column."""
    labels = segmentation.processImage(image).astype(np.int64)
    bins = feature_bins(image / 256.0)  # OpenCV's colour bins end at 256
    regions = describe_regions(labels, bins)
    pairs = set()
    for y, x in np.ndindex(labels.shape):
        if y > 0 and x > 0:
            for v, u in ((y, x - 1), (y - 1, x), (y - 1, x - 1)):
                if labels[y, x] != labels[v, u]:
                    pairs.add(tuple(sorted((int(labels[y, x]), int(labels[v, u])))))
    return regions._replace(pairs=np.array(sorted(pairs)))


@pytest.mark.system("4.3.2-SELSEARCH")
@pytest.mark.parametrize("names", [("colour", "size", "fill"), ("colour",)], ids="+".join)
def test_merging_is_opencvs(names):
    """The same boxes from the same superpixels; its texture is another (Scharr, from turned images)."""
    image = photo(100, 120)
    segmentation = cv2.ximgproc.segmentation.createGraphSegmentation(0.8, 100, 30)
    kinds = cv2.ximgproc.segmentation
    strategies = {
        "colour": kinds.createSelectiveSearchSegmentationStrategyColor,
        "size": kinds.createSelectiveSearchSegmentationStrategySize,
        "fill": kinds.createSelectiveSearchSegmentationStrategyFill,
    }
    several = kinds.createSelectiveSearchSegmentationStrategyMultiple()
    for name in names:
        several.addStrategy(strategies[name](), 1.0)
    theirs = kinds.createSelectiveSearchSegmentation()
    theirs.addImage(image)
    theirs.addGraphSegmentation(segmentation)
    theirs.addStrategy(several)
    expected = {(x, y, x + w, y + h) for x, y, w, h in np.asarray(theirs.process()).tolist()}
    regions = opencv_regions(image, segmentation)
    assert len(regions.sizes) > 15
    ours = group_regions(regions, names)
    assert set(map(tuple, ours.boxes.tolist())) == expected


# ----------------------------------------------------------------------------------------------------------------------
# The whole


def test_proposals_are_distinct_and_ranked():
    image = photo()
    before = image.copy()
    boxes = selective_search(image, mode="single", most=None, seed=3)
    assert np.array_equal(image, before)
    assert boxes.dtype == torch.float32
    assert len(boxes.unique(dim=0)) == len(boxes) > 10
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= torch.tensor([80, 60])).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    channels = colour_space(image, "hsv")
    labels = felzenszwalb(channels, scale=100, min_size=100)
    hierarchy = group_regions(describe_regions(labels, feature_bins(channels)))
    N = len(hierarchy.boxes)
    ranks = np.random.default_rng(3).random(N) * np.arange(N, 0, -1)  # the image is the last region and has rank 1
    ranked = [tuple(hierarchy.boxes[n].tolist()) for n in np.argsort(ranks)]
    assert list(map(tuple, boxes.tolist())) == list(dict.fromkeys(ranked))


def test_options():
    image = photo()
    every = selective_search(image, mode="fast", most=None)
    assert torch.equal(selective_search(image, most=7), every[:7])
    assert torch.equal(selective_search(torch.from_numpy(image).permute(2, 0, 1), most=None), every)
    assert not torch.equal(selective_search(image, most=None, seed=1), every)
    assert len(selective_search(image, most=0)) == 0
    large = selective_search(image, most=None, minimum_side=25)
    kept = (every[:, 2] - every[:, 0] >= 25) & (every[:, 3] - every[:, 1] >= 25)
    assert torch.equal(large, every[kept])
    assert 0 < len(large) < len(every)
    coarse = selective_search(image, most=None, scales=(150, 300), min_size=100)
    assert 0 < len(coarse) < len(every)
    assert torch.equal(selective_search(image, most=None, scales=(50, 100)), every)


@pytest.mark.extended
def test_quality_puts_all_together():
    image = photo()
    fast, quality = (selective_search(image, mode=mode, most=None) for mode in ("fast", "quality"))
    assert len(quality) > 2 * len(fast)
    assert {tuple(box) for box in fast.tolist()} <= {tuple(box) for box in quality.tolist()}


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (30, 40)])
def test_images_of_one_colour_are_one_box(size):
    boxes = selective_search(np.full((*size, 3), 90, np.uint8))
    assert boxes.tolist() == [[0, 0, size[1], size[0]]]


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), {}, "float32"),
        (np.zeros((4, 4, 1), np.uint8), {}, r"\(4, 4, 1\)"),
        (np.zeros((0, 4, 3), np.uint8), {}, "not empty"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), {}, "tensor 3 H W"),
        (np.zeros((4, 4, 3), np.uint8), {"mode": "slow"}, "single, fast, quality"),
        (np.zeros((4, 4, 3), np.uint8), {"most": -1}, "most -1"),
        (np.zeros((4, 4, 3), np.uint8), {"minimum_side": -2}, "minimum_side -2"),
        (np.zeros((4, 4, 3), np.uint8), {"scales": ()}, "no scales"),
        (np.zeros((4, 4, 3), np.uint8), {"scales": (-5,), "min_size": 2}, "scale -5"),
    ],
)
def test_bad_input(image, options, message):
    with pytest.raises(ValueError, match=message):
        selective_search(image, **options)


def test_bad_names_regions_and_counts(superpixels):
    labels, _, regions = superpixels
    with pytest.raises(ValueError, match="hsv, lab, rgi, hue, intensity"):
        colour_space(photo(), "luv")
    for names in ((), ("colour", "shape")):
        with pytest.raises(ValueError, match="one or more of"):
            group_regions(regions, names)
    apart = regions._replace(pairs=regions.pairs[(regions.pairs != 0).all(1)])
    with pytest.raises(ValueError, match="2 parts that do not touch"):
        group_regions(apart)
    with pytest.raises(ValueError, match="expected 1 to"):
        cut_hierarchy(labels, group_regions(regions), 0)


# ----------------------------------------------------------------------------------------------------------------------
# Recall at OpenCV's number of boxes

Example = tuple[np.ndarray, torch.Tensor]


def scenes() -> Iterator[Example]:
    world = World("test", count=16, size=(128, 128), targets=("boxes",))
    for index in range(len(world)):
        image, target = world[index]
        yield np.ascontiguousarray(image.permute(1, 2, 0).numpy()), torch.as_tensor(target["boxes"]).float()


def photos(folder: Path, count: int) -> Iterator[Example]:
    """Photos of half the size with their boxes, crowds left out."""
    content = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
    for entry in content["images"][:count]:
        rows = [row for row in content["annotations"] if row["image_id"] == entry["id"] and not row["iscrowd"]]
        truths = torch.tensor([row["bbox"] for row in rows]).reshape(-1, 4)
        truths[:, 2:] += truths[:, :2]
        with Image.open(folder / "val2017" / entry["file_name"]) as image:
            pixels = np.asarray(image.convert("RGB"))
        yield np.ascontiguousarray(pixels[::2, ::2]), truths / 2


def opencv_fast(image: np.ndarray) -> torch.Tensor:
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))
    search.switchToSelectiveSearchFast()
    boxes = torch.from_numpy(np.asarray(search.process())).float()
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def recall_is_opencvs(examples: Iterator[Example]) -> None:
    """Compare recall at 0.5 and average recall, each image with as many boxes as both have, within two points."""
    ours, theirs = [], []
    for image, truths in examples:
        proposals, expected = selective_search(image, most=None), opencv_fast(image)
        count = min(len(proposals), len(expected))
        ours.append(best_overlaps(box_iou(proposals, truths), [count]))
        theirs.append(best_overlaps(box_iou(expected, truths), [count]))
    covered, expected = torch.cat(ours, 1), torch.cat(theirs, 1)
    assert covered.shape[1] >= 20
    assert recall(expected, 0.5).item() > 0.5  # else it would be no comparison
    for measure in (recall, average_recall):
        assert measure(covered).item() >= measure(expected).item() - 0.02


@pytest.mark.system("4.3.2-SELSEARCH")
def test_recall_of_scenes():
    recall_is_opencvs(scenes())


@pytest.mark.extended
@pytest.mark.system("4.3.2-SELSEARCH")
def test_recall_of_photos(shared_data):
    folder = shared_data / "coco_mini"
    if not folder.is_dir():
        pytest.skip(f"no photos: {folder} is not a folder")
    recall_is_opencvs(photos(folder, 14))
