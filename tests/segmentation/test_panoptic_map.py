"""The result of a panoptic segmenter: consistency, pictures, plain values."""

import dataclasses
import json
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from vidi.data.truths import panoptic_truth, truths
from vidi.data.world.dataset import World
from vidi.ops.drawing import legible
from vidi.ops.palette import blended, class_colour
from vidi.results.panoptic_map import PanopticMap, Segment

NAMES = ("dog", "person", "sky", None)
IDS = torch.tensor([[3, 3, 3, 0], [1, 1, 2, 2], [1, 3, 3, 3]], dtype=torch.int32)
SEGMENTS = (Segment(1, 1, 0.9, True), Segment(2, 0, 0.4, True), Segment(3, 2, 0.8, False))


def result(**changes: Any) -> PanopticMap:
    return PanopticMap(**{"ids": IDS, "segments": SEGMENTS, "categories": NAMES, **changes})


def test_segments_and_their_areas() -> None:
    found = result()
    assert len(found) == 3
    assert [found.name(segment) for segment in found] == ["person", "dog", "sky"]
    assert found.areas() == {1: 3, 2: 2, 3: 6}
    assert found.to_dict()["segments"][0] == {
        "id": 1,
        "label": 1,
        "name": "person",
        "score": 0.9,
        "is_thing": True,
        "area": 3,
    }
    assert found.to_dict()["size"] == [3, 4]
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_what_is_not_sure_is_left_out() -> None:
    found = result().above(0.8)
    assert [segment.id for segment in found] == [1, 3]
    assert found.ids.tolist() == [[3, 3, 3, 0], [1, 1, 0, 0], [1, 3, 3, 3]]
    assert result().ids.tolist() == IDS.tolist()


def test_one_line() -> None:
    twice = (*SEGMENTS[:2], Segment(3, 0, 0.5, True))
    assert str(dataclasses.replace(result(), threshold=0.1)) == "person, dog, sky"
    assert str(result()) == "person, sky"
    assert str(result().above(0.99)) != str(result())
    assert str(dataclasses.replace(result(), threshold=0.99)) == "nothing above 0.99 (best 0.9)"
    assert result()[0] == SEGMENTS[0]
    assert str(result(segments=twice, threshold=0.4)) == "person, 2 dog"
    assert str(result(ids=IDS * 0, segments=())) == "no segments"
    assert str(result(segments=(Segment(1, 3, 1.0, False),), ids=IDS.clamp(max=1))) == "unnamed 3"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segments": SEGMENTS[:2]}, r"a map with the ids \[3\], which no segment has"),
        ({"segments": (*SEGMENTS, SEGMENTS[0])}, "expected different numbers from 1"),
        ({"segments": (*SEGMENTS, Segment(0, 1, 1.0, True))}, "expected different numbers from 1"),
        ({"segments": (*SEGMENTS, Segment(4, 4, 1.0, True))}, r"label 4, expected 0\.\.3"),
        ({"segments": (*SEGMENTS, Segment(4, 1, float("nan"), True))}, "scores that are not finite"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        result(**changes)


def test_segments_are_tinted_with_the_colours_of_their_classes() -> None:
    ids = torch.zeros(40, 60, dtype=torch.int32)
    ids[:, :20], ids[:, 20:40] = 1, 3
    grey = PIL.Image.new("RGB", (60, 40), (100, 100, 100))
    drawn = np.asarray(result(ids=ids, segments=(SEGMENTS[0], SEGMENTS[2])).draw(grey))
    scale = legible(grey).width // 60
    wanted = {10: blended(class_colour(1), (100, 100, 100), 0.55), 30: blended(class_colour(2), (100, 100, 100), 0.55)}
    for column, colour in wanted.items():
        assert np.abs(drawn[35 * scale, column * scale].astype(int) - colour).max() <= 1
    assert drawn[35 * scale, 55 * scale].tolist() == [100, 100, 100]
    assert drawn.shape[0] > legible(grey).height  # the legend of the stuff
    hidden = np.asarray(result(ids=ids, segments=(SEGMENTS[0], SEGMENTS[2])).draw(grey, threshold=0.85))
    assert hidden[35 * scale, 30 * scale].tolist() == [100, 100, 100]
    with pytest.raises(ValueError, match="received ids of size"):
        result().draw(grey)


def test_many_segments_can_be_drawn() -> None:
    ids = torch.arange(300, dtype=torch.int32).view(15, 20) + 1
    segments = tuple(Segment(k, 0, 1.0, True) for k in range(1, 301))
    assert result(ids=ids, segments=segments).draw(PIL.Image.new("RGB", (20, 15))).width > 0


def test_coco_records() -> None:
    record = result().to_coco(7, "7.png", [3, 8, 7, 90])
    assert (record["image_id"], record["file_name"]) == (7, "7.png")
    assert record["segments_info"][2] == {"id": 3, "category_id": 7, "area": 6, "bbox": [0, 0, 4, 3], "iscrowd": 0}
    assert record["segments_info"][1]["bbox"] == [2, 1, 2, 1]
    with pytest.raises(ValueError, match="2 category ids for 4 categories"):
        result().to_coco(7, "7.png", [3, 8])
    large = result(ids=IDS * 70_001, segments=tuple(s._replace(id=s.id * 70_001) for s in SEGMENTS))
    red, green, blue = np.moveaxis(large.coloured_ids().astype(int), -1, 0)
    assert np.array_equal(red + 256 * green + 65536 * blue, IDS.numpy() * 70_001)


@pytest.mark.system("5.3-PANOPTIC")
def test_a_truth_of_the_world_is_a_result() -> None:
    """Things are the objects, in their rows; ground and sky are stuff; every pixel has its class."""
    world = World("train", count=3, size=(64, 80), targets=("panoptic", "semantic", "crowd", "labels"))
    for _, target in (world[k] for k in range(3)):
        found = panoptic_truth(target, world.semantic_categories)
        things = [segment for segment in found if segment.is_thing]
        assert [s.label for s in things] == target["labels"].tolist()
        assert {found.name(s) for s in found if not s.is_thing} <= {"ground", "sky"}
        classes = torch.zeros(int(found.ids.max()) + 1, dtype=torch.uint8)
        for segment in found:
            classes[segment.id] = segment.label
        assert torch.equal(classes[found.ids.long()], target["semantic"].as_subclass(torch.Tensor))
        drawn = [type(one).__name__ for one in truths(target, world.categories, world.semantic_categories)]
        assert drawn == ["PanopticMap", "SemanticMap"]


def test_segments_below_a_threshold_have_fallen() -> None:
    ids = torch.tensor([[1, 2]], dtype=torch.int32)
    segments = Segment(1, 0, 0.9, True), Segment(2, 1, 0.6, False)
    found = PanopticMap(ids, segments, ("a", "b"), {"without an object": 3, "below the score": 1})
    assert found.above(0.5) is found
    assert found.above(0.7).fallen == {"without an object": 3, "below the score": 2}
    assert str(found.above(0.95)) == "no segments (3 without an object, 3 below the score)"
    assert str(PanopticMap(ids, segments, ("a", "b")).above(0.95)) == "no segments (2 below the score)"
    assert found.fallen["below the score"] == 1
