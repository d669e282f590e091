"""Results that are saved as COCO, read back by our own readers."""

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from torch import Tensor

from tests.closeness import assert_close
from vidi import files
from vidi.bulk.parts import Facts, merged
from vidi.data.readers.coco_json import find_layout as find_coco
from vidi.data.recognise import open_dataset
from vidi.data.saving import annotations_of, categories_of, kind_of, write_index
from vidi.ops.label_maps import VOID
from vidi.ops.skeletons import Skeleton
from vidi.results.classification import Classification
from vidi.results.detections import Detections
from vidi.results.panoptic_map import PanopticMap, Segment
from vidi.results.semantic_map import SemanticMap

NAMES = ("cat", "dog", "sky")
SIZES = [(20, 30), (17, 24)]  # H, W


def photos(folder: Path) -> list[Path]:
    """Pictures in another folder than results go to."""
    paths = [folder / f"{number}.png" for number in range(len(SIZES))]
    for path, (H, W) in zip(paths, SIZES, strict=True):
        files.write_image(path, PIL.Image.new("RGB", (W, H), (90, 120, 30)))
    return paths


def saved(folder: Path, pictures: Path, results: list[Any]) -> list[Path]:
    images, annotations, facts = [], [], Facts()
    for number, (path, size, result) in enumerate(zip(photos(pictures), SIZES, results, strict=True), start=1):
        files.copy(path, folder / "images" / path.name)
        images.append({"id": number, "file_name": path.name, "height": size[0], "width": size[1]})
        annotations += [(number, row) for row in annotations_of(folder, path.stem, result)]
        facts = merged(facts, categories_of(result))
    return write_index(folder, kind_of(results[0]), images, annotations, facts.values())


def blocks(size: tuple[int, int], boxes: list[list[int]]) -> Tensor:
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def test_objects_with_masks_and_joints_are_read_back_equal(tmp_path: Path) -> None:
    boxes = [[[2, 3, 12, 15], [5, 0, 30, 20]], [[1, 1, 9, 16]]]
    joints = torch.tensor([[3.5, 4.5, 0.9], [10.5, 7.5, 0.0]])
    skeleton = Skeleton(("nose", "tail"), ((0, 1),))
    results = [
        Detections(
            torch.tensor(rows, dtype=torch.float32),
            torch.linspace(0.9, 0.6, len(rows)),
            torch.tensor([1, 0])[: len(rows)],
            NAMES[:2],
            masks=blocks(size, rows),
            keypoints=joints.expand(len(rows), 2, 3).clone(),
            skeleton=skeleton,
        )
        for rows, size in zip(boxes, SIZES, strict=True)
    ]
    (path,) = saved(tmp_path / "out", tmp_path / "photos", results)
    assert path.name == "predictions.json"
    written = json.loads(path.read_text())
    assert [row["score"] for row in written["annotations"]] == pytest.approx([0.9, 0.6, 0.9])
    assert written["categories"][0]["skeleton"] == [[1, 2]]
    assert find_coco(tmp_path / "out") is not None
    dataset = open_dataset(tmp_path / "out", "all")
    assert dataset.categories == NAMES[:2]
    for row, result in enumerate(results):
        _, target = dataset[row]
        assert_close(target["boxes"].as_subclass(Tensor), result.boxes)
        assert torch.equal(target["labels"], result.labels)
        masks = target["masks"].dense() if hasattr(target["masks"], "dense") else target["masks"].as_subclass(Tensor)
        assert torch.equal(masks.bool(), result.masks)  # type: ignore[arg-type]
        assert_close(target["areas"].double(), result.masks.flatten(1).sum(1).double())  # type: ignore[union-attr]
        assert torch.equal(target["visibility"] > 0, result.keypoints[..., 2] > 0)  # type: ignore[index]
        assert_close(target["keypoints"].as_subclass(Tensor)[:, 0], result.keypoints[:, 0, :2])  # type: ignore[index]


def test_boxes_alone_have_their_own_areas(tmp_path: Path) -> None:
    found = Detections(torch.tensor([[1.0, 2, 7, 12]]), torch.tensor([0.5]), torch.tensor([2]), NAMES)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), NAMES)
    (path,) = saved(tmp_path / "out", tmp_path / "photos", [found, nothing])
    written = json.loads(path.read_text())
    (row,) = written["annotations"]
    assert (row["bbox"], row["area"], row["category_id"], row["image_id"]) == ([1, 2, 6, 10], 60, 3, 1)
    assert "segmentation" not in row
    assert [image["file_name"] for image in written["images"]] == ["0.png", "1.png"]
    assert [category["name"] for category in written["categories"]] == list(NAMES)


def test_segments_are_read_back_equal(tmp_path: Path) -> None:
    ids = torch.zeros(SIZES[0], dtype=torch.int32)
    ids[:10] = 3
    ids[12:18, 4:9] = 1
    ids[11:19, 20:27] = 300
    other = torch.full(SIZES[1], 2, dtype=torch.int32)
    results = [
        PanopticMap(ids, (Segment(3, 2, 0.9, False), Segment(1, 0, 0.8, True), Segment(300, 1, 0.7, True)), NAMES),
        PanopticMap(other, (Segment(2, 2, 0.6, False),), NAMES),
    ]
    folder, path = saved(tmp_path / "out", tmp_path / "photos", results)
    assert (folder.name, path.name) == ("panoptic", "panoptic.json")
    written = json.loads(path.read_text())
    assert {c["name"]: c["isthing"] for c in written["categories"]} == {"cat": 1, "dog": 1, "sky": 0}
    segments = {row["id"]: row for row in written["annotations"][0]["segments_info"]}
    assert segments[1]["bbox"] == [4, 12, 5, 6]
    assert (segments[1]["area"], segments[300]["category_id"]) == (30, 2)
    dataset = open_dataset(tmp_path / "out", "all")
    assert dataset.semantic_categories == NAMES
    for row, result in enumerate(results):
        _, target = dataset.giving(("panoptic", "semantic", "boxes", "labels"))[row]
        label_of = torch.full((301,), VOID)
        for segment in result:
            label_of[segment.id] = segment.label
        expected = label_of[result.ids.long()].to(torch.uint8)
        assert torch.equal(target["semantic"].as_subclass(Tensor), expected)
        assert len(target["labels"]) == sum(segment.is_thing for segment in result)


def test_classes_are_read_back_equal(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randint(0, 3, size, generator=generator, dtype=torch.uint8) for size in SIZES]
    maps[0][0, :5] = VOID
    folder, classes = saved(tmp_path / "out", tmp_path / "photos", [SemanticMap(labels, NAMES) for labels in maps])
    assert (folder.name, classes.read_text()) == ("labels", "0 cat\n1 dog\n2 sky\n")
    dataset = open_dataset(tmp_path / "out", "all")
    assert dataset.semantic_categories == NAMES
    for row, labels in enumerate(maps):
        assert torch.equal(dataset[row][1]["semantic"].as_subclass(Tensor), labels)
    with PIL.Image.open(folder / "0.png") as picture:
        assert picture.mode == "P"


def test_a_result_without_such_a_form_is_refused() -> None:
    with pytest.raises(ValueError, match="Classification has no form in COCO"):
        kind_of(Classification(torch.tensor([1.0]), ("cat",)))
