"""COCO's twelve numbers against torchmetrics, faster-coco-eval and hotcoco; mask IoU against pycocotools.

The simulated set is like val2017: 80 classes with a long tail, 7 boxes an image of which 1.2 % are crowds, and 100
detections an image. `python -m benchmarks coco`.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import faster_coco_eval  # pyright: ignore[reportMissingImports]
import hotcoco  # pyright: ignore[reportMissingImports]
import numpy as np
import torch
from pycocotools import mask as coco_mask
from torchmetrics.detection import MeanAveragePrecision

from benchmarks.timing import compare
from vidi.metrics.coco import IOU_THRESHOLDS, RECALL_LEVELS, CocoEvaluator, coco_scores
from vidi.metrics.coco_rows import Predictions, Truths
from vidi.ops.masks import encode_masks, rle_iou
from vidi.results.detections import Detections

CLASSES = 80
SIZE = (480, 640)
Numbers = Callable[[], list[float]]


def lines() -> Iterator[str]:
    """Yield the rows of the table; ValueError where a peer's numbers differ from ours."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    yield from tensors(1_000, generator)
    yield from loaded(5_000, generator)
    yield from masks(generator)


def simulate(images: int, generator: np.random.Generator) -> tuple[Truths, Predictions]:
    """Draw truths and, per image on average, 100 detections: some 3.5 near each truth with good scores, and noise."""
    shares = 1 / np.arange(1, CLASSES + 1)
    image = np.sort(generator.integers(0, images, round(7.148 * images)))
    category = generator.choice(CLASSES, len(image), p=shares / shares.sum())
    sides = np.exp(generator.normal(4, 1, (len(image), 2))).clip(4, 400)
    corner = generator.random((len(image), 2)) * (np.array(SIZE[::-1]) - sides)
    crowd = generator.random(len(image)) < 0.012
    boxes = np.concatenate([corner, sides], 1)
    truths = Truths.from_xywh(image, category, boxes.round(2), 0.7 * sides.prod(1), crowd)

    near = np.repeat(np.arange(len(image)), generator.integers(2, 6, len(image)))
    noise = 100 * images - len(near)
    shift = generator.normal(0, 0.1, (len(near), 2)) * sides[near]
    near_sides = sides[near] * np.exp(generator.normal(0, 0.15, (len(near), 2)))
    noise_sides = np.exp(generator.normal(4, 1, (noise, 2))).clip(4, 400)
    noise_corner = generator.uniform(0, 400, (noise, 2))
    found_image = np.concatenate([image[near], generator.integers(0, images, noise)])
    found_category = np.concatenate([category[near], generator.choice(CLASSES, noise, p=shares / shares.sum())])
    found = np.block([[corner[near] + shift, near_sides], [noise_corner, noise_sides]])
    scores = np.concatenate([generator.beta(3, 2, len(near)), generator.beta(1, 6, noise)])
    order = np.lexsort((-scores, found_image))
    rows = (found_image[order], found_category[order], found[order].round(2), scores[order].round(5))
    return truths, Predictions.from_xywh(*rows)


def tensors(images: int, generator: np.random.Generator) -> Iterator[str]:
    """Compare update and compute with torchmetrics, one image at a time.

    Each starts from what a model's `predict` gives: `Detections` here, dictionaries of tensors there.
    """
    truths, predictions = simulate(images, generator)
    targets = [
        {
            "image_id": torch.tensor(i),
            "boxes": torch.from_numpy(truths.boxes[rows]),
            "labels": torch.from_numpy(truths.category[rows]),
            "areas": torch.from_numpy(truths.areas[rows]),
            "crowd": torch.from_numpy(truths.crowd[rows]),
        }
        for i, rows in enumerate(per_image(truths.image, images))
    ]
    outputs = [
        {
            "boxes": torch.from_numpy(predictions.boxes[rows]),
            "labels": torch.from_numpy(predictions.category[rows]),
            "scores": torch.from_numpy(predictions.scores[rows]),
        }
        for rows in per_image(predictions.image, images)
    ]
    names = tuple(str(k) for k in range(CLASSES))
    detections = [Detections(o["boxes"], o["scores"], o["labels"], names) for o in outputs]
    their_targets = [
        {"boxes": t["boxes"], "labels": t["labels"], "area": t["areas"], "iscrowd": t["crowd"].long()} for t in targets
    ]

    def ours() -> list[float]:
        evaluator = CocoEvaluator(CLASSES)
        for found, target in zip(detections, targets, strict=True):
            evaluator.update([found], [target])
        return list(evaluator.compute().numbers().values())

    def torchmetrics(backend: Literal["pycocotools", "faster_coco_eval"]) -> list[float]:
        metric = MeanAveragePrecision(
            iou_thresholds=IOU_THRESHOLDS.tolist(),  # its own levels are float32, which moves AP in the fourth place
            rec_thresholds=RECALL_LEVELS.tolist(),
            backend=backend,
        )
        metric.warn_on_many_detections = False
        for output, target in zip(outputs, their_targets, strict=True):
            metric.update([output], [target])
        values = metric.compute()
        keys = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
        recalls = ("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large")
        return [float(values[key]) for key in keys + recalls]

    def fast() -> list[float]:
        return torchmetrics("faster_coco_eval")

    def default() -> list[float]:
        return torchmetrics("pycocotools")

    agree(ours(), fast(), 1e-6)  # torchmetrics rounds to float32
    agree(ours(), default(), 1e-6)
    name = f"COCO boxes from tensors, {images:,}"
    quick = compare(name, {"vidi": ours, "torchmetrics, faster": fast}, rounds=5)
    yield quick.line("torchmetrics, faster", 5)
    slow = compare(name, {"vidi": ours, "torchmetrics": default}, rounds=2)
    yield slow.line("torchmetrics", 60)


def per_image(image: np.ndarray, images: int) -> list[slice]:
    """Give the rows of each image, `image` being sorted."""
    ends = np.searchsorted(image, np.arange(images + 1))
    return [slice(start, end) for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]


def loaded(images: int, generator: np.random.Generator) -> Iterator[str]:
    """Compare the whole evaluation of loaded data: matching, accumulation and the twelve numbers."""
    truths, predictions = simulate(images, generator)
    annotations, results = coco_records(truths, predictions, images)

    def ours() -> list[float]:
        return list(coco_scores(truths, predictions, images=images, categories=CLASSES).numbers().values())

    with tempfile.TemporaryDirectory() as folder, silence():
        files = Path(folder, "truths.json"), Path(folder, "results.json")
        for file, records in zip(files, (annotations, results), strict=True):
            file.write_text(json.dumps(records), encoding="utf-8")
        faster_truth = faster_coco_eval.COCO(str(files[0]))
        rust_truth = hotcoco.COCO(str(files[0]))
        faster = evaluation(faster_coco_eval.COCOeval_faster, faster_truth, faster_truth.loadRes(str(files[1])))
        rust = evaluation(hotcoco.COCOeval, rust_truth, rust_truth.load_res(str(files[1])))
    agree(ours(), faster(), 1e-12)
    agree(ours(), rust(), 1e-12)
    name = f"COCO boxes, data loaded, {images:,}"
    comparison = compare(name, {"vidi": ours, "faster-coco-eval": faster, "hotcoco": rust}, rounds=5)
    yield comparison.line("faster-coco-eval", 6)
    yield comparison.line("hotcoco", 0.5)


def coco_records(truths: Truths, predictions: Predictions, images: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write rows as the two COCO files."""

    def rows(of: Truths | Predictions) -> Iterator[dict[str, Any]]:
        boxes = np.concatenate([of.boxes[:, :2], of.sizes], 1).tolist()  # pyright: ignore[reportCallIssue, reportArgumentType]
        for image, category, box in zip(of.image.tolist(), of.category.tolist(), boxes, strict=True):
            yield {"image_id": image + 1, "category_id": category + 1, "bbox": box}

    extra = zip(rows(truths), truths.areas.tolist(), truths.crowd.tolist(), strict=True)
    annotations = [
        {**row, "id": n, "area": area, "iscrowd": int(crowd), "segmentation": []}
        for n, (row, area, crowd) in enumerate(extra, 1)
    ]
    results = [
        {**row, "score": score} for row, score in zip(rows(predictions), predictions.scores.tolist(), strict=True)
    ]
    pictures = [{"id": i + 1, "height": SIZE[0], "width": SIZE[1], "file_name": f"{i}.jpg"} for i in range(images)]
    classes = [{"id": k + 1, "name": str(k)} for k in range(CLASSES)]
    return {"images": pictures, "categories": classes, "annotations": annotations}, results


def evaluation(evaluator: Callable[..., Any], truth: Any, found: Any) -> Numbers:
    """Make a function that evaluates from scratch, for a peer with pycocotools' interface."""

    def run() -> list[float]:
        with silence():
            peer = evaluator(truth, found, "bbox")
            peer.evaluate()
            peer.accumulate()
            peer.summarize()
        return [float(value) for value in peer.stats[:12]]

    return run


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Swallow what peers print."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def masks(generator: np.random.Generator) -> Iterator[str]:
    """Compare the IoU of every pair of 100 and 40 tilted ellipses, from compressed run lengths."""
    found, wanted = encode_masks(ellipses(100, generator)), encode_masks(ellipses(40, generator))
    crowd = np.zeros(40, bool)

    def ours() -> np.ndarray:
        return rle_iou(found, wanted, crowd)

    def theirs() -> Any:
        return coco_mask.iou(found, wanted, [0] * 40)  # pyright: ignore[reportArgumentType]

    np.testing.assert_array_equal(ours(), theirs())
    yield compare("mask IoU, 100 x 40", {"vidi": ours, "pycocotools": theirs}, rounds=50).line("pycocotools", 3)


def ellipses(count: int, generator: np.random.Generator) -> torch.Tensor:
    """Draw filled ellipses of 10 to 150 pixels half-axis anywhere on the image."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    drawn = []
    for _ in range(count):
        column, row = generator.random(2) * SIZE[::-1]
        long, short = generator.uniform(10, 150, 2)
        turn = generator.uniform(0, np.pi)
        u = (x - column) * np.cos(turn) + (y - row) * np.sin(turn)
        v = (y - row) * np.cos(turn) - (x - column) * np.sin(turn)
        drawn.append((u / long) ** 2 + (v / short) ** 2 < 1)
    return torch.from_numpy(np.stack(drawn))


def agree(ours: list[float], theirs: list[float], tolerance: float) -> None:
    """Raise ValueError where twelve numbers differ by more than `tolerance`."""
    gap = np.abs(np.array(ours) - np.array(theirs)).max()
    if not gap <= tolerance:
        raise ValueError(f"the numbers differ by {gap}:\n  ours   {ours}\n  theirs {theirs}")


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
