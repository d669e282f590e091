"""Chapter 5: which pixels belong to which things."""

from vidi.catalog.entry import Entry
from vidi.catalog.papers import MASK_RCNN
from vidi.catalog.tiny import SMALL_MASKS
from vidi.recipes.detection import TINY
from vidi.segmentation.mask_rcnn import (
    maskrcnn_efficientnet_lite0_fpn,
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet50_fpn,
    maskrcnn_tiny,
)
from vidi.tasks.instance import INSTANCE

SEGMENTATION: dict[str, Entry] = {
    "maskrcnn_tiny": Entry(maskrcnn_tiny, INSTANCE, "5.2.1", MASK_RCNN, "torchvision", SMALL_MASKS, recipe=TINY),
    "maskrcnn_resnet18_fpn": Entry(maskrcnn_resnet18_fpn, INSTANCE, "5.2.1", MASK_RCNN, "torchvision", SMALL_MASKS),
    "maskrcnn_efficientnet_lite0_fpn": Entry(
        maskrcnn_efficientnet_lite0_fpn, INSTANCE, "5.2.1", MASK_RCNN, "torchvision", {**SMALL_MASKS, "width": 0.25}
    ),
    "maskrcnn_resnet50_fpn": Entry(maskrcnn_resnet50_fpn, INSTANCE, "5.2.1", MASK_RCNN, "torchvision", SMALL_MASKS),
}
