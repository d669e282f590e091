"""Casting rays on solids: the nearest hit of every pixel, and whether something stands between two points.

A ray is origin + t * direction in the coordinates of the unit shape. For camera rays the direction is (x, y, 1) in
the camera's frame, so t is the depth.
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np
from numba import njit

from vidi.data.world.compiling import CALLED_FROM_PYTHON, INNER
from vidi.data.world.solids import BOX, CAPSULE, CYLINDER, SPHERE

NEAR = 0.05  # metres; nothing nearer is drawn


class Frames(NamedTuple):
    """Where P solids stand with respect to a camera."""

    to_unit: np.ndarray  # P 3 3: world directions to unit-shape directions
    origin: np.ndarray  # P 3: the camera in unit-shape coordinates
    ray: np.ndarray  # P 3 3: camera directions to unit-shape directions
    window: np.ndarray  # P 4: rows and columns that may see the solid: top, bottom, left, right (ends exclusive)


@njit(cache=True, **CALLED_FROM_PYTHON)
@no_type_check
def hit(kind, ratio, ox, oy, oz, dx, dy, dz):
    """Give the t at which a ray enters a unit shape, or infinity; negative when the origin lies inside or beyond."""
    if kind == SPHERE:
        return _hit_ball(ox, oy, oz, dx, dy, dz)
    if kind == CAPSULE:
        return _hit_capsule(ratio, ox, oy, oz, dx, dy, dz)
    if kind == BOX:
        enter, leave = _slab(ox, dx, -math.inf, math.inf)
        enter, leave = _slab(oy, dy, enter, leave)
        enter, leave = _slab(oz, dz, enter, leave)
        return enter if enter <= leave else math.inf
    if kind == CYLINDER:
        a, b, c = dx * dx + dz * dz, ox * dx + oz * dz, ox * ox + oz * oz - 1.0
        square = b * b - a * c
        if square < 0.0:
            return math.inf
        root = math.sqrt(square)
        enter, leave = _slab(oy, dy, (-b - root) / a, (-b + root) / a)
        return enter if enter <= leave else math.inf
    return _hit_cone(ox, oy, oz, dx, dy, dz)


@njit(cache=True, **INNER)
@no_type_check
def _slab(origin, direction, enter, leave):
    inverse = 1.0 / direction
    first, second = (-1.0 - origin) * inverse, (1.0 - origin) * inverse
    return max(enter, min(first, second)), min(leave, max(first, second))


@njit(cache=True, **INNER)
@no_type_check
def _hit_ball(ox, oy, oz, dx, dy, dz):
    a, b = dx * dx + dy * dy + dz * dz, ox * dx + oy * dy + oz * dz
    square = b * b - a * (ox * ox + oy * oy + oz * oz - 1.0)
    if square < 0.0:
        return math.inf
    return (-b - math.sqrt(square)) / a


@njit(cache=True, **INNER)
@no_type_check
def _hit_capsule(ratio, ox, oy, oz, dx, dy, dz):
    a, b, c = dx * dx + dz * dz, ox * dx + oz * dz, ox * ox + oz * oz - 1.0
    square = b * b - a * c
    if square < 0.0:
        return math.inf
    height = oy + dy * (-b - math.sqrt(square)) / a
    if abs(height) <= ratio:
        return (-b - math.sqrt(square)) / a
    return _hit_ball(ox, oy - math.copysign(ratio, height), oz, dx, dy, dz)


@njit(cache=True, **INNER)
@no_type_check
def _hit_cone(ox, oy, oz, dx, dy, dz):
    """Enter through the mantle x^2 + z^2 = ((y + 1) / 2)^2 with |y| <= 1, or through the base y = 1."""
    nearest = math.inf
    t = (1.0 - oy) / dy
    x, z = ox + t * dx, oz + t * dz
    if x * x + z * z <= 1.0:
        nearest = t
    rise = oy + 1.0
    a = dx * dx + dz * dz - 0.25 * dy * dy
    b = ox * dx + oz * dz - 0.25 * rise * dy
    square = b * b - a * (ox * ox + oz * oz - 0.25 * rise * rise)
    if square < 0.0:
        return nearest
    root = math.sqrt(square)
    for sign in (-1.0, 1.0):
        t = (-b + sign * root) / a
        if t < nearest and abs(oy + t * dy) <= 1.0:
            nearest = t
    return nearest


@njit(cache=True, **INNER)
@no_type_check
def bounding_radius(kind, right, down, forward, ratio):
    """Give the radius of a ball around a solid with these half extents, metres."""
    if kind == SPHERE:
        return max(right, down, forward)
    if kind == CAPSULE:
        return max(right, down, forward) + ratio * down
    if kind == BOX:
        return math.sqrt(right * right + down * down + forward * forward)
    return math.sqrt(max(right, forward) ** 2 + down * down)


@njit(cache=True, **INNER)
@no_type_check
def frame_solids(solids, view):
    """Express the camera and its rays in the coordinates of every solid, and bound the solid's pixels."""
    count = len(solids.kind)
    to_unit, origin, ray = np.empty((count, 3, 3)), np.empty((count, 3)), np.empty((count, 3, 3))
    window = np.empty((count, 4), np.int64)
    for p in range(count):
        for a in range(3):
            for b in range(3):
                to_unit[p, a, b] = solids.rotation[p, b, a] / solids.half[p, a]
        for a in range(3):
            origin[p, a] = 0.0
            for b in range(3):
                origin[p, a] += to_unit[p, a, b] * (view.position[b] - solids.centre[p, b])
                ray[p, a, b] = 0.0
                for c in range(3):
                    ray[p, a, b] += to_unit[p, a, c] * view.rotation[c, b]
        _bound_pixels(solids, p, view, window)
    return Frames(to_unit, origin, ray, window)


@njit(cache=True, **INNER)
@no_type_check
def _bound_pixels(solids, p, view, window):
    """Bound the pixels of a solid by the projected corners of the box around it."""
    left, right, top, bottom = math.inf, -math.inf, math.inf, -math.inf
    behind = 0
    for corner in range(8):
        x = solids.half[p, 0] * (1.0 if corner & 1 else -1.0)
        y = solids.half[p, 1] * (1.0 if corner & 2 else -1.0) * (1.0 + solids.ratio[p])
        z = solids.half[p, 2] * (1.0 if corner & 4 else -1.0)
        cx, cy, cz = 0.0, 0.0, 0.0
        for a in range(3):
            world = solids.centre[p, a] - view.position[a]
            world += solids.rotation[p, a, 0] * x + solids.rotation[p, a, 1] * y + solids.rotation[p, a, 2] * z
            cx += view.rotation[a, 0] * world
            cy += view.rotation[a, 1] * world
            cz += view.rotation[a, 2] * world
        if cz < NEAR:
            behind += 1
            continue
        column, row = view.cx + view.focal * cx / cz, view.cy + view.focal * cy / cz
        left, right, top, bottom = min(left, column), max(right, column), min(top, row), max(bottom, row)
    if behind == 8:
        window[p, 0], window[p, 1], window[p, 2], window[p, 3] = 0, 0, 0, 0
    elif behind > 0:  # the box crosses the plane of the camera: look everywhere
        window[p, 0], window[p, 1], window[p, 2], window[p, 3] = 0, view.height, 0, view.width
    else:
        window[p, 0] = min(max(math.floor(top - 0.5), 0), view.height)
        window[p, 1] = min(max(math.ceil(bottom + 0.5), 0), view.height)
        window[p, 2] = min(max(math.floor(left - 0.5), 0), view.width)
        window[p, 3] = min(max(math.ceil(right + 0.5), 0), view.width)


@njit(cache=True, **INNER)
@no_type_check
def trace(solids, frames, view, first, last, depth, nearest):
    """Draw solids first..last-1 into a depth buffer (H, W; infinity = empty) and a buffer of their numbers."""
    for p in range(first, last):
        kind, ratio, o, m = solids.kind[p], solids.ratio[p], frames.origin[p], frames.ray[p]
        for i in range(frames.window[p, 0], frames.window[p, 1]):
            y = (i + 0.5 - view.cy) / view.focal
            bx, by, bz = m[0, 1] * y + m[0, 2], m[1, 1] * y + m[1, 2], m[2, 1] * y + m[2, 2]
            for j in range(frames.window[p, 2], frames.window[p, 3]):
                x = (j + 0.5 - view.cx) / view.focal
                t = hit(kind, ratio, o[0], o[1], o[2], bx + m[0, 0] * x, by + m[1, 0] * x, bz + m[2, 0] * x)
                if NEAR < t < depth[i, j]:
                    depth[i, j] = t
                    nearest[i, j] = p


@njit(cache=True, **CALLED_FROM_PYTHON)
@no_type_check
def count_pixels(solids, starts, view):
    """Count for every thing the pixels that show it and those that would if it stood alone: (N,), (N,)."""
    frames = frame_solids(solids, view)
    things = len(starts) - 1
    alone = np.zeros(things, np.int64)
    depth, owner = np.full((view.height, view.width), np.inf), np.full((view.height, view.width), -1)
    single, number = np.empty((view.height, view.width)), np.empty((view.height, view.width), np.int64)
    for n in range(things):
        single.fill(np.inf)
        trace(solids, frames, view, starts[n], starts[n + 1], single, number)
        for i in range(view.height):
            for j in range(view.width):
                if single[i, j] < np.inf:
                    alone[n] += 1
                    if single[i, j] < depth[i, j]:
                        depth[i, j], owner[i, j] = single[i, j], n
    visible = np.zeros(things, np.int64)
    for i in range(view.height):
        for j in range(view.width):
            if owner[i, j] >= 0:
                visible[owner[i, j]] += 1
    return visible, alone


@njit(cache=True, **INNER)
@no_type_check
def enter(kind, ratio, to_unit, p, x, y, z, dx, dy, dz):
    """Give the t at which a ray enters solid p: from its centre to the origin is (x, y, z)."""
    return hit(
        kind,
        ratio,
        to_unit[p, 0, 0] * x + to_unit[p, 0, 1] * y + to_unit[p, 0, 2] * z,
        to_unit[p, 1, 0] * x + to_unit[p, 1, 1] * y + to_unit[p, 1, 2] * z,
        to_unit[p, 2, 0] * x + to_unit[p, 2, 1] * y + to_unit[p, 2, 2] * z,
        to_unit[p, 0, 0] * dx + to_unit[p, 0, 1] * dy + to_unit[p, 0, 2] * dz,
        to_unit[p, 1, 0] * dx + to_unit[p, 1, 1] * dy + to_unit[p, 1, 2] * dz,
        to_unit[p, 2, 0] * dx + to_unit[p, 2, 1] * dy + to_unit[p, 2, 2] * dz,
    )


@njit(cache=True, **INNER)
@no_type_check
def block_rays(solids, to_unit, eye, direction, last, blocked):
    """Mark the rays (K 3, from one eye) that enter a solid at 0 < t < last (K); marked ones are left out."""
    for p in range(len(solids.kind)):
        kind, ratio, half = solids.kind[p], solids.ratio[p], solids.half[p]
        x, y, z = eye[0] - solids.centre[p, 0], eye[1] - solids.centre[p, 1], eye[2] - solids.centre[p, 2]
        radius = bounding_radius(kind, half[0], half[1], half[2], ratio)
        beyond = x * x + y * y + z * z - radius * radius
        for k in range(len(blocked)):
            dx, dy, dz = direction[k, 0], direction[k, 1], direction[k, 2]
            along = x * dx + y * dy + z * dz
            # A ray that leaves the ball around the solid behind, or passes it by, cannot meet the solid.
            if blocked[k] or (beyond > 0.0 and (along > 0.0 or beyond * (dx * dx + dy * dy + dz * dz) > along * along)):
                continue
            blocked[k] = 0.0 < enter(kind, ratio, to_unit, p, x, y, z, dx, dy, dz) < last[k]


@njit(cache=True, **CALLED_FROM_PYTHON)
@no_type_check
def find_hidden(solids, view, depth, other):
    """Mark the pixels of `view` (depth H W; infinity = sky) that the other view does not show: hidden or outside."""
    count = view.height * view.width
    hidden, last = np.zeros((view.height, view.width), np.bool_), np.empty(count)
    direction = np.empty((count, 3))
    r, s, start, end = view.rotation, other.rotation, view.position, other.position
    for k in range(count):
        i, j = k // view.width, k % view.width
        x, y, t = (j + 0.5 - view.cx) / view.focal, (i + 0.5 - view.cy) / view.focal, depth[i, j]
        last[k] = 1.0 - 1e-3 if t < math.inf else math.inf  # a surface is a point, the sky a direction
        for a in range(3):
            direction[k, a] = r[a, 0] * x + r[a, 1] * y + r[a, 2]
            if t < math.inf:
                direction[k, a] = start[a] + t * direction[k, a] - end[a]
        dx, dy, dz = direction[k, 0], direction[k, 1], direction[k, 2]
        z = s[0, 2] * dx + s[1, 2] * dy + s[2, 2] * dz
        column = other.cx + other.focal * (s[0, 0] * dx + s[1, 0] * dy + s[2, 0] * dz) / z
        row = other.cy + other.focal * (s[0, 1] * dx + s[1, 1] * dy + s[2, 1] * dz) / z
        hidden[i, j] = not (z > 0.0 and 0.0 <= column < other.width and 0.0 <= row < other.height)
    block_rays(solids, frame_solids(solids, view).to_unit, end, direction, last, hidden.ravel())
    return hidden
