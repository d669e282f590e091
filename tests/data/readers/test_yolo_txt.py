"""YOLO text: fractions to pixels, names from three places, faults with lines."""

import PIL.Image
import pytest
import torch

from vidi.data.faults import DataFaults, OnFault
from vidi.data.readers.yolo_txt import find_layout, yaml_names


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
    "text",
    [
        "train: x\nnames: [dog, 'big cat']\nnc: 2\n",
        'names: ["dog",\n  "big cat"]\n',
        "names:\n- dog\n- big cat\nnc: 2",
        "nc: 2\nnames:\n  # ours\n  0: dog\n  1: 'big cat'  # tame\n",
        "names:\n  1: big cat\n  0: dog\npath: .\n",
        "names: {0: dog, 1: big cat}",
    ],
)
def test_names_of_a_yaml(tmp_path, text):
    assert yaml_names(text) == ("dog", "big cat")
    assert open_source(write(tmp_path, {"a": ""}, names=text)).categories == ("dog", "big cat")


def test_yaml_without_names_and_unreadable_names():
    assert yaml_names("nc: 2\n# names: [a]\n") is None
    for text in ("names: 3", "names:\n", "names: []", "names: {0: a, 2: b}", "names: [a,\n"):
        with pytest.raises(ValueError, match="names: expected"):
            yaml_names(text)


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
        ("0 0.1 0.1 0.5 0.1 0.5 0.5", "7 values, expected five: .*outlines"),
        ("dog 0.5 0.5 0.5 0.5", "expected an integer and four numbers"),
    ],
)
def test_faults_name_file_and_line(tmp_path, line, message):
    root = write(tmp_path, {"a": f"0 0.5 0.5 0.5 0.5\n{line}\n"})
    with pytest.raises(DataFaults, match=rf"a\.txt: line 2: .*{message}"):
        open_source(root)
    dropped = open_source(root, on_fault="drop")
    assert (len(dropped.faults), len(dropped[0][1]["labels"])) == (1, 1)


def test_labels_without_image_and_overhang(tmp_path):
    root = write(tmp_path, {"a": "0 0.1 0.5 0.4 0.5"})
    (root / "labels" / "train" / "gone.txt").write_text("")
    (root / "labels" / "train" / "classes.txt").write_text("dog\n")
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
