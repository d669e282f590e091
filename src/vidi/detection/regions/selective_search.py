"""Selective search: boxes around the regions that appear while superpixels are merged, most alike neighbours first.

Uijlings et al. 2013, Selective Search for Object Recognition (IJCV 104). Section 4.3.2 of the notes.

    image H W 3 -> colour space H W C -> superpixels of Felzenszwalb & Huttenlocher, R regions (scale k)
                -> histograms of colours C x 25 and of gradients C x 8 x 10, sizes, boxes, pairs that touch
                -> merge the pair with the greatest sum of similarities until one region is left: 2 R - 1 boxes
    all spaces, scales and sums -> rank: position in the hierarchy, from its top, times a random number
                -> boxes N 4 without duplicates, best first

Differs from the notes: a sum may hold any of four similarities (colour, texture, size and how well two regions fill
their common box), and several hierarchies are put together. From the paper, where it leaves them open: superpixels have
at least k pixels and a blur of 0.8, as in the authors' program; gradients below zero count as zero and their bins end
at the greatest one of the image; regions touch along sides and corners. OpenCV's variant takes scales of 150 up and at
least 100 pixels, R and G in place of their shares in rgI, and ranks from the bottom of the hierarchy.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Num, UInt8
from scipy import ndimage
from torch import Tensor

from vidi.ops.boxes import boxes_at_least
from vidi.ops.superpixels import cut_graph, pixel_graph

SIGMA = 0.8  # blur before the superpixels, in pixels
TEXTURE_SIGMA = 1.0
ORIENTATIONS = 8
COLOUR_BINS, TEXTURE_BINS = 25, 10
SIMILARITIES = ("colour", "texture", "size", "fill")
WHITE = np.array([0.95047, 1.0, 1.08883])  # D65, 2 degrees
XYZ_FROM_RGB = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
GREY = np.array([0.299, 0.587, 0.114])


class Mode(NamedTuple):
    """What is put together: a hierarchy for each colour space, scale and sum of similarities."""

    spaces: tuple[str, ...]
    scales: tuple[int, ...]
    sums: tuple[tuple[str, ...], ...]


MODES: Mapping[str, Mode] = {
    "single": Mode(("hsv",), (100,), (SIMILARITIES,)),
    "fast": Mode(("hsv", "lab"), (50, 100), (SIMILARITIES, ("texture", "size", "fill"))),
    "quality": Mode(
        ("hsv", "lab", "rgi", "hue", "intensity"),
        (50, 100, 150, 300),
        (SIMILARITIES, ("texture", "size", "fill"), ("fill",), ("size",)),
    ),
}


class Regions(NamedTuple):
    """The superpixels of an image and what their similarities need."""

    boxes: Int64[np.ndarray, "R 4"]  # xyxy
    sizes: Int64[np.ndarray, " R"]  # pixels
    colours: Float64[np.ndarray, "R D"]  # histograms over all channels, each of sum 1
    textures: Float64[np.ndarray, "R E"]
    pairs: Int64[np.ndarray, "P 2"]  # regions that touch; the lower number first, in rising order


class Hierarchy(NamedTuple):
    """R superpixels and the R - 1 regions that merging made of them; the last is the image.

    Merge m makes region R + m of its `children` m.
    """

    boxes: Int64[np.ndarray, "N 4"]  # xyxy
    sizes: Int64[np.ndarray, " N"]
    children: Int64[np.ndarray, "M 2"]
    similarities: Float64[np.ndarray, "M 4"]  # colour, texture, size and fill of the two, whether in the sum or not


def selective_search(
    image: Num[np.ndarray, "H W C"] | Num[Tensor, "C H W"],
    *,
    mode: str = "fast",
    most: int | None = 2000,
    minimum_side: float | int = 0,
    seed: int = 0,
    scales: Sequence[int] | None = None,
    min_size: int | None = None,
) -> Float[Tensor, "N 4"]:
    """Propose boxes (xyxy, float32, pixels) around the regions of an RGB image, no two alike, best first.

    `image` is an array H W 3 or a tensor 3 H W, of uint8; the boxes are on the CPU. `mode` is "single" (1 hierarchy),
    "fast" (8) or "quality" (80). At most `most` boxes are given, all with None; those with a side below `minimum_side`
    pixels (20 in the authors' program) are left out. The order is the paper's, random within ranks; `seed` fixes it.
    `scales` (k of the superpixels) replace those of the mode, and `min_size` (their least number of pixels) replaces k:
    150, 300, 450 and 100 are OpenCV's for "fast".

    Raises:
        ValueError: if the image has another shape or type, the mode is unknown, or a number is negative.
    """
    if mode not in MODES:
        raise ValueError(f"received mode {mode!r}, expected one of {', '.join(MODES)}")
    if (most is not None and most < 0) or seed < 0 or not minimum_side >= 0:
        raise ValueError(f"received most {most}, minimum_side {minimum_side} and seed {seed}, expected none below 0")
    if scales is not None and len(scales) == 0:
        raise ValueError("received no scales, expected one or more")
    plan = MODES[mode] if scales is None else MODES[mode]._replace(scales=tuple(scales))
    boxes = _best_first(_hierarchies(_as_array(image), plan, min_size), np.random.default_rng(seed))
    proposals = torch.from_numpy(boxes).float()
    return proposals[boxes_at_least(proposals, minimum_side)][:most]


def _as_array(image: np.ndarray | Tensor) -> np.ndarray:
    array = image.detach().cpu().permute(1, 2, 0).numpy() if isinstance(image, Tensor) else image
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ValueError(
            f"received an image of shape {tuple(image.shape)} and {image.dtype}, "
            "expected an array H W 3 or a tensor 3 H W of uint8, not empty"
        )
    return array


def _hierarchies(image: np.ndarray, mode: Mode, min_size: int | None) -> list[Hierarchy]:
    found = []
    for space in mode.spaces:
        channels = colour_space(image, space)
        bins = feature_bins(channels)
        graph = pixel_graph(channels, sigma=SIGMA)
        for scale in mode.scales:
            labels = cut_graph(graph, scale=scale, min_size=scale if min_size is None else min_size)
            regions = describe_regions(labels, bins)
            found += [group_regions(regions, similarities) for similarities in mode.sums]
    return found


def _best_first(hierarchies: Sequence[Hierarchy], random: np.random.Generator) -> np.ndarray:
    """Rank all boxes, the top of each hierarchy as 1, and keep the best of those that are equal."""
    boxes = np.concatenate([hierarchy.boxes for hierarchy in hierarchies])
    ranks = np.concatenate(
        [random.random(len(hierarchy.boxes)) * np.arange(len(hierarchy.boxes), 0, -1) for hierarchy in hierarchies]
    )
    boxes = boxes[np.argsort(ranks, kind="stable")]
    _, first = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(first)]


# ----------------------------------------------------------------------------------------------------------------------
# Colour spaces


def colour_space(image: UInt8[np.ndarray, "H W 3"], name: str) -> Float64[np.ndarray, "H W C"]:
    """Turn RGB bytes into the channels of a colour space, each in [0, 1].

    "hsv" (hue in turns), "lab" (CIE of D65; L / 100, a and b + 128 over 255), "rgi" (shares of red and green in the sum
    of the three, a third where that is 0, and intensity), "hue" and "intensity" (ITU-R 601 luma) of one channel.

    Raises:
        ValueError: if the name is another.
    """
    if name not in _SPACES:
        raise ValueError(f"received colour space {name!r}, expected one of {', '.join(_SPACES)}")
    return _SPACES[name](image)


def _hsv(image: np.ndarray) -> np.ndarray:
    rgb = image.astype(np.float64)
    value, least = image.max(2).astype(np.float64), image.min(2)
    spread = value - least
    divisor = np.where(spread > 0, spread, 1.0)
    red, green, blue = np.moveaxis(rgb, 2, 0)
    sextants = np.where(
        value == red,
        (green - blue) / divisor % 6,
        np.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    saturation = spread / np.where(value > 0, value, 1.0)
    return np.stack((np.where(spread > 0, sextants / 6, 0.0), saturation, value / 255), 2)


def _lab(image: np.ndarray) -> np.ndarray:
    levels = np.arange(256) / 255
    linear = np.where(levels > 0.04045, ((levels + 0.055) / 1.055) ** 2.4, levels / 12.92)
    xyz = linear[image] @ (XYZ_FROM_RGB / WHITE[:, None]).T
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), 2, 0)
    lightness, a, b = 1.16 * y - 0.16, 500 * (x - y), 200 * (y - z)
    return np.stack((np.maximum(lightness, 0.0), (a + 128) / 255, (b + 128) / 255), 2)


def _rgi(image: np.ndarray) -> np.ndarray:
    total = image.sum(2, dtype=np.float64)
    shares = np.where(total[..., None] > 0, image[..., :2] / np.where(total > 0, total, 1.0)[..., None], 1 / 3)
    return np.concatenate((shares, _intensity(image)), 2)


def _hue(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(_hsv(image)[..., :1])


def _intensity(image: np.ndarray) -> np.ndarray:
    return (image @ GREY / 255)[..., None]


_SPACES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "hsv": _hsv,
    "lab": _lab,
    "rgi": _rgi,
    "hue": _hue,
    "intensity": _intensity,
}


# ----------------------------------------------------------------------------------------------------------------------
# Regions and their similarities


def feature_bins(channels: Float64[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H W F"]:
    """Give the histogram bins of each pixel: C of its colours, then 8 of its gradients for each channel.

    Colours in [0, 1] fall into 25 bins. Gaussian derivatives (sigma 1) along 0, 45, ... 315 degrees fall into 10 bins
    from 0, or less, to the greatest of that channel and direction in the image.
    """
    from vidi.detection.regions import selective_search_kernels

    colours = np.minimum(channels * COLOUR_BINS, COLOUR_BINS - 1).astype(np.uint8)
    across, down = _derivative(channels, order=(0, 1)), _derivative(channels, order=(1, 0))
    angles = 2 * math.pi * np.arange(ORIENTATIONS) / ORIENTATIONS
    textures = selective_search_kernels.bin_gradients(across, down, np.cos(angles), np.sin(angles), TEXTURE_BINS)
    return np.concatenate((colours, textures), 2)


def _derivative(channels: np.ndarray, *, order: tuple[int, int]) -> np.ndarray:
    columns = ndimage.gaussian_filter1d(channels, TEXTURE_SIGMA, axis=0, order=order[0])
    return ndimage.gaussian_filter1d(columns, TEXTURE_SIGMA, axis=1, order=order[1])


def describe_regions(labels: Int64[np.ndarray, "H W"], bins: UInt8[np.ndarray, "H W F"]) -> Regions:
    """Measure the regions 0 to R-1 of a label map: boxes, sizes, histograms of `feature_bins`, and who touches whom."""
    from vidi.detection.regions import selective_search_kernels

    count = int(labels.max()) + 1
    channels = bins.shape[2] // (1 + ORIENTATIONS)
    widths = np.repeat([COLOUR_BINS, TEXTURE_BINS], [channels, channels * ORIENTATIONS])
    starts = np.cumsum(widths) - widths
    boxes, sizes, histograms = selective_search_kernels.describe(labels, bins, count, starts, widths.sum())
    codes = np.unique(selective_search_kernels.touching(labels, count))
    pairs = np.stack((codes // count, codes % count), 1)
    colours, textures = np.split(histograms / sizes[:, None], [channels * COLOUR_BINS], axis=1)
    return Regions(boxes, sizes, colours / channels, textures / (channels * ORIENTATIONS), pairs)


def group_regions(regions: Regions, similarities: Sequence[str] = SIMILARITIES) -> Hierarchy:
    """Merge the most similar regions that touch until one is left.

    Similarities are summed, each of them in [0, 1]: "colour" and "texture" are intersections of histograms, which a
    merge averages by size; "size" is 1 less the share of the image that both cover; "fill" is 1 less the share that
    their common box has beside them. Of equal sums the pair of the lowest region comes first. R regions give 2 R - 1.

    Raises:
        ValueError: if a name is unknown or none is given, or if the regions fall into parts that do not touch.
    """
    from vidi.detection.regions import selective_search_kernels

    unknown = sorted(set(similarities) - set(SIMILARITIES))
    if unknown or not similarities:
        raise ValueError(f"received similarities {list(similarities)}, expected one or more of {list(SIMILARITIES)}")
    R = len(regions.sizes)
    hierarchy = Hierarchy(
        boxes=np.concatenate((regions.boxes, np.zeros((R - 1, 4), np.int64))),
        sizes=np.concatenate((regions.sizes, np.zeros(R - 1, np.int64))),
        children=np.zeros((R - 1, 2), np.int64),
        similarities=np.zeros((R - 1, len(SIMILARITIES))),
    )
    merges = selective_search_kernels.group(
        hierarchy.boxes,
        hierarchy.sizes,
        regions.colours.copy(),
        regions.textures.copy(),
        regions.pairs[:, 0].copy(),
        regions.pairs[:, 1].copy(),
        np.array([float(name in similarities) for name in SIMILARITIES]),
        hierarchy.children,
        hierarchy.similarities,
    )
    if merges < R - 1:
        raise ValueError(f"received regions in {R - merges} parts that do not touch, expected one")
    return hierarchy


def cut_hierarchy(labels: Int64[np.ndarray, "H W"], hierarchy: Hierarchy, regions: int) -> Int64[np.ndarray, "H W"]:
    """Show the state of merging when `regions` were left: a label map of region numbers (Figure 4.7 of the notes).

    Raises:
        ValueError: if `regions` is not between 1 and the number of superpixels.
    """
    superpixels = len(hierarchy.children) + 1
    if not 1 <= regions <= superpixels:
        raise ValueError(f"received {regions} regions, expected 1 to the {superpixels} superpixels")
    names = np.arange(len(hierarchy.sizes))
    for merge in reversed(range(superpixels - regions)):
        names[hierarchy.children[merge]] = names[superpixels + merge]
    return names[labels]
