"""What a detector's decoder collects before suppression, and what is left of it."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from vidi.detection.targets import named_categories
from vidi.ops.suppression import suppress
from vidi.preprocess import Placement
from vidi.results.categories import Categories
from vidi.results.detections import Detections


class Candidates(NamedTuple):
    """Scored boxes of a batch before suppression, in fixed shapes; slots that are not valid mean nothing."""

    boxes: Float[Tensor, "B N 4"]  # xyxy, pixels of the canvas, clipped to the image
    scores: Float[Tensor, "B N"]
    labels: Int64[Tensor, "B N"]
    valid: Bool[Tensor, "B N"]

    def suppressed(
        self, placements: Sequence[Placement], categories: Categories, *, threshold: float, most: int
    ) -> list[Detections]:
        """Return the detections of each image, in pixels of its original, the surest first.

        Args:
            placements: of the images on their canvas.
            categories: of the network's outputs; labels count the named ones.
            threshold: IoU above which the less sure of two of one class is dropped.
            most: detections of an image.
        """
        kept = suppress(*self, threshold=threshold)  # B N
        order = self.scores.where(kept, -1).sort(dim=1, descending=True, stable=True).indices  # B N
        counts = kept.sum(1).clamp(max=most).tolist()
        names = named_categories(categories)
        results = []
        for image, (placement, count) in enumerate(zip(placements, counts, strict=True)):
            best = order[image, :count]
            boxes = placement.boxes_to_original(self.boxes[image, best])
            results.append(Detections(boxes, self.scores[image, best], self.labels[image, best], names))
        return results
