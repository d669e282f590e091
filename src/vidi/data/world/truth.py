"""The ground truths of one view of a scene, each a function of an observation.

Everything is read off the same instance, part and depth maps, so all of it agrees exactly at pixel centres. Row i of
`boxes`, `labels`, `masks`, `keypoints`, `boxes_3d` and `identity` is the i-th thing of which a pixel is visible.
"""

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torchvision import tv_tensors

from vidi.data.world.camera import intrinsics
from vidi.data.world.names import GROUND, SKY
from vidi.data.world.renderer import Render, render
from vidi.data.world.scene import Scene, draw_motions


class Observation:
    """A scene seen by its camera at size (H, W); what several truths need is computed once, when first asked for."""

    def __init__(self, scene: Scene, size: tuple[int, int]) -> None:
        self.scene = scene
        self.size = size

    @cached_property
    def view(self) -> Render:
        """Render the scene from its own camera."""
        return render(self.scene, self.size)

    @cached_property
    def rows(self) -> Int64[np.ndarray, " R"]:
        """List the visible things."""
        return np.flatnonzero(self.view.pixels)

    @cached_property
    def areas(self) -> Int64[np.ndarray, " R"]:
        """Give the visible pixels of the visible things."""
        return self.view.pixels[self.rows]

    @cached_property
    def masks(self) -> Bool[np.ndarray, "R H W"]:
        """Give the visible pixels of each visible thing."""
        return np.asarray(self.view.instance == self.rows[:, None, None])

    @cached_property
    def main(self) -> int:
        """Name the thing with the largest visible area; the first one of a scene where none can be seen."""
        return int(self.view.pixels.argmax())

    @cached_property
    def matrix(self) -> Float64[np.ndarray, "3 3"]:
        """Give the camera matrix in pixels."""
        return intrinsics(self.scene.camera, self.size)

    @cached_property
    def motions(self) -> Float64[np.ndarray, "2 4 4"]:
        """Give T_neighbour_target of the previous and the next frame."""
        return draw_motions(self.scene)

    @cached_property
    def joints(self) -> Float64[np.ndarray, "R 14 3"]:
        """Give the joints of the visible things in the camera's frame, metres; NaN for things without joints."""
        return self.scene.joints[self.rows] + (0.0, self.scene.camera.height, 0.0)

    @cached_property
    def points(self) -> tuple[Float64[np.ndarray, "R 14 2"], Int64[np.ndarray, "R 14"]]:
        """Project the joints: pixels (0 where absent) and visibility (0 absent or outside, 1 hidden, 2 visible)."""
        height, width = self.size
        pixels = self.joints @ self.matrix.T
        pixels = pixels[..., :2] / pixels[..., 2:]
        is_inside = np.all((pixels >= 0.0) & (pixels < (width, height)), axis=-1)  # NaN compares false
        pixels = np.where(is_inside[..., None], pixels, 0.0)
        column, row = np.moveaxis(pixels.astype(np.int64), -1, 0)
        # The joint lies inside the body: its own surface hides it by no more than its reach, anything else by more.
        is_own = self.view.instance[row, column] == self.rows[:, None]
        is_near = self.view.depth[row, column] > self.joints[..., 2] - self.scene.joint_reach[self.rows]
        return pixels, np.where(is_inside, np.where(is_own & is_near, 2, 1), 0)


def mask(values: np.ndarray) -> tv_tensors.Mask:
    """Wrap a map (... H W) so that geometric transforms move it with the picture."""
    return tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(values)))


def image(values: np.ndarray) -> tv_tensors.Image:
    """Wrap pictures (uint8 ... 3 H W)."""
    return tv_tensors.Image(torch.from_numpy(values))


def _boxes(seen: Observation) -> tv_tensors.BoundingBoxes:
    columns, rows = np.any(seen.masks, axis=1), np.any(seen.masks, axis=2)
    height, width = seen.size
    corners = (columns.argmax(1), rows.argmax(1), width - columns[:, ::-1].argmax(1), height - rows[:, ::-1].argmax(1))
    boxes = torch.from_numpy(np.stack(corners, 1).astype(np.float32))
    return tv_tensors.BoundingBoxes(boxes, format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=seen.size)  # pyright: ignore[reportCallIssue]


def _semantic(seen: Observation) -> tv_tensors.Mask:
    # Instances -1 and -2 read the table from its end.
    return mask(np.append(seen.scene.categories, (SKY, GROUND)).astype(np.uint8)[seen.view.instance])


def _panoptic(seen: Observation) -> tv_tensors.Mask:
    count = len(seen.rows)
    table = np.zeros(len(seen.scene.categories) + 2, dtype=np.int32)
    table[seen.rows] = np.arange(1, count + 1)
    table[-1], table[-2] = count + 1, count + 2
    return mask(table[seen.view.instance])


def _keypoints(seen: Observation) -> tv_tensors.KeyPoints:
    return tv_tensors.KeyPoints(torch.from_numpy(seen.points[0].astype(np.float32)), canvas_size=seen.size)  # pyright: ignore[reportCallIssue]


def _depth(seen: Observation) -> tv_tensors.Mask:
    return mask(np.where(np.isfinite(seen.view.depth), seen.view.depth, np.float32(0.0)))


def _boxes_3d(seen: Observation) -> torch.Tensor:
    boxes = seen.scene.boxes_3d[seen.rows]
    boxes[:, 1] += seen.scene.camera.height
    return torch.from_numpy(boxes.astype(np.float32))


# One entry per key of the target that one view can give.
VIEW_TRUTHS: Mapping[str, Callable[[Observation], object]] = {
    "image_id": lambda seen: torch.tensor(seen.scene.index),
    "label": lambda seen: torch.tensor(int(seen.scene.categories[seen.main])),
    "boxes": _boxes,
    "labels": lambda seen: torch.from_numpy(seen.scene.categories[seen.rows]),
    "crowd": lambda seen: torch.zeros(len(seen.rows), dtype=torch.bool),
    "areas": lambda seen: torch.from_numpy(seen.areas.astype(np.float64)),
    "masks": lambda seen: mask(seen.masks),
    "semantic": _semantic,
    "panoptic": _panoptic,
    "keypoints": _keypoints,
    "visibility": lambda seen: torch.from_numpy(seen.points[1].astype(np.uint8)),
    "parts": lambda seen: mask(seen.view.part),
    "depth": _depth,
    "depth_valid": lambda seen: mask(np.isfinite(seen.view.depth)),
    "intrinsics": lambda seen: torch.from_numpy(seen.matrix.astype(np.float32)),
    "boxes_3d": _boxes_3d,
    "identity": lambda seen: torch.from_numpy(seen.scene.identities[seen.rows]),
}
