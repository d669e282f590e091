"""How near joints in space come to the true ones (Shotton et al. 2011, section 5.1).

A proposal is right if it is within `DISTANCE` of its joint; of several right ones the surest counts, the others are
wrong. Joints that no pixel shows count as well: one that is not proposed is missed.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

DISTANCE = 0.1  # metres


class JointScores(NamedTuple):
    """Over all images and joints."""

    error: float  # mean distance of the surest proposal from its joint, metres, where there is one; NaN without any
    near: float  # share of all joints whose surest proposal is within `DISTANCE`
    found: float  # share of all joints that have a proposal
    average_precision: Float64[Tensor, " J"]  # of each joint; their mean is the paper's mAP


class JointEvaluator:
    """Collects the proposals of images and their true joints.

    Args:
        joints: J, how many a body has.
    """

    def __init__(self, joints: int):
        self.joints = joints
        self.images = 0
        self.confidences: list[list[Tensor]] = [[] for _ in range(joints)]
        self.right: list[list[Tensor]] = [[] for _ in range(joints)]
        self.distances: list[Tensor] = []  # of the surest proposals

    def update(
        self,
        proposed: Int64[Tensor, " M"],
        positions: Float[Tensor, "M 3"],
        confidences: Float[Tensor, " M"],
        truth: Float[Tensor, "J 3"],
    ) -> None:
        """Add one image: the joint, the position and the confidence of each proposal, and where the joints are.

        Raises:
            ValueError: if the truth has another number of joints.
        """
        if len(truth) != self.joints:
            raise ValueError(f"received {len(truth)} joints, expected {self.joints}")
        self.images += 1
        for joint in range(self.joints):
            own = (proposed == joint).nonzero().flatten()
            order = own[confidences[own].argsort(descending=True, stable=True)]
            away = (positions[order].double() - truth[joint].double()).norm(dim=1)
            near = away <= DISTANCE
            self.confidences[joint].append(confidences[order].double())
            self.right[joint].append(near & (near.cumsum(0) == 1))
            self.distances.append(away[:1])

    def compute(self) -> JointScores:
        """Return the scores of all images so far.

        Raises:
            ValueError: if there are none.
        """
        if self.images == 0:
            raise ValueError("no images to score: update() was never called")
        away, total = torch.cat(self.distances), self.images * self.joints
        precision = [
            average_precision(torch.cat(confidences), torch.cat(right), self.images)
            for confidences, right in zip(self.confidences, self.right, strict=True)
        ]
        near = int((away <= DISTANCE).sum()) / total
        error = float(away.mean()) if len(away) else float("nan")
        return JointScores(error, near, len(away) / total, torch.tensor(precision, dtype=torch.float64))


def average_precision(confidences: Float[Tensor, " M"], right: Bool[Tensor, " M"], count: int) -> float:
    """Return the area under precision over recall: the mean over all true ones of the precision where each is found.

    Args:
        confidences: of the proposals; equal ones keep their order.
        right: whether each is right.
        count: how many true ones there are.
    """
    found = right[confidences.argsort(descending=True, stable=True)].double()
    precision = found.cumsum(0) / torch.arange(1, len(found) + 1, dtype=torch.float64)
    return float((precision * found).sum() / count)
