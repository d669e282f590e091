"""Keypoint R-CNN weights that torchvision publishes: persons of COCO 2017, of an early epoch (legacy) and the last."""

from vidi.results.categories import Categories
from vidi.weights.layouts import Layout
from vidi.weights.published import File, Published, by_name
from vidi.weights.tables.torchvision_faster_rcnn import FASTER_RCNN, PREDICTIONS, background_last
from vidi.weights.tables.torchvision_retinanet import DETECTION

# convolutions and ReLUs take turns
KEYPOINT_RCNN = (
    FASTER_RCNN
    | {f"roi_heads.keypoint_head.{2 * layer}.*": f"keypoint_head.tower.{layer}.0.*" for layer in range(8)}
    | {"roi_heads.keypoint_predictor.kps_score_lowres.*": "keypoint_head.up.*"}
)
LAYOUT = Layout("torchvision", KEYPOINT_RCNN, convert=background_last, by_category=PREDICTIONS)
# frozen norms of that time added nothing to the variance
ARGUMENTS = {"anchor_style": "torchvision", "aligned": False, "norm": "frozen", "norm_eps": 0.0}
BASE = "https://download.pytorch.org/models/keypointrcnn_resnet50_fpn_coco-"


def person() -> Categories:
    """Return the one category that has joints."""
    return ("person",)


PUBLISHED = by_name(
    Published(
        model="keypointrcnn_resnet50_fpn",
        version="torchvision/coco_v1",
        files=(File.named_by_digest(f"{BASE}fc266e95.pth"),),
        licence="BSD-3-Clause",
        preprocess=DETECTION,
        score={"ap": 54.6, "keypoint_ap": 65.0},
        layout=LAYOUT,
        categories=person,
        arguments=ARGUMENTS,
    ),
    Published(
        model="keypointrcnn_resnet50_fpn",
        version="torchvision/coco_legacy",
        files=(File.named_by_digest(f"{BASE}9f466800.pth"),),
        licence="BSD-3-Clause",
        preprocess=DETECTION,
        score={"ap": 50.6, "keypoint_ap": 61.1},
        layout=LAYOUT,
        categories=person,
        arguments=ARGUMENTS,
    ),
)
