"""YOLO sets as tools export them: which pictures are which split, where labels are, and what the classes are called."""

import pytest

from tests.data.readers.pictures import picture, text
from vidi.data.faults import DataFaults
from vidi.data.readers.yolo_layout import find_layout
from vidi.data.recognise import open_dataset, recognise

ROW = "0 0.5 0.5 0.5 0.5\n"


def labelled(root, *names, row=ROW):
    """Write pictures with labels: in `labels` for those in `images`, else beside them."""
    for seed, name in enumerate(names):
        picture(root / f"{name}.png", seed=seed)
        text(root / f"{name.replace('images', 'labels')}.txt", row)
    return root


def splits(path):
    """Return the names of the pictures of each split that is the set's own, from the folder of the set."""
    layout = find_layout(path)
    assert layout is not None
    root = path.parent if path.is_file() else path
    found = {}
    for split, build in layout.sources.items():
        dataset = build(part="all", on_fault="raise")
        found[split] = [
            dataset.path(index).relative_to(root).with_suffix("").as_posix() for index in range(len(dataset))
        ]
    return found


def remarks(path):
    layout = find_layout(path)
    assert layout is not None
    return [str(remark).replace(str(path), "") for remark in layout.remarks]


# ------------------------------------------------------------------------------------------------------ exports in use


def test_roboflow_folders_with_a_yaml(tmp_path):
    labelled(tmp_path, "train/images/a", "train/images/b", "valid/images/c", "test/images/d")
    yaml = text(
        tmp_path / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\nnames: ['cell']\n",
    )
    text(tmp_path / "README.roboflow.txt", "exported\n")
    expected = {"train": ["train/images/a", "train/images/b"], "val": ["valid/images/c"], "test": ["test/images/d"]}
    assert splits(tmp_path) == splits(yaml) == expected
    assert remarks(tmp_path) == []
    assert open_dataset(tmp_path, "val").categories == ("cell",)
    assert open_dataset(yaml, "val")[0][1]["boxes"].tolist() == [[10, 5, 30, 15]]


def test_roboflow_darknet_side_by_side(tmp_path):
    labelled(tmp_path, "train/a", "train/b", "valid/c", "test/d")
    for split in ("train", "valid", "test"):
        text(tmp_path / split / "_darknet.labels", "cell\nplatelet\n")
    assert splits(tmp_path) == {"train": ["train/a", "train/b"], "val": ["valid/c"], "test": ["test/d"]}
    found = recognise(tmp_path)
    assert (found.format, list(found.splits)) == ("yolo_txt", ["train", "val", "test"])
    assert found.open("test").categories == ("cell", "platelet")


def test_labelimg_in_one_folder(tmp_path):
    labelled(tmp_path, "a", "b")
    text(tmp_path / "classes.txt", "cell\n")
    text(tmp_path / "notes.txt", "shot in May\n")  # no orphaned label: no row of numbers
    assert splits(tmp_path) == {"all": ["a", "b"]}
    text(tmp_path / "c.txt", ROW)
    with pytest.raises(DataFaults, match=r"c\.txt: the image .*missing"):
        open_dataset(tmp_path, "all")


def test_cvat_lists_pictures_with_its_own_prefix(tmp_path):
    labelled(tmp_path, "obj_train_data/a", "obj_train_data/b")
    text(tmp_path / "train.txt", "data/obj_train_data/a.png\ndata/obj_train_data/b.png\n")
    text(tmp_path / "obj.names", "cell\n")
    text(tmp_path / "obj.data", "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\n")
    assert splits(tmp_path) == {"train": ["obj_train_data/a", "obj_train_data/b"]}
    train = open_dataset(tmp_path, "train")
    assert train.categories == ("cell",)
    assert any("paths of another machine, found by their last parts: 2" in remark.message for remark in train.remarks)


def test_label_studio_without_splits(tmp_path):
    labelled(tmp_path, "images/a", "images/b")
    text(tmp_path / "classes.txt", "cell\n")
    text(tmp_path / "notes.json", "{}")
    assert splits(tmp_path) == {"all": ["images/a", "images/b"]}


def test_darknet_lists_with_the_pictures_of_voc(tmp_path):
    for name in "abc":
        picture(tmp_path / "JPEGImages" / f"{name}.jpg")
        text(tmp_path / "labels" / f"{name}.txt", ROW)
    text(tmp_path / "train.txt", "JPEGImages/a.jpg\n")
    text(tmp_path / "valid.txt", "JPEGImages/b.jpg\n")
    assert splits(tmp_path) == {"train": ["JPEGImages/a"], "val": ["JPEGImages/b"]}
    assert remarks(tmp_path) == [
        ": pictures not used because they stand in no split of train.txt, valid.txt: 1 (first: JPEGImages/c.jpg)"
    ]
    text(tmp_path / "val.txt", "JPEGImages/c.jpg\n")
    with pytest.raises(ValueError, match=r"two lists for one split \(train\.txt, val\.txt, valid\.txt\)"):
        find_layout(tmp_path)


# ---------------------------------------------------------------------------------------------- what the yaml says


def test_the_lists_of_a_yaml_are_the_splits(tmp_path):
    labelled(tmp_path, *(f"images/{row}" for row in range(6)))
    text(tmp_path / "lists" / "a.txt", "./images/3.png\nimages/0.png\n")  # from the set's folder, not from the list's
    text(tmp_path / "lists" / "b.txt", "images/1.png\n")
    yaml = text(tmp_path / "data.yaml", "train: [lists/a.txt, lists/b.txt]\nval: images/sub\nnames: [x]\n")
    labelled(tmp_path, "images/sub/0")
    assert splits(yaml) == {"train": ["images/3", "images/0", "images/1"], "val": ["images/sub/0"]}
    assert remarks(tmp_path) == [
        ": pictures not used because they stand in no split of data.yaml: 3 (first: images/2.png)"
    ]


def test_several_folders_are_one_split(tmp_path):
    labelled(tmp_path, "images/fold0/a", "images/fold1/a", "images/fold2/a", row="1" + ROW[1:])
    text(tmp_path / "data.yaml", "train: [images/fold0, images/fold1]\nval: images/fold2\nnames: [x, y]\n")
    assert splits(tmp_path) == {"train": ["images/fold0/a", "images/fold1/a"], "val": ["images/fold2/a"]}


def test_a_yaml_elsewhere_says_where_the_set_is(tmp_path):
    labelled(tmp_path / "sets" / "cells", "images/train/a", "images/val/b")
    for number, path in enumerate(("../sets/cells", str(tmp_path / "sets" / "cells"))):
        yaml = text(
            tmp_path / "configs" / f"{number}.yaml", f"path: {path}\ntrain: images/train\nval: images/val\nnc: 1\n"
        )
        for split, name in (("train", "a"), ("val", "b")):
            dataset = open_dataset(yaml, split)
            assert [dataset.path(row).name for row in range(len(dataset))] == [f"{name}.png"]
            assert dataset.remarks == ()


def test_a_yaml_of_names_leaves_the_splits_to_the_folders(tmp_path):
    labelled(tmp_path, "images/train/a", "images/val/b")
    yaml = text(tmp_path / "data.yaml", "names: [cell]\n")
    assert splits(tmp_path) == splits(yaml) == {"train": ["images/train/a"], "val": ["images/val/b"]}


def test_the_yaml_wins_over_the_names_of_folders_and_that_is_said(tmp_path):
    labelled(tmp_path, "train/images/a", "valid/images/b", "test/images/c")
    text(tmp_path / "data.yaml", "train: train/images\nval: test/images\nnames: [x]\n")
    assert splits(tmp_path) == {"train": ["train/images/a"], "val": ["test/images/c"]}
    assert remarks(tmp_path) == [
        "/data.yaml: val: test/images is called like test; it is val",
        ": pictures not used because they stand in no split of data.yaml: 1 (first: valid/images/b.png)",
    ]


def test_a_missing_test_split_is_remarked_others_are_errors(tmp_path):
    labelled(tmp_path, "train/images/a", "valid/images/b")
    text(tmp_path / "data.yaml", "train: train/images\nval: valid/images\ntest: ../test/images\nnames: [x]\n")
    assert list(splits(tmp_path)) == ["train", "val"]
    assert remarks(tmp_path) == ["/data.yaml: test: ../test/images is not there and is left out"]
    text(tmp_path / "data.yaml", "train: train/images\nval: gone/images2\nnames: [x]\n")
    with pytest.raises(ValueError, match=rf"data\.yaml: val: gone/images2 is not there; looked in {tmp_path}"):
        find_layout(tmp_path)


def test_a_path_of_another_machine_that_could_be_two_folders_is_refused(tmp_path):
    labelled(tmp_path, "images/a", "inner/images/b")
    text(tmp_path / "data.yaml", "path: inner\ntrain: /srv/images\nval: /srv/images\nnames: [cell]\n")
    with pytest.raises(
        ValueError, match=rf"data\.yaml: train: /srv/images is not there, and could be each of {tmp_path}"
    ):
        find_layout(tmp_path)


def test_folders_of_another_machine_are_found_and_remarked(tmp_path):
    labelled(tmp_path, "train/images/a", "valid/images/b")
    text(tmp_path / "data.yaml", "train: /content/cells-1/train/images\nval: C:\\cells\\valid\\images\nnames: [x]\n")
    assert splits(tmp_path) == {"train": ["train/images/a"], "val": ["valid/images/b"]}
    assert ["is not there: " in remark for remark in remarks(tmp_path)] == [True, True]


def test_pictures_of_two_splits_are_counted(tmp_path):
    labelled(tmp_path, "images/train2017/a", "images/train2017/b")
    text(tmp_path / "data.yaml", "train: images/train2017\nval: images/train2017\nnames: [x]\n")  # as in coco128.yaml
    assert splits(tmp_path)["val"] == splits(tmp_path)["train"]
    assert any(
        "pictures that stand in train and in val, so that scores are too good: 2" in remark
        for remark in remarks(tmp_path)
    )


def test_several_yaml_files_have_to_agree(tmp_path):
    labelled(tmp_path, "images/train/a")
    for name in ("a.yaml", "b.yml"):
        text(tmp_path / name, "names: [x]\n")
    assert list(splits(tmp_path)) == ["train"]
    text(tmp_path / "b.yml", "names: [y]\n")
    with pytest.raises(ValueError, match=r"several yaml files describe a data set \(a\.yaml, b\.yml\): name one"):
        find_layout(tmp_path)
    assert open_dataset(tmp_path / "b.yml", "train").categories == ("y",)


def test_another_yaml_beside_is_no_matter(tmp_path):
    labelled(tmp_path, "images/train/a")
    text(tmp_path / "hyp.yaml", "lr0: 0.01\n")
    text(tmp_path / "broken.yaml", "{{ template }}: [\n")
    assert list(splits(tmp_path)) == ["train"]
    text(tmp_path / "broken.yaml", "names: [\n")
    with pytest.raises(ValueError, match=r"broken\.yaml, line 2"):
        find_layout(tmp_path)


def test_a_file_that_is_no_yaml_of_a_set(tmp_path):
    with pytest.raises(ValueError, match=r"hyp\.yaml: not the yaml of a data set; expected `names:`"):
        recognise(text(tmp_path / "hyp.yaml", "lr0: 0.01\n"))
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(ValueError, match=r"data\.yaml: no picture has labels"):
        recognise(text(tmp_path / "data.yaml", "names: [x]\ntrain: images\nval: images\n"))


# -------------------------------------------------------------------------------------------------------------- folders


def test_two_folders_for_one_split_are_both_read_and_said(tmp_path):
    labelled(tmp_path, "train/a", "val/b", "valid/b")
    assert splits(tmp_path)["val"] == ["val/b", "valid/b"]
    assert remarks(tmp_path) == [": val and valid are both read as val"]


def test_sub_folders_belong_to_their_split(tmp_path):
    labelled(tmp_path, "images/train/a", "images/train/camera2/a", "images/val/camera1/day/a")
    assert splits(tmp_path) == {
        "train": ["images/train/a", "images/train/camera2/a"],
        "val": ["images/val/camera1/day/a"],
    }
    assert [len(open_dataset(tmp_path, "train")[row][1]["boxes"]) for row in range(2)] == [1, 1]


def test_sub_folders_of_a_set_without_splits(tmp_path):
    labelled(tmp_path / "a", "camera1/1", "camera2/1")
    assert splits(tmp_path / "a") == {"all": ["camera1/1", "camera2/1"]}
    labelled(tmp_path / "b", "images/camera1/1", "images/camera2/1")
    assert splits(tmp_path / "b") == {"all": ["images/camera1/1", "images/camera2/1"]}


def test_folders_that_speak_of_splits_are_not_mixed(tmp_path):
    labelled(tmp_path, "images/my_train/a", "images/my_val/b")
    with pytest.raises(
        ValueError, match="my_train, my_val speak of splits: call them train, val, test, or say in a data"
    ):
        find_layout(tmp_path)


def test_pictures_outside_labelled_folders_are_counted(tmp_path):
    labelled(tmp_path, "images/train/a", "images/val/b")
    picture(tmp_path / "images" / "test" / "c.png")
    assert remarks(tmp_path) == [
        ": pictures not used because they lie outside the folders that have labels: 1 (first: images/test/c.png)"
    ]


def test_the_folder_of_the_pictures_may_be_given(tmp_path):
    labelled(tmp_path, "images/train/a", "images/val/b")
    assert splits(tmp_path / "images") == {"train": ["train/a"], "val": ["val/b"]}


def test_captions_beside_pictures_are_no_labels(tmp_path):
    picture(tmp_path / "train" / "a.png")
    text(tmp_path / "train" / "a.txt", "a cat that sits on a mat\n")
    assert find_layout(tmp_path) is None
    text(tmp_path / "train" / "a.txt", "12,30,50,60,word\n")  # text detection, in pixels
    assert find_layout(tmp_path) is None


# -------------------------------------------------------------------------------------------------------- class names


def test_files_that_name_the_classes_differently_are_an_error(tmp_path):
    labelled(tmp_path, "images/train/a")
    yaml = text(tmp_path / "data.yaml", "names: [cell]\n")
    text(tmp_path / "labels" / "train" / "classes.txt", "dog\nperson\n")  # what labelImg leaves behind
    with pytest.raises(ValueError, match=r"data\.yaml and labels/train/classes\.txt name the classes differently"):
        find_layout(tmp_path)
    assert open_dataset(yaml, "train").categories == ("cell",)  # asked for by name
    assert remarks(yaml) == [
        f"{tmp_path}/labels/train/classes.txt: names the classes differently and is not used: data.yaml is"
    ]


def test_numbers_of_a_classes_txt_have_no_gaps(tmp_path):
    labelled(tmp_path, "images/train/a")
    text(tmp_path / "classes.txt", "1 dog\n0 cat\n")
    assert open_dataset(tmp_path, "train").categories == ("cat", "dog")
    text(tmp_path / "classes.txt", "0 dog\n5 cat\n")
    with pytest.raises(ValueError, match=r"classes\.txt: expected the numbers 0\.\.1, each once"):
        find_layout(tmp_path)


def test_without_names_the_numbers_count(tmp_path):
    labelled(tmp_path, "images/train/a", row="2.0 0.5 0.5 0.5 0.5\nrubbish\n\n")
    labelled(tmp_path, "images/train/b")
    layout = find_layout(tmp_path)
    assert layout is not None
    assert layout.sources["train"](part="all", on_fault="drop").categories == ("0", "1", "2")
    assert layout.reason.endswith("class names from the numbers in the label files")
