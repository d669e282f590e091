"""What convolutional networks are made of: convolution, norm and activation as one unit; other convolutions."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.nn.normalization import NormLayer

Activation = Callable[[], nn.Module]
Side = Any  # an int: of pixels, or torch's formula for it while a network is exported
"""Makes an activation: `nn.ReLU`, `nn.SiLU`, `partial(nn.LeakyReLU, 0.1)`; `nn.Identity` for none."""


class ConvNorm(nn.Module):
    """A convolution without bias, a norm and an activation; an odd kernel keeps the size at stride 1."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int] = 1,  # rows, columns
        stride: int = 1,
        *,
        norm: NormLayer,
        activation: Activation = nn.ReLU,
        groups: int = 1,
        dilation: int = 1,
        padding: int | tuple[int, int] | None = None,  # None: half the kernel, dilated
        conv: Callable[..., nn.Conv2d] = nn.Conv2d,  # another kind, such as one that pads like TensorFlow
    ):
        super().__init__()
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        half = (rows // 2 * dilation, columns // 2 * dilation)
        self.conv = conv(
            in_channels,
            out_channels,
            (rows, columns),
            stride,
            padding=half if padding is None else padding,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        self.norm = norm(out_channels)
        self.activation = activation()
        if hasattr(self.activation, "inplace"):  # nothing else reads what the norm gave
            self.activation.inplace = True  # pyright: ignore[reportArgumentType]

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return self.activation(self.norm(self.conv(x)))


class SeparableConv2d(nn.Module):
    """A 3x3 depth-wise convolution without bias and a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool, dilation: int = 1):
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, padding=dilation, dilation=dilation, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        return self.pointwise(self.depthwise(x))


class SamePaddedConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow's "same" does: to ceil(H / stride) rows, and as evenly as that allows.

    What does not divide by two goes to the bottom and the right, so that with a stride the result depends on the size
    of the map; `nn.Conv2d` puts equally many zeros on all sides of any map.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        *,
        padding: object = None,  # means nothing here: for callers that give one to every kind
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation=dilation, groups=groups, bias=bias)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        reaches = [(k - 1) * d + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        sides = zip(x.shape[2:], reaches, self.stride, strict=True)
        rows, columns = (tensorflow_padding(side, reach, stride) for side, reach, stride in sides)
        return super().forward(F.pad(x, (*columns, *rows)))


def tensorflow_padding(side: Side, reach: int, stride: int) -> tuple[Side, Side]:
    """Return how many pixels TensorFlow's "same" puts before and behind a side of a map.

    Said by the number of outputs, so that sizes stay short formulas where a network is exported for all sizes.

    Args:
        side: of the map.
        reach: pixels that one output sees.
        stride: pixels from one output to the next.
    """
    outputs = (side + stride - 1) // stride
    total = (outputs - 1) * stride + reach - side
    total = total if reach >= stride else max(total, 0)
    return total // 2, total - total // 2
