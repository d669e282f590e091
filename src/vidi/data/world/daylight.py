"""Daylight and ground: one distant sun, a soft sky and the two shades of the ground."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from vidi.data.world.names import GROUND_NAMES, GROUNDS


class Daylight(NamedTuple):
    """Everything that lights a scene; colours are linear RGB."""

    sun: Float64[np.ndarray, " 3"]  # unit vector towards the sun (y points down)
    sunlight: Float64[np.ndarray, " 3"]
    skylight: Float64[np.ndarray, " 3"]
    zenith: Float64[np.ndarray, " 3"]
    horizon: Float64[np.ndarray, " 3"]
    ground: Float64[np.ndarray, "2 3"]  # light and dark shade
    offset: Float64[np.ndarray, " 3"]  # shifts the noise of ground (x, z) and clouds
    clouds: float  # 0 = clear
    has_ground: bool


def draw_daylight(rng: np.random.Generator) -> tuple[Daylight, str]:
    """Draw the light of a scene and its ground, whose name comes second."""
    # The sun stands beside or behind the camera, so that things turn their bright sides to it.
    elevation, azimuth = np.deg2rad(rng.uniform(32.0, 68.0)), np.deg2rad(rng.uniform(160.0, 380.0))
    warmth = 1.0 - (elevation - 0.56) / 0.63
    level = np.cos(elevation)
    name = GROUND_NAMES[int(rng.integers(len(GROUND_NAMES)))]
    blue = rng.uniform(0.85, 1.1)
    light = Daylight(
        sun=np.array((level * np.cos(azimuth), -np.sin(elevation), level * np.sin(azimuth))),
        sunlight=np.array((0.74, 0.70 - 0.06 * warmth, 0.64 - 0.14 * warmth)),
        skylight=np.array((0.42, 0.45, 0.50)),
        zenith=np.array((0.25, 0.50 * blue, 0.86)),
        horizon=np.array((0.80, 0.88, 0.96)) + 0.06 * warmth * np.array((1.0, 0.1, -1.0)),
        ground=np.array(GROUNDS[name]) * rng.uniform(0.92, 1.05),
        offset=rng.uniform(0.0, 64.0, 3),
        clouds=max(0.0, float(rng.uniform(-0.4, 0.8))),
        has_ground=True,
    )
    return light, name
