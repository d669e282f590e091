"""The unit that convolutional networks are made of: convolution, norm, activation."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from vidi.nn.normalization import NormLayer

Activation = Callable[[], nn.Module]
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
        padding: int | tuple[int, int] | None = None,  # None: half the kernel
        conv: Callable[..., nn.Conv2d] = nn.Conv2d,  # another kind, such as one that pads like TensorFlow
    ):
        super().__init__()
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        half = (rows // 2, columns // 2)
        self.conv = conv(
            in_channels,
            out_channels,
            (rows, columns),
            stride,
            padding=half if padding is None else padding,
            groups=groups,
            bias=False,
        )
        self.norm = norm(out_channels)
        self.activation = activation()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return self.activation(self.norm(self.conv(x)))
