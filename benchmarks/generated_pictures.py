"""FID against torchmetrics and pytorch-fid, precision and recall against plain NumPy.

Features are drawn, 2,048 of them as Inception-v3 gives. One thread. `python -m benchmarks.generated_pictures`.
"""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import Tensor
from torchmetrics.image.fid import _compute_fid

from benchmarks.timing import compare
from vidi.metrics.frechet import fid, frechet_distance, normal_of_features, normal_of_moments
from vidi.metrics.generation import precision_recall

DIMENSIONS = 2048
FEW, MANY = 1_000, 4_000  # pictures
NEIGHBOUR = 3
SAME = 1e-6  # relative
FID_BAR, PYTORCH_FID_BAR, FEW_BAR, NEIGHBOURS_BAR = 2.0, 10.0, 6.0, 0.9


def features(count: int, seed: int) -> Tensor:
    """Draw features that depend on each other."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(DIMENSIONS, DIMENSIONS, generator=generator, dtype=torch.float64) / DIMENSIONS**0.5
    noise = torch.randn(count, DIMENSIONS, generator=torch.Generator().manual_seed(seed + 9), dtype=torch.float64)
    return noise @ mixing + noise.roll(1, 1)


def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance."""
    return rows.mean(0), rows.T.cov()


def check(name: str, ours: float, theirs: float) -> None:
    """ValueError where two distances differ."""
    if not abs(ours - theirs) <= SAME * abs(theirs):
        raise ValueError(f"{name}: {ours} here, {theirs} there")


def numpy_precision_recall(real: np.ndarray, generated: np.ndarray) -> tuple[float, float]:
    """Give the two shares by whole matrices of distances: what people write."""

    def squared(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T

    def radii(rows: np.ndarray) -> np.ndarray:
        return np.partition(squared(rows, rows), NEIGHBOUR, axis=1)[:, NEIGHBOUR]  # the row itself is the first

    apart = squared(real, generated)
    return float((apart <= radii(real)[:, None]).any(0).mean()), float((apart <= radii(generated)).any(1).mean())


def distance_lines(real: Tensor, generated: Tensor) -> Iterator[str]:
    """Yield the rows of distances from covariances, and from the features of few pictures."""
    (m, S), (n, T) = moments(real), moments(generated)

    def ours() -> float:
        return frechet_distance(normal_of_moments(m, S), normal_of_moments(n, T))

    def torchmetrics() -> float:
        return float(_compute_fid(m, S, n, T))

    def pytorch_fid() -> float:
        with warnings.catch_warnings(action="ignore"):  # of an argument that scipy drops
            return float(calculate_frechet_distance(m.numpy(), S.numpy(), n.numpy(), T.numpy()))

    check("torchmetrics", ours(), torchmetrics())
    name = f"FID from covariances, d = {DIMENSIONS}"
    yield compare(name, {"vidi": ours, "torchmetrics": torchmetrics}, rounds=3).line("torchmetrics", FID_BAR)
    check("pytorch-fid", ours(), pytorch_fid())
    yield compare(name, {"vidi": ours, "pytorch-fid": pytorch_fid}, rounds=1).line("pytorch-fid", PYTORCH_FID_BAR)

    few = generated[:FEW]
    known = normal_of_features(real[:FEW])
    k, R = moments(real[:FEW])

    def ours_of_few() -> float:
        return frechet_distance(known, normal_of_features(few))

    def torchmetrics_of_few() -> float:
        return float(_compute_fid(k, R, *moments(few)))

    check("torchmetrics, few", ours_of_few(), torchmetrics_of_few())
    name = f"FID of {FEW} pictures"
    contestants: dict[str, Callable[[], object]] = {"vidi": ours_of_few, "torchmetrics": torchmetrics_of_few}
    yield compare(name, contestants, rounds=3).line("torchmetrics", FEW_BAR)
    contestants = {"vidi": lambda: fid(known, few), "torchmetrics": torchmetrics_of_few}
    yield compare(f"{name} with error", contestants, rounds=3).line("torchmetrics")


def lines() -> Iterator[str]:
    """Yield the rows; ValueError where an answer differs."""
    torch.set_num_threads(1)
    real, generated = features(MANY, 0), features(MANY, 1)
    yield from distance_lines(real, generated)
    one, other = real.float(), generated.float()
    whole = one.numpy(), other.numpy()
    shares = precision_recall(one, other, k=NEIGHBOUR)
    if not np.allclose(shares, numpy_precision_recall(*whole), atol=2 / MANY):
        raise ValueError("precision and recall differ")
    contestants: dict[str, Callable[[], object]] = {
        "vidi": lambda: precision_recall(one, other, k=NEIGHBOUR),
        "numpy, whole matrices": lambda: numpy_precision_recall(*whole),
    }
    name = f"precision and recall of {MANY} pictures"
    yield compare(name, contestants, rounds=3).line("numpy, whole matrices", NEIGHBOURS_BAR)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
