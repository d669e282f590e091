"""Background removal: which pixels of a depth image belong to the person (Shotton et al. 2011; notes 5.1.1, phase 1).

Measured surfaces within reach of the sensor are kept; those that the empty room shows too are not, if it is known.
What is left falls into surfaces, at whose edges the depth jumps; the person is the largest of them, and what floats
before it (an arm that points at the camera is cut off from the body by a jump of its own).
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
TOUCHING = 2  # pixels between a surface and one that floats before it


def person_mask(
    depth: Float[Tensor, "H W"],
    *,
    nearest: float = 0.4,
    farthest: float = 4.5,
    jump: float = 0.12,
    room: Float[Tensor, "H W"] | None = None,
) -> Bool[Tensor, "H W"]:
    """Find the pixels of the one person in a depth image.

    Args:
        depth: metres; 0 where nothing is measured.
        nearest, farthest: metres, where a person can stand; the range of the Kinect is 0.4 to 4.5 m.
        jump: metres between neighbouring pixels from which on they are of different surfaces.
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
    return torch.from_numpy(_largest_surface(measured, kept, jump))


def remove_background(
    depth: Float[Tensor, "H W"], mask: Bool[Tensor, "H W"], background: float = BACKGROUND
) -> Float[Tensor, "H W"]:
    """Return the depth of the person, and a large constant everywhere else."""
    return torch.where(mask, depth, background)


def _largest_surface(depth: np.ndarray, kept: np.ndarray, jump: float) -> np.ndarray:
    """Return the pixels of the largest surface, and of those that lie before it in the picture."""
    number = np.cumsum(kept.ravel()).reshape(kept.shape) - 1
    pairs = []
    for one, other in (((slice(None), slice(1, None)), (slice(None), slice(-1))), ((slice(1, None),), (slice(-1),))):
        joined = kept[one] & kept[other] & (np.abs(depth[one] - depth[other]) < jump)
        pairs.append(np.stack((number[one][joined], number[other][joined])))
    links, count = np.concatenate(pairs, axis=1), int(kept.sum())
    if count == 0:
        return kept
    graph = coo_matrix((np.ones(links.shape[1], np.int8), (links[0], links[1])), shape=(count, count))
    surface = np.full(kept.shape, -1)
    surface[kept] = connected_components(graph, directed=False)[1]
    largest = np.bincount(surface[kept]).argmax()
    person = surface == largest
    around = binary_dilation(person, iterations=TOUCHING) & kept & ~person
    for other in np.unique(surface[around]):
        own = surface == other
        behind = depth[binary_dilation(own, iterations=TOUCHING) & person]
        if np.median(depth[own]) < np.median(behind):
            person |= own
    return person
