"""Splits: names in use, substitutes, and a hash that is stable."""

import pytest

from vidi.data.readers.splits import Split, assign_splits, part_members, split_folders, split_named


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_val2017", "val"),
        ("valid", "val"),
        ("Training", "train"),
        ("faces_test", "test"),
        ("instances", None),
        ("trainannot", None),
        ("constrain", None),
    ],
)
def test_names_of_splits(name, split):
    assert split_named(name) == split


def test_folders_of_splits(tmp_path):
    for name in ("train2017", "valid", "testing", "train_extra", "annotations", "value"):
        (tmp_path / name).mkdir()
    (tmp_path / "test").write_text("a file")
    found = split_folders(tmp_path)
    assert {split: folder.name for split, folder in found.items()} == {
        "train": "train2017",
        "val": "valid",
        "test": "testing",
    }
    assert split_folders(tmp_path / "none") == {}


def test_substitutes_are_said():
    own = assign_splits(["test", "train", "val"])
    assert list(own) == ["train", "val", "test"]
    assert all(split.note == "" and split.part == "all" for split in own.values())
    assert assign_splits(["train", "test"])["val"] == Split("test", "all", "val is test: the set has no val of its own")
    divided = assign_splits(["train"])
    assert (divided["train"].part, divided["val"].source, divided["val"].part) == ("train", "train", "val")
    assert "fixed tenth" in divided["val"].note
    unsplit = assign_splits(["all"])
    assert list(unsplit) == ["train", "val", "all"]
    assert unsplit["train"].source == unsplit["val"].source == "all"
    assert list(assign_splits(["val"])) == ["val"]


def test_the_tenth_is_stable_and_its_complement_trains():
    names = [f"image_{number:04d}.jpg" for number in range(2000)]
    val = part_members(names, "val")
    assert 160 < val.sum() < 240
    assert ((~val) == part_members(names, "train")).all()
    assert part_members(names, "all").all()
    more = [*names, *(f"new_{number}" for number in range(500))]
    assert (part_members(more, "val")[:2000] == val).all()  # nobody changes sides
    assert [names[row] for row in val.nonzero()[0][:3]] == EXPECTED  # nor on another machine


EXPECTED = ["image_0009.jpg", "image_0010.jpg", "image_0015.jpg"]


def test_small_sets_have_both_parts():
    for count in range(2, 12):
        names = [f"{count}-{number}" for number in range(count)]
        assert 0 < part_members(names, "val").sum() < count
    assert part_members(["one"], "train").tolist() == [True] or part_members(["one"], "val").tolist() == [True]
    assert part_members([], "val").shape == (0,)
