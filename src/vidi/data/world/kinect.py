"""What the depth sensor of the first Kinect makes of true depth (Khoshelham & Elberink 2012, sections 2 and 3).

The sensor measures disparity, which is proportional to 1 / depth, with noise and in whole steps. So both the noise
and the steps of the depth grow with its square: 3 mm a step at 1 m, 7 cm at 5 m.
"""

import numpy as np
from jaxtyping import Float32

STEP = 2.85e-3  # of 1 / depth, per metre: 1 / (focal length x base) of the disparity's unit
NOISE = 0.5 * STEP  # standard deviation: half a unit of disparity


def measured_depth(depth: Float32[np.ndarray, "H W"], rng: np.random.Generator) -> Float32[np.ndarray, "H W"]:
    """Return depth in metres as the sensor reports it; pixels without depth (0) stay so.

    Args:
        depth: true depth, metres.
        rng: of the noise.
    """
    seen = depth > 0
    inverse = 1.0 / np.where(seen, depth, 1.0).astype(np.float64)
    steps = np.round((inverse + NOISE * rng.standard_normal(depth.shape)) / STEP)
    measured = 1.0 / (STEP * np.maximum(steps, 1.0))
    return np.where(seen, measured, 0.0).astype(np.float32)
