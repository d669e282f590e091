"""What mask classifiers are trained on and give besides segments: the class of each pixel, and instances."""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Mask2FormerImageProcessor
from transformers.models.maskformer.image_processing_maskformer import MaskFormerImageProcessor

from tests.closeness import NUMBERS, assert_close
from vidi.catalog.table import CATALOG
from vidi.model import Losses, Step
from vidi.ops.label_maps import VOID
from vidi.preprocess import Batch, Placement
from vidi.segmentation.mask2former import (
    mask2former_resnet50,
    mask2former_resnet50_instance,
    mask2former_tiny,
    mask2former_tiny_instance,
    mask2former_tiny_semantic,
)
from vidi.segmentation.mask_classification import (
    InstanceDecode,
    MaskOutputs,
    PaddedSegments,
    PanopticDecode,
    SemanticDecode,
    form_of,
)
from vidi.segmentation.maskformer import (
    maskformer_resnet50,
    maskformer_resnet50_semantic,
    maskformer_tiny,
    maskformer_tiny_semantic,
)

CANVAS = (64, 96)
SIZES = [(64, 96), (48, 80)]  # of the images on it


def target_of(size: tuple[int, int]) -> dict[str, Tensor]:
    """Two boxes of classes 0 and 2, apart from each other, on ground of class 3; a void row; as all forms have it."""
    masks = torch.zeros(2, *size, dtype=torch.bool)
    masks[0, 4:20, 6:30] = True
    masks[1, 24:40, 40:70] = True
    semantic = torch.full(size, 3, dtype=torch.uint8)
    semantic[masks[0]], semantic[masks[1]], semantic[0] = 0, 2, VOID
    panoptic = torch.full(size, 3, dtype=torch.int32)
    panoptic[masks[0]], panoptic[masks[1]], panoptic[0] = 1, 2, 0
    boxes = torch.tensor([[6.0, 4.0, 30.0, 20.0], [40.0, 24.0, 70.0, 40.0]])
    objects = {"boxes": boxes, "labels": torch.tensor([0, 2]), "masks": masks}
    return {**objects, "semantic": semantic, "panoptic": panoptic}


def batch_of(targets: list[dict[str, Tensor]]) -> Batch:
    mask = torch.zeros(len(targets), *CANVAS, dtype=torch.bool)
    placements = [Placement(size, size) for size in SIZES[: len(targets)]]
    return Batch(torch.zeros(len(targets), 3, *CANVAS), mask, placements, targets)


def targets_of(batch: Batch) -> list[Any]:
    return list(batch.targets)


def batch_with(*keys: str) -> Batch:
    return batch_of([{key: target_of(size)[key] for key in keys} for size in SIZES])


@pytest.mark.system("5.3.2-MASKCLS")
def test_classes_that_occur_are_a_mask_each() -> None:
    batch = batch_with("semantic")
    found = PaddedSegments.of(batch, (0, 2, 4, 5), "semantic")  # the second logit has no name
    assert found.counts == [3, 3]
    assert found.outputs.tolist() == [[0, 4, 5]] * 2
    for own, (H, W), target in zip(found.masks, SIZES, batch.targets, strict=True):
        for mask, label in zip(own, (0, 2, 3), strict=True):
            assert torch.equal(mask[:H, :W], target["semantic"] == label)
            assert not mask[H:].any()
            assert not mask[:, W:].any()


@pytest.mark.system("5.3.2-MASKCLS")
def test_objects_with_pixels_that_are_no_crowds_are_a_mask_each() -> None:
    target = target_of(SIZES[0])
    extra = torch.zeros(2, *SIZES[0], dtype=torch.bool)
    extra[0, 50:60, 10:20] = True  # a crowd; the other one lost its pixels
    many = {
        "boxes": torch.cat((target["boxes"], torch.tensor([[10.0, 50.0, 20.0, 60.0], [5.0, 5.0, 5.2, 5.3]]))),
        "labels": torch.tensor([0, 2, 1, 1]),
        "masks": torch.cat((target["masks"], extra)),
        "crowd": torch.tensor([False, False, True, False]),
    }
    found = PaddedSegments.of(batch_of([many]), (0, 1, 2), "instance")
    assert found.counts == [2]
    assert found.outputs.tolist() == [[0, 2]]
    assert torch.equal(found.masks[0], target["masks"])


@pytest.mark.system("5.3.2-MFLOSS", "5.3.3-M2F")
@pytest.mark.parametrize(
    ("panoptic", "semantic", "instance"),
    [
        (maskformer_tiny, maskformer_tiny_semantic, None),
        (mask2former_tiny, mask2former_tiny_semantic, mask2former_tiny_instance),
    ],
)
def test_losses_are_those_of_the_same_masks_as_segments(panoptic: Any, semantic: Any, instance: Any) -> None:
    """Transformers proves those of segments; here no class occurs twice, and no objects overlap."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 6, 5, generator=generator, dtype=torch.float64)
    masks = torch.randn(2, 2, 6, 16, 24, generator=generator, dtype=torch.float64)
    outputs = MaskOutputs.of_layers(logits, masks)

    def losses(build: Any, batch: Batch, **arguments: Any) -> Losses:
        step = Step(generator=torch.Generator().manual_seed(1))
        return build(categories=4, **arguments).criterion.compare(outputs, batch, step)

    segments = batch_with("panoptic", "semantic")
    expected = losses(panoptic, segments, things=3)
    assert_close(losses(semantic, batch_with("semantic")), expected, NUMBERS)
    if instance is not None:
        for target in targets_of(segments):  # the ground is no object
            target["semantic"][target["semantic"] == 3] = VOID
        expected = losses(panoptic, segments, things=3)
        assert_close(losses(instance, batch_with("boxes", "labels", "masks")), expected, NUMBERS)


@pytest.mark.system("5.3.2-MFLOSS")
def test_two_processes_equal_one() -> None:
    """The normalisers are sums over both: three masks of classes in one image, two in the other."""
    model: Any = maskformer_tiny_semantic(categories=4).double()
    targets = targets_of(batch_with("semantic"))
    targets[1]["semantic"][targets[1]["semantic"] == 3] = VOID
    generator = torch.Generator().manual_seed(0)
    outputs = MaskOutputs.of_layers(
        torch.randn(2, 2, 6, 5, generator=generator, dtype=torch.float64),
        torch.randn(2, 2, 6, 16, 24, generator=generator, dtype=torch.float64),
    )
    batch = batch_of(targets)
    expected = model.criterion.compare(outputs, batch, Step())
    parts = [MaskOutputs(*(value[row : row + 1] for value in outputs)) for row in range(2)]
    counts: list[list[Tensor]] = [[], []]
    for row, own in enumerate(counts):
        noting = Step(share=0.5, mean=lambda count, own=own: own.append(count.detach()) or count)
        model.criterion.compare(parts[row], batch.only(row), noting)
    totals = [one + other for one, other in zip(*counts, strict=True)]
    shares = []
    for row in range(2):
        answers = (0.5 * total for total in totals)
        told = Step(share=0.5, mean=lambda _, answers=answers: next(answers))
        shares.append(model.criterion.compare(parts[row], batch.only(row), told))
    assert_close({key: 0.5 * (value + shares[1][key]) for key, value in shares[0].items()}, expected, NUMBERS)


def test_targets_that_lack_what_a_form_needs_are_refused() -> None:
    batch = batch_with("panoptic")
    with pytest.raises(ValueError, match=r"received a target with \['panoptic'\], expected semantic"):
        PaddedSegments.of(batch, (0, 1, 2, 3), "semantic")
    with pytest.raises(ValueError, match=r"received a target with \['panoptic'\], expected at least boxes and labels"):
        PaddedSegments.of(batch, (0, 1, 2, 3), "instance")
    with pytest.raises(ValueError, match=r"received a segment of class 3, expected 0\.\.2"):
        PaddedSegments.of(batch_with("semantic"), (0, 1, 2), "semantic")


@pytest.mark.parametrize("build", [maskformer_tiny_semantic, mask2former_tiny_instance, mask2former_tiny])
def test_a_picture_without_anything_trains(build: Any) -> None:
    """Void alone, and no object: all queries are to say that they see nothing."""
    size = (64, 64)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "masks": torch.zeros(0, *size).bool()}
    maps = {"semantic": torch.full(size, VOID, dtype=torch.uint8), "panoptic": torch.zeros(size, dtype=torch.int32)}
    losses = build(size=size).loss([torch.rand(3, *size)], [nothing | maps])
    assert losses["classification"] > 0
    assert losses["mask"] == losses["dice"] == 0


# ----------------------------------------------------------------------------------------------------------------------
# Results, against transformers' post-processing


def drawn(seed: int) -> MaskOutputs:
    """Smooth masks of a canvas of 384 x 384, to which Mask2Former's processor brings all masks."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 9, 5, dtype=torch.float64, generator=generator) * 2
    coarse = torch.randn(1, 9, 4, 4, dtype=torch.float64, generator=generator) * 4
    masks = F.interpolate(coarse, (96, 96), mode="bilinear")
    return MaskOutputs(logits, masks, logits[:, None][:, :0], masks[:, None][:, :0])


def as_theirs(outputs: MaskOutputs) -> Any:
    return SimpleNamespace(class_queries_logits=outputs.class_logits, masks_queries_logits=outputs.mask_logits)


def their_classes(processor: Any, outputs: MaskOutputs, *sizes: Any) -> Tensor:
    return processor.post_process_semantic_segmentation(as_theirs(outputs), *sizes)[0]


NAMES = ("sphere", "box", "ground", "sky")
PLACE = [Placement((384, 384), (384, 384))]


@pytest.mark.system("5.3.2-MFINFER", "5.3.3-M2F")
@pytest.mark.parametrize("seed", range(2))
def test_classes_of_pixels_equal_those_of_transformers(seed: int) -> None:
    outputs = drawn(seed)
    (found,) = SemanticDecode(NAMES, frozenset())(outputs, PLACE)
    assert torch.equal(found.classes.long(), their_classes(Mask2FormerImageProcessor(), outputs))
    # MaskFormer's sums the small masks and enlarges the sums, so that pixels near borders differ
    theirs = their_classes(MaskFormerImageProcessor(), outputs, [(384, 384)])
    assert torch.ne(found.classes.long(), theirs).float().mean() < 0.05
    assert len(found.classes.unique()) > 2


@pytest.mark.system("5.3.2-MASKCLS", "5.3.3-M2F")
@pytest.mark.parametrize("seed", range(2))
def test_instances_equal_those_of_transformers(seed: int) -> None:
    outputs = drawn(seed)
    processor: Any = Mask2FormerImageProcessor()
    (expected,) = processor.post_process_instance_segmentation(
        as_theirs(outputs), threshold=0.2, return_binary_maps=True
    )
    decode = InstanceDecode(NAMES, frozenset(range(4)), detections_per_image=9, score_threshold=0.2)
    (found,) = decode(outputs, PLACE)
    rows = sorted(enumerate(expected["segments_info"]), key=lambda row: -row[1]["score"])
    assert found.scores.tolist() == pytest.approx([row["score"] for _, row in rows], abs=1e-6)  # which it rounds
    assert found.labels.tolist() == [row["label_id"] for _, row in rows]
    masks: Any = found.masks
    assert torch.equal(masks, torch.stack([expected["segmentation"][place] for place, _ in rows]).bool())
    assert len(rows) > 3


# ----------------------------------------------------------------------------------------------------------------------
# The catalogue


def test_names_say_the_form_and_tasks_agree() -> None:
    decoders = {"panoptic": PanopticDecode, "semantic": SemanticDecode, "instance": InstanceDecode}
    names = [name for name in CATALOG if name.startswith(("maskformer_", "mask2former_"))]
    assert {form_of(name) for name in names} == set(decoders)
    for name in names:
        entry, form = CATALOG[name], form_of(name)
        with torch.device("meta"):
            model: Any = entry.builder(**entry.tiny)
        assert entry.task.name == form == model.criterion.form
        assert type(model.decode) is decoders[form]
        taken = {
            "panoptic": {"things", "score_threshold", "overlap_threshold", "mask_threshold"},
            "semantic": set(),
            "instance": {"score_threshold", "mask_threshold", "detections_per_image"},
        }
        ours = {"things", "score_threshold", "overlap_threshold", "mask_threshold", "detections_per_image"}
        assert ours & set(entry.arguments) == taken[form]
        assert set(model.options()) == taken[form] - {"things"}


def test_thresholds_are_chosen_anew_without_another_set_of_weights(tmp_path: Path) -> None:
    model = mask2former_tiny(size=(64, 64), score_threshold=0.7)
    other = model.with_options(score_threshold=0.2, mask_threshold=0.6)
    decode: Any = other.decode
    assert (decode.score_threshold, decode.mask_threshold, decode.overlap_threshold) == (0.2, 0.6, 0.8)
    assert cast(Any, model.decode).score_threshold == 0.7
    assert all(one is two for one, two in zip(model.parameters(), other.parameters(), strict=True))
    other.save(tmp_path)
    arguments = json.loads((tmp_path / "config.json").read_text())["arguments"]
    assert (arguments["score_threshold"], arguments["mask_threshold"]) == (0.2, 0.6)
    with pytest.raises(ValueError, match=r"received the options size, expected mask_threshold, overlap_threshold, sco"):
        model.with_options(size=(32, 32))
    with pytest.raises(ValueError, match=r"received score_threshold=2.0, expected a number from 0 to 1"):
        model.with_options(score_threshold=2.0)
    with pytest.raises(ValueError, match="received the options score_threshold, expected none: it has no options"):
        maskformer_tiny_semantic(size=(64, 64)).with_options(score_threshold=0.5)


@pytest.mark.system("5.3.2-MASKCLS", "5.3.3-M2F")
def test_published_thresholds_are_the_defaults() -> None:
    """The authors' TEST: object_mask_threshold 0.8, overlap_threshold 0.8; masks of half a probability and more."""
    expected = {"score_threshold": 0.8, "overlap_threshold": 0.8, "mask_threshold": 0.5}
    for build in (maskformer_resnet50, mask2former_resnet50):
        defaults = {name: row.default for name, row in inspect.signature(build).parameters.items()}
        assert {name: defaults[name] for name in expected} == expected
    instances = inspect.signature(mask2former_resnet50_instance).parameters
    assert [instances[name].default for name in InstanceDecode.options] == [0.0, 0.5, 100]


def test_arguments_of_another_form_are_refused() -> None:
    wrong: Any = maskformer_resnet50_semantic
    with pytest.raises(TypeError, match="unexpected keyword argument 'things'"):
        wrong(things=3)
