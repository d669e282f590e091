"""The table of published weights, and what layouts the files of a model may have.

PUBLISHED     model/publisher/version -> weights, the first of a model being its default
OTHER         model -> layouts of files that carry no digest, or are published for other models only
ORDERS        model -> order of Darknet's files, where it is not that in which the network was put together
"""

from vidi.backbones import swin, vit
from vidi.embedding import clip
from vidi.segmentation import mask2former, maskformer
from vidi.weights.darknet_files import Order
from vidi.weights.layouts import Layout
from vidi.weights.published import Published
from vidi.weights.tables import (
    cifar_resnet,
    darknet_yolo,
    effdet_efficientdet,
    efficientnet_lite,
    facebook_detr,
    openai_clip,
    smp_deeplab,
    timm_darknet,
    timm_efficientnet,
    timm_inception,
    timm_mobilenet,
    timm_resnet,
    timm_senet,
    timm_swin,
    timm_vit,
    torchvision_alexnet,
    torchvision_efficientnet,
    torchvision_faster_rcnn,
    torchvision_googlenet,
    torchvision_inception,
    torchvision_keypoint_rcnn,
    torchvision_mask_rcnn,
    torchvision_mobilenet,
    torchvision_regnet,
    torchvision_resnet,
    torchvision_retinanet,
    torchvision_segmentation,
    torchvision_ssd,
    torchvision_swin,
    torchvision_vgg,
    torchvision_vit,
    transformers_clip,
    transformers_depth_pro,
    transformers_detr,
    transformers_mask2former,
    transformers_maskformer,
    transformers_vit,
)

PUBLISHED: dict[str, Published] = {
    **torchvision_alexnet.PUBLISHED,
    **torchvision_vgg.PUBLISHED,
    **torchvision_googlenet.PUBLISHED,
    **torchvision_inception.PUBLISHED,
    **timm_inception.PUBLISHED,
    **torchvision_resnet.PUBLISHED,
    **timm_senet.PUBLISHED,
    **timm_resnet.PUBLISHED,
    **cifar_resnet.PUBLISHED,
    **torchvision_mobilenet.PUBLISHED,
    **timm_mobilenet.PUBLISHED,
    **torchvision_efficientnet.PUBLISHED,
    **efficientnet_lite.PUBLISHED,
    **timm_efficientnet.PUBLISHED,
    **torchvision_regnet.PUBLISHED,
    **torchvision_vit.PUBLISHED,
    **timm_vit.PUBLISHED,
    **torchvision_swin.PUBLISHED,
    **timm_darknet.PUBLISHED,
    **torchvision_retinanet.PUBLISHED,
    **torchvision_segmentation.PUBLISHED,
    **torchvision_faster_rcnn.PUBLISHED,
    **torchvision_mask_rcnn.PUBLISHED,
    **torchvision_keypoint_rcnn.PUBLISHED,
    **torchvision_ssd.PUBLISHED,
    **effdet_efficientdet.PUBLISHED,
    **facebook_detr.PUBLISHED,
    **transformers_maskformer.PUBLISHED,
}

DETRS = ("detr_tiny", "detr_resnet18", "detr_resnet50", "detr_resnet50_dc5", "detr_resnet101")
DEEPLAB_PLUSES = ("deeplabv3plus_resnet18", "deeplabv3plus_resnet50", "deeplabv3plus_resnet101")
SMALL_MASKFORMERS = ("maskformer_tiny", "maskformer_resnet18", "maskformer_tiny_semantic")
SMALL_MASK2FORMERS = (
    "mask2former_tiny",
    "mask2former_resnet18",
    "mask2former_tiny_semantic",
    "mask2former_tiny_instance",
)
CLIP_TRANSFORMERS = [name for name, variant in clip.VARIANTS.items() if variant.patch]
CLIP_RESNETS = [name for name, variant in clip.VARIANTS.items() if not variant.patch]
OTHER: dict[str, tuple[Layout, ...]] = {
    **dict.fromkeys(swin.VARIANTS, (torchvision_swin.LAYOUT, timm_swin.LAYOUT)),
    **dict.fromkeys(vit.SIZES, (torchvision_vit.LAYOUT, timm_vit.LAYOUT, transformers_vit.LAYOUT)),
    **dict.fromkeys(DEEPLAB_PLUSES, (smp_deeplab.LAYOUT,)),
    **dict.fromkeys((*maskformer.BACKBONES, *SMALL_MASKFORMERS), (transformers_maskformer.LAYOUT,)),
    **dict.fromkeys(
        ("depth_pro", "depth_pro_tiny"), (transformers_depth_pro.LAYOUT, transformers_depth_pro.ORIGINAL_LAYOUT)
    ),
    **dict.fromkeys((*mask2former.BACKBONES, *SMALL_MASK2FORMERS), (transformers_mask2former.LAYOUT,)),
    **dict.fromkeys(CLIP_TRANSFORMERS, (openai_clip.TRANSFORMER_LAYOUT, transformers_clip.LAYOUT)),
    **dict.fromkeys(CLIP_RESNETS, (openai_clip.RESNET_LAYOUT,)),
    **dict.fromkeys(DETRS, (facebook_detr.LAYOUT, transformers_detr.LAYOUT)),
}
ORDERS = {"yolov3": darknet_yolo.YOLOV3, "yolov3_small": darknet_yolo.YOLOV3_SMALL}


def layouts_of(model: str) -> list[Layout]:
    """Return the layouts that a file of a model may have, each once; those of its published weights come first."""
    published = [row.layout for row in PUBLISHED.values() if row.model == model]
    return list(dict.fromkeys([*published, *OTHER.get(model, ())]))


def order_of(model: str) -> Order:
    """Return the order of the numbers in Darknet's files of a model."""
    return ORDERS.get(model, Order())
