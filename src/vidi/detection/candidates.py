"""The end of a selection of boxes: what was collected, what suppression leaves of it, and that as detections."""

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
    """Scored boxes of a batch in fixed shapes; slots that are not valid mean nothing."""

    boxes: Float[Tensor, "B N 4"]  # xyxy, pixels of the canvas, clipped to the image
    scores: Float[Tensor, "B N"]  # 0 or more
    labels: Int64[Tensor, "B N"]
    valid: Bool[Tensor, "B N"]

    def best(self, *, threshold: float | int, most: int) -> "Candidates":
        """Return what suppression within each label leaves, the surest first; slots that are not valid are 0.

        Args:
            threshold: IoU above which the less sure of two of one label is dropped.
            most: boxes of an image.
        """
        kept = suppress(*self, threshold=threshold)  # B N
        slots = min(most, self.scores.shape[1])
        ranked, order = self.scores.where(kept, -1).sort(dim=1, descending=True, stable=True)
        ranked, order = ranked[:, :slots], order[:, :slots]
        valid = ranked >= 0
        boxes = self.boxes.gather(1, order[..., None].expand(-1, -1, 4)).where(valid[..., None], 0)
        return Candidates(boxes, ranked.where(valid, 0), self.labels.gather(1, order).where(valid, 0), valid)

    def detections(self, placements: Sequence[Placement], categories: Categories) -> list[Detections]:
        """Return the valid ones of each image, in pixels of its original.

        Args:
            placements: of the images on their canvas.
            categories: of the network's outputs; labels count the named ones.
        """
        names = named_categories(categories)
        results = []
        for row, placement in enumerate(placements):
            valid = self.valid[row]
            boxes = placement.boxes_to_original(self.boxes[row, valid])
            results.append(Detections(boxes, self.scores[row, valid], self.labels[row, valid], names))
        return results
