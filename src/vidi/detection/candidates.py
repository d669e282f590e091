"""What a detector's decoder collects before suppression."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int64
from torch import Tensor


class Candidates(NamedTuple):
    """Scored boxes of a batch before suppression, in fixed shapes; slots that are not valid mean nothing."""

    boxes: Float[Tensor, "B N 4"]  # xyxy, pixels of the canvas, clipped to the image
    scores: Float[Tensor, "B N"]
    labels: Int64[Tensor, "B N"]
    valid: Bool[Tensor, "B N"]
