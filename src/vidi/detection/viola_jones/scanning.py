"""Scanning an image with a cascade, at every place and size (section 4.2.2 of the notes), in two ways.

    `features`, the paper:  image -> one integral image; the features grow with the window
    `image`, OpenCV 4:      image -> pyramid of smaller images, an integral image each; the window keeps its size

    grey H W -> windows at all positions and scales -> cascade -> hits: boxes x, y, width, height and margins

`image` gives the hits of OpenCV's `detectMultiScale` before grouping: its resizing in whole numbers, steps of 2 pixels
up to a scale of 2, the skip of the window after one that failed at the first stage, the last rows that its division of
the work into stripes leaves out. (Boxes at the border may reach a pixel or two beyond it, by rounding; OpenCV clips
them after grouping.) In `features` the edges of rectangles are rounded to whole pixels and the weights
corrected for the areas that they then have, and windows move by `stride` times the scale.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64, UInt8

from vidi.detection.viola_jones.cascade import Cascade
from vidi.detection.viola_jones.haar import LEAST_DEVIATION, inset_area
from vidi.ops.integral import as_offsets, byte_integrals, dealt_columns, tilted_integral_image

FINE_FROM = 2.0
"""Scale from which OpenCV moves the window by one pixel of the smaller image; below it by two."""

STRIPE = 32
"""Width in pixels that OpenCV counts for one of the stripes that it divides the work into."""


class Hits(NamedTuple):
    """The windows that passed, from small to large, each scale row by row."""

    boxes: Int64[np.ndarray, "N 4"]  # x, y, width, height in pixels of the image
    margins: Float64[np.ndarray, " N"]  # votes of the last stage above its limit
    windows: int  # how many were looked at


def grey(image: UInt8[np.ndarray, "3 H W"]) -> UInt8[np.ndarray, "H W"]:
    """Convert RGB to grey as OpenCV does (BT.601 in 15 bits)."""
    red, green, blue = image.astype(np.uint32)
    return ((9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15).astype(np.uint8)


def resize_linear_exact(image: UInt8[np.ndarray, "H W"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """Resize to (h, w) by linear interpolation without antialiasing, bit for bit OpenCV's INTER_LINEAR_EXACT."""
    from vidi.detection.viola_jones import scanning_kernels

    resized = np.empty(size, np.uint8)
    columns, column_parts = _taps(image.shape[1], size[1])
    rows, row_parts = _taps(image.shape[0], size[0])
    scanning_kernels.resize_exact(np.ascontiguousarray(image), columns, column_parts, rows, row_parts, resized)
    return resized


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Return, per target pixel, the source pixel to the left and the 256ths that the one to its right counts."""
    position = (1 / (target / source)) * (np.arange(target) + 0.5) - 0.5
    left = np.floor(position)
    part = np.rint((position - left) * 256)
    part[(left < 0) | (left >= source - 1)] = 0
    return np.clip(left, 0, source - 1).astype(np.int64), part.astype(np.uint32)


# ----------------------------------------------------------------------------------------------------------------------
# One scale


@dataclass(frozen=True, eq=False)
class Level:
    """The windows of one scale: `across` x `down` of them, `step` pixels of `image` apart."""

    scale: float
    image: UInt8[np.ndarray, "h w"]
    step: int
    across: int
    down: int


class Passed(NamedTuple):
    """What passed on one level."""

    corners: Int64[np.ndarray, "N 2"]  # x, y in pixels of the level's image
    margins: Float64[np.ndarray, " N"]
    windows: int  # how many were looked at


@dataclass(frozen=True, eq=False)
class _Measures:
    """Rectangles in pixels of an integral image, and the weights that go with them."""

    rectangles: Int32[np.ndarray, "M 3 4"]
    weights: Float32[np.ndarray, "M 3"]
    inset: Int64[np.ndarray, " 4"]


def _run(cascade: Cascade, measures: _Measures, level: Level, integrals: "_Integrals", *, skips: bool) -> Passed:
    """Return the windows of a level that pass all stages; a cascade without stages lets all pass that show something.

    skips: whether a window that fails at the first stage takes its right neighbour with it.
    """
    from vidi.detection.viola_jones import scanning_kernels

    columns, step = level.image.shape[1] + 1, level.step
    sums, squares = integrals.dealt(step)
    row = sums.shape[1]
    tilted = cascade.features.tilted[cascade.node_features]
    offsets = as_offsets(measures.rectangles, columns, step=step)
    if tilted.any():
        turned = as_offsets(measures.rectangles, columns, step=step, tilted=True) + (level.image.shape[0] + 1) * row
        offsets = np.where(tilted[:, None, None], turned, offsets)
    places, margins = np.empty((level.across * level.down, 2), np.int32), np.empty(level.across * level.down)
    passed, looked_at = scanning_kernels.scan(
        sums.ravel(),
        squares.ravel(),
        np.arange(level.down) * step * row,
        level.across,
        as_offsets(measures.inset, columns, step=step),
        int(measures.inset[2] * measures.inset[3]),
        LEAST_DEVIATION,
        skips,
        cascade.stage_trees,
        cascade.stage_limits.astype(np.float64),
        cascade.tree_nodes,
        offsets.astype(np.int32).ravel(),
        measures.weights.ravel(),
        cascade.node_thresholds,
        cascade.node_children.ravel(),
        cascade.leaves,
        places,
        margins,
    )
    return Passed(places[:passed].astype(np.int64) * step, margins[:passed].copy(), looked_at)


class _Integrals:
    """The integral images of an image, the tilted one below the sums where it is needed."""

    def __init__(self, image: np.ndarray, *, tilted: bool):
        self.sums, self.squares = byte_integrals(image)
        if tilted:
            self.sums = np.concatenate([self.sums, tilted_integral_image(image).astype(np.int32)])

    def dealt(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return sums and squares with `dealt_columns`."""
        return dealt_columns(self.sums, step), dealt_columns(self.squares, step)


# ----------------------------------------------------------------------------------------------------------------------
# All scales


def scan(
    image: UInt8[np.ndarray, "H W"],
    cascade: Cascade,
    *,
    mode: str = "features",
    scale_factor: float = 1.1,
    stride: float | int = 1,
    min_size: tuple[int, int] = (0, 0),
    max_size: tuple[int, int] | None = None,
) -> Hits:
    """Find the windows of an image that pass a cascade.

    Args:
        image: grey values.
        cascade: what a window has to pass.
        mode: `features` (the features grow) or `image` (the image shrinks).
        scale_factor: of one scale to the one before, above 1.
        stride: pixels that windows are moved by at scale 1, for `features`; `image` has OpenCV's steps.
        min_size, max_size: (H, W) of the smallest and the largest window.

    Raises:
        ValueError: for another mode, factor or stride.
    """
    if mode not in ("features", "image"):
        raise ValueError(f"received mode {mode!r}, expected features or image")
    _check_factor(scale_factor)
    if stride <= 0:
        raise ValueError(f"received a stride of {stride}, expected more than 0 pixels")
    scales = window_scales((image.shape[0], image.shape[1]), cascade.window, scale_factor, min_size, max_size)
    if mode == "image":
        return _scan_pyramid(image, cascade, scales)
    return _scan_with_growing_features(image, cascade, scales, float(stride))


def _check_factor(scale_factor: float) -> None:
    if not 1 < scale_factor < 100:
        raise ValueError(f"received a scale factor of {scale_factor}, expected more than 1")


def window_scales(
    size: tuple[int, int],
    window: tuple[int, int],
    scale_factor: float,
    min_size: tuple[int, int] = (0, 0),
    max_size: tuple[int, int] | None = None,
) -> list[np.float32]:
    """Return the scales at which a window of (H, W) fits into an image of `size` and is within the limits."""
    scales = []
    factor = 1.0
    while True:
        height, width = round(window[0] * factor), round(window[1] * factor)
        if height > size[0] or width > size[1]:
            return scales
        scale = np.float32(factor)
        height, width = _grown(window, scale)
        if max_size is not None and (height > max_size[0] or width > max_size[1]):
            return scales
        if height >= min_size[0] and width >= min_size[1]:
            scales.append(scale)
        factor *= scale_factor


def _grown(window: tuple[int, int], scale: np.float32) -> tuple[int, int]:
    """Return the (H, W) of a window at a scale; multiplied in float32 and rounded to even, as in OpenCV."""
    height, width = (int(np.rint(np.float32(side) * scale)) for side in window)
    return height, width


def image_pyramid(
    image: UInt8[np.ndarray, "H W"], window: tuple[int, int], scales: list[np.float32], *, step: int | None = None
) -> Iterator[Level]:
    """Yield the image shrunk by each scale with the corners of its windows.

    step: pixels between windows; None takes OpenCV's 2 below a scale of 2, then 1, without the rows that it leaves out.
    """
    stripes = 0
    for scale in scales:
        H, W = (max(1, int(np.rint(np.float32(side) / scale))) for side in image.shape)
        across, down = W + 1 - window[1], H + 1 - window[0]
        if across < 1 or down < 1:  # the image was rounded down more than the window
            continue
        pixels = 1 if scale >= FINE_FROM else 2
        if step is None:
            stripes = stripes or ceil(across / STRIPE)
            down = min(down, max((down // pixels + stripes - 1) // stripes, 1) * pixels * stripes)
        else:
            pixels = step
        resized = resize_linear_exact(image, (H, W))
        yield Level(float(scale), resized, pixels, -(-across // pixels), -(-down // pixels))


def scan_level(cascade: Cascade, level: Level, *, skips: bool) -> Passed:
    """Run a cascade on a level of an `image_pyramid`."""
    H, W = cascade.window
    features = cascade.features[cascade.node_features]
    measures = _Measures(features.rectangles, features.weights, np.array([1, 1, W - 2, H - 2]))
    integrals = _Integrals(level.image, tilted=bool(features.tilted.any()))
    return _run(cascade, measures, level, integrals, skips=skips)


def _scan_pyramid(image: np.ndarray, cascade: Cascade, scales: list[np.float32]) -> Hits:
    boxes, margins, windows = [np.zeros((0, 4), np.int64)], [np.zeros(0)], 0
    for level in image_pyramid(image, cascade.window, scales):
        passed = scan_level(cascade, level, skips=True)
        scale = np.float32(level.scale)
        corners = np.rint(passed.corners.astype(np.float32) * scale).astype(np.int64)
        height, width = _grown(cascade.window, scale)
        boxes.append(np.concatenate([corners, np.full_like(corners, (width, height))], 1))
        margins.append(passed.margins)
        windows += passed.windows
    return Hits(np.concatenate(boxes), np.concatenate(margins), windows)


def _scan_with_growing_features(image: np.ndarray, cascade: Cascade, scales: list[np.float32], stride: float) -> Hits:
    boxes, margins, windows = [np.zeros((0, 4), np.int64)], [np.zeros(0)], 0
    integrals = _Integrals(image, tilted=bool(cascade.features.tilted.any()))
    for scale in scales:
        height, width = _grown(cascade.window, scale)
        step = max(1, round(stride * float(scale)))
        across, down = (image.shape[1] - width) // step + 1, (image.shape[0] - height) // step + 1
        level = Level(float(scale), image, step, across, down)
        passed = _run(cascade, _grown_measures(cascade, float(scale), (height, width)), level, integrals, skips=False)
        boxes.append(np.concatenate([passed.corners, np.full_like(passed.corners, (width, height))], 1))
        margins.append(passed.margins)
        windows += passed.windows
    return Hits(np.concatenate(boxes), np.concatenate(margins), windows)


def _grown_measures(cascade: Cascade, scale: float, window: tuple[int, int]) -> _Measures:
    """Return the features of a cascade at a scale: edges on whole pixels, weights that make up for their rounding.

    A rectangle's mean is taken over the pixels that it covers now and counts by the share of the inset that it had at
    scale 1, so that thresholds hold at every scale.
    """
    features = cascade.features[cascade.node_features]
    grown = _grown_rectangles(features.rectangles, features.tilted, scale, window)
    left, top = round(scale), round(scale)
    right, bottom = round((cascade.window[1] - 1) * scale), round((cascade.window[0] - 1) * scale)
    inset = np.array([left, top, min(right, window[1]) - left, min(bottom, window[0]) - top])
    covered = np.maximum(_areas(grown, features.tilted), 1)
    share = _areas(features.rectangles, features.tilted) / inset_area(cascade.window)
    weights = features.weights * share * (inset[2] * inset[3]) / covered
    return _Measures(grown, weights.astype(np.float32), inset)


def _areas(rectangles: np.ndarray, tilted: np.ndarray) -> np.ndarray:
    """Return the pixels in rectangles M 3 4; a tilted one covers two for each unit of its area."""
    return rectangles[..., 2].astype(np.int64) * rectangles[..., 3] * np.where(tilted, 2, 1)[:, None]


def _grown_rectangles(rectangles: np.ndarray, tilted: np.ndarray, scale: float, window: tuple[int, int]) -> np.ndarray:
    """Scale rectangles M 3 4: the edges of upright ones are rounded, so that neighbours still touch."""
    x, y, width, height = np.moveaxis(rectangles.astype(np.float64), -1, 0)
    left, top = np.rint(x * scale), np.rint(y * scale)
    right = np.minimum(np.rint((x + width) * scale), window[1])
    bottom = np.minimum(np.rint((y + height) * scale), window[0])
    upright = np.stack([left, top, right - left, bottom - top], -1)
    # sides of tilted ones are rounded down: they stay within the window, into which the corner is moved
    wide, high = np.floor(width * scale), np.floor(height * scale)
    turned = np.stack(
        [np.clip(left, high, np.maximum(high, window[1] - wide)), np.minimum(top, window[0] - wide - high), wide, high],
        -1,
    )
    return np.where(tilted[:, None, None], turned, upright).astype(np.int32)
