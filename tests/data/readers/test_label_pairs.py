"""Label maps: void becomes 255, gaps close, unknown values and missing partners are named."""

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors

from vidi.data.faults import DataFaults
from vidi.data.readers.label_pairs import CITYSCAPES, find_layout
from vidi.data.recognise import open_dataset

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
    with pytest.raises(ValueError, match=r"besides 255, which is ignored: a classes\.txt that names them is needed"):
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
    expected = [sorted(CITYSCAPES).index(value) if value in CITYSCAPES else 255 for value in ids.reshape(-1).tolist()]
    assert semantic.reshape(-1).tolist() == expected


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
