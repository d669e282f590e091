"""What follows the network of SSD300 against torchvision, on the same raw outputs. `python -m benchmarks.ssd`.

One image of 300 x 300, 8,732 default boxes, 90 classes and the background, both libraries' usual thresholds, float32,
one thread. Raw outputs are drawn as of networks that are ever less sure what is background: 1,400, 26,000 and 276,000
pairs of a default box and a class have a score above 0.01. Both find the same.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import ssd300_vgg16

from benchmarks.timing import compare
from vidi.detection.ssd import END, SSD300, SsdDecode, SsdOutputs, default_boxes_of
from vidi.ops.boxes import box_iou
from vidi.preprocess import Placement

CLASSES, SIZE, BAR = 90, (300, 300), 1.5
CELLS = (38, 19, 10, 5, 3, 1)
OBJECTS = 8


def outputs_of(background: float, generator: torch.Generator) -> SsdOutputs:
    """Draw raw outputs: `background` is how much its logit stands above all others but those of the objects."""
    boxes = default_boxes_of(SSD300, END)(SIZE, [(n, n) for n in CELLS])
    logits = torch.randn(1, len(boxes), CLASSES + 1, generator=generator)
    logits[..., -1] += background
    corner = torch.rand(OBJECTS, 2, generator=generator) * 200
    objects = torch.cat([corner, corner + 30 + torch.rand(OBJECTS, 2, generator=generator) * 70], 1)
    likeness = box_iou(boxes, objects)  # A M
    labels = torch.randint(CLASSES, (OBJECTS,), generator=generator)
    logits[0, :, labels] += 2 * background * likeness
    return SsdOutputs(logits, 0.5 * torch.randn(1, len(boxes), 4, generator=generator), boxes)


def lines() -> Iterator[str]:
    """Yield a row for the outputs of a trained, of a badly trained and of an untrained network."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        generator = torch.Generator().manual_seed(0)
        for name, background in (("trained", 9.0), ("badly trained", 7.0), ("untrained", 0.0)):
            yield _row(f"SSD300 detections, {name}", outputs_of(background, generator))
    finally:
        torch.set_num_threads(threads)


def _row(name: str, outputs: SsdOutputs) -> str:
    with torch.device("meta"):
        reference: Any = ssd300_vgg16(weights=None, weights_backbone=None)
    heads: dict[str, Tensor] = {"cls_logits": outputs.class_logits.roll(1, 2), "bbox_regression": outputs.box_deltas}
    decode, placements = SsdDecode(tuple(map(str, range(CLASSES)))), [Placement(SIZE, SIZE)]

    def ours() -> Any:
        return decode(outputs, placements)[0]

    def theirs() -> Any:
        return reference.postprocess_detections(heads, [outputs.default_boxes], [SIZE])[0]

    found, expected = ours(), theirs()
    if not torch.equal(found.labels + 1, expected["labels"]):
        raise ValueError(f"{name}: the detections differ from torchvision's")
    torch.testing.assert_close(found.boxes, expected["boxes"], atol=1e-3, rtol=0)
    torch.testing.assert_close(found.scores, expected["scores"], atol=1e-6, rtol=0)
    return compare(name, {"vidi": ours, "torchvision": theirs}).line("torchvision", BAR)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
