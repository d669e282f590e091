"""Every picture decoded once before anything is trained: what is damaged is named or left out, alike every time."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from vidi.data import inspecting
from vidi.data.box_rules import BoxCounts
from vidi.data.faults import DataFaults
from vidi.data.inspecting import inspected
from vidi.data.recognise import open_dataset


def noise(path: Path, seed: int, size: tuple[int, int] = (40, 60)) -> None:
    path.parent.mkdir(exist_ok=True)
    PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write(root: Path, count: int = 6, box: tuple[float, ...] = (5, 5, 20, 20), suffix: str = "jpg") -> Path:
    for image in range(count):
        noise(root / "images" / f"{image}.{suffix}", image)
    images = [{"id": k, "file_name": f"{k}.{suffix}", "height": 40, "width": 60} for k in range(count)]
    annotations = [{"id": k, "image_id": k, "category_id": 1, "bbox": box} for k in range(count - 1)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}
    (root / "a.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_damaged_pictures_and_other_sizes_are_faults_and_the_rest_is_left(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, suffix=suffix)
    cut(tmp_path / f"images/1.{suffix}")
    (tmp_path / f"images/2.{suffix}").write_bytes(b"")
    noise(tmp_path / f"images/4.{suffix}", 4, (60, 40))
    dataset, counts = inspected(open_dataset(tmp_path, "all"))
    assert [dataset.path(index).stem for index in range(len(dataset))] == ["0", "3", "5"]
    assert [dataset[index][1]["image_id"].item() for index in range(3)] == [0, 3, 5]
    assert (dataset.left_out, counts.boxes) == (3, 2)
    assert [Path(fault.file).stem for fault in dataset.faults] == ["1", "2", "4"]
    assert "its boxes are for 60 x 40" in dataset.faults[2].message
    assert not any(fault.file in fault.message for fault in dataset.faults)  # it is said once


def test_a_whole_set_is_given_whole(tmp_path: Path) -> None:
    opened = open_dataset(write(tmp_path), "all")
    dataset, counts = inspected(opened)
    assert (len(dataset), dataset.left_out, dataset.faults, dataset.remarks) == (6, 0, (), ())
    assert (counts.boxes, counts.objects) == (5, 5)
    assert (dataset.categories, dataset.kinds) == (opened.categories, opened.kinds)


def test_nothing_depends_on_the_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    cut(tmp_path / "images/3.jpg")
    found = []
    for threads in (1, 7):
        monkeypatch.setattr(inspecting, "threads", lambda threads=threads: threads)
        dataset, _ = inspected(open_dataset(tmp_path, "all"))
        found.append(([dataset.name(index) for index in range(len(dataset))], dataset.faults))
    assert found[0] == found[1]


def test_processes_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting.os, "cpu_count", lambda: 64)
    assert inspecting.threads() == 16
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert inspecting.threads() == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "100")
    assert inspecting.threads() == 1


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, 2)
    for image in range(2):
        cut(tmp_path / f"images/{image}.jpg")
    with pytest.raises(DataFaults, match="2 faults"):
        inspected(open_dataset(tmp_path, "all"))


def test_pictures_whose_boxes_are_fractions_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, box=(0.1, 0.2, 0.3, 0.4))
    dataset, counts = inspected(open_dataset(tmp_path, "all"))
    assert counts == BoxCounts()  # nothing is counted of pictures that are not given
    assert [dataset.path(index).stem for index in range(len(dataset))] == ["5"]  # the one without a box
    assert "all 5 boxes lie inside the first pixel" in dataset.faults[0].message


def test_slivers_are_remarked(tmp_path: Path) -> None:
    dataset, _ = inspected(open_dataset(write(tmp_path, box=(7, 7, 0.5, 9)), "all"))
    assert [
        "boxes less than a pixel wide or high, which augmentations drop: 5 of 5" in remark.message
        for remark in dataset.remarks
    ] == [True]
    assert len(dataset) == 6


def test_label_maps_with_unknown_values_are_found(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    for split in ("train", "val"):
        (tmp_path / f"{split}annot").mkdir()
        for image, value in enumerate((0, 9)):
            noise(tmp_path / split / f"{image}.png", image, (4, 4))
            PIL.Image.fromarray(np.full((4, 4), value, np.uint8)).save(tmp_path / f"{split}annot" / f"{image}.png")
    dataset, _ = inspected(open_dataset(tmp_path, "train"))
    assert len(dataset) == 1
    assert "unknown classes [9]" in dataset.faults[0].message
