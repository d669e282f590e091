"""Preprocessing and placements: what is resized maps back, what is batched is what was alone."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import torchvision.transforms.v2.functional as geometry
from torch import nn
from torchvision import tv_tensors

import vidi as package
from tests.closeness import assert_close
from tests.engine.tiny import Logits, PositivesCriterion, tiny
from vidi.backbones.resnet_cifar import resnet20
from vidi.keys import typed
from vidi.model import Supervised, builder, evaluating, widened
from vidi.preprocess import Placement, Preprocess, as_images, several


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


RNG = np.random.default_rng(0)
GREY, COLOUR = RNG.integers(0, 256, (6, 9), dtype=np.uint8), RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
FILES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "grey.png": (GREY, {}),
    "colour.jpg": (COLOUR, {}),
    "clear.png": (np.dstack([COLOUR, GREY]), {}),
    "clear.webp": (np.dstack([COLOUR, GREY]), {"lossless": True}),
    "deep.png": (RNG.integers(0, 2**16, (6, 9), dtype=np.uint16), {}),
    "deep.tif": (RNG.integers(0, 2**16, (6, 9), dtype=np.uint16), {}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_one_picture_by_its_path_as_pil_image_and_as_array(tmp_path: Path, name: str) -> None:
    array, options = FILES[name]
    PIL.Image.fromarray(array).save(tmp_path / name, **options)
    (by_path,) = as_images(tmp_path / name)
    (by_pil,) = as_images(PIL.Image.open(tmp_path / name))
    (by_array,) = as_images(np.array(PIL.Image.open(tmp_path / name)))
    assert by_path.shape == (3, 6, 9)
    assert by_path.dtype == torch.uint8
    assert torch.equal(by_pil, by_path)
    assert torch.equal(by_array, by_path)


def test_pictures_in_memory_have_the_values_that_files_have() -> None:
    (grey,) = as_images(GREY)
    assert torch.equal(grey, torch.from_numpy(GREY).expand(3, 6, 9))
    (deep,) = as_images(np.array([[0, 256, 65535]], dtype=np.uint16))
    assert deep[0].tolist() == [[0, 1, 255]]
    (clear,) = as_images(np.array([[[9, 9, 9, 0], [9, 9, 9, 255], [0, 0, 0, 51]]], dtype=np.uint8))
    assert clear[0].tolist() == [[255, 9, 204]]  # 0.2 * 0 + 0.8 * 255
    palette = PIL.Image.fromarray(np.array([[0, 1]], dtype=np.uint8), mode="P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    (looked_up,) = as_images(palette)
    assert looked_up[:, 0].T.tolist() == [[10, 20, 30], [40, 50, 60]]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pil_images_are_turned_as_their_files_are(tmp_path: Path, suffix: str, orientation: int) -> None:
    tags = PIL.Image.Exif()
    tags[274] = orientation
    PIL.Image.fromarray(COLOUR).save(tmp_path / f"a{suffix}", exif=tags)
    (by_path,) = as_images(tmp_path / f"a{suffix}")
    assert by_path.shape == ((3, 9, 6) if orientation >= 5 else (3, 6, 9))
    opened, converted = PIL.Image.open(tmp_path / f"a{suffix}"), PIL.Image.open(tmp_path / f"a{suffix}").convert("RGB")
    for picture in (opened, opened, converted):  # the second time its pixels are in memory
        assert torch.equal(next(as_images(picture)), by_path)


@pytest.mark.parametrize(
    "given",
    [
        torch.rand(3, 4, 4) * 255,
        torch.rand(3, 4, 4) - 0.5,
        torch.full((3, 4, 4), torch.nan),
        torch.rand(3, 4, 4, dtype=torch.float64),
        torch.randint(0, 256, (3, 4, 4)),
        torch.randint(0, 127, (3, 4, 4), dtype=torch.int8),
        torch.zeros(4, 4, 3),
        torch.zeros(1, 4, 4),
        torch.zeros(4, 4),
        np.full((4, 4), 1.5),
        np.full((4, 4, 3), -0.1, dtype=np.float32),
        np.full((4, 4, 3), np.nan),
        np.full((4, 4, 3), 256),
        np.full((4, 4), -1),
        np.zeros((4, 4), dtype=bool),
        np.zeros((3, 4, 5), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.uint16),
        np.zeros((4, 4, 2), dtype=np.uint8),
        np.zeros((0, 4), dtype=np.uint8),
        PIL.Image.fromarray(np.zeros((4, 4), dtype=np.float32)),
        PIL.Image.fromarray(np.zeros((4, 4), dtype=np.int32)),
    ],
    ids=lambda given: f"{getattr(given, 'dtype', 'pil')}-{getattr(given, 'shape', getattr(given, 'mode', ''))}",
)
def test_pictures_of_another_range_type_or_shape_are_refused(given: Any) -> None:
    model = tiny()
    for images in (given, [given]):
        with pytest.raises(ValueError, match=r"expected"):
            model.predict(images)
    with pytest.raises(ValueError, match=r"expected"):
        model.loss([given], [{"label": torch.tensor(1)}])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_float_pictures_may_fill_their_range_and_round_over_it(dtype: torch.dtype) -> None:
    image = torch.rand(3, 8, 8).to(dtype)
    image[0, 0, :2] = torch.tensor([0.0, 1.0 + torch.finfo(dtype).eps])
    placed, _, _ = Preprocess(exact=(8, 8)).place(image, {})
    assert torch.equal(placed, image)


@pytest.mark.parametrize(
    ("given", "error"), [(3.5, TypeError), ([object()], TypeError), (np.full((4, 4), 2.0), ValueError)]
)
def test_other_things_are_refused(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(as_images(given if error is TypeError and isinstance(given, list) else [given]))


def test_arrays_of_other_types_are_the_picture_that_they_hold() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (6, 5))
    colour = np.random.default_rng(1).integers(0, 256, (6, 5, 3))
    for array in (grey, colour, np.dstack([colour, np.full((6, 5), 255)])):
        (expected,) = as_images(array.astype(np.uint8))
        for same in (array, array.astype(np.int32), array / 255, (array / 255).astype(np.float32)):
            (found,) = as_images(same)
            assert torch.equal(found, expected)
    assert torch.equal(next(as_images(grey[..., None] / 255)), next(as_images(grey.astype(np.uint8))))


def test_a_folder_is_all_pictures_below_it(tmp_path: Path) -> None:
    for place in ("a/1.png", "b.jpg", ".hidden/2.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(COLOUR).save(tmp_path / place)
    (tmp_path / "notes.txt").write_text("")
    assert several(tmp_path) == several(str(tmp_path)) == [tmp_path / "a/1.png", tmp_path / "b.jpg"]
    model = package.create("resnet20", categories=2)
    results = model.predict(tmp_path)
    assert len(results) == 2
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="none holds no images"):
        model.predict(tmp_path / "none")


def test_called_with_pictures_it_predicts_and_with_tensors_it_runs(tmp_path: Path) -> None:
    model = package.create("resnet20", categories=2)
    PIL.Image.fromarray(COLOUR).save(tmp_path / "a.png")
    (expected,) = model.predict(tmp_path / "a.png")
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), COLOUR, [COLOUR]):
        assert str(model(given)[0]) == str(expected)
    assert isinstance(model(torch.zeros(1, 3, 32, 32)), tuple)


def test_random_weights_are_said_once_and_until_they_change(caplog: pytest.LogCaptureFixture) -> None:
    first, second = (package.create("resnet20", categories=2) for _ in range(2))
    assert first.is_random()
    first.predict(COLOUR)
    first.predict(COLOUR)
    assert caplog.messages == ["resnet20 has random weights: its results mean nothing yet"]
    second.load_state_dict(first.state_dict())
    assert not second.is_random()
    second.predict(COLOUR)
    assert len(caplog.messages) == 1
    assert first.categories == ("class 0", "class 1")
    assert repr(first) == "<resnet20: 269,202 parameters on cpu>"


def test_a_builder_records_all_its_arguments() -> None:
    assert tiny().origin == ("tiny", {"noise": 0.1, "partly": False})
    assert tiny(noise=0.0).origin == ("tiny", {"noise": 0.0, "partly": False})

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


def test_models_are_built_in_evaluation_mode_and_predictions_leave_every_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    assert not any(module.training for module in model.modules())
    written = []
    monkeypatch.setattr(nn.Module, "train", lambda self, mode=True: written.append(mode) or self)
    model.predict(torch.rand(3, 8, 8))
    assert not written


class Slow(nn.Module):
    """Says whether it is in training mode, after a while in which other threads run."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("none", torch.zeros(0))  # its device is the model's

    def forward(self, images: torch.Tensor) -> Logits:
        time.sleep(0.002)
        return Logits(torch.full((len(images), 4), float(self.training)))


class Raw:
    def __call__(self, outputs: Logits, placements: Any) -> list[torch.Tensor]:
        return list(outputs.logits)


@pytest.mark.parametrize("training", [False, True])
def test_threads_that_predict_do_not_switch_each_others_model(training: bool) -> None:
    model = Supervised(Slow(), PositivesCriterion(0), Raw(), Preprocess()).train(training)
    images = torch.rand(4, 3, 8, 8)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: torch.stack(model.predict(images, batch_size=1)), range(12)))
    assert not torch.stack(found).any()
    assert all(module.training is training for module in model.modules())


def test_threads_predict_what_one_does_and_change_nothing() -> None:
    model = resnet20(categories=4)
    images = torch.rand(6, 3, 32, 32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = torch.stack([result.probabilities for result in model.predict(images)])
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: model.predict(images), range(16)):
            assert torch.equal(torch.stack([result.probabilities for result in found]), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


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
    with pytest.raises(ValueError, match="cropped"):
        Placement((10, 20), (10, 20), (0, -1)).rows_to_original(lambda rows: torch.zeros(1, 10, 20)[:, rows], slice(1))


def test_rows_of_the_original_are_those_of_the_whole_map() -> None:
    maps = torch.rand(3, 20, 30, dtype=torch.float64)
    placement = Placement((37, 23), (15, 22), (2, 5))
    strips = [placement.rows_to_original(lambda own: maps[:, own], slice(top, top + 1)) for top in range(37)]
    assert_close(torch.cat(strips, 1), placement.map_to_original(maps))


def test_plain_tensors_of_a_target_follow_the_pixels() -> None:
    plain = {"boxes": torch.tensor([[2.0, 4.0, 6.0, 8.0]]), "masks": torch.ones(1, 8, 8, dtype=torch.bool)}
    target = typed({**plain, "labels": torch.tensor([1])}, (8, 8))
    _, placed, _ = Preprocess(exact=(4, 8)).place(torch.zeros(3, 8, 8, dtype=torch.uint8), target)
    assert placed["boxes"].tolist() == [[2.0, 2.0, 6.0, 4.0]]
    assert placed["masks"].shape == (1, 4, 8)
    assert placed["labels"].tolist() == [1]
