"""Augmentations: boxes and masks follow the pixels, lost objects go, mixed labels are distributions."""

from typing import Any

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from tests.closeness import FLOAT32, assert_close
from vidi.data.loading import seeded_draws
from vidi.data.transforms import Augmentation, FrugalColorJitter, Rescaled, cutmix, mixup
from vidi.data.world.dataset import World
from vidi.ops.boxes_3d import box_3d_corners, project_points
from vidi.preprocess import Batch, Placement, Preprocess


def scene() -> tuple[Any, dict[str, Any]]:
    """A white box on black, as pixels, box and mask, and a second box."""
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    image[:, 10:22, 24:44] = 255
    masks = torch.stack([image[0] > 0, torch.zeros(40, 60, dtype=torch.bool)])
    boxes = torch.tensor([[24.0, 10.0, 44.0, 22.0], [0.0, 0.0, 3.0, 3.0]])
    target = {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(40, 60)),  # type: ignore[call-overload]
        "masks": tv_tensors.Mask(masks),
        "labels": torch.tensor([1, 0]),
        "crowd": torch.tensor([False, True]),
        "label": torch.tensor(1),
        "image_id": torch.tensor(5),
    }
    return tv_tensors.Image(image), target


@pytest.mark.parametrize("name", ["flip", "boxes", "dihedral_boxes"])
@pytest.mark.parametrize("seed", range(6))
def test_boxes_and_masks_follow_the_pixels(name: str, seed: int) -> None:
    with seeded_draws(seed):
        image, target = Augmentation(name, (40, 60))(scene())
    assert image.dtype == torch.uint8
    rows = len(target["labels"])
    assert rows == len(target["boxes"]) == len(target["masks"]) == len(target["crowd"])
    assert target["image_id"] == 5
    big = (target["labels"] == 1).nonzero().flatten()
    assert len(big) == 1
    ys, xs = target["masks"][big[0]].nonzero(as_tuple=True)
    inside = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
    torch.testing.assert_close(target["boxes"][big[0]].as_subclass(torch.Tensor), inside, atol=1.5, rtol=0)
    shown = image[:, target["masks"][big[0]]].float().mean()
    assert shown > image.float().mean()


CROPS = ["shift", "crop", "crop_randaugment", "resized_crop", "resized_crop_randaugment"]


@pytest.mark.parametrize("name", CROPS)
@pytest.mark.parametrize("size", [(24, 32), (128, 128)], ids=["smaller", "larger"])
def test_crops_have_the_size_of_the_network(name: str, size: tuple[int, int]) -> None:
    image, _ = scene()
    cropped, target = Augmentation(name, size)((image, {"label": torch.tensor(2)}))
    assert cropped.shape == (3, *size)
    assert target == {"label": torch.tensor(2)}


def test_randaugment_changes_colours_and_follows_its_seed() -> None:
    image, _ = scene()
    grey = tv_tensors.Image(torch.full_like(image, 90))  # crops and flips leave it as it is
    seen = []
    for seed in (*range(8), 0):
        with seeded_draws(seed):
            seen.append(Augmentation("crop_randaugment", (40, 60))((grey, {}))[0])
    assert torch.equal(seen[0], seen[-1])
    assert any(not torch.equal(picture, grey) for picture in seen)
    assert all(picture.dtype == torch.uint8 for picture in seen)


def test_colours_change_in_strips_as_in_the_whole_picture() -> None:
    image = tv_tensors.Image(torch.randint(256, (3, 40, 60), dtype=torch.uint8))
    options = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.4}
    for seed in range(6):
        changed = []
        for jitter in (v2.ColorJitter(**options), FrugalColorJitter(**options)):
            jitter.rows = 7  # type: ignore[attr-defined]
            with seeded_draws(seed):
                changed.append(jitter(image))
        assert torch.equal(*changed)
        assert type(changed[0]) is type(changed[1])
        assert not torch.equal(changed[0], image)


def test_what_comes_in_from_outside_is_ignored_in_label_maps() -> None:
    image, _ = scene()
    semantic = tv_tensors.Mask(torch.zeros(40, 60, dtype=torch.uint8))
    seen = set()
    for seed in range(8):
        with seeded_draws(seed):
            seen |= set(
                Augmentation("boxes", (40, 60))((image, {"semantic": semantic}))[1]["semantic"].unique().tolist()
            )
    assert seen == {0, 255}


def test_equal_draws_give_equal_samples_and_leave_the_input() -> None:
    image, target = scene()
    results = []
    for _ in range(2):
        with seeded_draws(3):
            results.append(Augmentation("dihedral_boxes", (40, 60))((image, target)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1]["boxes"], results[1][1]["boxes"])
    assert torch.equal(image, scene()[0])
    assert torch.equal(target["boxes"], scene()[1]["boxes"])


def test_an_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="flip, shift, crop"):
        Augmentation("wobble", (8, 8))


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_mixed_labels_are_the_shares_of_the_pixels(mix: Any) -> None:
    images = torch.stack([torch.full((3, 16, 16), float(k)) for k in (0, 1)])
    placements = [Placement((16, 16), (16, 16))] * 2
    batch = Batch(
        images, torch.ones(2, 16, 16, dtype=torch.bool), placements, [{"label": torch.tensor(k)} for k in (0, 1)]
    )
    for seed in range(20):
        mixed = mix(batch, torch.Generator().manual_seed(seed), classes=2)
        for image, target in zip(mixed.images, mixed.targets, strict=True):
            assert target["label"].sum().item() == pytest.approx(1)
            assert target["label"][1].item() == pytest.approx(image.mean().item(), abs=1e-5)
    assert torch.equal(images[1], torch.ones(3, 16, 16))


# ----------------------------------------------------------------------------------------------------------------------
# Joints and boxes in space

JOINTS = ("nose", "left_hand", "right_hand")


def figure() -> tuple[Any, dict[str, Any]]:
    """A dot of one colour at each joint: red nose, green left hand, blue right hand."""
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    points = torch.tensor([[[30.5, 6.5], [44.5, 20.5], [20.5, 20.5]]])
    for channel, (x, y) in enumerate(points[0].int().tolist()):
        image[channel, y - 1 : y + 2, x - 1 : x + 2] = 255
    target = {
        "boxes": tv_tensors.BoundingBoxes([[18.0, 4.0, 46.0, 24.0]], format="XYXY", canvas_size=(40, 60)),  # type: ignore[call-overload]
        "labels": torch.tensor([0]),
        "keypoints": tv_tensors.KeyPoints(points, canvas_size=(40, 60)),  # type: ignore[call-arg]
        "visibility": torch.tensor([[2, 2, 1]], dtype=torch.uint8),
    }
    return tv_tensors.Image(image), target


@pytest.mark.parametrize("name", ["flip", "boxes", "dihedral_boxes", "resized_crop"])
def test_joints_follow_the_pixels_and_mirrors_swap_sides(name: str) -> None:
    """A mirror makes a left hand, here green, the right one of the figure that is seen."""
    seen, swapped = 0, 0
    for seed in range(12):
        with seeded_draws(seed):
            image, target = Augmentation(name, (40, 60), joints=JOINTS)(figure())
        assert image.shape[1:] == target["keypoints"].canvas_size
        if not len(target["labels"]):
            continue
        colours = image.float().flatten(1)
        for joint, ((x, y), state) in enumerate(
            zip(target["keypoints"][0].tolist(), target["visibility"][0], strict=True)
        ):
            if state:
                at = image[:, int(y), int(x)].float()
                shade = (at - colours.mean(1)).argmax()  # colours vary a little, the background is black or grey
                assert joint == 0 or shade != 0
                swapped += int(joint > 0 and shade != joint)
                seen += 1
            else:
                assert (x, y) == (0, 0)
    assert seen > 12
    assert swapped > 0


def test_a_mirrored_joint_is_where_its_pixel_is() -> None:
    for seed in range(4):
        with seeded_draws(seed):
            _, target = Augmentation("flip", (40, 60), joints=JOINTS)(figure())
        expected = [[30.5, 6.5], [44.5, 20.5], [20.5, 20.5]], [[29.5, 6.5], [39.5, 20.5], [15.5, 20.5]]
        mirrored = target["boxes"][0, 0] == 60 - 46
        assert target["keypoints"][0].tolist() == expected[int(mirrored)]
        assert target["visibility"].tolist() == [[2, 1, 2] if mirrored else [2, 2, 1]]


def test_joints_without_names_cannot_be_mirrored() -> None:
    with pytest.raises(ValueError, match="cannot be mirrored without"):  # noqa: PT012
        for seed in range(8):
            with seeded_draws(seed):
                Augmentation("flip", (40, 60))(figure())
    with pytest.raises(ValueError, match="'left_hand' without 'right_hand'"):  # noqa: PT012
        for seed in range(8):
            with seeded_draws(seed):
                Augmentation("flip", (40, 60), joints=("nose", "left_hand", "tail"))(figure())


def test_boxes_in_space_are_mirrored_with_their_camera() -> None:
    """The corners of the mirrored boxes are seen at the mirrored places of a rendered scene, and so are the joints."""
    targets = ("boxes", "labels", "boxes_3d", "intrinsics", "keypoints", "visibility", "masks")
    scenes = World(count=6, size=(48, 64), targets=targets)
    flips = 0
    for row in range(len(scenes)):
        image, target = scenes[row]
        with seeded_draws(row, 1):
            moved_image, moved = Augmentation("flip", (48, 64), joints=World.joints)((image, target))
        if torch.equal(moved_image, image):
            continue
        flips += 1
        assert torch.equal(moved_image, image.flip(2))
        pixels = project_points(box_3d_corners(target["boxes_3d"]), target["intrinsics"])
        found = project_points(box_3d_corners(moved["boxes_3d"]), moved["intrinsics"])
        pixels[..., 0] = 64 - pixels[..., 0]
        left_is_right = [1, 0, 3, 2, 5, 4, 7, 6]  # the front stays the front
        torch.testing.assert_close(found, pixels[:, left_is_right], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(moved["boxes_3d"][:, 2:6], target["boxes_3d"][:, 2:6])
        assert moved["intrinsics"][0, 0] == target["intrinsics"][0, 0]
        people = (target["visibility"] == 2).any(1)
        for points, visibility, mask in zip(moved["keypoints"], moved["visibility"], moved["masks"], strict=True):
            assert all(mask[int(y), int(x)] for x, y in points[visibility == 2].tolist())
        assert torch.equal(people, (moved["visibility"] == 2).any(1))
    assert flips >= 2


def test_boxes_in_space_refuse_zooms() -> None:
    scenes = World(count=1, size=(32, 32), targets=("boxes", "labels", "boxes_3d"))
    with pytest.raises(ValueError, match="'boxes' for boxes in space, expected one of none, flip"):  # noqa: PT012
        for seed in range(8):
            with seeded_draws(seed):
                Augmentation("boxes", (32, 32))(scenes[0])


def test_what_comes_in_from_outside_is_grey_in_bytes_and_in_numbers() -> None:
    image = tv_tensors.Image(torch.ones(3, 40, 40, dtype=torch.uint8))
    seen = 0
    for seed in range(6):
        found = []
        for picture in (image, tv_tensors.Image(image / 255)):
            torch.manual_seed(seed)
            found.append(Rescaled()(picture).as_subclass(torch.Tensor).float())
        assert_close(found[0] / 255, found[1], FLOAT32)
        seen += int((found[0] == 114).any())
    assert seen


@pytest.mark.parametrize("after", [(23, 41), (57, 31), (96, 130)])
def test_label_maps_of_odd_sizes_stay_on_their_picture(after: tuple[int, int]) -> None:
    """A ramp whose class is its column: after resizing, each class is where the ramp says, to half a pixel."""
    ramp = torch.arange(61.0).expand(3, 37, 61) / 255
    target = {"semantic": tv_tensors.Mask(torch.arange(61, dtype=torch.uint8).expand(37, 61).clone())}
    image, placed, _ = Preprocess(exact=after, antialias=False).place(ramp, target)
    shown, classes = image[0] * 255, placed["semantic"].float()
    assert classes.shape == shown.shape == after
    assert (shown - classes).abs().max() <= 0.5 + 1e-4  # pixels of the original
