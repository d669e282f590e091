"""Splits: names in use, a tenth of every class that is stable, and never the test split for the validation."""

import numpy as np
import pytest

from vidi.data.readers.box_table import BoxRow
from vidi.data.readers.splits import (
    Split,
    assign_splits,
    classes_of,
    part_members,
    remark_doubled,
    remark_outside,
    remark_unused,
    split_called,
    split_folders,
    split_named,
)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_val2017", "val"),
        ("valid", "val"),
        ("Training", "train"),
        ("faces_test", "test"),
        ("image_info_test-dev2017", "test"),  # COCO's: its `dev` is no validation
        ("instances", None),
        ("trainannot", None),
        ("trainval", None),
        ("constrain", None),
    ],
)
def test_names_that_speak_of_splits(name, split):
    assert split_named(name) == split


@pytest.mark.parametrize(
    ("name", "split"),
    [("VALID", "val"), ("val2017", "val"), ("dev", "val"), ("Testing", "test"), ("my_train", None), ("2017", None)],
)
def test_names_of_splits(name, split):
    assert split_called(name) == split


def test_folders_of_splits(tmp_path):
    for name in ("train2017", "valid", "val", "testing", "train_extra", "annotations", "value", ".train"):
        (tmp_path / name).mkdir()
    (tmp_path / "test").write_text("a file")
    found = split_folders(tmp_path)
    assert {split: [folder.name for folder in folders] for split, folders in found.items()} == {
        "train": ["train2017"],
        "val": ["val", "valid"],
        "test": ["testing"],
    }
    assert list(found) == ["train", "val", "test"]
    assert split_folders(tmp_path / "none") == {}
    assert [str(remark) for remark in remark_doubled(tmp_path, found)] == [
        f"{tmp_path}: val and valid are both read as val"
    ]


def test_what_is_not_used_is_counted_in_one_line(tmp_path):
    for name in ("used/a.png", "used/deep/b.png", "usedtoo/d.png", "c.png", "notes.txt", "__MACOSX/used/._a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (remark,) = remark_outside(tmp_path, [tmp_path / "used"], "nobody asked")
    assert str(remark) == f"{tmp_path}: pictures not used because nobody asked: 2 (first: c.png)"
    assert remark_outside(tmp_path, [tmp_path], "nobody asked") == ()
    assert remark_unused(tmp_path, [], "x") == ()
    assert remark_unused(tmp_path, ["z"], "x")[0].message == "pictures not used because x: 1 (first: z)"


def test_a_sets_own_splits_are_taken():
    own = assign_splits(["test", "train", "val"])
    assert list(own) == ["train", "val", "test"]
    assert all(split.note == "" and split.part == "all" for split in own.values())
    assert list(assign_splits(["val"])) == ["val"]


def test_the_test_split_is_never_the_validation():
    splits = assign_splits(["train", "test"])
    assert splits == {
        "train": Split("train", "train", "train is the other nine tenths"),
        "val": Split("train", "val", "val is a tenth of train, drawn with seed 0, stratified by class"),
        "test": Split("test", "all", ""),
    }
    assert (
        assign_splits(["train", "test"], stratified=False)["val"].note == "val is a tenth of train, drawn with seed 0"
    )
    assert list(assign_splits(["test"])) == ["test"]


def test_an_unsplit_set_gives_a_tenth_and_the_rest():
    unsplit = assign_splits(["all"])
    assert list(unsplit) == ["train", "val", "all"]
    assert (unsplit["train"].source, unsplit["train"].part) == ("all", "train")
    assert (unsplit["val"].source, unsplit["val"].part) == ("all", "val")
    assert unsplit["val"].note.startswith("val is a tenth of the set, drawn with seed 0")
    assert (unsplit["all"].source, unsplit["all"].part) == ("all", "all")


def test_the_tenth_is_stable_and_its_complement_trains():
    names = [f"image_{number:04d}.jpg" for number in range(2000)]
    val = part_members(names, "val")
    assert val.sum() == 200
    assert ((~val) == part_members(names, "train")).all()
    assert part_members(names, "all").all()
    more = part_members([*names, *(f"new_{number}" for number in range(500))], "val")
    assert more.sum() == 250
    assert (more[:2000] != val).sum() < 20  # only those near the limit change sides
    assert [names[row] for row in val.nonzero()[0][:3]] == EXPECTED  # nor on another machine
    shuffled = np.random.default_rng(0).permutation(2000)
    assert (part_members([names[row] for row in shuffled], "val") == val[shuffled]).all()


EXPECTED = ["image_0009.jpg", "image_0010.jpg", "image_0015.jpg"]


def test_every_class_gives_a_tenth():
    counts = {0: 100, 1: 45, 2: 20, 3: 4, 4: 2, 5: 1}
    classes = [{label} for label, count in counts.items() for _ in range(count)]
    names = [str(number) for number in range(len(classes))]
    val = part_members(names, "val", classes)
    held = {label: sum(val[row] for row in range(len(names)) if label in classes[row]) for label in counts}
    assert held == {0: 10, 1: 5, 2: 2, 3: 1, 4: 1, 5: 0}  # a class of one image trains


def test_images_of_several_classes_count_for_each():
    rng = np.random.default_rng(0)
    classes = [{label for label in range(5) if rng.random() < 0.3 / (label + 1)} for _ in range(1000)]
    val = part_members([str(number) for number in range(1000)], "val", classes)
    for label in range(5):
        held = np.array([label in shown for shown in classes])
        assert abs(val[held].mean() - 0.1) < 0.02, label
    empty = np.array([not shown for shown in classes])
    assert val[empty].sum() == pytest.approx(0.1 * empty.sum(), abs=0.5)  # images without objects too


def test_no_class_is_left_without_training():
    classes = [{0, 1}, {0, 2}, {1, 2}]  # each class twice: held out greedily, the last two would leave a class empty
    val = part_members(["a", "b", "c"], "val", classes)
    for label in range(3):
        assert any(not val[row] and label in classes[row] for row in range(3))
    assert val.any()


def test_a_shared_class_is_held_out_up_to_its_last_training_image():
    pairs = [
        sorted(pair, key=lambda name, pair=pair: bool(part_members(pair, "train")[pair.index(name)]))
        for pair in [[f"{row}a", f"{row}b"] for row in range(6)]
    ]  # of each, the one that would be held out comes first
    names = [name for pair in pairs for name in pair]
    classes = [shown for row in range(6) for shown in ({row, 9}, {row})]  # all that come first show 9
    val = part_members(names, "val", classes)
    assert val[0::2].sum() == 5
    assert val.sum() == 6


def test_where_every_image_is_a_class_the_first_of_the_draw_is_held_out():
    names = [str(number) for number in range(9)]
    alone = part_members(names, "val", [{number} for number in range(9)])
    assert (alone == part_members(names, "val")).all()
    assert alone.sum() == 1


def test_small_sets_have_both_parts():
    for count in range(2, 12):
        names = [f"{count}-{number}" for number in range(count)]
        assert 0 < part_members(names, "val").sum() < count
        assert 0 < part_members(names, "val", [{row} for row in range(count)]).sum() < count
    assert part_members(["one"], "train").tolist() == [True]
    assert part_members([], "val").shape == (0,)


def test_classes_of_boxes():
    rows = [BoxRow(image, (0, 0, 1, 1), label, False, 1) for image, label in ((0, 2), (2, 1), (0, 1), (0, 2))]
    assert classes_of(rows, 4) == [{1, 2}, set(), {1}, set()]
