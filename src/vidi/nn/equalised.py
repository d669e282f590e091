"""Layers of ProGAN and StyleGAN: one rate of learning for all weights, and normalisation without statistics.

    equalised      weights are N(0, 1); what the layer multiplies with is weight x gain / sqrt(fan-in), the constant of
                   He's initialisation, so that Adam moves all of them equally fast
    pixel norm     a / sqrt(mean over channels of a^2 + 1e-8), at each pixel
    deviation      one more channel: the deviation over the minibatch, averaged over channels and pixels

Karras et al. 2018, arXiv 1710.10196, sections 3 and 4; the multiplier of a rate: Karras et al. 2019, arXiv 1812.04948.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

GAIN = math.sqrt(2)
"""Of a layer that a ReLU follows (He et al. 2015); 1 before nothing."""

SLOPE = 0.2
"""Of the leaky ReLUs."""

EPS = 1e-8


class EqualisedConv2d(nn.Module):
    """A convolution of stride 1 with an equalised rate.

    Args:
        inside, outside: channels.
        kernel: pixels a side.
        padding: pixels; None: as many as keep the size.
        gain: of what follows.
        bias: whether it adds one to each channel.
    """

    def __init__(
        self,
        inside: int,
        outside: int,
        kernel: int,
        *,
        padding: int | None = None,
        gain: float | int = GAIN,
        bias: bool = True,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outside)) if bias else None
        self.scale = gain / math.sqrt(inside * kernel**2)
        self.padding = kernel // 2 if padding is None else padding

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K h w"]:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class EqualisedLinear(nn.Module):
    """A linear layer with an equalised rate.

    Args:
        inside, outside: numbers.
        gain: of what follows.
        rate: what a learning rate is multiplied by for this layer.
        bias: of each number before training.
    """

    def __init__(
        self, inside: int, outside: int, *, gain: float | int = GAIN, rate: float | int = 1, bias: float | int = 0
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outside, inside) / rate)
        self.bias = nn.Parameter(torch.full((outside,), bias / rate))
        self.scale, self.rate = gain * rate / math.sqrt(inside), rate

    def forward(self, x: Float[Tensor, "*N D"]) -> Float[Tensor, "*N K"]:
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


def pixel_norm(x: Float[Tensor, "B C *N"]) -> Float[Tensor, "B C *N"]:
    """Return features whose root mean square over channels is 1."""
    return x / (x.square().mean(1, keepdim=True) + EPS).sqrt()


def with_deviation(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C+1 H W"]:
    """Add a channel that tells how various the minibatch is, so that a generator that repeats itself is found out."""
    deviation = (x.var(0, correction=0) + EPS).sqrt().mean()
    return torch.cat([x, deviation.expand(len(x), 1, *x.shape[2:])], 1)


def leaky(x: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Return a leaky ReLU of slope 0.2."""
    return F.leaky_relu(x, SLOPE)
