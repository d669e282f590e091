"""Detectors end to end, from one photo of 480 x 640 to boxes: `python -m benchmarks.detection`.

Equal random weights on both sides, the class layers made large enough that suppression has work; batches of one,
torch's own number of threads. Sizes are kept as they are on both sides, so that the same network runs on the same
canvas.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torchvision.models.detection as torchvision_detection
from torch import Tensor, nn

from benchmarks.timing import compare
from vidi.model import Supervised, evaluating
from vidi.weights.creation import create
from vidi.weights.loading import load_tensors
from vidi.weights.table import PUBLISHED

SIZE = (480, 640)
BAR = 0.95
SCALE = 20.0  # of the class layers' random weights
# torchvision's class layer, and what bounds its detections
DETECTORS = {
    "fasterrcnn_resnet50_fpn": ("roi_heads.box_predictor.cls_score", "box_detections_per_img"),
    "retinanet_resnet50_fpn": ("head.classification_head.cls_logits", "detections_per_img"),
}
MOST = 100
VERSION = "torchvision/coco_v1"


def pair(name: str, class_layer: str, bound: str) -> tuple[Supervised, nn.Module]:
    """Return our model and torchvision's, with equal weights."""
    torch.manual_seed(0)
    source = PUBLISHED[f"{name}/{VERSION}"]
    options = {"min_size": SIZE[0], "max_size": SIZE[1], bound: MOST}
    theirs: Any = getattr(torchvision_detection, name)(weights=None, weights_backbone=None, num_classes=91, **options)
    with torch.no_grad():
        theirs.get_submodule(class_layer).weight.mul_(SCALE)
    ours = create(name, categories=source.categories(), shorter=SIZE[0], longest=SIZE[1], **source.arguments)
    load_tensors(ours, theirs.state_dict(), source.layout)
    return ours.eval(), theirs.eval()


def lines() -> Iterator[str]:
    """Yield a row for each detector."""
    generator = torch.Generator().manual_seed(0)
    smooth = nn.functional.interpolate(torch.rand(1, 3, 30, 40, generator=generator), SIZE, mode="bicubic")
    image = smooth[0].clamp(0, 1)
    for name, differences in DETECTORS.items():
        ours, theirs = pair(name, *differences)
        contestants: dict[str, Callable[[], object]] = {
            "vidi": lambda ours=ours: ours.predict(image),
            "torchvision": lambda theirs=theirs: _predicted(theirs, image),
        }
        (found,), (expected,) = ours.predict(image), _predicted(theirs, image)
        if len(found) != len(expected["boxes"]):
            raise RuntimeError(f"{name}: {len(found)} boxes against {len(expected['boxes'])}")
        torch.testing.assert_close(found.scores, expected["scores"], rtol=0, atol=1e-3)
        yield compare(f"{name}, {len(found)} boxes", contestants).line("torchvision", BAR)


def _predicted(model: nn.Module, image: Tensor) -> list[dict[str, Tensor]]:
    with evaluating(model), torch.no_grad():
        return model([image])


if __name__ == "__main__":
    for row in lines():
        print(row)
