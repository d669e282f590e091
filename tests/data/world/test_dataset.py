"""The world as a data set: the sample contract, repeatability, and refusals."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from vidi.data.world.dataset import KINDS, World
from vidi.data.world.names import NO_PART, SKY

# key -> (type, dtype, shape in N things, S = 2 neighbours, H and W)
CONTRACT = {
    "image_id": (torch.Tensor, torch.int64, ()),
    "label": (torch.Tensor, torch.int64, ()),
    "boxes": (tv_tensors.BoundingBoxes, torch.float32, ("N", 4)),
    "labels": (torch.Tensor, torch.int64, ("N",)),
    "crowd": (torch.Tensor, torch.bool, ("N",)),
    "areas": (torch.Tensor, torch.float64, ("N",)),
    "masks": (tv_tensors.Mask, torch.bool, ("N", "H", "W")),
    "semantic": (tv_tensors.Mask, torch.uint8, ("H", "W")),
    "panoptic": (tv_tensors.Mask, torch.int32, ("H", "W")),
    "keypoints": (tv_tensors.KeyPoints, torch.float32, ("N", 14, 2)),
    "visibility": (torch.Tensor, torch.uint8, ("N", 14)),
    "parts": (tv_tensors.Mask, torch.uint8, ("H", "W")),
    "depth": (tv_tensors.Mask, torch.float32, ("H", "W")),
    "depth_valid": (tv_tensors.Mask, torch.bool, ("H", "W")),
    "right": (tv_tensors.Image, torch.uint8, (3, "H", "W")),
    "disparity": (tv_tensors.Mask, torch.float32, ("H", "W")),
    "disparity_valid": (tv_tensors.Mask, torch.bool, ("H", "W")),
    "disparity_right": (tv_tensors.Mask, torch.float32, ("H", "W")),
    "disparity_right_valid": (tv_tensors.Mask, torch.bool, ("H", "W")),
    "neighbours": (tv_tensors.Image, torch.uint8, (2, 3, "H", "W")),
    "intrinsics": (torch.Tensor, torch.float32, (3, 3)),
    "baseline": (torch.Tensor, torch.float32, ()),
    "poses": (torch.Tensor, torch.float32, (2, 4, 4)),
    "occluded": (tv_tensors.Mask, torch.bool, (2, "H", "W")),
    "boxes_3d": (torch.Tensor, torch.float32, ("N", 7)),
    "identity": (torch.Tensor, torch.int64, ("N",)),
}


def equal(one: object, two: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return type(one) is type(two) and one.dtype == two.dtype and torch.equal(one, two)
    return one == two


@pytest.mark.system("0-DATA-DET")
@pytest.mark.parametrize("size", [(128, 128), (32, 32), (33, 71), (90, 40)])
def test_a_sample_keeps_the_contract(size):
    world = World("val", count=5, size=size, targets=sorted(KINDS))
    image, target = world[3]
    assert isinstance(image, tv_tensors.Image)
    assert image.dtype == torch.uint8
    assert image.shape == (3, *size)
    assert set(target) == world.kinds == {*CONTRACT, "caption"}
    letters = {"N": len(target["labels"]), "H": size[0], "W": size[1]}
    for key, (kind, dtype, shape) in CONTRACT.items():
        assert type(target[key]) is kind, key
        assert target[key].dtype == dtype, key
        assert tuple(target[key].shape) == tuple(letters.get(letter, letter) for letter in shape), key
    assert int(target["image_id"]) == 3
    assert target["boxes"].canvas_size == target["keypoints"].canvas_size == size
    assert isinstance(target["caption"], str)
    assert 0 <= int(target["label"]) < len(world.categories)


@pytest.mark.parametrize("size", [(512, 512), (512, 32), (32, 512)])
def test_the_largest_sizes_render(size):
    image, target = World(count=1, size=size, targets=sorted(KINDS))[0]
    assert image.shape == (3, *size)
    assert target["masks"].any((1, 2)).all()


@pytest.mark.system("0-DATA-DET", "0-DATA-STEREO", "0-DATA-CLS")
def test_equal_arguments_give_identical_samples_and_others_do_not():
    world, same = World(count=4, targets=sorted(KINDS)), World(count=9, targets=sorted(KINDS))
    for index in range(4):
        (image, target), (other_image, other) = world[index], same[index]
        assert torch.equal(image, other_image)
        assert all(equal(target[key], other[key]) for key in target)
    first = world[0][0]
    for other in (world[1], World("val", count=4)[0], World("test", count=4)[0], World(count=4, seed=1)[0]):
        assert not torch.equal(first, other[0])


def test_asking_for_less_gives_the_same_values():
    image, target = World(count=2, targets=sorted(KINDS))[1]
    for key in ("depth", "right", "visibility", "caption"):
        one_image, one = World(count=2, targets=[key])[1]
        assert list(one) == ["image_id", key]
        assert torch.equal(image, one_image)
        assert equal(one[key], target[key])


def test_sizes_show_the_same_scene():
    small, large = (
        World(count=1, size=(64, 64), targets=["boxes", "labels"])[0],
        World(count=1, size=(256, 256), targets=["boxes", "labels"])[0],
    )
    assert torch.equal(small[1]["labels"], large[1]["labels"])
    assert (4 * small[1]["boxes"] - large[1]["boxes"]).abs().max() <= 8
    means = [torch.nn.functional.avg_pool2d(image.float(), image.shape[-1] // 16) for image in (small[0], large[0])]
    assert (means[0] - means[1]).abs().mean() < 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "training"}, "unknown split 'training'; choices are train, val, test"),
        ({"targets": ["masks", "boxs"]}, "unknown targets 'boxs'; choices are areas, baseline, boxes"),
        ({"size": (31, 64)}, "sides from 32 to 512"),
        ({"size": (64, 513)}, "sides from 32 to 512"),
        ({"count": -1}, "must not be negative"),
        ({"seed": -1}, "must not be negative"),
        ({"caption_noise": 1.5}, "caption_noise"),
    ],
)
def test_wrong_arguments_are_refused_with_the_choices(arguments, message):
    with pytest.raises(ValueError, match=message):
        World(**arguments)


def test_there_are_count_samples():
    world = World(count=3, size=(32, 32))
    assert len(world) == 3
    assert torch.equal(world[-1][0], world[2][0])
    for index in (3, -4):
        with pytest.raises(IndexError):
            world[index]
    assert sum(1 for _ in iter(world)) == 3


def test_a_loader_with_workers_gives_what_the_data_set_gives():
    world = World(count=6, size=(32, 32), targets=["boxes", "masks"])
    again = pickle.loads(pickle.dumps(world))
    loader = DataLoader(world, batch_size=None, num_workers=1)
    for index, (image, target) in enumerate(loader):
        assert torch.equal(image, world[index][0])
        assert torch.equal(image, again[index][0])
        assert torch.equal(target["masks"], world[index][1]["masks"])


@pytest.mark.system("0-DATA-CLS")
def test_labels_are_balanced():
    world = World(count=150, size=(32, 32), targets=["label"])
    counts = torch.bincount(torch.stack([target["label"] for _, target in world]), minlength=5)
    assert counts.min() > 12


def test_transforms_move_boxes_masks_and_points_with_the_pixels():
    image, target = World(count=5, targets=["boxes", "masks", "keypoints", "depth"])[3]
    flipped_image, flipped = v2.RandomHorizontalFlip(p=1.0)(image, target)
    assert torch.equal(flipped_image, image.flip(-1))
    assert torch.equal(flipped["masks"], target["masks"].flip(-1))
    assert torch.equal(flipped["depth"], target["depth"].flip(-1))
    torch.testing.assert_close(flipped["boxes"][:, 0], 128 - target["boxes"][:, 2])


def test_the_background_has_names():
    _, target = World(count=1, targets=["semantic", "parts"])[0]
    assert int(target["semantic"][0, 0]) == SKY
    assert int(target["parts"][0, 0]) == NO_PART
