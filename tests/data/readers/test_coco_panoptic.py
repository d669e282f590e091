"""COCO panoptic: ids numbered anew, json and PNG checked against each other, faults with file and id."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import tv_tensors

from vidi.data.checking import check_dataset
from vidi.data.faults import DataFaults
from vidi.data.recognise import open_dataset, recognise
from vidi.data.truths import panoptic_truth

THING, CROWD, GRASS, SKY = 70_000, 5, 300, 9  # ids of segments, as colours hold them
IDS = np.array([[SKY, SKY, SKY, 0], [THING, THING, CROWD, CROWD], [THING, GRASS, GRASS, GRASS]])
CATEGORIES = [  # stuff between things, gaps between ids
    {"id": 3, "name": "dog", "isthing": 1},
    {"id": 7, "name": "sky", "isthing": 0},
    {"id": 8, "name": "person", "isthing": 1},
    {"id": 90, "name": "grass", "isthing": 0},
]
SEGMENTS = [
    {"id": SKY, "category_id": 7, "area": 3, "bbox": [0, 0, 3, 1], "iscrowd": 0},
    {"id": THING, "category_id": 8, "area": 3, "bbox": [0, 1, 2, 2], "iscrowd": 0},
    {"id": GRASS, "category_id": 90, "area": 3, "bbox": [1, 2, 3, 1], "iscrowd": 0},
    {"id": CROWD, "category_id": 3, "area": 2, "bbox": [2, 1, 2, 1], "iscrowd": 1},
]


def content() -> dict[str, Any]:
    images = [{"id": k, "file_name": f"{k}.jpg", "height": 3, "width": 4} for k in (11, 12)]
    rows = [{"image_id": k, "file_name": f"{k}.png", "segments_info": copy.deepcopy(SEGMENTS)} for k in (11, 12)]
    return {"images": images, "annotations": rows, "categories": copy.deepcopy(CATEGORIES)}


def coloured(ids: np.ndarray) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8))


def write(root: Path, data: dict[str, Any] | None = None, *, split: str = "train2017") -> Path:
    for folder in (root / "annotations", root / split, root / f"panoptic_{split}"):
        folder.mkdir(parents=True, exist_ok=True)
    for number in (11, 12):
        PIL.Image.new("RGB", (4, 3), (number, 0, 0)).save(root / split / f"{number}.jpg")
        coloured(IDS).save(root / f"panoptic_{split}" / f"{number}.png")
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(data or content()))
    return root


def opened(root: Path, *, on_fault: Any = "raise") -> Any:
    """Open both images, of which a tenth would be held out."""
    return recognise(root).layout.sources["train"](part="all", on_fault=on_fault)


@pytest.mark.system("5.3-PANOPTIC")
def test_segments_are_numbered_by_their_objects_things_first(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, split="val2017")
    found = recognise(tmp_path)
    assert found.format == "coco_panoptic"
    assert set(found.splits) == {"train", "val"}
    dataset = found.open("val")
    assert dataset.semantic_categories == ("dog", "person", "sky", "grass")
    assert dataset.categories == ("dog", "person")
    image, target = dataset[1]
    assert image.shape == (3, 3, 4)
    assert isinstance(target["panoptic"], tv_tensors.Mask)
    assert target["panoptic"].dtype == torch.int32
    assert target["panoptic"].tolist() == [[3, 3, 3, 0], [1, 1, 2, 2], [1, 4, 4, 4]]
    assert target["semantic"].dtype == torch.uint8
    assert target["semantic"].tolist() == [[2, 2, 2, 255], [1, 1, 0, 0], [1, 3, 3, 3]]
    assert target["labels"].tolist() == [1, 0]
    assert target["crowd"].tolist() == [False, True]
    assert target["areas"].tolist() == [3, 2]
    assert target["boxes"].tolist() == [[0, 1, 2, 3], [2, 1, 4, 2]]
    assert int(target["image_id"]) == 12


def test_more_stuff_than_things(tmp_path: Path) -> None:
    data = content()
    data["categories"].append({"id": 91, "name": "water", "isthing": 0})
    dataset = opened(write(tmp_path, data))
    assert dataset.semantic_categories == ("dog", "person", "sky", "grass", "water")
    assert dataset.categories == ("dog", "person")


@pytest.mark.parametrize(("number", "known"), [(2**63 - 1, 2**63 - 1), (2**63, 0)])
def test_an_id_that_no_tensor_holds_gives_way_to_the_row(tmp_path: Path, number: int, known: int) -> None:
    data = content()
    data["images"][0]["id"] = data["annotations"][0]["image_id"] = number
    assert int(opened(write(tmp_path, data))[0][1]["image_id"]) == known


def test_what_is_not_asked_for_is_not_decoded(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path), "train").giving(("boxes", "labels"))
    for png in (tmp_path / "panoptic_train2017").iterdir():
        png.unlink()
    _, target = dataset[0]
    assert set(target) == {"image_id", "boxes", "labels"}
    assert target["boxes"].canvas_size == (3, 4)


def faulty(change: Any) -> dict[str, Any]:
    data = content()
    change(data)
    return data


def of_first(key: str, value: Any, row: int = 1) -> Any:
    return lambda data: data["annotations"][0]["segments_info"][row].update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_first("id", GRASS), r"segment 300 of 11\.jpg: the id is used twice in this image"),
        (of_first("id", 0), r"segment 0 of 11\.jpg: id is 0, expected 1\.\.16777215"),
        (of_first("id", 2**24), r"id is 16777216, expected 1\.\.16777215"),
        (of_first("category_id", 4), r"segment 70000 of 11\.jpg: there is no category 4"),
        (of_first("bbox", [0, 1, 2]), r"segment 70000 of 11\.jpg: bbox \[0, 1, 2\]"),
        (of_first("bbox", [0, 1, 0, 2]), "has no size"),
        (of_first("iscrowd", 2), "iscrowd is 2, expected 0 or 1"),
        (of_first("area", None), "area is None, expected a whole number"),
        (lambda d: d["annotations"].pop(0), r"image 11: there is no annotation for it"),
        (lambda d: d["images"].pop(0), "annotation of image 11: there is no such image"),
        (lambda d: d["annotations"][1].update(image_id=11), "image 11 has an annotation already"),
        (lambda d: d["annotations"][0].update(file_name="99.png"), r"image 11: the image file .*99\.png is missing"),
        (lambda d: d["annotations"][0].update(file_name=None), "image 11: file_name is None"),
        (lambda d: d["annotations"][0].update(segments_info=3), "segments_info is no list of objects"),
        (lambda d: d["images"][0].update(file_name="99.jpg"), r"image 11: the image file .*99\.jpg is missing"),
        (lambda d: d["images"].append(d["images"][0]), "image 11: the id is used twice"),
        (lambda d: d["categories"][0].pop("isthing"), r"category 3 \(row 1\): isthing is missing"),
        (lambda d: d["categories"][0].update(name=5), r"category 3 \(row 1\): name is 5"),
        (lambda d: d["categories"][1].update(id=3), r"category 3 \(row 2\): the id is used twice"),
    ],
)
def test_faults_of_the_json_name_the_id(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(DataFaults, match=message):
        open_dataset(write(tmp_path, faulty(change)), "train")


def test_the_image_of_a_fault_is_left_out(tmp_path: Path) -> None:
    root = write(tmp_path, faulty(of_first("category_id", 4)))
    dataset = opened(root, on_fault="drop")
    assert dataset.path(0).name == "12.jpg"
    assert (len(dataset), dataset.left_out) == (1, 1)
    assert dataset[0][1]["labels"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.where(IDS == 0, 77, IDS), r"11\.png: the PNG holds ids that the json does not know: 77$"),
        (np.where(IDS == CROWD, 0, IDS), r"11\.png: the PNG lacks ids of the json: 5$"),
        (np.array([*IDS[:2], [THING, THING, GRASS, GRASS]]), r"segment 70000 has 4 pixels in the PNG, 3 in the json"),
    ],
)
def test_a_png_that_disagrees_is_named(tmp_path: Path, ids: np.ndarray, message: str) -> None:
    root = write(tmp_path)
    coloured(ids).save(root / "panoptic_train2017" / "11.png")
    dataset = opened(root)
    with pytest.raises(ValueError, match=message):
        dataset.target(0)


def test_a_map_of_another_size_than_its_image_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path)
    PIL.Image.new("RGB", (5, 3)).save(root / "train2017" / "11.jpg")
    dataset = opened(root)
    with pytest.raises(ValueError, match=r"the image has 5 x 3 pixels, its .* are for 4 x 3"):
        dataset.giving(("panoptic", "semantic"))[0]


def test_another_split_must_have_the_categories_of_the_training(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, faulty(lambda d: d["categories"][1].update(name="water")), split="val2017")
    with pytest.raises(ValueError, match=r"panoptic_val2017\.json: its categories are not those of .*: sky, water"):
        open_dataset(tmp_path, "val")
    write(tmp_path, faulty(lambda d: d["categories"][1].update(isthing=1)), split="val2017")
    with pytest.raises(ValueError, match="their order, or which are things"):
        open_dataset(tmp_path, "val")


def test_two_files_of_one_split_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "panoptic_train.json").write_text(json.dumps(content()))
    with pytest.raises(ValueError, match="two panoptic files for train"):
        recognise(tmp_path)


def test_segments_without_a_pixel_at_the_size_of_a_training_are_counted(tmp_path: Path) -> None:
    """Of the rows 0, 1, 2 the second is left, and of the columns the second and the fourth: two segments of four."""
    write(tmp_path)
    whole, small = (check_dataset(tmp_path, size=size).splits["train"].masks for size in (None, (1, 2)))
    assert whole["without_a_pixel"] == 0
    assert small == {"count": whole["count"], "without_a_pixel": whole["count"] // 2}
    assert whole["count"] > 0


def test_other_json_is_told_what_is_expected(tmp_path: Path) -> None:
    root = write(tmp_path)
    text = json.dumps({**content(), "images": 3})
    (root / "annotations" / "panoptic_train2017.json").write_text(text)
    with pytest.raises(
        ValueError, match="expected COCO panoptic json, an object with a list of objects named 'images'"
    ):
        opened(root)


@pytest.mark.system("5.3-PANOPTIC")
def test_results_are_written_as_they_are_read(tmp_path: Path) -> None:
    """A result as json and PNG, opened again, is the same map with the same classes."""
    root = write(tmp_path)
    dataset = opened(root)
    _, target = dataset[0]
    result = panoptic_truth({**target, "crowd": target["crowd"] & False}, dataset.semantic_categories)
    PIL.Image.fromarray(result.coloured_ids()).save(root / "panoptic_train2017" / "11.png")
    data = content()
    identities = [3, 8, 7, 90]  # of dog, person, sky, grass
    data["annotations"][0] = result.to_coco(11, "11.png", identities)
    write_to = root / "annotations" / "panoptic_train2017.json"
    write_to.write_text(json.dumps(data))
    _, read = opened(root)[0]
    for name in ("panoptic", "semantic", "labels", "boxes", "areas"):
        assert torch.equal(read[name], target[name]), name


@pytest.mark.system("5.3-PANOPTIC")
@pytest.mark.parametrize(("split", "images", "segments", "crowd"), [("train", 60, 742, 4), ("val", 30, 318, 2)])
def test_counts_of_the_real_set(shared_data: Path, split: str, images: int, segments: int, crowd: int) -> None:
    dataset = open_dataset(shared_data / "coco_panoptic", split)
    assert (len(dataset), len(dataset.categories), len(dataset.semantic_categories)) == (images, 80, 133)
    assert dataset.semantic_categories[:2] == ("person", "bicycle")
    assert dataset.semantic_categories[80:82] == ("banner", "blanket")
    targets = [dataset.giving(("panoptic", "semantic", "crowd")).target(index) for index in range(len(dataset))]
    assert (
        sum(len(target["panoptic"].unique()) - bool((target["panoptic"] == 0).any()) for target in targets) == segments
    )
    assert sum(int(target["crowd"].sum()) for target in targets) == crowd
