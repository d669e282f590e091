"""The Viola-Jones detector (Viola & Jones 2001; section 4.2 of the notes), fitted to faces or any other rigid thing.

    fit:      samples (image, target) -> windows of objects, pictures without -> cascade of boosted Haar features
    predict:  image 3 H W -> grey H W -> windows at all places and sizes -> cascade -> hits -> one box an object

`features` scales the filters, as the paper and the notes do, `image` the image, as OpenCV does; hits are merged by
OpenCV's grouping (`groups`) or by non-maximum suppression (`nms`, the notes). Cascades of OpenCV are used by
`detector.use(read_cascade(path))`, and `write_cascade(path, detector.cascade)` makes ours run there.
"""

from dataclasses import fields
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vidi.detection.viola_jones.cascade import Cascade, of_stumps
from vidi.detection.viola_jones.grouping import Merged, merge_by_groups, merge_by_suppression
from vidi.detection.viola_jones.haar import HaarFeatures, haar_features
from vidi.detection.viola_jones.samples import Jitter, gather, object_classes
from vidi.detection.viola_jones.scanning import grey, scan
from vidi.detection.viola_jones.training import Plan, Training, train_cascade
from vidi.model import Fitted, Predicts, builder
from vidi.preprocess import Batch, Placement, Preprocess
from vidi.results.categories import Categories, category_names
from vidi.results.detections import Detections

COLUMNS = tuple(f.name for f in fields(Cascade) if f.name not in ("window", "features"))
FEATURE_COLUMNS = tuple(f.name for f in fields(HaarFeatures))


class ViolaJones(Fitted, Predicts):
    """A cascade with the settings of its scan; the cascade's arrays are buffers.

    Args:
        categories: names; the first that is no background is what is detected.
        window: (H, W) that objects are shrunk to.
        area: of the object in pictures of one object, see `samples.gather`.
        plan: of the training.
        jitter: of the training windows.
        scanning: keyword arguments of `scanning.scan`.
        merging: "groups" or "nms", and its threshold: hits that a group must exceed, or the IoU.
        preprocess: sizes; pixels are not normalised.
    """

    def __init__(
        self,
        categories: Categories,
        window: tuple[int, int],
        area: tuple[float, float, float, float],
        plan: Plan,
        jitter: Jitter,
        scanning: dict[str, Any],
        merging: tuple[str, float],
        preprocess: Preprocess,
    ):
        super().__init__()
        self.named = categories
        self.objects = object_classes(categories)
        self.area, self.plan, self.jitter = area, plan, jitter
        self.scanning, self.merging, self.preprocess = scanning, merging, preprocess
        self.training_result: Training | None = None
        self.register_learnt("window", torch.tensor(window))
        for name, value in _columns(of_stumps(window, [], haar_features((1, 1)))).items():
            self.register_learnt(name, value)
        self.register_learnt("detection_rate", torch.zeros(()))
        self.register_learnt("false_positive_rate", torch.zeros(()))

    @property
    def cascade(self) -> Cascade:
        """The cascade that was learnt or given.

        Raises:
            ValueError: if the detector holds arrays that are no cascade.
        """
        columns = {name: getattr(self, name).cpu().numpy() for name in (*COLUMNS, *FEATURE_COLUMNS)}
        features = HaarFeatures(**{name: columns.pop(name) for name in FEATURE_COLUMNS})
        height, width = self.window.tolist()
        return Cascade((height, width), **columns, features=features)

    def use(self, cascade: Cascade) -> None:
        """Detect by a cascade that was trained elsewhere."""
        self.window = torch.tensor(cascade.window)
        for name, value in _columns(cascade).items():
            setattr(self, name, value)

    def fit(self, dataset: Any, *, generator: torch.Generator | None = None) -> None:
        """Learn a cascade from photos with boxes, or from pictures of objects and of backgrounds (see `samples`).

        Equal generators give equal cascades. The rates of the stages are kept in `training_result`, their products in
        the buffers `detection_rate` and `false_positive_rate`.

        Raises:
            ValueError: if the data set has too few objects or backgrounds.
        """
        generator = generator or torch.Generator().manual_seed(0)
        random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        height, width = self.window.tolist()
        material = gather(dataset, self.objects, (height, width), self.area, self.jitter, random)
        self.training_result = train_cascade(material.objects, material.pictures, self.plan, random)
        self.use(self.training_result.cascade)
        rates = self.training_result.rates
        self.detection_rate = torch.tensor(rates.detection, dtype=torch.float32)
        self.false_positive_rate = torch.tensor(rates.false_positive, dtype=torch.float32)

    def predict_batch(self, batch: Batch) -> list[Detections]:
        """Return the objects of each image.

        Raises:
            ValueError: if the detector was neither fitted nor given a cascade.
        """
        cascade = self.cascade
        if len(cascade) == 0:
            raise ValueError("this detector has no stages yet: fit it, or let it use a cascade")
        return [
            self._detect(image, placement, cascade)
            for image, placement in zip(batch.images, batch.placements, strict=True)
        ]

    def _detect(self, image: Tensor, placement: Placement, cascade: Cascade) -> Detections:
        (top, left), (h, w) = placement.offset, placement.resized
        pixels = image[:, max(0, top) : top + h, max(0, left) : left + w]
        pixels = pixels.cpu().mul(255).round().clamp(0, 255).to(torch.uint8)
        merged = self._merge(scan(grey(pixels.numpy()), cascade, **self.scanning))
        boxes = placement.boxes_to_original(torch.from_numpy(merged.boxes).float())
        labels = torch.full((len(boxes),), self.objects[0])
        return Detections(boxes, torch.from_numpy(merged.scores).float(), labels, self.named)

    def _merge(self, hits: Any) -> Merged:
        how, threshold = self.merging
        return merge_by_groups(hits, int(threshold)) if how == "groups" else merge_by_suppression(hits, threshold)


def _columns(cascade: Cascade) -> dict[str, Tensor]:
    """Return the arrays of a cascade as tensors by name."""
    own = {name: getattr(cascade, name) for name in COLUMNS}
    own |= {name: getattr(cascade.features, name) for name in FEATURE_COLUMNS}
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in own.items()}


@builder
def viola_jones(
    *,
    categories: int | tuple[str | None, ...] = ("face",),
    size: tuple[int, int] | None = None,
    window: tuple[int, int] = (24, 24),
    area: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    stages: int = 14,
    stage_recall: float = 0.995,
    stage_false_positives: float = 0.4,
    candidates: int = 12_000,
    negatives: int = 2_000,
    copies: int = 4,
    scan: Literal["features", "image"] = "features",
    scale_factor: float = 1.1,
    min_size: tuple[int, int] = (0, 0),
    merge: Literal["groups", "nms"] = "groups",
    merge_threshold: float | None = None,
) -> ViolaJones:
    """Build the Viola-Jones detector.

    Args:
        categories: names; the first one that is no background is what is detected.
        size: (H, W) that images are resized to; None keeps them.
        window: (H, W) of the smallest object.
        area: top, left, bottom, right of the object in pictures of one object, as shares of their sides.
        stages: at most.
        stage_recall: d, share of the objects that each stage keeps.
        stage_false_positives: f, share of the other windows that each stage lets pass.
        candidates: Haar features that each stage chooses from.
        negatives: windows without object that each stage learns from.
        copies: varied windows that are cut from each object.
        scan: whether the features grow (the paper) or the image shrinks (OpenCV).
        scale_factor: of one window size to the one before.
        min_size: (H, W) of the smallest window.
        merge: how hits become boxes.
        merge_threshold: hits that a group must exceed (3), or the IoU that suppresses (0.5).
    """
    usual = 3.0 if merge == "groups" else 0.5
    return ViolaJones(
        category_names(categories),
        window,
        area,
        Plan(
            stages=stages,
            recall=stage_recall,
            false_positives=stage_false_positives,
            candidates=candidates,
            negatives=negatives,
        ),
        Jitter(copies=copies),
        {"mode": scan, "scale_factor": scale_factor, "min_size": min_size},
        (merge, usual if merge_threshold is None else merge_threshold),
        Preprocess(exact=size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    )
