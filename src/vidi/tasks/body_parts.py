"""Body parts: the depth image of a person, the part of every pixel and the joints in space."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidi.data.truths import known_skeleton
from vidi.data.world.depth_bodies import DepthBodies
from vidi.engine import plots
from vidi.engine.datasets import categories_of
from vidi.engine.overrides import OverrideError
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Row
from vidi.engine.task import BuiltIn, Task
from vidi.metrics.body_joints import JointEvaluator
from vidi.recipes.body_parts import BODIES
from vidi.results.body_pose import BodyPose
from vidi.results.categories import Categories


class BodyPartsScorer:
    """The share of each part's pixels that are found, as a mean over the parts; and how near the joints come."""

    headline = "part_accuracy"
    keys: tuple[str, ...] = ("parts", "joints", "intrinsics", "depth", "depth_valid")  # the last three place pictures

    def __init__(self, categories: Categories):
        self.categories = categories
        self.pixels = torch.zeros(len(categories), len(categories) + 1, dtype=torch.int64)  # truth, found; last: none
        self.joints: JointEvaluator | None = None

    def update(self, results: Sequence[BodyPose], targets: Sequence[Mapping[str, Any]]) -> None:
        count = len(self.categories)
        for result, target in zip(results, targets, strict=True):
            truth = target["parts"].as_subclass(Tensor).long()
            on = truth < count
            pairs = truth[on] * (count + 1) + result.classes[on].long()
            self.pixels += torch.bincount(pairs, minlength=self.pixels.numel()).view_as(self.pixels)
            for joints in target.get("joints", ()):
                self.joints = self.joints or JointEvaluator(len(joints))
                self.joints.update(result.proposed, result.positions, result.confidences, joints)

    def compute(self) -> dict[str, float]:
        """Return the scores; joint errors in metres.

        Raises:
            ValueError: if no pixel of a part was scored.
        """
        total, right = self.pixels.sum(1), self.pixels.diagonal()
        if not total.any():
            raise ValueError("no parts to score: no pixel of the targets shows one")
        seen = total > 0
        scores = {
            "part_accuracy": float((right[seen] / total[seen]).mean()),
            "pixel_accuracy": int(right.sum()) / int(total.sum()),
        }
        if self.joints is not None:
            joints = self.joints.compute()
            scores |= {
                "joint_map": float(joints.average_precision.mean()),
                "joint_within_10cm": joints.near,
                "joint_found": joints.found,
                "joint_error": joints.error if joints.found else -1.0,
            }
        return scores

    def by_class(self) -> list[Row]:
        """Return the true pixels of each part, and the share of them that are found."""
        total, right = self.pixels.sum(1).tolist(), self.pixels.diagonal().tolist()
        return [
            {"class": name, "pixels": pixels, "accuracy": found / pixels if pixels else None}
            for name, pixels, found in zip(self.categories, total, right, strict=True)
        ]

    def write_plots(self, folder: Path) -> None:
        names = [name or "" for name in self.categories]
        plots.confusion_matrix(folder / "confusion_matrix.png", self.pixels[:, :-1], names)


def body_truth(target: Mapping[str, Any], categories: Categories) -> BodyPose:
    """Return the parts and joints of a target as a sure result."""
    joints = target["joints"][0] if "joints" in target else torch.zeros(0, 3)
    skeleton = known_skeleton(len(joints))
    camera = target.get("intrinsics", torch.eye(3))
    parts, ones = target["parts"].as_subclass(Tensor), torch.ones(len(joints))
    return BodyPose(parts, categories, torch.arange(len(joints)), joints, ones, skeleton, camera)


def _bodies(split: str, count: int, recipe: Recipe, keys: Sequence[str], *, noise: bool) -> DepthBodies:
    targets = [key for key in keys if key in DepthBodies.kinds]
    try:
        return DepthBodies(split, count=count, size=recipe.world_size, seed=recipe.seed, noise=noise, targets=targets)
    except ValueError as error:
        raise OverrideError(f"world: {error}") from None


def bodies(split: str, count: int, recipe: Recipe, keys: Sequence[str]) -> DepthBodies:
    """Open a split of the rendered bodies, with exact depth."""
    return _bodies(split, count, recipe, keys, noise=False)


def kinect_bodies(split: str, count: int, recipe: Recipe, keys: Sequence[str]) -> DepthBodies:
    """Open a split of the rendered bodies as the Kinect's sensor measures them."""
    return _bodies(split, count, recipe, keys, noise=True)


BODY_PARTS = Task(
    name="body_parts",
    needs=("parts",),
    uses=("joints", "intrinsics", "depth", "depth_valid"),
    says={"categories": categories_of},
    result=BodyPose,
    scorer=BodyPartsScorer,
    truth=body_truth,
    moves=("none",),
    built_in={
        "world": BuiltIn("depth images of rendered bodies", bodies),
        "kinect": BuiltIn("the same, measured in the steps and with the noise of the Kinect", kinect_bodies),
    },
    recipe=BODIES,
)
