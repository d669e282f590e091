"""Predictions in tiles: what they give together is what the whole picture gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vidi
from tests.closeness import assert_close
from vidi.model import Losses, Step, Supervised
from vidi.nn.inference import fuse_for_inference
from vidi.ops.boxes import box_iou
from vidi.ops.masks import boxes_of_masks
from vidi.preprocess import Placement, Preprocess
from vidi.results.classification import Classification
from vidi.results.detections import Detections
from vidi.results.semantic_map import SemanticMap
from vidi.segmentation.semantic import SemanticOutputs, segmenter
from vidi.tiled import Tiling, blended_scores

NAMES = ("red", "green", "blue")


def nothing(network: nn.Module, batch: Any, step: Step) -> Losses:
    """Stand for a criterion."""
    return {}


class Weightless(nn.Module):
    """A network that learns nothing; a model asks its buffer for its device."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("nothing", torch.zeros(0))


# ----------------------------------------------------------------------------------------------------------------------
# Pixels


class Convolutions(nn.Module):
    """Three convolutions, the second with a stride, and bilinear enlarging; a pixel sees 18 pixels to each side."""

    stride, reach = 4, 18

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 5, padding=2), nn.Conv2d(4, 4, 4, stride=4)
        self.third = nn.Conv2d(4, 3, 3, padding=1)
        self.double()

    def forward(self, images: Tensor) -> SemanticOutputs:
        x = self.third(self.second(self.first(images.double()).sin()).sin())
        return SemanticOutputs(F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False))


def pixels_model() -> Any:
    return segmenter(Convolutions(), NAMES, Preprocess(stride=Convolutions.stride)).eval()


def seen_well(size: tuple[int, int], tile: int, overlap: float) -> Tensor:
    """Say of each pixel whether it is far from the inner borders of every tile that shows it."""
    grid, reach = Tiling(tile, overlap).grid(size, Preprocess(stride=4)), Convolutions.reach
    sides = []
    for side, tiles in zip(size, (grid.rows, grid.columns), strict=True):
        well = torch.ones(side, dtype=torch.bool)
        for first, last in tiles:
            if first > 0:
                well[first : first + reach] = False
            if last < side:
                well[last - reach : last] = False
        sides.append(well)
    return sides[0][:, None] & sides[1]


@pytest.mark.parametrize(
    ("size", "tile", "overlap"), [((150, 201), 96, 0.25), ((97, 230), 100, 0.5), ((60, 131), 64, 0)]
)
def test_tiles_of_pixels_are_the_whole_picture_beyond_the_receptive_field(
    size: tuple[int, int], tile: int, overlap: float
) -> None:
    model, image = pixels_model(), torch.rand(3, *size)
    (placed, _, placement) = model.preprocess.place(image, {})
    batch = model.preprocess.collate([(placed, {}, placement)])
    with torch.no_grad():
        (whole,) = model.decode.pixel_scores(model(*batch.inputs), batch.placements)
        parts = list(blended_scores(model, model.decode, image, Tiling(tile, overlap).grid(size, model.preprocess), 2))
    tops = [top for top, _ in parts]
    assert tops == [sum(part.shape[1] for _, part in parts[:row]) for row in range(len(parts))]
    blended, well = torch.cat([part for _, part in parts], 1), seen_well(size, tile, overlap)
    assert blended.shape == whole.shape
    assert 0.1 < well.double().mean() < 1
    assert_close(blended[:, well], whole[:, well])
    assert not torch.allclose(blended[:, ~well], whole[:, ~well])  # else this test could not fail
    found, expected = model.predict(image, tile=tile, overlap=overlap)[0], model.predict(image)[0]
    assert torch.equal(found.classes[well], expected.classes[well])
    assert found.categories == NAMES


def test_pixels_of_tiles_are_weighted() -> None:
    """Each tile of a network that tells its own mean; a pixel has the mean of its tiles by their Gaussians."""

    class Means(Weightless):
        def forward(self, images: Tensor) -> SemanticOutputs:
            mean = images.double().mean((1, 2, 3), keepdim=True).expand(-1, 1, *images.shape[2:])
            return SemanticOutputs(torch.cat((mean, 0.5 - mean, mean - 1), 1))

    model: Any = segmenter(Means(), NAMES, Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    image = torch.zeros(3, 8, 14)
    image[:, :, 7:] = 1
    ((_, scores),) = blended_scores(model, model.decode, image, Tiling(8, 0.25).grid((8, 14), model.preprocess), 1)
    share = 0.0439369336 / (0.0439369336 + 0.0021874911)  # of the nearer tile, see the weights' own test
    expected = [1 / 8] * 6 + [share / 8 + (1 - share) * 7 / 8, (1 - share) / 8 + share * 7 / 8] + [7 / 8] * 6
    assert scores[0, 3].tolist() == pytest.approx(expected, rel=1e-8)
    (found,) = model.predict(image, tile=8)
    assert found.classes[0].tolist() == [1] * 7 + [0] * 7


def test_a_tile_goes_through_the_models_own_preprocessing() -> None:
    """Resized to 24 pixels: tiles begin anywhere, and the map has the size of the picture."""
    seen = []

    class Sizes(Weightless):
        def forward(self, images: Tensor) -> SemanticOutputs:
            seen.append(tuple(images.shape))
            return SemanticOutputs(images)

    model = segmenter(Sizes(), NAMES, Preprocess(exact=(24, 24), stride=8))
    (found,) = model.predict(torch.rand(3, 50, 71), tile=40, overlap=0.25, batch_size=2)
    assert found.classes.shape == (50, 71)
    assert seen == [(2, 3, 24, 24), (1, 3, 24, 24)] * 2
    assert Tiling(40, 0.25).grid((50, 71), model.preprocess).columns == [(0, 40), (30, 70), (31, 71)]


def test_a_model_that_is_fused_for_inference_takes_tiles() -> None:
    model, image = pixels_model(), torch.rand(3, 70, 90)
    found, fused = (which.predict(image, tile=48)[0] for which in (model, fuse_for_inference(model)))
    assert isinstance(found, SemanticMap)
    assert found.classes.unique().numel() > 1
    assert torch.equal(found.classes, fused.classes)


# ----------------------------------------------------------------------------------------------------------------------
# Objects


class Pixels(NamedTuple):
    """What the finder is given."""

    images: Tensor


class Handed(Weightless):
    """Hands the picture to the decoder."""

    def forward(self, images: Tensor) -> Pixels:
        return Pixels(images)


@dataclass(frozen=True)
class Finder:
    """Finds what hangs together of each colour, exactly, with its left- and rightmost pixel as joints."""

    parts: tuple[str, ...] = ("masks", "keypoints")

    def __call__(self, outputs: Pixels, placements: Sequence[Placement]) -> list[Detections]:
        return [
            self.find(placement.map_to_original(image)) for image, placement in zip(*outputs, placements, strict=True)
        ]

    def find(self, image: Tensor) -> Detections:
        masks, labels, scores = [torch.zeros(0, *image.shape[1:], dtype=torch.bool)], [], []
        for label, plane in enumerate(image):
            pieces: Any = scipy.ndimage.label(plane.numpy() > 0.5)
            for number in range(1, pieces[1] + 1):
                mask = torch.from_numpy(pieces[0] == number)
                masks.append(mask[None])
                labels.append(label)
                scores.append(float(plane[mask].mean()))
        dense = torch.cat(masks)
        more: dict[str, Any] = {"masks": dense} if "masks" in self.parts else {}
        if "keypoints" in self.parts:
            more["keypoints"] = torch.stack([ends(mask) for mask in dense]) if labels else torch.zeros(0, 2, 3)
        return Detections(boxes_of_masks(dense), torch.tensor(scores), torch.tensor(labels).long(), NAMES, **more)


def ends(mask: Tensor) -> Tensor:
    """Return the left- and the rightmost pixel; they are surer the farther they are apart."""
    ys, xs = mask.nonzero(as_tuple=True)
    width = float(xs.max() - xs.min())
    rows = [(float(xs[i]) + 0.5, float(ys[i]) + 0.5, width / 1000) for i in (int(xs.argmin()), int(xs.argmax()))]
    return torch.tensor(rows)


def objects_model(*parts: str, **numbers: Any) -> Any:
    preprocess = Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), **numbers)
    return Supervised(Handed(), nothing, Finder(parts), preprocess).eval()


def scattered(seed: int, size: tuple[int, int], sides: tuple[int, int], count: int) -> Tensor:
    """Paint rectangles and discs that touch no other of their colour, of a brightness each."""
    random, image = np.random.default_rng(seed), torch.zeros(3, *size)
    ys, xs = torch.arange(size[0])[:, None] + 0.5, torch.arange(size[1]) + 0.5
    for _ in range(count):
        h, w = random.integers(*sides, 2).tolist()
        limits = (max(size[0] - 5, 1), size[1] - 5, 3)
        top, left, label = random.integers(0, limits).tolist()
        if random.random() < 0.5:
            mask = (ys >= top) & (ys < top + h) & (xs >= left) & (xs < left + w)
        else:
            mask = ((ys - top - h / 2) / (h / 2)) ** 2 + ((xs - left - w / 2) / (w / 2)) ** 2 < 1
        near = torch.from_numpy(scipy.ndimage.binary_dilation(mask.numpy(), iterations=14))
        pieces: Any = scipy.ndimage.label(mask.numpy())
        if pieces[1] == 1 and not (image[label] > 0)[near].any():
            image[label][mask] = float(random.uniform(0.6, 1))
    return image


def sorted_rows(found: Detections) -> Detections:
    """Return detections in an order that their scores' rounding does not change."""
    keys = np.lexsort([*found.boxes.T.numpy()[::-1], found.labels.numpy()])
    return found.chosen(torch.from_numpy(keys))


@pytest.mark.parametrize(("seed", "size", "overlap"), [(0, (150, 233), 0.4), (1, (97, 301), 0.5), (2, (64, 200), 0.4)])
def test_objects_that_fit_into_the_overlap_are_those_of_the_whole_picture(
    seed: int, size: tuple[int, int], overlap: float
) -> None:
    image, model = scattered(seed, size, (3, 22), 90), objects_model("masks", "keypoints")
    expected = sorted_rows(model.predict(image)[0])
    found = sorted_rows(model.predict(image, tile=64, overlap=overlap)[0])
    assert len(expected) > 25
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.equal(found.labels, expected.labels)
    assert_close(found.scores, expected.scores, 1e-5)
    assert found.coded_masks is not None
    assert expected.coded_masks is not None
    assert found.coded_masks.runs == expected.coded_masks.runs
    assert found.keypoints is not None
    assert expected.keypoints is not None
    assert torch.equal(found.keypoints, expected.keypoints)
    assert (np.diff(model.predict(image, tile=64)[0].scores.numpy()) <= 0).all()


@pytest.mark.parametrize(
    ("seed", "parts"), [(0, ("masks",)), *(pytest.param(seed, (), marks=pytest.mark.extended) for seed in range(1, 6))]
)
def test_objects_of_any_size_come_once(seed: int, parts: tuple[str, ...]) -> None:
    """Up to four tiles long; what its pieces do not make up is seen from afar, where a pixel is five of the picture."""
    image, model = scattered(seed, (240, 330), (3, 150), 90), objects_model(*parts)
    (expected,), (found,) = model.predict(image), model.predict(image, tile=64, overlap=0.25)
    large = (expected.boxes[:, 2:] - expected.boxes[:, :2]).amax(1) > 64
    assert large.sum() >= 8
    same = found.labels[:, None] == expected.labels
    best = (box_iou(found.boxes, expected.boxes) * same).amax(0)
    assert len(found) == len(expected)
    assert best.min() > 0.4
    assert best.median() == 1


def test_a_long_object_that_the_overview_misses_is_put_together_of_its_pieces() -> None:
    """Two pixels high: nothing is left of it in a picture that is made as small as a tile."""
    image, model = torch.zeros(3, 60, 400), objects_model("masks", "keypoints")
    image[1, 29:31, 5:390] = 0.9
    (found,) = model.predict(image, tile=50, overlap=0.3)
    assert found.boxes.tolist() == [[5, 29, 390, 31]]
    assert found.scores.tolist() == pytest.approx([0.9])
    assert found.masks is not None
    assert torch.equal(found.masks[0], image[1] > 0)
    assert found.keypoints is not None
    assert len(found.keypoints) == 1
    assert found.keypoints[0, 0, :2].tolist() in [[5.5, 29.5], [35.5, 29.5]]


def test_an_object_larger_than_a_tile_is_found_in_the_whole_picture() -> None:
    image, model = torch.zeros(3, 200, 200), objects_model("masks")
    image[0, 20:180, 40:160] = 0.9
    image[0, 30:170, 50:150] = 0.0  # a frame, which enters tiles twice
    (found,) = model.predict(image, tile=50, overlap=0.2)
    assert found.boxes.tolist() == [[40, 20, 160, 180]]


def test_a_picture_no_larger_than_a_tile_is_predicted_as_ever() -> None:
    image, model = scattered(0, (60, 64), (3, 22), 20), objects_model("masks")
    for tile in (64, 1000):
        (found,), (expected,) = model.predict(image, tile=tile), model.predict(image)
        assert torch.equal(found.boxes, expected.boxes)
    (found,), (expected,) = pixels_model().predict(image, tile=64), pixels_model().predict(image)
    assert found.classes.shape == expected.classes.shape


def test_several_pictures_of_any_size_in_their_order() -> None:
    model = objects_model()
    images = [scattered(seed, size, (3, 12), 9) for seed, size in enumerate([(30, 90), (90, 30), (20, 20), (1, 100)])]
    found = model.predict(images, tile=32, overlap=0.5)
    assert [sorted(one.boxes.tolist()) for one in found] == [
        sorted(model.predict(image)[0].boxes.tolist()) for image in images
    ]
    assert len(model.predict(torch.zeros(3, 100, 100), tile=32)[0]) == 0


# ----------------------------------------------------------------------------------------------------------------------
# What cannot be


@pytest.mark.parametrize(
    ("tile", "overlap", "message"),
    [
        (0, 0.25, "received tile=0, expected at least 1 pixel"),
        (-5, 0.25, "received tile=-5, expected at least 1 pixel"),
        (8, 1.0, "received overlap=1.0, expected a share of a tile, at least 0 and below 1"),
        (8, -0.1, "received overlap=-0.1"),
        (8, float("nan"), "received overlap=nan"),
    ],
)
def test_tiles_that_cannot_be_are_refused(tile: int, overlap: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        objects_model().predict(torch.zeros(3, 20, 20), tile=tile, overlap=overlap)


def test_results_that_cannot_be_put_together_are_refused() -> None:
    @dataclass(frozen=True)
    class Classes:
        def __call__(self, outputs: Pixels, placements: Sequence[Placement]) -> list[Classification]:
            return [Classification(torch.ones(3) / 3, NAMES) for _ in placements]

    model = Supervised(Handed(), nothing, Classes(), Preprocess())
    with pytest.raises(ValueError, match="a Classification cannot be put together from tiles, expected a model that"):
        model.predict(torch.zeros(3, 20, 20), tile=10)

    @dataclass(frozen=True)
    class InSpace:
        def __call__(self, outputs: Pixels, placements: Sequence[Placement]) -> list[Detections]:
            boxes, one = torch.tensor([[0.0, 0, 5, 5]]), torch.ones(1)
            return [
                Detections(boxes, one, torch.zeros(1).long(), NAMES, boxes_3d=torch.ones(1, 7), intrinsics=torch.eye(3))
                for _ in placements
            ]

    with pytest.raises(ValueError, match="boxes in space cannot be put together from tiles"):
        Supervised(Handed(), nothing, InSpace(), Preprocess()).predict(torch.zeros(3, 20, 20), tile=10)


def test_sentences_are_not_cut() -> None:
    model = vidi.create("transformer_tiny")
    with pytest.raises(ValueError, match="a SentenceModel takes no pictures that could be cut into tiles"):
        model.predict("the old cat", tile=8)
