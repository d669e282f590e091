"""How many outputs the detectors of COCO have: publishers keep other parts of its ids, which go from 1 to 90."""

COCO_CLASSES = 80  # the categories that there are: YOLO, CenterNet
COCO_IDS = 90  # 1 to 90, ten of which are not used: Faster R-CNN, SSD, EfficientDet
COCO_IDS_FROM_ZERO = 91  # 0 to 90, of which 0 is not used either: RetinaNet, DETR
