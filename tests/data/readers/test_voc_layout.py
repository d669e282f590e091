"""VOC sets as tools export them: lists, folders of splits, pictures and xml side by side."""

import pytest

from tests.data.readers.pictures import picture, text
from vidi.data.faults import DataFaults
from vidi.data.readers.voc_layout import find_layout
from vidi.data.recognise import open_dataset, recognise

CORNERS = "<xmin>5</xmin><ymin>5</ymin><xmax>25</xmax><ymax>15</ymax>"


def annotated(root, *names, kind="cat"):
    """Write pictures and their xml: in Annotations for those in JPEGImages, in annotations for images, else beside."""
    for seed, name in enumerate(names):
        picture(root / f"{name}.png", seed=seed)
        xml = name.replace("JPEGImages", "Annotations").replace("images", "annotations")
        content = f"<annotation><object><name>{kind}</name><bndbox>{CORNERS}</bndbox></object></annotation>"
        text(root / f"{xml}.xml", content)
    return root


def listed(root, **lists):
    for name, stems in lists.items():
        text(root / "ImageSets" / "Main" / f"{name}.txt", stems)
    return root


def splits(root):
    """Return the names of the pictures of each split that is the set's own."""
    layout = find_layout(root)
    assert layout is not None
    found = {}
    for split, build in layout.sources.items():
        dataset = build(part="all", on_fault="raise")
        found[split] = [dataset.path(row).relative_to(layout.root).as_posix() for row in range(len(dataset))]
    return found


def remarks(root):
    layout = find_layout(root)
    assert layout is not None
    return [remark.message for remark in layout.remarks]


@pytest.mark.parametrize("folder", ["JPEGImages", "images", "VOC2007/JPEGImages", "VOCdevkit/VOC2012/JPEGImages", "."])
def test_layouts_in_use_are_found(tmp_path, folder):
    annotated(tmp_path, f"{folder}/a" if folder != "." else "a")
    assert [len(names) for names in splits(tmp_path).values()] == [1]


def test_several_sets_have_to_be_named(tmp_path):
    annotated(tmp_path, "VOC2007/JPEGImages/a", "VOC2012/JPEGImages/a")
    with pytest.raises(ValueError, match=r"several VOC sets \(.*VOC2007.*name one"):
        find_layout(tmp_path)


def test_roboflow_side_by_side(tmp_path):
    annotated(tmp_path, "train/a", "train/b", "test/d")
    annotated(tmp_path, "valid/c", kind="ant")
    assert splits(tmp_path) == {"train": ["train/a.png", "train/b.png"], "val": ["valid/c.png"], "test": ["test/d.png"]}
    found = recognise(tmp_path)
    assert (found.format, list(found.splits)) == ("voc_xml", ["train", "val", "test"])
    for split in ("train", "val"):  # the classes of the whole set, not of a split
        assert found.open(split).categories == ("ant", "cat")
    assert found.open("val")[0][1]["labels"].tolist() == [0]


@pytest.mark.parametrize("layout", ["images/{}", "{}/images", "JPEGImages/{}", "{}/JPEGImages"])
def test_folders_of_splits(tmp_path, layout):
    names = [f"{layout.format('train')}/a", f"{layout.format('val')}/a"]
    annotated(tmp_path, *names)
    assert splits(tmp_path) == {"train": [f"{names[0]}.png"], "val": [f"{names[1]}.png"]}


def test_two_folders_for_one_split_are_both_read_and_said(tmp_path):
    annotated(tmp_path, "train/a", "val/b", "valid/c")
    assert splits(tmp_path)["val"] == ["val/b.png", "valid/c.png"]
    assert remarks(tmp_path) == ["val and valid are both read as val"]


def test_sub_folders_belong_to_the_set(tmp_path):
    annotated(tmp_path, "JPEGImages/a", "JPEGImages/camera2/a")
    assert splits(tmp_path) == {"all": ["JPEGImages/a.png", "JPEGImages/camera2/a.png"]}
    listed(tmp_path, train="camera2/a\n", val="a\n")
    assert splits(tmp_path) == {"train": ["JPEGImages/camera2/a.png"], "val": ["JPEGImages/a.png"]}


def test_folders_that_speak_of_splits_are_not_mixed(tmp_path):
    annotated(tmp_path, "JPEGImages/my_train/a", "JPEGImages/my_val/b")
    with pytest.raises(ValueError, match="my_train, my_val speak of splits: call them train, val, test, or list"):
        find_layout(tmp_path)


# ------------------------------------------------------------------------------------------------------------- lists


def test_trainval_serves_as_train(tmp_path):
    annotated(tmp_path, *(f"JPEGImages/{row}" for row in range(6)))
    listed(tmp_path, trainval="0\n1\n2\n3\n", test="4\n5\n")
    found = recognise(tmp_path)
    assert list(found.splits) == ["train", "val", "test"]
    assert [len(found.open(split)) for split in found.splits] == [3, 1, 2]
    assert "val is a tenth of train" in found.reason
    assert "trainval.txt" in found.reason


def test_trainval_without_the_validation_is_train(tmp_path):
    annotated(tmp_path, *(f"JPEGImages/{row}" for row in range(5)))
    listed(tmp_path, trainval="0\n1\n2\n3\n", val="2\n3\n")
    assert {split: len(names) for split, names in splits(tmp_path).items()} == {"train": 2, "val": 2}
    assert remarks(tmp_path) == ["pictures not used because they stand in no list: 1 (first: 4)"]
    listed(tmp_path, train="0\n")
    assert splits(tmp_path)["train"] == ["JPEGImages/0.png"]  # a list of its own comes first


def test_lists_that_share_pictures_are_said(tmp_path):
    annotated(tmp_path, "JPEGImages/a", "JPEGImages/b")
    listed(tmp_path, train="a\nb\n", val="b\n")
    assert remarks(tmp_path) == ["pictures that stand in train and in val, so that scores are too good: 1 (first: b)"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("my photo 0", "my photo 0"),  # its last word is no flag: there is such a file
        ("my photo 0  1", "my photo 0"),
        ("a -1", "a"),
        ("b.v2", "b.v2"),
        ("a.png", "a"),
        ("JPEGImages/a.png", "a"),
        ("/home/me/VOC/JPEGImages/a.png", "a"),
        ("C:\\sets\\a.png", "a"),
    ],
)
def test_lines_of_lists(tmp_path, line, name):
    annotated(tmp_path, "JPEGImages/my photo 0", "JPEGImages/my", "JPEGImages/a", "JPEGImages/b.v2")
    listed(tmp_path, train=f"{line}\n")
    assert splits(tmp_path)["train"] == [f"JPEGImages/{name}.png"]


@pytest.mark.parametrize("line", ["gone", "gone 1", "a extra", "../a", "/etc/gone"])
def test_lines_that_name_nothing_are_faults(tmp_path, line):
    annotated(tmp_path, "JPEGImages/a")
    listed(tmp_path, train=f"a\n{line}\n")
    with pytest.raises(DataFaults) as caught:
        open_dataset(tmp_path, "train")
    assert len(caught.value.faults) == 1
    assert line.split()[0] in str(caught.value)


def test_a_list_of_another_purpose_splits_nothing(tmp_path):
    annotated(tmp_path, "JPEGImages/a", "JPEGImages/b")
    listed(tmp_path, default="a\n", cat_train="a 1\nb -1\n")  # CVAT's, and VOC's of a class
    assert splits(tmp_path) == {"all": ["JPEGImages/a.png", "JPEGImages/b.png"]}


def test_a_part_is_stratified_by_class(tmp_path):
    annotated(tmp_path, *(f"JPEGImages/{row}" for row in range(30)))
    annotated(tmp_path, *(f"JPEGImages/dog{row}" for row in range(10)), kind="dog")
    val = open_dataset(tmp_path, "val")
    assert sorted(val.categories[int(val.target(row)["labels"][0])] for row in range(len(val))) == ["cat"] * 3 + ["dog"]
