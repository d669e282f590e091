"""What follows from a set of masks: by hand, by slow loops, and against transformers' post-processing."""

import inspect
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.mask2former import image_processing_mask2former as theirs_mask2former
from transformers.models.maskformer import image_processing_maskformer as theirs
from transformers.models.maskformer.image_processing_maskformer import MaskFormerImageProcessor

from tests.closeness import EXACT, assert_close
from vidi.ops import blocks
from vidi.ops.masks import boxes_of_masks
from vidi.preprocess import Placement
from vidi.results.panoptic_map import PanopticMap
from vidi.segmentation.mask_classification import (
    InstanceDecode,
    MaskOutputs,
    PanopticDecode,
    SemanticDecode,
    best_masks,
    panoptic_segments,
    semantic_scores,
    thing_labels,
)

NAMES = ("sphere", "box", "ground", "sky")
THINGS = frozenset({0, 1})
SIZE = (24, 32)


def drawn(seed: int, *, certain: bool, queries: int = 9) -> MaskOutputs:
    """Smooth masks, and classes of which some are "no object"; `certain` ones have a probability of one."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, queries, 5, dtype=torch.float64, generator=generator) * 2
    if certain:
        # things first, then ground after ground and sky after sky: transformers' numbers of joined stuff are right then
        labels = torch.tensor([0, 1, 0, 4, 1, 2, 2, 3, 3])[:queries]
        logits = F.one_hot(labels, 5).double()[None] * 200
    coarse = torch.randn(1, queries, 4, 5, dtype=torch.float64, generator=generator) * 4
    masks = F.interpolate(coarse, SIZE, mode="bilinear")
    return MaskOutputs(logits, masks, logits[:, None][:, :0], masks[:, None][:, :0])


def transformers_outputs(outputs: MaskOutputs) -> Any:
    return SimpleNamespace(class_queries_logits=outputs.class_logits, masks_queries_logits=outputs.mask_logits)


def kept(outputs: MaskOutputs, threshold: float) -> tuple[Tensor, Tensor, list[Tensor]]:
    scores, labels = outputs.class_logits[0].softmax(-1).max(-1)
    rows = (labels != len(NAMES)) & (scores > threshold)
    return scores[rows], labels[rows], [outputs.mask_logits[0, rows].sigmoid()]


# ----------------------------------------------------------------------------------------------------------------------
# Per-pixel rules


@pytest.mark.system("5.3.2-MFINFER", "B5.17")
def test_a_pixel_goes_to_the_mask_with_the_largest_product() -> None:
    """p = (.9, .6), m(u, v) = (.5, .8): .45 < .48, mask 2, though the first is surer of its class."""
    masks = torch.tensor([[[0.5]], [[0.8]]])
    scores = torch.tensor([0.9, 0.6])
    assert_close(scores[:, None, None] * masks, torch.tensor([[[0.45]], [[0.48]]]), 1e-6)
    assert best_masks(scores, masks).tolist() == [[1]]
    ids, segments, hidden = panoptic_segments(scores, torch.tensor([0, 2]), [masks], things=THINGS)
    assert ids.tolist() == [[1]]
    assert [(s.label, s.is_thing) for s in segments] == [(2, False)]
    assert hidden == 1


@pytest.mark.system("5.3.2-MFINFER")
@pytest.mark.parametrize("seed", range(3))
def test_semantic_scores_are_the_sum_over_masks_of_class_and_mask(seed: int) -> None:
    outputs = drawn(seed, certain=False)
    probabilities, masks = outputs.class_logits[0].softmax(-1)[:, :-1], outputs.mask_logits[0].sigmoid()
    slow = sum(p[:, None, None] * m for p, m in zip(probabilities, masks, strict=True))
    assert_close(semantic_scores(probabilities, masks), slow, EXACT)
    processor: Any = MaskFormerImageProcessor()
    (expected,) = processor.post_process_semantic_segmentation(transformers_outputs(outputs))
    assert torch.equal(semantic_scores(probabilities, masks).argmax(0), expected)


def test_the_two_rules_differ() -> None:
    """Two half-sure masks of one class outweigh a surer one of another, where classes of pixels are asked for."""
    probabilities = torch.tensor([[0.5, 0.1], [0.5, 0.1], [0.1, 0.6]])
    masks = torch.full((3, 1, 1), 0.9)
    assert semantic_scores(probabilities, masks).argmax(0).tolist() == [[0]]
    scores, labels = probabilities.max(1)
    assert labels[best_masks(scores, masks)].tolist() == [[1]]


# ----------------------------------------------------------------------------------------------------------------------
# Panoptic


def slow_segments(
    scores: Tensor, labels: Tensor, masks: Tensor, threshold: float, least: float, only_inside: bool
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The authors' inference, mask by mask and pixel by pixel."""
    N, H, W = masks.shape
    owner = np.zeros((H, W), int)
    for y in range(H):
        for x in range(W):
            owner[y, x] = max(range(N), key=lambda n: float(scores[n] * masks[n, y, x]))
    ids, segments, stuff = np.zeros((H, W), int), [], {}
    for n in range(N):
        pixels = [(y, x) for y in range(H) for x in range(W) if owner[y, x] == n]
        whole = int((masks[n] >= least).sum())
        inside = [(y, x) for y, x in pixels if masks[n, y, x] >= least] if only_inside else pixels
        if not pixels or not whole or len(pixels) / whole < threshold or not inside:
            continue
        label = int(labels[n])
        number = stuff.get(label)
        if number is None:
            number = len(segments) + 1
            segments.append((number, label))
            if label not in THINGS:
                stuff[label] = number
        for y, x in inside:
            ids[y, x] = number
    return ids, segments


@pytest.mark.system("5.3.2-MFINFER", "5.3.2-MASKCLS")
@pytest.mark.parametrize("only_inside", [False, True])
@pytest.mark.parametrize(("threshold", "least"), [(0.3, 0.5), (0.8, 0.5), (0.8, 0.7)])
def test_segments_equal_slow_loops(threshold: float, least: float, only_inside: bool) -> None:
    lost = 0
    for seed in range(4):
        scores, labels, masks = kept(drawn(seed, certain=False, queries=14), 0.3)
        options = {"overlap_threshold": threshold, "mask_threshold": least, "only_inside": only_inside}
        ids, segments, hidden = panoptic_segments(scores, labels, masks, things=THINGS, **options)
        expected, rows = slow_segments(scores, labels, masks[0], threshold, least, only_inside)
        assert np.array_equal(ids.numpy(), expected)
        assert [(s.id, s.label) for s in segments] == rows
        assert all(s.is_thing == (s.label in THINGS) for s in segments)
        lost += hidden
    assert lost > 0


@pytest.mark.system("5.3.2-MASKCLS")
@pytest.mark.parametrize("least", [0.5, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_segments_equal_those_of_transformers(seed: int, least: float) -> None:
    """It compares areas with masks times scores where the authors take the masks: with sure classes both are one."""
    outputs = drawn(seed, certain=True)
    processor = MaskFormerImageProcessor()
    (expected,) = processor.post_process_panoptic_segmentation(
        transformers_outputs(outputs),
        threshold=0.5,
        mask_threshold=least,
        overlap_mask_area_threshold=0.4,
        label_ids_to_fuse={2, 3},
    )
    options: Any = {"overlap_threshold": 0.4, "mask_threshold": least}
    ids, segments, _ = panoptic_segments(*kept(outputs, 0.5), things=THINGS, **options)
    assert torch.equal(ids, expected["segmentation"])
    assert [(s.id, s.label) for s in segments] == list(
        dict.fromkeys((row["id"], row["label_id"]) for row in expected["segments_info"])
    )


@pytest.mark.system("5.3.2-MASKCLS")
@pytest.mark.parametrize("seed", range(4))
def test_unsure_segments_equal_those_of_transformers_with_the_authors_areas(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = drawn(seed, certain=False)
    scores, labels, (masks,) = kept(outputs, 0.4)

    def authors(mask_labels: Tensor, weighted: Tensor, k: int, mask: float, overlap: float) -> tuple[bool, Tensor]:
        given, whole = mask_labels == k, int((masks[k] >= mask).sum())
        return bool(given.any() and whole and int(given.sum()) / whole >= overlap), given

    monkeypatch.setattr(theirs, "check_segment_validity", authors)
    (expected,) = MaskFormerImageProcessor().post_process_panoptic_segmentation(
        transformers_outputs(outputs), threshold=0.4, overlap_mask_area_threshold=0.4, label_ids_to_fuse=set()
    )
    ids, segments, _ = panoptic_segments(scores, labels, [masks], things=frozenset(range(4)), overlap_threshold=0.4)
    assert torch.equal(ids.to(expected["segmentation"].dtype), expected["segmentation"])
    assert [s.label for s in segments] == [row["label_id"] for row in expected["segments_info"]]
    assert [s.score for s in segments] == pytest.approx([row["score"] for row in expected["segments_info"]], abs=1e-6)


def test_no_masks_are_no_segments() -> None:
    ids, segments, hidden = panoptic_segments(
        torch.zeros(0), torch.zeros(0, dtype=torch.int64), [torch.zeros(0, 2, 4), torch.zeros(0, 1, 4)], things=THINGS
    )
    assert (ids.tolist(), segments, hidden) == ([[0] * 4] * 3, [], 0)


# ----------------------------------------------------------------------------------------------------------------------
# The decoders: one set of outputs, three kinds of results in the pixels of the original


def placements() -> list[Placement]:
    """An image that was enlarged to 80 x 104 of a canvas of 96 x 128."""
    return [Placement((40, 52), (80, 104))]


def by_hand(logits: Tensor) -> Tensor:
    """Bring masks to the canvas, cut out the image, bring that to the original."""
    canvas = F.interpolate(logits[None], (96, 128), mode="bilinear", align_corners=False)[..., :80, :104]
    return F.interpolate(canvas, (40, 52), mode="bilinear", align_corners=False)[0].sigmoid()


@pytest.mark.system("5.3.2-MASKCLS")
def test_one_predictor_gives_all_three() -> None:
    outputs = drawn(0, certain=False)
    (semantic,) = SemanticDecode(NAMES, THINGS)(outputs, placements())
    probabilities = outputs.class_logits[0].softmax(-1)
    masks = by_hand(outputs.mask_logits[0])
    assert torch.equal(semantic.classes, semantic_scores(probabilities[:, :4], masks).argmax(0).byte())

    (panoptic,) = PanopticDecode(NAMES, THINGS, 0.5, 0.4)(outputs, placements())
    scores, labels, _ = kept(outputs, 0.5)
    rows = (probabilities.max(1).indices != 4) & (probabilities.max(1).values > 0.5)
    ids, segments, hidden = panoptic_segments(scores, labels, [masks[rows]], things=THINGS, overlap_threshold=0.4)
    assert torch.equal(panoptic.ids, ids)
    assert list(panoptic.segments) == segments
    absent = int((probabilities.max(1).indices == 4).sum())
    unsure = len(rows) - absent - int(rows.sum())
    assert panoptic.fallen == {"without an object": absent, "below the score": unsure, "hidden by others": hidden}
    assert min(absent, unsure) > 0

    (instances,) = InstanceDecode(NAMES, THINGS, detections_per_image=7)(outputs, placements())
    pairs = sorted(((float(probabilities[q, k]), q, k) for q in range(9) for k in sorted(THINGS)), reverse=True)[:7]
    expected = []
    for score, query, label in pairs:
        inside = masks[query] > 0.5
        if inside.any():
            sure = float(masks[query][inside].sum() / (inside.sum() + 1e-6))
            expected.append((score * sure, label, inside))
    expected.sort(key=lambda row: -row[0])
    assert instances.scores.tolist() == pytest.approx([row[0] for row in expected], rel=1e-12)
    assert instances.labels.tolist() == [row[1] for row in expected]
    found = instances.masks
    assert isinstance(found, Tensor)
    assert torch.equal(found, torch.stack([row[2] for row in expected]))
    assert torch.equal(instances.boxes, boxes_of_masks(found))
    assert instances.labels.max() <= 1


@pytest.mark.system("5.3.2-MASKCLS")
def test_instances_equal_those_of_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = drawn(1, certain=False)
    (expected,) = MaskFormerImageProcessor().post_process_instance_segmentation(
        transformers_outputs(outputs), threshold=0.2, return_binary_maps=True
    )
    monkeypatch.setattr(InstanceDecode, "masks", staticmethod(lambda logits, placement: logits.sigmoid()))
    decode = InstanceDecode(NAMES, frozenset(range(4)), detections_per_image=9, score_threshold=0.2)
    (found,) = decode(outputs, [Placement(SIZE, SIZE)])
    rows = sorted(enumerate(expected["segments_info"]), key=lambda row: -row[1]["score"])
    assert found.scores.tolist() == pytest.approx([row["score"] for _, row in rows], abs=1e-6)
    assert found.labels.tolist() == [row["label_id"] for _, row in rows]
    assert isinstance(found.masks, Tensor)
    assert torch.equal(found.masks, torch.stack([expected["segmentation"][place] for place, _ in rows]).bool())
    assert len(rows) > 3


def test_masks_of_a_large_picture_are_made_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, decode, made = drawn(2, certain=False), InstanceDecode(NAMES, THINGS, detections_per_image=7), []
    (whole,) = decode(outputs, placements())
    make = InstanceDecode.masks

    def noting(logits: Tensor, placement: Placement) -> Tensor:
        made.append(len(logits))
        return make(logits, placement)

    monkeypatch.setattr(InstanceDecode, "masks", staticmethod(noting))
    monkeypatch.setattr(blocks, "LARGEST", 3 * 40 * 52 + 1)
    (found,) = decode(outputs, placements())
    assert made == [3, 3, 1]
    assert len(whole) > 3
    for name in ("boxes", "scores", "labels", "masks"):
        assert torch.equal(getattr(found, name), getattr(whole, name))


@pytest.mark.system("5.3.2-MASKCLS")
@pytest.mark.parametrize("strip", [1, 3, 17])
def test_strips_of_any_height_give_the_same(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 9 queries, and of 9 queries and 4 classes, in 52 columns; 40 rows are one strip by default."""
    outputs, heights = drawn(3, certain=False), []
    panoptic, semantic = PanopticDecode(NAMES, THINGS, 0.3, 0.3, only_inside=True), SemanticDecode(NAMES, THINGS)
    (whole,), (classes,) = panoptic(outputs, placements()), semantic(outputs, placements())
    (scores,) = semantic.scores(outputs, placements())
    assert torch.equal(scores.whole().argmax(0).byte(), classes.classes)
    make = Placement.rows_to_original

    def noting(placement: Placement, maps: Any, rows: slice) -> Tensor:
        heights.append(rows.stop - rows.start)
        return make(placement, maps, rows)

    monkeypatch.setattr(Placement, "rows_to_original", noting)
    for decode, depth in ((panoptic, 9), (semantic, 13)):
        heights.clear()
        monkeypatch.setattr(blocks, "LARGEST", strip * 52 * depth)
        (found,) = decode(outputs, placements())
        if isinstance(found, PanopticMap):
            assert torch.equal(found.ids, whole.ids)
            assert (found.segments, found.fallen) == (whole.segments, whole.fallen)
        else:
            assert torch.equal(found.classes, classes.classes)
            assert heights == [strip] * (40 // strip) + ([40 % strip] if 40 % strip else [])
        assert len(heights) > 1
    assert len(whole) > 1


def test_thresholds_of_masks_are_heeded() -> None:
    """Logits of 1 are a probability of 0.73."""
    logits = torch.tensor([[[9.0, 0.0, 0.0]]])
    masks = torch.full((1, 1, 8, 8), -5.0)
    masks[..., :4], masks[..., 4:6] = 5.0, 1.0
    outputs = MaskOutputs(logits, masks, logits[:, None][:, :0], masks[:, None][:, :0])
    place = [Placement((32, 32), (32, 32))]
    for least in (0.5, 0.72, 0.8):
        decode = PanopticDecode(("a", "b"), frozenset({0, 1}), mask_threshold=least, only_inside=True)
        (panoptic,) = decode(outputs, place)
        (instances,) = InstanceDecode(("a", "b"), frozenset({0, 1}), 1, mask_threshold=least)(outputs, place)
        found: Any = instances.masks
        inside = pixels_of(masks[0], least)
        assert torch.equal(panoptic.ids == 1, inside)
        assert torch.equal(found[0], inside)


def pixels_of(logits: Tensor, least: float) -> Tensor:
    """Return the pixels, four for each of a mask, that are at least so likely."""
    return F.interpolate(logits[None], (32, 32), mode="bilinear")[0, 0].sigmoid() >= least


@pytest.mark.parametrize("least", [-0.1, 1.5])
def test_thresholds_that_cannot_be_are_refused(least: float) -> None:
    for name in ("score_threshold", "overlap_threshold", "mask_threshold"):
        with pytest.raises(ValueError, match=rf"received {name}={least}, expected a number from 0 to 1"):
            replace(PanopticDecode(NAMES, THINGS), **{name: least})
    with pytest.raises(ValueError, match="received detections_per_image=0, expected at least 1"):
        InstanceDecode(NAMES, THINGS, 0)


@pytest.mark.system("5.3.2-MASKCLS")
def test_every_pair_is_an_object_or_has_fallen_for_one_reason() -> None:
    """By hand: sure of an empty mask, unsure, "no object" with pixels and without, and one that is found."""
    logits = torch.tensor([[[9.0, 0, 0], [1, 0.5, 0.9], [0, 0, 9], [0.1, 0, 8], [0, 9, 0]]])
    masks = torch.full((1, 5, 8, 8), 9.0)
    masks[0, 0], masks[0, 3] = -9.0, -9.0
    outputs = MaskOutputs(logits, masks, logits[:, None][:, :0], masks[:, None][:, :0])
    place = [Placement((32, 32), (32, 32))]
    (found,) = InstanceDecode(("a", "b"), frozenset({0, 1}), 10, 0.5)(outputs, place)
    assert found.labels.tolist() == [1]
    # each query with both classes
    assert found.fallen == {"without an object": 4, "without pixels": 2, "below the score": 3}
    assert found.above(0.9999).fallen["below the score"] == 4
    assert found.to_dict()["fallen"] == found.fallen
    assert str(found.above(1.0)) == "no objects (4 below the score, 4 without an object, 2 without pixels)"
    (all_of_them,) = InstanceDecode(("a", "b"), frozenset({0, 1}), 10)(outputs, place)
    assert all_of_them.fallen == {"below the score": 0, "without an object": 2, "without pixels": 2}
    assert len(all_of_them) + sum(all_of_them.fallen.values()) == 10


def test_a_mask_of_one_pixel_is_an_object() -> None:
    logits = torch.tensor([[[9.0, 0.0]]])
    masks = torch.tensor([[[[9.0, -9.0], [-9.0, -9.0]]]])
    outputs = MaskOutputs(logits, masks, logits[:, None][:, :0], masks[:, None][:, :0])
    (found,) = InstanceDecode(("a",), frozenset({0}))(outputs, [Placement((2, 2), (8, 8))])
    assert isinstance(found.masks, Tensor)
    assert found.masks.int().tolist() == [[[1, 0], [0, 0]]]


def test_nothing_is_found_below_the_threshold_of_scores() -> None:
    (found,) = InstanceDecode(NAMES, THINGS, score_threshold=1.0)(drawn(1, certain=False), placements())
    assert len(found) == 0
    assert found.masks is not None
    assert found.masks.shape == (0, 40, 52)


def test_both_processors_of_transformers_have_the_same_panoptic_rule() -> None:
    assert inspect.getsource(theirs.compute_segments) == inspect.getsource(theirs_mask2former.compute_segments)


def test_classes_without_a_name_are_dropped() -> None:
    logits = torch.tensor([[[0.0, 5.0, 3.0, 0.0], [0.0, 0.0, 0.0, 9.0]]])
    outputs = MaskOutputs(logits, torch.full((1, 2, 8, 8), 5.0), logits[:, None][:, :0], torch.zeros(1, 0, 2, 8, 8))
    names = ("a", None, "b")
    (found,) = PanopticDecode(names, frozenset({1}), 0.05)(outputs, [Placement((32, 32), (32, 32))])
    assert found.categories == ("a", "b")
    assert [(s.label, s.is_thing) for s in found] == [(1, True)]
    assert found.fallen["without an object"] == 1


def test_nothing_found_says_why() -> None:
    logits = torch.tensor([[[0.0, 0.0, 9.0], [0.1, 0.0, 0.0]]])
    outputs = MaskOutputs(logits, torch.zeros(1, 2, 8, 8), logits[:, None][:, :0], torch.zeros(1, 0, 2, 8, 8))
    (found,) = PanopticDecode(("a", "b"), frozenset())(outputs, [Placement((32, 32), (32, 32))])
    assert str(found) == "no segments (1 without an object, 1 below the score, 0 hidden by others)"
    assert found.to_dict()["fallen"] == {"without an object": 1, "below the score": 1, "hidden by others": 0}


def test_things_by_name_and_by_number() -> None:
    assert thing_labels(2, ("a", "b", "c")) == {0, 1}
    assert thing_labels(3, ("a", "b", "c")) == {0, 1, 2}
    assert thing_labels(("c", "a"), ("a", None, "b", "c")) == {0, 2}
    with pytest.raises(ValueError, match=r"received things=4, expected 0\.\.3"):
        thing_labels(4, ("a", "b", "c"))
    with pytest.raises(ValueError, match="received the things 'd', expected names of categories"):
        thing_labels(("a", "d"), ("a", "b", "c"))
