"""One round of 1-IoU k-means over box sizes against the N x k matrices of numpy. `python -m benchmarks.kmeans`."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.timing import compare
from vidi.ops import clustering_kernels
from vidi.ops.clustering import cluster_sizes

BOXES, CLUSTERS = 800_000, 9  # about COCO's, YOLOv3's
ROUNDS = 5
BAR = 6.0


def numpy_round(sizes: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Give the assignment, the new centroids and the mean IoU: what people write (sizes N 2, centroids k 2)."""
    overlap = np.minimum(sizes[:, None, 0], centroids[:, 0]) * np.minimum(sizes[:, None, 1], centroids[:, 1])
    iou = overlap / (sizes.prod(1)[:, None] + centroids.prod(1) - overlap)  # N k
    nearest = iou.argmax(1)
    means = np.array([sizes[nearest == j].mean(0) for j in range(len(centroids))])
    return nearest, means, float(iou.max(1).mean())


def our_round(sizes: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Give the same by the streaming kernel (sizes 2 N, as `cluster_sizes` holds them)."""
    nearest, iou = np.empty(sizes.shape[1], np.int32), np.empty(sizes.shape[1])
    sums = clustering_kernels.assign(sizes, centroids, nearest, iou)
    return nearest, sums[:, :2] / sums[:, 2:], float(iou.mean())


def numpy_clusters(sizes: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Run some rounds from given centroids."""
    for _ in range(ROUNDS):
        _, centroids, _ = numpy_round(sizes, centroids)
    return centroids


def lines() -> Iterator[str]:
    """Yield one row for a round, and one for a whole clustering, its random start included."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    sizes = np.exp(generator.normal(4, 1, (BOXES, 2)))
    columns = np.ascontiguousarray(sizes.T)
    start = sizes[generator.choice(BOXES, CLUSTERS, replace=False)]
    for ours, theirs in zip(our_round(columns, start), numpy_round(sizes, start), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    contestants: dict[str, Callable[[], object]] = {
        "vidi": lambda: our_round(columns, start),
        "numpy, N x k": lambda: numpy_round(sizes, start),
    }
    yield compare("k-means round, 800,000 boxes, k = 9", contestants, rounds=5).line("numpy, N x k", BAR)

    tensor = torch.from_numpy(sizes)
    contestants = {
        "vidi": lambda: cluster_sizes(tensor, CLUSTERS, generator=torch.Generator().manual_seed(0), rounds=ROUNDS),
        "numpy, N x k": lambda: numpy_clusters(sizes, start),
    }
    yield compare("k-means, 5 rounds (ours: and start)", contestants, rounds=3).line("numpy, N x k")


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
