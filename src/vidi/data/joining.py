"""All splits of a data set as one: what is asked for as `all` where a set comes in parts."""

import copy
from collections.abc import Collection, Mapping
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import Dataset


class Joined(Dataset[Any]):
    """The samples of several splits, one after the other; what is not of samples is that of the first.

    Image ids are those of the splits where no two images share one, else the number of the sample.

    Args:
        splits: by name, opened, with the same classes.

    Raises:
        ValueError: if there is no split.
    """

    def __init__(self, splits: Mapping[str, Any]):
        if not splits:
            raise ValueError("received no splits, expected one at least")
        self._splits = dict(splits)
        self._places = [(name, row) for name, part in self._splits.items() for row in range(len(part))]
        ids = [] if any(not hasattr(part, "giving") for part in self._splits.values()) else _ids(self._splits)
        self._ids = ids if len(set(ids)) == len(self._places) else list(range(len(self._places)))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # not of a copy that has no splits yet
            raise AttributeError(name)
        return getattr(next(iter(self._splits.values())), name)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        name, row = self._places[index]
        image, target = self._splits[name][row]
        return image, {**target, "image_id": torch.tensor(self._ids[index])}

    @property
    def faults(self) -> tuple[Any, ...]:
        """The faults of all splits."""
        return tuple(dict.fromkeys(fault for part in self._splits.values() for fault in getattr(part, "faults", ())))

    @property
    def remarks(self) -> tuple[Any, ...]:
        """The remarks of all splits."""
        return tuple(dict.fromkeys(remark for part in self._splits.values() for remark in getattr(part, "remarks", ())))

    @property
    def left_out(self) -> int:
        """The images of all splits that are not given for a fault of theirs."""
        return sum(getattr(part, "left_out", 0) for part in self._splits.values())

    @property
    def labels(self) -> Int64[Tensor, " N"]:
        """The class of each image."""
        return torch.cat([part.labels for part in self._splits.values()])

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The data set's own number of each class; none where the splits have several, or none."""
        ids = {tuple(getattr(part, "category_ids", ())) for part in self._splits.values()}
        return next(iter(ids)) if len(ids) == 1 else ()

    def name(self, index: int) -> str:
        """Return where a sample comes from."""
        split, row = self._places[index]
        part = self._splits[split]
        return str(part.name(row)) if callable(getattr(part, "name", None)) else f"image {row} of {split}"

    def giving(self, kinds: Collection[str]) -> "Joined":
        """Return the same samples with only these keys in their targets, where a split can do so."""
        narrowed = copy.copy(self)
        narrowed._splits = {
            name: part.giving(kinds) if hasattr(part, "giving") else part for name, part in self._splits.items()
        }
        return narrowed


def _ids(splits: Mapping[str, Any]) -> list[int]:
    """Return the image ids of all splits, without decoding a picture."""
    bare = [part.giving(()) for part in splits.values()]
    return [int(part.target(row)["image_id"]) for part in bare for row in range(len(part))]
