"""The colour of rays: reflectance of solids and ground, Lambertian light with cast shadows, haze and sky.

Rays are given by (x, y) on the plane at depth 1 before the camera, the solid they meet (-1 = none) and its depth; K
of them at a time. Colours are linear RGB in [0, 1], clipped at the end.
"""

import math
from typing import NamedTuple, no_type_check

import numpy as np
from numba import njit

from vidi.data.world.cast_kernels import Frames, bounding_radius, enter, frame_solids
from vidi.data.world.compiling import INNER
from vidi.data.world.daylight import Daylight
from vidi.data.world.pattern_kernels import clip, noise_2d, noise_3d, pattern_share, unit_normal
from vidi.data.world.solids import Solids

GROUND_RADIUS = 80.0  # metres; beyond lies the sky
OCTAVES = ((7.0, 0.7), (2.4, 0.7), (0.75, 0.7), (0.22, 0.6))  # of the ground: cells in a metre, weight
CHUNK = 1024  # rays shaded together: few enough to stay in the cache
HAZE = 36.0  # metres at which half of the ground's colour is the horizon's


class Stage(NamedTuple):
    """A scene made ready for one view."""

    solids: Solids
    starts: np.ndarray  # N + 1: first solid of each thing
    frames: Frames
    light: Daylight
    discs: (
        np.ndarray
    )  # P 4: the ball around each solid, seen from the sun: centre right, down, height towards the sun; radius
    thing_discs: np.ndarray  # N 4: the same of each thing


@njit(cache=True, **INNER)
@no_type_check
def set_stage(solids, starts, light, view):
    """Make a scene ready for one view."""
    discs, thing_discs = np.empty((len(solids.kind), 4)), np.zeros((len(starts) - 1, 4))
    for p in range(len(discs)):
        x, y, z = solids.centre[p, 0], solids.centre[p, 1], solids.centre[p, 2]
        discs[p, 0], discs[p, 1], discs[p, 2] = see_from_sun(light.sun, x, y, z)
        half = solids.half[p]
        discs[p, 3] = bounding_radius(solids.kind[p], half[0], half[1], half[2], solids.ratio[p])
    for n in range(len(thing_discs)):
        for p in range(starts[n], starts[n + 1]):
            for a in range(3):
                thing_discs[n, a] += discs[p, a] / (starts[n + 1] - starts[n])
        for p in range(starts[n], starts[n + 1]):
            away = 0.0
            for a in range(3):
                away += (discs[p, a] - thing_discs[n, a]) ** 2
            thing_discs[n, 3] = max(thing_discs[n, 3], math.sqrt(away) + discs[p, 3])
    return Stage(solids, starts, frame_solids(solids, view), light, discs, thing_discs)


@njit(cache=True, **INNER)
@no_type_check
def see_from_sun(sun, x, y, z):
    """Turn a point to axes of which the third runs towards the sun (above the horizon: sun[1] < 0)."""
    level = math.sqrt(sun[0] * sun[0] + sun[1] * sun[1])
    right = (sun[0] * y - sun[1] * x) / level
    height = sun[0] * x + sun[1] * y + sun[2] * z
    return right, (z - sun[2] * height) / level, height


@njit(cache=True, **INNER)
@no_type_check
def ground_depth(view, x, y):
    """Give the depth at which the camera ray (x, y, 1) meets the ground, or infinity."""
    c = view.rotation
    down = c[1, 0] * x + c[1, 1] * y + c[1, 2]
    if down <= 1e-9:
        return math.inf
    t = -view.position[1] / down
    px = view.position[0] + t * (c[0, 0] * x + c[0, 1] * y + c[0, 2])
    pz = view.position[2] + t * (c[2, 0] * x + c[2, 1] * y + c[2, 2])
    return t if px * px + pz * pz < GROUND_RADIUS * GROUND_RADIUS else math.inf


@njit(cache=True, **INNER)
@no_type_check
def shade(stage, view, x, y, nearest, depth):
    """Give the colours (K 3) of K rays, and the cosine between sun and surface (K), 0 in the shade."""
    count = len(x)
    colour, shine = np.empty((count, 3)), np.empty(count)
    for k in range(0, count, CHUNK):
        e = min(k + CHUNK, count)
        colour[k:e], shine[k:e] = _shade_chunk(stage, view, x[k:e], y[k:e], nearest[k:e], depth[k:e])
    return colour, shine


@njit(cache=True, **INNER)
@no_type_check
def _shade_chunk(stage, view, x, y, nearest, depth):
    count = len(x)
    colour, shine = np.empty((count, 3)), np.empty(count)
    point, normal, is_sky = np.empty((count, 3)), np.empty((count, 3)), np.empty(count, np.bool_)
    _place(view, x, y, depth, point)
    _paint_solids(stage.solids, stage.frames, view, x, y, nearest, depth, point, normal, colour)
    _paint_ground(stage.light, view, nearest, depth, point, normal, colour)
    _paint_sky(stage.light, view, x, y, depth, is_sky, colour)
    _shine(stage, point, normal, is_sky, shine)
    _light(stage.light, normal, is_sky, shine, colour)
    _blur_distance(stage.light, nearest, depth, colour)
    return colour, shine


@njit(cache=True, **INNER)
@no_type_check
def _place(view, x, y, depth, point):
    c, position = view.rotation, view.position
    for k in range(len(x)):
        if depth[k] == math.inf:
            continue
        for a in range(3):
            point[k, a] = position[a] + depth[k] * (c[a, 0] * x[k] + c[a, 1] * y[k] + c[a, 2])


@njit(cache=True, **INNER)
@no_type_check
def _paint_solids(solids, frames, view, x, y, nearest, depth, point, normal, colour):
    """Fill in normal and reflectance of the rays that meet a solid."""
    eye, focal, half, paint = view.position, view.focal, solids.half, solids.colour
    kind, ratio, pattern, periods = solids.kind, solids.ratio, solids.pattern, solids.frequency
    to_unit, origin, ray = frames.to_unit, frames.origin, frames.ray
    for k in range(len(x)):
        p, t = nearest[k], depth[k]
        if p < 0:
            continue
        ux = origin[p, 0] + t * (ray[p, 0, 0] * x[k] + ray[p, 0, 1] * y[k] + ray[p, 0, 2])
        uy = origin[p, 1] + t * (ray[p, 1, 0] * x[k] + ray[p, 1, 1] * y[k] + ray[p, 1, 2])
        uz = origin[p, 2] + t * (ray[p, 2, 0] * x[k] + ray[p, 2, 1] * y[k] + ray[p, 2, 2])
        ax, ay, az = unit_normal(kind[p], ratio[p], ux, uy, uz)
        length, facing = 0.0, 0.0
        for a in range(3):
            normal[k, a] = to_unit[p, 0, a] * ax + to_unit[p, 1, a] * ay + to_unit[p, 2, a] * az
            length += normal[k, a] ** 2
            facing += normal[k, a] * (eye[a] - point[k, a])
        length = math.sqrt(length)
        for a in range(3):
            normal[k, a] /= length
        slant = max(facing / (length * t), 0.15)
        footprint = t / (focal * slant * min(half[p, 0], half[p, 1], half[p, 2]))
        share = clip(pattern_share(pattern[p], periods[p], ux, uy, uz, footprint))
        grain, cells = 1.0, 2.0 * periods[p]
        fade = clip((0.6 - cells * footprint) * 2.5)
        if fade > 0.0:
            grain += 0.22 * fade * (noise_3d(cells * ux + 40.0, cells * uy + 20.0, cells * uz + 30.0) - 0.5)
        for a in range(3):
            colour[k, a] = grain * (paint[p, 0, a] + share * (paint[p, 1, a] - paint[p, 0, a]))


@njit(cache=True, **INNER)
@no_type_check
def _paint_ground(light, view, nearest, depth, point, normal, colour):
    """Fill in normal and reflectance of the rays that meet the ground: noise of four sizes between its two shades."""
    east, north, bright, dark = light.offset[0], light.offset[1], light.ground[0], light.ground[1]
    stretch = -1.0 / (view.position[1] * view.focal)
    for k in range(len(nearest)):
        if nearest[k] >= 0 or depth[k] == math.inf:
            continue
        footprint, share = depth[k] * depth[k] * stretch, 0.5
        for cells, weight in OCTAVES:
            fade = clip((0.7 - footprint * cells) * 2.5)
            if fade > 0.0:
                share += weight * fade * (noise_2d(point[k, 0] * cells + east, point[k, 2] * cells + north) - 0.5)
        share = clip(share)
        normal[k, 0], normal[k, 1], normal[k, 2] = 0.0, -1.0, 0.0
        for a in range(3):
            colour[k, a] = dark[a] + share * (bright[a] - dark[a])


@njit(cache=True, **INNER)
@no_type_check
def _paint_sky(light, view, x, y, depth, is_sky, colour):
    """Fill in the colour of the rays that meet nothing: a gradient and soft clouds."""
    c, east, clouds, zenith, horizon = view.rotation, light.offset[2], light.clouds, light.zenith, light.horizon
    for k in range(len(x)):
        is_sky[k] = depth[k] == math.inf
        if not is_sky[k]:
            continue
        dx = c[0, 0] * x[k] + c[0, 1] * y[k] + c[0, 2]
        dy = c[1, 0] * x[k] + c[1, 1] * y[k] + c[1, 2]
        dz = c[2, 0] * x[k] + c[2, 1] * y[k] + c[2, 2]
        length = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
        rise = clip(-dy * length)
        cloud = 0.0
        if clouds > 0.0:
            stretch = 1.6 * length / (rise + 0.25)
            across, along = stretch * dx, stretch * dz
            cloud = 0.65 * noise_2d(across + east, along) + 0.35 * noise_2d(2.3 * across, 2.3 * along + east)
            cloud = clouds * clip(rise * 5.0) * clip((cloud - 0.45) * 2.5)
        fall = 1.0 - rise
        blend = 1.0 - fall * fall * fall * fall * fall
        for a in range(3):
            blue = horizon[a] + blend * (zenith[a] - horizon[a])
            colour[k, a] = blue + cloud * (1.0 - blue)


@njit(cache=True, **INNER)
@no_type_check
def _shine(stage, point, normal, is_sky, shine):
    """Fill in the cosine between sun and normal (K), 0 where the sun does not reach."""
    solids, starts, to_unit, discs, things = (
        stage.solids,
        stage.starts,
        stage.frames.to_unit,
        stage.discs,
        stage.thing_discs,
    )
    kind, ratio, centre, sun = solids.kind, solids.ratio, solids.centre, stage.light.sun
    for k in range(len(shine)):
        shine[k] = 0.0
        facing = normal[k, 0] * sun[0] + normal[k, 1] * sun[1] + normal[k, 2] * sun[2]
        if is_sky[k] or facing <= 0.0:
            continue
        shine[k] = facing
        x, y, z = (
            point[k, 0] + 1e-3 * normal[k, 0],
            point[k, 1] + 1e-3 * normal[k, 1],
            point[k, 2] + 1e-3 * normal[k, 2],
        )
        right, down, height = see_from_sun(sun, x, y, z)
        for n in range(len(things)):
            if not _is_under(things, n, right, down, height):
                continue
            for p in range(starts[n], starts[n + 1]):
                if not _is_under(discs, p, right, down, height):
                    continue
                cx, cy, cz = x - centre[p, 0], y - centre[p, 1], z - centre[p, 2]
                t = enter(kind[p], ratio[p], to_unit, p, cx, cy, cz, sun[0], sun[1], sun[2])
                if 0.0 < t < math.inf:
                    shine[k] = 0.0


@njit(cache=True, **INNER)
@no_type_check
def _is_under(discs, n, right, down, height):
    right, down = right - discs[n, 0], down - discs[n, 1]
    return right * right + down * down < discs[n, 3] * discs[n, 3] and height < discs[n, 2] + discs[n, 3]


@njit(cache=True, **INNER)
@no_type_check
def _light(light, normal, is_sky, shine, colour):
    """Multiply reflectance by the light that falls on it: the sky's and the sun's."""
    sunlight, skylight = light.sunlight, light.skylight
    for k in range(len(colour)):
        if is_sky[k]:
            continue
        open_sky = 0.72 - 0.28 * normal[k, 1]
        for a in range(3):
            colour[k, a] *= skylight[a] * open_sky + sunlight[a] * shine[k]


@njit(cache=True, **INNER)
@no_type_check
def _blur_distance(light, nearest, depth, colour):
    """Let the far ground fade into the horizon, and clip the colours."""
    horizon = light.horizon
    for k in range(len(nearest)):
        haze = 0.0
        if nearest[k] < 0 and depth[k] < math.inf:
            square = (depth[k] / HAZE) ** 2
            haze = square / (1.0 + square)
        for a in range(3):
            colour[k, a] = clip(colour[k, a] + haze * (horizon[a] - colour[k, a]))
