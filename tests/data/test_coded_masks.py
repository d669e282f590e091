"""Masks that stay run lengths until their picture has its final size give what pixels give, and take no memory."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from vidi.data.loading import Evaluated, seeded_draws
from vidi.data.readers.coco_json import CocoJson
from vidi.data.readers.mask_table import parse_segmentation
from vidi.data.transforms import Augmentation
from vidi.ops.masks import CodedMasks
from vidi.preprocess import Preprocess

SIZE = (40, 60)


def sample(*, coded: bool) -> tuple[Any, dict[str, Any]]:
    """A picture of three objects: a rectangle, two dots far apart, and one along the border."""
    masks = torch.zeros(3, *SIZE, dtype=torch.bool)
    masks[0, 10:30, 14:44] = True
    masks[1, 2:5, 3:6] = True
    masks[1, 33:36, 52:55] = True
    masks[2, 39, 20:50] = True
    boxes = torch.tensor([[14.0, 10, 44, 30], [3, 2, 55, 36], [20, 39, 50, 40]])
    image = tv_tensors.Image((masks * torch.tensor([255, 120, 60])[:, None, None]).to(torch.uint8))
    target = {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=SIZE),  # type: ignore[call-overload]
        "masks": CodedMasks.of(masks) if coded else tv_tensors.Mask(masks),
        "labels": torch.tensor([0, 1, 2]),
    }
    return image, target


class Samples(Dataset[Any]):
    """The picture with masks as run lengths, and with pixels."""

    def __getitem__(self, row: int) -> Any:
        return sample(coded=row == 0)


@pytest.mark.parametrize("name", ["flip", "boxes", "dihedral_boxes"])
@pytest.mark.parametrize("seed", range(6))
def test_augmentations_move_them_as_pixels(name: str, seed: int) -> None:
    results = []
    for coded in (True, False):
        with seeded_draws(seed):
            results.append(Augmentation(name, (32, 48))(sample(coded=coded)))
    (image, one), (_, other) = results
    assert one["masks"].shape == (len(one["labels"]), *image.shape[1:])
    assert torch.equal(one["labels"], other["labels"])
    assert torch.equal(one["masks"].dense(), other["masks"].as_subclass(Tensor))


@pytest.mark.parametrize("seed", range(6))
def test_resized_crops_show_the_pixel_whose_centre_is_nearest(seed: int) -> None:
    """torchvision's own crops take the one above and left of it; so the box is what they are held to."""
    with seeded_draws(seed):
        image, target = Augmentation("resized_crop", (32, 48))(sample(coded=True))
    _, placed, _ = Preprocess(exact=(64, 96)).place(image, target)
    assert placed["masks"].shape == (len(placed["labels"]), 64, 96)
    for mask, box, label in zip(placed["masks"], placed["boxes"], placed["labels"], strict=True):
        if label == 0:  # a rectangle that fills its box
            rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
            found = torch.stack((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)).float()
            assert (found - box).abs().max() <= 0.51


def test_what_vanishes_in_a_crop_loses_box_mask_and_label_together() -> None:
    """Of the object of two dots the box reaches through the picture, but neither dot is in the crop."""
    middle = Augmentation("flip", SIZE)
    middle.transform = v2.CenterCrop((20, 30))
    for coded in (True, False):
        image, target = middle(sample(coded=coded))
        assert image.shape == (3, 20, 30)
        assert target["labels"].tolist() == [0]
        assert len(target["boxes"]) == len(target["masks"]) == 1


def test_placing_and_evaluating_in_pixels_of_the_original() -> None:
    samples: Any = Samples()
    preprocess = Preprocess(shorter=20, longest=100, masked=True)
    (one, first), (other, second) = (Evaluated(samples, preprocess)[row] for row in (0, 1))
    assert torch.equal(one[1]["masks"], other[1]["masks"])
    assert isinstance(one[1]["masks"], Tensor)
    assert torch.equal(first["masks"].dense(), second["masks"])
    cropped = [Preprocess(shorter=30, crop=(24, 60)).place(*samples[row])[1]["masks"] for row in (0, 1)]
    assert torch.equal(*cropped)


# ----------------------------------------------------------------------------------------------------------------------
# On disk


def write(folder: Path, size: tuple[int, int], segmentations: list[Any]) -> Path:
    """Write one picture of `size` and its objects; return the json."""
    H, W = size
    (folder / "images").mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (W, H)).save(folder / "images" / "a.png")
    rows = [
        {"id": i, "image_id": 1, "category_id": 1, "bbox": [0, 0, W, H], "iscrowd": 0, "segmentation": segmentation}
        for i, segmentation in enumerate(segmentations, 1)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": H, "width": W}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": rows,
    }
    (folder / "instances_train.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "instances_train.json"


def test_one_file_mixes_polygons_run_lengths_and_pictures(tmp_path: Path) -> None:
    masks = sample(coded=False)[1]["masks"].as_subclass(Tensor)
    runs = CodedMasks.of(masks).runs
    labels = (masks[1].to(torch.uint8) * 3 + masks[2].to(torch.uint8) * 7).numpy()
    (tmp_path / "masks").mkdir()
    PIL.Image.fromarray(labels).save(tmp_path / "masks" / "a.png")
    flat = masks[0].T.flatten().int()  # column by column
    edges = [0, *(flat.diff().nonzero()[:, 0] + 1).tolist(), flat.numel()]
    segmentations = [
        [[14, 10, 44, 10, 44, 30, 14, 30]],
        {"size": list(SIZE), "counts": runs[0].decode()},
        {"size": list(SIZE), "counts": np.diff(edges).tolist()},
        {"file_name": "masks/a.png", "value": 3},
        {"file_name": "masks/a.png", "value": 7},
        "masks/a.png",
    ]
    path = write(tmp_path, SIZE, segmentations)
    dataset = CocoJson(path, [tmp_path / "images"])
    expected = torch.stack([masks[0]] * 3 + [masks[1], masks[2], masks[1] | masks[2]])
    target = dataset[0][1]
    assert isinstance(target["masks"], tv_tensors.Mask)
    assert torch.equal(target["masks"].as_subclass(Tensor), expected)
    assert target["areas"].tolist() == expected.flatten(1).sum(1).tolist()
    given = dataset.giving(["masks"])[0][1]["masks"]
    assert isinstance(given, CodedMasks)
    assert torch.equal(given.dense(), expected)
    assert parse_segmentation({"size": list(SIZE), "counts": runs[0]}, SIZE) == runs[0]  # bytes, which json cannot hold


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [41, 60], "counts": "0"}, r"mask of size \[41, 60\] in an image of H W \[40, 60\]"),
        ("small.png", r"small\.png: a mask of 5 x 4 pixels in an image of 60 x 40 \(image a\.png\)"),
        ("none.png", r"no picture none\.png in .*\(image a\.png\)"),
        ({"file_name": "small.png", "value": 300}, r"value is 300, expected a whole number of 1\.\.255"),
        ({"file_name": ""}, "file_name is '', expected the name of a picture"),
        ({"size": [40, 60], "counts": 5}, "neither a string, nor bytes, nor a list of integers"),
        (5, "segmentation is int, expected polygons, run lengths or a picture's name"),
    ],
)
def test_masks_that_are_none_are_told_with_their_image(tmp_path: Path, segmentation: Any, message: str) -> None:
    PIL.Image.new("L", (5, 4)).save(tmp_path / "small.png")
    path = write(tmp_path, SIZE, [segmentation])
    with pytest.raises(ValueError, match=message):
        CocoJson(path, [tmp_path / "images"])


MEASURE = """
import resource, sys
import torch
from vidi.data.loading import Augmented
from vidi.data.recognise import open_dataset
from vidi.data.transforms import Augmentation
from vidi.ops.masks import CodedMasks
from vidi.preprocess import Preprocess

CodedMasks.of(torch.ones(1, 4, 4, dtype=torch.bool)).dense()  # compiles
dataset = open_dataset(sys.argv[1], "train").giving(["boxes", "labels", "masks"])
loader = Augmented(dataset, Preprocess(shorter=800, longest=1333), Augmentation("boxes", (800, 1333)), 0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
_, target, _ = loader[0, 0]
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(target["masks"]), (after - before) / 1024)
"""


def test_a_sample_of_many_objects_of_a_large_picture_takes_little_memory(tmp_path: Path, run_python: Any) -> None:
    """200 objects of 2,000 x 2,000 are 800 MB as pixels, and 128 MB at 800 x 800, of which most are never touched."""
    random = np.random.default_rng(0)
    polygons = []
    for _ in range(200):
        x, y = random.uniform(200, 1800, 2)
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        reach = random.uniform(60, 180) * (1 + 0.2 * np.sin(5 * angles))
        polygons.append([np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], 1).reshape(-1).tolist()])
    write(tmp_path, (2000, 2000), polygons)
    finished = run_python("-c", MEASURE, str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    count, megabytes = finished.stdout.split()
    assert int(count) > 150
    assert float(megabytes) < 400
