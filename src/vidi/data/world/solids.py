"""Solids: the primitive bodies that things are made of, as flat arrays.

A solid is a unit shape, stretched by three half extents, turned and moved. Unit shapes (y points down): sphere |q| <=
1; box |q|_inf <= 1; cylinder x^2 + z^2 <= 1, |y| <= 1; cone with its apex at y = -1 and its base of radius 1 at y =
1; capsule: the points within 1 of the segment |y| <= ratio.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from vidi.data.world.names import CATEGORIES

SPHERE, BOX, CYLINDER, CONE = range(len(CATEGORIES) - 1)
CAPSULE = 4


class Solids(NamedTuple):
    """P solids; those of one thing stand next to each other."""

    kind: Int64[np.ndarray, " P"]
    centre: Float64[np.ndarray, "P 3"]  # world, metres
    rotation: Float64[np.ndarray, "P 3 3"]  # solid to world
    half: Float64[np.ndarray, "P 3"]  # metres per unit of the shape
    ratio: Float64[np.ndarray, " P"]  # capsules: half length of the segment in units; others: 0
    owner: Int64[np.ndarray, " P"]  # index of the thing
    part: Int64[np.ndarray, "P 3"]  # body part at y < -cut, between, at y > cut (cut = half of the half length)
    colour: Float64[np.ndarray, "P 2 3"]  # first and second reflectance
    pattern: Int64[np.ndarray, " P"]
    frequency: Float64[np.ndarray, " P"]  # periods of the pattern per 2 units


def join(groups: Sequence[Solids]) -> Solids:
    """Put the solids of several things behind each other; thing i becomes the owner of group i."""
    columns = [np.concatenate(column) for column in zip(*groups, strict=True)]
    joined = Solids(*columns)
    owner = np.repeat(np.arange(len(groups)), [len(group.kind) for group in groups])
    return joined._replace(owner=owner.astype(np.int64))


def keep_things(solids: Solids, kept: Sequence[int]) -> Solids:
    """Select the solids of some things; thing kept[i] becomes thing i."""
    number = np.full(int(solids.owner.max()) + 1, -1)
    number[list(kept)] = np.arange(len(kept))
    rows = number[solids.owner] >= 0
    selected = Solids(*(column[rows] for column in solids))
    return selected._replace(owner=number[selected.owner].astype(np.int64))


def extents(solids: Solids) -> Float64[np.ndarray, "P 3"]:
    """Half extents in metres of spheres and capsules along the axes of the frame in which they stand."""
    stretched = solids.rotation * solids.half[:, None, :]  # P world solid
    return np.sqrt((stretched**2).sum(2)) + solids.ratio[:, None] * np.abs(stretched[:, :, 1])
