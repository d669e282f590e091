"""What CLIP gives for an image: where it lies among images and texts, and how near its caption is."""

from dataclasses import dataclass
from typing import Any

import PIL.Image
from jaxtyping import Float
from torch import Tensor

from vidi.ops.drawing import Picture, as_picture, legible
from vidi.results.caption import with_text
from vidi.results.result import Result, check_finite, settle


@dataclass(frozen=True, eq=False, repr=False)
class ImageText(Result):
    """The unit vectors of one image and, where it has a caption, of that."""

    image: Float[Tensor, " E"]
    text: Float[Tensor, " E"] | None = None

    def __post_init__(self) -> None:
        settle(self, image=self.image.detach().cpu())
        check_finite(image=self.image)
        if self.text is not None:
            settle(self, text=self.text.detach().cpu())
            check_finite(text=self.text)

    @property
    def vector(self) -> Float[Tensor, " E"]:
        """That of the image: what `Embedding` calls it."""
        return self.image

    @property
    def metric(self) -> str:
        """The distance that vectors are compared by."""
        return "cosine"

    @property
    def similarity(self) -> float | None:
        """The cosine of image and caption; None without a caption."""
        return None if self.text is None else float(self.image @ self.text)

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the picture, above the similarity of its caption where it has one."""
        if self.similarity is None:
            return legible(as_picture(image))
        return with_text(image, f"similarity to its caption {self.similarity:.3f}")

    def to_dict(self) -> dict[str, Any]:
        """Return the vector, and the similarity of the caption, as plain values."""
        near = {} if self.text is None else {"similarity": self.similarity}
        return {"embedding": self.image.tolist(), **near}

    def __str__(self) -> str:
        near = "" if self.text is None else f", similarity to its caption {self.similarity:.3f}"
        return f"a vector of {len(self.image)} numbers{near}"
