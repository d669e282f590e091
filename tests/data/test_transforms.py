"""Augmentations: boxes and masks follow the pixels, lost objects go, mixed labels are distributions."""

from typing import Any

import pytest
import torch
from torchvision import tv_tensors

from vidi.data.loading import seeded_draws
from vidi.data.transforms import Augmentation, cutmix, mixup
from vidi.model import Batch, Placement


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
        "caption": "a box",
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
    assert target["caption"] == "a box"
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
