"""PANet's neck: a feature pyramid, and a second way through it from the finest level up.

Liu, Qi, Qin, Shi, Jia 2018, "Path Aggregation Network for Instance Segmentation", arXiv 1803.01534, section 3.1; notes
4.A.

    maps       C3, C4, C5, B C_i h_i w_i each
    down       feature pyramid: P3, P4, P5 (P6, P7), each B D h_i w_i (vidi.necks.feature_pyramid)
    up         N3 = P3; N_i+1 = relu(3x3 convolution of (P_i+1 + relu(3x3 convolution of stride 2 of N_i)))
    out        N3, N4, N5 (N6, N7), each B D h_i w_i

What lies at a fine level reaches the coarsest in a few layers, where the backbone has dozens between them. The paper
has pyramids from P2 on and no norms; which levels come in is the caller's choice here. Its other half, pooling each
proposal from all levels, is a matter of heads.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.necks.feature_pyramid import Extra, FeaturePyramid


class PathAggregation(nn.Module):
    """Maps of a backbone, finest first, to as many maps of `channels` channels, and coarser extra levels.

    Args:
        in_channels: of the maps that come in.
        channels: of every map that goes out.
        extra: which coarser levels the feature pyramid adds, see there.

    Raises:
        ValueError: for another `extra`.
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 256, *, extra: Extra = "none"):
        super().__init__()
        self.channels = channels
        self.pyramid = FeaturePyramid(in_channels, channels, extra=extra)
        steps = len(self.pyramid.strides([1] * len(in_channels))) - 1
        self.down = nn.ModuleList([nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(steps)])
        self.smooth = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1) for _ in range(steps)])
        for conv in (*self.down, *self.smooth):
            nn.init.kaiming_uniform_(conv.weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def strides(self, base: Sequence[int]) -> tuple[int, ...]:
        """Return the strides of the maps that go out, given those of the maps that come in."""
        return self.pyramid.strides(base)

    def forward(self, maps: Sequence[Float[Tensor, "B _ _ _"]]) -> tuple[Float[Tensor, "B D _ _"], ...]:
        """Return the maps of the way up, finest level first.

        Raises:
            ValueError: if the number of maps is not that of `in_channels`.
        """
        finest, *coarser = self.pyramid(maps)
        levels = [finest]
        for down, smooth, p in zip(self.down, self.smooth, coarser, strict=True):
            levels.append(F.relu(smooth(p + F.relu(down(levels[-1])))))
        return tuple(levels)
