"""Chapter 4: which things lie where, and what is learnt for that."""

from vidi.backbones.alexnet import alexnet_ungrouped
from vidi.backbones.darknet import darknet53
from vidi.catalog.entry import Entry
from vidi.catalog.papers import (
    ALEXNET_2012,
    CENTERNET,
    DARKNET,
    DETR,
    EFFICIENTDET,
    FAST_RCNN,
    FASTER_FPN,
    FASTER_RCNN,
    FASTER_V2,
    OVERFEAT,
    RCNN,
    RETINANET,
    SSD,
    VIOLA_JONES,
    YOLO9000,
)
from vidi.catalog.tiny import (
    HANDS,
    SHALLOW_EFFICIENTDET,
    SMALL_CASCADE,
    SMALL_CENTERNET,
    SMALL_DARKNET,
    SMALL_DETECTOR,
    SMALL_DETR,
    SMALL_EFFICIENTDET,
    SMALL_FAST,
    SMALL_LOCALIZER,
    SMALL_PLAIN,
    SMALL_RCNN,
    SMALL_RCNN_ALEXNET,
    SMALL_SINGLE_MAP,
    SMALL_SLIDING,
    SMALL_SSD,
    SMALL_TWO_STAGE,
)
from vidi.detection.anchor_sizes import anchor_kmeans
from vidi.detection.centernet import centernet_resnet18, centernet_resnet50, centernet_tiny
from vidi.detection.centernet_3d import centernet_3d_resnet18, centernet_3d_tiny
from vidi.detection.centernet_pose import centernet_pose_resnet18, centernet_pose_tiny
from vidi.detection.detr import (
    detr_efficientnet_lite0,
    detr_resnet18,
    detr_resnet50,
    detr_resnet50_dc5,
    detr_resnet101,
    detr_tiny,
)
from vidi.detection.efficientdet import (
    efficientdet_d0,
    efficientdet_d1,
    efficientdet_d2,
    efficientdet_d3,
    efficientdet_d4,
    efficientdet_d5,
    efficientdet_d6,
    efficientdet_d7,
    efficientdet_lite0,
    efficientdet_tiny,
)
from vidi.detection.localizer import localizer_alexnet, localizer_resnet18, localizer_tiny
from vidi.detection.regions.fast_rcnn import fast_rcnn_resnet18
from vidi.detection.regions.faster_rcnn import (
    fasterrcnn_resnet18_fpn,
    fasterrcnn_resnet50,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
    fasterrcnn_tiny,
)
from vidi.detection.regions.rcnn import rcnn_alexnet, rcnn_svm_alexnet, rcnn_svm_tiny, rcnn_tiny
from vidi.detection.retinanet import (
    retinanet_resnet18_fpn,
    retinanet_resnet50_fpn,
    retinanet_resnet50_fpn_v2,
    retinanet_tiny,
)
from vidi.detection.sliding_window import sliding_window, sliding_window_tiny
from vidi.detection.ssd import ssd300_vgg16, ssd_tiny
from vidi.detection.viola_jones.detector import viola_jones
from vidi.detection.yolo import yolov3, yolov3_small
from vidi.recipes.detection import DETR_PAPER, DETR_TINY, FROM_SCRATCH, REGIONS, REGIONS_TINY, TINY
from vidi.tasks.anchors import ANCHORS
from vidi.tasks.classification import CLASSIFICATION
from vidi.tasks.detection import DETECTION
from vidi.tasks.detection_3d import DETECTION_3D
from vidi.tasks.pose import POSE
from vidi.tasks.windows import WINDOWS

DETECTION_SYSTEMS: dict[str, Entry] = {
    "alexnet_ungrouped": Entry(
        alexnet_ungrouped, CLASSIFICATION, "4.3.1", ALEXNET_2012, "torchvision", {**SMALL_PLAIN, "stem": "small"}
    ),
    "darknet53": Entry(darknet53, CLASSIFICATION, "4.3.4", DARKNET, "timm", SMALL_DARKNET),
    "anchor_kmeans": Entry(anchor_kmeans, ANCHORS, "4.3.4", YOLO9000, "", {"anchors": 3}),
    "viola_jones": Entry(viola_jones, WINDOWS, "4.2", VIOLA_JONES, "opencv", SMALL_CASCADE),
    "localizer_tiny": Entry(
        localizer_tiny, DETECTION, "4.3.1", OVERFEAT, "", {"categories": 3, "size": (64, 64), "hidden": 16}, recipe=TINY
    ),
    "localizer_resnet18": Entry(localizer_resnet18, DETECTION, "4.3.1", OVERFEAT, "", SMALL_LOCALIZER),
    "localizer_alexnet": Entry(
        localizer_alexnet, DETECTION, "4.3.1", OVERFEAT, "", {**SMALL_LOCALIZER, "stem": "small"}
    ),
    "sliding_window_tiny": Entry(sliding_window_tiny, DETECTION, "4.3.1", OVERFEAT, "", SMALL_SLIDING, recipe=TINY),
    "sliding_window": Entry(
        sliding_window, DETECTION, "4.3.1", OVERFEAT, "", {**SMALL_SLIDING, "window_sizes": (20, 40)}
    ),
    "rcnn_tiny": Entry(rcnn_tiny, DETECTION, "4.3.2", RCNN, "", SMALL_RCNN, recipe=TINY),
    "rcnn_svm_tiny": Entry(
        rcnn_svm_tiny,
        DETECTION,
        "4.3.2",
        RCNN,
        "scikit-learn",
        SMALL_RCNN,
        recipe={"network": TINY, "regions": REGIONS_TINY},
    ),
    "rcnn_alexnet": Entry(rcnn_alexnet, DETECTION, "4.3.2", RCNN, "", SMALL_RCNN_ALEXNET),
    "rcnn_svm_alexnet": Entry(
        rcnn_svm_alexnet,
        DETECTION,
        "4.3.2",
        RCNN,
        "scikit-learn",
        SMALL_RCNN_ALEXNET,
        recipe={"network": FROM_SCRATCH, "regions": REGIONS},
    ),
    "fast_rcnn_resnet18": Entry(fast_rcnn_resnet18, DETECTION, "4.3.2", FAST_RCNN, "", SMALL_FAST),
    "fasterrcnn_tiny": Entry(
        fasterrcnn_tiny, DETECTION, "4.3.2", FASTER_RCNN, "torchvision", SMALL_TWO_STAGE, recipe=TINY
    ),
    "fasterrcnn_resnet18_fpn": Entry(
        fasterrcnn_resnet18_fpn, DETECTION, "4.3.3", FASTER_FPN, "torchvision", SMALL_TWO_STAGE
    ),
    "fasterrcnn_resnet50_fpn": Entry(
        fasterrcnn_resnet50_fpn, DETECTION, "4.3.3", FASTER_FPN, "torchvision", SMALL_TWO_STAGE
    ),
    "fasterrcnn_resnet50_fpn_v2": Entry(
        fasterrcnn_resnet50_fpn_v2, DETECTION, "4.3.3", FASTER_V2, "torchvision", SMALL_TWO_STAGE
    ),
    "fasterrcnn_resnet50": Entry(fasterrcnn_resnet50, DETECTION, "4.3.2", FASTER_RCNN, "torchvision", SMALL_SINGLE_MAP),
    "ssd_tiny": Entry(ssd_tiny, DETECTION, "4.3.3", SSD, "", SMALL_SSD, recipe=TINY),
    "ssd300_vgg16": Entry(ssd300_vgg16, DETECTION, "4.3.3", SSD, "torchvision", {**SMALL_SSD, "width": 8, "maps": 3}),
    "retinanet_tiny": Entry(retinanet_tiny, DETECTION, "4.3.4", RETINANET, "", SMALL_DETECTOR, recipe=TINY),
    "retinanet_resnet18_fpn": Entry(retinanet_resnet18_fpn, DETECTION, "4.3.4", RETINANET, "", SMALL_DETECTOR),
    "retinanet_resnet50_fpn": Entry(
        retinanet_resnet50_fpn, DETECTION, "4.3.4", RETINANET, "torchvision", SMALL_DETECTOR
    ),
    "retinanet_resnet50_fpn_v2": Entry(
        retinanet_resnet50_fpn_v2, DETECTION, "4.3.4", RETINANET, "torchvision", SMALL_DETECTOR
    ),
    "yolov3_small": Entry(yolov3_small, DETECTION, "4.3.4", DARKNET, "", SMALL_DARKNET, recipe=TINY),
    "yolov3": Entry(yolov3, DETECTION, "4.3.4", DARKNET, "", SMALL_DARKNET),
    "efficientdet_tiny": Entry(
        efficientdet_tiny, DETECTION, "4.A", EFFICIENTDET, "effdet", SHALLOW_EFFICIENTDET, recipe=TINY
    ),
    "efficientdet_lite0": Entry(
        efficientdet_lite0, DETECTION, "4.A", EFFICIENTDET, "effdet", {**SHALLOW_EFFICIENTDET, "drop": 0.0}
    ),
    "efficientdet_d0": Entry(efficientdet_d0, DETECTION, "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d1": Entry(efficientdet_d1, DETECTION, "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d2": Entry(efficientdet_d2, DETECTION, "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d3": Entry(efficientdet_d3, DETECTION, "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d4": Entry(efficientdet_d4, DETECTION, "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d5": Entry(efficientdet_d5, DETECTION, "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d6": Entry(efficientdet_d6, DETECTION, "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "efficientdet_d7": Entry(efficientdet_d7, DETECTION, "4.A", EFFICIENTDET, "effdet", SMALL_EFFICIENTDET),
    "centernet_tiny": Entry(
        centernet_tiny, DETECTION, "4.3.5", CENTERNET, "", {**SMALL_CENTERNET, "channels": (32,)}, recipe=TINY
    ),
    "centernet_resnet18": Entry(centernet_resnet18, DETECTION, "4.3.5", CENTERNET, "", SMALL_CENTERNET),
    "centernet_resnet50": Entry(centernet_resnet50, DETECTION, "4.3.5", CENTERNET, "", SMALL_CENTERNET),
    "centernet_pose_tiny": Entry(
        centernet_pose_tiny, POSE, "4.3.5", CENTERNET, "", {**SMALL_CENTERNET, "channels": (32,), **HANDS}, recipe=TINY
    ),
    "centernet_pose_resnet18": Entry(
        centernet_pose_resnet18, POSE, "4.3.5", CENTERNET, "", {**SMALL_CENTERNET, **HANDS}
    ),
    "centernet_3d_tiny": Entry(
        centernet_3d_tiny, DETECTION_3D, "4.3.5", CENTERNET, "", {**SMALL_CENTERNET, "channels": (32,)}, recipe=TINY
    ),
    "centernet_3d_resnet18": Entry(centernet_3d_resnet18, DETECTION_3D, "4.3.5", CENTERNET, "", SMALL_CENTERNET),
    "detr_tiny": Entry(detr_tiny, DETECTION, "4.3.6", DETR, "transformers", SMALL_DETR, recipe=DETR_TINY),
    "detr_resnet18": Entry(detr_resnet18, DETECTION, "4.3.6", DETR, "transformers", SMALL_DETR),
    "detr_efficientnet_lite0": Entry(detr_efficientnet_lite0, DETECTION, "4.3.6", DETR, "transformers", SMALL_DETR),
    "detr_resnet50": Entry(detr_resnet50, DETECTION, "4.3.6", DETR, "transformers", SMALL_DETR, recipe=DETR_PAPER),
    "detr_resnet50_dc5": Entry(
        detr_resnet50_dc5, DETECTION, "4.3.6", DETR, "transformers", SMALL_DETR, recipe=DETR_PAPER
    ),
    "detr_resnet101": Entry(detr_resnet101, DETECTION, "4.3.6", DETR, "transformers", SMALL_DETR, recipe=DETR_PAPER),
}
