"""Mask R-CNN weights that torchvision publishes: COCO 2017."""

from vidi.weights.categories import coco_ids
from vidi.weights.layouts import Layout, Tensors
from vidi.weights.published import File, Published, by_name
from vidi.weights.tables.torchvision_faster_rcnn import FASTER_RCNN, PREDICTIONS, background_last
from vidi.weights.tables.torchvision_retinanet import DETECTION

MASK_RCNN = FASTER_RCNN | {
    "roi_heads.mask_head.*.0.*": "mask_head.tower.*.0.*",
    # in files of torchvision before 0.13
    "roi_heads.mask_head.mask_fcn1.*": "mask_head.tower.0.0.*",
    "roi_heads.mask_head.mask_fcn2.*": "mask_head.tower.1.0.*",
    "roi_heads.mask_head.mask_fcn3.*": "mask_head.tower.2.0.*",
    "roi_heads.mask_head.mask_fcn4.*": "mask_head.tower.3.0.*",
    "roi_heads.mask_predictor.conv5_mask.*": "mask_head.up.0.*",
    "roi_heads.mask_predictor.mask_fcn_logits.*": "mask_head.predict.*",
}
MASKS = ("mask_head.predict.weight", "mask_head.predict.bias")


def without_background(tensors: Tensors) -> Tensors:
    """Move the background of the classes to the end, and drop its mask, which nothing ever trained."""
    return background_last(tensors) | {key: tensors[key][1:] for key in MASKS}


LAYOUT = Layout("torchvision", MASK_RCNN, convert=without_background, by_category=(*PREDICTIONS, *MASKS))

PUBLISHED = by_name(
    Published(
        model="maskrcnn_resnet50_fpn",
        version="torchvision/coco_v1",
        files=(File.named_by_digest("https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth"),),
        licence="BSD-3-Clause",
        preprocess=DETECTION,
        score={"ap": 37.9, "mask_ap": 34.6},
        layout=LAYOUT,
        categories=coco_ids,
        # frozen norms of that time added nothing to the variance
        arguments={
            "anchor_style": "torchvision",
            "aligned": False,
            "pasting": "rounded",
            "norm": "frozen",
            "norm_eps": 0.0,
        },
    ),
)
