"""What is common to all results: typed values on the CPU, in the pixels of the original image.

Each one draws itself on the image (small images are enlarged until text is legible), turns itself into plain values
for JSON, and is one line on a terminal.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import PIL.Image
from torch import Tensor

from vidi.ops.drawing import Picture
from vidi.results.categories import Categories

BELOW = "below the score"  # why most candidates are no part of a result


class Result(Protocol):
    """What is common to all results."""

    def draw(self, image: Picture, *, threshold: float = 0.5) -> PIL.Image.Image:
        """Return the picture with the result drawn on it.

        What is found with a score below `threshold` is hidden; what has no such scores ignores it.
        """
        ...

    def to_dict(self) -> dict[str, Any]: ...

    def __str__(self) -> str: ...


def nothing_found(what: str, fallen: Mapping[str, int]) -> str:
    """Say that there is nothing in a result, and how many candidates fell why."""
    reasons = ", ".join(f"{count} {why}" for why, count in fallen.items())
    return f"no {what} ({reasons})" if reasons else f"no {what}"


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
