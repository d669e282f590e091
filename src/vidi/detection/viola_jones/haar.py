"""Haar-like features: differences of sums over two, three or four adjacent rectangles of a window.

Viola & Jones 2001; Lienhart & Maydt 2002 for the tilted ones. Section 4.2.1 of the notes.

    window size -> every kind at every position and size (162,336 in 24 x 24)
    windows N H W -> integral images -> values F N = weighted sums of pixels / (inset area x standard deviation)

A feature is written as up to three weighted rectangles, the whole with weight -1 first, as OpenCV stores it: what is
counted positive lies over it with weight 2, or 3 for the middle of three, so that an even patch gives 0. The paper's
middle has weight 2 there too (`balanced=False`).

Differs from the notes, which leave lighting out: as in the paper, values are divided by the standard deviation of the
window, which a squared integral image gives. As in OpenCV it is that of the window without its outermost pixels, and
the division by the inset's area makes values independent of the window's scale.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from vidi.ops.integral import as_offsets, integral_image, squared_integral_image

LEAST_DEVIATION = 10.0
"""Windows whose standard deviation (of grey values 0..255) is not above this show nothing, as in OpenCV."""

# Rectangles side by side, rectangles one below the other, and the weight that makes the positive part balance.
KINDS: dict[str, tuple[int, int, float]] = {
    "two beside": (2, 1, 2.0),
    "two below": (1, 2, 2.0),
    "three beside": (3, 1, 3.0),
    "three below": (1, 3, 3.0),
    "four": (2, 2, 2.0),
}


@dataclass(frozen=True, eq=False)
class HaarFeatures:
    """A table of features; rectangles that a feature does not need are empty with weight 0.

    Raises:
        ValueError: if the columns are of different lengths.
    """

    rectangles: Int32[np.ndarray, "F 3 4"]  # x, y, width, height
    weights: Float32[np.ndarray, "F 3"]
    tilted: Bool[np.ndarray, " _"]  # as many; turned by 45 degrees about (x, y)

    def __post_init__(self) -> None:
        if not len(self.rectangles) == len(self.weights) == len(self.tilted):
            lengths = f"{len(self.rectangles)} rectangles, {len(self.weights)} weights, {len(self.tilted)} tilts"
            raise ValueError(f"received {lengths}, expected as many of each")

    def __len__(self) -> int:
        return len(self.rectangles)

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> "HaarFeatures":
        return HaarFeatures(self.rectangles[rows], self.weights[rows], self.tilted[rows])

    def outside(self, window: tuple[int, int]) -> Bool[np.ndarray, " F"]:
        """Tell which features reach beyond a window of (H, W)."""
        x, y, width, height = np.moveaxis(self.rectangles.astype(np.int64), -1, 0)  # F 3 each
        turned = self.tilted[:, None]
        left, right = np.where(turned, x - height, x), x + width
        bottom = np.where(turned, y + width + height, y + height)
        negative = (width < 0) | (height < 0)
        beyond = (left < 0) | (y < 0) | (right > window[1]) | (bottom > window[0]) | negative
        return (beyond & (self.weights != 0)).any(axis=1)


def haar_features(
    window: tuple[int, int] = (24, 24), kinds: Sequence[str] = tuple(KINDS), *, balanced: bool = True
) -> HaarFeatures:
    """List the features of some kinds at every position and size within a window of (H, W).

    Within a kind they go by top, left, height, width. The sign is that of scikit-image: the second of two, the middle
    of three, and the top right and bottom left of four count positive.

    Raises:
        ValueError: for an unknown kind.
    """
    unknown = sorted(set(kinds) - KINDS.keys())
    if unknown:
        raise ValueError(f"received kinds {', '.join(unknown)}, expected some of {', '.join(KINDS)}")
    rectangles, weights = [np.zeros((0, 3, 4), np.int32)], [np.zeros((0, 3), np.float32)]
    for kind in kinds:
        found = _positions(window, kind)
        rectangles.append(found)
        positive = KINDS[kind][2] if balanced else 2.0
        row = (-1.0, positive, positive if kind == "four" else 0.0)
        weights.append(np.tile(np.array(row, np.float32), (len(found), 1)))
    joined = np.concatenate(rectangles)
    return HaarFeatures(joined, np.concatenate(weights), np.zeros(len(joined), bool))


def _positions(window: tuple[int, int], kind: str) -> np.ndarray:
    """Return the rectangles F 3 4 of one kind: the whole, and what is counted positive."""
    H, W = window
    columns, rows, _ = KINDS[kind]
    cells = [
        (x, y, width, height)
        for y in range(H)
        for x in range(W)
        for height in range(1, (H - y) // rows + 1)
        for width in range(1, (W - x) // columns + 1)
    ]
    x, y, width, height = np.array(cells, np.int32).reshape(-1, 4).T
    whole = np.stack([x, y, columns * width, rows * height], -1)
    empty = np.zeros_like(whole)
    if kind == "four":
        first, second = np.stack([x + width, y, width, height], -1), np.stack([x, y + height, width, height], -1)
    else:
        right, down = (width if columns > 1 else 0 * x), (height if rows > 1 else 0 * y)
        first, second = np.stack([x + right, y + down, width, height], -1), empty
    return np.stack([whole, first, second], 1)


def inset_area(window: tuple[int, int]) -> int:
    """Return the number of pixels of a window of (H, W) without its outermost ones."""
    return (window[0] - 2) * (window[1] - 2)


class Windows:
    """Windows of one size, integrated, to evaluate features on.

    Args:
        pixels: grey values.
    """

    def __init__(self, pixels: UInt8[np.ndarray, "N H W"]):
        self.pixels = pixels
        self.size = (pixels.shape[1], pixels.shape[2])
        entries = (len(pixels), (self.size[0] + 1) * (self.size[1] + 1))
        sums = integral_image(pixels).reshape(entries)  # N (H+1)(W+1)
        self.sums = np.ascontiguousarray(sums.T.astype(np.int32))  # (H+1)(W+1) N: equal entries lie side by side
        squares = squared_integral_image(pixels).reshape(entries)
        signs = np.array([1, -1, -1, 1])
        inset = as_offsets(np.array([1, 1, self.size[1] - 2, self.size[0] - 2]), self.size[1] + 1)
        total, total_of_squares = sums[:, inset] @ signs, squares[:, inset] @ signs
        spread = inset_area(self.size) * total_of_squares.astype(np.float64) - total.astype(np.float64) ** 2
        # area x standard deviation; one where nothing varies, as in OpenCV
        self.scale = np.where(spread > 0, 1 / np.sqrt(np.maximum(spread, 1)), 1).astype(np.float32)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> "Windows":
        return Windows(self.pixels[rows])

    def show_something(self) -> Bool[np.ndarray, " N"]:
        """Tell which windows have enough contrast to be looked at."""
        return inset_area(self.size) * self.scale.astype(np.float64) < 1 / LEAST_DEVIATION

    def values(self, features: HaarFeatures, *, normalised: bool = True) -> Float32[np.ndarray, "F N"]:
        """Evaluate upright features on all windows; without `normalised`, plain weighted sums of pixels.

        Raises:
            ValueError: if a feature is tilted or reaches beyond the window.
        """
        from vidi.detection.viola_jones import scanning_kernels

        if features.tilted.any() or features.outside(self.size).any():
            raise ValueError(f"received features that are tilted or reach beyond windows of {self.size}")
        offsets = as_offsets(features.rectangles, self.size[1] + 1).ravel()  # F 3 4 -> F*12
        scale = self.scale if normalised else np.ones_like(self.scale)
        values = np.empty((len(features), len(self)), np.float32)
        scanning_kernels.window_values(self.sums.ravel(), scale, offsets, features.weights.ravel(), values)
        return values


def describe(features: HaarFeatures) -> Iterator[str]:
    """Say in words what each feature compares: its rectangles with their weights."""
    for rectangles, weights, tilted in zip(features.rectangles, features.weights, features.tilted, strict=True):
        parts = [
            f"{weight:+g} x [x {x}, y {y}, {width} x {height}]"
            for (x, y, width, height), weight in zip(rectangles.tolist(), weights.tolist(), strict=True)
            if weight
        ]
        yield ("tilted " if tilted else "") + " ".join(parts)


def feature_counts(window: tuple[int, int] = (24, 24)) -> dict[str, int]:
    """Return how many features of each kind a window of (H, W) has, by the closed formula."""
    counts = {}
    for kind, (columns, rows, _) in KINDS.items():
        across = sum(window[1] - columns * width + 1 for width in range(1, window[1] // columns + 1))
        down = sum(window[0] - rows * height + 1 for height in range(1, window[0] // rows + 1))
        counts[kind] = across * down
    return counts
