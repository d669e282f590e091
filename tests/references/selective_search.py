"""Selective search by slow loops over pixels, regions and pairs, straight from Uijlings et al. 2013."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Pair = tuple[int, int]


class Region(NamedTuple):
    box: tuple[int, int, int, int]
    size: int
    colours: list[float]
    textures: list[float]


def gradient_bins(channels: np.ndarray) -> np.ndarray:
    """Gaussian derivatives (sigma 1, cut at 4, mirrored border) in 8 directions, in 10 bins up to the greatest."""
    H, W, C = channels.shape
    bell = [math.exp(-0.5 * x * x) for x in range(-4, 5)]
    bell = [value / sum(bell) for value in bell]
    slope = [x * value for x, value in zip(range(-4, 5), bell, strict=True)]  # correlates to the derivative
    padded = np.pad(channels, ((4, 4), (4, 4), (0, 0)), mode="symmetric")
    responses = np.zeros((H, W, C, 8))
    for y, x, c in np.ndindex(H, W, C):
        window = padded[y : y + 9, x : x + 9, c]
        across = sum(bell[i] * slope[j] * window[i, j] for i in range(9) for j in range(9))
        down = sum(slope[i] * bell[j] * window[i, j] for i in range(9) for j in range(9))
        for a in range(8):
            angle = a * math.pi / 4
            responses[y, x, c, a] = max(0.0, math.cos(angle) * across + math.sin(angle) * down)
    greatest = responses.max((0, 1))
    return np.minimum(np.floor(10 * responses / greatest), 9).astype(int).reshape(H, W, C * 8)


def describe(labels: np.ndarray, channels: np.ndarray, texture_bins: np.ndarray) -> list[Region]:
    C = channels.shape[2]
    regions = []
    for label in range(labels.max() + 1):
        pixels = [(y, x) for y, x in np.ndindex(labels.shape) if labels[y, x] == label]
        ys, xs = zip(*pixels, strict=True)
        colours, textures = [0.0] * (25 * C), [0.0] * (80 * C)
        for y, x in pixels:
            for c in range(C):
                colours[25 * c + min(int(channels[y, x, c] * 25), 24)] += 1 / (len(pixels) * C)
            for t in range(8 * C):
                textures[10 * t + texture_bins[y, x, t]] += 1 / (len(pixels) * 8 * C)
        regions.append(Region((min(xs), min(ys), max(xs) + 1, max(ys) + 1), len(pixels), colours, textures))
    return regions


def touching(labels: np.ndarray) -> list[Pair]:
    H, W = labels.shape
    pairs = set()
    for y, x in np.ndindex(H, W):
        for v in range(max(0, y - 1), min(H, y + 2)):
            for u in range(max(0, x - 1), min(W, x + 2)):
                if labels[y, x] < labels[v, u]:
                    pairs.add((int(labels[y, x]), int(labels[v, u])))
    return sorted(pairs)


def similarities(a: Region, b: Region, area: int) -> tuple[float, float, float, float]:
    box = enclosing(a, b)
    empty = (box[2] - box[0]) * (box[3] - box[1]) - a.size - b.size
    return (
        sum(map(min, a.colours, b.colours)),
        sum(map(min, a.textures, b.textures)),
        1 - (a.size + b.size) / area,
        1 - empty / area,
    )


def enclosing(a: Region, b: Region) -> tuple[int, int, int, int]:
    return (
        min(a.box[0], b.box[0]),
        min(a.box[1], b.box[1]),
        max(a.box[2], b.box[2]),
        max(a.box[3], b.box[3]),
    )


def merged(a: Region, b: Region) -> Region:
    size = a.size + b.size
    colours = [(a.size * p + b.size * q) / size for p, q in zip(a.colours, b.colours, strict=True)]
    textures = [(a.size * p + b.size * q) / size for p, q in zip(a.textures, b.textures, strict=True)]
    return Region(enclosing(a, b), size, colours, textures)


def group(
    regions: Sequence[Region], pairs: Sequence[Pair], weights: Sequence[float]
) -> tuple[list[Region], list[Pair]]:
    """Look through all pairs before each merge; return all regions and the children of each merge."""
    found, neighbours, children = list(regions), set(pairs), []
    area = sum(region.size for region in regions)

    def total(pair: Pair) -> float:
        terms = similarities(found[pair[0]], found[pair[1]], area)
        return sum(w * term for w, term in zip(weights, terms, strict=True))

    while neighbours:
        best = max(sorted(neighbours), key=total)
        new = len(found)
        found.append(merged(found[best[0]], found[best[1]]))
        children.append(best)
        beside = {n for pair in neighbours if set(pair) & set(best) for n in pair} - set(best)
        neighbours = {pair for pair in neighbours if not set(pair) & set(best)} | {(n, new) for n in beside}
    return found, children
