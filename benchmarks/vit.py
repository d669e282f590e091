"""Vision transformers against timm's with the same weights: forward pass and training step.

One thread, float32; outputs and gradients are compared first. `python -m benchmarks.vit`.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import compare
from vidi.backbones.vit import vit_b_16, vit_tiny
from vidi.model import Supervised
from vidi.weights.packed_projections import unpacked
from vidi.weights.renaming import renamed
from vidi.weights.tables.timm_vit import CLASSIFIER

BAR = 0.95
TOLERANCE = 1e-4  # of the largest output or gradient


class Case(NamedTuple):
    """Two builders with their arguments, and the images they get."""

    name: str
    ours: Callable[..., Supervised]
    theirs: str
    side: int
    patch: int
    batch: int
    rounds: int


CASES = (
    Case("ViT-Ti/8, 64 px, batch 64", vit_tiny, "vit_tiny_patch16_224", 64, 8, 64, 7),
    Case("ViT-B/16, 224 px, batch 1", vit_b_16, "vit_base_patch16_224", 224, 16, 1, 7),
)


def lines() -> Iterator[str]:
    """Yield two rows for each network; ValueError where outputs or gradients differ."""
    torch.set_num_threads(1)
    for case in CASES:
        yield from _rows(case)


def _rows(case: Case) -> Iterator[str]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(case.batch, 3, case.side, case.side, generator=generator)
    labels = torch.randint(0, 1000, (case.batch,), generator=generator)
    theirs = timm.create_model(case.theirs, img_size=case.side, patch_size=case.patch)
    ours = case.ours(size=(case.side, case.side), patch=case.patch).network
    nn.init.normal_(theirs.get_parameter("head.weight"), std=0.02)
    ours.load_state_dict(_renamed(theirs.state_dict()))
    networks: dict[str, Callable[[], Tensor]] = {"vidi": lambda: ours(images).logits, "timm": lambda: theirs(images)}
    _agree(case.name, {"": networks["vidi"]()}, {"": networks["timm"]()})

    def step(network: nn.Module, run: Callable[[], Tensor]) -> Callable[[], Any]:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0)

        def once() -> None:
            optimizer.zero_grad()
            F.cross_entropy(run(), labels).backward()
            optimizer.step()

        return once

    steps = {"vidi": step(ours, networks["vidi"]), "timm": step(theirs, networks["timm"])}
    for run in steps.values():
        run()
    _agree(case.name, _gradients(ours), _renamed(_gradients(theirs)))
    with torch.no_grad():
        yield compare(f"{case.name}, forward", dict(networks), rounds=case.rounds).line("timm", BAR)
    yield compare(f"{case.name}, training", dict(steps), rounds=case.rounds).line("timm", BAR)


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return unpacked(renamed(tensors, CLASSIFIER))


def _gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def _agree(name: str, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    largest = max(float(value.detach().abs().max()) for value in theirs.values())
    gap = max(float((ours[key] - value).detach().abs().max()) for key, value in theirs.items()) / largest
    if not gap <= TOLERANCE:
        raise ValueError(f"{name}: outputs or gradients differ by {gap} of the largest")


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
