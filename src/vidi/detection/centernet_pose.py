"""CenterNet for poses: an object is a point, and its joints are offsets from it, corrected by heatmaps of joints.

Zhou, Wang, Kraehenbuehl 2019, "Objects as Points", arXiv 1904.07850, section 4.2 and appendix; notes 4.3.5.

    images     B 3 H W
    network    that of `centernet`: B D h w at stride 4, and heat, offset and size of objects
    heads      joint_offsets B 2J h w, joint_logits B J h w, joint_residuals B 2 h w
    criterion  L1 of the offsets of labelled joints at their object's cell; focal loss of the joints' heatmaps, whose
               Gaussians are as wide as their object's; L1 of the residuals at the joints' cells
    decode     joint = centre + offset, or the nearest peak of its heatmap above 0.1 inside the object's box: Detections

Differs from the published code: joint offsets are in pixels of the image and start at the object's centre, as in the
paper, not in cells from its cell's corner; they share the weight of the sizes; only peaks inside the box are looked at,
where the code refuses the nearest of all if it lies outside, or farther off than 0.3 of the box's longer side. Which
categories have joints is said by name (`jointed`), where the paper detects persons only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from vidi.backbones.resnet import ResNet, trunk
from vidi.data.world.names import CATEGORIES, JOINTS, SKELETON
from vidi.detection.centernet import (
    STRIDE,
    BoxLoss,
    CenterCriterion,
    CenterDecode,
    CenterNet,
    CenterOutputs,
    at_cells,
    boxes_at,
    cells_inside,
    cells_of,
    deviations,
    heat_head,
    inside_images,
    residual_head,
)
from vidi.detection.options import frozen_below
from vidi.detection.targets import Joints, Objects, joints_of, labels_with_joints, named_categories, named_outputs
from vidi.losses.box import l1_loss
from vidi.losses.heatmap import penalty_reduced_focal_loss
from vidi.model import Losses, Step, Supervised, builder, in_float32, with_defaults
from vidi.nn.normalization import Norm, norm_layer
from vidi.ops.boxes import xyxy_to_cxcywh
from vidi.ops.heatmaps import local_peaks, splat_gaussians
from vidi.ops.skeletons import COCO_SKELETON, Skeleton
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import category_names
from vidi.results.detections import Detections

Bones = tuple[tuple[int, int], ...]


class PoseOutputs(NamedTuple):
    """What the heads say of each cell of R x R pixels."""

    heat_logits: Float[Tensor, "B K h w"]  # of an object of the class having its centre there
    offsets: Float[Tensor, "B 2 h w"]  # x, y from the cell's top left to the centre, in cells
    sizes: Float[Tensor, "B 2 h w"]  # width and height, in pixels of the canvas
    joint_offsets: Float[Tensor, "B 2*J h w"]  # x, y of each joint from the object's centre, in pixels of the canvas
    joint_logits: Float[Tensor, "B J h w"]  # of the joint of some object lying there
    joint_residuals: Float[Tensor, "B 2 h w"]  # x, y from the cell's top left to the joint in it, in cells


class PoseNet(CenterNet):
    """CenterNet with three further heads, for the joints."""

    def __init__(self, backbone: ResNet, classes: int, joints: int, *, hidden: int, **options: Any):
        super().__init__(backbone, classes, hidden=hidden, **options)
        channels = options["channels"][-1]
        self.joint_offset = residual_head(channels, hidden, 2 * joints)
        self.joint_heat = heat_head(channels, hidden, joints)
        self.joint_residual = residual_head(channels, hidden, 2)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> PoseOutputs:
        x = self.features(images)
        return PoseOutputs(*self.objects(x), self.joint_offset(x), self.joint_heat(x), self.joint_residual(x))


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


class JointTargets(NamedTuple):
    """What the joints' outputs of a batch should be; L labelled joints of all its images, row by row."""

    heat: Float[Tensor, "B J h w"]
    counted: Bool[Tensor, "B 1 h w"]  # False in crowds, where only cells of joints count
    images: Int64[Tensor, " L"]
    joints: Int64[Tensor, " L"]
    centre_cells: Int64[Tensor, "L 2"]  # x, y of the cell of the joint's object
    offsets: Float[Tensor, "L 2"]  # from the object's centre, in pixels of the canvas
    cells: Int64[Tensor, "L 2"]  # x, y of the joint's own cell
    residuals: Float[Tensor, "L 2"]  # in cells


def joint_targets(
    objects: Sequence[Objects], joints: Sequence[Joints], size: tuple[int, int], *, min_iou: float | int
) -> JointTargets:
    """Return the targets of images with maps of `size` (h, w); joints outside the map are none.

    The Gaussian of a joint is as wide as that of its object's centre.
    """
    limit = STRIDE * joints[0].points.new_tensor([size[1], size[0]])
    shape = (joints[0].points.shape[1], *size)
    heat, rows = [], []
    for image, (own, body) in enumerate(zip(objects, joints, strict=True)):
        inside = ((body.points >= 0) & (body.points < limit)).all(2)
        row, joint = (body.labelled & inside).nonzero(as_tuple=True)  # L each
        centres, sides = xyxy_to_cxcywh(own.boxes).split(2, 1)
        points = body.points[row, joint]
        cells, residuals = cells_of(points, size)
        heat.append(splat_gaussians(cells, deviations(sides, min_iou=min_iou)[row], joint, shape))
        images = torch.full_like(joint, image)
        centre_cells, _ = cells_of(centres, size)
        rows.append((images, joint, centre_cells[row], points - centres[row], cells, residuals))
    counted = torch.stack([~cells_inside(own.crowd, size) for own in objects])[:, None]
    return JointTargets(torch.stack(heat), counted, *(torch.cat(column) for column in zip(*rows, strict=True)))


@dataclass(frozen=True)
class PoseCriterion:
    """CenterNet's losses, L1 of joint offsets and residuals, and the focal loss of the joints' heatmaps (section 4.2).

    The sums of the joints over the batch are divided by the number of its labelled joints, over all processes. Objects
    of which no joint is labelled have losses of objects only, and cells inside a crowd are no negatives for joints.
    """

    objects: CenterCriterion
    offset_weight: float = 0.1
    heat_weight: float = 1.0
    residual_weight: float = 1.0

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: PoseOutputs, batch: Batch, step: Step) -> Losses:
        """Return the losses of objects, and "joint_offset", "joint_heatmap" and "joint_residual", of a batch.

        Its targets hold boxes, labels, keypoints, visibility and maybe crowd; what is missing or has another number of
        joints than the network is a ValueError.
        """
        centres = CenterOutputs(*outputs[:3])
        losses = self.objects.compare(centres, batch, step)
        logits = outputs.joint_logits
        J, *size = logits.shape[1:]
        own = [Objects.of(target, like=logits) for target in batch.targets]
        bodies = [joints_of(target, like=logits, joints=J) for target in batch.targets]
        targets = joint_targets(own, bodies, (size[0], size[1]), min_iou=self.objects.min_iou)
        count = step.normaliser(logits.new_tensor(len(targets.images)))

        heat = penalty_reduced_focal_loss(
            logits, targets.heat, gamma=self.objects.gamma, beta=self.objects.beta, reduction="none"
        )
        heat = heat * (targets.counted | (targets.heat == 1))  # B J h w
        (x, y), (joint_x, joint_y) = targets.centre_cells.unbind(1), targets.cells.unbind(1)
        offsets = outputs.joint_offsets.unflatten(1, (J, 2))[targets.images, targets.joints, :, y, x]  # L 2
        residuals = outputs.joint_residuals[targets.images, :, joint_y, joint_x]
        return losses | {
            "joint_offset": self.offset_weight * l1_loss(offsets, targets.offsets, reduction="sum") / count,
            "joint_heatmap": self.heat_weight * heat.sum() / count,
            "joint_residual": self.residual_weight * l1_loss(residuals, targets.residuals, reduction="sum") / count,
        }


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


@dataclass(frozen=True)
class PoseDecode:
    """Detections with a pose each: regressed joints, drawn to the peaks of their heatmaps (section 4.2).

    The score of a joint is the probability of its heatmap in its cell; that of categories without joints is 0.
    """

    objects: CenterDecode
    skeleton: Skeleton
    jointed: tuple[int, ...]  # labels of the categories that have joints
    peak_threshold: float = 0.1
    peaks_per_joint: int = 100

    def __call__(self, outputs: PoseOutputs, placements: Sequence[Placement]) -> list[Detections]:
        sizes = [placement.resized for placement in placements]
        peaks = self.objects.peaks(outputs.heat_logits, sizes)
        centres, boxes = boxes_at(CenterOutputs(*outputs[:3]), peaks.cells)
        regressed = centres[:, :, None] + at_cells(outputs.joint_offsets, peaks.cells).unflatten(2, (-1, 2))  # B N J 2
        points, scores = self.snapped(regressed, boxes, outputs, sizes)
        jointed = torch.isin(peaks.labels, peaks.labels.new_tensor(self.jointed))  # B N
        scores = scores * jointed[:, :, None]
        results = []
        for image, placement in enumerate(placements):
            found, kept = self.objects.found(peaks, boxes, image, placement)
            original = placement.points_to_original(points[image, kept])
            keypoints = torch.cat((original, scores[image, kept, :, None]), 2)
            results.append(replace(found, keypoints=keypoints, skeleton=self.skeleton))
        return results

    def snapped(
        self,
        regressed: Float[Tensor, "B N J 2"],
        boxes: Float[Tensor, "B N 4"],
        outputs: PoseOutputs,
        sizes: Sequence[tuple[int, int]],
    ) -> tuple[Float[Tensor, "B N J 2"], Float[Tensor, "B N J"]]:
        """Return the joints and their scores: each the nearest peak inside the box if there is one, or as regressed."""
        J, h, w = outputs.joint_logits.shape[1:]
        heat = inside_images(outputs.joint_logits, sizes)
        ranked = heat.where(local_peaks(heat), -torch.inf).flatten(2)
        logits, index = ranked.topk(min(self.peaks_per_joint, h * w))  # B J P
        cells = torch.stack((index % w, index // w), 3)  # B J P 2
        residuals = at_cells(outputs.joint_residuals, cells.flatten(1, 2)).unflatten(1, (J, -1))
        peaks = STRIDE * (cells + residuals)  # B J P 2
        low, high = boxes[:, :, None, None, :2], boxes[:, :, None, None, 2:]  # B N 1 1 2
        near = ((peaks[:, None] >= low) & (peaks[:, None] <= high)).all(4)  # B N J P
        near &= (logits.sigmoid() > self.peak_threshold)[:, None]
        away = (peaks[:, None] - regressed[:, :, :, None]).square().sum(4).where(near, torch.inf)  # B N J P
        least, best = away.min(3)  # B N J
        caught = least.isfinite()
        nearest = peaks[:, None].expand(-1, best.shape[1], -1, -1, -1)  # B N J P 2
        nearest = nearest.gather(3, best[..., None, None].expand(-1, -1, -1, 1, 2))[:, :, :, 0]
        points = torch.where(caught[..., None], nearest, regressed)
        own_cells, _ = cells_of(points.flatten(0, 2), (h, w))
        own_cells = own_cells.unflatten(0, best.shape).transpose(1, 2)  # B J N 2
        flat = own_cells[..., 1] * w + own_cells[..., 0]
        there = outputs.joint_logits.flatten(2).gather(2, flat).transpose(1, 2).sigmoid()  # B N J
        at_peak = logits[:, None].expand(-1, best.shape[1], -1, -1).gather(3, best[..., None])[..., 0].sigmoid()
        return points, torch.where(caught, at_peak, there)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def centernet_pose(
    backbone: ResNet,
    categories: int | tuple[str | None, ...],
    preprocess: Preprocess,
    *,
    jointed: tuple[str, ...],
    skeleton: Skeleton,
    channels: tuple[int, ...],
    hidden: int,
    deformable: bool,
    norm: Norm,
    box_loss: BoxLoss,
    score_threshold: float,
) -> Supervised:
    """Put the system together."""
    names = category_names(categories)
    network = PoseNet(
        backbone,
        len(names),
        len(skeleton.joints),
        channels=channels,
        hidden=hidden,
        norm=norm_layer(norm),
        deformable=deformable,
    )
    decode = PoseDecode(
        CenterDecode(names, score_threshold),
        skeleton,
        labels_with_joints(named_categories(names), jointed),
    )
    return Supervised(network, PoseCriterion(CenterCriterion(named_outputs(names), box_loss)), decode, preprocess)


@builder
def centernet_pose_resnet18(
    *,
    categories: int | tuple[str | None, ...] = ("person",),
    jointed: tuple[str, ...] = ("person",),
    joints: tuple[str, ...] = COCO_SKELETON.joints,
    bones: Bones = COCO_SKELETON.bones,
    width: int = 64,
    dilated: tuple[bool, bool, bool] = (False, False, False),
    channels: tuple[int, ...] = (256, 128, 64),
    hidden: int = 64,
    deformable: bool = True,
    norm: Norm = "batch",
    trainable_backbone_layers: int = 5,
    box_loss: BoxLoss = "l1",
    size: tuple[int, int] | None = None,
    shorter: int | None = None,
    longest: int = 512,
    score_threshold: float = 0.0,
) -> Supervised:
    """Build CenterNet for the seventeen joints of COCO's persons on ResNet-18; the paper has DLA-34 and Hourglass.

    Args:
        categories: the number of classes, or their names.
        jointed: the categories that have joints, all of them if none is named.
        joints: their names.
        bones: pairs of joints that are connected in drawings.
        width: channels of the backbone's first stage; fewer than 64 make all of it narrower.
        dilated: whether stages 2, 3, 4 of the backbone keep the resolution and dilate instead.
        channels: of each up-convolution, the last also what the heads look at.
        hidden: channels inside each head.
        deformable: whether the 3x3 convolutions before the up-convolutions are.
        norm: "batch", "frozen" or "group".
        trainable_backbone_layers: how many of the five layers of the backbone are trained, the last ones.
        box_loss: of offsets and sizes: "l1" or "huber".
        size: (H, W) that every image is resized to; None: by the lengths of its sides.
        shorter, longest: pixels that the shorter side gets, and that the longer one has at most; without `shorter` the
            longer one gets them.
        score_threshold: the least that is returned, in [0, 1].
    """
    backbone = frozen_below(trunk("resnet18", norm=norm, width=width, dilated=dilated), trainable_backbone_layers)
    return centernet_pose(
        backbone,
        categories,
        Preprocess(shorter, longest, size, stride=32),
        jointed=jointed,
        skeleton=Skeleton(joints, bones),
        channels=channels,
        hidden=hidden,
        deformable=deformable,
        norm=norm,
        box_loss=box_loss,
        score_threshold=score_threshold,
    )


centernet_pose_tiny = with_defaults(
    centernet_pose_resnet18,
    "centernet_pose_tiny",
    "trains in minutes on a CPU on the world's persons at 128 pixels",
    categories=CATEGORIES,
    joints=JOINTS,
    bones=SKELETON,
    width=16,
    dilated=(False, True, True),
    channels=(64,),
    hidden=32,
    deformable=False,
    shorter=128,
    longest=256,
)
