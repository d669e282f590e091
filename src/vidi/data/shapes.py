"""Small labelled pictures: one coloured, textured shape on a plain ground (INVENTORY: a set to classify at any size).

    (seed, split, index) -> Figure -> coverage and texture on the pixel grid -> uint8 3 H W

Shape, colour and texture are drawn independently, so each of the three can be the label while the others distract.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from vidi.data.seeding import checked_index, sample_generator, split_number
from vidi.data.silhouettes import (
    Grid,
    as_image,
    coverage,
    disc,
    pixel_centres,
    polygon,
    rectangle,
    regular_corners,
    turned,
)

COLOURS = {
    "red": (0.86, 0.18, 0.16),
    "orange": (0.94, 0.55, 0.12),
    "yellow": (0.93, 0.85, 0.20),
    "green": (0.20, 0.65, 0.27),
    "cyan": (0.20, 0.74, 0.80),
    "blue": (0.18, 0.33, 0.83),
    "purple": (0.56, 0.23, 0.72),
    "pink": (0.96, 0.56, 0.74),
}
SHAPES = ("disc", "ring", "crescent", "triangle", "square", "bar", "cross", "star")
TEXTURES = ("plain", "stripes", "checks", "dots")

ATTRIBUTES = {"shape": SHAPES, "colour": tuple(COLOURS), "texture": TEXTURES}

DARK = 0.35  # brightness of a texture's second tone, as a share of the colour
TILT = 0.3  # radians: a shape leans at most so far, so that a bar or a crescent keeps its direction
NOISE = 0.02  # standard deviation of the grain


@dataclass(frozen=True)
class Figure:
    """What one picture shows. Lengths are shares of the shorter side of the image."""

    shape: str
    colour: str
    texture: str
    centre: tuple[float, float]  # x, y, from the centre of the image
    radius: float
    angle: float  # radians
    ground: tuple[float, float]  # grey at the top and at the bottom


class ShapeImages(Dataset[tuple[tv_tensors.Image, dict[str, Tensor]]]):
    """Pictures of single shapes, labelled by one of their attributes; equal arguments give equal bits.

    Args:
        split: train, val or test.
        count: number of samples.
        size: (H, W) in pixels; the figures are the same at every size.
        seed: another seed gives other pictures.
        label: which attribute `label` is a class of: shape, colour or texture.

    Raises:
        ValueError: for an unknown split or attribute.
    """

    kinds = frozenset({"image_id", "label"})

    def __init__(
        self,
        split: str = "train",
        *,
        count: int = 1000,
        size: tuple[int, int] = (32, 32),
        seed: int = 0,
        label: str = "shape",
    ):
        split_number(split)
        if label not in ATTRIBUTES:
            raise ValueError(f"received label {label!r}, expected one of {', '.join(ATTRIBUTES)}")
        self.split, self.count, self.size, self.seed, self.label = split, count, size, seed, label
        self.categories = ATTRIBUTES[label]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, dict[str, Tensor]]:
        index = checked_index(index, self.count)
        random = sample_generator(self.seed, self.split, index)
        figure = draw_figure(random)
        pixels = render(figure, self.size, random)
        label = self.categories.index(getattr(figure, self.label))
        return tv_tensors.Image(pixels), {"image_id": torch.tensor(index), "label": torch.tensor(label)}


def shape_images(
    count: int, *, split: str = "train", size: tuple[int, int] = (32, 32), seed: int = 0, label: str = "shape"
) -> tuple[Float32[Tensor, "N 3 H W"], Int64[Tensor, " N"]]:
    """Return the first `count` pictures of `ShapeImages` in [0, 1], and their labels, as two tensors."""
    samples = ShapeImages(split, count=count, size=size, seed=seed, label=label)
    pairs = [samples[index] for index in range(count)]
    images = torch.stack([image.as_subclass(Tensor) for image, _ in pairs]).float().div(255.0)
    return images, torch.stack([target["label"] for _, target in pairs])


def draw_figure(random: np.random.Generator) -> Figure:
    """Draw what one picture shows."""
    return Figure(
        shape=SHAPES[random.integers(len(SHAPES))],
        colour=list(COLOURS)[random.integers(len(COLOURS))],
        texture=TEXTURES[random.integers(len(TEXTURES))],
        centre=(random.uniform(-0.14, 0.14), random.uniform(-0.14, 0.14)),
        radius=random.uniform(0.22, 0.34),
        angle=random.uniform(-TILT, TILT),
        ground=(random.uniform(0.15, 0.95), random.uniform(0.15, 0.95)),
    )


def render(figure: Figure, size: tuple[int, int], random: np.random.Generator) -> UInt8[Tensor, "3 H W"]:
    """Render a figure with soft edges, and grain drawn from `random`, as an RGB image of `size` (H, W)."""
    H, W = size
    scale = figure.radius * min(H, W)  # pixels per unit of the figure's own frame
    x, y = pixel_centres(size)
    top, bottom = figure.ground
    ground = top + (bottom - top) * y / H
    x = (x - W / 2 - figure.centre[0] * min(H, W)) / scale
    y = (y - H / 2 - figure.centre[1] * min(H, W)) / scale
    x, y = turned(x, y, figure.angle)

    cover = coverage(outline(figure.shape, x, y), scale)[..., None]  # H W 1
    tone = DARK + (1.0 - DARK) * light_part(figure.texture, x, y, scale)[..., None]
    pixels = (1.0 - cover) * ground[..., None] + cover * tone * np.array(COLOURS[figure.colour])
    return as_image(pixels + random.normal(0.0, NOISE, pixels.shape))


def outline(shape: str, x: Grid, y: Grid) -> Grid:
    """Measure the signed distance to a shape that fits into the unit disc."""
    match shape:
        case "disc":
            return disc(x, y, 0.95)
        case "ring":
            return np.abs(disc(x, y, 0.75)) - 0.22
        case "crescent":
            return np.maximum(disc(x, y, 0.97), -disc(x - 0.5, y, 0.78))
        case "triangle":
            return polygon(x, y, regular_corners(3, 1.0))
        case "square":
            return rectangle(x, y, 0.7, 0.7)
        case "bar":
            return rectangle(x, y, 0.94, 0.32)
        case "cross":
            return np.minimum(rectangle(x, y, 0.95, 0.3), rectangle(x, y, 0.3, 0.95))
        case "star":
            return polygon(x, y, regular_corners(5, 1.0, 0.42))
    raise ValueError(f"received shape {shape!r}, expected one of {', '.join(SHAPES)}")


def light_part(texture: str, x: Grid, y: Grid, pixels_per_unit: float) -> Grid:
    """Return the share of each pixel that has a texture's first tone, 0 to 1."""
    period = 0.6  # wide enough to be seen at 32 pixels
    across, along = (np.abs((c / period) % 1.0 - 0.5) * period - period / 4 for c in (x, y))  # signed distances
    match texture:
        case "plain":
            return np.ones(x.shape)
        case "stripes":
            return coverage(along, pixels_per_unit)
        case "checks":
            first, second = coverage(across, pixels_per_unit), coverage(along, pixels_per_unit)
            return first * second + (1.0 - first) * (1.0 - second)
        case "dots":
            to_dot = np.hypot(across + period / 4, along + period / 4) - 0.16
            return 1.0 - coverage(to_dot, pixels_per_unit)
    raise ValueError(f"received texture {texture!r}, expected one of {', '.join(TEXTURES)}")
