"""How near a camera's path comes to the true one, where one camera cannot know how long a metre is.

    ate_5frame_scaled      of pieces of five frames: starts put together, lengths scaled, sqrt(sum of squares) / 5; the
                           mean over the pieces (Zhou et al. 2017, SfMLearner, section 4.3, and its code; notes 6.1.2)
    ate_global_scaled      of the whole path, moved onto the true one by the similarity of least squares (Umeyama 1991,
                           IEEE TPAMI 13): root mean square (Sturm et al. 2012, TUM RGB-D benchmark)
    rpe_translation_scaled, rpe_rotation    of the motion from frame to frame: root mean squares (Sturm et al. 2012);
                           translations are scaled by that same similarity

Poses are T_world_camera, 4 x 4; lengths in metres, angles in radians. Computed in float64. SfMLearner's code divides
the root by the number of frames, not the sum under it: its number is less than the root mean square by sqrt(5).

Of single frames with one before and one behind, which are no path, the pieces have three frames (`ate_3frame_scaled`).
`..._still` is the error of a camera that is said to stand still.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vidi.ops.rigid import inverse_pose, rotation_angle

SNIPPET = 5
SAME = 1e-3  # metres and radians by which two measured poses of one camera differ at most


class Similarity(NamedTuple):
    """A motion with a change of scale: p -> scale R p + t."""

    scale: float
    rotation: Float64[Tensor, "3 3"]
    translation: Float64[Tensor, " 3"]


class PoseErrors(NamedTuple):
    """Root mean squares of the relative poses."""

    translation: float
    rotation: float  # radians


class MotionEvaluator:
    """Scores the motions of frames to the one before and the one behind, and the paths that they add up to."""

    def __init__(self) -> None:
        self.predicted: list[Float64[Tensor, "2 4 4"]] = []
        self.truth: list[Float64[Tensor, "2 4 4"]] = []

    def update(self, motions: Float[Tensor, "2 4 4"], truth: Float[Tensor, "2 4 4"]) -> None:
        """Add a frame.

        Args:
            motions: T_neighbour_frame, of the frame before and the one behind, in any unit.
            truth: the same, in metres.
        """
        self.predicted.append(motions.double())
        self.truth.append(truth.double())

    def compute(self) -> dict[str, float]:
        """Return the scores by name; those of paths of five frames at least, means over the paths, where there are any.

        Raises:
            ValueError: if there is no frame.
        """
        if not self.truth:
            raise ValueError("no motions to score: no frame was given")
        motions, real = torch.stack(self.predicted), torch.stack(self.truth)
        pieces, true_pieces = _pieces(motions), _pieces(real)
        still = torch.eye(4, dtype=torch.float64).expand_as(true_pieces)
        turned = rotation_angle((inverse_pose(real) @ motions)[..., :3, :3])
        numbers = {
            "ate_3frame_scaled": float(snippet_ate_scaled(pieces, true_pieces).mean()),
            "ate_3frame_still": float(snippet_ate_scaled(still, true_pieces).mean()),
            "rotation_error": float(turned.square().mean().sqrt()),
            "rotation_still": float(rotation_angle(real[..., :3, :3]).square().mean().sqrt()),
        }
        scores = [trajectory_numbers(path, true) for path, true in self.paths()]
        return numbers | {
            name: sum(row[name] for row in scores) / len(scores) for name in (scores[0] if scores else ())
        }

    def paths(self) -> Iterator[tuple[Float64[Tensor, "F 4 4"], Float64[Tensor, "F 4 4"]]]:
        """Yield what frames of one video add up to, predicted and true T_world_camera, where five frames follow.

        A frame follows the one given before it if the true motion between them is the same from both sides.
        """
        start = 0
        for end in range(1, len(self.truth) + 1):
            if end < len(self.truth) and _is_back(self.truth[end - 1][1], self.truth[end][0]):
                continue
            if end - start + 2 >= SNIPPET:
                yield tuple(_added_up(motions[start:end]) for motions in (self.predicted, self.truth))  # type: ignore[misc]
            start = end


def _pieces(motions: Float64[Tensor, "N 2 4 4"]) -> Float64[Tensor, "N 3 4 4"]:
    """Return the poses of the frame before, the frame and the one behind, as the frame's camera sees them."""
    back = inverse_pose(motions)
    return torch.stack((back[:, 0], torch.eye(4, dtype=back.dtype).expand_as(back[:, 0]), back[:, 1]), 1)


def _is_back(onward: Float64[Tensor, "4 4"], back: Float64[Tensor, "4 4"]) -> bool:
    loop = onward @ back
    return max(float(loop[:3, 3].norm()), float(rotation_angle(loop[:3, :3]))) < SAME


def _added_up(motions: list[Float64[Tensor, "2 4 4"]]) -> Float64[Tensor, "F 4 4"]:
    """Return T_world_camera of the frame before the first, of all frames and of that behind the last."""
    steps = [torch.eye(4, dtype=torch.float64), motions[0][0], *(inverse_pose(pair[1]) for pair in motions)]
    return torch.stack(list(itertools.accumulate(steps, torch.matmul)))


def trajectory_numbers(predicted: Float[Tensor, "F 4 4"], truth: Float[Tensor, "F 4 4"]) -> dict[str, float]:
    """Return all scores of a path by name.

    Raises:
        ValueError: if there are fewer than five frames, or not as many in both.
    """
    if len(predicted) != len(truth) or len(truth) < SNIPPET:
        given = f"paths of {len(predicted)} and {len(truth)} frames"
        raise ValueError(f"received {given}, expected as many in both, and {SNIPPET} at least")
    positions, real = predicted[:, :3, 3], truth[:, :3, 3]
    similarity = align_similarity(positions, real)
    scaled = predicted.double().clone()
    scaled[:, :3, 3] *= similarity.scale
    relative = relative_pose_errors(scaled, truth)
    pieces = (poses.unfold(0, SNIPPET, 1).movedim(-1, 1) for poses in (predicted, truth))  # F-4 5 4 4
    return {
        "ate_5frame_scaled": float(snippet_ate_scaled(*pieces).mean()),
        "ate_global_scaled": ate_global_scaled(positions, real),
        "rpe_translation_scaled": relative.translation,
        "rpe_rotation": relative.rotation,
    }


def snippet_ate_scaled(predicted: Float[Tensor, "N L 4 4"], truth: Float[Tensor, "N L 4 4"]) -> Float64[Tensor, " N"]:
    """Return the trajectory error of each of N pieces of L frames, in the unit of the truth.

    The frame of a piece is that of its first camera, in both; the scale is that of least squares. A prediction that
    does not move gets the length of the true path as its error.
    """
    path, real = ((inverse_pose(poses[:, :1].double()) @ poses.double())[..., :3, 3] for poses in (predicted, truth))
    squares = path.square().sum((1, 2))
    scale = (path * real).sum((1, 2)) / squares.where(squares > 0, 1)
    return (scale[:, None, None] * path - real).square().sum((1, 2)).sqrt() / truth.shape[1]


def align_similarity(positions: Float[Tensor, "F 3"], truth: Float[Tensor, "F 3"]) -> Similarity:
    """Return the similarity that brings positions nearest to the true ones, by least squares (Umeyama 1991).

    Positions that do not differ are scaled by 0: all that can be done is to put them in the middle.

    Raises:
        ValueError: if there are not as many positions in both, or none.
    """
    if len(positions) != len(truth) or len(truth) == 0:
        raise ValueError(f"received {len(positions)} and {len(truth)} positions, expected as many in both, and some")
    x, y = positions.double(), truth.double()
    centre_x, centre_y = x.mean(0), y.mean(0)
    U, D, Vt = torch.linalg.svd((y - centre_y).T @ (x - centre_x) / len(x))
    signs = torch.ones_like(D)
    signs[2] = torch.sign(torch.linalg.det(U) * torch.linalg.det(Vt))  # a rotation, no mirror
    rotation = U * signs @ Vt
    spread = (x - centre_x).square().sum(1).mean()
    scale = (D * signs).sum() / spread if spread > 0 else spread
    return Similarity(float(scale), rotation, centre_y - scale * rotation @ centre_x)


def ate_global_scaled(positions: Float[Tensor, "F 3"], truth: Float[Tensor, "F 3"]) -> float:
    """Return the root mean square distance of positions from the true ones, after `align_similarity`."""
    scale, rotation, translation = align_similarity(positions, truth)
    aligned = scale * positions.double() @ rotation.T + translation
    return float((aligned - truth.double()).square().sum(1).mean().sqrt())


def relative_pose_errors(
    predicted: Float[Tensor, "F 4 4"], truth: Float[Tensor, "F 4 4"], *, gap: int = 1
) -> PoseErrors:
    """Return the errors of the motions over `gap` frames: (Q_i^-1 Q_i+gap)^-1 (P_i^-1 P_i+gap), nothing aligned.

    Raises:
        ValueError: if there are not as many poses in both, or `gap` is not in 1..F-1.
    """
    if len(predicted) != len(truth) or not 1 <= gap < len(truth):
        given = f"paths of {len(predicted)} and {len(truth)} frames and gap={gap}"
        raise ValueError(f"received {given}, expected as many in both, and a gap from 1 to one less")
    motions = [inverse_pose(poses.double()[:-gap]) @ poses.double()[gap:] for poses in (truth, predicted)]
    errors = inverse_pose(motions[0]) @ motions[1]
    angles = rotation_angle(errors[:, :3, :3])
    translation = errors[:, :3, 3].square().sum(1).mean().sqrt()
    return PoseErrors(float(translation), float(angles.square().mean().sqrt()))
