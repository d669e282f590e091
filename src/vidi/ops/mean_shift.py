"""Mean shift: the modes of a weighted density of points (Comaniciu & Meer 2002; Cheng 1995; notes 5.1.1).

A point moves to the mean of the points around it, each weighted by its own weight and by a kernel of its distance, over
and over; where it comes to rest is a mode. A mean over all points would be drawn away by a few outliers, a mode is not.

    gaussian  exp(-|x / b|^2), as Shotton et al. 2011 (equation 7): climbs the density of this same kernel
    flat      1 within b, 0 beyond, as scikit-learn: climbs the density of the Epanechnikov kernel max(0, 1 - |x / b|^2)

For the shift is along the gradient of the density whose kernel, as a function of the squared distance, has the
weighting kernel as its negative slope: the Gaussian is its own slope, that of 1 - r is flat. Near a mode the Gaussian
of b weighs points as far as 2 b; so its modes of a bandwidth b are smoother than the flat kernel's.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

Kernel = Literal["gaussian", "flat"]
Starts = Literal["points", "cells"]


class Modes(NamedTuple):
    """M modes, the densest first."""

    centres: Float64[Tensor, "M D"]
    density: Float64[Tensor, " M"]  # sum of the weights times the kernel at the centre
    mass: Float64[Tensor, " M"]  # sum of the weights of the points that came to it
    assignment: Int64[Tensor, " N"]  # the mode of each point


def mean_shift(
    points: Float[Tensor, "N D"],
    bandwidth: float,
    *,
    weights: Float[Tensor, " N"] | None = None,
    kernel: Kernel = "gaussian",
    starts: Starts = "points",
    tolerance: float = 1e-3,
    rounds: int = 300,
) -> Modes:
    """Find the modes that points come to.

    Args:
        points: of which the density is.
        bandwidth: b, in their unit.
        weights: of the points, not negative; None: equal ones.
        kernel: see above.
        starts: climb from every point, or from every cell of a grid of step `bandwidth` that holds one, and let the
            points of a cell go with it: faster by how many they are.
        tolerance: of b by which a point must still move to go on.
        rounds: most moves of a point.

    Modes within `bandwidth` of a denser one are one with it.

    Raises:
        ValueError: if numbers are missing, negative or not positive where they must be.
    """
    from vidi.ops import mean_shift_kernels

    for name, choices in ((kernel, get_args(Kernel)), (starts, get_args(Starts))):
        if name not in choices:
            raise ValueError(f"received {name!r}, expected {' or '.join(choices)}")
    if bandwidth <= 0 or rounds < 1:
        raise ValueError(f"received bandwidth={bandwidth} and rounds={rounds}, expected more than 0, at least 1")
    x = np.ascontiguousarray(points.detach().cpu().double().numpy())
    w = np.ones(len(x)) if weights is None else weights.detach().cpu().double().numpy()
    if len(w) != len(x) or not np.isfinite(x).all() or not (np.isfinite(w) & (w >= 0)).all():
        raise ValueError(f"received {len(w)} weights of {len(x)} points, expected as many, finite and not negative")
    begun, own = x, np.arange(len(x))
    if starts == "cells" and len(x):
        cells, own = np.unique(np.round(x / bandwidth), axis=0, return_inverse=True)
        begun, own = cells * bandwidth, own.ravel()
    ended, density = mean_shift_kernels.climb(x, w, begun, bandwidth, kernel == "gaussian", tolerance, rounds)
    centres, heights, nearest = _merged(ended, density, bandwidth)
    assignment = nearest[own]
    mass = np.bincount(assignment, weights=w, minlength=len(centres))
    return Modes(*(torch.from_numpy(np.ascontiguousarray(part)) for part in (centres, heights, mass, assignment)))


def _merged(ended: np.ndarray, density: np.ndarray, bandwidth: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep of the ends of the climbs those that no denser one is near; of equal ones the one of larger coordinates.

    Also the number of the kept one that each end is nearest to.
    """
    order = np.lexsort((*ended.T[::-1], density))[::-1]
    kept: list[int] = []
    for end in order:
        if (((ended[kept] - ended[end]) ** 2).sum(1) > bandwidth**2).all():
            kept.append(int(end))
    centres = ended[kept].reshape(-1, ended.shape[1])
    away = ((ended[:, None] - centres[None]) ** 2).sum(2)  # N M
    return centres, density[kept], away.argmin(1) if len(kept) else np.zeros(0, np.int64)
