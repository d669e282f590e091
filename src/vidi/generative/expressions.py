"""A picture is the image of few numbers: faces from 42 muscles (notes 8.0).

    seeds N -> normal vectors N 42, the two sides of a muscle correlated -> contractions N 42, uniform in [0, 1]
            -> points of the face N 16 2, a linear map of the contractions -> drawn faces N 3 H W

The muscles of a face are its latent factors: independent of each other, but for the two sides of the face, which mostly
move together. Their prior is known, so that pictures are drawn by drawing them. 21 muscles on each side are moved here;
the directions are those of anatomy, the lengths are made up.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vidi.data.silhouettes import as_image, coverage, disc, ellipse, pixel_centres, segment
from vidi.ops.latents import normal_latents

POINTS: dict[str, tuple[float, float]] = {  # of the right half of the picture at rest, in half widths of the head
    "brow_in": (0.16, -0.34),
    "brow_out": (0.50, -0.36),
    "lid_up": (0.33, -0.22),
    "lid_low": (0.33, -0.08),
    "nostril": (0.12, 0.22),
    "corner": (0.30, 0.52),
    "lip_up": (0.10, 0.47),
    "lip_low": (0.10, 0.57),
}

MUSCLES: dict[str, dict[str, tuple[float, float]]] = {  # what a whole contraction moves, and where to: out, down
    "frontalis, inner": {"brow_in": (0.0, -0.12)},
    "frontalis, outer": {"brow_out": (0.0, -0.12)},
    "corrugator supercilii": {"brow_in": (-0.08, 0.05)},
    "procerus": {"brow_in": (0.0, 0.09)},
    "depressor supercilii": {"brow_in": (-0.02, 0.06), "brow_out": (0.0, 0.03)},
    "orbicularis oculi, orbital": {"lid_low": (0.0, -0.05), "brow_out": (0.0, 0.05)},
    "orbicularis oculi, palpebral": {"lid_up": (0.0, 0.08), "lid_low": (0.0, -0.03)},
    "levator palpebrae": {"lid_up": (0.0, -0.06)},
    "nasalis": {"nostril": (0.05, 0.0)},
    "depressor septi": {"nostril": (0.0, 0.04)},
    "levator labii superioris alaeque nasi": {"nostril": (0.01, -0.05), "lip_up": (0.0, -0.04)},
    "levator labii superioris": {"lip_up": (0.01, -0.07)},
    "zygomaticus minor": {"lip_up": (0.03, -0.03), "corner": (0.04, -0.04)},
    "zygomaticus major": {"corner": (0.10, -0.12)},
    "levator anguli oris": {"corner": (0.0, -0.09)},
    "risorius": {"corner": (0.12, 0.0)},
    "buccinator": {"corner": (0.06, 0.02), "lip_up": (0.02, 0.01), "lip_low": (0.02, -0.01)},
    "depressor anguli oris": {"corner": (0.02, 0.12)},
    "depressor labii inferioris": {"lip_low": (0.01, 0.10)},
    "mentalis": {"lip_low": (0.0, -0.06)},
    "orbicularis oris": {"corner": (-0.12, 0.0), "lip_up": (-0.02, 0.02), "lip_low": (-0.02, -0.02)},
}

FACTORS = 2 * len(MUSCLES)
TOGETHER = 0.8
"""Correlation of the two sides of a muscle, before contractions are made of normal numbers."""

SKIN, INK, LIPS = (np.array(colour) for colour in ((0.93, 0.75, 0.62), (0.12, 0.09, 0.08), (0.66, 0.24, 0.24)))


def contractions(seeds: Sequence[int], *, together: float | int = TOGETHER) -> Float[Tensor, "N 42"]:
    """Return contractions of the 42 muscles, 0 to 1: those of the left side of the picture, then of the right side.

    Args:
        seeds: of the faces, each a function of its own.
        together: correlation of the two sides, -1 to 1; 0: all are independent.

    Raises:
        ValueError: for a correlation beyond that.
    """
    if not -1 <= together <= 1:
        raise ValueError(f"received together={together}, expected -1 to 1")
    left, own = normal_latents(FACTORS, seeds).chunk(2, 1)
    right = together * left + math.sqrt(1 - together**2) * own
    return torch.special.ndtr(torch.cat([left, right], 1))


def points_of(factors: Float[Tensor, "N 42"]) -> Float[Tensor, "N 2 8 2"]:
    """Return the points (x, y) of both sides, in half widths of the head about its centre: linear in the factors."""
    rest = torch.tensor(list(POINTS.values()))
    moves = torch.zeros(len(MUSCLES), len(POINTS), 2)
    names = list(POINTS)
    for row, muscle in enumerate(MUSCLES.values()):
        for name, direction in muscle.items():
            moves[row, names.index(name)] = torch.tensor(direction)
    by_side = factors.unflatten(1, (2, len(MUSCLES)))
    points = rest + torch.einsum("nsm,mpd->nspd", by_side, moves.to(factors))  # N 2 P 2
    mirror = points.new_tensor([[-1.0, 1.0], [1.0, 1.0]])[:, None]
    return points * mirror


def draw_face(factors: Float[Tensor, " 42"], size: tuple[int, int] = (64, 64)) -> Float[Tensor, "3 H W"]:
    """Return the face of 42 contractions as a picture in [0, 1]."""
    H, W = size
    unit = 0.46 * min(H, W)
    column, row = pixel_centres(size)
    x, y = (column - W / 2) / unit, (row - H / 2) / unit
    canvas = np.ones((H, W, 3))

    def paint(distance: np.ndarray, colour: np.ndarray) -> None:
        share = coverage(distance, unit)[..., None]
        canvas[:] = (1 - share) * canvas + share * colour

    paint(ellipse(x, y, 0.78, 1.0), SKIN)
    sides = [
        {name: (point[0], point[1]) for name, point in zip(POINTS, side, strict=True)}
        for side in points_of(factors[None])[0].tolist()
    ]
    for side in sides:
        paint(segment(x, y, side["brow_in"], side["brow_out"]) - 0.025, INK)
        (eye, upper), (_, lower) = side["lid_up"], side["lid_low"]
        opening = max((lower - upper) / 2, 0.01)
        paint(ellipse(x - eye, y - (upper + lower) / 2, 0.13, opening), np.ones(3))
        pupil = disc(x - eye, y - (upper + lower) / 2, 0.06)
        paint(np.maximum(pupil, ellipse(x - eye, y - (upper + lower) / 2, 0.13, opening)), INK)
        paint(disc(x - side["nostril"][0], y - side["nostril"][1], 0.03), INK)
    left, right = sides
    for lip in ("lip_up", "lip_low"):
        ends = [left["corner"], left[lip], right[lip], right["corner"]]
        for start, end in pairwise(ends):
            paint(segment(x, y, start, end) - 0.02, LIPS)
    return as_image(canvas).float() / 255
