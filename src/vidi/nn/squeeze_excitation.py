"""Squeeze and excitation: channels weighted by what all of them saw (Hu et al. 2018, arXiv 1709.01507; notes 2.4).

The squeezed width is a number of its own: SENet has a sixteenth of the channels that the layer acts on, EfficientNet
and RegNet a quarter of those at the block's *input*, of which there may be several times as few.
"""

from jaxtyping import Float
from torch import Tensor, nn

from vidi.nn.convolution import Activation


class SqueezeExcitation(nn.Module):
    """Scale each channel by a gate in (0, 1) that sees all channels, averaged over the map (Hu et al. 2018, eq. 2-4).

    The two fully connected layers are 1x1 convolutions of the 1x1 map.
    """

    def __init__(self, channels: int, squeezed: int, activation: Activation = nn.ReLU):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation()
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def gate(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C 1 1"]:
        """Return the factor of each channel."""
        squeezed = x.mean((2, 3), keepdim=True)  # B C 1 1
        return self.fc2(self.activation(self.fc1(squeezed))).sigmoid()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x * self.gate(x)
