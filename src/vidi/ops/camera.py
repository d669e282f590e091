"""The camera of a picture that looks straight ahead: its matrix, and its focal length from what is told of it.

Pixels are square, and the axis of the lens meets the picture in its middle:

    K = (f 0 W/2; 0 f H/2; 0 0 1)        f = W / 2 / tan(fov / 2)

EXIF tells the focal length in one of two ways (JEITA CP-3451, section 4.6.5). For film of 36 mm x 24 mm, whose diagonal
is meant (CIPA DCG-001): f = F35 * diagonal of the picture / diagonal of the film. Or in millimetres, with the pixels
of the sensor in an inch, a centimetre or a millimetre, of a picture as wide as the sensor made it: a resized one has
fewer.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float32
from PIL.ExifTags import Base
from torch import Tensor

FILM = math.hypot(36, 24)  # millimetres
MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0}  # of the unit of FocalPlaneXResolution; without one it is an inch


def straight_camera(focal: float | int, size: tuple[int, int]) -> Float32[Tensor, "3 3"]:
    """Return the camera matrix of a picture of size (H, W) from its focal length in pixels."""
    return torch.tensor([[focal, 0, size[1] / 2], [0, focal, size[0] / 2], [0, 0, 1]], dtype=torch.float32)


def focal_of_view(fov: float | int, width: int) -> float:
    """Return the focal length in pixels of a picture whose width shows an angle of `fov` degrees.

    Raises:
        ValueError: for an angle that no flat picture shows.
    """
    if not 0 < fov < 180:
        raise ValueError(f"received a field of view of {fov} degrees, expected more than 0 and less than 180")
    return width / 2 / math.tan(math.radians(fov) / 2)


def focal_of_exif(tags: Mapping[int, Any], size: tuple[int, int]) -> float | None:
    """Return the focal length in pixels that EXIF tags tell of a picture of size (H, W) as it is stored; None: nothing.

    Values that are zero, or no numbers, tell nothing.
    """
    film = _number(tags, Base.FocalLengthIn35mmFilm)
    if film is not None:
        return film * math.hypot(*size) / FILM
    millimetres, density = _number(tags, Base.FocalLength), _number(tags, Base.FocalPlaneXResolution)
    unit = MILLIMETRES.get(int(_number(tags, Base.FocalPlaneResolutionUnit) or 2))
    if millimetres is None or density is None or unit is None:
        return None
    taken = _number(tags, Base.ExifImageWidth) or size[1]
    return millimetres * density / unit * size[1] / taken


def _number(tags: Mapping[int, Any], tag: int) -> float | None:
    try:
        value = float(tags[tag])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return value if math.isfinite(value) and value > 0 else None
