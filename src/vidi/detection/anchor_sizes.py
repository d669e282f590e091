"""Anchor sizes learnt from data: k-means on box sizes (Redmon & Farhadi 2017, arXiv 1612.08242; notes 4.3.4).

    boxes of a data set, resized to the network's canvas -> sizes M 2 (w, h) -> k centroids, sorted by area

The distance of two sizes is 1 - IoU of boxes with a common centre, so that a large box does not count for more than a
small one, as it would with Euclidean distance.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from vidi.data.loading import size_of
from vidi.model import Fitted, Predicts, builder
from vidi.ops.clustering import cluster_sizes
from vidi.preprocess import Batch, Preprocess
from vidi.results.anchor_sizes import AnchorSizes


class LearntAnchors(Fitted, Predicts):
    """k anchor sizes, in pixels of the canvas that `preprocess` gives."""

    def __init__(self, count: int, preprocess: Preprocess):
        super().__init__()
        self.count = count
        self.preprocess = preprocess
        self.register_learnt("sizes", torch.zeros(0, 2))
        self.register_learnt("mean_iou", torch.zeros(()))

    def fit(self, dataset: Any, *, generator: torch.Generator | None = None) -> None:
        """Cluster the sizes of all boxes of a data set, crowds left out.

        Raises:
            ValueError: if there are fewer boxes than anchors.
        """
        sizes = torch.cat([self._sizes(*dataset[index]) for index in range(size_of(dataset))])  # M 2
        generator = generator or torch.Generator().manual_seed(0)
        found = cluster_sizes(sizes.double(), self.count, generator=generator)
        self.sizes, self.mean_iou = found.centroids.float(), torch.tensor(found.mean_iou, dtype=torch.float32)

    def _sizes(self, image: Tensor, target: dict[str, Any]) -> Tensor:
        _, placed, _ = self.preprocess.place(image, target)
        boxes = placed["boxes"][~placed["crowd"]] if "crowd" in placed else placed["boxes"]
        return boxes[:, 2:] - boxes[:, :2]  # N 2

    def predict_batch(self, batch: Batch) -> list[AnchorSizes]:
        """Return the sizes for each image, in the pixels of its original."""
        results = []
        for placement in batch.placements:
            (H, W), (h, w) = placement.original, placement.resized
            results.append(AnchorSizes(self.sizes * self.sizes.new_tensor([W / w, H / h]), self.mean_iou.item()))
        return results


@builder
def anchor_kmeans(*, anchors: Literal[3, 5, 6, 9, 12] = 9, size: tuple[int, int] | None = None) -> LearntAnchors:
    """Build the k-means of box sizes.

    Args:
        anchors: how many; YOLOv2 took 5, YOLOv3 9.
        size: (H, W) of the network's canvas; None keeps the images as they are.
    """
    return LearntAnchors(anchors, Preprocess(exact=size))
