"""The stuff branch of Panoptic FPN and its merging, recomputed step by step."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import EXACT, assert_close
from tests.parity.networks import randomise
from vidi.data.world.dataset import World
from vidi.model import Step
from vidi.preprocess import Placement
from vidi.segmentation.panoptic_fpn import (
    Legend,
    PanopticOutputs,
    StuffBranch,
    merge_things_over_stuff,
    panoptic_fpn_resnet50,
    panoptic_fpn_tiny,
)


def pyramid() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3)]
    return [torch.randn(2, 8, *size, dtype=torch.float64, generator=generator) for size in sizes]


@pytest.mark.system("5.3.1-PANFPN")
def test_the_stuff_branch_is_the_sum_of_enlarged_maps() -> None:
    """Convolution, group norm of 32 groups, ReLU, bilinear x2: 3, 2, 1 times; P2 once without; 1x1; x4."""
    branch: Any = StuffBranch(8, 5, channels=32).double()
    randomise(branch)
    found = branch(pyramid())
    total = torch.zeros(2, 32, 16, 24, dtype=torch.float64)
    for level, (x, stages) in enumerate(zip(pyramid(), branch.branches, strict=True)):
        assert len(stages) == (1, 1, 2, 3)[level]
        for stage in stages:
            convolution, norm = stage[0], stage[1]
            assert convolution.bias is None
            assert (norm.num_groups, norm.eps) == (32, 1e-5)
            x = F.relu(F.group_norm(F.conv2d(x, convolution.weight, padding=1), 32, norm.weight, norm.bias))
            if level > 0:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + x
    scores = (
        torch.einsum("sc,bchw->bshw", branch.predict.weight[:, :, 0, 0], total) + branch.predict.bias[:, None, None]
    )
    assert_close(found, F.interpolate(scores, (64, 96), mode="bilinear", align_corners=False), EXACT)
    assert found.shape == (2, 6, 64, 96)  # five classes and "other"


@pytest.mark.system("5.3.1-PANFPN")
def test_the_papers_branch_has_128_channels() -> None:
    branch = StuffBranch(256, 53)
    convolutions = [
        module for module in branch.modules() if isinstance(module, nn.Conv2d) and module.kernel_size[0] == 3
    ]
    assert {module.out_channels for module in convolutions} == {128}
    assert len(convolutions) == 7
    assert branch.predict.out_channels == 54


@pytest.mark.system("5.3.1-PANFPN", "5.3.1-MERGE")
def test_the_published_form_has_the_numbers_of_detectron2() -> None:
    """Configuration COCO-PanopticSegmentation/panoptic_fpn_R_50, and the defaults that it leaves as they are."""
    with torch.device("meta"):
        model: Any = panoptic_fpn_resnet50()
    network, criterion, decode = model.network, model.criterion, model.decode
    # SEM_SEG_HEAD: CONVS_DIM 128 on p2 .. p5, NUM_CLASSES 54, norm GN, without biases but those of the last layer
    convolutions = 4 * 256 * 128 * 9 + 3 * 128 * 128 * 9
    assert sum(p.numel() for p in network.stuff.parameters()) == convolutions + 7 * 2 * 128 + 54 * 128 + 54
    # FPN 256 channels; ROI_BOX_HEAD: two layers of 1024; ROI_MASK_HEAD: four convolutions of 256; 80 classes
    things = network.things
    assert things.pyramid.channels == 256
    assert [layer.out_features for layer in things.region_head.modules() if isinstance(layer, nn.Linear)] == (
        [1024, 1024, 81, 320]
    )
    assert [m.out_channels for m in things.mask_head.modules() if isinstance(m, nn.Conv2d)] == [256] * 4 + [80]
    assert criterion.stuff_weight == 0.5  # SEM_SEG_HEAD.LOSS_WEIGHT
    # PANOPTIC_FPN.COMBINE: INSTANCES_CONFIDENCE_THRESH, OVERLAP_THRESH, STUFF_AREA_LIMIT
    assert (decode.score_threshold, decode.overlap_threshold, decode.least_stuff) == (0.5, 0.5, 4096)
    # ROI_HEADS.SCORE_THRESH_TEST, NMS_THRESH_TEST; TEST.DETECTIONS_PER_IMAGE
    select = things.select
    assert (select.score_threshold, select.nms_threshold, select.detections_per_image) == (0.05, 0.5, 100)
    # RPN.PRE_NMS_TOPK_TEST and POST_NMS_TOPK_TEST
    assert (things.selection.before, things.selection.after) == (1000, 1000)
    assert (model.preprocess.shorter, model.preprocess.longest) == (800, 1333)  # INPUT.MIN_SIZE_TEST, MAX_SIZE_TEST


def test_maps_that_do_not_halve_are_refused() -> None:
    branch = StuffBranch(8, 5, channels=32).double()
    with pytest.raises(ValueError, match="expected 4 that halve from one to the next"):
        branch(pyramid()[:3])
    with pytest.raises(ValueError, match="expected 4 that halve"):
        branch([F.pad(level, (0, 1)) for level in pyramid()])


def slow(
    masks: np.ndarray, scores: np.ndarray, labels: np.ndarray, stuff: np.ndarray, least: int
) -> tuple[np.ndarray, list[tuple[int, bool]]]:
    """Pixel by pixel, after detectron2's description of the heuristic."""
    H, W = stuff.shape
    ids, kinds = np.zeros((H, W), int), []
    for row in sorted(range(len(scores)), key=lambda n: (-scores[n], n)):
        if scores[row] < 0.5:
            continue
        pixels = [(y, x) for y in range(H) for x in range(W) if masks[row, y, x]]
        free = [(y, x) for y, x in pixels if ids[y, x] == 0]
        if not pixels or (len(pixels) - len(free)) / len(pixels) > 0.5:
            continue
        kinds.append((int(labels[row]), True))
        for y, x in free:
            ids[y, x] = len(kinds)
    for label in sorted(set(stuff.ravel().tolist())):
        rest = [(y, x) for y in range(H) for x in range(W) if stuff[y, x] == label and ids[y, x] == 0]
        if label < 0 or len(rest) < least:
            continue
        kinds.append((label, False))
        for y, x in rest:
            ids[y, x] = len(kinds)
    return ids, kinds


@pytest.mark.system("5.3.1-MERGE")
@pytest.mark.parametrize("seed", range(5))
def test_merging_equals_slow_loops(seed: int) -> None:
    generator = np.random.default_rng(seed)
    masks = np.zeros((8, 20, 24), bool)
    for mask in masks[:-1]:
        y, x, h, w = generator.integers(0, (14, 16, 12, 14))
        mask[y : y + h + 2, x : x + w + 2] = True
    scores, labels = generator.random(8), generator.integers(0, 4, 8)
    stuff = np.repeat(np.repeat(generator.integers(-1, 3, (4, 4)), 5, 0), 6, 1)
    expected, kinds = slow(masks, scores, labels, stuff, 30)
    ids, segments = merge_things_over_stuff(
        *(torch.from_numpy(value) for value in (masks, scores, labels, stuff)), least_stuff=30
    )
    assert np.array_equal(ids.numpy(), expected)
    assert [(s.label, s.is_thing) for s in segments] == kinds
    assert [s.id for s in segments] == list(range(1, len(kinds) + 1))


@pytest.mark.system("5.3.1-MERGE", "B5.16")
def test_things_override_stuff_and_the_surest_thing_others() -> None:
    masks = torch.tensor([[[1, 1, 1, 0, 0, 0]], [[0, 0, 1, 1, 0, 0]], [[1, 1, 0, 0, 0, 0]]], dtype=torch.bool)
    scores, labels = torch.tensor([0.7, 0.9, 0.6]), torch.tensor([0, 1, 2])
    stuff = torch.tensor([[5, 5, 5, 5, 5, -1]])
    ids, segments = merge_things_over_stuff(masks, scores, labels, stuff, least_stuff=1)
    assert ids.tolist() == [[2, 2, 1, 1, 3, 0]]  # the third thing is hidden by the first
    assert [(s.label, s.is_thing, round(s.score, 2)) for s in segments] == [
        (1, True, 0.9),
        (0, True, 0.7),
        (5, False, 1),
    ]
    half = torch.tensor([[[1, 1, 0, 0, 0, 0]], [[0, 1, 1, 0, 0, 0]]], dtype=torch.bool)
    ids, _ = merge_things_over_stuff(half, torch.tensor([0.9, 0.5]), labels[:2], stuff, least_stuff=3)
    assert ids.tolist() == [[1, 1, 2, 0, 0, 0]]  # half of it is left, and 0.5 is enough; two pixels of stuff are not
    ids, segments = merge_things_over_stuff(masks[:0], scores[:0], labels[:0], stuff, least_stuff=5)
    assert ids.tolist() == [[1, 1, 1, 1, 1, 0]]


@pytest.mark.system("5.3.1-MERGE")
def test_thresholds_are_the_authors() -> None:
    """detectron2: 0.5 of the score, 0.5 of the overlap, 4,096 pixels of stuff."""
    stuff = torch.zeros(64, 64, dtype=torch.int64)
    nothing = torch.zeros(0, 64, 64, dtype=torch.bool), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert len(merge_things_over_stuff(*nothing, stuff)[1]) == 1
    stuff[0, 0] = -1
    assert not merge_things_over_stuff(*nothing, stuff)[1]


# ----------------------------------------------------------------------------------------------------------------------
# The whole system


def small() -> Any:
    shape = {"channels": 32, "hidden": 32, "mask_channels": 16, "stuff_channels": 32, "width": 0.25}
    return panoptic_fpn_tiny(size=(64, 64), **shape)


def test_labels_are_sorted_into_things_and_stuff() -> None:
    legend = Legend.of(frozenset({1, 3}), 5)
    assert (legend.things, legend.stuff) == ((1, 3), (0, 2, 4))
    assert legend.rows(legend.things, -1)[:6].tolist() == [-1, 0, -1, 1, -1, -1]
    assert legend.rows(legend.stuff, 3)[:6].tolist() == [0, 3, 1, 3, 2, 3]


@pytest.mark.system("5.3.1-PANFPN")
def test_things_of_a_target_are_what_the_world_says() -> None:
    keys = ("panoptic", "semantic", "crowd", "boxes", "labels", "masks")
    world = World("train", count=4, size=(64, 64), targets=keys)
    for _, target in (world[k] for k in range(4)):
        found = small().criterion.objects({key: target[key] for key in ("panoptic", "semantic", "crowd")})
        assert torch.equal(found["boxes"], target["boxes"].as_subclass(Tensor))
        assert torch.equal(found["labels"], target["labels"])
        assert torch.equal(found["masks"], target["masks"].as_subclass(Tensor))
        assert not found["crowd"].any()


@pytest.mark.system("5.3.1-PANFPN")
def test_stuff_has_the_mean_cross_entropy_of_the_pixels_with_a_class() -> None:
    """Ground and sky are 0 and 1, all things are 2; void and padding count nowhere; half the weight."""
    model = small()
    world = World("train", count=2, size=(64, 64), targets=("panoptic", "semantic", "crowd"))
    placed = [model.preprocess.place(*world[k]) for k in range(2)]
    batch = model.preprocess.collate(placed)
    batch.targets[0]["semantic"][:9] = 255
    logits = torch.randn(2, 3, 64, 64)
    classes = torch.stack([target["semantic"].as_subclass(Tensor).long() for target in batch.targets])
    wanted = torch.where(classes == 255, -100, torch.where(classes >= 5, classes - 5, 2))
    expected = F.cross_entropy(logits.double(), wanted, ignore_index=-100)
    assert_close(model.criterion.of_pixels(logits, batch, Step()).double(), expected, 1e-6)
    assert model.criterion.stuff_weight == 0.5
    losses = model.losses("network", batch, Step(generator=torch.Generator().manual_seed(0)))
    assert set(losses) == {"objectness", "proposal", "classification", "box", "mask", "stuff"}


@pytest.mark.system("5.3.1-PANFPN", "5.3.1-MERGE")
def test_detections_lie_over_the_best_stuff_of_each_pixel() -> None:
    """One sphere over ground (row 0 of stuff) and sky (row 1), in the pixels of an original twice as small."""
    model = small()
    stuff = torch.full((1, 3, 64, 64), -5.0)
    stuff[0, 0, 32:] = 5
    stuff[0, 1, :32] = 5
    stuff[0, 2, :, 60:] = 20  # "other", where no thing was found
    outputs = PanopticOutputs(
        torch.tensor([[[16.0, 16.0, 48.0, 48.0]]]),
        torch.tensor([[0.9]]),
        torch.tensor([[0]]),
        torch.tensor([[True]]),
        torch.full((1, 1, 28, 28), 9.0),
        stuff,
    )
    (found,) = model.decode(outputs, [Placement((32, 32), (64, 64))])
    assert [(s.label, s.is_thing, round(s.score, 3)) for s in found] == [(0, True, 0.9), (5, False, 1), (6, False, 1)]
    expected = torch.full((32, 32), 3)
    expected[16:] = 2
    expected[:, 30:] = 0
    expected[8:24, 8:24] = 1
    assert torch.equal(found.ids.long(), expected)
