"""One step of every criterion, for the gradients of two processes that train as one: half a batch each, of 5 and of 4.

`torchrun --nproc-per-node=2 -m tests.embedding.two_processes FILE` writes losses and gradients as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tests.embedding.losses import CRITERIA, drawn
from vidi.embedding.vectors import Identified
from vidi.engine.fit import Objective
from vidi.engine.processes import Processes
from vidi.model import OneLoss, Step
from vidi.preprocess import Batch, Placement, Preprocess

LABELS = torch.tensor([0, 1, 0, 2, 3, 1, 2, 0, 1])  # of the joint batch; one picture only shows 3
SHARES = (slice(0, 5), slice(5, 9))


class Embedder(nn.Module):
    """A linear map, and what DeepFace has besides."""

    def __init__(self, *, has_threshold: bool) -> None:
        super().__init__()
        if has_threshold:
            self.similarity = nn.Module()
            self.similarity.threshold = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
        self.linear = nn.Linear(5, 6, bias=False, dtype=torch.float64)
        self.linear.weight.data = drawn(6, 5, seed=3)

    def forward(self, images: Tensor) -> Any:
        vectors = self.linear(images.flatten(1))
        return Identified(vectors, vectors[:, :4])


def model_of(name: str) -> OneLoss:
    criterion = CRITERIA[name]()
    if isinstance(criterion, nn.Module):
        criterion.double()
        for parameter in criterion.parameters():
            parameter.data = drawn(*parameter.shape, seed=5)
    return OneLoss(Embedder(has_threshold=name == "DeepFace"), criterion, Preprocess())


def batch(rows: slice) -> Batch:
    images = drawn(len(LABELS), 5, 1, 1, seed=4)[rows]
    placements = [Placement((1, 1), (1, 1))] * len(images)
    return Batch(images, torch.ones(len(images), 1, 1).bool(), placements, [{"label": k} for k in LABELS[rows]])


def gradients(objective: nn.Module, step: Step, rows: slice, weight: float) -> dict[str, Any]:
    """Return what a step of training gives: the loss, weighted as the step's share, and all gradients."""
    loss = torch.stack(list(objective("network", batch(rows), step).values())).sum()
    (weight * loss).backward()
    return {
        "loss": weight * float(loss.detach()),
        "gradients": [parameter.grad.flatten().tolist() for parameter in objective.parameters()],  # type: ignore[union-attr]
    }


def main(path: Path) -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    processes = Processes.of(accelerator)
    rows, found = SHARES[processes.index], {}
    for name in CRITERIA:
        objective = accelerator.prepare_model(Objective(model_of(name)))
        share = (rows.stop - rows.start) / len(LABELS)
        step = Step(generator=torch.Generator().manual_seed(processes.index), share=share, gather=processes.gather)
        found[name] = gradients(objective, step, rows, share * processes.count)
        found[name]["loss"] = float(processes.mean(torch.tensor(found[name]["loss"], dtype=torch.float64)))
    if accelerator.is_main_process:
        path.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
