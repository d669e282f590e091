"""What the scorers of masks and joints add to that of boxes, class by class."""

import torch
from torch import Tensor

from vidi.data.world.names import JOINTS
from vidi.results.detections import Detections
from vidi.tasks.detection import DetectionScorer
from vidi.tasks.instance import InstanceScorer
from vidi.tasks.pose import PoseScorer

NAMES = ("person", "box", "cone")
BOXES = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
LABELS = torch.tensor([0, 1])
SCORES = torch.tensor([0.9, 0.8])


def masks_of(boxes: Tensor) -> Tensor:
    masks = torch.zeros(len(boxes), 16, 32, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def columns(scorer: DetectionScorer) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(tuple(row) for row in scorer.by_class()))


def test_masks_come_before_boxes() -> None:
    scorer = InstanceScorer(NAMES)
    assert scorer.by_class() == []
    empty = masks_of(BOXES)
    empty[1] = False
    empty[1, 12:] = True  # the right box, but other pixels
    found = Detections(BOXES, SCORES, LABELS, NAMES, masks=empty)
    target = {"image_id": torch.tensor(0), "boxes": BOXES, "labels": LABELS, "masks": masks_of(BOXES)}
    scorer.update([found], [target])
    scorer.compute()
    assert columns(scorer) == [("class", "objects", "mask_ap", "mask_ap50", "ap", "ap50")]
    person, box, cone = scorer.by_class()
    assert [round(float(person[key] or 0), 6) for key in ("mask_ap", "mask_ap50", "ap", "ap50")] == [1, 1, 1, 1]
    assert [round(float(box[key] or 0), 6) for key in ("mask_ap", "mask_ap50", "ap", "ap50")] == [0, 0, 1, 1]
    assert [cone[key] for key in ("objects", "mask_ap", "ap50")] == [0, None, None]
    assert scorer.best_threshold() == 0.4  # of boxes: all that are found are right, from 0.00 to 0.80


def test_joints_come_before_boxes() -> None:
    scorer = PoseScorer(NAMES)
    points = torch.rand(2, len(JOINTS), 2, generator=torch.Generator().manual_seed(0)) * 10
    visible = torch.ones(2, len(JOINTS))
    visible[1] = 0  # a box has no joints
    found = Detections(BOXES, SCORES, LABELS, NAMES, keypoints=torch.cat((points, visible[..., None]), 2))
    target = {"image_id": torch.tensor(0), "boxes": BOXES, "labels": LABELS, "keypoints": points}
    scorer.update([found], [{**target, "visibility": visible.byte()}])
    scorer.compute()
    assert columns(scorer) == [("class", "objects", "keypoint_ap", "keypoint_ap50", "ap", "ap50")]
    person, box, _ = scorer.by_class()
    assert round(float(person["keypoint_ap"] or 0), 6) == 1
    assert box["keypoint_ap"] is None
    assert (box["objects"], round(float(box["ap50"] or 0), 6)) == (1, 1)
