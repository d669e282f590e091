"""One step of each optimizer on ResNet-50's parameters with random gradients, against torch.

float32, one thread; torch's default on a CPU is its loop over parameters. `python -m benchmarks.optimizer`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.timing import compare
from vidi.backbones.resnet import resnet50
from vidi.optim.adagrad import AdaGrad
from vidi.optim.adam import Adam, AdamW
from vidi.optim.rmsprop import RMSProp
from vidi.optim.sgd import SGD, Nesterov

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

STEPS = 2  # of a round
LOOK_AHEAD = "Nesterov, look-ahead"
LOOP, FUSED = "torch, default (loop)", "torch, fused=True"

# name -> ours, torch's, the bars against its default and its fused kernel (0: it has none)
ROWS: dict[str, tuple[Make, Callable[..., torch.optim.Optimizer], float, float]] = {
    "SGD": (partial(SGD, lr=1e-4), partial(torch.optim.SGD, lr=1e-4), 0.95, 0.95),
    "SGD, momentum": (
        partial(SGD, lr=1e-4, momentum=0.9),
        partial(torch.optim.SGD, lr=1e-4, momentum=0.9),
        1.5,
        0.95,
    ),
    "Adam": (Adam, torch.optim.Adam, 2.0, 0.95),
    "AdamW": (AdamW, torch.optim.AdamW, 2.0, 0.95),
    "AdaGrad": (AdaGrad, torch.optim.Adagrad, 0.9, 0.95),
    "RMSProp": (partial(RMSProp, lr=1e-4), partial(torch.optim.RMSprop, lr=1e-4), 0.9, 0),
    "RMSProp, momentum": (
        partial(RMSProp, lr=1e-4, momentum=0.9),
        partial(torch.optim.RMSprop, lr=1e-4, momentum=0.9),
        0.9,
        0,
    ),
    LOOK_AHEAD: (
        partial(Nesterov, lr=1e-4),
        partial(torch.optim.SGD, lr=1e-4, momentum=0.9, nesterov=True),
        0.9,
        0,
    ),
}


CHANNELS_LAST = ("SGD, momentum", "AdamW")  # measured in the layout of training too


def parameters_with_gradients(layout: torch.memory_format) -> list[nn.Parameter]:
    """Return fresh parameters of a ResNet-50 in a layout, with random gradients."""
    torch.manual_seed(0)
    parameters = list(resnet50().to(memory_format=layout).parameters())  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter).normal_(generator=generator)
    return parameters


def steps(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """Return what takes some steps; the closure, which Nesterov needs, costs nothing."""
    loss = torch.zeros(())

    def closure() -> Any:
        return loss

    def run() -> None:
        for _ in range(STEPS):
            optimizer.step(closure)

    return run


def lines() -> Iterator[str]:
    """Yield a row against torch's default and, where it has one, its fused kernel."""
    torch.set_num_threads(1)
    for name in ROWS:
        yield from _rows(name, torch.contiguous_format)
    for name in CHANNELS_LAST:
        yield from _rows(name, torch.channels_last)


def _rows(name: str, layout: torch.memory_format) -> Iterator[str]:
    ours, theirs, loop_bar, fused_bar = ROWS[name]
    makers = {"vidi": ours, LOOP: theirs} | ({FUSED: partial(theirs, fused=True)} if fused_bar else {})
    parameters = {label: parameters_with_gradients(layout) for label in makers}
    contestants: dict[str, Callable[[], object]] = {
        label: steps(make(parameters[label])) for label, make in makers.items()
    }
    comparison = compare(name if layout == torch.contiguous_format else f"{name}, channels_last", contestants, rounds=7)
    if name != LOOK_AHEAD:  # the parameters of which are not those of torch: they are the points behind
        _check(parameters, name)
    yield comparison.line(LOOP, loop_bar)
    if fused_bar:
        yield comparison.line(FUSED, fused_bar)


def _check(parameters: dict[str, list[nn.Parameter]], name: str) -> None:
    for label in parameters.keys() - {"vidi"}:
        pairs: list[tuple[Tensor, Tensor]] = list(zip(parameters["vidi"], parameters[label], strict=True))
        if not all(torch.allclose(a, b, rtol=0, atol=1e-5) for a, b in pairs):
            raise ValueError(f"{name}: the parameters are not those of {label}")


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
