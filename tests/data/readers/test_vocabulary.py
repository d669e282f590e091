"""One list of classes for all splits: labels follow the names; what the training does not have is a fault."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from vidi.data.checking import check_dataset
from vidi.data.faults import DataFaults
from vidi.data.readers.selection import Selection
from vidi.data.recognise import open_dataset


def write(root: Path, split: str, classes: dict[int, str], things: list[list[int]]) -> None:
    """Write a json with a picture for each list of category ids."""
    (root / split).mkdir(parents=True, exist_ok=True)
    for image in range(len(things)):
        pixels = np.random.default_rng([len(split), image]).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(root / split / f"{image}.png")
    annotations: list[dict[str, Any]] = [
        {"image_id": image, "category_id": label, "bbox": [3 * k, 2, 5, 6]}
        for image, labels in enumerate(things)
        for k, label in enumerate(labels)
    ]
    content = {
        "images": [
            {"id": image, "file_name": f"{image}.png", "height": 20, "width": 30} for image in range(len(things))
        ],
        "annotations": [{"id": row, **annotation} for row, annotation in enumerate(annotations)],
        "categories": [{"id": number, "name": name} for number, name in classes.items()],
    }
    (root / f"instances_{split}.json").write_text(json.dumps(content))


def labels(root: Path, split: str, **options: Any) -> list[list[int]]:
    dataset = open_dataset(root, split, **options)
    return [dataset[index][1]["labels"].tolist() for index in range(len(dataset))]


def test_another_numbering_follows_the_names_of_the_training(tmp_path: Path) -> None:
    write(tmp_path, "train", {1: "cat", 2: "dog", 5: "cow"}, [[1, 2, 5]])
    write(tmp_path, "val", {1: "dog", 2: "cow", 3: "cat"}, [[1, 2, 3], [], [3]])
    assert labels(tmp_path, "train") == [[0, 1, 2]]
    assert labels(tmp_path, "val") == [[1, 2, 0], [], [0]]
    val = open_dataset(tmp_path, "val")
    assert val.categories == ("cat", "dog", "cow")
    assert ["labels follow the names" in remark.message for remark in val.remarks] == [True]
    assert open_dataset(tmp_path, "train").remarks == ()
    assert check_dataset(tmp_path).splits["val"].classes == {"cat": 2, "dog": 1, "cow": 1}


def test_a_class_that_only_another_split_has_is_a_fault_of_its_objects(tmp_path: Path) -> None:
    write(tmp_path, "train", {1: "cat", 2: "dog"}, [[1], [2]])
    write(tmp_path, "val", {1: "cat", 2: "dog"}, [[1]])
    write(tmp_path, "test", {1: "cat", 2: "elk", 3: "dog", 4: "fox"}, [[1], [2, 2, 3], [3], [2]])
    with pytest.raises(
        DataFaults, match=r"instances_test.json: class 'elk': is none of .*are cat, dog; objects: 3, pictures: 2"
    ):
        open_dataset(tmp_path, "test")
    assert labels(tmp_path, "test", on_fault="drop") == [[0], [1]]  # pictures with an elk are left out
    dropped = open_dataset(tmp_path, "test", on_fault="drop")
    assert (len(dropped.faults), dropped.left_out, dropped.name(1).endswith("test/2.png")) == (1, 2, True)
    report = check_dataset(tmp_path)
    assert [fault.where for fault in report.faults] == ["class 'elk'"]
    assert [remark.where for remark in report.remarks] == [
        "class 'fox'",
        "",
    ]  # no object has it; numbered in its own way


@pytest.mark.parametrize(("count", "end"), [(10, "c9;"), (11, "c9 and 1 more;")])
def test_ten_of_the_training_s_classes_are_told(tmp_path: Path, count: int, end: str) -> None:
    classes = {number: f"c{number}" for number in range(count)}
    write(tmp_path, "train", classes, [[0]])
    write(tmp_path, "val", {**classes, 99: "elk"}, [[99]])
    with pytest.raises(DataFaults, match=f"class 'elk': is none of the training, whose classes are c0, .*, {end}"):
        open_dataset(tmp_path, "val")


def test_faults_of_rows_and_of_classes_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, "train", {1: "cat"}, [[1]])
    write(tmp_path, "val", {1: "cat", 2: "elk"}, [[1], [2], [9]])
    with pytest.raises(DataFaults, match="2 faults"):
        open_dataset(tmp_path, "val")


def test_a_split_that_lists_the_first_classes_only_is_numbered_alike(tmp_path: Path) -> None:
    write(tmp_path, "train", {1: "cat", 2: "dog"}, [[1, 2]])
    write(tmp_path, "val", {7: "cat"}, [[7]])
    val = open_dataset(tmp_path, "val")
    assert (val.categories, val.remarks, labels(tmp_path, "val")) == (("cat", "dog"), (), [[0]])


def test_two_numbers_of_one_name_are_one_class(tmp_path: Path) -> None:
    write(tmp_path, "train", {0: "cat", 1: "cat", 2: "dog"}, [[0, 1, 2]])
    write(tmp_path, "val", {0: "cat"}, [[0]])
    train = open_dataset(tmp_path, "train")
    assert train.categories == ("cat", "dog")
    assert labels(tmp_path, "train") == [[0, 0, 1]]
    assert [(r.where, r.message[:14]) for r in train.remarks] == [("class 'cat'", "stands 2 times")]


def test_the_rule_holds_for_labels_of_whole_pictures_too(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (6, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(6) % 3, class_names=np.array(["b", "a", "b"]))
    dataset = open_dataset(tmp_path / "a.npz", "all")
    assert dataset.categories == ("b", "a")
    assert [int(dataset[index][1]["label"]) for index in range(6)] == [0, 1, 0, 0, 1, 0]


def test_a_class_that_the_training_lists_and_does_not_show_is_remarked(tmp_path: Path) -> None:
    write(tmp_path, "train", {1: "cat", 2: "dog"}, [[1]])
    write(tmp_path, "val", {1: "cat", 2: "dog"}, [[1, 2]])
    report = check_dataset(tmp_path)
    assert report.is_clean
    assert [str(remark).removeprefix(f"{tmp_path}: ") for remark in report.remarks] == [
        "class 'dog': is shown in val and not in train, where it could be learnt"
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"categories": 5}',
        '{"x": {"categories": [1]}, "categories": [{"id": 1, "name": "cat"}]}',
        '{"categories": [3, {"id": 1, "name": "cat"}]}',
    ],
)
def test_the_list_of_a_damaged_training_file_is_told_as_its_own_fault(tmp_path: Path, text: str) -> None:
    write(tmp_path, "val", {1: "cat"}, [[1]])
    path = tmp_path / "instances_train.json"
    path.write_text(text[:-1] + ', "images": [], "annotations": []}')
    if '"cat"' in text:
        assert open_dataset(tmp_path, "val").categories == ("cat",)
    else:
        with pytest.raises(ValueError, match=r"instances_train.json: expected COCO json.*'categories'"):
            open_dataset(tmp_path, "val")


def test_a_selection_gives_what_its_data_set_gives(tmp_path: Path) -> None:
    write(tmp_path, "train", {1: "cat", 2: "dog"}, [[1], [2], [1, 2]])
    write(tmp_path, "val", {1: "cat", 2: "dog"}, [[1]])
    whole = open_dataset(tmp_path, "train")
    part = Selection(whole, np.array([2, 0]), labels=np.array([1, 0]), categories=("dog", "cat"))
    assert (len(part), part.left_out, part.categories) == (2, 1, ("dog", "cat"))
    assert [part.target(index)["labels"].tolist() for index in (0, 1, -1)] == [[1, 0], [1], [1]]
    assert part[0][0].equal(whole[2][0])
    assert part[0][1]["image_id"] == 2
    assert part.path(1) == whole.path(0)
    assert set(part.giving(["labels"])[0][1]) == {"labels", "image_id"}
    assert set(part[0][1]) == whole.kinds
