"""Class folders: labels by training class, a hash split inside each class, faults."""

import PIL.Image
import pytest

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
    assert train.path(3) == tmp_path / "train" / "dog" / "1.png"
    assert len(open_dataset(tmp_path, "test")) == 3


def test_unsplit_folders_are_divided_within_each_class(tmp_path):
    write(tmp_path, {"ant": 20, "dog": 3})
    train, val = (open_dataset(tmp_path, split) for split in ("train", "val"))
    assert len(train) + len(val) == len(open_dataset(tmp_path, "all")) == 23
    paths = {str(dataset.path(index)) for dataset in (train, val) for index in range(len(dataset))}
    assert len(paths) == 23
    assert {int(val[index][1]["label"]) for index in range(len(val))} == {0, 1}
    assert "fixed tenth" in recognise(tmp_path).reason


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
    assert find_layout(write(tmp_path / "deep", {"a/b": 2, "c/d": 2})) is None
    stereo = write(tmp_path / "stereo", {"x": 1, "y": 1})
    for scene in ("x", "y"):
        for side in ("left", "right"):
            PIL.Image.new("RGB", (6, 4)).save(stereo / scene / f"{side}.png")
    assert find_layout(stereo) is None
    assert find_layout(write(tmp_path / "train", {"train": 2, "car": 2})) is not None  # `train` may be a class


def test_the_real_faces(shared_data):
    dataset = open_dataset(shared_data / "orl_faces", "all")
    assert (len(dataset), len(dataset.categories)) == (290, 29)
    image, target = dataset[11]
    assert image.shape == (3, 112, 92)
    assert dataset.categories[int(target["label"])] == "s03"
