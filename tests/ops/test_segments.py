"""Segments of a panoptic map: labels, crowds, void, and new numbers where objects are dropped."""

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from vidi.data.transforms import drop_lost_objects
from vidi.data.world.dataset import World
from vidi.ops.segments import segments_of, without_objects

PANOPTIC = torch.tensor([[0, 1, 1, 3], [2, 2, 4, 4], [5, 5, 4, 4]], dtype=torch.int32)
SEMANTIC = torch.tensor([[9, 2, 2, 0], [1, 1, 7, 7], [255, 255, 7, 7]], dtype=torch.uint8)


@pytest.mark.parametrize("spread", [1, 100_000])
def test_ids_labels_and_crowds(spread: int) -> None:
    """Id 0 is no segment, one of no class is left out; ids beyond the objects are stuff."""
    crowd = torch.tensor([False, True, False])
    found = segments_of({"panoptic": PANOPTIC * spread, "semantic": SEMANTIC, "crowd": crowd})
    assert found.ids.tolist() == [spread * k for k in (1, 2, 3, 4)]
    assert found.labels.tolist() == [2, 1, 0, 7]
    objects = [True, True, True, False] if spread == 1 else [False] * 4
    assert found.is_object.tolist() == objects
    assert found.crowd.tolist() == [False, objects[1], False, False]
    masks = found.masks(PANOPTIC * spread)
    assert masks.sum((1, 2)).tolist() == [2, 2, 1, 4]
    assert masks[3].nonzero().tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]


def test_without_crowds_no_segment_is_an_object() -> None:
    found = segments_of({"panoptic": PANOPTIC, "semantic": SEMANTIC})
    assert not found.crowd.any()
    assert not found.is_object.any()


def test_a_map_without_segments() -> None:
    empty = {"panoptic": torch.zeros(2, 3, dtype=torch.int32), "semantic": torch.full((2, 3), 255, dtype=torch.uint8)}
    found = segments_of({**empty, "crowd": torch.zeros(0, dtype=torch.bool)})
    assert len(found.ids) == 0
    assert found.masks(empty["panoptic"]).shape == (0, 2, 3)


def test_faults_are_told() -> None:
    with pytest.raises(ValueError, match=r"received a target with \['panoptic'\], expected at least panoptic and sem"):
        segments_of({"panoptic": PANOPTIC})
    with pytest.raises(ValueError, match=r"panoptic of \(3, 4\) and semantic of \(3, 3\), expected maps of one size"):
        segments_of({"panoptic": PANOPTIC, "semantic": SEMANTIC[:, :3]})
    with pytest.raises(ValueError, match="the segment id -1, expected 0 or more"):
        segments_of({"panoptic": PANOPTIC - 1, "semantic": SEMANTIC})


@pytest.mark.system("5.3-PANOPTIC")
def test_objects_that_are_dropped_leave_no_number_behind() -> None:
    """Of three objects the second goes: the third becomes the second, stuff 4 and 5 become 3 and 4."""
    found = without_objects(PANOPTIC, torch.tensor([True, False, True]))
    assert found.tolist() == [[0, 1, 1, 2], [0, 0, 3, 3], [4, 4, 3, 3]]
    assert found.dtype == torch.int32
    assert torch.equal(without_objects(PANOPTIC, torch.ones(3, dtype=torch.bool)), PANOPTIC)
    large = torch.tensor([[200_000, 2, 1]])
    assert without_objects(large, torch.tensor([False, True])).tolist() == [[199_999, 1, 0]]


@pytest.mark.system("5.3-PANOPTIC")
def test_an_augmentation_that_drops_objects_keeps_maps_and_rows_together() -> None:
    world = World("train", count=8, size=(96, 96), targets=("boxes", "labels", "crowd", "panoptic", "semantic"))
    image, target = next(sample for sample in (world[k] for k in range(8)) if len(sample[1]["labels"]) > 2)
    boxes = target["boxes"].as_subclass(Tensor).clone()
    boxes[1, 2] = boxes[1, 0]  # nothing of the second is left
    moved = tv_tensors.wrap(boxes, like=target["boxes"])  # type: ignore[call-arg]
    _, kept = drop_lost_objects((image, {**target, "boxes": moved}))
    assert len(kept["labels"]) == len(target["labels"]) - 1
    assert isinstance(kept["panoptic"], tv_tensors.Mask)
    before, after = target["panoptic"].as_subclass(Tensor), kept["panoptic"].as_subclass(Tensor)
    assert not after[before == 2].any()
    for row, label in enumerate(kept["labels"].tolist()):
        own = kept["semantic"].as_subclass(Tensor)[after == row + 1]
        assert (own == label).all()
    stuff = before > len(target["labels"])
    assert torch.equal(after[stuff], before[stuff] - 1)
