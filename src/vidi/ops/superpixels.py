"""Superpixels: the graph of neighbouring pixels, cut where neighbours differ more than the regions beside them do.

Felzenszwalb & Huttenlocher 2004, Efficient Graph-Based Image Segmentation. Section 4.3.2 of the notes (the uniform
regions from which selective search starts).

    image H W (C) -> blur (sigma) -> edges to the 8 neighbours, a colour distance each -> edges by rising cost
                  -> join two regions unless the edge costs at least min(inner + scale / size) of both
                  -> join regions of fewer than min_size pixels to a neighbour -> labels H W, 0 to R-1

The numbers are scikit-image's, rounding and order of equal edges included, so the labels are the same. Differs from
the paper: equal edges come in NumPy's (unstable) order, and the edge between two regions must cost less than the bound,
not at most the bound. `PixelGraph` is public because it takes more time than a cut and serves every scale.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int32, Int64, Num
from scipy import ndimage


class PixelGraph(NamedTuple):
    """The edges between neighbouring pixels (numbered row by row) of an H x W image, by rising cost."""

    size: tuple[int, int]  # H, W
    costs: Float64[np.ndarray, " E"]  # colour distances
    pixels: Int32[np.ndarray, " E"]
    neighbours: Int32[np.ndarray, " E"]


def felzenszwalb(
    image: Num[np.ndarray, "H W *C"], *, scale: float | int = 1.0, sigma: float | int = 0.8, min_size: int = 20
) -> Int64[np.ndarray, "H W"]:
    """Cut an image into regions of little inner contrast (skimage.segmentation.felzenszwalb).

    `image` is uint8 or float in [0, 1], grey or with channels last. `scale` is the paper's k, the preference for large
    regions, on a colour range of 255; `sigma` the blur before, in pixels; `min_size` the least number of pixels of a
    region. The labels rise in the order in which the regions are first met, row by row.

    Raises:
        ValueError: if the image is empty, neither grey nor with channels, of another type or not finite, or if a
            number is negative.
    """
    return cut_graph(pixel_graph(image, sigma=sigma), scale=scale, min_size=min_size)


def pixel_graph(image: Num[np.ndarray, "H W *C"], *, sigma: float | int = 0.8) -> PixelGraph:
    """Blur an image and sort the edges between its pixels by the distance of their colours.

    Raises:
        ValueError: as `felzenszwalb`.
    """
    from vidi.ops import superpixels_kernels

    if not 0 <= sigma < np.inf:
        raise ValueError(f"received sigma {sigma}, expected a finite number of pixels from 0")
    blurred = _blur(_as_float(image), float(sigma))
    costs, pixels, neighbours = superpixels_kernels.connect(blurred)
    order = np.argsort(costs)  # not stable, as in scikit-image: the order of equal edges decides among equal colours
    return PixelGraph((blurred.shape[0], blurred.shape[1]), costs[order], pixels[order], neighbours[order])


def cut_graph(graph: PixelGraph, *, scale: float | int, min_size: int) -> Int64[np.ndarray, "H W"]:
    """Grow regions along the edges by rising cost and return their labels, as `felzenszwalb` does.

    Raises:
        ValueError: if `scale` or `min_size` is negative.
    """
    from vidi.ops import superpixels_kernels

    if not 0 <= scale < np.inf or min_size < 0:
        raise ValueError(f"received scale {scale} and min_size {min_size}, expected finite numbers from 0")
    H, W = graph.size
    labels = superpixels_kernels.cut(
        graph.costs, graph.pixels, graph.neighbours, H * W, float(scale) / 255.0, int(min_size)
    )
    return labels.reshape(H, W)


def _as_float(image: np.ndarray) -> np.ndarray:
    """Return H W C in float64; bytes become [0, 1], multiplied as in scikit-image because a division rounds else."""
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"received an image of shape {image.shape}, expected H W or H W C without an empty axis")
    if image.dtype == np.uint8:
        exact = image * (1.0 / 255)
    elif image.dtype.kind == "f":
        exact = image.astype(np.float64)
        if not np.isfinite(exact).all():
            raise ValueError("received an image with NaN or infinite values, expected finite ones")
    else:
        raise ValueError(f"received an image of {image.dtype}, expected uint8 or a float type")
    return exact.reshape(*image.shape[:2], -1)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return np.ascontiguousarray(ndimage.gaussian_filter(image, sigma=(sigma, sigma, 0)))
