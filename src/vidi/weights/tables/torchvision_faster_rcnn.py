"""Faster R-CNN weights that torchvision publishes: COCO 2017, first (V1) and improved (V2) version."""

from vidi.weights.categories import coco_ids
from vidi.weights.layouts import Layout, Tensors
from vidi.weights.published import File, Published, by_name
from vidi.weights.renaming import under
from vidi.weights.tables.torchvision_fpn import PYRAMID
from vidi.weights.tables.torchvision_resnet import TRUNK
from vidi.weights.tables.torchvision_retinanet import DETECTION

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


V1 = Layout("torchvision", FASTER_RCNN, convert=background_last, by_category=PREDICTIONS)
V2 = Layout("torchvision", FASTER_RCNN_V2, convert=background_last, by_category=PREDICTIONS)

PUBLISHED = by_name(
    Published(
        model="fasterrcnn_resnet50_fpn",
        version="torchvision/coco_v1",
        files=(File.named_by_digest("https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"),),
        licence="BSD-3-Clause",
        preprocess=DETECTION,
        score={"ap": 37.0},
        layout=V1,
        categories=coco_ids,
        # frozen norms of that time added nothing to the variance
        arguments={"anchor_style": "torchvision", "aligned": False, "norm": "frozen", "norm_eps": 0.0},
    ),
    Published(
        model="fasterrcnn_resnet50_fpn_v2",
        version="torchvision/coco_v1",
        files=(
            File.named_by_digest("https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth"),
        ),
        licence="BSD-3-Clause",
        preprocess=DETECTION,
        score={"ap": 46.7},
        layout=V2,
        categories=coco_ids,
        arguments={"anchor_style": "torchvision", "aligned": False},
    ),
)
