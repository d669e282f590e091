"""Angles as eight numbers: two bins that overlap, in each whether the angle lies in it, and its sine and cosine there.

Mousavian et al. 2017 (arXiv 1612.00496), in the form of Zhou et al. 2019 (CenterNet, arXiv 1904.07850, appendix). A
network that regressed the angle itself would have to jump between -pi and pi.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vidi.ops.boxes_3d import wrap_angles

CENTRES = (-math.pi / 2, math.pi / 2)  # of the bins
REACH = 2 * math.pi / 3  # of a bin to both sides: [-7 pi / 6, pi / 6] and [-pi / 6, 7 pi / 6]
NUMBERS = 4 * len(CENTRES)  # per bin the logits of "not here" and "here", sine and cosine


def encode_angles(angles: Float[Tensor, " N"]) -> tuple[Bool[Tensor, "N 2"], Float[Tensor, "N 2 2"]]:
    """Return in which bins angles lie, and the sine and cosine of their distance to the middle of each bin."""
    away = wrap_angles(angles[:, None] - angles.new_tensor(CENTRES))  # N 2
    return away.abs() <= REACH, torch.stack((away.sin(), away.cos()), 2)


def decode_angles(numbers: Float[Tensor, "N 8"]) -> Float[Tensor, " N"]:
    """Return the angles in [-pi, pi) that a network means by eight numbers: those of the more probable bin."""
    bins = numbers.unflatten(1, (len(CENTRES), 4))
    logits, sines, cosines = bins[..., :2], bins[..., 2], bins[..., 3]
    best = (logits[..., 1] - logits[..., 0]).argmax(1, keepdim=True)  # the softmax rises with the difference
    angles = torch.atan2(sines, cosines) + numbers.new_tensor(CENTRES)
    return wrap_angles(angles.gather(1, best)[:, 0])
