"""COCO json written by us: read back equal by our reader and by pycocotools."""

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from torchvision import tv_tensors

from vidi.data.coco_export import write_coco
from vidi.data.recognise import open_dataset


class Three:
    """Three images: two things, one crowd, none."""

    categories = ("dog", "cat", "bird")
    keypoint_names = ("nose", "tail")

    def __len__(self):
        return 3

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, 14, 17), generator=generator, dtype=torch.uint8)
        count = 2 - index
        y, x = np.mgrid[:14, :17]
        masks = np.stack([(x - 6 - k) ** 2 + (y - 7) ** 2 <= 16 for k in range(2)])[:count]
        boxes = torch.tensor([[2.5, 3.0, 11, 12], [3.0, 3.25, 12, 12]])[:count]
        points = torch.tensor([[[3.5, 4.5], [0.0, 0]], [[7.5, 8.5], [9.5, 10.5]]])[:count]
        return (
            tv_tensors.Image(image),
            {
                "image_id": torch.tensor(40 + index),
                "boxes": tv_tensors.BoundingBoxes(
                    boxes, format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=(14, 17)
                ),  # type: ignore[call-arg]
                "labels": torch.tensor([2, 0])[:count],
                "crowd": torch.tensor([index == 1, False])[:count],
                "areas": torch.tensor([48.5, 51.0], dtype=torch.float64)[:count],
                "masks": tv_tensors.Mask(torch.from_numpy(masks)),
                "keypoints": tv_tensors.KeyPoints(points, canvas_size=(14, 17)),  # type: ignore[call-arg]
                "visibility": torch.tensor([[2, 0], [1, 2]], dtype=torch.uint8)[:count],
            },
        )


@pytest.mark.system("4.0-FORMAT")
def test_our_reader_gets_back_what_was_written(tmp_path):
    write_coco(Three(), tmp_path)
    back = open_dataset(tmp_path, "train", format="coco_json")
    everything = open_dataset(tmp_path / "instances_train.json", "val")
    assert len(back) + len(everything) == 3
    assert back.categories == Three.categories
    assert back.keypoint_names == Three.keypoint_names
    for dataset in (back, everything):
        for index in range(len(dataset)):
            image, target = dataset[index]
            original, expected = Three()[int(target["image_id"]) - 40]
            assert torch.equal(image, original)
            assert target.keys() == expected.keys()
            for key in expected:
                assert torch.equal(torch.as_tensor(target[key]), torch.as_tensor(expected[key])), key


@pytest.mark.system("4.0-FORMAT")
def test_pycocotools_gets_the_same(tmp_path):
    reference = COCO(str(write_coco(Three(), tmp_path, "val")))
    assert sorted(reference.imgs) == [40, 41, 42]
    for index in range(3):
        _, target = Three()[index]
        rows = reference.imgToAnns[40 + index]
        assert [row["category_id"] - 1 for row in rows] == target["labels"].tolist()
        assert [bool(row["iscrowd"]) for row in rows] == target["crowd"].tolist()
        for row, mask, box in zip(rows, target["masks"], target["boxes"].tolist(), strict=True):
            assert np.array_equal(reference.annToMask(row).astype(bool), mask.numpy())
            assert row["bbox"] == [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    assert dict(reference.imgToAnns[40][1])["keypoints"] == [7, 8, 1, 9, 10, 2]


def test_an_image_id_that_comes_twice_is_an_error(tmp_path):
    class Twice(Three):
        def __getitem__(self, index):
            return super().__getitem__(0)

    with pytest.raises(ValueError, match="image_id 40 comes twice, again at sample 1"):
        write_coco(Twice(), tmp_path)
