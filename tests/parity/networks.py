"""Two implementations of one network: the same weights and images give the same outputs, gradients and statistics."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.closeness import GRADIENTS, OUTPUTS, assert_close, largest

Rename = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Move norms and biases away from the values they start with, under which a wrong wiring could hide."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in (*network.named_parameters(), *network.named_buffers()):
            if value.ndim == 1 and value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=value.dtype) - 0.5
                value.copy_(0.2 * noise if name.endswith(("bias", "running_mean")) else 1 + noise)


def assert_same_training(
    ours: nn.Module,
    theirs: nn.Module,
    rename: Rename,
    call: Callable[[nn.Module], Tensor],
    *,
    training: bool,
) -> None:
    """Compare outputs, parameter gradients and buffers of two networks, both in float64; `ours` gets the weights.

    Args:
        ours: the network under test.
        theirs: the reference.
        rename: from their names to ours; must be exact.
        call: runs either network on its images and returns one tensor.
        training: batch statistics, or those of the state.
    """
    randomise(theirs)
    ours.double().train(training)
    theirs.double().train(training)
    ours.load_state_dict(rename(theirs.state_dict()), strict=True)
    expected = call(theirs)
    received = call(ours)
    assert_close(received, expected, OUTPUTS)

    direction = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (expected * direction).sum().backward()
    (received * direction).sum().backward()
    gradients = rename({name: p.grad for name, p in theirs.named_parameters() if p.grad is not None})
    assert largest(*gradients.values()) > 0
    parameters = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert_close(parameters, gradients, GRADIENTS, size=largest(*gradients.values()))
    buffers, state = rename(dict(theirs.named_buffers())), ours.state_dict()
    assert_close({name: state[name] for name in buffers}, buffers, OUTPUTS)


def distance(one: Tensor, other: Tensor) -> float:
    """The largest difference; NaN is infinitely far from everything."""
    return float((one.detach() - other.detach()).abs().nan_to_num(nan=torch.inf).max()) if one.numel() else 0.0
