"""What is common to all results: typed values on the CPU, in the pixels of the original image.

Each one draws itself on the image (small images are enlarged until text is legible), turns itself into plain values
for JSON, and is one line on a terminal.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import PIL.Image
from torch import Tensor

from vidi import files
from vidi.ops.drawing import Picture
from vidi.results.categories import Categories

BELOW = "below the score"  # why most candidates are no part of a result


SHOWN_FROM = 0.5
"""The score from which on an object is shown, where neither a run nor a caller says another one."""


class Result:
    """What is common to all results. One of `predict` remembers the picture that it is of."""

    picture: Callable[[], Picture] | None = None

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the picture with the result drawn on it.

        What is found with a score below `threshold` is hidden, by default below the result's own; what has no such
        scores ignores it.
        """
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        raise NotImplementedError

    def maps(self) -> dict[str, Tensor]:
        """Return what it says of every pixel, H W, by name; nothing by default."""
        return {}

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict())

    def drawn(self) -> PIL.Image.Image:
        """Return the picture that it was predicted on with the result drawn on it.

        Raises:
            ValueError: if it was made by other means than `predict`, which remembers the picture.
        """
        if self.picture is None:
            raise ValueError(f"this {type(self).__name__} knows no picture; draw it on one: result.draw(image)")
        return self.draw(self.picture())

    def save(self, path: files.PathLike) -> Path:
        """Write `drawn` to a file of the kind that its suffix says; return its path."""
        files.write_image(path, self.drawn())
        return Path(path)

    def show(self) -> None:
        """Show `drawn` in a window; below the cell of a notebook the result itself is shown."""
        self.drawn().show()

    def _repr_png_(self) -> bytes | None:
        """Return what a notebook shows below a cell that ends with the result."""
        return None if self.picture is None else self.drawn()._repr_png_()  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"


def nothing_found(what: str, fallen: Mapping[str, int]) -> str:
    """Say that there is nothing in a result, and how many candidates fell why."""
    reasons = ", ".join(f"{count} {why}" for why, count in fallen.items())
    return f"no {what} ({reasons})" if reasons else f"no {what}"


def nothing_above(threshold: float, best: float) -> str:
    """Say that nothing found is sure enough to be shown, and how sure the best of it is."""
    return f"nothing above {threshold:g} (best {best:.2g})"


# ----------------------------------------------------------------------------------------------------------------------
# Consistency


def settle(result: Any, **fields: Any) -> None:
    """Give fields of a frozen dataclass their final value during its construction."""
    for name, value in fields.items():
        object.__setattr__(result, name, value)


def check_finite(**tensors: Tensor) -> None:
    for name, values in tensors.items():
        if not values.isfinite().all():
            raise ValueError(f"received {name} that are not finite")


def check_labels(labels: Tensor, categories: Categories) -> None:
    wrong = labels[(labels < 0) | (labels >= len(categories))]
    if len(wrong):
        raise ValueError(f"received label {int(wrong[0])}, expected 0..{len(categories) - 1}")


def check_size(what: str, pixels: Tensor, image: PIL.Image.Image) -> None:
    if tuple(pixels.shape) != (image.height, image.width):
        raise ValueError(f"received {what} of size {tuple(pixels.shape)}, expected {(image.height, image.width)}")
