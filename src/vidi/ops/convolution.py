"""Convolutions written to be read: what the layers of torch compute, in the fewest operations that say it.

    plain        every window of the map times the kernel, summed         notes 2.1
    grouped      each chunk of channels has kernels of its own            notes 2.3, Krizhevsky et al. 2012
    depth-wise   as many groups as channels; separable: then a 1x1        notes 2.5, Howard et al. 2017, 1704.04861
    dilated      a kernel with holes                                      notes 5.1.5, Yu & Koltun 2016, 1511.07122
    transposed   every pixel stamps the kernel; K^T; fractional stride    notes 5.1.4, Dumoulin & Visin 2016, 1603.07285

As everywhere in deep learning these are correlations: kernels are not flipped. Nothing here is fast; networks use
`torch.nn`, tests and figures use this.

Differs from the notes: depth-wise separable convolutions save less than a factor of 9 for 3x3 kernels, not up to 10
(`separable_gain`); the transposed example that grows 3 pixels to 5 needs a padding of 1.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Size = tuple[int, int]


def convolve(
    x: Float[Tensor, "B C H W"], kernels: Float[Tensor, "D C ky kx"], *, stride: int = 1, padding: int = 0
) -> Float[Tensor, "B D h w"]:
    """Multiply each window of a map with each kernel and sum: y[d, j, i] = sum_cuv k[d, c, u, v] x[c, sj + u, si + v].

    Args:
        x: maps.
        kernels: one of C x ky x kx for each channel of the result.
        stride: pixels between neighbouring windows.
        padding: zeros on each side of the map.

    Raises:
        ValueError: if the channels do not agree, or no window fits.
    """
    if x.shape[1] != kernels.shape[1]:
        raise ValueError(f"received maps of {x.shape[1]} channels and kernels for {kernels.shape[1]}")
    rows, columns = kernels.shape[2:]
    padded = F.pad(x, (padding, padding, padding, padding))
    if padded.shape[2] < rows or padded.shape[3] < columns:
        received = f"a {rows} x {columns} kernel and a padded map of {padded.shape[2]} x {padded.shape[3]} pixels"
        raise ValueError(f"received {received}, expected a kernel that fits")
    windows = padded.unfold(2, rows, stride).unfold(3, columns, stride)  # B C h w ky kx
    return torch.einsum("bcjiuv,dcuv->bdji", windows, kernels)


# ----------------------------------------------------------------------------------------------------------------------
# Groups


def grouped_convolve(
    x: Float[Tensor, "B C H W"], kernels: Float[Tensor, "D _ ky kx"], groups: int, *, stride: int = 1, padding: int = 0
) -> Float[Tensor, "B D h w"]:
    """Cut the channels into `groups` chunks, convolve each with its own kernels, and put the results side by side.

    Weights and multiplications are 1 / groups of the plain ones.

    Args:
        x: maps.
        kernels: D / groups of them for each chunk, in the order of the chunks, with C / groups channels each.
        groups: a divisor of C and D.
        stride, padding: see `convolve`.

    Raises:
        ValueError: if the numbers of channels do not go together.
    """
    channels = x.shape[1]
    if groups < 1 or channels % groups or kernels.shape[0] % groups:
        received = f"{groups} groups of {channels} input and {kernels.shape[0]} output channels"
        raise ValueError(f"received {received}, expected a divisor of both")
    pairs = zip(x.chunk(groups, 1), kernels.chunk(groups), strict=True)
    return torch.cat([convolve(chunk, own, stride=stride, padding=padding) for chunk, own in pairs], 1)


def depthwise_convolve(
    x: Float[Tensor, "B C H W"], kernels: Float[Tensor, "D 1 ky kx"], *, stride: int = 1, padding: int = 0
) -> Float[Tensor, "B D h w"]:
    """Filter each channel on its own: a grouped convolution with as many groups as channels; D is a multiple of C."""
    return grouped_convolve(x, kernels, x.shape[1], stride=stride, padding=padding)


def separable_convolve(
    x: Float[Tensor, "B C H W"],
    depthwise: Float[Tensor, "C 1 ky kx"],
    pointwise: Float[Tensor, "D C 1 1"],
    *,
    stride: int = 1,
    padding: int = 0,
) -> Float[Tensor, "B D h w"]:
    """Filter each channel on its own, then combine the channels of each pixel (a point-wise, 1x1 convolution)."""
    return convolve(depthwise_convolve(x, depthwise, stride=stride, padding=padding), pointwise)


def separable_gain(out_channels: int, kernel: int) -> float:
    """Return how many times as much a plain convolution costs as a depth-wise separable one.

    The costs per pixel and input channel are out_channels * kernel^2 and kernel^2 + out_channels (Howard et al. 2017,
    section 3.1): the gain stays below kernel^2 and, as the notes do not say, below 9 for 3x3 kernels.
    """
    return 1 / (1 / out_channels + 1 / kernel**2)


# ----------------------------------------------------------------------------------------------------------------------
# Holes


def insert_zeros(x: Float[Tensor, "*N H W"], step: int) -> Float[Tensor, "*N h w"]:
    """Put step - 1 zeros between neighbouring pixels: h = (H - 1) step + 1."""
    rows, columns = x.shape[-2:]
    spread = x.new_zeros(*x.shape[:-2], (rows - 1) * step + 1, (columns - 1) * step + 1)
    spread[..., ::step, ::step] = x
    return spread


def dilated_convolve(
    x: Float[Tensor, "B C H W"],
    kernels: Float[Tensor, "D C ky kx"],
    dilation: int,
    *,
    stride: int = 1,
    padding: int = 0,
) -> Float[Tensor, "B D h w"]:
    """Convolve with inflated kernels: dilation - 1 zeros between their weights (notes 5.1.5)."""
    return convolve(x, insert_zeros(kernels, dilation), stride=stride, padding=padding)


# ----------------------------------------------------------------------------------------------------------------------
# Transposed, in three ways


def transposed_convolve(
    y: Float[Tensor, "B D h w"],
    kernels: Float[Tensor, "D C ky kx"],
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
) -> Float[Tensor, "B C H W"]:
    """Let every pixel stamp the kernel, times its value, on a larger map; where stamps overlap they add (notes 5.1.4).

    Args:
        y: maps; D are the output channels of the convolution that this is the transposed of.
        kernels: of that convolution.
        stride: pixels of the result between neighbouring stamps.
        padding: pixels that are cut off each side of the result, as that convolution added them.
        output_padding: rows and columns more at the bottom and the right: with a stride, several sizes of map give
            one size of result, and this chooses among them. H = (h - 1) stride - 2 padding + ky + output_padding.

    Raises:
        ValueError: if the output padding is not below the stride.
    """
    _check_output_padding(output_padding, stride)
    (h, w), (rows, columns) = y.shape[2:], kernels.shape[2:]
    H, W = (h - 1) * stride + rows + output_padding, (w - 1) * stride + columns + output_padding
    canvas = y.new_zeros(y.shape[0], kernels.shape[1], H, W)
    for j in range(h):
        for i in range(w):
            stamp = torch.einsum("bd,dcuv->bcuv", y[:, :, j, i], kernels)
            canvas[:, :, stride * j : stride * j + rows, stride * i : stride * i + columns] += stamp
    return canvas[:, :, padding : H - padding, padding : W - padding]


def convolution_matrix(
    kernels: Float[Tensor, "D C ky kx"], size: Size, *, stride: int = 1, padding: int = 0
) -> Float[Tensor, "Dhw CHW"]:
    """Return the matrix K of a convolution of maps of `size` (H, W): flat result = K flat map.

    Its column n is what the convolution makes of a map that is 1 at position n and 0 elsewhere.
    """
    C, (H, W) = kernels.shape[1], size
    units = torch.eye(C * H * W, dtype=kernels.dtype, device=kernels.device).unflatten(1, (C, H, W))
    return convolve(units, kernels, stride=stride, padding=padding).flatten(1).T


def transposed_by_matrix(
    y: Float[Tensor, "B D h w"],
    kernels: Float[Tensor, "D C ky kx"],
    size: Size,
    *,
    stride: int = 1,
    padding: int = 0,
) -> Float[Tensor, "B C H W"]:
    """Multiply with K^T, K being the matrix of the convolution of maps of `size` (H, W).

    Raises:
        ValueError: if that convolution does not give maps of y's size.
    """
    matrix = convolution_matrix(kernels, size, stride=stride, padding=padding)  # Dhw CHW
    if y[0].numel() != matrix.shape[0]:
        given = f"maps of {y[0].numel()} values"
        raise ValueError(f"received {given}, but the convolution of {size[0]} x {size[1]} gives {matrix.shape[0]}")
    return (y.flatten(1) @ matrix).unflatten(1, (kernels.shape[1], *size))  # each row: (K^T y)^T = y^T K


def fractionally_strided_convolve(
    y: Float[Tensor, "B D h w"],
    kernels: Float[Tensor, "D C ky kx"],
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
) -> Float[Tensor, "B C H W"]:
    """Put zeros between the pixels, then convolve with the kernels turned by 180 degrees: a stride of 1 / stride.

    Arguments and errors are those of `transposed_convolve`, and so is the result.
    """
    _check_output_padding(output_padding, stride)
    rows, columns = (length - 1 - padding for length in kernels.shape[2:])
    sides = (columns, columns + output_padding, rows, rows + output_padding)
    turned = kernels.flip(2, 3).transpose(0, 1)  # C D ky kx
    return convolve(F.pad(insert_zeros(y, stride), sides), turned)


def _check_output_padding(output_padding: int, stride: int) -> None:
    if not 0 <= output_padding < stride:
        raise ValueError(f"received output_padding={output_padding}, expected 0..{stride - 1}: less than the stride")
