"""What a system that colours grey pictures gives."""

from dataclasses import dataclass
from typing import Any

import PIL.Image
from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from vidi.ops.drawing import Picture, as_picture, legible
from vidi.results.result import Result, check_finite, check_size, settle


@dataclass(frozen=True, eq=False, repr=False)
class ColouredPicture(Result):
    """A picture with colours that were made up from its luminance, and the picture that was given.

    Attributes:
        colours: in [0, 1].
        given: in [0, 1], as the network saw it; only its luminance was used.
    """

    colours: Float[Tensor, "3 H W"]
    given: Float[Tensor, "3 H W"]

    def __post_init__(self) -> None:
        settle(self, **{name: getattr(self, name).detach().cpu().float().clamp(0, 1) for name in ("colours", "given")})
        check_finite(colours=self.colours, given=self.given)

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the luminance of the picture, the colours that were made up, and the picture, side by side.

        Raises:
            ValueError: if the colours are not as large as the image.
        """
        original = as_picture(image)
        check_size("colours", self.colours[0], original)
        parts = [legible(part) for part in (original.convert("L").convert("RGB"), to_pil_image(self.colours), original)]
        width, height = parts[0].size
        sheet = PIL.Image.new("RGB", (3 * width, height))
        for place, part in enumerate(parts):
            sheet.paste(part, (place * width, 0))
        return sheet

    def to_dict(self) -> dict[str, Any]:
        """Return the size, the mean colour, and how far the colours are from those of the picture that was given."""
        mean = self.colours.mean((1, 2)).tolist()
        return {"size": list(self.colours.shape[1:]), "mean_colour": mean, "error": self.error}

    def __str__(self) -> str:
        red, green, blue = (round(255 * value) for value in self.colours.mean((1, 2)).tolist())
        return f"coloured, on average ({red}, {green}, {blue}); {self.error:.1%} from the picture's own colours"

    @property
    def error(self) -> float:
        """Return the mean absolute difference from the picture that was given."""
        return float((self.colours - self.given).abs().mean())
