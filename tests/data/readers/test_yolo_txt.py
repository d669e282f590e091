"""YOLO text: fractions to pixels, names from three places, faults with lines."""

import PIL.Image
import pytest
import torch

from vidi.data.faults import DataFaults, OnFault
from vidi.data.readers.yolo_layout import find_layout


def write(root, labels, split="train", layout="images/{}", names: str | None = "classes.txt"):
    images = root / layout.format(split)
    texts = root / layout.replace("images", "labels").format(split)
    images.mkdir(parents=True, exist_ok=True)
    texts.mkdir(parents=True, exist_ok=True)
    for stem, text in labels.items():
        PIL.Image.new("RGB", (40, 20)).save(images / f"{stem}.png")
        if text is not None:
            (texts / f"{stem}.txt").write_text(text)
    if names == "classes.txt":
        (root / names).write_text("dog\ncat\n")
    elif names:
        (root / "data.yaml").write_text(names)
    return root


def open_source(root, source="train", on_fault: OnFault = "raise"):
    layout = find_layout(root)
    assert layout is not None
    return layout.sources[source](part="all", on_fault=on_fault)


@pytest.mark.parametrize("layout", ["images/{}", "{}/images"])
def test_fractions_become_pixels(tmp_path, layout):
    text = "0 0.5 0.5 0.5 0.5\n\n1 0.25 0.25 0.1 0.2\n"
    dataset = open_source(write(tmp_path, {"a": text, "b": None, "c": ""}, layout=layout))
    assert dataset.categories == ("dog", "cat")
    assert len(dataset) == 3
    _, target = dataset[0]
    assert torch.allclose(target["boxes"], torch.tensor([[10.0, 5, 30, 15], [8, 3, 12, 7]]))
    assert type(target["boxes"]).__name__ == "BoundingBoxes"
    assert target["boxes"].canvas_size == (20, 40)
    assert target["labels"].tolist() == [0, 1]
    assert target["areas"].tolist() == pytest.approx([200, 16])
    assert target["crowd"].tolist() == [False, False]
    for index in (1, 2):
        assert dataset[index][1]["boxes"].shape == (0, 4)
    assert torch.allclose(dataset[0][1]["boxes"], target["boxes"])  # the table is not changed by reading


def test_unsplit_and_nameless_sets(tmp_path):
    write(tmp_path, {"a": "3 0.5 0.5 0.5 0.5"}, split="", names=None)
    dataset = open_source(tmp_path, "all")
    assert dataset.categories == ("0", "1", "2", "3")
    (tmp_path / "labels" / "a.txt").write_text("99999 0.5 0.5 0.5 0.5")
    with pytest.raises(ValueError, match=r"class numbers up to 99999; a classes\.txt"):
        find_layout(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.0 0.5", "no size"),
        ("0 1.5 0.5 0.5 0.5", "outside the image"),
        ("0 20 10 20 10", "not in fractions"),
        ("0 nan 0.5 0.5 0.5", "not finite"),
        ("2 0.5 0.5 0.5 0.5", "unknown class 2; the set has 2 classes, 0..1"),
        ("-1 0.5 0.5 0.5 0.5", "unknown class -1"),
        ("0 0.5 0.5 0.5", "4 values, expected five"),
        ("0 0.5 0.5 0.5 0.5 1.5", "6 values, expected five: .*confidence from 0 to 1"),
        ("0 0.1 0.1 0.5 0.1 0.5 0.5 0.9", "8 values, expected five: .*outline"),
        ("0 0.1 0.1 0.5 0.1 nan 0.5", "not finite"),
        ("0 10 10 50 10 50 40", "not in fractions"),
        ("0 0.1 0.1 0.5 0.1 0.7 0.1", "no size"),
        ("dog 0.5 0.5 0.5 0.5", "expected a whole number and four numbers"),
        ("0.5 0.5 0.5 0.5 0.5", "expected a whole number and four numbers"),
    ],
)
def test_faults_name_file_and_line(tmp_path, line, message):
    root = write(tmp_path, {"a": f"0 0.5 0.5 0.5 0.5\n{line}\n", "b": "1 0.5 0.5 0.5 0.5"})
    with pytest.raises(DataFaults, match=rf"a\.txt: line 2: .*{message}"):
        open_source(root)
    dropped = open_source(root, on_fault="drop")  # without one of its objects, a would teach that there is background
    assert (len(dropped.faults), dropped.left_out) == (1, 1)
    assert [target["labels"].tolist() for _, target in dropped] == [[1]]


def test_labels_without_image_and_overhang(tmp_path):
    root = write(tmp_path, {"a": "0 0.1 0.5 0.4 0.5"})
    (root / "labels" / "train" / "gone.txt").write_text("")
    (root / "labels" / "train" / "classes.txt").write_text("dog\ncat\n")
    with pytest.raises(DataFaults, match=r"gone\.txt: the image .*gone.*missing"):
        open_source(root)
    dataset = open_source(root, on_fault="drop")
    assert dataset[0][1]["boxes"].tolist() == [[0, 5, 12, 15]]
    assert [(remark.where, "0.1 of the image" in remark.message) for remark in dataset.remarks] == [("line 1", True)]


def test_label_maps_are_not_yolo(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        PIL.Image.new("L", (4, 4)).save(tmp_path / folder / "a.png")
    assert find_layout(tmp_path) is None


def boxes(dataset, index=0):
    target = dataset[index][1]
    return target["labels"].tolist(), target["boxes"].round(decimals=3).tolist()


def test_whole_numbers_in_other_spellings_are_classes(tmp_path):
    dataset = open_source(write(tmp_path, {"a": "1.0 0.5 0.5 0.5 0.5\n1e0 0.5 0.5 0.5 0.5\n"}))
    assert boxes(dataset) == ([1, 1], [[10, 5, 30, 15]] * 2)
    assert dataset.remarks == ()


def test_outlines_give_their_envelope_and_are_counted(tmp_path):
    triangle, square = "0 0.25 0.1 0.5 0.1 0.375 0.6", "1 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4"
    dataset = open_source(write(tmp_path, {"a": f"{triangle}\n0 0.5 0.5 0.5 0.5\n", "b": square}))
    assert boxes(dataset) == ([0, 0], [[10, 2, 20, 12], [10, 5, 30, 15]])
    assert boxes(dataset, 1) == ([1], [[4, 2, 12, 8]])
    where = tmp_path / "labels" / "train" / "a.txt"
    assert [remark.message for remark in dataset.remarks] == [
        f"rows are outlines, the box of each is its envelope: 2 (first: {where}, line 1)"
    ]


def test_a_confidence_is_left_out_and_counted(tmp_path):
    dataset = open_source(write(tmp_path, {"a": "0 0.5 0.5 0.5 0.5 0.91\n0 0.5 0.5 0.5 0.5 1\n"}))
    assert boxes(dataset) == ([0, 0], [[10, 5, 30, 15]] * 2)
    assert [
        "rows have a sixth value, a confidence, which is left out: 2" in remark.message for remark in dataset.remarks
    ] == [True]


def test_keypoints_that_a_yaml_announces_are_not_taken_for_an_outline(tmp_path):
    row = "0 0.5 0.5 0.5 0.5 0.1 0.1 0.9 0.9"  # two points x y, outside the box
    dataset = open_source(write(tmp_path / "a", {"a": row}, names="names: [dog]\nkpt_shape: [2, 2]"))
    assert boxes(dataset) == ([0], [[10, 5, 30, 15]])
    assert [
        "rows have keypoints, of which only the box is read: 1" in remark.message for remark in dataset.remarks
    ] == [True]
    outline = open_source(write(tmp_path / "b", {"a": row}, names="names: [dog]"))
    assert boxes(outline) == ([0], [[4, 2, 36, 18]])
    assert ["outlines" in remark.message for remark in outline.remarks] == [True]


def test_two_pictures_of_one_label_file_are_a_fault(tmp_path):
    root = write(tmp_path, {"a": "0 0.5 0.5 0.5 0.5", "b": "1 0.5 0.5 0.5 0.5", "c": None})
    for name in ("a.jpg", "c.jpg"):  # c has no label file: nothing is unclear
        PIL.Image.new("RGB", (40, 20)).save(root / "images" / "train" / name)
    with pytest.raises(DataFaults, match=r"a\.txt: a\.jpg and a\.png differ only in their suffix") as caught:
        open_source(root)
    assert len(caught.value.faults) == 1
    dropped = open_source(root, on_fault="drop")
    assert [dropped.path(index).name for index in range(len(dropped))] == ["b.png", "c.jpg", "c.png"]


def test_pictures_without_label_file_are_counted(tmp_path):
    dataset = open_source(write(tmp_path, {"a": "0 0.5 0.5 0.5 0.5", "b": None, "c": ""}))
    assert [remark.message for remark in dataset.remarks] == [
        "1 of 3 pictures have no label file: taken as without objects"
    ]


def test_a_part_is_stratified_by_class(tmp_path):
    root = write(tmp_path, {f"{row:02d}": f"{int(row >= 30)} 0.5 0.5 0.5 0.5" for row in range(40)})
    layout = find_layout(root)
    assert layout is not None
    val = layout.sources["train"](part="val", on_fault="raise")
    assert sorted(int(val.target(index)["labels"][0]) for index in range(len(val))) == [0, 0, 0, 1]
