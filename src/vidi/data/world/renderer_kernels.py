"""The one pass that draws a view: depth, solid, instance and part at every pixel centre, then its colour.

Truth is taken at pixel centres. The colour is too, but where it changes abruptly between neighbours four more rays are averaged, so that
outlines, shadows and corners are smooth.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from vidi.data.world.cast_kernels import NEAR, hit, trace
from vidi.data.world.names import NO_PART
from vidi.data.world.shading_kernels import ground_depth, set_stage, shade

SKY_INSTANCE, GROUND_INSTANCE = -2, -1
ABRUPT = 0.12  # difference of a colour channel (of 1) between neighbours that calls for more rays
CHUNK = 1024  # rays shaded together: few enough to stay in the cache
RAYS = ((-0.375, -0.125), (0.125, -0.375), (-0.125, 0.375), (0.375, 0.125))


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def draw(solids, starts, light, view, with_colour):
    """Draw a view: image (uint8 3 H W, empty without colour), depth (float32 H W, infinity = sky), instance (int16 H W), part (uint8 H W)."""
    height, width = view.height, view.width
    stage = set_stage(solids, starts, light, view)
    depth, nearest = np.full((height, width), np.float32(np.inf), np.float32), np.full((height, width), -1, np.int64)
    trace(solids, stage.frames, view, 0, len(solids.kind), depth, nearest)
    instance, part = np.empty((height, width), np.int16), np.empty((height, width), np.uint8)
    _name_surfaces(stage, view, depth, nearest, instance, part)
    image = np.empty((3, height if with_colour else 0, width), np.uint8)
    if with_colour:
        _colour(stage, view, depth, nearest, image)
    return image, depth, instance, part


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _name_surfaces(stage, view, depth, nearest, instance, part):
    """Fill in thing and body part, and the depth of the ground."""
    owner, parts, ratio = stage.solids.owner, stage.solids.part, stage.solids.ratio
    origin, ray, has_ground = stage.frames.origin, stage.frames.ray, stage.light.has_ground
    for i in range(view.height):
        y = (i + 0.5 - view.cy) / view.focal
        for j in range(view.width):
            x, p = (j + 0.5 - view.cx) / view.focal, nearest[i, j]
            part[i, j] = NO_PART
            if p < 0:
                if has_ground:
                    depth[i, j] = ground_depth(view, x, y)
                instance[i, j] = GROUND_INSTANCE if depth[i, j] < np.inf else SKY_INSTANCE
                continue
            instance[i, j] = owner[p]
            if parts[p, 0] < NO_PART:
                along = origin[p, 1] + depth[i, j] * (ray[p, 1, 0] * x + ray[p, 1, 1] * y + ray[p, 1, 2])
                cut = 0.5 * ratio[p]
                part[i, j] = parts[p, 0 if along < -cut else (2 if along > cut else 1)]


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _colour(stage, view, depth, nearest, image):
    height, width = depth.shape
    x, y = np.empty((height, width)), np.empty((height, width))
    for i in range(height):
        for j in range(width):
            x[i, j], y[i, j] = (j + 0.5 - view.cx) / view.focal, (i + 0.5 - view.cy) / view.focal
    colour, shine = _shade_chunks(stage, view, x.ravel(), y.ravel(), nearest.ravel(), depth.ravel())
    colour = colour.reshape((height, width, 3))
    _smooth_edges(stage, view, _find_abrupt(nearest, shine.reshape((height, width)), colour), colour)
    for i in range(height):
        for j in range(width):
            for a in range(3):
                image[a, i, j] = int(255.0 * colour[i, j, a] + 0.5)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _shade_chunks(stage, view, x, y, nearest, depth):
    colour, shine = np.empty((len(x), 3)), np.empty(len(x))
    for first in range(0, len(x), CHUNK):
        last = min(first + CHUNK, len(x))
        colour[first:last], shine[first:last] = shade(
            stage, view, x[first:last], y[first:last], nearest[first:last], depth[first:last]
        )
    return colour, shine


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _smooth_edges(stage, view, pixels, colour):
    """Replace the colour of the listed pixels (E 2) by the mean of four rays."""
    count = len(RAYS) * len(pixels)
    x, y, depth, nearest = np.empty(count), np.empty(count), np.empty(count, np.float32), np.empty(count, np.int64)
    for k in range(count):
        i, j = pixels[k // len(RAYS), 0], pixels[k // len(RAYS), 1]
        right, down = RAYS[k % len(RAYS)]
        x[k], y[k] = (j + 0.5 + right - view.cx) / view.focal, (i + 0.5 + down - view.cy) / view.focal
    _cast(stage, view, pixels, x, y, nearest, depth)
    rays, _ = _shade_chunks(stage, view, x, y, nearest, depth)
    for e in range(len(pixels)):
        for a in range(3):
            total = 0.0
            for r in range(len(RAYS)):
                total += rays[len(RAYS) * e + r, a]
            colour[pixels[e, 0], pixels[e, 1], a] = total / len(RAYS)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _find_abrupt(nearest, shine, colour):
    """List the pixels (E 2: row, column) that differ much from a neighbour of another solid or in another light.

    The edges of patterns are left out: these are smooth already.
    """
    height, width, _ = colour.shape
    abrupt = np.zeros((height, width), np.bool_)
    for i in range(height):
        for j in range(width):
            red, green, blue = colour[i, j, 0], colour[i, j, 1], colour[i, j, 2]
            for a, b in ((min(i + 1, height - 1), j), (i, min(j + 1, width - 1))):
                change = max(abs(red - colour[a, b, 0]), abs(green - colour[a, b, 1]), abs(blue - colour[a, b, 2]))
                if change > ABRUPT and (nearest[i, j] != nearest[a, b] or abs(shine[i, j] - shine[a, b]) > ABRUPT):
                    abrupt[i, j] = abrupt[a, b] = True
    rows, columns = np.nonzero(abrupt)
    return np.stack((rows, columns), 1)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def _cast(stage, view, pixels, x, y, nearest, depth):
    """Find what the rays through the listed pixels meet: solid (-1 = none) and depth (infinity = sky)."""
    kind, ratio, has_ground = stage.solids.kind, stage.solids.ratio, stage.light.has_ground
    window, origin, ray = stage.frames.window, stage.frames.origin, stage.frames.ray
    for e in range(len(pixels)):
        i, j, first = pixels[e, 0], pixels[e, 1], e * len(RAYS)
        for k in range(first, first + len(RAYS)):
            nearest[k], depth[k] = -1, np.inf
        for p in range(len(kind)):
            # A ray off the centre may meet a solid whose window ends one pixel before.
            if i < window[p, 0] - 1 or i > window[p, 1] or j < window[p, 2] - 1 or j > window[p, 3]:
                continue
            for k in range(first, first + len(RAYS)):
                dx = ray[p, 0, 0] * x[k] + ray[p, 0, 1] * y[k] + ray[p, 0, 2]
                dy = ray[p, 1, 0] * x[k] + ray[p, 1, 1] * y[k] + ray[p, 1, 2]
                dz = ray[p, 2, 0] * x[k] + ray[p, 2, 1] * y[k] + ray[p, 2, 2]
                t = hit(kind[p], ratio[p], origin[p, 0], origin[p, 1], origin[p, 2], dx, dy, dz)
                if NEAR < t < depth[k]:
                    nearest[k], depth[k] = p, t
    for k in range(len(x)):
        if nearest[k] < 0 and has_ground:
            depth[k] = ground_depth(view, x[k], y[k])
