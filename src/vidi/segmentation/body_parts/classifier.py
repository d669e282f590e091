"""The body of a person from one depth image (Shotton et al. 2011; section 5.1.1 of the notes), fitted at once.

    fit:      depth, parts, joints of many bodies -> pixels of each part -> random forest of depth comparisons
              pictures held back -> how far behind its surface each joint lies
    predict:  depth 1 H W -> person, background 10 km away -> part probabilities P K of the person's pixels
              -> points in space -> modes of each joint's part -> pushed back to joints

Differs from the paper: 23 parts and 14 joints of the rendered bodies instead of 31 and 16; persons face the camera
within 75 degrees; one bandwidth and threshold for all parts (the means of those that the paper found), while the push
back is learnt for each joint; thresholds are tried at the values of drawn pixels. Differs from the notes: local modes,
found by mean shift, are not centres of mass, which a few wrong pixels would move.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vidi.data.depth_images import DepthBatch, DepthPreprocess, as_depth_images
from vidi.data.loading import size_of
from vidi.data.world.names import JOINTS, PARTS, SKELETON
from vidi.model import Fitted, Predicts, builder, with_defaults
from vidi.ops.skeletons import Skeleton
from vidi.results.body_pose import BodyPose
from vidi.results.categories import Categories, category_names
from vidi.segmentation.body_parts.background import person_mask, remove_background
from vidi.segmentation.body_parts.depth_features import draw_offsets
from vidi.segmentation.body_parts.growing import Growth, grow_forest
from vidi.segmentation.body_parts.hard_poses import Round, train_on_hard_poses
from vidi.segmentation.body_parts.joint_proposals import (
    BANDWIDTH,
    LEAST_PROBABILITY,
    PUSH_BACK,
    JointProposals,
    propose_joints,
    reproject,
    surface_distances,
)
from vidi.segmentation.body_parts.pixel_forest import (
    PartPicture,
    PixelForest,
    gather_pixels,
    replica_of_pictures,
)
from vidi.segmentation.body_parts.trees import Trees

TREES = ("feature", "threshold", "left", "leaves", "roots")


@dataclass(frozen=True)
class Fitting:
    """How the forest is grown."""

    trees: int
    growth: Growth
    candidates: int  # depth comparisons, of which each split draws some
    reach: float  # metres, of the longest offset
    pixels: int  # drawn from each picture
    rounds: int  # of iterative data creation
    judged: int  # samples of a round
    hardest: int  # of them whose poses are varied
    held_back: float = 0.05  # share of the pictures that the push back is learnt from


class Body(NamedTuple):
    """The person in one depth image."""

    depth: Float[Tensor, "H W"]  # metres, `BACKGROUND` off the person
    pixels: Int64[Tensor, "P 2"]  # row, column
    camera: Float[Tensor, "3 3"]


class BodyParts(Fitted, Predicts):
    """A forest over depth comparisons, and what makes joints of its probabilities.

    Args:
        categories: names of the parts.
        skeleton: joints, each of which has the name of the part around it, and bones.
        fitting: of the forest.
        alone: whether everything that is measured is the person; else the person is told from the background.
        farthest: metres, where a person can be who is not alone.
        bandwidth: of the joints' density, metres.
        least_probability: of pixels that count for a joint.
        preprocess: of depth images.
    """

    roots: Tensor
    importances: Tensor
    push_back: Tensor

    def __init__(
        self,
        categories: Categories,
        skeleton: Skeleton,
        fitting: Fitting,
        alone: bool,
        farthest: float,
        bandwidth: float,
        least_probability: float,
        preprocess: DepthPreprocess,
    ):
        super().__init__()
        missing = [name for name in skeleton.joints if name not in categories]
        if missing:
            raise ValueError(f"received joints without a part of their name: {', '.join(missing)}")
        self.part_names, self.skeleton, self.fitting = categories, skeleton, fitting
        self.joint_parts = [categories.index(name) for name in skeleton.joints]
        self.alone, self.farthest = alone, farthest
        self.bandwidth, self.least_probability = bandwidth, least_probability
        self.preprocess = preprocess
        self.rounds: list[Round] = []
        self.register_learnt("offsets", torch.zeros(0, 2, 2))
        self.register_learnt("feature", torch.zeros(0, dtype=torch.int32))
        self.register_learnt("threshold", torch.zeros(0))
        self.register_learnt("left", torch.zeros(0, dtype=torch.int32))
        self.register_learnt("leaves", torch.zeros(0, len(categories)))
        self.register_learnt("roots", torch.zeros(0, dtype=torch.int64))
        self.register_learnt("importances", torch.zeros(0, dtype=torch.float64))
        self.register_learnt("push_back", torch.full((len(skeleton.joints),), PUSH_BACK))

    # ------------------------------------------------------------------------------------------------------------------
    # Learning

    def fit(self, dataset: Any, *, generator: torch.Generator | None = None) -> None:
        """Learn from depth images with `parts`, and `joints` where the push back is to be learnt.

        Equal generators give equal forests. With rounds of iterative data creation the data set must be one that makes
        bodies in given poses; what the rounds found is kept in `rounds`.

        Raises:
            TypeError: if rounds are asked for and the data set cannot make more.
            ValueError: if no picture shows a body, or a picture has no parts.
        """
        generator = generator or torch.Generator().manual_seed(0)
        seed = int(torch.randint(2**62, (), generator=generator))
        plan = self.fitting
        if plan.rounds == 0:
            self._grow(dataset, seed)
            return
        _, self.rounds = train_on_hard_poses(
            lambda grown: self._grow(grown, seed),
            self.accuracies,
            dataset,
            rounds=plan.rounds,
            candidates=plan.judged,
            hardest=plan.hardest,
        )

    def _grow(self, dataset: Any, seed: int) -> None:
        plan, count = self.fitting, size_of(dataset)
        rng = np.random.default_rng(seed)
        held_back = {int(row) for row in rng.permutation(count)[: int(plan.held_back * count)]}
        thetas = draw_offsets(plan.candidates, plan.reach, torch.Generator().manual_seed(seed))
        learnt = (self._part_picture(dataset, row) for row in range(count) if row not in held_back)
        samples = gather_pixels(learnt, len(self.part_names), thetas.numpy(), plan.pixels, rng)
        replicas = [replica_of_pictures(samples, rng) for _ in range(plan.trees)]
        forest = grow_forest(
            samples.source, samples.labels, len(self.part_names), plan.growth, replicas=replicas, seed=seed
        )
        self.offsets, self.importances = thetas, torch.from_numpy(forest.importances)
        for name in TREES:
            setattr(self, name, torch.from_numpy(getattr(forest.trees, name)))
        self.leaves = self.leaves.float()
        self.push_back = self._learn_push_back(dataset, sorted(held_back))

    def _part_picture(self, dataset: Any, index: int) -> PartPicture:
        """Return one sample to learn from; the truth, not `person_mask`, says where the person is."""
        image, target, _ = self.preprocess.place(*dataset[index])
        if "parts" not in target:
            raise ValueError(f"sample {index} has no 'parts', its target holds {sorted(target)}")
        parts = target["parts"].numpy()
        depth = remove_background(image[0], (target["parts"] < len(self.part_names)) & (image[0] > 0))
        return PartPicture(depth.numpy(), parts, float(target["intrinsics"][0, 0]))

    def _learn_push_back(self, dataset: Any, rows: Sequence[int]) -> Float[Tensor, " J"]:
        """Return how far joints lie behind their modes: the median over some samples; the paper's mean without any."""
        forest, found, surface = self.forest, [], torch.zeros(len(self.skeleton.joints))
        for row in rows:
            image, target, _ = self.preprocess.place(*dataset[row])
            if "joints" in target and len(target["joints"]) == 1:
                body = self._body(image[0], target["intrinsics"])
                proposals = self._propose(body, self._probabilities(forest, body), surface)
                found.append(surface_distances(proposals, target["joints"][0].float()))
        if not found:
            return torch.full_like(surface, PUSH_BACK)
        median = torch.stack(found).nanmedian(0).values
        return torch.where(median.isfinite(), median, PUSH_BACK).clamp(min=0)

    def accuracies(self, dataset: Any) -> Float64[np.ndarray, " N"]:
        """Return the share of each sample's pixels whose part is right, as a mean over the parts that are seen."""
        forest, found = self.forest, []
        for row in range(size_of(dataset)):
            image, target, _ = self.preprocess.place(*dataset[row])
            body = self._body(image[0], target["intrinsics"])
            guessed = self._probabilities(forest, body).argmax(1)
            truth = target["parts"][body.pixels[:, 0], body.pixels[:, 1]].long()
            known = truth < len(self.part_names)
            right = torch.zeros(len(self.part_names)).index_add_(0, truth[known], (guessed == truth)[known].float())
            count = torch.bincount(truth[known], minlength=len(self.part_names))
            found.append(float((right[count > 0] / count[count > 0]).mean()) if known.any() else 0.0)
        return np.array(found)

    # ------------------------------------------------------------------------------------------------------------------
    # Use

    @property
    def forest(self) -> PixelForest:
        """The forest that was learnt.

        Raises:
            ValueError: if the model was not fitted.
        """
        if len(self.roots) == 0:
            raise ValueError("this model has no trees yet: fit it first")
        columns = {name: getattr(self, name).cpu().numpy() for name in TREES}
        trees = Trees(**columns | {"leaves": columns["leaves"].astype(np.float64)})
        return PixelForest(trees, self.offsets.cpu().numpy())

    def read(self, inputs: Any) -> Iterator[Tensor]:
        """Yield depth images, see `vidi.data.depth_images`."""
        return as_depth_images(inputs)

    def predict_batch(self, batch: DepthBatch) -> list[BodyPose]:
        """Return the pose of the person in each depth image.

        Raises:
            ValueError: if the model was not fitted.
        """
        forest = self.forest
        pictures = zip(batch.depth.cpu(), batch.cameras.cpu(), strict=True)
        return [self._pose(forest, self._body(depth[0], camera)) for depth, camera in pictures]

    def _body(self, depth: Float[Tensor, "H W"], camera: Float[Tensor, "3 3"]) -> Body:
        mask = depth > 0 if self.alone else person_mask(depth, farthest=self.farthest)
        return Body(remove_background(depth, mask), mask.nonzero(), camera)

    def _probabilities(self, forest: PixelForest, body: Body) -> Float[Tensor, "P K"]:
        focal = float(body.camera[0, 0])
        return torch.from_numpy(forest.probabilities(body.depth.numpy(), body.pixels.numpy(), focal))

    def _propose(self, body: Body, probabilities: Tensor, push_back: Tensor) -> JointProposals:
        points = reproject(body.pixels, body.depth[body.pixels[:, 0], body.pixels[:, 1]], body.camera)
        return propose_joints(
            probabilities,
            points,
            float(body.camera[0, 0]),
            self.joint_parts,
            bandwidth=self.bandwidth,
            least=self.least_probability,
            push_back=push_back,
        )

    def _pose(self, forest: PixelForest, body: Body) -> BodyPose:
        probabilities = self._probabilities(forest, body)
        classes = torch.full(body.depth.shape, len(self.part_names), dtype=torch.uint8)
        classes[body.pixels[:, 0], body.pixels[:, 1]] = probabilities.argmax(1).to(torch.uint8)
        found = self._propose(body, probabilities, self.push_back.cpu())
        return BodyPose(
            classes, self.part_names, found.joints, found.positions, found.confidences, self.skeleton, body.camera
        )


@builder
def body_parts(
    *,
    categories: int | tuple[str | None, ...] = PARTS,
    joints: tuple[str, ...] = JOINTS,
    bones: tuple[tuple[int, int], ...] = SKELETON,
    trees: int = 3,
    depth: int = 20,
    least: int = 2,
    candidates: int = 2000,
    tried: int = 90,
    thresholds: int = 20,
    sought: int = 4000,
    reach: float = 0.6,
    pixels: int = 1000,
    rounds: int = 0,
    judged: int = 200,
    hardest: int = 20,
    alone: bool = True,
    farthest: float = 4.5,
    bandwidth: float = BANDWIDTH,
    least_probability: float = LEAST_PROBABILITY,
) -> BodyParts:
    """Build the finder of body parts and joints in depth images.

    Args:
        categories: names of the parts.
        joints: names of those parts that are around a joint.
        bones: pairs of joints.
        trees: of the forest; 3 in the paper.
        depth: most splits on the way to a leaf; 20 in the paper.
        least: pixels of a leaf.
        candidates: depth comparisons that are drawn at first; 2,000 in the paper.
        tried: of them at each split, drawn anew: random splitting.
        thresholds: tried of each comparison; 50 in the paper.
        sought: pixels that a split is sought on, where it has more.
        reach: metres, of the longest offset.
        pixels: drawn from each picture; 2,000 in the paper.
        rounds: of iterative data creation.
        judged: samples of a round.
        hardest: of them whose poses are varied.
        alone: whether everything that is measured is the person; else the person is told from the background.
        farthest: metres, where a person can be who is not alone.
        bandwidth: of the density of joints, metres.
        least_probability: of pixels that count for a joint.
    """
    growth = Growth(depth=depth, least=least, features=tried, thresholds=thresholds, sought=sought)
    fitting = Fitting(
        trees=trees,
        growth=growth,
        candidates=candidates,
        reach=reach,
        pixels=pixels,
        rounds=rounds,
        judged=judged,
        hardest=hardest,
    )
    return BodyParts(
        category_names(categories),
        Skeleton(joints, bones),
        fitting,
        alone,
        farthest,
        bandwidth,
        least_probability,
        DepthPreprocess(),
    )


body_parts_tiny = with_defaults(
    body_parts,
    "body_parts_tiny",
    "learns from 300 bodies in seconds",
    depth=14,
    candidates=500,
    tried=20,
    pixels=300,
)
