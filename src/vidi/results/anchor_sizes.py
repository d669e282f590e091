"""What a search for anchors gives."""

from dataclasses import dataclass
from typing import Any

import PIL.Image
from jaxtyping import Float
from torch import Tensor

from vidi.ops.drawing import Picture, as_picture, draw_box, legible
from vidi.ops.palette import class_colour
from vidi.results.result import Result, check_finite, settle


@dataclass(frozen=True, eq=False, repr=False)
class AnchorSizes(Result):
    """Typical box sizes of a data set, the smallest first."""

    sizes: Float[Tensor, "K 2"]  # width, height in pixels
    mean_iou: float  # of the boxes with their nearest size, in [0, 1]

    def __post_init__(self) -> None:
        sizes = self.sizes.detach().cpu()
        check_finite(sizes=sizes)
        if not (sizes > 0).all():
            raise ValueError(f"received sizes {sizes.tolist()}, expected positive widths and heights")
        settle(self, sizes=sizes[sizes.prod(dim=1).argsort(stable=True)])

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the picture with one box of each size about its centre."""
        original = as_picture(image)
        picture = legible(original)
        scale = picture.width / original.width
        x, y = picture.width / 2, picture.height / 2
        for k, (width, height) in reversed(list(enumerate((self.sizes * scale / 2).tolist()))):
            draw_box(picture, (x - width, y - height, x + width, y + height), class_colour(k))
        return picture

    def to_dict(self) -> dict[str, Any]:
        """Return the sizes and their fit as plain values."""
        sizes = [{"width": width, "height": height} for width, height in self.sizes.tolist()]
        return {"sizes": sizes, "mean_iou": self.mean_iou}

    def __str__(self) -> str:
        sizes = ", ".join(f"{width:.0f}x{height:.0f}" for width, height in self.sizes.tolist())
        return f"{sizes} (mean IoU {self.mean_iou:.3f})"
