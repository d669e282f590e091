"""A random forest that classifies the pixels of depth images into body parts (Shotton et al. 2011, section 3.3).

    fit:      depth H W, parts H W  -> as many pixels of each part -> trees of depth comparisons
    predict:  depth H W, pixels P 2 -> each tree: one feature a node, computed on the fly -> mean of the leaves P K

No table of all features of all pixels ever exists: for 2,000 features at 640 x 480 it would take 2.3 GiB.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int, Int64

from vidi.segmentation.body_parts.background import BACKGROUND
from vidi.segmentation.body_parts.depth_features import scales_of
from vidi.segmentation.body_parts.growing import Source
from vidi.segmentation.body_parts.trees import Trees

NODE = np.dtype(
    [("ux", "f4"), ("uy", "f4"), ("vx", "f4"), ("vy", "f4"), ("threshold", "f4"), ("left", "i4")], align=True
)
FEW = 2048  # pixels below which a second thread costs more than it saves


class PartPicture(NamedTuple):
    """One picture to learn from."""

    depth: Float32[np.ndarray, "H W"]  # metres; `BACKGROUND` off the body
    parts: Int[np.ndarray, "H W"]  # 0..K-1 on the body, other numbers off it
    focal: float  # length in pixels


class PixelSamples(NamedTuple):
    """Pixels of many pictures, of which each tree takes its own."""

    source: Source
    labels: Int64[np.ndarray, " N"]
    pictures: Int64[np.ndarray, " N"]


def gather_pixels(
    pictures: Iterable[PartPicture],
    classes: int,
    thetas: Float32[np.ndarray, "F 2 2"],
    per_picture: int,
    rng: np.random.Generator,
) -> PixelSamples:
    """Draw pixels of each picture, as many of each part that is seen in it, and keep the part of the picture around.

    Raises:
        ValueError: if no picture shows a body.
    """
    cells, frames, pixels, scales, labels = [], [], [], [], []
    start = 0
    for depth, parts, focal in pictures:
        rows, columns = np.nonzero((parts >= 0) & (parts < classes) & (depth < BACKGROUND))
        if len(rows) == 0:
            continue
        here = parts[rows, columns].astype(np.int64)
        share = 1.0 / np.bincount(here, minlength=classes)[here]
        drawn = np.sort(rng.choice(len(rows), per_picture, p=share / share.sum()))
        seen = np.argwhere(depth < BACKGROUND)  # nothing beyond it is anything but background
        (top, left), (bottom, right) = seen.min(0), seen.max(0) + 1
        where = np.stack((rows[drawn], columns[drawn]), 1)
        number = np.full((len(where), 1), len(frames))
        scales.append(scales_of(depth, where, focal))
        pixels.append(np.concatenate((number, where - (top, left)), 1).astype(np.int32))
        labels.append(here[drawn])
        frames.append((start, bottom - top, right - left))
        cells.append(depth[top:bottom, left:right].ravel())
        start += len(cells[-1])
    if not frames:
        raise ValueError(f"received no picture with a body in it: expected parts of 0..{classes - 1}")
    drawn_pixels = np.concatenate(pixels)
    table = np.zeros((0, 0), np.float32)
    source = Source(table, np.concatenate(cells), np.array(frames), drawn_pixels, np.concatenate(scales), thetas)
    return PixelSamples(source, np.concatenate(labels), drawn_pixels[:, 0].astype(np.int64))


def replica_of_pictures(samples: PixelSamples, rng: np.random.Generator) -> Int64[np.ndarray, " M"]:
    """Draw a bootstrap replica of the pictures, and take the pixels of each as often as it was drawn.

    Pixels of one picture are alike: replicas of pixels would hold every pose, and their trees would be alike too.
    """
    count = int(samples.pictures.max()) + 1
    times = np.bincount(rng.integers(count, size=count), minlength=count)
    return np.repeat(np.arange(len(samples.pictures)), times[samples.pictures])


@dataclass(frozen=True, eq=False)
class PixelForest:
    """Trees whose features are depth comparisons, laid out for classifying whole pictures."""

    trees: Trees
    thetas: Float32[np.ndarray, "F 2 2"]  # offsets in metres
    nodes: np.ndarray = field(init=False)  # records of NODE: the offsets stand in the node that takes them
    leaves: Float32[np.ndarray, "L K"] = field(init=False)

    def __post_init__(self) -> None:
        trees, inner = self.trees, self.trees.feature >= 0
        if len(trees) == 0:
            raise ValueError("received no trees: grow some first")
        nodes = np.zeros(len(trees.feature), NODE)
        chosen = self.thetas[trees.feature[inner]].reshape(-1, 4)
        for column, name in enumerate(("ux", "uy", "vx", "vy")):
            nodes[name][inner] = chosen[:, column]
        nodes["threshold"], nodes["left"] = trees.threshold, np.where(inner, trees.left, -1 - trees.left)
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "leaves", np.ascontiguousarray(trees.leaves, np.float32))

    def probabilities(
        self,
        depth: Float32[np.ndarray, "H W"],
        pixels: Int[np.ndarray, "P 2"],
        focal: float,
        *,
        threads: int | None = None,
    ) -> Float32[np.ndarray, "P K"]:
        """Return the part probabilities of some pixels of a body.

        Args:
            depth: metres; `BACKGROUND` off the body.
            pixels: row, column of each.
            focal: length in pixels.
            threads: that share the pixels; None: as many as torch uses.

        Raises:
            ValueError: if a pixel has no positive depth.
        """
        from vidi.segmentation.body_parts import pixel_kernels

        picture, rows = np.ascontiguousarray(depth), np.ascontiguousarray(pixels, np.int32)
        scales = scales_of(picture, rows, focal)
        total = np.zeros((len(rows), self.leaves.shape[1]), np.float32)

        def run(part: slice) -> None:
            pixel_kernels.descend(
                picture, rows[part], scales[part], self.nodes, self.trees.roots, self.leaves, total[part]
            )

        count = max(1, min(threads or torch.get_num_threads(), len(rows) // FEW))
        ends = np.linspace(0, len(rows), count + 1).astype(int)
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(run, (slice(ends[k], ends[k + 1]) for k in range(count))))
        return total / np.float32(len(self.trees))
