"""Semi-hard mining, NT-Xent and ArcFace against pytorch-metric-learning. `python -m benchmarks.metric_learning`.

Forward and backward of 128 numbers each, one thread, float32; values and gradients are compared in float64 before. The
peer's miner also hands out the triplets; ours sums over them without a list. Who writes the loss of SimCLR by hand, as
one cross-entropy, already has the fast form. Memory is the peak above what the process held before, each in a process
of its own.
"""

import gc
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ArcFaceLoss, NTXentLoss, TripletMarginLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from pytorch_metric_learning.reducers import MeanReducer
from torch import Tensor

from benchmarks.timing import compare
from vidi.losses.embedding import arcface_loss, nt_xent_loss
from vidi.losses.triplets import batch_triplet_loss

PEER = "pytorch-metric-learning"
DIMENSIONS, CLASSES, MARGIN, TEMPERATURE = 128, 1_000, 0.2, 0.1
MEMORY_BAR = 4.0  # times less than the peer

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A loss, on batches of some size with so many pictures of each identity."""

    name: str
    batch: int
    pictures: int
    bar: float
    rounds: int = 7

    def inputs(self) -> tuple[Tensor, Tensor]:
        """Draw embeddings of length 1 and their identities."""
        generator = torch.Generator().manual_seed(0)
        vectors = torch.randn(self.batch, DIMENSIONS, generator=generator)
        identities = torch.arange(self.batch) // self.pictures
        centres = torch.randn(self.batch, DIMENSIONS, generator=generator)[identities]
        return torch.nn.functional.normalize(vectors + centres), identities


CASES = [
    Case("semi-hard", 512, 4, 6.0),
    Case("semi-hard", 1_024, 4, 12.0, rounds=3),
    Case("NT-Xent", 256, 2, 50.0, rounds=5),
    Case("ArcFace", 512, 4, 1.0, rounds=15),
    Case("ArcFace", 1_024, 4, 1.0, rounds=15),
]


def templates() -> Tensor:
    return torch.randn(CLASSES, DIMENSIONS, generator=torch.Generator().manual_seed(1))


def _theirs_mined(embeddings: Tensor, identities: Tensor) -> Tensor:
    distance = LpDistance(power=2, normalize_embeddings=False)
    miner = TripletMarginMiner(margin=MARGIN, type_of_triplets="semihard", distance=distance)
    loss = TripletMarginLoss(margin=MARGIN, distance=distance, reducer=MeanReducer())
    return loss(embeddings, identities, miner(embeddings, identities))


def contestants(name: str, dtype: torch.dtype = torch.float32) -> dict[str, Loss]:
    """Return ours and the peer's loss of a name."""
    if name == "semi-hard":
        return {"vidi": partial(batch_triplet_loss, margin=MARGIN), PEER: _theirs_mined}
    if name == "NT-Xent":
        theirs = NTXentLoss(temperature=TEMPERATURE, reducer=MeanReducer())
        return {"vidi": partial(nt_xent_loss, temperature=TEMPERATURE), PEER: theirs}
    own = torch.nn.Parameter(templates().to(dtype))
    head = ArcFaceLoss(CLASSES, DIMENSIONS, margin=180 * 0.5 / torch.pi, scale=64, reducer=MeanReducer())
    head.W.data = templates().T.contiguous().to(dtype)
    return {"vidi": lambda e, k: arcface_loss(e, own, k), PEER: head}


def step(loss: Loss, embeddings: Tensor, identities: Tensor) -> tuple[Tensor, Tensor]:
    """Run one loss forward and backward, to all that it learns."""
    leaf = embeddings.detach().requires_grad_()
    value = loss(leaf, identities)
    value.backward()
    return value.detach(), leaf.grad  # type: ignore[return-value]


def lines() -> Iterator[str]:
    """Yield a row of time and one of memory for each case."""
    torch.set_num_threads(1)
    for case in CASES:
        embeddings, identities = case.inputs()
        _check(case, embeddings, identities)
        runs: dict[str, Callable[[], object]] = {
            label: partial(step, loss, embeddings, identities) for label, loss in contestants(case.name).items()
        }
        title = f"{case.name}, batch {case.batch:,}"
        yield compare(title, runs, rounds=case.rounds).line(PEER, case.bar)
        if case.name != "ArcFace":  # both need logits and templates
            yield _memory_line(title, case)


def _check(case: Case, embeddings: Tensor, identities: Tensor) -> None:
    found = [step(loss, embeddings.double(), identities) for loss in contestants(case.name, torch.float64).values()]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def _memory_line(title: str, case: Case) -> str:
    """Return a row that compares the peaks of memory above those of a loss on 32 vectors."""
    ours, theirs = (_peak(case, label) for label in ("vidi", PEER))
    ratio = theirs / max(ours, 2**20)
    bar = f"bar {MEMORY_BAR:g}x {'reached' if ratio >= MEMORY_BAR else 'MISSED'}"
    sizes = f"{ours / 2**20:.0f} MiB against {theirs / 2**20:.0f} MiB"
    return f"{title + ', memory':<38} {PEER:<30} {ratio:8.2f}x {'':<19} {sizes:<28} {bar}"


def _peak(case: Case, label: str) -> int:
    """Return how many bytes more a process needs for a step on the batch than for one on 32 vectors."""
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe()
    process = context.Process(target=_measure, args=(case, label, child))
    process.start()
    peak = parent.recv()
    process.join()
    return peak


def _measure(case: Case, label: str, pipe: Connection) -> None:
    torch.set_num_threads(1)
    loss = contestants(case.name)[label]
    embeddings, identities = case.inputs()
    step(loss, embeddings[:32], identities[:32])
    gc.collect()
    before = _memory("VmRSS")
    step(loss, embeddings, identities)
    pipe.send(_memory("VmHWM") - before)


def _memory(key: str) -> int:
    """Return a number of bytes that Linux keeps of this process; `resource` counts what the parent had held."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    raise ValueError(f"this system does not say {key}")


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
