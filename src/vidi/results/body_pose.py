"""What a finder of bodies in depth images gives: the part of every pixel, and joints in space."""

from dataclasses import dataclass
from typing import Any

import PIL.Image
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vidi.ops.boxes_3d import project_points
from vidi.ops.depth_pictures import depth_picture
from vidi.ops.drawing import Picture, as_picture, legible, tint_classes
from vidi.ops.palette import INK, class_colour
from vidi.ops.skeletons import Skeleton
from vidi.ops.wireframes import draw_skeleton
from vidi.results.categories import Categories
from vidi.results.result import Result, check_finite, check_labels, check_size, settle


@dataclass(frozen=True, eq=False, repr=False)
class BodyPose(Result):
    """The parts and joints of the person in one depth image; several proposals of one joint are in order."""

    classes: UInt8[Tensor, "H W"]  # number of the part; len(categories) off the body
    categories: Categories  # names of the parts
    proposed: Int64[Tensor, " M"]  # number of the joint of each proposal
    positions: Float[Tensor, "M 3"]  # metres in the camera's frame
    confidences: Float[Tensor, " M"]  # square metres of surface that speak for it
    skeleton: Skeleton
    intrinsics: Float[Tensor, "3 3"]  # pixels of the image

    def __post_init__(self) -> None:
        names = ("classes", "proposed", "positions", "confidences", "intrinsics")
        settle(self, **{name: getattr(self, name).detach().cpu() for name in names})
        if not len(self.proposed) == len(self.positions) == len(self.confidences):
            lengths = f"{len(self.proposed)}, {len(self.positions)} and {len(self.confidences)}"
            raise ValueError(f"received {lengths} joints, positions and confidences, expected as many of each")
        check_finite(positions=self.positions, confidences=self.confidences, intrinsics=self.intrinsics)
        present = self.classes.unique().long()
        check_labels(present[present != len(self.categories)], self.categories)
        if ((self.proposed < 0) | (self.proposed >= len(self.skeleton.joints))).any():
            raise ValueError(f"received joints {self.proposed.unique().tolist()}, the skeleton has other ones")
        order = self.confidences.argsort(descending=True, stable=True)
        settle(self, **{name: getattr(self, name)[order] for name in ("proposed", "positions", "confidences")})

    def best(self) -> list[int | None]:
        """Return the place of the surest proposal of each joint; None without one."""
        places = self.proposed.tolist()
        return [places.index(joint) if joint in places else None for joint in range(len(self.skeleton.joints))]

    def joints(self) -> tuple[Float[Tensor, "J 3"], Float[Tensor, " J"]]:
        """Return the position and the confidence of the surest proposal of each joint; zeros without one."""
        positions = torch.zeros(len(self.skeleton.joints), 3)
        confidences = torch.zeros(len(self.skeleton.joints))
        for joint, place in enumerate(self.best()):
            if place is not None:
                positions[joint], confidences[joint] = self.positions[place], self.confidences[place]
        return positions, confidences

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the picture (a depth image in grey) with its parts tinted and the skeleton of the surest joints.

        Confidences are no scores from 0 to 1: `threshold` hides nothing.

        Raises:
            ValueError: if the map is not as large as the image.
        """
        is_depth = isinstance(image, Tensor) and image.ndim == 3 and len(image) == 1 and image.is_floating_point()
        original = as_picture(depth_picture(image) if is_depth else image)  # pyright: ignore[reportArgumentType]
        check_size("classes", self.classes, original)
        picture = legible(original)
        tint_classes(picture, self.classes, {k: class_colour(k) for k in range(len(self.categories))})
        scale = picture.width / original.width
        pixels = (project_points(self.positions, self.intrinsics) * scale).tolist()
        joints = [None if place is None else tuple(pixels[place]) for place in self.best()]
        draw_skeleton(picture, joints, self.skeleton.bones, INK)
        return picture

    def maps(self) -> dict[str, Tensor]:
        """Return the part of every pixel, as many as there are names off the body."""
        return {"classes": self.classes}

    def to_dict(self) -> dict[str, Any]:
        """Return the joints that were found, and the share of the body that each part covers, as plain values."""
        counts = torch.bincount(self.classes.flatten().long(), minlength=256)[: len(self.categories)]
        body = max(int(counts.sum()), 1)
        joints = [
            {"name": name, "position": self.positions[place].tolist(), "confidence": float(self.confidences[place])}
            for name, place in zip(self.skeleton.joints, self.best(), strict=True)
            if place is not None
        ]
        shares = [
            {"name": self.categories[k], "share": int(counts[k]) / body} for k in counts.nonzero().flatten().tolist()
        ]
        return {"size": list(self.classes.shape), "joints": joints, "parts": shares}

    def __str__(self) -> str:
        found = sum(place is not None for place in self.best())
        body = (self.classes < len(self.categories)).float().mean().item()
        far = f", {self.positions[:, 2].median():.2f} m away" if found else ""
        return f"{found} of {len(self.skeleton.joints)} joints, body on {body:.0%} of the picture{far}"
