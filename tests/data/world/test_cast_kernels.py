"""The intersections of rays with unit shapes against a slow march along the ray."""

import numpy as np
import pytest

from vidi.data.world.cast_kernels import hit
from vidi.data.world.solids import BOX, CAPSULE, CONE, CYLINDER, SPHERE

RATIO = 1.5


def is_inside(kind: int, q: np.ndarray) -> np.ndarray:
    """Tell whether points (... 3) lie in the unit shape, straight from its definition."""
    x, y, z = np.moveaxis(q, -1, 0)
    if kind == SPHERE:
        return x**2 + y**2 + z**2 <= 1
    if kind == BOX:
        return np.abs(q).max(-1) <= 1
    if kind == CYLINDER:
        return (x**2 + z**2 <= 1) & (np.abs(y) <= 1)
    if kind == CONE:
        return (np.abs(y) <= 1) & (x**2 + z**2 <= ((y + 1) / 2) ** 2)
    return x**2 + (y - y.clip(-RATIO, RATIO)) ** 2 + z**2 <= 1


@pytest.mark.parametrize("kind", [SPHERE, BOX, CYLINDER, CONE, CAPSULE])
def test_a_ray_enters_where_a_march_along_it_first_gets_inside(kind):
    rng = np.random.default_rng(kind)
    starts = rng.standard_normal((400, 3))
    starts *= 5.0 / np.linalg.norm(starts, axis=1, keepdims=True)
    directions = rng.uniform(-1.2, 1.2, (400, 3)) - starts
    marks = np.linspace(0.0, 2.0, 8001)
    met = 0
    for start, direction in zip(starts, directions, strict=True):
        inside = is_inside(kind, start + marks[:, None] * direction)
        t = hit(kind, RATIO, *start, *direction)
        if inside.sum() > 2:
            met += 1
            assert abs(t - marks[inside.argmax()]) < 3e-4
        elif not inside.any() and 0 < t < np.inf:  # a graze shorter than the march's step
            assert is_inside(kind, (start + t * direction) * (1 - 1e-9)) or kind == CONE
            assert not is_inside(kind, start + (t + 1e-3) * direction)
    assert met > 100


@pytest.mark.parametrize("kind", [SPHERE, BOX, CYLINDER, CONE, CAPSULE])
def test_a_shape_behind_the_ray_is_not_ahead(kind):
    assert not 0 < hit(kind, RATIO, 0.1, 0.2, 5.0, 0.01, 0.02, 1.0) < np.inf
