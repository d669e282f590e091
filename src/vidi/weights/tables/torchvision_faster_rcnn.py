"""Faster R-CNN weights that torchvision publishes: COCO 2017, first (V1) and improved (V2) version."""

from vidi.results.categories import Categories
from vidi.weights.renaming import under
from vidi.weights.sources import Source, Tensors, by_name
from vidi.weights.tables.torchvision_fpn import PYRAMID
from vidi.weights.tables.torchvision_resnet import TRUNK
from vidi.weights.tables.torchvision_retinanet import DETECTION, coco_categories

STAGES = {
    "rpn.head.conv.*.0.*": "proposal_head.tower.*.0.*",
    "rpn.head.conv.weight": "proposal_head.tower.0.0.weight",  # in files of torchvision before 0.13
    "rpn.head.conv.bias": "proposal_head.tower.0.0.bias",
    "rpn.head.cls_logits.*": "proposal_head.objectness.*",
    "rpn.head.bbox_pred.*": "proposal_head.deltas.*",
    "roi_heads.box_predictor.cls_score.*": "region_head.predict.classes.*",
    "roi_heads.box_predictor.bbox_pred.*": "region_head.predict.deltas.*",
}
FASTER_RCNN = (
    under(TRUNK, "backbone.body.", "backbone.")
    | under(PYRAMID, "backbone.fpn.", "pyramid.")
    | STAGES
    | {"roi_heads.box_head.fc6.*": "region_head.hidden1.*", "roi_heads.box_head.fc7.*": "region_head.hidden2.*"}
)
FASTER_RCNN_V2 = (
    under(TRUNK, "backbone.body.", "backbone.")
    | STAGES
    | {
        "backbone.fpn.inner_blocks.*.0.weight": "pyramid.lateral.*.conv.weight",
        "backbone.fpn.inner_blocks.*.1.*": "pyramid.lateral.*.norm.*",
        "backbone.fpn.layer_blocks.*.0.weight": "pyramid.smooth.*.conv.weight",
        "backbone.fpn.layer_blocks.*.1.*": "pyramid.smooth.*.norm.*",
        "roi_heads.box_head.*.0.weight": "region_head.tower.*.conv.weight",
        "roi_heads.box_head.*.1.*": "region_head.tower.*.norm.*",
        "roi_heads.box_head.5.*": "region_head.hidden.*",
    }
)
PREDICTIONS = tuple(
    f"region_head.predict.{layer}.{kind}" for layer in ("classes", "deltas") for kind in ("weight", "bias")
)


def background_last(tensors: Tensors) -> Tensors:
    """Move the class row of the background from 0 to K, and drop its four deltas, which nothing ever trained."""
    moved = {key: tensors[key].roll(-1, 0) for key in PREDICTIONS if ".classes." in key}
    return tensors | moved | {key: tensors[key][4:] for key in PREDICTIONS if ".deltas." in key}


def coco_ids() -> Categories:
    """Return the names of COCO's ids 1 to 90; None for the ten that are not used."""
    return coco_categories()[1:]


SOURCES = by_name(
    Source(
        model="fasterrcnn_resnet50_fpn",
        version="torchvision/coco_v1",
        url="https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        sha256="258fb6c6",
        licence="BSD-3-Clause",
        preprocess=DETECTION,
        score={"ap": 37.0},
        names=FASTER_RCNN,
        convert=background_last,
        by_category=PREDICTIONS,
        categories=coco_ids,
        # frozen norms of that time added nothing to the variance
        arguments={
            "anchor_style": "torchvision",
            "aligned": False,
            "norm": "frozen",
            "norm_eps": 0.0,
        },
    ),
    Source(
        model="fasterrcnn_resnet50_fpn_v2",
        version="torchvision/coco_v1",
        url="https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
        sha256="dd69338a",
        licence="BSD-3-Clause",
        preprocess=DETECTION,
        score={"ap": 46.7},
        names=FASTER_RCNN_V2,
        convert=background_last,
        by_category=PREDICTIONS,
        categories=coco_ids,
        arguments={"anchor_style": "torchvision", "aligned": False},
    ),
)
