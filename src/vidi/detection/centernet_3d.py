"""CenterNet for boxes in space: an object is a point with a depth, a size in metres and an orientation.

Zhou, Wang, Kraehenbuehl 2019, "Objects as Points", arXiv 1904.07850, section 4.1 and appendix; notes 4.3.5.

    images     B 3 H W
    network    that of `centernet`: B D h w at stride 4, and heat, offset and size of objects in the picture
    heads      depths B 1 h w (1 / sigmoid - 1 metres), sizes_3d B 3 h w (metres), orientations B 8 h w (two bins)
    criterion  at the objects' cells: L1 of depth and size; per bin the cross-entropy of lying in it, and there the L1
               of sine and cosine
    decode     the centre at its depth on the ray through the picture's centre, yaw from the angle to it: Detections

Sizes are along the thing's own right, down and forward, orientations the angles at which the camera sees things, see
`vidi.ops.boxes_3d`. The box's centre is taken to be seen in the middle of the box in the picture, as in the paper. A
picture does not tell its camera: the decoder assumes one, `Detections.with_camera` changes it. Differs from the
published code: sines and cosines have the paper's L1 loss, not a smooth one, and the bin is chosen by its probability,
not its logit. All sums are divided by the number of objects.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.resnet import ResNet, trunk
from vidi.data.world.names import CATEGORIES
from vidi.detection.centernet import (
    BoxLoss,
    CenterCriterion,
    CenterDecode,
    CenterNet,
    CenterOutputs,
    at_cells,
    boxes_at,
    placed,
    residual_head,
)
from vidi.detection.options import frozen_below
from vidi.detection.targets import Objects, named_outputs
from vidi.losses.box import l1_loss
from vidi.model import Losses, Step, Supervised, builder, in_float32, with_defaults
from vidi.nn.normalization import Norm, norm_layer
from vidi.ops.boxes_3d import lift_boxes, observation_angles
from vidi.ops.orientation import NUMBERS, decode_angles, encode_angles
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import category_names
from vidi.results.detections import Detections

Camera = tuple[float, float, float]
"""Focal length, and how far right of and below the picture's middle the optical axis meets it, in its short sides."""

WORLD_CAMERA: Camera = (1.075, 0.0, -0.095)  # the middle of the world's cameras
KITTI_CAMERA: Camera = (1.92, 0.0, 0.0)


class SpaceOutputs(NamedTuple):
    """What the heads say of each cell of R x R pixels."""

    heat_logits: Float[Tensor, "B K h w"]  # of an object of the class having its centre there
    offsets: Float[Tensor, "B 2 h w"]  # x, y from the cell's top left to the centre, in cells
    sizes: Float[Tensor, "B 2 h w"]  # width and height in the picture, in pixels of the canvas
    depth_logits: Float[Tensor, "B 1 h w"]  # x, of the depth 1 / sigmoid(x) - 1 in metres
    sizes_3d: Float[Tensor, "B 3 h w"]  # along the thing's right, down, forward, in metres
    orientations: Float[Tensor, "B 8 h w"]  # see `vidi.ops.orientation`


class SpaceNet(CenterNet):
    """CenterNet with three further heads, for depth, size and orientation."""

    def __init__(self, backbone: ResNet, classes: int, *, hidden: int, **options: Any):
        super().__init__(backbone, classes, hidden=hidden, **options)
        channels = options["channels"][-1]
        self.depth, self.size_3d, self.orientation = (residual_head(channels, hidden, n) for n in (1, 3, NUMBERS))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> SpaceOutputs:
        x = self.features(images)
        return SpaceOutputs(*self.objects(x), self.depth(x), self.size_3d(x), self.orientation(x))


def depth_of(logits: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """Return the depths in metres that outputs mean: 1 / sigmoid(x) - 1, which is exp(-x)."""
    return (-logits).exp()


# ----------------------------------------------------------------------------------------------------------------------
# Criterion


def boxes_3d_of(target: Mapping[str, Tensor], *, like: Tensor) -> Float[Tensor, "M 7"]:
    """Return the 3-D boxes of a target's objects in the precision of `like`; those of crowds are left out.

    Raises:
        ValueError: if the target has none, or one that is not in front of the camera or has no size.
    """
    if "boxes_3d" not in target:
        raise ValueError(f"received a target with {sorted(target)}, expected boxes_3d too")
    boxes = target["boxes_3d"].to(like.dtype)
    boxes = boxes[~target["crowd"]] if "crowd" in target else boxes
    wrong = boxes[~(boxes[:, 2:6] > 0).all(1)]
    if len(wrong):
        raise ValueError(f"received the 3-D box {wrong[0].tolist()}, expected a depth and sides above 0")
    return boxes


def orientation_loss(numbers: Float[Tensor, "M 8"], angles: Float[Tensor, " M"]) -> Float[Tensor, ""]:
    """Return the summed loss of orientations: of both bins, whether the angle lies there, and if so where in it.

    The first is a cross-entropy, the second the L1 of sine and cosine (arXiv 1904.07850, appendix).
    """
    inside, expected = encode_angles(angles)  # M 2, M 2 2
    bins = numbers.unflatten(1, (2, 4))
    which = F.cross_entropy(bins[..., :2].flatten(0, 1), inside.flatten().long(), reduction="sum")
    where = l1_loss(bins[..., 2:], expected, reduction="none").sum(2)
    return which + (where * inside).sum()


@dataclass(frozen=True)
class SpaceCriterion:
    """CenterNet's losses, and those of depth, size and orientation at the cells of the objects (section 4.1)."""

    objects: CenterCriterion
    depth_weight: float = 1.0
    size_weight: float = 1.0
    orientation_weight: float = 1.0

    def __call__(self, network: nn.Module, batch: Batch, step: Step) -> Losses:
        return self.compare(network(*batch.inputs), batch, step)

    @in_float32
    def compare(self, outputs: SpaceOutputs, batch: Batch, step: Step) -> Losses:
        """Return the losses of objects, and "depth", "size_3d" and "orientation", of a batch.

        Its targets hold boxes, labels, boxes_3d and maybe crowd; what is missing is a ValueError.
        """
        losses = self.objects.compare(CenterOutputs(*outputs[:3]), batch, step)
        like = outputs.depth_logits
        own = [Objects.of(target, like=like) for target in batch.targets]
        boxes = torch.cat([boxes_3d_of(target, like=like) for target in batch.targets])  # M 7
        images = torch.cat([torch.full_like(objects.labels, image) for image, objects in enumerate(own)])
        cells, _, _ = placed(torch.cat([objects.boxes for objects in own]), (like.shape[2], like.shape[3]))
        count = step.normaliser(like.new_tensor(len(boxes)))

        x, y = cells.unbind(1)
        logits, sizes, numbers = (value[images, :, y, x] for value in outputs[3:])
        depth = l1_loss(depth_of(logits[:, 0]), boxes[:, 2], reduction="sum")
        size = l1_loss(sizes, boxes[:, 3:6], reduction="sum")
        orientation = orientation_loss(numbers, observation_angles(boxes))
        return losses | {
            "depth": self.depth_weight * depth / count,
            "size_3d": self.size_weight * size / count,
            "orientation": self.orientation_weight * orientation / count,
        }


# ----------------------------------------------------------------------------------------------------------------------
# Decoder


@dataclass(frozen=True)
class SpaceDecode:
    """Detections with a 3-D box each, in the frame of an assumed camera."""

    objects: CenterDecode
    camera: Camera

    def __call__(self, outputs: SpaceOutputs, placements: Sequence[Placement]) -> list[Detections]:
        peaks = self.objects.peaks(outputs.heat_logits, [placement.resized for placement in placements])
        centres, boxes = boxes_at(CenterOutputs(*outputs[:3]), peaks.cells)
        depths = depth_of(at_cells(outputs.depth_logits, peaks.cells)[..., 0])  # B N
        sizes = at_cells(outputs.sizes_3d, peaks.cells).clamp(min=0)  # B N 3
        numbers = at_cells(outputs.orientations, peaks.cells)  # B N 8
        results = []
        for image, placement in enumerate(placements):
            found, kept = self.objects.found(peaks, boxes, image, placement)
            intrinsics = assumed_intrinsics(self.camera, placement.original).to(boxes)
            lifted = lift_boxes(
                placement.points_to_original(centres[image, kept]),
                depths[image, kept],
                sizes[image, kept],
                decode_angles(numbers[image, kept]),
                intrinsics,
            )
            results.append(replace(found, boxes_3d=lifted, intrinsics=intrinsics))
        return results


def assumed_intrinsics(camera: Camera, size: tuple[int, int]) -> Float[Tensor, "3 3"]:
    """Return the matrix in pixels of a camera whose pictures have `size` (H, W)."""
    (focal, right, below), (H, W), side = camera, size, min(size)
    rows = [[focal * side, 0, W / 2 + right * side], [0, focal * side, H / 2 + below * side], [0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float32)


# ----------------------------------------------------------------------------------------------------------------------
# Builders


def centernet_3d(
    backbone: ResNet,
    categories: int | tuple[str | None, ...],
    preprocess: Preprocess,
    *,
    camera: Camera,
    depth_weight: float,
    channels: tuple[int, ...],
    hidden: int,
    deformable: bool,
    norm: Norm,
    box_loss: BoxLoss,
    score_threshold: float,
) -> Supervised:
    """Put the system together."""
    if not camera[0] > 0:
        raise ValueError(f"received camera={camera}, expected a positive focal length first")
    names = category_names(categories)
    network = SpaceNet(
        backbone, len(names), channels=channels, hidden=hidden, norm=norm_layer(norm), deformable=deformable
    )
    criterion = SpaceCriterion(CenterCriterion(named_outputs(names), box_loss), depth_weight)
    return Supervised(network, criterion, SpaceDecode(CenterDecode(names, score_threshold), camera), preprocess)


@builder
def centernet_3d_resnet18(
    *,
    categories: int | tuple[str | None, ...] = ("car", "pedestrian", "cyclist"),
    camera: Camera = KITTI_CAMERA,
    depth_weight: float = 1.0,
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
    longest: int = 1280,
    score_threshold: float = 0.0,
) -> Supervised:
    """Build CenterNet for the three categories of KITTI on ResNet-18; the paper has DLA-34.

    Args:
        categories: the number of classes, or their names.
        camera: assumed where nothing is known of the camera, see `Camera`.
        depth_weight: of the depths' loss, in metres: where all are far, it is by far the largest, and hides the others.
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
    return centernet_3d(
        backbone,
        categories,
        Preprocess(shorter, longest, size, stride=32),
        camera=camera,
        depth_weight=depth_weight,
        channels=channels,
        hidden=hidden,
        deformable=deformable,
        norm=norm,
        box_loss=box_loss,
        score_threshold=score_threshold,
    )


centernet_3d_tiny = with_defaults(
    centernet_3d_resnet18,
    "centernet_3d_tiny",
    "trains in minutes on a CPU on the world at 128 pixels",
    categories=CATEGORIES,
    camera=WORLD_CAMERA,
    depth_weight=0.1,
    width=16,
    dilated=(False, True, True),
    channels=(64,),
    hidden=32,
    deformable=False,
    shorter=128,
    longest=256,
)
