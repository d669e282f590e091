"""What systems of depth share: from pictures of a camera, known or not, to depth in the pixels of the original.

    picture, or pair   `samples`      its camera, from a given focal length or EXIF; the right picture
    batch              B 3 H W        targets with the camera of the canvas
    outputs            `ReadOut`      inverse depth B H W, whether its unit is 1/m, focal lengths
    results            `DepthMap`     resized as inverse depth, which bends less than depth where that jumps

A focal length that is given wins over EXIF, and this over what a network estimates; data sets have their own, and so
have folders of stereo pairs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, get_args

import PIL.Image
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torchvision import tv_tensors

from vidi import files, formats
from vidi.data.readers.calibration import Calibration, find_calibration
from vidi.model import Criterion, Predicts, Supervised
from vidi.ops.camera import focal_of_exif, focal_of_view, straight_camera
from vidi.preprocess import AnyBatch, Placement, Prepares, Sample, several
from vidi.results.depth_map import DepthMap, FocalSource

FOCAL_SOURCES: tuple[FocalSource, ...] = get_args(FocalSource)
"""What the number "focal_source" of a target counts."""


# ----------------------------------------------------------------------------------------------------------------------
# From outputs to depth


class Cameras(NamedTuple):
    """What is known of the cameras of a batch; NaN where nothing is."""

    focals: Float[Tensor, " B"]  # pixels of the canvas, along its width
    baselines: Float[Tensor, " B"]  # metres between the cameras of a pair


class Estimate(NamedTuple):
    """What outputs say of the depth of a batch."""

    inverse: Float[Tensor, "B H W"]  # 1 / depth on the canvas, in any size of it; not positive where there is none
    is_metric: Bool[Tensor, " B"]  # whether it is in 1/m
    focals: Float[Tensor, " B"]  # as in `Cameras`, with those that were estimated
    disparity: Float[Tensor, "B H W"] | None = None  # pixels of the canvas, of systems that find depth by it


class ReadOut(Protocol):
    """Reads depth out of a system's outputs. Pure."""

    def __call__(self, outputs: Any, cameras: Cameras) -> Estimate: ...


def estimate_of_disparity(disparity: Float[Tensor, "B H W"], cameras: Cameras) -> Estimate:
    """Return the depth that disparities in pixels of the canvas say: in metres where the cameras are known."""
    product = (cameras.focals * cameras.baselines).to(disparity)
    is_metric = product.isfinite()
    inverse = disparity / product.where(is_metric, 1)[:, None, None]
    return Estimate(inverse, is_metric, cameras.focals, disparity)


@dataclass(frozen=True)
class DepthDecode:
    """The depth of each pixel of the original.

    Attributes:
        read_out: of the system.
    """

    read_out: ReadOut

    def __call__(
        self,
        outputs: Any,
        placements: Sequence[Placement],
        targets: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> list[DepthMap]:
        """Return a result for each image; targets say its camera on the canvas, where they have one."""
        known = targets or [{} for _ in placements]
        cameras = Cameras(
            torch.tensor([float(t["intrinsics"][0, 0]) if "intrinsics" in t else math.nan for t in known]),
            torch.tensor([float(t["baseline"]) if "baseline" in t else math.nan for t in known]),
        )
        found = self.read_out(outputs, Cameras(*(values.to(outputs[0].device) for values in cameras)))
        results = []
        for row, (placement, target) in enumerate(zip(placements, known, strict=True)):
            scale = placement.original[1] / placement.resized[1]
            inverse = placement.map_to_original(found.inverse[row, None])[0]
            valid = inverse.isfinite() & (inverse > torch.finfo(torch.float32).tiny)
            focal = float(found.focals[row]) * scale
            told = int(target.get("focal_source", FOCAL_SOURCES.index("data set")))
            source = FOCAL_SOURCES[told] if cameras.focals[row].isfinite() else "estimated"
            disparity = None if found.disparity is None else found.disparity[row, None]
            results.append(
                DepthMap(
                    depth=1 / inverse.where(valid, 1),
                    valid=valid,
                    unit="metres" if found.is_metric[row] else "relative",
                    focal=focal if math.isfinite(focal) else None,
                    focal_source=source if math.isfinite(focal) else None,
                    disparity=None if disparity is None else scale * placement.map_to_original(disparity)[0],
                )
            )
        return results


# ----------------------------------------------------------------------------------------------------------------------
# From pictures to samples


class PredictsDepth(Predicts):
    """Gives the depth of single pictures, and takes what is known of their cameras."""

    def predict(
        self,
        images: Any,
        *,
        focal_px: float | int | None = None,
        fov: float | int | None = None,
        batch_size: int = 16,
        tile: int | None = None,
        overlap: float | int = 0.25,
    ) -> list[DepthMap]:
        """Return the depth of each image, in input order.

        Args:
            images: as for every model; a file, or a PIL image with EXIF, may tell its focal length.
            focal_px: that of all images, in their pixels.
            fov: instead of it, the angle that their widths show, degrees.
            batch_size: the most images that go through the network at once.

        Raises:
            ValueError: for a focal length that is not positive, an angle that no picture shows, or both; for a `tile`,
                as depth has no unit that tiles share.
        """
        camera = {"focal_px": focal_px, "fov": fov}
        return super().predict(images, batch_size=batch_size, tile=tile, overlap=overlap, **camera)

    def samples(
        self, images: Any, *, focal_px: float | int | None = None, fov: float | int | None = None
    ) -> Iterator[Sample]:
        """Yield images with the camera that is given or that EXIF tells, if any; as for `predict`."""
        for image in several(images):
            (picture,) = self.read([image])
            yield picture, camera_of(image, (picture.shape[1], picture.shape[2]), focal_px, fov)


class DepthEstimator(PredictsDepth, Supervised):
    """Depth from one picture."""

    def __init__(self, network: nn.Module, criterion: Criterion, read_out: ReadOut, preprocess: Prepares):
        super().__init__(network, criterion, DepthDecode(read_out), preprocess)

    def results_of(self, outputs: Any, batch: AnyBatch) -> list[DepthMap]:
        return self.decode(outputs, batch.placements, batch.targets)  # type: ignore[call-arg]


class StereoEstimator(DepthEstimator):
    """Depth of the left pictures of rectified stereo pairs."""

    def predict(
        self,
        images: Any,
        *,
        focal_px: float | int | None = None,
        fov: float | int | None = None,
        baseline: float | int | None = None,
        batch_size: int = 16,
        tile: int | None = None,
        overlap: float | int = 0.25,
    ) -> list[DepthMap]:
        """Return the depth of the left picture of each pair, in input order.

        Args:
            images: a sequence of pairs (left, right), pictures as for every model.
            focal_px, fov: as for depth from one picture; the calibration file of a folder of pairs tells it too.
            baseline: metres between the two cameras; without it or the focal length, depth has no known unit.
            batch_size: the most pairs that go through the network at once.

        Raises:
            TypeError: for anything but pairs.
            ValueError: as for depth from one picture, for a baseline that is not positive, or pictures of two sizes.
        """
        cameras = {"focal_px": focal_px, "fov": fov, "baseline": baseline}
        return Predicts.predict(self, images, batch_size=batch_size, tile=tile, overlap=overlap, **cameras)

    def samples(
        self,
        images: Any,
        *,
        focal_px: float | int | None = None,
        fov: float | int | None = None,
        baseline: float | int | None = None,
    ) -> Iterator[Sample]:
        """Yield left pictures with the right ones and what is known of the cameras; as for `predict`."""
        if baseline is not None and not 0 < baseline < math.inf:
            raise ValueError(f"received baseline={baseline}, expected a positive number of metres")
        for pair in several(images):
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise TypeError(f"received a {type(pair).__name__}, expected pairs of a left and a right picture")
            left, right = self.read(pair)
            if left.shape != right.shape:
                sizes = " and ".join(f"{picture.shape[2]} x {picture.shape[1]}" for picture in (left, right))
                names = [str(picture) for picture in pair if isinstance(picture, str | Path)]
                named = f"{' and '.join(names)}: " if names else ""
                raise ValueError(f"{named}the pictures of a pair have {sizes} pixels, expected one size")
            size = (left.shape[1], left.shape[2])
            rig = camera_of(pair[0], size, focal_px, fov)
            beside = _calibration_beside(pair[0], size)
            if beside is not None and focal_px is None and fov is None:
                rig = {"intrinsics": torch.from_numpy(beside.matrix).float()}
            metres = beside.baseline if baseline is None and beside is not None else baseline
            known = {} if metres is None else {"baseline": torch.tensor(float(metres))}
            yield left, {"right": tv_tensors.Image(right), **rig, **known}  # an Image: resized as the left one is


def camera_of(
    image: Any, size: tuple[int, int], focal_px: float | int | None = None, fov: float | int | None = None
) -> dict[str, Tensor]:
    """Return the camera of an image of size (H, W) as keys of a target; none where nothing tells its focal length.

    Raises:
        ValueError: as `PredictsDepth.predict`.
    """
    if focal_px is not None and fov is not None:
        raise ValueError(f"received focal_px={focal_px} and fov={fov}, expected one of them")
    if focal_px is not None and not 0 < focal_px < math.inf:
        raise ValueError(f"received focal_px={focal_px}, expected a positive number of pixels")
    focal, source = focal_px if fov is None else focal_of_view(fov, size[1]), "given"
    if focal is None:
        focal, source = _focal_of_file(image), "EXIF"
    if focal is None:
        return {}
    return {"intrinsics": straight_camera(focal, size), "focal_source": torch.tensor(FOCAL_SOURCES.index(source))}


def _calibration_beside(left: Any, size: tuple[int, int]) -> Calibration | None:
    """Return what the calibration file tells that lies where folders of stereo pairs have theirs.

    Raises:
        ValueError: for one that tells no camera, or is for pictures of another size than (H, W).
    """
    if not isinstance(left, str | Path):
        return None
    folder = Path(left).parent
    scene = folder.parent if folder.name == "left" else folder
    found = find_calibration(scene, scene.parent)
    if found is not None:
        found.check_size(size, Path(left))
    return found


def _focal_of_file(image: Any) -> float | None:
    """Return the focal length in pixels that a file, or an image of one, tells."""
    if isinstance(image, str | Path):
        return focal_of_exif(*files.read_exif(image))
    if isinstance(image, files.ImageBytes):
        return focal_of_exif(*files.decode_exif(image.name, image.data, max_pixels=image.max_pixels))
    if isinstance(image, PIL.Image.Image):
        return focal_of_exif(formats.exif_of(image), (image.height, image.width))
    return None
