"""Chapter 5: the class of every pixel, and the thing that it belongs to."""

from vidi.catalog.entry import Entry
from vidi.catalog.papers import MASK2FORMER, MASK_RCNN, MASKFORMER, PANOPTIC_FPN
from vidi.catalog.tiny import (
    HANDS,
    SMALL_KEYPOINTS,
    SMALL_MASK2FORMER,
    SMALL_MASKFORMER,
    SMALL_MASKS,
    SMALL_PANOPTIC_FPN,
)
from vidi.recipes.detection import TINY
from vidi.recipes.segmentation import MASKS_TINY
from vidi.segmentation.keypoint_rcnn import (
    keypointrcnn_resnet18_fpn,
    keypointrcnn_resnet50_fpn,
    keypointrcnn_tiny,
)
from vidi.segmentation.mask2former import (
    mask2former_resnet18,
    mask2former_resnet50,
    mask2former_resnet101,
    mask2former_swin_b,
    mask2former_swin_l,
    mask2former_swin_s,
    mask2former_swin_t,
    mask2former_tiny,
)
from vidi.segmentation.mask_rcnn import (
    maskrcnn_efficientnet_lite0_fpn,
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet50_fpn,
    maskrcnn_tiny,
)
from vidi.segmentation.maskformer import (
    maskformer_resnet18,
    maskformer_resnet50,
    maskformer_resnet101,
    maskformer_swin_t,
    maskformer_tiny,
)
from vidi.segmentation.panoptic_fpn import panoptic_fpn_resnet18, panoptic_fpn_tiny
from vidi.tasks.instance import INSTANCE
from vidi.tasks.panoptic import PANOPTIC
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
    "panoptic_fpn_tiny": Entry(panoptic_fpn_tiny, PANOPTIC, "5.3.1", PANOPTIC_FPN, "", SMALL_PANOPTIC_FPN, recipe=TINY),
    "panoptic_fpn_resnet18": Entry(panoptic_fpn_resnet18, PANOPTIC, "5.3.1", PANOPTIC_FPN, "", SMALL_PANOPTIC_FPN),
    "maskformer_tiny": Entry(
        maskformer_tiny, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER, recipe=MASKS_TINY
    ),
    "maskformer_resnet18": Entry(maskformer_resnet18, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER),
    "maskformer_resnet50": Entry(maskformer_resnet50, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER),
    "maskformer_resnet101": Entry(
        maskformer_resnet101, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER
    ),
    "maskformer_swin_t": Entry(maskformer_swin_t, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER),
    "mask2former_tiny": Entry(
        mask2former_tiny, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER, recipe=MASKS_TINY
    ),
    "mask2former_resnet18": Entry(
        mask2former_resnet18, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER
    ),
    "mask2former_resnet50": Entry(
        mask2former_resnet50, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER
    ),
    "mask2former_resnet101": Entry(
        mask2former_resnet101, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER
    ),
    "mask2former_swin_t": Entry(mask2former_swin_t, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER),
    "mask2former_swin_s": Entry(mask2former_swin_s, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER),
    "mask2former_swin_b": Entry(mask2former_swin_b, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER),
    "mask2former_swin_l": Entry(mask2former_swin_l, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", SMALL_MASK2FORMER),
}
