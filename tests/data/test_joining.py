"""All splits as one data set: every sample once, with what is known of it, and image ids that tell images apart."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.tiny_sets import coco, write_classes, write_coco
from vidi.data.joining import Joined
from vidi.data.world.dataset import World
from vidi.engine.datasets import Source
from vidi.engine.recipe import Recipe
from vidi.engine.report import image_name
from vidi.tasks.classification import CLASSIFICATION
from vidi.tasks.detection import DETECTION
from vidi.tasks.identity import IDENTITY

RECIPE = Recipe(world_scenes=16, world_size=(32, 32))


def split_coco(folder: Path, first_of_val: int) -> Path:
    """Write a COCO data set with two splits, whose image ids begin at 0 and at a number, and gaps in category ids."""
    for split, first in (("train", 0), ("val", first_of_val)):
        content: dict[str, Any] = coco(3)
        content["categories"] = [{"id": 7, "name": "thing"}, {"id": 11, "name": "other"}]
        for row, (image, annotation) in enumerate(zip(content["images"], content["annotations"], strict=True)):
            image |= {"id": first + row, "file_name": f"{split}{row}.jpg"}
            annotation |= {"image_id": first + row, "category_id": 7}
        write_coco(folder, content, f"instances_{split}.json")
    return folder


def test_a_set_with_splits_has_all_of_them_as_all(tmp_path: Path) -> None:
    source = Source.of(split_coco(tmp_path, 100), DETECTION)
    joined = source.open("all", RECIPE)
    assert [int(target["image_id"]) for _, target in joined] == [0, 1, 2, 100, 101, 102]
    assert [image_name(joined, row, "all") for row in (0, 5)] == ["images/train0.jpg", "images/val2.jpg"]
    assert joined.categories == ("thing", "other")
    assert joined.category_ids == (7, 11)
    assert {"boxes", "labels", "areas", "crowd"} <= joined[4][1].keys()
    narrowed = joined.giving(("boxes",))
    assert narrowed[4][1].keys() == {"image_id", "boxes"}
    assert len(narrowed) == 6
    assert "labels" in joined[4][1]


def test_ids_that_clash_become_rows(tmp_path: Path) -> None:
    joined = Source.of(split_coco(tmp_path, 2), DETECTION).open("all", RECIPE)
    assert [int(target["image_id"]) for _, target in joined] == [0, 1, 2, 3, 4, 5]


def test_an_unsplit_set_is_opened_as_it_is(tmp_path: Path) -> None:
    dataset = Source.of(write_classes(tmp_path / "set"), CLASSIFICATION).open("all", RECIPE)
    assert not isinstance(dataset, Joined)
    assert len(dataset) == 24


def test_the_world_has_all_of_its_splits_as_all() -> None:
    joined = Source.of("world", DETECTION).open("all", RECIPE)
    parts = [World(split, count=count, size=(32, 32), targets=("boxes",)) for split, count in SPLITS]
    assert len(joined) == 20
    assert [int(target["image_id"]) for _, target in joined] == list(range(20))
    pictures = [image for part in parts for image, _ in part]
    assert all(torch.equal(image, other) for (image, _), other in zip(joined, pictures, strict=True))
    assert [image_name(joined, row, "all") for row in (15, 16, 19)] == [
        "image 15 of train",
        "image 0 of val",
        "image 1 of test",
    ]
    assert image_name(parts[1], 1, "val") == "image 1 of val"
    assert joined.categories == World.categories
    assert joined.giving(("boxes",))[0][1].keys() == joined[0][1].keys()  # the world gives what it was opened for


SPLITS = (("train", 16), ("val", 2), ("test", 2))


def test_what_was_left_out_of_any_split_is_told_once() -> None:
    class Part(list[Any]):
        def __init__(self, faults: tuple[str, ...], ids: tuple[int, ...], labels: list[int]):
            super().__init__([(None, {})] * 2)
            self.faults, self.remarks, self.left_out = faults, faults[:1], len(faults)
            self.category_ids, self.labels = ids, torch.tensor(labels)

    joined = Joined({"train": Part(("a", "b"), (3,), [0, 1]), "val": Part(("b", "c"), (3,), [2, 3])})
    assert joined.faults == ("a", "b", "c")
    assert joined.remarks == ("a", "b")
    assert joined.left_out == 4
    assert joined.category_ids == (3,)
    assert joined.labels.tolist() == [0, 1, 2, 3]
    assert Joined({"train": Part((), (3,), [0, 1]), "val": Part((), (4,), [2, 3])}).category_ids == ()
    with pytest.raises(ValueError, match="no splits"):
        Joined({})
    with pytest.raises(AttributeError):
        _ = joined.nothing_of_that_name


def test_splits_with_classes_of_their_own_are_not_joined() -> None:
    with pytest.raises(ValueError, match="faces: each split has classes of its own; choose from train, val, test"):
        Source.of("faces", IDENTITY).open("all", RECIPE)


def test_the_ids_of_a_sets_categories_follow_the_names_of_the_training(tmp_path: Path) -> None:
    folder = split_coco(tmp_path, 100)
    path = folder / "instances_val.json"
    content = json.loads(path.read_text())
    content["categories"] = [{"id": 7, "name": "other"}, {"id": 11, "name": "thing"}]
    path.write_text(json.dumps(content))
    source = Source.of(folder, DETECTION)
    assert source.open("train", RECIPE).category_ids == (7, 11)
    assert source.open("val", RECIPE).category_ids == (11, 7)
    assert source.open("all", RECIPE).category_ids == ()  # no numbers that are right for all pictures
    content["categories"] = [{"id": "x", "name": "thing"}, {"id": 7, "name": "other"}]
    path.write_text(json.dumps(content))
    assert source.open("val", RECIPE).category_ids == ()
