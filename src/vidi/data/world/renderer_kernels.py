"""The one pass that draws a view: depth, solid, instance and part at every pixel centre, then its colour.

Truth is taken at pixel centres. The colour is too, but where it changes abruptly between neighbours three more rays
are averaged with it, so that outlines, shadows and corners are smooth.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from vidi.data.world.cast_kernels import NEAR, hit, trace
from vidi.data.world.compiling import CALLED_FROM_PYTHON, INNER
from vidi.data.world.names import NO_PART
from vidi.data.world.shading_kernels import ground_depth, set_stage, shade

SKY_INSTANCE, GROUND_INSTANCE = -2, -1
ABRUPT = 0.15  # difference of a colour channel (of 1) between neighbours that calls for more rays
RAYS = ((0.36, 0.10), (-0.27, 0.26), (-0.09, -0.36))  # pixels right and down of the centre


@njit(cache=True, **CALLED_FROM_PYTHON)
@no_type_check
def draw(solids, starts, light, view, with_colour):
    """Draw a view: image, depth, instance, part, pixels.

    Image: uint8 3 H W, empty without colour. Depth: float32 H W, infinity = sky. Instance: int16 H W, index of the
    thing, -1 ground, -2 sky. Part: uint8 H W, NO_PART off the persons. Pixels: int64 N, visible ones of each thing.
    """
    height, width = view.height, view.width
    stage = set_stage(solids, starts, light, view)
    depth, nearest = np.full((height, width), np.float32(np.inf), np.float32), np.full((height, width), -1, np.int64)
    trace(solids, stage.frames, view, 0, len(solids.kind), depth, nearest)
    instance, part = np.empty((height, width), np.int16), np.empty((height, width), np.uint8)
    pixels = np.zeros(len(starts) - 1, np.int64)
    _name_surfaces(stage, view, depth, nearest, instance, part, pixels)
    image = np.empty((3, height if with_colour else 0, width), np.uint8)
    if with_colour:
        _colour(stage, view, depth, nearest, image)
    return image, depth, instance, part, pixels


@njit(cache=True, **INNER)
@no_type_check
def _name_surfaces(stage, view, depth, nearest, instance, part, pixels):
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
            pixels[owner[p]] += 1
            if parts[p, 0] < NO_PART:
                along = origin[p, 1] + depth[i, j] * (ray[p, 1, 0] * x + ray[p, 1, 1] * y + ray[p, 1, 2])
                cut = 0.5 * ratio[p]
                part[i, j] = parts[p, 0 if along < -cut else (2 if along > cut else 1)]


@njit(cache=True, **INNER)
@no_type_check
def _colour(stage, view, depth, nearest, image):
    height, width = depth.shape
    x, y = np.empty((height, width)), np.empty((height, width))
    for i in range(height):
        for j in range(width):
            x[i, j], y[i, j] = (j + 0.5 - view.cx) / view.focal, (i + 0.5 - view.cy) / view.focal
    colour, shine = shade(stage, view, x.ravel(), y.ravel(), nearest.ravel(), depth.ravel())
    count, flat = height * width, image.ravel()
    for k in range(count):
        for a in range(3):
            flat[a * count + k] = int(255.0 * colour[k, a] + 0.5)
    pixels = _find_abrupt(nearest, shine, colour)
    x, y, near, far = _cast(stage, view, pixels)
    more, _ = shade(stage, view, x, y, near, far)
    for e in range(len(pixels)):
        for a in range(3):
            total = colour[pixels[e], a]
            for r in range(len(RAYS)):
                total += more[len(RAYS) * e + r, a]
            flat[a * count + pixels[e]] = int(255.0 / (1 + len(RAYS)) * total + 0.5)


@njit(cache=True, **INNER)
@no_type_check
def _find_abrupt(nearest, shine, colour):
    """List the pixels (E, numbered row by row) that differ much from a neighbour of another solid or in another light.

    The edges of patterns are left out: these are smooth already.
    """
    height, width = nearest.shape
    abrupt = np.zeros(height * width, np.bool_)
    count = 0
    for i in range(height):
        for j in range(width):
            k = i * width + j
            for down, right in ((1, 0), (0, 1)):
                u, v = min(i + down, height - 1), min(j + right, width - 1)
                other = u * width + v
                if nearest[i, j] == nearest[u, v] and abs(shine[k] - shine[other]) < ABRUPT:
                    continue
                change = 0.0
                for a in range(3):
                    change = max(change, abs(colour[k, a] - colour[other, a]))
                if change > ABRUPT:
                    count += (not abrupt[k]) + (not abrupt[other])
                    abrupt[k] = abrupt[other] = True
    pixels = np.empty(count, np.int64)
    for k in range(height * width - 1, -1, -1):
        if abrupt[k]:
            count -= 1
            pixels[count] = k
    return pixels


@njit(cache=True, **INNER)
@no_type_check
def _cast(stage, view, pixels):
    """Cast the rays through the listed pixels (E): x, y, solid (-1 = none) and depth (infinity = sky) of each (3 E)."""
    kind, ratio, has_ground = stage.solids.kind, stage.solids.ratio, stage.light.has_ground
    window, origin, ray = stage.frames.window, stage.frames.origin, stage.frames.ray
    count = len(RAYS) * len(pixels)
    x, y, nearest, depth = np.empty(count), np.empty(count), np.empty(count, np.int64), np.empty(count, np.float32)
    for e in range(len(pixels)):
        i, j, first = pixels[e] // view.width, pixels[e] % view.width, e * len(RAYS)
        for r in range(len(RAYS)):
            k, (right, down) = first + r, RAYS[r]
            x[k], y[k] = (j + 0.5 + right - view.cx) / view.focal, (i + 0.5 + down - view.cy) / view.focal
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
    for k in range(count):
        if nearest[k] < 0 and has_ground:
            depth[k] = ground_depth(view, x[k], y[k])
    return x, y, nearest, depth
