"""The two ways in which recognition is tested: identification (gallery and probes) and verification (pairs).

They divide any labelled samples, generated faces or real ones, given the identity of each sample.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


class GallerySplit(NamedTuple):
    """Places of samples: those that are enrolled, and those to be recognised."""

    gallery: Int64[Tensor, " G"]
    probes: Int64[Tensor, " P"]  # of enrolled people
    strangers: Int64[Tensor, " S"]  # of people who are not enrolled: to be rejected


class Pairs(NamedTuple):
    """Pairs of samples to verify."""

    places: Int64[Tensor, "P 2"]
    same: Bool[Tensor, " P"]  # True where both show one identity


def gallery_split(
    identities: Int64[Tensor, " N"], *, enrolled: float = 1.0, per_identity: int = 1, seed: int = 0
) -> GallerySplit:
    """Enrol some samples of some identities, and leave the others to be recognised or rejected.

    Args:
        identities: the identity of each sample.
        enrolled: share of the identities that are in the gallery; below 1 the test is an open-set one.
        per_identity: samples of each enrolled identity that are in the gallery.
        seed: which identities are enrolled, and with which samples.

    Raises:
        ValueError: if no identity would be enrolled, or an enrolled one would have no probe.
    """
    generator = torch.Generator().manual_seed(seed)
    people = identities.unique()
    people = people[torch.randperm(len(people), generator=generator)]
    known = people[: round(enrolled * len(people))]
    if not len(known) or per_identity < 1:
        raise ValueError(f"received enrolled={enrolled}, per_identity={per_identity}: nobody would be in the gallery")

    gallery, probes = [], []
    for person in known.tolist():
        places = (identities == person).nonzero()[:, 0]
        if len(places) <= per_identity:
            raise ValueError(f"identity {person} has {len(places)} samples, expected more than {per_identity}")
        places = places[torch.randperm(len(places), generator=generator)]
        gallery.append(places[:per_identity])
        probes.append(places[per_identity:])
    strangers = (~torch.isin(identities, known)).nonzero()[:, 0]
    return GallerySplit(torch.cat(gallery).sort().values, torch.cat(probes).sort().values, strangers)


def verification_pairs(identities: Int64[Tensor, " N"], count: int, *, seed: int = 0) -> Pairs:
    """Draw `count` different pairs of samples: first count // 2 of one identity each, then the rest of two.

    Raises:
        ValueError: if there are fewer such pairs.
    """
    N = len(identities)
    first, second = torch.triu_indices(N, N, offset=1)
    equal = identities[first] == identities[second]
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for what, wanted, pool in (("one identity", count // 2, equal), ("two identities", count - count // 2, ~equal)):
        places = pool.nonzero()[:, 0]
        if len(places) < wanted:
            raise ValueError(f"asked for {wanted} pairs of {what}, the {N} samples have {len(places)}")
        chosen.append(places[torch.randperm(len(places), generator=generator)[:wanted]])
    places = torch.cat(chosen)
    return Pairs(torch.stack([first[places], second[places]], 1), equal[places])
