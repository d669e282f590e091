"""The position-wise network against two linear maps and two convolutions of kernel 1."""

import pytest
import torch
from torch import nn

from tests.closeness import assert_close
from tests.parity.networks import assert_same_training
from vidi.nn.feed_forward import FeedForward, as_convolutions

RENAMED = {"0": "widen", "2": "narrow"}


@pytest.mark.system("3.1.3-FFN")
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
def test_equals_two_linear_maps_with_an_activation(activation: type[nn.Module]):
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    theirs = nn.Sequential(nn.Linear(6, 10), activation(), nn.Linear(10, 6))
    ours = FeedForward(6, 10, activation=activation)

    def rename(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {RENAMED[name[0]] + name[1:]: value for name, value in state.items()}

    assert_same_training(ours, theirs, rename, lambda network: network(x), training=True)


@pytest.mark.system("3.1.3-FFN")
def test_is_the_equation_for_every_token_by_itself():
    network = FeedForward(6, 10).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    W1, b1, W2, b2 = network.widen.weight.T, torch.randn(10).double(), network.narrow.weight.T, torch.randn(6).double()
    network.widen.bias.data, network.narrow.bias.data = b1, b2
    together = network(x)
    for b in range(2):
        for t in range(5):
            assert_close(together[b, t], torch.relu(x[b, t] @ W1 + b1) @ W2 + b2)


@pytest.mark.system("3.1.3-FFN-CONV", "B3.8")
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
def test_equals_two_convolutions_of_kernel_one(activation: type[nn.Module]):
    """Worked example B3.8: the weights convert, the output and its gradient are the same."""
    network = FeedForward(6, 10, activation=activation).double()
    nn.init.normal_(network.widen.bias)
    nn.init.normal_(network.narrow.bias)
    convolutions = as_convolutions(network)
    assert [type(layer) for layer in convolutions if list(layer.parameters())] == [nn.Conv1d, nn.Conv1d]
    inputs = [torch.randn(2, 5, 6, dtype=torch.float64).requires_grad_()]
    inputs.append(inputs[0].detach().clone().requires_grad_())
    outputs = network(inputs[0]), convolutions(inputs[1].mT).mT
    assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    assert_close(inputs[0].grad, inputs[1].grad)  # type: ignore[arg-type]
    kernel = convolutions[0].get_parameter("weight")
    assert_close(kernel.grad[..., 0], network.widen.weight.grad)  # type: ignore[union-attr,index]
    assert kernel.data_ptr() != network.widen.weight.data_ptr()


def test_dropout_is_on_the_hidden_layer():
    network = FeedForward(4, 4, activation=nn.Identity, dropout=0.5)
    with torch.no_grad():
        network.widen.weight.copy_(torch.eye(4))
        network.narrow.weight.copy_(torch.eye(4))
    kept = network.train()(torch.ones(1_000, 4))
    assert set(kept.detach().unique().tolist()) == {0.0, 2.0}
    assert torch.equal(network.eval()(torch.ones(2, 4)), torch.ones(2, 4))
