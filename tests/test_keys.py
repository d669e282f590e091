"""Every key of a target follows its picture: against the scene rendered anew, or recomputed, for each movement."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from tests.closeness import FLOAT32, assert_close
from vidi.data.loading import seeded_draws
from vidi.data.transforms import Augmentation
from vidi.data.world.bodies import Bodies
from vidi.data.world.dataset import KINDS, World
from vidi.data.world.names import JOINTS, PARTS
from vidi.keys import KEYS, change_values, typed
from vidi.ops.boxes_3d import box_3d_corners, project_points
from vidi.preprocess import Preprocess

SIDE, HALF = 96, 48
TORSO = PARTS.index("torso")  # it has no side
STEREO = ("right", "disparity", "disparity_valid", "disparity_right", "disparity_right_valid")
LEFT_ALONE = sorted(KINDS - {*STEREO, "caption"})
Target = dict[str, Any]


@cache
def scenes(side: int) -> list[tuple[Tensor, Target]]:
    """Render scenes of the world with all keys, and of one body, at a size; the same scenes at every size."""
    samples = [
        *World(count=4, size=(side, side), targets=sorted(KINDS), seed=3),
        Bodies(count=1, size=(side, side), targets=("joints", "intrinsics", "keypoints", "visibility", "parts"))[0],
    ]
    return [(image, {**t, **({"proposals": t["boxes"]} if "boxes" in t else {})}) for image, t in samples]


def of_key(name: str, *keys: str) -> list[tuple[Tensor, Target]]:
    """Return the scenes that have a key, with it and others."""
    held = [(image, {k: t[k] for k in (name, *keys) if k in t}) for image, t in scenes(SIDE) if name in t]
    assert held, f"no scene has {name}"
    return held


def share_equal(found: Tensor, expected: Tensor, relative: float = 0.0) -> float:
    """Return the share of the elements that agree to a share of the expected ones."""
    ours, theirs = found.as_subclass(Tensor).double(), expected.as_subclass(Tensor).double()
    assert ours.shape == theirs.shape
    return float(((ours - theirs).abs() <= relative * theirs.abs()).double().mean())


# ----------------------------------------------------------------------------------------------------------------------
# Resizing, against the same scene rendered at the smaller size


def same(found: Tensor, truth: Tensor) -> None:
    assert torch.equal(found, truth.as_subclass(Tensor))


def near(pixels: float) -> Callable[[Tensor, Tensor], None]:
    def close(found: Tensor, truth: Tensor) -> None:
        assert float((found - truth.as_subclass(Tensor)).abs().max()) <= pixels

    return close


def alike(share: float, relative: float = 0.0) -> Callable[[Tensor, Tensor], None]:
    def close(found: Tensor, truth: Tensor) -> None:
        assert share_equal(found, truth, relative) >= share

    return close


def pictures_alike(found: Tensor, truth: Tensor) -> None:
    assert found.shape == truth.shape
    assert float((found.float() - truth.as_subclass(Tensor).float()).abs().mean()) < 6


RESIZED: dict[str, Callable[[Tensor, Tensor], None]] = {
    **dict.fromkeys(
        ("image_id", "label", "labels", "crowd", "identity", "boxes_3d", "joints", "poses", "baseline"), same
    ),
    **dict.fromkeys(("boxes", "proposals"), near(1.0)),
    "keypoints": near(1e-3),
    "visibility": alike(0.9),
    "intrinsics": near(1e-4),
    **dict.fromkeys(("masks", "semantic", "panoptic", "parts", "depth_valid", "occluded"), alike(0.9)),
    **dict.fromkeys(("disparity_valid", "disparity_right_valid"), alike(0.9)),
    "depth": alike(0.85, 0.05),
    **dict.fromkeys(("disparity", "disparity_right"), alike(0.85, 0.05)),
    **dict.fromkeys(("right", "neighbours"), pictures_alike),
}


APART = {"tokens", "sentence", "focal_source"}  # of no picture, and of none of the world
LYING = sorted({*KEYS} - APART)


@pytest.mark.parametrize("name", LYING)
def test_a_resized_key_is_that_of_the_scene_at_this_size(name: str) -> None:
    compared = 0
    for (image, target), (_, truth) in zip(scenes(SIDE), scenes(HALF), strict=True):
        if name not in target or ("labels" in target and len(target["labels"]) != len(truth["labels"])):
            continue
        _, placed, _ = Preprocess(exact=(HALF, HALF)).place(image, target)
        compared += 1
        if name == "caption":  # words are no input of a network
            assert name not in placed
        elif name == "areas":  # of the original: small objects are small there
            same(placed[name], target[name])
        else:
            RESIZED[name](placed[name], truth[name])
    assert compared


def test_a_camera_follows_a_picture_that_changes_its_form() -> None:
    oblong = World(count=3, size=(HALF, SIDE), targets=("boxes_3d", "intrinsics", "disparity"))
    for image, target in oblong:
        _, placed, _ = Preprocess(exact=(32, 2 * SIDE)).place(image, target)
        corners = box_3d_corners(target["boxes_3d"])
        expected = project_points(corners, target["intrinsics"]) * torch.tensor([2.0, 32 / HALF])
        assert_close(project_points(corners, placed["intrinsics"]), expected, FLOAT32)
        assert placed["intrinsics"][0, 0] == 2 * target["intrinsics"][0, 0]
        assert {*placed["disparity"].flatten().tolist()} <= {*(2 * target["disparity"]).flatten().tolist()}
        assert placed["disparity"].max() > target["disparity"].max()


# ----------------------------------------------------------------------------------------------------------------------
# Cropping, against the part of the picture


@pytest.mark.parametrize("name", LYING)
@pytest.mark.parametrize("crop", [(64, 48), (120, 131)], ids=["inside", "beyond"])
def test_a_cropped_key_is_that_of_the_part(name: str, crop: tuple[int, int]) -> None:
    seen = 0
    for image, target in of_key(name, "intrinsics", "keypoints", "visibility", *STEREO):
        _, placed, placement = Preprocess(crop=crop).place(image, target)
        (top, left), row = (-side for side in placement.offset), KEYS[name]
        if name == "caption":
            assert name not in placed
        elif row.match is not None:  # a pixel whose match was cut off has none
            kept = window(target[name], top, left, crop, False)
            columns = np.arange(crop[1]) + 0.5 + row.match[1] * np.asarray(placed[row.match[0]])
            expected = kept & torch.from_numpy((columns >= 0) & (columns < crop[1]))
            assert torch.equal(placed[name], expected)
            assert crop[1] > SIDE or expected.sum() < kept.sum()
        elif row.on in ("map", "picture"):
            assert torch.equal(placed[name], window(target[name], top, left, crop, row.outside))
        elif name in ("keypoints", "visibility"):
            points = target["keypoints"].as_subclass(Tensor) - torch.tensor([left, top])
            lost = [[not (0 <= x < crop[1] and 0 <= y < crop[0]) for x, y in rows] for rows in points.tolist()]
            kept = ~torch.tensor(lost)
            assert torch.equal(placed["keypoints"], torch.where(kept[..., None], points, 0))
            assert torch.equal(placed["visibility"], target["visibility"] * kept)
            seen += int((target["visibility"] > 0).sum() > (placed["visibility"] > 0).sum() > 0)
        elif row.on is not None:
            moved = target[name].as_subclass(Tensor) - torch.tensor([left, top] * (target[name].shape[-1] // 2))
            assert torch.equal(placed[name], moved.clamp(min=0).minimum(torch.tensor([crop[1], crop[0]] * 2)))
        elif name == "intrinsics":
            corners = torch.tensor([[1.0, -2, 5], [0, 0.5, 3]])
            expected = project_points(corners, target[name]) - torch.tensor([left, top])
            assert_close(project_points(corners, placed[name]), expected, FLOAT32)
        else:
            same(placed[name], target[name])
    if name in ("keypoints", "visibility") and crop[0] < SIDE:
        assert seen, "no joint left the picture"


def window(value: Tensor, top: int, left: int, size: tuple[int, int], outside: float) -> Tensor:
    """Cut a window out of maps, element by element."""
    array = np.asarray(value.as_subclass(Tensor))
    result = np.full((*array.shape[:-2], *size), outside, array.dtype)
    for y in range(size[0]):
        for x in range(size[1]):
            if 0 <= y + top < array.shape[-2] and 0 <= x + left < array.shape[-1]:
                result[..., y, x] = array[..., y + top, x + left]
    return torch.from_numpy(result)


# ----------------------------------------------------------------------------------------------------------------------
# Mirrors


def mirrored(image: Tensor, target: Target) -> tuple[Tensor, Target]:
    """Return the sample as the first draw that mirrors it leaves it."""
    flip = Augmentation("flip", (SIDE, SIDE), joints=JOINTS, parts=PARTS)
    for seed in range(20):
        with seeded_draws(seed):
            moved_image, moved = flip((image, target))
        if not torch.equal(moved_image, image):
            return moved_image, dict(moved)
    raise AssertionError("no draw mirrors")


def partner(name: str) -> str:
    """Say what a mirror makes of a joint or part of one side."""
    sides = {"left": "right", "right": "left"}
    first, _, rest = name.partition("_")
    return f"{sides[first]}_{rest}" if first in sides else name


def flipped(value: Tensor) -> Tensor:
    return value.as_subclass(Tensor).flip(-1)


def expected_mirror(name: str, target: Target) -> Tensor:
    """Recompute a key of a mirrored picture."""
    value = target[name].as_subclass(Tensor)
    swapped = [JOINTS.index(partner(joint)) for joint in JOINTS]
    if name in ("boxes", "proposals"):
        return torch.stack([SIDE - value[:, 2], value[:, 1], SIDE - value[:, 0], value[:, 3]], 1)
    if name == "keypoints":
        seen = (target["visibility"] > 0)[:, swapped, None]
        return torch.where(seen, torch.stack([SIDE - value[..., 0], value[..., 1]], -1)[:, swapped], 0)
    if name == "visibility":
        return value[:, swapped]
    if name == "parts":
        table = torch.tensor([*(PARTS.index(partner(part)) for part in PARTS), len(PARTS)], dtype=value.dtype)
        return table[flipped(value).long()]
    if name == "joints":
        return value[:, swapped] * torch.tensor([-1.0, 1, 1])
    if name == "poses":
        mirror = torch.diag(torch.tensor([-1.0, 1, 1, 1]))
        return mirror @ value @ mirror
    if name == "boxes_3d":
        return torch.cat((-value[:, :1], value[:, 1:6], -value[:, 6:]), 1)
    if name == "intrinsics":
        return torch.stack([torch.stack([value[0, 0], value[0, 1], SIDE - value[0, 2]]), value[1], value[2]])
    return flipped(value) if KEYS[name].on in ("map", "picture") else value


@pytest.mark.parametrize("name", sorted({*LYING} - {*STEREO, "caption"}))
def test_a_mirrored_key_is_that_of_the_mirrored_picture(name: str) -> None:
    for image, target in of_key(name, "visibility" if name == "keypoints" else "image_id"):
        moved_image, moved = mirrored(image, target)
        assert torch.equal(moved_image, flipped(image))
        found, expected = moved[name].as_subclass(Tensor), expected_mirror(name, target)
        assert found.dtype == expected.dtype
        assert_close(found.double(), expected.double(), FLOAT32)


def test_parts_without_names_cannot_be_mirrored() -> None:
    image, target = of_key("parts")[0]
    with pytest.raises(ValueError, match="received parts without their names"):  # noqa: PT012
        for seed in range(8):
            with seeded_draws(seed):
                Augmentation("flip", (SIDE, SIDE))((image, target))


def test_parts_that_count_nowhere_stay_so_in_a_mirror() -> None:
    image, target = of_key("parts")[0]
    _, moved = mirrored(image, {"parts": tv_tensors.Mask(torch.full_like(target["parts"], 255))})
    assert (moved["parts"] == 255).all()


def test_a_mirror_makes_a_caption_false() -> None:
    with pytest.raises(ValueError, match="makes caption false"):
        mirrored(*of_key("caption")[0])


def test_a_mirror_exchanges_the_pictures_of_a_stereo_pair() -> None:
    """Each pixel of the new left picture is found in the new right one, to the left of where it is."""
    for image, target in of_key("right", *STEREO, "intrinsics"):
        left, moved = mirrored(image, target)
        assert torch.equal(left, flipped(target["right"]))
        assert torch.equal(moved["right"], flipped(image))
        for name, other in (("disparity", "disparity_right"), ("disparity_valid", "disparity_right_valid")):
            assert torch.equal(moved[name], flipped(target[other]))
            assert torch.equal(moved[other], flipped(target[name]))
        ys, xs = moved["disparity_valid"].nonzero(as_tuple=True)
        match = (xs + 0.5 - moved["disparity"][ys, xs]).floor().long().clamp(0, SIDE - 1)
        right = moved["right"].as_subclass(Tensor).float()
        errors, unmoved = ((left[:, ys, xs].float() - right[:, ys, columns]).abs().mean() for columns in (match, xs))
        assert errors < unmoved / 2


@pytest.mark.parametrize("name", sorted(k for k in LEFT_ALONE if KEYS[k].of in ("object", "pixel")))
def test_what_is_of_the_left_picture_alone_is_false_in_a_mirrored_pair(name: str) -> None:
    image, target = scenes(SIDE)[0]
    with pytest.raises(ValueError, match=f"makes {name} false"):
        mirrored(image, {"right": target["right"], name: target[name]})
    with pytest.raises(ValueError, match="makes disparity false"):  # that of the right picture is not known
        mirrored(image, {"right": target["right"], "disparity": target["disparity"]})


# ----------------------------------------------------------------------------------------------------------------------
# Other movements, and keys without a row


@pytest.mark.parametrize("name", ["boxes_3d", "joints", "intrinsics", "poses", *STEREO[1:]])
def test_what_a_camera_measures_is_false_in_a_turned_picture(name: str) -> None:
    ((_, target), *_) = of_key(name, *STEREO) if name in STEREO else of_key(name)
    quarter = torch.tensor([[0.0, 1, 0], [-1, 0, SIDE], [0, 0, 1]])
    with pytest.raises(ValueError, match=f"makes .*{name}.* false"):
        change_values(target, quarter)
    upside_down = torch.tensor([[1.0, 0, 0], [0, -1, SIDE], [0, 0, 1]])
    if name not in STEREO:
        with pytest.raises(ValueError, match=f"makes {name} false"):
            change_values(target, upside_down)
    else:  # both pictures of a pair may stand on their heads
        assert torch.equal(change_values(target, upside_down)[name], target[name].as_subclass(Tensor))


def test_maps_hold_what_the_table_says_beyond_the_picture() -> None:
    image = tv_tensors.Image(torch.zeros(3, 40, 40, dtype=torch.uint8))
    names = [name for name, row in KEYS.items() if row.on == "map" and name not in ("masks", *STEREO)]
    maps = {name: torch.full((40, 40), TORSO, dtype=torch.uint8) for name in names}
    shown = set()
    for seed in range(8):
        with seeded_draws(seed):
            _, moved = Augmentation("boxes", (40, 40), parts=PARTS)((image, typed(maps, (40, 40))))
        for name in names:
            beyond = set(moved[name].unique().tolist()) - {TORSO}
            assert beyond <= {KEYS[name].outside}
            shown |= beyond
    assert shown == {KEYS[name].outside for name in names} == {0, 1, 255}


def test_a_key_without_a_row_is_refused_everywhere() -> None:
    image, target = torch.zeros(3, 8, 8, dtype=torch.uint8), {"colour": torch.tensor(1)}
    with pytest.raises(
        ValueError, match="received a target with 'colour', expected keys among areas, baseline, boxes, "
    ):
        Preprocess(exact=(4, 4)).place(image, target)
    with pytest.raises(ValueError, match="'colour'"):
        Augmentation("flip", (8, 8))((image, target))
    with pytest.raises(ValueError, match="'colour'"):
        typed(target, (8, 8))
