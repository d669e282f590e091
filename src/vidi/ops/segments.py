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


class Segments(NamedTuple):
    """The segments of one map, by rising id."""

    ids: Int64[Tensor, " S"]
    labels: Int64[Tensor, " S"]
    crowd: Bool[Tensor, " S"]  # whether a segment holds objects without number

    def masks(self, panoptic: Int[Tensor, "H W"]) -> Bool[Tensor, "S H W"]:
        """Return the pixels of each segment on the map that they come from."""
        return panoptic == self.ids[:, None, None]


def segments_of(target: Mapping[str, Tensor]) -> Segments:
    """Return the segments of a target with `panoptic`, `semantic` and maybe `crowd`; those of no class are left out.

    Raises:
        ValueError: if a map is missing, or the two are not of one size.
    """
    if not {"panoptic", "semantic"} <= target.keys():
        raise ValueError(f"received a target with {sorted(target)}, expected at least panoptic and semantic")
    panoptic, semantic = (target[name].as_subclass(Tensor).flatten() for name in ("panoptic", "semantic"))
    if target["panoptic"].shape != target["semantic"].shape:
        sizes = " and ".join(f"{name} of {tuple(target[name].shape)}" for name in ("panoptic", "semantic"))
        raise ValueError(f"received {sizes}, expected maps of one size")
    ids, of_pixel = panoptic.long().unique(return_inverse=True)
    places = torch.arange(len(panoptic), device=panoptic.device)
    first = torch.full_like(ids, len(panoptic)).scatter_reduce(0, of_pixel, places, "amin")
    labels = semantic[first].long()
    kept = (ids > 0) & (labels != VOID)
    ids, labels = ids[kept], labels[kept]
    return Segments(ids, labels, _crowd(ids, target))


def _crowd(ids: Int64[Tensor, " S"], target: Mapping[str, Tensor]) -> Bool[Tensor, " S"]:
    crowd = target.get("crowd")
    if crowd is None or not len(crowd):
        return torch.zeros_like(ids, dtype=torch.bool)
    return (ids <= len(crowd)) & crowd[(ids - 1).clamp(max=len(crowd) - 1)].bool()


def without_objects(panoptic: Int[Tensor, "H W"], kept: Bool[Tensor, " N"]) -> Int[Tensor, "H W"]:
    """Number a map anew from which only some of N objects are kept: theirs by their new rows, then stuff.

    What belonged to the others belongs to no segment.
    """
    table = torch.arange(max(int(panoptic.max()) if panoptic.numel() else 0, len(kept)) + 1, device=panoptic.device)
    table[1 : len(kept) + 1] = torch.where(kept, kept.cumsum(0), 0)
    table[len(kept) + 1 :] -= len(kept) - kept.sum()
    return table[panoptic.long()].to(panoptic.dtype)
