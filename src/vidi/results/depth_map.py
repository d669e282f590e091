"""What a system of depth gives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vidi import files
from vidi.ops.depth_pictures import inverse_depth_picture, with_colour_bar
from vidi.ops.drawing import Picture, as_picture, legible
from vidi.ops.point_cloud import point_cloud
from vidi.results.result import Result, check_finite, check_size, settle

Unit = Literal["metres", "relative"]
FocalSource = Literal["given", "EXIF", "data set", "estimated"]
PER_METRE = 256.0  # of the values in a picture of 16 bits, as KITTI writes depth
LARGEST = 65535
SHOWN = (2.0, 98.0)  # percentiles of the inverse depth, between which colours differ
TOLD = (5.0, 50.0, 95.0)  # percentiles of the depth


@dataclass(frozen=True, eq=False, repr=False)
class DepthMap(Result):
    """The depth of every pixel of one image.

    Attributes:
        depth: z in the camera's frame, in metres, or in a unit that differs from picture to picture; 0 where not valid.
        valid: where there is a depth.
        unit: of the depth.
        focal: in pixels of this image; None: not known.
        focal_source: where the focal length comes from.
        disparity: in pixels of this image, of systems that find depth by it.
        motions: T_frame_image of the frames beside it in a video, in the unit of the depth, of systems that find them.
    """

    depth: Float[Tensor, "H W"]
    valid: Bool[Tensor, "H W"]
    unit: Unit
    focal: float | None = None
    focal_source: FocalSource | None = None
    disparity: Float[Tensor, "H W"] | None = None
    motions: Float[Tensor, "S 4 4"] | None = None

    def __post_init__(self) -> None:
        if (self.focal is None) != (self.focal_source is None):
            given = f"focal={self.focal} and focal_source={self.focal_source}"
            raise ValueError(f"received {given}, expected both or none")
        if self.focal is not None and not 0 < self.focal < float("inf"):
            raise ValueError(f"received focal={self.focal}, expected a positive number of pixels")
        valid = self.valid.detach().cpu()
        settle(self, valid=valid, depth=self.depth.detach().cpu().float().where(valid, 0))
        if self.disparity is not None:
            settle(self, disparity=self.disparity.detach().cpu().float())
            check_finite(disparity=self.disparity)
        if self.motions is not None:
            settle(self, motions=self.motions.detach().cpu().float())
            check_finite(motions=self.motions)
        check_finite(depth=self.depth)
        if bool((self.depth[valid] <= 0).any()):
            raise ValueError("received valid depth that is not positive")

    def percentiles(self, *percents: float | int) -> list[float]:
        """Return percentiles of the valid depth; none where nothing is valid."""
        seen = self.depth[self.valid].numpy()
        return np.percentile(seen, percents).tolist() if seen.size else []

    def is_constant(self, spread: float = 0.01) -> bool:
        """Tell whether the depths between the 5th and the 95th percentile differ by less than a share of the median."""
        found = self.percentiles(*TOLD)
        return bool(found) and found[2] - found[0] < spread * found[1]

    def draw(self, image: Picture, *, threshold: float | None = None) -> PIL.Image.Image:
        """Return the picture and its inverse depth in colours, side by side or below, over a bar with numbers.

        Colours saturate beyond the percentiles of `SHOWN`; pixels without depth are striped.

        Raises:
            ValueError: if the map is not as large as the image.
        """
        original = as_picture(image)
        check_size("depth", self.depth, original)
        shown = self.percentiles(*SHOWN)  # the nearest and the farthest
        limits = (1 / shown[1], 1 / shown[0]) if shown else None
        pair = [legible(original), legible(inverse_depth_picture(self.depth, self.valid, limits or (1.0, 1.0)))]
        width, height = pair[0].size
        beside = width <= 1.5 * height
        sheet = PIL.Image.new("RGB", (2 * width, height) if beside else (width, 2 * height))
        sheet.paste(pair[0], (0, 0))
        sheet.paste(pair[1], (width, 0) if beside else (0, height))
        in_metres = self.unit == "metres"
        title = "inverse depth, 1/m" if in_metres else "inverse depth, relative (no unit)"
        gaps = not bool(self.valid.all())
        return with_colour_bar(sheet, limits, title, reciprocal="m" if in_metres else "", gaps=gaps)

    def maps(self) -> dict[str, Tensor]:
        """Return the depth of every pixel, 0 where it is not known."""
        return {"depth": self.depth}

    def to_dict(self) -> dict[str, Any]:
        """Return size, unit, focal length and its source, the share of valid pixels and percentiles of their depth."""
        found = self.percentiles(0, *TOLD, 100)
        names = ("nearest", "5_percent", "median", "95_percent", "farthest")
        return {
            "size": list(self.depth.shape),
            "unit": self.unit,
            "focal_px": self.focal,
            "focal_source": self.focal_source,
            "valid": float(self.valid.float().mean()),
            "depth": dict(zip(names, found, strict=True)) if found else None,
        }

    def write_files(self, stem: Path, image: Picture) -> list[Path]:
        """Write the depth as `STEM.depth.png`, `.npy`, `.json` and `.ply`; return their paths.

            png   16 bit: metres times 256 up to 255.996 (relative depth times what makes the largest 65535), 0: none;
                  its text says the scale, the unit, the focal length and its source
            npy   float32 H W, 0: none
            json  what `to_dict` says
            ply   points in space with the colours of the picture; without a known focal length that of a picture as
                  wide as it is far away, which its header says

        Args:
            stem: path of the files without what is written behind it here.
            image: that the depth is of.

        Raises:
            ValueError: if the map is not as large as the image.
        """
        original = as_picture(image)
        check_size("depth", self.depth, original)
        paths = {kind: stem.with_name(f"{stem.name}.depth.{kind}") for kind in ("png", "npy", "json", "ply")}
        largest = float(self.depth.max()) if self.valid.any() else 1.0
        scale = PER_METRE if self.unit == "metres" else LARGEST / largest
        values = (self.depth.double() * scale).round().clamp(1, LARGEST).where(self.valid, 0)
        text = {"unit": self.unit, "scale": f"{scale:.9g}", "meaning": "depth = value / scale; 0: no depth"}
        told = {"focal_px": f"{self.focal:.6g}", "focal_source": self.focal_source or ""} if self.focal else {}
        files.write_image(paths["png"], PIL.Image.fromarray(values.numpy().astype(np.uint16)), text=text | told)
        files.write_array(paths["npy"], self.depth.numpy())
        files.write_json(paths["json"], self.to_dict())
        focal = self.focal or float(original.width)
        source = self.focal_source or "not known, taken as the width"
        comments = (f"unit {self.unit}", f"focal_px {focal:.6g} ({source})", "x to the right, y down, z away")
        colours = torch.from_numpy(np.asarray(original).copy()).permute(2, 0, 1)
        cloud = point_cloud(self.depth, self.valid, colours, focal=focal, comments=comments)
        files.write_bytes(paths["ply"], cloud)
        return list(paths.values())

    def __str__(self) -> str:
        found = self.percentiles(*TOLD)
        if not found:
            return "no depth"
        near, middle, far = found
        shown = f"{near:.3g} to {far:.3g} m, median {middle:.3g} m"
        if self.unit == "relative":
            shown = f"relative depth, the far is {far / near:.3g} times as far as the near"
        valid = "" if self.valid.all() else f", {float(self.valid.float().mean()):.0%} valid"
        focal = "not known" if self.focal is None else f"{self.focal:.4g} px ({self.focal_source})"
        return f"{shown}{valid}, focal length {focal}"
