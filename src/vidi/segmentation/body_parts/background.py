"""Background removal: which pixels of a depth image belong to the person (Shotton et al. 2011; notes 5.1.1, phase 1).

Measured surfaces within reach of the sensor are kept; those that the empty room shows too are not, if it is known.
What is left falls into surfaces, at whose edges the depth jumps; the person is the largest of them, and those that
touch it in the picture and are as near in depth as limbs are: an arm that points at the camera, the leg behind.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

BACKGROUND = 1e4
"""Metres: the depth of what is no body, or outside of the picture; larger than any depth of a sensor."""

ROOM_SHARE = 0.02  # of its depth by which a surface must stand before the empty room: above noise and steps
TOUCHING = 2  # pixels between a surface and one that touches it


def person_mask(
    depth: Float[Tensor, "H W"],
    *,
    nearest: float = 0.4,
    farthest: float = 4.5,
    jump: float = 0.12,
    limb: float = 0.6,
    room: Float[Tensor, "H W"] | None = None,
) -> Bool[Tensor, "H W"]:
    """Find the pixels of the one person in a depth image.

    Args:
        depth: metres; 0 where nothing is measured.
        nearest, farthest: metres, where a person can stand; the range of the Kinect is 0.4 to 4.5 m.
        jump: metres between neighbouring pixels from which on they are of different surfaces.
        limb: metres before or behind the largest surface within which one that touches it is of the person too.
        room: depth of the same view without the person, 0 where unknown. With it the floor goes too, which a person
            stands on without any jump.

    Raises:
        ValueError: if depth is negative or not a number, or the room is of another size.
    """
    measured = depth.detach().cpu().double().numpy()
    if not (measured >= 0).all():
        raise ValueError("received negative or missing depth, expected metres, and 0 where nothing is measured")
    kept = (measured > nearest) & (measured < farthest)
    if room is not None:
        if room.shape != depth.shape:
            raise ValueError(f"received a room of {tuple(room.shape)}, expected {tuple(depth.shape)} as the depth")
        empty = room.detach().cpu().double().numpy()
        kept &= (empty == 0) | (measured < (1 - ROOM_SHARE) * empty)
    return torch.from_numpy(_largest_body(measured, kept, jump, limb))


def remove_background(
    depth: Float[Tensor, "H W"], mask: Bool[Tensor, "H W"], background: float = BACKGROUND
) -> Float[Tensor, "H W"]:
    """Return the depth of the person, and a large constant everywhere else."""
    return torch.where(mask, depth, background)


def _largest_body(depth: np.ndarray, kept: np.ndarray, jump: float, limb: float) -> np.ndarray:
    """Return the pixels of the largest surface, and of its limbs."""
    if not kept.any():
        return kept
    surface = _surfaces(depth, kept, jump)
    largest = surface == np.bincount(surface[kept]).argmax()
    person = largest.copy()
    for other in np.unique(surface[binary_dilation(largest, iterations=TOUCHING) & kept & ~largest]):
        own = surface == other
        beside = depth[binary_dilation(own, iterations=TOUCHING) & largest]
        if abs(np.median(depth[own]) - np.median(beside)) < limb:
            person |= own
    return person


def _surfaces(depth: np.ndarray, kept: np.ndarray, jump: float) -> np.ndarray:
    """Number the surfaces that the kept pixels fall into; -1 elsewhere."""
    number = np.cumsum(kept.ravel()).reshape(kept.shape) - 1
    right, left, below, above = (slice(None), slice(1, None)), (slice(None), slice(-1)), (slice(1, None),), (slice(-1),)
    links = []
    for one, other in ((right, left), (below, above)):
        joined = kept[one] & kept[other] & (np.abs(depth[one] - depth[other]) < jump)
        links.append(np.stack((number[one][joined], number[other][joined])))
    pairs, count = np.concatenate(links, axis=1), int(kept.sum())
    graph = coo_matrix((np.ones(pairs.shape[1], np.int8), (pairs[0], pairs[1])), shape=(count, count))
    surface = np.full(kept.shape, -1)
    surface[kept] = connected_components(graph, directed=False)[1]
    return surface
