"""What a semantic segmenter gives."""

from dataclasses import dataclass
from typing import Any

import PIL.Image
import torch
from jaxtyping import UInt8
from torch import Tensor

from vidi.ops.drawing import Picture, as_picture, legible, tint_classes, with_legend
from vidi.ops.label_maps import VOID
from vidi.ops.palette import PAPER, class_colour
from vidi.results.categories import Categories
from vidi.results.result import Result, check_labels, check_size, settle

LEGEND_ENTRIES = 12


@dataclass(frozen=True, eq=False, repr=False)
class SemanticMap(Result):
    """The class of every pixel of one image."""

    classes: UInt8[Tensor, "H W"]  # VOID where ignored
    categories: Categories

    def __post_init__(self) -> None:
        settle(self, classes=self.classes.detach().cpu())
        present = self.classes.unique()
        check_labels(present[present != VOID].long(), self.categories)

    def shares(self) -> list[tuple[int, float]]:
        """Return the classes that occur and their share of the pixels that are not ignored, the largest first."""
        counts = torch.bincount(self.classes.flatten().long(), minlength=VOID + 1)[:VOID]
        order = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())]
        return [(k, int(counts[k]) / int(counts.sum())) for k in order.tolist()]

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the picture tinted by class ("background" and ignored pixels stay as they are) above a legend.

        Raises:
            ValueError: if the map is not as large as the image.
        """
        original = as_picture(image)
        check_size("classes", self.classes, original)
        picture = legible(original)
        shares = self.shares()
        tint_classes(picture, self.classes, {k: class_colour(k) for k, _ in shares if self._name(k) != "background"})
        entries = [(class_colour(k), f"{self._name(k)} {_percent(share)}") for k, share in shares[:LEGEND_ENTRIES]]
        if len(shares) > LEGEND_ENTRIES:
            entries.append((PAPER, f"and {len(shares) - LEGEND_ENTRIES} more"))
        return with_legend(picture, entries)

    def maps(self) -> dict[str, Tensor]:
        """Return the class of every pixel, VOID where ignored."""
        return {"classes": self.classes}

    def to_dict(self) -> dict[str, Any]:
        """Return the size of the map and the classes that occur with their share of the pixels, as plain values."""
        shares = [{"label": k, "name": self._name(k), "share": share} for k, share in self.shares()]
        return {"size": list(self.classes.shape), "classes": shares}

    def _name(self, k: int) -> str:
        return self.categories[k] or f"unnamed {k}"

    def __str__(self) -> str:
        best = [f"{self._name(k)} {_percent(share)}" for k, share in self.shares()[:3]]
        more = len(self.shares()) - 3
        return ", ".join(best + [f"{more} more"] * (more > 0)) or "all ignored"


def _percent(share: float) -> str:
    return "<1%" if share < 0.005 else f"{share:.0%}"
