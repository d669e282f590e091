"""Chapter 5: which pixels belong to which things."""

from vidi.catalog.entry import Entry
from vidi.catalog.papers import MASK_RCNN
from vidi.catalog.tiny import HANDS, SMALL_KEYPOINTS, SMALL_MASKS
from vidi.recipes.detection import TINY
from vidi.segmentation.keypoint_rcnn import (
    keypointrcnn_resnet18_fpn,
    keypointrcnn_resnet50_fpn,
    keypointrcnn_tiny,
)
from vidi.segmentation.mask_rcnn import (
    maskrcnn_efficientnet_lite0_fpn,
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet50_fpn,
    maskrcnn_tiny,
)
from vidi.tasks.instance import INSTANCE
from vidi.tasks.pose import POSE

SEGMENTATION: dict[str, Entry] = {
    "maskrcnn_tiny": Entry(maskrcnn_tiny, INSTANCE, "5.2.1", MASK_RCNN, "torchvision", SMALL_MASKS, recipe=TINY),
    "maskrcnn_resnet18_fpn": Entry(maskrcnn_resnet18_fpn, INSTANCE, "5.2.1", MASK_RCNN, "torchvision", SMALL_MASKS),
    "maskrcnn_efficientnet_lite0_fpn": Entry(
        maskrcnn_efficientnet_lite0_fpn, INSTANCE, "5.2.1", MASK_RCNN, "torchvision", {**SMALL_MASKS, "width": 0.25}
    ),
    "maskrcnn_resnet50_fpn": Entry(maskrcnn_resnet50_fpn, INSTANCE, "5.2.1", MASK_RCNN, "torchvision", SMALL_MASKS),
    "keypointrcnn_tiny": Entry(
        keypointrcnn_tiny, POSE, "5.2.1", MASK_RCNN, "torchvision", {**SMALL_KEYPOINTS, **HANDS}, recipe=TINY
    ),
    "keypointrcnn_resnet18_fpn": Entry(
        keypointrcnn_resnet18_fpn, POSE, "5.2.1", MASK_RCNN, "torchvision", {**SMALL_KEYPOINTS, **HANDS}
    ),
    "keypointrcnn_resnet50_fpn": Entry(
        keypointrcnn_resnet50_fpn, POSE, "5.2.1", MASK_RCNN, "torchvision", {**SMALL_KEYPOINTS, **HANDS}
    ),
}
