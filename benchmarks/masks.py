"""COCO's twelve numbers for masks against pycocotools and hotcoco, and pasting against torchvision's.

The simulated set has 5,000 images of 480 x 640 with 20 masks each and as many detections: ellipses of 10 to 120 pixels
half-axis, of 80 classes, drawn from 400 shapes so that the set is made in seconds; a detection is its truth, moved by a
few pixels, or another shape. Ours and hotcoco may use two threads. `python -m benchmarks masks`.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hotcoco  # pyright: ignore[reportMissingImports]
import numpy as np
import torch
import torch.nn.functional as F
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.models.detection.roi_heads import paste_masks_in_image

from benchmarks.coco import agree, ellipses, silence
from benchmarks.timing import compare
from vidi.metrics.coco import coco_scores
from vidi.metrics.coco_rows import Predictions, Truths
from vidi.ops.masks import Rle, encode_masks, rle_areas
from vidi.ops.pasting import paste_masks

CLASSES, IMAGES, OBJECTS, SIZE = 80, 5_000, 20, (480, 640)
SHAPES = 400


def lines() -> Iterator[str]:
    """Yield the rows of the table; ValueError where a peer's numbers differ from ours."""
    generator = np.random.default_rng(0)
    truths, predictions = simulate(IMAGES, generator)
    yield from evaluation(truths, predictions, IMAGES)
    torch.set_num_threads(1)
    yield from pasting(torch.Generator().manual_seed(0))


def simulate(images: int, generator: np.random.Generator) -> tuple[Truths, Predictions]:
    """Draw truths and detections of `images` pictures."""
    shapes = ellipses(SHAPES, generator)
    moved = torch.stack([s.roll(tuple(generator.integers(-6, 7, 2).tolist()), (0, 1)) for s in shapes])
    coded, near = encode_masks(shapes), encode_masks(moved)
    areas = rle_areas(coded).astype(np.float64)
    count = images * OBJECTS
    image = np.repeat(np.arange(images), OBJECTS)
    category = generator.integers(0, CLASSES, count)
    shape = generator.integers(0, SHAPES, count)
    hit = generator.random(count) < 0.7
    found = np.where(hit, shape, generator.integers(0, SHAPES, count))
    scores = np.where(hit, generator.beta(3, 2, count), generator.beta(1, 6, count)).round(5)
    boxes = np.zeros((count, 4))
    crowd = generator.random(count) < 0.012
    truths = Truths.from_xywh(image, category, boxes, areas[shape], crowd, [coded[s] for s in shape])
    return truths, Predictions.from_xywh(image, category, boxes, scores, [near[s] for s in found])


def evaluation(truths: Truths, predictions: Predictions, images: int) -> Iterator[str]:
    """Compare the whole evaluation of loaded data."""

    def ours() -> list[float]:
        scores = coco_scores(truths, predictions, images=images, categories=CLASSES, kind="masks")
        return list(scores.numbers().values())

    with tempfile.TemporaryDirectory() as folder, silence():
        files = Path(folder, "truths.json"), Path(folder, "results.json")
        for file, records in zip(files, coco_records(truths, predictions, images), strict=True):
            file.write_text(json.dumps(records), encoding="utf-8")
        slow_truth, rust_truth = COCO(str(files[0])), hotcoco.COCO(str(files[0]))
        slow = peer(COCOeval, slow_truth, slow_truth.loadRes(str(files[1])))
        rust = peer(hotcoco.COCOeval, rust_truth, rust_truth.load_res(str(files[1])))
    agree(ours(), rust(), 1e-12)
    agree(ours(), slow(), 1e-12)
    name = f"COCO masks, data loaded, {images:,} x {OBJECTS}"
    yield compare(name, {"vidi": ours, "hotcoco": rust}, rounds=3).line("hotcoco", 0.8)
    yield compare(name, {"vidi": ours, "pycocotools": slow}, rounds=1).line("pycocotools", 10)


def peer(evaluator: Callable[..., Any], truth: Any, found: Any) -> Callable[[], list[float]]:
    """Make a function that evaluates from scratch, for a peer with pycocotools' interface."""

    def run() -> list[float]:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            own = evaluator(truth, found, "segm")
            own.evaluate()
            own.accumulate()
            own.summarize()
        return [float(value) for value in own.stats[:12]]

    return run


def coco_records(truths: Truths, predictions: Predictions, images: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write rows as the two COCO files; results have no box, by which peers would take their areas."""

    def rows(of: Truths | Predictions) -> Iterator[dict[str, Any]]:
        for image, category, mask in zip(of.image.tolist(), of.category.tolist(), of.masks or (), strict=True):
            yield {"image_id": image + 1, "category_id": category + 1, "segmentation": text(mask)}

    extra = zip(rows(truths), truths.areas.tolist(), truths.crowd.tolist(), strict=True)
    annotations = [
        {**row, "id": n, "area": area, "iscrowd": int(crowd), "bbox": [0, 0, 1, 1]}
        for n, (row, area, crowd) in enumerate(extra, 1)
    ]
    results = [
        {**row, "score": score} for row, score in zip(rows(predictions), predictions.scores.tolist(), strict=True)
    ]
    pictures = [{"id": i + 1, "height": SIZE[0], "width": SIZE[1], "file_name": f"{i}.jpg"} for i in range(images)]
    classes = [{"id": k + 1, "name": str(k)} for k in range(CLASSES)]
    return {"images": pictures, "categories": classes, "annotations": annotations}, results


def text(mask: Rle) -> dict[str, Any]:
    """Return run lengths as JSON holds them."""
    counts = mask["counts"]
    return {"size": list(mask["size"]), "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts}


def pasting(generator: torch.Generator) -> Iterator[str]:
    """Compare the pasting of 100 masks of 28 x 28 into a picture of 800 x 1333, from run lengths to dense masks.

    Ours gives run lengths, which is what a result keeps; the second row makes pixels of them, as torchvision's does.
    """
    size, count = (800, 1333), 100
    masks = F.interpolate(torch.rand(count, 1, 6, 6, generator=generator), (28, 28), mode="bicubic").clamp(0.01, 0.99)
    sides = torch.exp(torch.rand(count, 2, generator=generator) * 3.5 + 2.5)  # 12 to 400 pixels
    corner = torch.rand(count, 2, generator=generator) * (torch.tensor([1333, 800]) - sides)
    boxes = torch.cat((corner, corner + sides), 1)

    def theirs() -> torch.Tensor:
        return paste_masks_in_image(masks, boxes, size)[:, 0] >= 0.5

    def ours() -> Any:
        return paste_masks(masks[:, 0], boxes, size, rounded=True)

    def dense() -> torch.Tensor:
        return ours().dense()

    different = int((dense() != theirs()).sum())
    if different > 20:  # of 100 M pixels: probabilities of one half
        raise ValueError(f"{different} pixels differ from torchvision's")
    yield compare("pasting 100 masks to 800 x 1333", {"vidi": ours, "torchvision": theirs}).line("torchvision", 2)
    yield compare("the same, as pixels", {"vidi": dense, "torchvision": theirs}).line("torchvision", 2)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
