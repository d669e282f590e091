"""Data sets by what `--data` says: only what a task needs, every fault before the first step, what is left out told."""

import json
from pathlib import Path

import pytest

from tests.cli.tiny_sets import coco, write_classes, write_coco
from vidi.data.faults import DataFaults
from vidi.engine.datasets import Source, left_out, lines_about, spoken
from vidi.engine.recipe import Recipe
from vidi.tasks.table import TASKS


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.scorer is not None])
def test_a_scorer_asks_for_what_its_task_gives(name: str) -> None:
    task = TASKS[name]
    scorer = task.scorer(("a", "b")) if task.scorer else None
    assert scorer is not None
    assert set(scorer.keys) >= {*task.keys, *task.judges}


def test_a_task_gets_the_keys_that_it_uses(tmp_path: Path) -> None:
    content = coco(8)
    for row in content["annotations"]:
        row["segmentation"] = [[5, 5, 25, 5, 25, 25]]
    write_coco(tmp_path, content)
    dataset = Source.of(tmp_path, TASKS["detection"]).open("train", Recipe())
    assert set(dataset[0][1]) == {"image_id", "boxes", "labels", "areas", "crowd"}


@pytest.mark.parametrize("name", ["classification", "generation"])
def test_digits_are_built_in(name: str) -> None:
    source = Source.of("digits", TASKS[name])
    assert source.describe() == "digits: handwritten digits of 8 x 8 pixels, by 13 people"
    dataset = source.open("test", Recipe())
    assert len(dataset) == 300
    assert dataset.categories == tuple("0123456789")
    assert set(TASKS[name].needs) <= set(dataset[0][1])


def test_faults_of_annotations_and_pictures_of_both_splits_come_at_once(tmp_path: Path) -> None:
    content = coco(8)
    content["annotations"][0]["bbox"] = [0, 0, 0, 0]
    for split in ("train", "val"):
        write_coco(tmp_path, content, f"instances_{split}.json")
    cut(tmp_path / "images/5.jpg")
    with pytest.raises(DataFaults) as caught:
        Source.of(tmp_path, TASKS["detection"]).open_for_training(Recipe())
    assert len(caught.value.faults) == 3
    opened = Source.of(tmp_path, TASKS["detection"], "drop").open_for_training(Recipe())
    left = left_out(opened)
    assert left == {"faults": 3, "images": {"train": 2, "val": 2}}
    assert spoken(left) == "3 faults dropped; images left out for them: 2 of train and 2 of val"
    assert list(lines_about(Source.of(tmp_path, TASKS["detection"]), opened)) == [f"{tmp_path}: {spoken(left)}"]


def test_nothing_is_said_of_a_clean_set(tmp_path: Path) -> None:
    opened = Source.of(write_classes(tmp_path), TASKS["classification"]).open_for_training(Recipe())
    assert (left_out(opened), list(lines_about(Source.of(tmp_path, TASKS["classification"]), opened))) == ({}, [])


def test_remarks_are_counted_and_the_first_is_told(tmp_path: Path) -> None:
    content = coco(8)
    for row in content["annotations"]:
        row |= {"id": str(row["id"]), "area": [400.0]}
    source = Source.of(write_coco(tmp_path, content), TASKS["detection"])
    (line,) = lines_about(source, source.open_for_training(Recipe()))
    assert line.startswith(f"{tmp_path}: 2 remarks, which `vidi data check` lists; first: ")
    assert line.endswith(
        "instances.json: values of id are written as text and are read as numbers: 8 (first: annotation 0)"
    )


def test_a_picture_without_objects_is_nothing_to_learn_where_those_with_objects_are_dropped(tmp_path: Path) -> None:
    content = coco(8)
    for row in content["annotations"]:
        row["bbox"] = [0.1, 0.2, 0.3, 0.4]
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] != 0]
    for split in ("train", "val"):
        write_coco(tmp_path, content, f"instances_{split}.json")
    with pytest.raises(ValueError, match="no object in 1 images of 'train'"):
        Source.of(tmp_path, TASKS["detection"], "drop").open("train", Recipe())


def test_crowds_alone_are_no_objects_to_learn(tmp_path: Path) -> None:
    content = coco(8)
    for row in content["annotations"]:
        row["iscrowd"] = 1
    write_coco(tmp_path, content)
    with pytest.raises(ValueError, match="no object in 7 images of 'train'"):
        Source.of(tmp_path, TASKS["detection"]).open("train", Recipe())
    assert len(Source.of(tmp_path, TASKS["detection"]).open("val", Recipe())) == 1  # nothing is learnt from it


def test_a_class_that_only_the_validation_has_stops_before_the_first_step(tmp_path: Path) -> None:
    content = coco(4)
    write_coco(tmp_path, content, "instances_train.json")
    content["categories"].append({"id": 2, "name": "other"})
    content["annotations"][1]["category_id"] = 2
    (tmp_path / "instances_val.json").write_text(json.dumps(content))
    with pytest.raises(DataFaults, match=r"instances_val.json: class 'other': is none of the training"):
        Source.of(tmp_path, TASKS["detection"]).open_for_training(Recipe())
