"""Segments of a panoptic map: which there are, of what class, and which of them are crowds.

A map of ids (0: no segment) and one of classes say all of it. Ids 1 .. N name the objects of a target by their rows;
stuff has ids beyond. So a target whose objects are dropped needs its ids numbered anew.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int, Int64
from torch import Tensor

from vidi.ops.label_maps import VOID

LARGEST = 65_536  # ids above are numbered anew before they index a table


class Segments(NamedTuple):
    """The segments of one map, by rising id."""

    ids: Int64[Tensor, " S"]
    labels: Int64[Tensor, " S"]
    crowd: Bool[Tensor, " S"]  # whether a segment holds objects without number
    is_object: Bool[Tensor, " S"]  # whether it is one of the target's objects, a thing

    def masks(self, panoptic: Int[Tensor, "H W"]) -> Bool[Tensor, "S H W"]:
        """Return the pixels of each segment on the map that they come from."""
        return panoptic == self.ids[:, None, None]


def segments_of(target: Mapping[str, Tensor]) -> Segments:
    """Return the segments of a target with `panoptic`, `semantic` and maybe `crowd`; those of no class are left out.

    `crowd` has a row for each object; without it no segment is one.

    Raises:
        ValueError: if a map is missing, an id is negative, or the maps are not of one size.
    """
    if not {"panoptic", "semantic"} <= target.keys():
        raise ValueError(f"received a target with {sorted(target)}, expected at least panoptic and semantic")
    panoptic, semantic = (target[name].as_subclass(Tensor).flatten().long() for name in ("panoptic", "semantic"))
    if target["panoptic"].shape != target["semantic"].shape:
        sizes = " and ".join(f"{name} of {tuple(target[name].shape)}" for name in ("panoptic", "semantic"))
        raise ValueError(f"received {sizes}, expected maps of one size")
    ids, rows = _numbered(panoptic)
    labels = torch.full_like(ids, VOID).scatter_reduce(0, rows, semantic, "amin")
    kept = (ids > 0) & (labels != VOID)
    ids, labels = ids[kept], labels[kept]
    crowd = target.get("crowd", torch.zeros(0, dtype=torch.bool, device=ids.device)).bool()
    is_object = ids <= len(crowd)
    is_crowd = torch.zeros_like(is_object)
    is_crowd[is_object] = crowd[ids[is_object] - 1]
    return Segments(ids, labels, is_crowd, is_object)


def _numbered(panoptic: Int64[Tensor, " N"]) -> tuple[Int64[Tensor, " I"], Int64[Tensor, " N"]]:
    """Return ids, among them those of a map, and for each pixel the row of its own."""
    if panoptic.numel() and panoptic.min() < 0:
        raise ValueError(f"received the segment id {int(panoptic.min())}, expected 0 or more")
    largest = int(panoptic.max()) if panoptic.numel() else 0
    if largest > LARGEST:
        ids, rows = panoptic.unique(return_inverse=True)
        return ids, rows
    return torch.arange(largest + 1, device=panoptic.device), panoptic


def without_objects(panoptic: Int[Tensor, "H W"], kept: Bool[Tensor, " N"]) -> Int[Tensor, "H W"]:
    """Number a map anew from which only some of N objects are kept: theirs by their new rows, then stuff.

    What belonged to the others belongs to no segment.
    """
    ids, rows = _numbered(panoptic.flatten().long())
    of_objects = torch.cat((kept.new_zeros(1).long(), torch.where(kept, kept.cumsum(0), 0)))  # N+1
    is_object = ids <= len(kept)
    renumbered = ids - (len(kept) - int(kept.sum()))
    renumbered[is_object] = of_objects[ids[is_object]]
    return renumbered[rows].view(panoptic.shape).to(panoptic.dtype)
