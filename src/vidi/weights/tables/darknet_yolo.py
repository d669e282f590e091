"""The file of the whole YOLOv3 in Darknet's format: `yolov3.weights`, 62,001,757 numbers for COCO's 80 classes.

Its layers are those of yolov3.cfg: the backbone, then for each scale, coarsest first, the path from above, the
convolutions of the neck, and the head. In the network backbone, neck and heads are modules of their own.
"""

from vidi.weights.categories import coco_used
from vidi.weights.darknet_files import Order

PARTS = (
    *("backbone", "neck.blocks.2", "heads.2"),
    *("neck.reduce.1", "neck.blocks.1", "heads.1"),
    *("neck.reduce.0", "neck.blocks.0", "heads.0"),
)
YOLOV3 = Order(PARTS, coco_used)
YOLOV3_SMALL = Order(PARTS)
