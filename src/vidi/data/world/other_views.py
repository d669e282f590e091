"""The ground truths that need a second view: the rectified stereo pair and the neighbouring frames.

Stereo: a point at depth z that the left camera sees at column x is seen by the right one at x - d, d = focal *
baseline / z. Frames: a point X of the target's frame is T_neighbour_target X in the neighbour's. A pixel is occluded
if the other view does not show its point, because something stands in the way or because it is out of the picture.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torchvision import tv_tensors

from vidi.data.world.camera import BASELINE, right_pose, view
from vidi.data.world.renderer import cast_surfaces, render
from vidi.data.world.truth import Observation, image, mask


def _picture(seen: Observation, pose: Float64[np.ndarray, "4 4"]) -> np.ndarray:
    return render(seen.scene, seen.size, pose).image


def _disparity(seen: Observation, depth: Float32[np.ndarray, "H W"]) -> tv_tensors.Mask:
    """Turn depth into pixels of disparity; 0 in the sky."""
    return mask((BASELINE * seen.matrix[0, 0] / depth).astype(np.float32))


def _occluded(
    seen: Observation,
    depth: Float32[np.ndarray, "H W"],
    pose: Float64[np.ndarray, "4 4"],
    other: Float64[np.ndarray, "4 4"],
) -> Bool[np.ndarray, "H W"]:
    """Mark the pixels of the view at `pose`, with its depth, that the view at `other` does not show."""
    from vidi.data.world.cast_kernels import find_hidden

    scene = seen.scene
    return find_hidden(scene.solids, view(scene.camera, seen.size, pose), depth, view(scene.camera, seen.size, other))


def _right_depth(seen: Observation) -> Float32[np.ndarray, "H W"]:
    return cast_surfaces(seen.scene, seen.size, right_pose()).depth


def _disparity_valid(seen: Observation) -> tv_tensors.Mask:
    depth = seen.view.depth
    return mask(np.isfinite(depth) & ~_occluded(seen, depth, np.eye(4), right_pose()))


def _disparity_right_valid(seen: Observation) -> tv_tensors.Mask:
    depth = _right_depth(seen)
    return mask(np.isfinite(depth) & ~_occluded(seen, depth, right_pose(), np.eye(4)))


def _neighbours(seen: Observation) -> tv_tensors.Image:
    return image(np.stack([_picture(seen, pose) for pose in seen.motions]))


def _occluded_frames(seen: Observation) -> tv_tensors.Mask:
    return mask(np.stack([_occluded(seen, seen.view.depth, np.eye(4), pose) for pose in seen.motions]))


# One entry per key of the target that needs another view.
OTHER_VIEW_TRUTHS: Mapping[str, Callable[[Observation], object]] = {
    "right": lambda seen: image(_picture(seen, right_pose())),
    "baseline": lambda seen: torch.tensor(BASELINE),
    "disparity": lambda seen: _disparity(seen, seen.view.depth),
    "disparity_valid": _disparity_valid,
    "disparity_right": lambda seen: _disparity(seen, _right_depth(seen)),
    "disparity_right_valid": _disparity_right_valid,
    "neighbours": _neighbours,
    "poses": lambda seen: torch.from_numpy(seen.motions.astype(np.float32)),
    "occluded": _occluded_frames,
}
