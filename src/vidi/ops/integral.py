"""Integral images: after one pass over the pixels the sum over any rectangle takes four look-ups.

Crow 1984; Viola & Jones 2001; Lienhart & Maydt 2002 for rectangles turned by 45 degrees. Section 4.2.2 of the notes.

    image H W -> integral H+1 W+1 -> sum over x, y, width, height = II(A) - II(B) - II(C) + II(D)

A is the bottom-right corner, B and C are its neighbours and D is the top-left corner. Differs from the notes: one row
and one column of zeros go before the image, so that corners are exclusive at the top and the left, as in OpenCV, and a
rectangle at the border is no special case; `integral[1:, 1:]` is the integral image of the notes.
"""

import numpy as np
from jaxtyping import Int, Int32, Int64, Num, UInt8


def integral_image(image: Num[np.ndarray, "*B H W"]) -> Num[np.ndarray, "*B H+1 W+1"]:
    """Sum the pixels above and to the left of every corner; int64 for integers, float64 for floats."""
    exact = np.int64 if image.dtype.kind in "biu" else np.float64
    integral = np.zeros((*image.shape[:-2], image.shape[-2] + 1, image.shape[-1] + 1), exact)
    inside = integral[..., 1:, 1:]
    np.cumsum(image, axis=-2, dtype=exact, out=inside)
    np.cumsum(inside, axis=-1, out=inside)
    return integral


def squared_integral_image(image: Num[np.ndarray, "*B H W"]) -> Num[np.ndarray, "*B H+1 W+1"]:
    """Sum the squared pixels; with `integral_image` it gives the variance of any rectangle."""
    exact = np.int64 if image.dtype.kind in "biu" else np.float64
    return integral_image(np.square(image.astype(exact)))


def byte_integrals(
    image: UInt8[np.ndarray, "H W"],
) -> tuple[Int32[np.ndarray, "H+1 W+1"], Int64[np.ndarray, "H+1 W+1"]]:
    """Return the integral images of the pixels and of their squares in one compiled pass, by the recursive form.

    The sums are int32, which halves what a scan reads. Those of images above 8 million pixels wrap around; differences
    that wrap around again are right for every rectangle of fewer pixels.
    """
    from vidi.ops import integral_kernels

    H, W = image.shape
    sums = np.zeros((H + 1, W + 1), np.int32)
    squares = np.zeros((H + 1, W + 1), np.int64)
    integral_kernels.integrate(np.ascontiguousarray(image), sums, squares)
    return sums, squares


def tilted_integral_image(image: Num[np.ndarray, "H W"]) -> Num[np.ndarray, "H+1 W+1"]:
    """Sum the pixels in the cone that opens upwards, at 45 degrees to both sides, from above every corner.

    The value at row Y and column X is the sum over all pixels (y, x) with y < Y and |x - X + 1| <= Y - y - 1, as in
    OpenCV. Each row follows from the two before it.
    """
    H, W = image.shape
    exact = np.int64 if image.dtype.kind in "biu" else np.float64
    pixels = np.zeros((H + 1, W + 1), exact)  # pixels[Y, X]: the pixel whose bottom-right corner is (Y, X)
    pixels[1:, 1:] = image
    tilted = np.zeros((H + 1, W + 1), exact)
    for Y in range(1, H + 1):
        above = tilted[Y - 1]
        second = tilted[Y - 2] if Y > 1 else np.zeros(W + 1, exact)
        # a cone whose tip lies one column outside the image equals that of the border column, one row higher
        left, right = np.append(second[:1], above[:-1]), np.append(above[1:], second[-1:])
        tilted[Y] = left + right - second + pixels[Y] + pixels[Y - 1]
    return tilted


def rectangle_sum(
    integral: Num[np.ndarray, "P Q"], x: object, y: object, width: object, height: object
) -> np.ndarray | np.number:
    """Return the sum over the pixels of upright rectangles; whole numbers or arrays of them that broadcast."""
    left, top = np.asarray(x), np.asarray(y)
    right, bottom = left + np.asarray(width), top + np.asarray(height)
    return integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]


def tilted_rectangle_sum(
    tilted: Num[np.ndarray, "P Q"], x: object, y: object, width: object, height: object
) -> np.ndarray | np.number:
    """Return the sum over rectangles turned by 45 degrees about their top corner (x, y).

    The side of length `width` runs down to the right, that of length `height` down to the left.
    """
    x, y, width, height = (np.asarray(value) for value in (x, y, width, height))
    top, left = tilted[y, x], tilted[y + height, x - height]
    right, bottom = tilted[y + width, x + width], tilted[y + width + height, x + width - height]
    return top - left - right + bottom


def dealt_columns(integral: Num[np.ndarray, "P Q"], step: int) -> Num[np.ndarray, "P V"]:
    """Order the columns by their remainder after division by `step`: 0, step, 2 step, ..., 1, step + 1, ...

    Look-ups of windows that are `step` columns apart then lie side by side. Every remainder gets as many columns; those
    that the image lacks are 0.
    """
    if step == 1:
        return integral
    rows, columns = integral.shape
    each = -(-columns // step)
    padded = np.zeros((rows, each * step), integral.dtype)
    padded[:, :columns] = integral
    return np.ascontiguousarray(padded.reshape(rows, each, step).swapaxes(1, 2)).reshape(rows, each * step)


def as_offsets(
    rectangles: Int[np.ndarray, "*F 4"], columns: int, *, step: int = 1, tilted: bool = False
) -> Int32[np.ndarray, "*F 4"]:
    """Return where the four look-ups of rectangles (x, y, width, height) lie in a flat integral image.

    The first and the last count positive, the two between them negative. `columns` is the width of the integral image,
    `step` that of its `dealt_columns`.
    """
    x, y, width, height = np.moveaxis(rectangles.astype(np.int64), -1, 0)
    if tilted:
        corners = ((x, y), (x - height, y + height), (x + width, y + width), (x + width - height, y + width + height))
    else:
        corners = ((x, y), (x + width, y), (x, y + height), (x + width, y + height))
    each = -(-columns // step)
    places = [row * each * step + column % step * each + column // step for column, row in corners]
    return np.stack(places, -1).astype(np.int32)
