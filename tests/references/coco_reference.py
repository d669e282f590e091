"""pycocotools' own evaluation of annotations and results that are held in memory."""

import contextlib
import copy
import io
from typing import Any

from pycocotools import coco
from pycocotools.cocoeval import COCOeval

from vidi.metrics.coco_rows import Kind

Record = dict[str, Any]
COCO: Any = coco.COCO  # its type stubs know files only


def evaluated(
    annotations: list[Record],
    results: list[Record],
    *,
    image_ids: list[int],
    category_ids: list[int],
    kind: Kind = "boxes",
    size: tuple[int, int] = (128, 128),
) -> COCOeval:
    """Run COCOeval (evaluate, accumulate, summarize) on copies of the records; its print-out is swallowed."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i, "height": size[0], "width": size[1]} for i in image_ids],
            "categories": [{"id": k, "name": str(k)} for k in category_ids],
            "annotations": [{"id": n, **copy.deepcopy(row)} for n, row in enumerate(annotations, 1)],
        }
        truth.createIndex()
        if results:
            found = truth.loadRes(copy.deepcopy(results))
        else:
            found = COCO()
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        return run(truth, found, kind)


def run(truth: Any, found: Any, kind: Kind) -> COCOeval:
    """Run COCOeval on loaded data; its print-out is swallowed."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, found, "bbox" if kind == "boxes" else "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
