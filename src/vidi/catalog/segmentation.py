"""Chapter 5: from a picture to the class of each pixel, to instances, to both."""

from vidi.catalog.entry import Entry
from vidi.catalog.papers import (
    BODIES,
    DEEPLAB2,
    DEEPLAB3,
    DEEPLAB3_PLUS,
    FCN,
    MASK2FORMER,
    MASK_RCNN,
    MASKFORMER,
    PANOPTIC_FPN,
    PATCHES,
    UNET,
)
from vidi.catalog.tiny import (
    HANDS,
    NARROW_SWIN,
    SMALL_DEEPLAB,
    SMALL_DILATED,
    SMALL_FCN,
    SMALL_FCN_VGG,
    SMALL_FOREST,
    SMALL_KEYPOINTS,
    SMALL_MASK2FORMER,
    SMALL_MASKFORMER,
    SMALL_MASKS,
    SMALL_MASKS_AT_POINTS,
    SMALL_MASKS_OF_CLASSES,
    SMALL_MASKS_OF_THINGS,
    SMALL_PANOPTIC_FPN,
    SMALL_PATCHES,
    SMALL_UNET,
)
from vidi.engine.recipe import Recipe
from vidi.recipes.body_parts import BODIES_TINY
from vidi.recipes.detection import TINY
from vidi.recipes.segmentation import COARSE_PHASE, FINE_PHASE, MASKS_TINY, SEMANTIC_FROM_SCRATCH, SEMANTIC_TINY
from vidi.recipes.segmentation import PANOPTIC as MASKS
from vidi.segmentation.body_parts.classifier import body_parts, body_parts_tiny
from vidi.segmentation.deeplab import (
    deeplabv2_resnet101,
    deeplabv3_curriculum_resnet50,
    deeplabv3_resnet18,
    deeplabv3_resnet50,
    deeplabv3_resnet101,
)
from vidi.segmentation.deeplab_plus import (
    deeplabv3plus_efficientnet_lite0,
    deeplabv3plus_mobilenet_v2,
    deeplabv3plus_resnet18,
    deeplabv3plus_resnet50,
    deeplabv3plus_resnet101,
)
from vidi.segmentation.dilated import fcn_resnet50, fcn_resnet101
from vidi.segmentation.fcn import (
    fcn8_coarse_to_fine_tiny,
    fcn8_coarse_to_fine_vgg16,
    fcn8_resnet18,
    fcn8_resnet50,
    fcn8_tiny,
    fcn8_vgg16,
    fcn16_resnet50,
    fcn16_vgg16,
    fcn32_resnet50,
    fcn32_vgg16,
)
from vidi.segmentation.keypoint_rcnn import keypointrcnn_resnet18_fpn, keypointrcnn_resnet50_fpn, keypointrcnn_tiny
from vidi.segmentation.mask2former import (
    mask2former_resnet18,
    mask2former_resnet50,
    mask2former_resnet50_instance,
    mask2former_resnet101,
    mask2former_swin_b,
    mask2former_swin_l,
    mask2former_swin_s,
    mask2former_swin_t,
    mask2former_swin_t_instance,
    mask2former_swin_t_semantic,
    mask2former_tiny,
    mask2former_tiny_instance,
    mask2former_tiny_semantic,
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
    maskformer_resnet50_semantic,
    maskformer_resnet101,
    maskformer_swin_t,
    maskformer_swin_t_semantic,
    maskformer_tiny,
    maskformer_tiny_semantic,
)
from vidi.segmentation.panoptic_fpn import panoptic_fpn_resnet18, panoptic_fpn_resnet50, panoptic_fpn_tiny
from vidi.segmentation.patch_segmenter import patch_segmenter, patch_segmenter_tiny
from vidi.segmentation.unet import unet, unet_same, unet_small, unet_tiny
from vidi.tasks.body_parts import BODY_PARTS
from vidi.tasks.instance import INSTANCE
from vidi.tasks.panoptic import PANOPTIC
from vidi.tasks.pose import POSE
from vidi.tasks.semantic import SEMANTIC

STAGES: dict[str, Recipe] = dict.fromkeys(("stride32", "stride16", "stride8"), SEMANTIC_FROM_SCRATCH)
TINY_STAGES: dict[str, Recipe] = dict.fromkeys(("stride32", "stride16", "stride8"), SEMANTIC_TINY)
PHASES = {"stride16": COARSE_PHASE, "stride8": FINE_PHASE}


SEGMENTATION: dict[str, Entry] = {
    "body_parts": Entry(body_parts, BODY_PARTS, "5.1.1", BODIES, "", SMALL_FOREST),
    "body_parts_tiny": Entry(body_parts_tiny, BODY_PARTS, "5.1.1", BODIES, "", SMALL_FOREST, recipe=BODIES_TINY),
    "patch_segmenter_tiny": Entry(
        patch_segmenter_tiny, SEMANTIC, "5.1.2", PATCHES, "", SMALL_PATCHES, recipe=SEMANTIC_TINY
    ),
    "patch_segmenter": Entry(patch_segmenter, SEMANTIC, "5.1.2", PATCHES, "", {**SMALL_PATCHES, "form": "windows"}),
    "fcn8_tiny": Entry(fcn8_tiny, SEMANTIC, "5.1.3", FCN, "", SMALL_FCN, recipe=SEMANTIC_TINY),
    "fcn8_resnet18": Entry(fcn8_resnet18, SEMANTIC, "5.1.3", FCN, "", SMALL_FCN),
    "fcn8_resnet50": Entry(fcn8_resnet50, SEMANTIC, "5.1.3", FCN, "", SMALL_FCN),
    "fcn16_resnet50": Entry(fcn16_resnet50, SEMANTIC, "5.1.3", FCN, "", SMALL_FCN),
    "fcn32_resnet50": Entry(fcn32_resnet50, SEMANTIC, "5.1.3", FCN, "", SMALL_FCN),
    "fcn8_vgg16": Entry(fcn8_vgg16, SEMANTIC, "5.1.3", FCN, "", SMALL_FCN_VGG),
    "fcn16_vgg16": Entry(fcn16_vgg16, SEMANTIC, "5.1.3", FCN, "", SMALL_FCN_VGG),
    "fcn32_vgg16": Entry(fcn32_vgg16, SEMANTIC, "5.1.3", FCN, "", SMALL_FCN_VGG),
    "fcn8_coarse_to_fine_tiny": Entry(
        fcn8_coarse_to_fine_tiny, SEMANTIC, "5.1.3", FCN, "", SMALL_FCN, recipe=TINY_STAGES
    ),
    "fcn8_coarse_to_fine_vgg16": Entry(
        fcn8_coarse_to_fine_vgg16, SEMANTIC, "5.1.3", FCN, "", SMALL_FCN_VGG, recipe=STAGES
    ),
    "unet_tiny": Entry(unet_tiny, SEMANTIC, "5.1.4", UNET, "", SMALL_UNET, recipe=SEMANTIC_TINY),
    "unet_small": Entry(unet_small, SEMANTIC, "5.1.4", UNET, "", SMALL_UNET),
    "unet_same": Entry(unet_same, SEMANTIC, "5.1.4", UNET, "", SMALL_UNET),
    "unet": Entry(unet, SEMANTIC, "5.1.4", UNET, "", {**SMALL_UNET, "tile": 32}),
    "fcn_resnet50": Entry(fcn_resnet50, SEMANTIC, "5.1.5", FCN, "torchvision", SMALL_DILATED),
    "fcn_resnet101": Entry(fcn_resnet101, SEMANTIC, "5.1.5", FCN, "torchvision", SMALL_DILATED),
    "deeplabv2_resnet101": Entry(deeplabv2_resnet101, SEMANTIC, "5.A.1", DEEPLAB2, "", SMALL_DILATED),
    "deeplabv3_resnet18": Entry(deeplabv3_resnet18, SEMANTIC, "5.1.5", DEEPLAB3, "torchvision", SMALL_DEEPLAB),
    "deeplabv3_resnet50": Entry(deeplabv3_resnet50, SEMANTIC, "5.1.5", DEEPLAB3, "torchvision", SMALL_DEEPLAB),
    "deeplabv3_resnet101": Entry(deeplabv3_resnet101, SEMANTIC, "5.1.5", DEEPLAB3, "torchvision", SMALL_DEEPLAB),
    "deeplabv3_curriculum_resnet50": Entry(
        deeplabv3_curriculum_resnet50, SEMANTIC, "5.1.5", DEEPLAB3, "torchvision", SMALL_DEEPLAB, recipe=PHASES
    ),
    "deeplabv3plus_resnet18": Entry(
        deeplabv3plus_resnet18, SEMANTIC, "5.1.5", DEEPLAB3_PLUS, "segmentation-models-pytorch", SMALL_DEEPLAB
    ),
    "deeplabv3plus_resnet50": Entry(
        deeplabv3plus_resnet50, SEMANTIC, "5.1.5", DEEPLAB3_PLUS, "segmentation-models-pytorch", SMALL_DEEPLAB
    ),
    "deeplabv3plus_resnet101": Entry(
        deeplabv3plus_resnet101, SEMANTIC, "5.1.5", DEEPLAB3_PLUS, "segmentation-models-pytorch", SMALL_DEEPLAB
    ),
    "deeplabv3plus_mobilenet_v2": Entry(
        deeplabv3plus_mobilenet_v2,
        SEMANTIC,
        "5.1.5",
        DEEPLAB3_PLUS,
        "segmentation-models-pytorch",
        {**SMALL_DEEPLAB, "width": 0.25},
    ),
    "deeplabv3plus_efficientnet_lite0": Entry(
        deeplabv3plus_efficientnet_lite0,
        SEMANTIC,
        "5.1.5",
        DEEPLAB3_PLUS,
        "segmentation-models-pytorch",
        {**SMALL_DEEPLAB, "width": 0.25},
    ),
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
    "panoptic_fpn_resnet50": Entry(panoptic_fpn_resnet50, PANOPTIC, "5.3.1", PANOPTIC_FPN, "", SMALL_PANOPTIC_FPN),
    "maskformer_tiny": Entry(
        maskformer_tiny, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER, recipe=MASKS_TINY
    ),
    "maskformer_resnet18": Entry(maskformer_resnet18, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER),
    "maskformer_resnet50": Entry(maskformer_resnet50, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER),
    "maskformer_resnet101": Entry(
        maskformer_resnet101, PANOPTIC, "5.3.2", MASKFORMER, "transformers", SMALL_MASKFORMER
    ),
    "maskformer_swin_t": Entry(
        maskformer_swin_t, PANOPTIC, "5.3.2", MASKFORMER, "transformers", {**SMALL_MASKFORMER, **NARROW_SWIN}
    ),
    "maskformer_tiny_semantic": Entry(
        maskformer_tiny_semantic,
        SEMANTIC,
        "5.3.2",
        MASKFORMER,
        "transformers",
        SMALL_MASKS_OF_CLASSES,
        recipe=MASKS_TINY,
    ),
    "maskformer_resnet50_semantic": Entry(
        maskformer_resnet50_semantic,
        SEMANTIC,
        "5.3.2",
        MASKFORMER,
        "transformers",
        SMALL_MASKS_OF_CLASSES,
        recipe=MASKS,
    ),
    "maskformer_swin_t_semantic": Entry(
        maskformer_swin_t_semantic,
        SEMANTIC,
        "5.3.2",
        MASKFORMER,
        "transformers",
        {**SMALL_MASKS_OF_CLASSES, **NARROW_SWIN},
        recipe=MASKS,
    ),
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
    "mask2former_swin_t": Entry(
        mask2former_swin_t, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", {**SMALL_MASK2FORMER, **NARROW_SWIN}
    ),
    "mask2former_swin_s": Entry(
        mask2former_swin_s, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", {**SMALL_MASK2FORMER, **NARROW_SWIN}
    ),
    "mask2former_swin_b": Entry(
        mask2former_swin_b, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", {**SMALL_MASK2FORMER, **NARROW_SWIN}
    ),
    "mask2former_swin_l": Entry(
        mask2former_swin_l, PANOPTIC, "5.3.3", MASK2FORMER, "transformers", {**SMALL_MASK2FORMER, **NARROW_SWIN}
    ),
    "mask2former_tiny_semantic": Entry(
        mask2former_tiny_semantic,
        SEMANTIC,
        "5.3.3",
        MASK2FORMER,
        "transformers",
        SMALL_MASKS_AT_POINTS,
        recipe=MASKS_TINY,
    ),
    "mask2former_swin_t_semantic": Entry(
        mask2former_swin_t_semantic,
        SEMANTIC,
        "5.3.3",
        MASK2FORMER,
        "transformers",
        {**SMALL_MASKS_AT_POINTS, **NARROW_SWIN},
        recipe=MASKS,
    ),
    "mask2former_tiny_instance": Entry(
        mask2former_tiny_instance,
        INSTANCE,
        "5.3.3",
        MASK2FORMER,
        "transformers",
        SMALL_MASKS_OF_THINGS,
        recipe=MASKS_TINY,
    ),
    "mask2former_resnet50_instance": Entry(
        mask2former_resnet50_instance,
        INSTANCE,
        "5.3.3",
        MASK2FORMER,
        "transformers",
        SMALL_MASKS_OF_THINGS,
        recipe=MASKS,
    ),
    "mask2former_swin_t_instance": Entry(
        mask2former_swin_t_instance,
        INSTANCE,
        "5.3.3",
        MASK2FORMER,
        "transformers",
        {**SMALL_MASKS_OF_THINGS, **NARROW_SWIN},
        recipe=MASKS,
    ),
}
