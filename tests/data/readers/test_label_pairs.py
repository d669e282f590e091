"""Label maps: void becomes 255, gaps close, unknown values and missing partners are named."""

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors

from vidi.data.faults import DataFaults
from vidi.data.readers.label_layout import find_layout
from vidi.data.recognise import open_dataset, recognise

LABELS = np.array([[0, 5, 9], [255, 0, 5]], dtype=np.uint8)


def write(root, images, maps, stems=("a", "b"), classes="0 sky\n5 road\n9 Void\n"):
    for folder in (root / images, root / maps):
        folder.mkdir(parents=True, exist_ok=True)
    for stem in stems:
        PIL.Image.new("RGB", (3, 2)).save(root / images / f"{stem}.jpg")
        PIL.Image.fromarray(LABELS).save(root / maps / f"{stem}.png")
    if classes:
        (root / "classes.txt").write_text(classes)
    return root


@pytest.mark.parametrize(
    ("images", "maps", "split"),
    [
        ("train", "trainannot", "train"),
        ("images/train", "labels/train", "train"),
        ("images/training", "annotations/training", "train"),
        ("images", "masks", "all"),
    ],
)
def test_values_become_labels(tmp_path, images, maps, split):
    write(tmp_path, images, maps)
    layout = find_layout(tmp_path)
    assert layout is not None
    dataset = layout.sources[split](part="all", on_fault="raise")
    assert dataset.semantic_categories == ("sky", "road")
    assert dataset.kinds == {"image_id", "semantic"}
    assert len(dataset) == 2
    image, target = dataset[1]
    assert image.shape == (3, 2, 3)
    assert isinstance(target["semantic"], tv_tensors.Mask)
    assert target["semantic"].dtype == torch.uint8
    assert target["semantic"].tolist() == [[0, 1, 255], [255, 0, 1]]
    assert int(target["image_id"]) == 1


def test_names_without_numbers_count_from_zero(tmp_path):
    write(tmp_path, "train", "trainannot", classes="\n".join(f"class {number}" for number in range(10)))
    dataset = open_dataset(tmp_path, "val")
    assert len(dataset.semantic_categories) == 10
    assert dataset[0][1]["semantic"].tolist() == [[0, 5, 9], [255, 0, 5]]


def test_unknown_values_name_the_file(tmp_path):
    write(tmp_path, "train", "trainannot", classes="0 sky\n5 road\n")
    with pytest.raises(ValueError, match=r"\.png: unknown classes \[9\]; the values of this set are \[0, 5, 255\]"):
        open_dataset(tmp_path, "train")[0]


def test_missing_partners_are_faults(tmp_path):
    write(tmp_path, "train", "trainannot", stems=("a", "b", "c", "d"))
    (tmp_path / "train" / "b.jpg").unlink()
    (tmp_path / "trainannot" / "c.png").unlink()
    with pytest.raises(DataFaults) as caught:
        open_dataset(tmp_path, "train")
    assert [str(fault).rpartition("/")[2] for fault in caught.value.faults] == [
        "b.png: the label map has no image",
        "c.jpg: the image has no label map",
    ]
    dataset = [open_dataset(tmp_path, split, on_fault="drop") for split in ("train", "val")]
    assert sum(map(len, dataset)) == 2


def test_another_size_and_colour_maps_are_errors(tmp_path):
    write(tmp_path, "images", "labels", stems=("a",))
    PIL.Image.new("L", (2, 3)).save(tmp_path / "labels" / "a.png")
    with pytest.raises(ValueError, match=r"a\.jpg: the image has 3 x 2 pixels, its semantic are for 2 x 3"):
        open_dataset(tmp_path, "all")[0]
    PIL.Image.new("RGB", (3, 2)).save(tmp_path / "labels" / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: expected a label map"):
        open_dataset(tmp_path, "all")[0]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("0 a\n0 b\n", r"classes\.txt, line 2: .*each number once"),
        ("a\n\nb\n", r"classes\.txt, line 2"),
        ("0 void\n", r"classes\.txt: names no class"),
        ("0 a\n300 b\n", r"classes\.txt: expected at most 254 classes with values 0\.\.255"),
    ],
)
def test_bad_legends_are_errors(tmp_path, classes, message):
    write(tmp_path, "train", "trainannot", classes=classes)
    with pytest.raises(ValueError, match=message):
        find_layout(tmp_path)


def test_without_classes_txt_the_values_are_the_classes(tmp_path):
    write(tmp_path, "train", "trainannot", classes="")
    write(tmp_path, "val", "valannot", classes="")
    PIL.Image.fromarray(LABELS + np.uint8(7)).save(tmp_path / "valannot" / "b.png")  # 7, 12, 16, 6
    dataset = open_dataset(tmp_path, "train")
    assert dataset.semantic_categories == tuple(f"class {value}" for value in (0, 5, 6, 7, 9, 12, 16))
    assert dataset[0][1]["semantic"].tolist() == [[0, 1, 4], [255, 0, 1]]
    assert [remark.message for remark in dataset.remarks] == [
        "there is no classes.txt: the classes are class 0, class 5, class 6, class 7, class 9, class 12, class 16, "
        "after the values in the label maps"
    ]


@pytest.mark.parametrize("values", [(0, 255), (255, 255)])
def test_a_class_alone_needs_a_classes_txt(tmp_path, values):
    write(tmp_path, "images", "masks", stems=("a",), classes="")
    PIL.Image.fromarray(np.array([values], dtype=np.uint8)).save(tmp_path / "masks" / "a.png")
    with pytest.raises(ValueError, match=r"besides 255, which is ignored: a classes\.txt with lines .* is needed"):
        find_layout(tmp_path)
    (tmp_path / "classes.txt").write_text("0 paper\n255 ink\n")
    assert open_dataset(tmp_path, "all").semantic_categories == ("paper", "ink")


def test_two_files_of_one_stem_are_a_fault(tmp_path):
    write(tmp_path, "images", "masks", stems=("a", "b", "c"))
    PIL.Image.new("RGB", (3, 2)).save(tmp_path / "images" / "a.png")
    PIL.Image.new("L", (3, 2)).save(tmp_path / "masks" / "b.bmp")
    with pytest.raises(DataFaults) as caught:
        open_dataset(tmp_path, "all")
    assert [fault.message.partition(" differ")[0] for fault in caught.value.faults] == [
        "a.jpg and a.png",
        "b.bmp and b.png",
    ]
    assert len(open_dataset(tmp_path, "all", on_fault="drop")) == 1


def test_sub_folders_and_two_folders_of_a_split(tmp_path):
    write(tmp_path, "images/train/day", "labels/train/day")
    write(tmp_path, "images/val", "labels/val", stems=("a",))
    write(tmp_path, "images/valid", "labels/valid", stems=("a",))
    PIL.Image.new("RGB", (3, 2)).save(tmp_path / "images" / "extra.png")
    train, val = open_dataset(tmp_path, "train"), open_dataset(tmp_path, "val")
    assert [train.path(row).relative_to(tmp_path).as_posix() for row in range(2)] == [
        "images/train/day/a.jpg",
        "images/train/day/b.jpg",
    ]
    assert len(val) == 2
    assert [remark.message for remark in val.remarks] == [
        "images/val and images/valid are both read as val",
        "pictures not used because they have no label maps: 1 (first: images/extra.png)",
    ]


def test_cityscapes_ids_become_19_classes(tmp_path):
    images, maps = tmp_path / "leftImg8bit" / "train" / "ulm", tmp_path / "gtFine" / "train" / "ulm"
    images.mkdir(parents=True)
    maps.mkdir(parents=True)
    ids = np.arange(36, dtype=np.uint8).reshape(4, 9)[:, :8].copy()
    ids[ids > 33] = 255
    PIL.Image.new("RGB", (8, 4)).save(images / "ulm_1_leftImg8bit.png")
    PIL.Image.fromarray(ids).save(maps / "ulm_1_gtFine_labelIds.png")
    layout = find_layout(tmp_path)
    assert layout is not None
    dataset = layout.sources["train"](part="all", on_fault="raise")
    semantic = dataset[0][1]["semantic"].numpy()
    assert len(dataset.semantic_categories) == 19
    assert (dataset.semantic_categories[0], dataset.semantic_categories[18]) == ("road", "bicycle")
    scored = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]  # helpers/labels.py
    expected = [scored.index(value) if value in scored else 255 for value in ids.reshape(-1).tolist()]
    assert semantic.reshape(-1).tolist() == expected


def test_cityscapes_training_ids_are_the_classes(tmp_path):
    root = write(tmp_path, "leftImg8bit/val/ulm", "gtFine/val/ulm", stems=(), classes="")
    PIL.Image.new("RGB", (3, 2)).save(root / "leftImg8bit/val/ulm/ulm_1_leftImg8bit.png")
    PIL.Image.fromarray(LABELS * np.uint8(2)).save(root / "gtFine/val/ulm/ulm_1_gtFine_labelTrainIds.png")
    with pytest.raises(ValueError, match=r"unknown classes \[254\]"):
        open_dataset(root, "val")[0]
    PIL.Image.fromarray(LABELS).save(root / "gtFine/val/ulm/ulm_1_gtFine_labelTrainIds.png")
    dataset = open_dataset(root, "val")
    assert dataset.semantic_categories[5] == "pole"
    assert dataset[0][1]["semantic"].tolist() == LABELS.tolist()


def ade(root):
    """The layout of ADEChallengeData2016, as the README of CSAILVision/sceneparsing describes it."""
    stem = "ADE_train_00000001"
    write(root, "images/training", "annotations/training", stems=(stem,), classes="")
    PIL.Image.fromarray(np.array([[0, 1, 8], [150, 1, 0]], dtype=np.uint8)).save(
        root / "annotations/training" / f"{stem}.png"
    )
    return root


def test_ade20k_has_150_classes_behind_void(tmp_path):
    dataset = recognise(ade(tmp_path)).layout.sources["train"](part="all", on_fault="raise")
    assert len(dataset.semantic_categories) == 150
    assert dataset[0][1]["semantic"].tolist() == [[255, 0, 7], [149, 0, 255]]
    (tmp_path / "annotations/training/ADE_train_00000001.png").unlink()
    PIL.Image.new("L", (3, 2), 151).save(tmp_path / "annotations/training/ADE_train_00000001.png")
    with pytest.raises(ValueError, match=r"ADE_train_00000001\.png: unknown classes \[151\]"):
        dataset[0]


def test_ade20k_s_list_names_its_classes(tmp_path):
    rows = ["Idx\tRatio\tTrain\tVal\tName", "1\t0.1576\t11664\t1172\twall", "8\t0.0231\t1906\t199\tbed "]
    rows += ["150\t0.0002\t421\t56\tflag, banner"]
    (ade(tmp_path) / "objectInfo150.txt").write_text("\n".join(rows) + "\n")
    dataset = recognise(tmp_path).layout.sources["train"](part="all", on_fault="raise")
    assert dataset.semantic_categories == ("wall", "bed", "flag")
    assert dataset[0][1]["semantic"].tolist() == [[255, 0, 1], [2, 0, 255]]
    (tmp_path / "objectInfo150.txt").write_text(rows[0] + "\n1 wall\n")
    with pytest.raises(ValueError, match=r"objectInfo150\.txt, line 2: expected columns"):
        recognise(tmp_path)


def voc(root):
    """The layout of the development kit of 2012, with palettes whose colours are not those of the indices."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stem, split in (("2007_000032", "train"), ("2007_000033", "val"), ("2007_000034", "")):
        PIL.Image.new("RGB", (3, 2)).save(root / "JPEGImages" / f"{stem}.jpg")
        if split:
            labels = PIL.Image.fromarray(np.array([[0, 1, 20], [255, 15, 0]], dtype=np.uint8)).convert("P")
            labels.putpalette([17, 17, 17] * 256)
            labels.save(root / "SegmentationClass" / f"{stem}.png")
            (root / "ImageSets/Segmentation" / f"{split}.txt").write_text(f"{stem}\n")
    return root


def test_voc_is_read_by_index_and_its_lists(tmp_path):
    voc(tmp_path / "VOCdevkit" / "VOC2012")
    found = recognise(tmp_path)
    assert (found.format, set(found.splits)) == ("label_pairs", {"train", "val"})
    dataset = found.open("val")
    assert [dataset.path(row).stem for row in range(len(dataset))] == ["2007_000033"]
    assert len(dataset.semantic_categories) == 21
    assert (dataset.semantic_categories[15], dataset.semantic_categories[20]) == ("person", "tvmonitor")
    assert dataset[0][1]["semantic"].tolist() == [[0, 1, 20], [255, 15, 0]]
    listing = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"
    listing.write_text("2007_000033\n2007_000034\nnowhere\n")
    with pytest.raises(DataFaults) as caught:
        open_dataset(tmp_path, "val")
    assert [fault.message for fault in caught.value.faults] == [
        "the image has no label map",
        "there is neither an image nor a label map of that name",
    ]


def test_a_voc_set_is_read_for_what_a_task_needs(tmp_path):
    (voc(tmp_path) / "Annotations").mkdir()
    box = "<bndbox><xmin>0</xmin><ymin>0</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
    xml = f"<annotation><object><name>dog</name>{box}</object></annotation>"
    (tmp_path / "Annotations" / "2007_000032.xml").write_text(xml)
    asked = {"semantic": "label_pairs", "boxes": "voc_xml", "label": "voc_xml"}
    assert {need: recognise(tmp_path, needs=(need,)).format for need in asked} == asked
    assert recognise(tmp_path).format == "voc_xml"


COLOURS = "128 128 128\tSky\n64 0 128\t\tCar\n64 128 192\tCar\n0 0 0\tVoid\n"


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("classes.txt", COLOURS),
        ("label_colors.txt", COLOURS),
        ("labelmap.txt", "# label:color_rgb\nSky:128,128,128::\nCar:64,0,128::\nCar:64,128,192::\nvoid:0,0,0::\n"),
    ],
)
def test_painted_maps_need_a_table_of_colours(tmp_path, name, table):
    """CamVid's original folders; two colours of one name are one class."""
    for folder in ("701_StillsRaw_full", "LabeledApproved_full"):
        (tmp_path / folder).mkdir()
    painted = np.array([[[128, 128, 128], [64, 0, 128]], [[0, 0, 0], [64, 128, 192]]], dtype=np.uint8)
    PIL.Image.new("RGB", (2, 2)).save(tmp_path / "701_StillsRaw_full" / "0001TP_006690.png")
    labels = tmp_path / "LabeledApproved_full" / "0001TP_006690_L.png"
    PIL.Image.fromarray(painted).save(labels)
    with pytest.raises(
        ValueError, match=r"_L\.png: expected a label map .* mode RGB; or a classes\.txt with lines .*R G B"
    ):
        recognise(tmp_path)
    (tmp_path / name).write_text(table)
    dataset = open_dataset(tmp_path, "all")
    assert dataset.semantic_categories == ("Sky", "Car")
    assert dataset[0][1]["semantic"].tolist() == [[0, 1], [255, 1]]
    for colour in ((1, 2, 3), (255, 255, 255)):  # between those of the table, and beyond all of them
        painted[0, 0] = colour
        PIL.Image.fromarray(painted).save(labels)
        told = " ".join(map(str, colour))
        with pytest.raises(ValueError, match=rf"_L\.png: unknown classes \[{told}\]; .* \[0 0 0, 64 0 128, "):
            dataset[0]


def test_parts_of_colours_are_bytes(tmp_path):
    write(tmp_path, "train", "trainannot", classes="255 0 0\tSky\n0 256 0\tRoad\n")
    with pytest.raises(ValueError, match=r"line 2: expected a colour of 0\.\.255 each, once, got 0 256 0"):
        open_dataset(tmp_path, "val")


def test_void_everywhere_is_fine(tmp_path):
    write(tmp_path, "images", "labels", stems=("a",))
    PIL.Image.new("L", (3, 2), 9).save(tmp_path / "labels" / "a.png")
    assert (open_dataset(tmp_path, "all")[0][1]["semantic"] == 255).all()


@pytest.mark.parametrize(("split", "images"), [("train", 367), ("val", 101)])
def test_the_real_set(shared_data, split, images):
    dataset = open_dataset(shared_data / "camvid", split)
    assert len(dataset) == images
    assert (dataset.semantic_categories[0], dataset.semantic_categories[10]) == ("Sky", "Bicyclist")
    index = 42
    painted = np.array(PIL.Image.open(shared_data / "camvid" / f"{split}annot" / f"{dataset.path(index).stem}.png"))
    image, target = dataset[index]
    assert image.shape == (3, 360, 480)
    assert np.array_equal(target["semantic"].numpy(), np.where(painted == 11, 255, painted))
