"""Panoptic FPN: the stuff that a branch beside Mask R-CNN's heads sees, and things laid over it (notes 5.3.1).

Kirillov, Girshick, He, Dollar 2019, "Panoptic Feature Pyramid Networks", arXiv 1901.02446, section 3 and figure 3;
the merging of Kirillov, He, Girshick, Rother, Dollar 2019, "Panoptic Segmentation", arXiv 1801.00868, section 5.

    pyramid   P2 .. P5, B D H/4 W/4 .. H/32 W/32
    stages    3x3 convolution, group norm, ReLU, twice as large: three times from P5, twice from P4, once from P3; P2
              has one without the enlargement: four maps B 128 H/4 W/4
    stuff     their sum, 1x1 to the stuff classes and "other" (all things are one class), four times as large
    merging   instances, the surest first, on pixels that are still free, if enough of them are; then stuff on the rest,
              if there is enough of it

Differs from the notes: stuff is not predicted by a network over merged maps, its stages are what brings the maps to one
size; the enlargement is bilinear.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int32, Int64
from torch import Tensor, nn

from vidi.nn.normalization import norm_layer
from vidi.results.panoptic_map import Segment

TO_CANVAS = 4  # pixels of the canvas for each of the summed maps


class Stage(nn.Sequential):
    """A 3x3 convolution, group norm, ReLU, and mostly a bilinear enlargement to twice the size (section 3)."""

    def __init__(self, in_channels: int, channels: int, *, enlarges: bool):
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), norm_layer("group")(channels), nn.ReLU()
        )
        if enlarges:
            self.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
        nn.init.kaiming_normal_(self[0].weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]


class StuffBranch(nn.Module):
    """From a pyramid of strides 4, 8, 16, 32 ... to a score for each class of stuff, and "other", at every pixel.

    Args:
        in_channels: of the pyramid's maps.
        classes: of stuff; "other", what is a thing, comes after them.
        channels: of the stages.
        levels: of the pyramid.
    """

    def __init__(self, in_channels: int, classes: int, *, channels: int = 128, levels: int = 4):
        super().__init__()
        self.branches = nn.ModuleList()
        for level in range(levels):
            stages = [
                Stage(in_channels if row == 0 else channels, channels, enlarges=level > 0)
                for row in range(max(1, level))
            ]
            self.branches.append(nn.Sequential(*stages))
        self.predict = nn.Conv2d(channels, classes + 1, 1)
        nn.init.normal_(self.predict.weight, std=0.01)
        nn.init.zeros_(self.predict.bias)  # type: ignore[arg-type]

    def forward(self, pyramid: Sequence[Float[Tensor, "B D _ _"]]) -> Float[Tensor, "B S H W"]:
        """Return the scores at the resolution of the images, the pyramid's finest map being a quarter of it.

        Raises:
            ValueError: for another number of maps, or sides that do not halve from map to map.
        """
        finest = pyramid[0].shape[2:]
        wanted = [(finest[0] >> level, finest[1] >> level) for level in range(len(self.branches))]
        sizes = [(level.shape[2], level.shape[3]) for level in pyramid]
        if sizes != wanted or any(side % 2 ** (len(wanted) - 1) for side in finest):
            raise ValueError(f"received maps of {sizes}, expected {len(wanted)} that halve from one to the next")
        maps = [branch(level) for branch, level in zip(self.branches, pyramid, strict=True)]  # B C H/4 W/4
        scores = self.predict(torch.stack(maps).sum(0))
        return F.interpolate(scores, scale_factor=TO_CANVAS, mode="bilinear", align_corners=False)


def merge_things_over_stuff(
    masks: Bool[Tensor, "N H W"],
    scores: Float[Tensor, " N"],
    labels: Int64[Tensor, " N"],
    stuff: Int64[Tensor, "H W"],
    *,
    score_threshold: float = 0.5,
    overlap_threshold: float = 0.5,
    least_stuff: int = 4096,
) -> tuple[Int32[Tensor, "H W"], list[Segment]]:
    """Lay instances over each other, the surest on top, and stuff below all of them.

    Args:
        masks: of the instances, which may overlap.
        scores: of the instances.
        labels: of the instances.
        stuff: the class of every pixel, a negative number where it is none of stuff.
        score_threshold: the least score of an instance.
        overlap_threshold: the largest share of an instance that surer ones may hide; one that loses more is left out.
        least_stuff: pixels that a class of stuff needs, once things lie over it.

    Returns:
        The map of segment ids, 0 where there is none, and the segments: things by falling score, then stuff by class,
        with a score of 1.
    """
    ids = torch.zeros(stuff.shape, dtype=torch.int32, device=stuff.device)
    segments: list[Segment] = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        score, mask = float(scores[row]), masks[row]
        area, free = int(mask.sum()), mask & (ids == 0)
        if score < score_threshold or not area or area - int(free.sum()) > overlap_threshold * area:
            continue
        segments.append(Segment(len(segments) + 1, int(labels[row]), score, True))
        ids[free] = len(segments)
    for label in stuff.unique().tolist():
        rest = (stuff == label) & (ids == 0)
        if label >= 0 and int(rest.sum()) >= least_stuff:
            segments.append(Segment(len(segments) + 1, label, 1.0, False))
            ids[rest] = len(segments)
    return ids, segments
