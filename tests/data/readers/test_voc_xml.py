"""VOC xml: offset, difficult, the lists of splits, faults with lines, no entities, the real set."""

import PIL.Image
import pytest
import torch

from vidi.data.faults import DataFaults, OnFault
from vidi.data.readers.voc_layout import find_layout
from vidi.data.readers.voc_xml import parse_xml
from vidi.data.recognise import open_dataset

SIZE = "<size><width>30</width><height>20</height><depth>3</depth></size>"


def thing(name="dog", box=(1, 2, 11, 12), difficult=0):
    corners = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"  # the person layout task has these
    return f"<object>\n<name>{name}</name><difficult>{difficult}</difficult><bndbox>{corners}</bndbox>{part}</object>\n"


def write(root, annotations, splits=None, size=SIZE, folders=("JPEGImages", "Annotations", "ImageSets/Main")):
    images, xml, lists = (root / name for name in folders)
    for folder in (images, xml, lists):
        folder.mkdir(parents=True, exist_ok=True)
    for stem, things in annotations.items():
        PIL.Image.new("RGB", (30, 20)).save(images / f"{stem}.jpg")
        (xml / f"{stem}.xml").write_text(f"<annotation>\n{size}\n{''.join(things)}</annotation>")
    for split, text in (splits or {}).items():
        (lists / f"{split}.txt").write_text(text)
    return root


def open_source(root, source="all", on_fault: OnFault = "raise", **options):
    layout = find_layout(root)
    assert layout is not None
    return layout.sources[source](part="all", on_fault=on_fault, **options)


def test_boxes_difficult_and_classes_of_the_whole_set(tmp_path):
    root = write(
        tmp_path,
        {"a": [thing(), thing("cat", (0, 0, 30, 20), difficult=1)], "b": [], "c": [thing("ant")]},
        {"train": "a\nb\n", "val": "c  1\n\n", "dog_train": "a 1\nb -1\n"},
    )
    train, val = open_source(root, "train"), open_source(root, "val")
    assert train.categories == val.categories == ("ant", "cat", "dog")
    assert (len(train), len(val)) == (2, 1)
    image, target = train[0]
    assert image.shape == (3, 20, 30)
    assert target["boxes"].tolist() == [[1, 2, 11, 12], [0, 0, 30, 20]]
    assert target["labels"].tolist() == [2, 1]
    assert target["crowd"].tolist() == [False, True]
    assert target["areas"].tolist() == [100, 600]
    assert train[1][1]["boxes"].shape == (0, 4)


def test_offset_turns_indices_from_1_into_edges(tmp_path):
    layout = find_layout(write(tmp_path, {"a": [thing(box=(1, 1, 30, 20))]}))
    assert layout is not None
    dataset = layout.sources["all"]
    assert dataset(part="all", on_fault="raise")[0][1]["boxes"].tolist() == [[1, 1, 30, 20]]
    assert open_source(tmp_path, offset=1)[0][1]["boxes"].tolist() == [[0, 0, 30, 20]]


@pytest.mark.parametrize("size", ["", SIZE.replace("30", "0"), SIZE.replace("30", "wide")])
def test_without_a_size_the_image_tells_it(tmp_path, size):
    dataset = open_source(write(tmp_path, {"a": [thing()]}, size=size))
    assert dataset[0][1]["boxes"].canvas_size == (20, 30)


def test_a_wrong_size_is_found_when_the_image_is_read(tmp_path):
    dataset = open_source(write(tmp_path, {"a": [thing()]}, size=SIZE.replace("30", "60")))
    with pytest.raises(ValueError, match=r"a\.jpg: the image has 30 x 20 pixels, its boxes are for 60 x 20"):
        dataset[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (thing(box=(5, 5, 5, 9)), "line 3: box .* has no size"),
        (thing() + thing(box=(31, 1, 40, 5)), "line 5: box .* outside the image of 30 x 20"),
        (thing(box=("nan", 1, 4, 5)), "line 3: .*not finite"),
        (thing(box=("x", 1, 4, 5)), "line 3: xmin is 'x', expected a number"),
        ("<object><name>dog</name></object>", "line 3: the object has no bndbox"),
        ("<object><name>dog</name>", "line 3: mismatched tag"),
        ("", ""),
    ],
)
def test_faults_name_file_and_line(tmp_path, text, message):
    root = write(tmp_path, {"a": [text], "b": [thing()]})
    if not message:
        assert len(open_source(root)) == 2
        return
    with pytest.raises(DataFaults, match=rf"a\.xml: {message}"):
        open_source(root)
    dropped = open_source(root, on_fault="drop")
    assert len(dropped.faults) == 1
    assert dropped[len(dropped) - 1][1]["boxes"].tolist() == [[1, 2, 11, 12]]


def test_missing_files_and_bad_lists_are_faults(tmp_path):
    root = write(tmp_path, {"a": [thing()], "b": [thing()], "c": [thing()]}, {"train": "a\nb\nc\na\n../c\nd\n"})
    (root / "JPEGImages" / "b.jpg").unlink()
    (root / "Annotations" / "c.xml").unlink()
    with pytest.raises(DataFaults) as caught:
        open_source(root, "train")
    message = str(caught.value)
    assert len(caught.value.faults) == 5
    assert "train.txt: line 4: a stands in line 1 already" in message
    assert "train.txt: line 5: ../c is not a file name of this set" in message
    assert "b.xml: the image" in message
    assert "c.xml: no such file" in message
    assert len(open_source(root, "train", "drop")) == 1


def test_an_unknown_class_is_a_fault_where_classes_are_listed(tmp_path):
    root = write(tmp_path, {"a": [thing(), thing("bird")]})
    (root / "classes.txt").write_text("dog\ncat\n")
    with pytest.raises(DataFaults, match=r"a\.xml: line 5: unknown class 'bird'; choose from dog, cat"):
        open_source(root)


def test_entities_are_refused(tmp_path):
    path = tmp_path / "bomb.xml"
    path.write_text('<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]>\n<a>&y;</a>')
    with pytest.raises(ValueError, match=r"bomb\.xml, line 2: document type declarations are refused"):
        parse_xml(path)
    root = write(tmp_path / "set", {"a": [thing()]})
    (root / "Annotations" / "a.xml").write_text(path.read_text())
    with pytest.raises(DataFaults, match=r"a\.xml: line 2: document type"):
        open_source(root)


def test_other_encodings_are_read(tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes('<?xml version="1.0" encoding="ISO-8859-1"?><a>Bär</a>'.encode("latin-1"))
    assert parse_xml(path).text == "Bär"


def test_an_xml_that_names_its_file_tells_two_pictures_apart(tmp_path):
    root = write(tmp_path, {"a": ["<filename>photos/a.png</filename>", thing()], "b": [thing()]})
    for name in ("a.png", "b.png"):
        PIL.Image.new("RGB", (30, 20), "white").save(root / "JPEGImages" / name)
    with pytest.raises(DataFaults, match=r"b\.xml: b\.jpg and b\.png differ only in their suffix") as caught:
        open_source(root)
    assert len(caught.value.faults) == 1
    dropped = open_source(root, on_fault="drop")
    assert [dropped.path(index).name for index in range(len(dropped))] == ["a.png"]
    (remark,) = dropped.remarks
    assert remark.message == "pictures not used because they have no xml: 1 (first: a.jpg)"


def test_a_picture_without_xml_is_counted(tmp_path):
    root = write(tmp_path, {"a": [thing()]})
    PIL.Image.new("RGB", (30, 20)).save(root / "JPEGImages" / "z.jpg")
    assert [remark.message for remark in open_source(root).remarks] == [
        "pictures not used because they have no xml: 1 (first: z.jpg)"
    ]


def test_the_real_set_equals_its_coco_json_but_for_two_faults(shared_data):
    layout = find_layout(shared_data / "bccd")
    assert layout is not None
    faults = []
    for split in ("train", "val", "test"):
        xml = layout.sources[split](part="all", on_fault="drop")
        faults += xml.faults
        reference = open_dataset(shared_data / "bccd", split)
        by_name = {reference.path(index).name: index for index in range(len(reference))}
        names = [reference.categories.index(name) for name in xml.categories]
        assert len(xml) + len(xml.faults) == len(by_name)  # each in a picture of its own
        for index in range(0, len(xml), 4):
            ours, theirs = xml.target(index), reference.target(by_name[xml.path(index).name])
            assert torch.equal(ours["boxes"], theirs["boxes"])
            assert [names[label] for label in ours["labels"]] == theirs["labels"].tolist()
    assert sorted(fault.file.rpartition("/")[2] for fault in faults) == ["BloodImage_00338.xml", "BloodImage_00343.xml"]
    assert all("has no size" in fault.message and fault.where.startswith("line ") for fault in faults)
