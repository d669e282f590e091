"""Patterns painted on the unit shapes, and the noise of ground and clouds.

A pattern loses its contrast as the footprint of a pixel nears its period, so that no picture aliases and two views of
a point agree.
"""

import math
from typing import no_type_check

import numpy as np
from numba import njit

from vidi.data.world.compiling import INNER
from vidi.data.world.names import PATTERNS
from vidi.data.world.solids import BOX, CAPSULE, CONE, CYLINDER

NOISE = np.random.default_rng(64).random((64, 64))
STRIPED, CHECKED, DOTTED, MARBLED, FACE = range(1, len(PATTERNS))


@njit(cache=True, **INNER)
@no_type_check
def clip(value):
    """Clip to [0, 1]."""
    return min(max(value, 0.0), 1.0)


@njit(cache=True, **INNER)
@no_type_check
def noise_2d(x, y):
    """Smooth noise in [0, 1] with cells of side 1."""
    fx, fy = math.floor(x), math.floor(y)
    i, j = int(fx), int(fy)
    u, v = x - fx, y - fy
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    top = NOISE[j & 63, i & 63] * (1.0 - u) + NOISE[j & 63, (i + 1) & 63] * u
    bottom = NOISE[(j + 1) & 63, i & 63] * (1.0 - u) + NOISE[(j + 1) & 63, (i + 1) & 63] * u
    return top * (1.0 - v) + bottom * v


@njit(cache=True, **INNER)
@no_type_check
def noise_3d(x, y, z):
    """Smooth noise in [0, 1] with cells of side 1: two layers of the plane noise, far apart, blended."""
    layer = math.floor(z)
    w = z - layer
    w = w * w * (3.0 - 2.0 * w)
    return (
        noise_2d(x + 17.0 * layer, y + 29.0 * layer) * (1.0 - w)
        + noise_2d(x + 17.0 * (layer + 1.0), y + 29.0 * (layer + 1.0)) * w
    )


@njit(cache=True, **INNER)
@no_type_check
def _edge(wave, footprint):
    """Turn a wave (slope 1 at its zeros) into two colours, sharp to a pixel; grey where a pixel spans its period."""
    gain = min(4.0, 1.0 / footprint)
    fade = clip((2.2 - footprint) / 1.4)
    return 0.5 + fade * (clip(0.5 + wave * gain) - 0.5)


@njit(cache=True, **INNER)
@no_type_check
def pattern_share(pattern, frequency, x, y, z, footprint):
    """Give the share of the second colour at a point of the unit shape; the footprint of the pixel is in its units."""
    k = math.pi * frequency
    if pattern == STRIPED:
        return _edge(math.sin(k * y), k * footprint)
    if pattern == CHECKED:
        return _edge(math.cos(k * (x - 1.0)) * math.cos(k * (y - 1.0)) * math.cos(k * (z - 1.0)), k * footprint)
    if pattern == DOTTED:
        total = math.cos(k * (x - 1.0)) + math.cos(k * (y - 1.0)) + math.cos(k * (z - 1.0))
        fade = clip((2.2 - k * footprint) / 1.4)
        return 0.2 + fade * (clip(0.5 + (total - 1.5) * min(3.0, 1.0 / (k * footprint))) - 0.2)
    if pattern == MARBLED:
        wave = math.sin(k * (y + 0.5 * x) + 7.0 * noise_3d(1.5 * x + 9.0, 1.5 * y + 5.0, 1.5 * z + 3.0))
        return _edge(wave, 2.0 * k * footprint)
    if pattern == FACE:
        hair = clip(0.5 + max(-0.42 - y, 0.18 - z + 0.35 * y) / (footprint + 0.02))
        eyes = 0.0
        if z > 0.0:
            away = math.sqrt((abs(x) - 0.36) ** 2 + (y + 0.05) ** 2)
            eyes = clip(0.5 + (0.15 - away) / (footprint + 0.02))
        return max(hair, eyes)
    return 0.0


@njit(cache=True, **INNER)
@no_type_check
def unit_normal(kind, ratio, x, y, z):
    """Give the outward normal at a point of the surface of a unit shape (not normalised)."""
    if kind == BOX:
        ax, ay, az = abs(x), abs(y), abs(z)
        if ax >= ay and ax >= az:
            return x, 0.0, 0.0
        return (0.0, y, 0.0) if ay >= az else (0.0, 0.0, z)
    if kind == CYLINDER:
        return (0.0, y, 0.0) if abs(y) > 1.0 - 1e-5 else (x, 0.0, z)
    if kind == CONE:
        return (0.0, y, 0.0) if y > 1.0 - 1e-5 else (x, -0.25 * (y + 1.0), z)
    if kind == CAPSULE:
        return x, y - min(max(y, -ratio), ratio), z
    return x, y, z
