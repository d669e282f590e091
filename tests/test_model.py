"""Preprocessing and placements: what is resized maps back, what is batched is what was alone."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import torchvision.transforms.v2.functional as geometry
from torchvision import tv_tensors

from tests.engine.tiny import tiny
from vidi.model import Placement, Preprocess, Supervised, as_images, builder, evaluating, typed, widened


def boxes_on(size: tuple[int, int], *rows: list[float]) -> Any:
    return tv_tensors.BoundingBoxes(torch.tensor(rows), format="XYXY", canvas_size=size)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("numbers", "size", "resized"),
    [
        ({}, (37, 53), (37, 53)),
        ({"exact": (20, 30)}, (37, 53), (20, 30)),
        ({"shorter": 800, "longest": 1333}, (480, 640), (800, 1066)),
        ({"shorter": 800, "longest": 1333}, (427, 1000), (569, 1333)),
        ({"longest": 100}, (50, 200), (25, 100)),
    ],
)
def test_sizes_follow_the_policy(numbers: dict[str, Any], size: tuple[int, int], resized: tuple[int, int]) -> None:
    assert Preprocess(**numbers).resized(size) == resized


def test_boxes_masks_and_points_come_back_to_the_original() -> None:
    size = (60, 90)
    masks = torch.zeros(1, *size, dtype=torch.bool)
    masks[0, 12:30, 30:66] = True
    points = torch.tensor([[[30.0, 12.0], [66.0, 30.0]]])
    target = {
        "boxes": boxes_on(size, [30.0, 12.0, 66.0, 30.0]),
        "masks": tv_tensors.Mask(masks),
        "keypoints": tv_tensors.KeyPoints(points, canvas_size=size),  # type: ignore[call-arg]
        "labels": torch.tensor([4]),
        "caption": "dropped: not a tensor",
    }
    image = torch.zeros(3, *size, dtype=torch.uint8)
    _, placed, placement = Preprocess(exact=(40, 45)).place(image, target)
    assert set(placed) == {"boxes", "masks", "keypoints", "labels"}
    torch.testing.assert_close(placed["boxes"], torch.tensor([[15.0, 8.0, 33.0, 20.0]]))
    assert placed["masks"].shape == (1, 40, 45)
    torch.testing.assert_close(placement.boxes_to_original(placed["boxes"]), torch.tensor([[30.0, 12.0, 66.0, 30.0]]))
    torch.testing.assert_close(placement.points_to_original(placed["keypoints"]), points)
    back = placement.map_to_original(placed["masks"].float(), nearest=True)
    assert torch.equal(back[0].bool(), masks[0])


@pytest.mark.parametrize("size", [(51, 40), (30, 77), (20, 21)])
def test_a_centre_crop_is_torchvisions_and_its_placement_maps_back(size: tuple[int, int]) -> None:
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    preprocess = Preprocess(crop=(24, 32))
    cropped, placed, placement = preprocess.place(image, {"boxes": boxes_on(size, [4.0, 5.0, 15.0, 17.0])})
    assert torch.equal(cropped, geometry.center_crop(image, [24, 32]))
    top, left = placement.offset
    rows, columns = range(max(0, -top), min(size[0], 24 - top)), range(max(0, -left), min(size[1], 32 - left))
    for y, x in ((rows[0], columns[0]), (rows[-1], columns[-1])):
        assert torch.equal(cropped[:, y + top, x + left], image[:, y, x])
    inside = placed["boxes"].as_subclass(torch.Tensor)
    back = placement.boxes_to_original(inside)
    assert (back >= 0).all()


def test_empty_stacks_of_masks_are_resized_too() -> None:
    masks = tv_tensors.Mask(torch.zeros(0, 8, 8, dtype=torch.bool))
    target = {"masks": masks, "boxes": boxes_on((8, 8)).reshape(0, 4)}
    _, placed, _ = Preprocess(exact=(4, 6)).place(torch.zeros(3, 8, 8, dtype=torch.uint8), target)
    assert placed["masks"].shape == (0, 4, 6)


def test_collation_normalises_and_pads_with_zeros() -> None:
    preprocess = Preprocess(stride=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 1.0))
    images = [torch.full((3, 5, 9), 255, dtype=torch.uint8), torch.ones(3, 7, 3)]
    batch = preprocess.collate([preprocess.place(image, {}) for image in images])
    assert batch.images.shape == (2, 3, 8, 16)
    assert batch.mask[0].sum() == 45
    assert batch.images[0, :, 0, 0].tolist() == [1.0, 2.0, 0.5]
    assert batch.images[1, :, 6, 2].tolist() == [1.0, 2.0, 0.5]
    assert batch.images[~batch.mask[:, None].expand_as(batch.images)].abs().sum() == 0


def test_images_may_be_paths_pictures_arrays_and_tensors(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    picture = PIL.Image.fromarray(array)
    picture.save(tmp_path / "a.png")
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), picture, array, tensor):
        (alone,) = as_images(given)
        assert torch.equal(alone, tensor)
    assert len(list(as_images([array, tmp_path / "a.png"]))) == 2
    assert len(list(as_images(torch.stack([tensor, tensor])))) == 2


@pytest.mark.parametrize(
    ("given", "error"), [(3.5, TypeError), ([object()], TypeError), (np.zeros((4, 4)), ValueError)]
)
def test_other_things_are_refused(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(as_images(given if error is TypeError and isinstance(given, list) else [given]))


def test_a_builder_records_all_its_arguments() -> None:
    assert tiny().origin == ("tiny", {"noise": 0.1})
    assert tiny(noise=0.0).origin == ("tiny", {"noise": 0.0})

    @builder
    def other(*, width: int = 3) -> Supervised:
        return tiny()

    assert other(width=5).origin == ("other", {"width": 5})


def test_models_put_together_by_hand_say_that_they_cannot_be_saved(tmp_path: Path) -> None:
    model = tiny()
    model.origin = None
    with pytest.raises(ValueError, match="not made by a named builder"):
        model.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_evaluating_restores_the_mode_of_every_module() -> None:
    model = tiny().train()
    model.network.layers[0].eval()  # type: ignore[index, union-attr]
    before = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before


def test_half_precision_is_widened_and_nothing_else() -> None:
    half, double = torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.float64)
    assert widened([half, (double, 3)])[0].dtype == torch.float32
    assert widened([half, (double, 3)])[1] == (double, 3)


def test_placements_of_an_untouched_image_change_nothing() -> None:
    placement = Placement((10, 20), (10, 20))
    boxes = torch.tensor([[1.0, 2.0, 25.0, 9.0]])
    assert placement.boxes_to_original(boxes).tolist() == [[1.0, 2.0, 20.0, 9.0]]
    with pytest.raises(ValueError, match="cropped"):
        Placement((10, 20), (10, 20), (-1, 0)).map_to_original(torch.zeros(1, 10, 20))


def test_plain_tensors_of_a_target_follow_the_pixels() -> None:
    plain = {"boxes": torch.tensor([[2.0, 4.0, 6.0, 8.0]]), "masks": torch.ones(1, 8, 8, dtype=torch.bool)}
    target = typed({**plain, "labels": torch.tensor([1])}, (8, 8))
    _, placed, _ = Preprocess(exact=(4, 8)).place(torch.zeros(3, 8, 8, dtype=torch.uint8), target)
    assert placed["boxes"].tolist() == [[2.0, 2.0, 6.0, 4.0]]
    assert placed["masks"].shape == (1, 4, 8)
    assert placed["labels"].tolist() == [1]
