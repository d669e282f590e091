"""RetinaNet weights that torchvision publishes: COCO 2017, first (V1) and improved (V2) version."""

from vidi.preprocess import Preprocess
from vidi.weights.categories import coco_categories
from vidi.weights.layouts import Layout
from vidi.weights.published import File, Published, by_name
from vidi.weights.renaming import under
from vidi.weights.tables.torchvision_fpn import PYRAMID
from vidi.weights.tables.torchvision_resnet import TRUNK

RETINANET = (
    under(TRUNK, "backbone.body.", "backbone.")
    | under(PYRAMID, "backbone.fpn.", "pyramid.")
    | {
        "head.classification_head.conv.*.*.*": "class_head.tower.*.*.*",
        "head.classification_head.cls_logits.*": "class_head.predict.*",
        "head.regression_head.conv.*.*.*": "box_head.tower.*.*.*",
        "head.regression_head.bbox_reg.*": "box_head.predict.*",
    }
    # in files of torchvision before 0.13, where convolutions and ReLUs took turns
    | {
        "head.classification_head.conv.0.*": "class_head.tower.0.0.*",
        "head.classification_head.conv.2.*": "class_head.tower.1.0.*",
        "head.classification_head.conv.4.*": "class_head.tower.2.0.*",
        "head.classification_head.conv.6.*": "class_head.tower.3.0.*",
        "head.regression_head.conv.0.*": "box_head.tower.0.0.*",
        "head.regression_head.conv.2.*": "box_head.tower.1.0.*",
        "head.regression_head.conv.4.*": "box_head.tower.2.0.*",
        "head.regression_head.conv.6.*": "box_head.tower.3.0.*",
    }
)

LAYOUT = Layout("torchvision", RETINANET, by_category=("class_head.predict.weight", "class_head.predict.bias"))

DETECTION = Preprocess(shorter=800, longest=1333, stride=32, antialias=False)

PUBLISHED = by_name(
    Published(
        model="retinanet_resnet50_fpn",
        version="torchvision/coco_v1",
        files=(File.named_by_digest("https://download.pytorch.org/models/retinanet_resnet50_fpn_coco-eeacb38b.pth"),),
        licence="BSD-3-Clause",
        preprocess=DETECTION,
        score={"ap": 36.4},
        layout=LAYOUT,
        categories=coco_categories,
        # frozen norms of that time added nothing to the variance
        arguments={"anchor_style": "torchvision", "norm": "frozen", "norm_eps": 0.0},
    ),
    Published(
        model="retinanet_resnet50_fpn_v2",
        version="torchvision/coco_v1",
        files=(
            File.named_by_digest("https://download.pytorch.org/models/retinanet_resnet50_fpn_v2_coco-5905b1c5.pth"),
        ),
        licence="BSD-3-Clause",
        preprocess=DETECTION,
        score={"ap": 41.5},
        layout=LAYOUT,
        categories=coco_categories,
        arguments={"anchor_style": "torchvision"},
    ),
)
