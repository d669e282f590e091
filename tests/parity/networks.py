"""Two implementations of one network: the same weights and images give the same outputs, gradients and statistics."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Rename = Callable[[dict[str, Tensor]], dict[str, Tensor]]

OUTPUTS = 1e-8  # DESIGN 9: absolute, in float64
GRADIENTS = 1e-8  # of the network's largest


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
    assert received.shape == expected.shape
    assert distance(received, expected) <= OUTPUTS * max(1.0, float(expected.detach().abs().max()))

    direction = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (expected * direction).sum().backward()
    (received * direction).sum().backward()
    gradients = rename({name: p.grad for name, p in theirs.named_parameters() if p.grad is not None})
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    assert largest > 0
    parameters = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert parameters.keys() == gradients.keys()
    assert farthest(parameters, gradients) <= GRADIENTS * largest
    assert farthest(ours.state_dict(), rename(dict(theirs.named_buffers()))) <= OUTPUTS


def farthest(received: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """The largest difference over all expected tensors."""
    return max((distance(received[name], value) for name, value in expected.items()), default=0.0)


def distance(one: Tensor, other: Tensor) -> float:
    """The largest difference; NaN is infinitely far from everything."""
    return float((one.detach() - other.detach()).abs().nan_to_num(nan=torch.inf).max()) if one.numel() else 0.0
