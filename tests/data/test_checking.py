"""`vidi data check`: counts by hand, every fault, what was decoded, contact sheets."""

import json
from typing import Any

import numpy as np
import PIL.Image
import pytest

from vidi import files
from vidi.data.checking import check_dataset
from vidi.data.contact_sheet import contact_sheet
from vidi.data.faults import DataFaults, counted, folded
from vidi.data.readers.elsewhere import found_elsewhere
from vidi.data.recognise import open_dataset
from vidi.data.truths import object_truth
from vidi.data.world.dataset import World
from vidi.engine.report import write_mosaic
from vidi.engine.runs import Run
from vidi.model import Predicts
from vidi.ops.palette import CLASS_COLOURS, class_colour
from vidi.results.detections import Detections
from vidi.tasks.detection import DETECTION


def noise(seed, size=(40, 60)):
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def write_coco(root, split, images, boxes):
    (root / "images").mkdir(exist_ok=True)
    for image in images:
        noise(image).save(root / "images" / f"{image}.jpg")
    content = {
        "images": [{"id": image, "file_name": f"{image}.jpg", "height": 40, "width": 60} for image in images],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": row, "image_id": image, "category_id": label, "bbox": box, "iscrowd": int(box[2] == 50)}
            for row, (image, label, box) in enumerate(boxes)
        ],
    }
    (root / f"instances_{split}.json").write_text(json.dumps(content))


@pytest.fixture
def clean(tmp_path):
    write_coco(tmp_path, "train", [1, 2, 3], [(1, 1, [0, 0, 10, 10]), (1, 2, [5, 5, 40, 30]), (2, 2, [0, 0, 50, 40])])
    write_coco(tmp_path, "val", [4], [(4, 1, [0, 0, 20, 20])])
    return tmp_path


def test_counts_of_a_clean_set(clean):
    report = check_dataset(clean)
    assert report.is_clean
    assert (report.format, report.faults, report.remarks) == ("coco_json", (), ())
    train = report.splits["train"]
    assert (train.images, train.height, train.width) == (3, (40, 40, 40), (60, 60, 60))
    assert train.classes == {"dog": 1, "cat": 2}
    expected = {"count": 3, "crowd": 1, "mean_per_image": 1, "most_in_an_image": 2, "images_without": 1}
    expected |= {"small": 1, "medium": 2, "large": 0}  # 100, 1200, 2000 px
    assert {name: train.boxes[name] for name in expected} == expected
    assert train.boxes["root_area_50_percent"] == pytest.approx(1200**0.5)
    text = str(report)
    for words in ("recognised as coco_json", "train: 3 images", "classes: dog 1, cat 2", "0 faults", "val: 1 image\n"):
        assert words in text
    files.write_json(clean / "report.json", report.to_dict())
    assert files.read_json(clean / "report.json")["splits"]["val"]["classes"] == {"dog": 1, "cat": 0}


def test_all_faults_of_annotations_and_images_are_listed(clean):
    path = clean / "images" / "3.jpg"
    path.write_bytes(path.read_bytes()[:-500])
    noise(9, (60, 40)).save(clean / "images" / "2.jpg")
    content = json.loads((clean / "instances_train.json").read_text())
    content["annotations"].append({"id": 9, "image_id": 1, "category_id": 7, "bbox": [0, 0, 5, 5]})
    content["annotations"].append({"id": 10, "image_id": 1, "category_id": 1, "bbox": [-9, 0, 20, 5]})
    (clean / "instances_train.json").write_text(json.dumps(content))
    (clean / "instances_val.json").write_text((clean / "instances_val.json").read_text().replace("20,", "NaN,"))
    report = check_dataset(clean)
    assert not report.is_clean
    listed = [str(fault) for fault in report.faults]
    assert len(listed) == 4
    for words in (
        "annotation 9: there is no category 7",
        "2.jpg: the image has 40 x 60 pixels, its boxes are for 60 x 40",
        "3.jpg: damaged image",
        "NaN is not JSON",
    ):
        assert any(words in line for line in listed), words
    assert [remark.where for remark in report.remarks] == ["annotation 10"]
    assert "val" not in report.splits
    assert "4 faults" in str(report)


def test_a_set_with_nothing_left_is_reported(clean):
    for image in (1, 2, 3):
        (clean / "images" / f"{image}.jpg").unlink()
    report = check_dataset(clean)
    assert len(report.faults) == 3
    assert list(report.splits) == ["val"]


def test_twins_are_remarked_in_a_split_and_faults_across_splits(clean):
    images = clean / "images"
    (images / "4.jpg").write_bytes((images / "1.jpg").read_bytes())
    with PIL.Image.open(images / "1.jpg") as picture:
        picture.save(images / "3.jpg", format="PNG")  # other bytes, equal pixels
    report = check_dataset(clean)
    assert [str(fault).replace(str(images), "") for fault in report.faults] == [
        "/4.jpg (val): is the same file as /1.jpg (train): scores are too good"
    ]
    assert [str(remark).replace(str(images), "") for remark in report.remarks] == [
        "/3.jpg (train): has the same pixels as /1.jpg (train)"
    ]
    (images / "4.jpg").write_bytes((images / "3.jpg").read_bytes() + b" ")
    (fault,) = check_dataset(clean).faults
    assert str(fault).endswith(
        "4.jpg (val): has the same pixels as " + str(images / "1.jpg (train): scores are too good")
    )


def test_a_picture_of_two_splits_is_a_fault(tmp_path):
    write_coco(tmp_path, "train", [1, 2], [(1, 1, [0, 0, 10, 10]), (2, 2, [5, 5, 40, 30])])
    write_coco(tmp_path, "val", [2], [(2, 1, [0, 0, 20, 20])])
    faults = [str(fault) for fault in check_dataset(tmp_path).faults]
    assert faults == [f"{tmp_path / 'images' / '2.jpg'} (val): stands in train too: scores are too good"]


def test_several_captions_of_a_picture_are_no_twins(tmp_path):
    for number in (1, 2):
        noise(number).save(tmp_path / f"{number}.png")
    rows = [{"image": f"{number}.png", "caption": text} for number in (1, 2) for text in ("a dog", "one dog")]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = check_dataset(tmp_path)
    assert (report.faults, report.remarks) == ((), ())


def test_long_lists_of_classes_are_folded(tmp_path):
    write_coco(tmp_path, "train", [1], [(1, 2, [0, 0, 10, 10])])
    content = json.loads((tmp_path / "instances_train.json").read_text())
    content["categories"] = [{"id": number, "name": f"c{number}"} for number in range(80)]
    (tmp_path / "instances_train.json").write_text(json.dumps(content))
    report = check_dataset(tmp_path / "instances_train.json")
    assert "classes: c0 0, c1 0, c2 1, c3 0, c4 0, c5 0, c6 0, c7 0, and 72 more\n" in str(report)
    assert {len(split.classes) for split in report.splits.values()} == {80}
    assert folded(["a"] * 8) == "a, a, a, a, a, a, a, a"
    assert folded(["a"] * 9) == "a, a, a, a, a, a, a, a, and 1 more"
    assert [counted(number, "folder") for number in (0, 1, 2)] == ["0 folders", "1 folder", "2 folders"]


def test_pictures_in_another_folder_are_proposed(clean):
    (clean / "images").rename(clean / "photos")
    report = check_dataset(clean)
    assert len(report.faults) == 4
    assert "gives" not in str(report)
    train, val = (str(remark) for remark in report.remarks)
    assert train == (
        f"{clean / 'instances_train.json'}: 3 of 3 missing pictures are found by name: 3 in photos/ "
        f"(1.jpg is {clean / 'photos' / '1.jpg'}, ...); move them, or name them so in the annotations"
    )
    assert "1 of 1 missing pictures are found by name: 1 in photos/" in val
    with pytest.raises(DataFaults, match=r"3 of 3 missing pictures are found by name: 3 in photos/.*\nRepair them"):
        open_dataset(clean, "train")


def test_pictures_of_another_suffix_are_proposed_and_unclear_ones_not(tmp_path):
    for folder, name in (("a", "1.png"), ("a", "2.jpg"), ("b", "2.jpg"), (".", "3.jpg")):
        (tmp_path / folder).mkdir(exist_ok=True)
        noise(1).save(tmp_path / folder / name)
    (hint,) = found_elsewhere(tmp_path / "x.json", tmp_path, ["c\\1.jpg", "2.jpg", "c/3.jpg", "4.jpg"])
    assert "2 of 4 missing pictures are found by name: 1 in the folder itself, 1 in a/ (c\\1.jpg is " in str(hint)
    assert found_elsewhere(tmp_path / "x.json", tmp_path, []) == []
    assert found_elsewhere(tmp_path / "x.json", tmp_path, ["2.jpg"]) == []
    assert found_elsewhere(tmp_path / "x.json", tmp_path, ["3", "1.b"])[0].message.startswith("1 of 2")


def test_splits_that_share_images_are_read_once(tmp_path):
    for name in ("dog", "cat"):
        (tmp_path / name).mkdir()
        for number in range(5):
            noise(10 * ord(name[0]) + number).save(tmp_path / name / f"{number}.png")
    seen = []
    report = check_dataset(tmp_path, progress=lambda split, done, total: seen.append((split, done, total)))
    assert list(report.splits) == ["train", "val"]
    assert len(seen) == 10
    assert seen[-1] == ("val", 2, 2)
    assert report.splits["val"].classes == {"cat": 1, "dog": 1}
    assert "val is a tenth of the set, drawn with seed 0, stratified by class" in str(report)
    np.savez(
        tmp_path / "a.npz",
        train_images=np.zeros((3, 4, 4), np.uint8),
        train_labels=np.arange(3),
        test_images=np.ones((2, 4, 4), np.uint8),
        test_labels=np.arange(2),
    )
    splits = check_dataset(tmp_path / "a.npz").splits
    assert {name: split.images for name, split in splits.items()} == {"train": 2, "val": 1, "test": 2}


def test_label_maps_are_counted_and_bad_ones_named(tmp_path):
    for folder in ("train", "trainannot", "val", "valannot"):
        (tmp_path / folder).mkdir()
    (tmp_path / "classes.txt").write_text("sky\nroad\nvoid\n")
    for split, labels in (("train", [[0, 0, 1, 2]]), ("val", [[0, 9, 1, 2]])):
        noise(len(split), (1, 4)).save(tmp_path / split / "a.png")
        PIL.Image.fromarray(np.array(labels, dtype=np.uint8)).save(tmp_path / f"{split}annot" / "a.png")
    report = check_dataset(tmp_path)
    assert report.splits["train"].pixel_shares == {"sky": pytest.approx(2 / 3), "road": pytest.approx(1 / 3)}
    assert "pixels: sky 0.667, road 0.333" in str(report)
    assert ["unknown classes [9]" in str(fault) for fault in report.faults] == [True]
    assert [(row.value, row.name, row.share, row.pictures) for row in report.splits["val"].values] == [
        (value, name, 0.25, 1) for value, name in (("0", "sky"), ("1", "road"), ("2", "void"), ("9", "unknown"))
    ]
    assert "    0  sky   0.5000  1\n    1  road  0.2500  1\n    2  void  0.2500  1  ignored\n" in str(report)


def test_the_real_cells(shared_data):
    report = check_dataset(shared_data / "group_faces")
    assert report.is_clean
    assert [(name, split.images, split.boxes["count"]) for name, split in report.splits.items()] == [
        ("train", 3, 16),
        ("val", 1, 2),
        ("test", 5, 25),
    ]


# --------------------------------------------------------------------------------------------------- contact sheets


def test_contact_sheets_draw_boxes_where_they_are(clean):
    sheets = dict(check_dataset(clean).contact_sheets(count=2))
    assert {split: sheet.size for split, sheet in sheets.items()} == {"train": (800, 400), "val": (400, 400)}
    sheet = contact_sheet(open_dataset(clean, "val"), tile=484)  # one image of 60 x 40, eight times as large, border 2
    pixels = np.array(sheet)
    assert tuple(pixels[2 + 80, 2 + 159]) == class_colour(0)  # right edge of [0, 0, 20, 20]
    assert tuple(pixels[2 + 159, 2 + 80]) == class_colour(0)
    assert tuple(pixels[2 + 360, 240]) == (255, 255, 255)  # below the picture


class Knowing(Predicts):
    """Predicts what it was told."""

    def __init__(self, results: list[Detections]):
        super().__init__()
        self.results = results

    def predict_samples(self, samples: Any, **options: Any) -> list[Detections]:
        return self.results


def test_contact_sheets_and_mosaics_draw_a_truth_alike(clean, tmp_path):
    dataset, names = open_dataset(clean, "train"), ("dog", "cat")
    truths = [object_truth(dataset[index][1], names) for index in range(len(dataset))]
    drawn = truths[0].draw(dataset[0][0])
    assert drawn.size == (480, 320)
    assert contact_sheet(dataset, tile=484).crop((2, 2, 482, 322)).tobytes() == drawn.tobytes()

    run = Run(tmp_path / "run")
    write_mosaic(run, Knowing(truths), dataset, DETECTION, names, split="train")
    for sheet in (PIL.Image.open(run.folder / "mosaic.png"), contact_sheet(dataset)):
        colours = {tuple(colour) for colour in np.array(sheet.convert("RGB")).reshape(-1, 3).tolist()}
        assert set(CLASS_COLOURS[:2]) == colours & set(CLASS_COLOURS)


def test_a_contact_sheet_shows_all_that_is_known_of_a_sample():
    scene = World("val", count=1, size=(64, 64), targets=("label", "boxes", "labels", "masks", "semantic"))
    sheet = contact_sheet(scene, tile=100, columns=3)
    assert sheet.size == (300, 100)
    tiles = [sheet.crop((left, 0, left + 100, 100)).tobytes() for left in (0, 100, 200)]
    assert len(set(tiles)) == 3
    assert contact_sheet(World("val", count=1, size=(64, 64), targets=()), tile=100).size == (100, 100)


def test_contact_sheets_of_the_real_sets(shared_data):
    for name, split in (("coco_mini", "val"), ("camvid", "val"), ("mnist", "val"), ("group_faces", "test")):
        sheet = contact_sheet(open_dataset(shared_data / name, split), 3, tile=100, columns=2)
        assert sheet.size == (200, 200)
        assert len(np.unique(np.array(sheet).reshape(-1, 3), axis=0)) > 20


def test_unreadable_samples_become_grey_tiles(clean):
    (clean / "images" / "4.jpg").write_bytes(b"no")
    pixels = np.array(contact_sheet(open_dataset(clean, "val"), tile=64))
    assert tuple(pixels[4, 4]) == (128, 128, 128)
    with pytest.raises(ValueError, match="count, columns >= 1"):
        contact_sheet(open_dataset(clean, "val"), 0)


# ------------------------------------------------------------------------------------------------------------- masks


def test_masks_without_a_pixel_at_the_size_of_a_training_are_counted(tmp_path):
    """Of a large rectangle, a dot of two pixels, and a polygon without area, at full and at a quarter of the size."""
    (tmp_path / "images").mkdir()
    PIL.Image.new("RGB", (60, 40)).save(tmp_path / "images" / "a.png")
    shapes = [[4, 4, 44, 4, 44, 30, 4, 30], [50, 32, 52, 32, 52, 33, 50, 33], [20, 20, 20, 20, 20, 20]]
    boxes = [[4, 4, 40, 26], [50, 32, 2, 1], [20, 20, 1, 1]]
    rows = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": box, "iscrowd": 0, "segmentation": [shape]}
        for i, (shape, box) in enumerate(zip(shapes, boxes, strict=True), 1)
    ]
    image = {"id": 1, "file_name": "a.png", "height": 40, "width": 60}
    content = {"images": [image], "categories": [{"id": 1, "name": "thing"}], "annotations": rows}
    (tmp_path / "instances_train.json").write_text(json.dumps(content), encoding="utf-8")
    whole, small = check_dataset(tmp_path), check_dataset(tmp_path, size=(10, 15))
    assert whole.splits["train"].masks == {"count": 3, "without_a_pixel": 1}
    assert small.splits["train"].masks == {"count": 3, "without_a_pixel": 2}
    assert "  masks: count 3, without a pixel 2" in str(small)
    assert any("2 of 3 masks have no pixel at 15 x 10 pixels" in str(remark) for remark in small.remarks)
    assert any("1 of 3 masks have no pixel: they train no mask" in str(remark) for remark in whole.remarks)
