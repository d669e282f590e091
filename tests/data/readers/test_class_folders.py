"""Class folders: labels by training class, a hash split inside each class, faults."""

import PIL.Image
import pytest
import torch

from vidi.data.faults import DataFaults
from vidi.data.readers.class_folders import find_layout
from vidi.data.recognise import open_dataset, recognise


def write(root, classes):
    for name, count in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            PIL.Image.new("RGB", (6, 4), (number, 0, 0)).save(root / name / f"{number}.png")
    return root


def test_split_folders(tmp_path):
    write(tmp_path, {"train/dog": 3, "train/ant": 2, "val/ant": 1, "val/dog": 1, "test/dog": 1, "test/ant": 2})
    train, val = open_dataset(tmp_path, "train"), open_dataset(tmp_path, "val")
    assert train.categories == val.categories == ("ant", "dog")
    assert train.kinds == {"image_id", "label"}
    assert [int(train[index][1]["label"]) for index in range(5)] == [0, 0, 1, 1, 1]
    assert [int(train[index][1]["image_id"]) for index in range(5)] == [0, 1, 2, 3, 4]
    assert train[3][0][:, 0, 0].tolist() == [1, 0, 0]
    assert train.labels.tolist() == [0, 0, 1, 1, 1]
    assert val.labels.dtype == torch.int64
    assert not hasattr(train.giving(()), "labels")
    assert train.path(3) == tmp_path / "train" / "dog" / "1.png"
    assert len(open_dataset(tmp_path, "test")) == 3


def test_unsplit_folders_are_divided_within_each_class(tmp_path):
    write(tmp_path, {"ant": 20, "dog": 3})
    train, val = (open_dataset(tmp_path, split) for split in ("train", "val"))
    assert len(train) + len(val) == len(open_dataset(tmp_path, "all")) == 23
    paths = {str(dataset.path(index)) for dataset in (train, val) for index in range(len(dataset))}
    assert len(paths) == 23
    assert {int(val[index][1]["label"]) for index in range(len(val))} == {0, 1}
    assert recognise(tmp_path).splits["val"].note.endswith("drawn with seed 0, stratified by class")


def test_a_split_may_lack_a_class_but_not_add_one(tmp_path):
    write(tmp_path, {"train/dog": 1, "train/ant": 1, "train/bee": 1, "val/dog": 1, "val/bee": 2})
    assert [int(open_dataset(tmp_path, "val")[index][1]["label"]) for index in range(3)] == [1, 1, 2]
    write(tmp_path, {"val/cow": 1})
    with pytest.raises(DataFaults, match="cow: unknown class; the training classes are ant, bee, dog"):
        open_dataset(tmp_path, "val")
    assert len(open_dataset(tmp_path, "val", on_fault="drop")) == 3


def test_empty_classes_are_faults_and_other_files_are_remarked(tmp_path):
    write(tmp_path, {"dog": 2, "ant": 2, "none": 0})
    (tmp_path / "dog" / "notes.txt").write_text("x")
    (tmp_path / "dog" / ".hidden").write_text("x")
    with pytest.raises(DataFaults, match="none: the class folder holds no images"):
        open_dataset(tmp_path, "all")
    dataset = open_dataset(tmp_path, "all", on_fault="drop")
    assert (len(dataset), dataset.categories) == (4, ("ant", "dog", "none"))
    assert [remark.file.rpartition("/")[2] for remark in dataset.remarks] == ["notes.txt"]


def test_what_is_no_set_of_class_folders(tmp_path):
    assert find_layout(write(tmp_path / "one", {"dog": 2})) is None
    assert find_layout(write(tmp_path / "deep", {"a/train": 2, "c/train": 2})) is None  # splits inside of classes
    parts = {f"{split}/{part}": 1 for split in ("train", "val") for part in ("images", "masks")}
    assert find_layout(write(tmp_path / "maps", parts)) is None
    assert find_layout(write(tmp_path / "sets", {"a/images": 2, "c/images": 2})) is None  # two sets, not two classes
    stereo = write(tmp_path / "stereo", {"x": 1, "y": 1})
    for scene in ("x", "y"):
        for side in ("left", "right"):
            PIL.Image.new("RGB", (6, 4)).save(stereo / scene / f"{side}.png")
    assert find_layout(stereo) is None


@pytest.mark.parametrize(
    "folders",
    [
        ("train", "valid"),
        ("train", "val", "test"),
        ("Training", "Testing"),
        ("JPEGImages", "SegmentationClass"),
        ("images", "masks"),
        ("train", "trainannot", "cat"),
        ("cat", "dog", "test"),
    ],
)
def test_names_of_splits_and_of_parts_are_never_classes(tmp_path, folders):
    write(tmp_path, dict.fromkeys(folders, 2))
    with pytest.raises(
        ValueError, match=r"pictures without annotations that vidi knows; .* names of splits or of parts"
    ):
        find_layout(tmp_path)


def test_a_train_among_other_things_is_one(tmp_path):
    write(tmp_path, {"train": 2, "car": 2})
    assert open_dataset(tmp_path, "all").categories == ("car", "train")
    assert [str(remark) for remark in open_dataset(tmp_path, "all").remarks] == [
        f"{tmp_path / 'train'}: is taken for a class, not for a split"
    ]


def test_sub_folders_belong_to_their_class(tmp_path):
    write(tmp_path, {"cat": 1, "cat/2021/may": 2, "dog/2021": 2, "dog/2022": 0, "__MACOSX/cat": 0})
    dataset = open_dataset(tmp_path, "all")
    assert dataset.categories == ("cat", "dog")
    assert [dataset.path(row).relative_to(tmp_path).as_posix() for row in range(5)] == [
        "cat/0.png",
        "cat/2021/may/0.png",
        "cat/2021/may/1.png",
        "dog/2021/0.png",
        "dog/2021/1.png",
    ]
    assert [int(dataset[row][1]["label"]) for row in range(5)] == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_class_without_validation_pictures_is_remarked(tmp_path, is_there):
    write(
        tmp_path,
        {"train/a": 2, "train/b": 2, "train/c": 2, "val/a": 1, "val/c": 1} | ({"val/b": 0} if is_there else {}),
    )
    val = open_dataset(tmp_path, "val")
    assert [int(val[row][1]["label"]) for row in range(2)] == [0, 2]
    assert [str(remark) for remark in val.remarks] == [f"{tmp_path / 'val' / 'b'}: the class has no images here"]
    write(tmp_path, {"train/d": 0})
    with pytest.raises(DataFaults, match="train/d: the class folder holds no images"):
        open_dataset(tmp_path, "train")


def test_a_validation_of_one_class_is_the_validation(tmp_path):
    write(tmp_path, {"train/a": 20, "train/b": 20, "val/b": 3})
    found = recognise(tmp_path)
    assert found.splits["val"].note == ""
    assert [int(found.open("val")[row][1]["label"]) for row in range(3)] == [1, 1, 1]


def test_splits_inside_of_a_split_are_no_classes(tmp_path):
    assert find_layout(write(tmp_path, {"train/train": 2, "train/val": 2, "test/train": 2, "test/val": 2})) is None


def test_two_folders_for_one_split_are_both_read_and_said(tmp_path):
    write(tmp_path, {"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1, "valid/a": 2, "valid/b": 1})
    val = open_dataset(tmp_path, "val")
    assert [int(val[row][1]["label"]) for row in range(5)] == [0, 1, 0, 0, 1]
    assert [remark.message for remark in val.remarks] == ["val and valid are both read as val"]


def test_pictures_outside_the_classes_are_counted(tmp_path):
    write(tmp_path, {"train/a": 1, "train/b": 1, "test": 3})  # a test folder without classes
    assert [remark.message for remark in recognise(tmp_path).layout.remarks] == [
        "pictures not used because they lie outside the classes of the splits: 3 (first: test/0.png)"
    ]


def test_a_set_without_val_holds_out_train_and_not_test(tmp_path):
    write(tmp_path, {"train/a": 20, "train/b": 10, "test/a": 5, "test/b": 5})
    sets = {split: open_dataset(tmp_path, split) for split in ("train", "val", "test")}
    assert {split: len(dataset) for split, dataset in sets.items()} == {"train": 27, "val": 3, "test": 10}
    assert sorted(int(sets["val"][row][1]["label"]) for row in range(3)) == [0, 0, 1]
    assert all((tmp_path / "train") in sets["val"].path(row).parents for row in range(3))


def test_the_real_faces(shared_data):
    dataset = open_dataset(shared_data / "orl_faces", "all")
    assert (len(dataset), len(dataset.categories)) == (290, 29)
    image, target = dataset[11]
    assert image.shape == (3, 112, 92)
    assert dataset.categories[int(target["label"])] == "s03"
