"""L2 pooling: the root of the summed squares of a window (Sermanet, Chintala, LeCun 2012, arXiv 1204.3968, equation 1).

Between the mean and the maximum: all pixels of a window count, the strong ones more. FaceNet has it in some places
where GoogLeNet has max pooling (notes 7.2.2). Differs from the paper: no Gaussian weights, as in FaceNet.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.losses.reduction import full_precision
from vidi.ops.similarity import root


class L2Pool2d(nn.Module):
    """The root of the summed squares of each window; an empty window is 0, with a gradient of 0.

    Args:
        kernel: side of the window.
        stride: from a window to the next; None: its side.
        padding: zeros around the map.
        ceil_mode: whether a last window that is not full counts as well.
    """

    def __init__(self, kernel: int, stride: int | None = None, *, padding: int = 0, ceil_mode: bool = False):
        super().__init__()
        self.kernel, self.stride = kernel, stride or kernel
        self.padding, self.ceil_mode = padding, ceil_mode

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        squares = full_precision(x).square()  # those of half precision overflow beyond 255
        sums = F.avg_pool2d(squares, self.kernel, self.stride, self.padding, self.ceil_mode, divisor_override=1)
        return root(sums).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.kernel}, stride={self.stride}, padding={self.padding}, ceil_mode={self.ceil_mode}"
