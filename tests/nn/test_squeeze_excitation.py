"""Squeeze and excitation against torchvision."""

import pytest
import torch
import torchvision
from torch import nn

from tests.closeness import assert_close
from vidi.nn.squeeze_excitation import SqueezeExcitation


@pytest.mark.system("2.4-SE")
@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
def test_equals_torchvision(activation: type[nn.Module]) -> None:
    ours = SqueezeExcitation(32, 6, activation).double()
    theirs = torchvision.ops.SqueezeExcitation(32, 6, activation).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 32, 5, 6, dtype=torch.float64)
    assert_close(ours(x), theirs(x))
    gate = ours.gate(x)
    assert gate.shape == (2, 32, 1, 1)
    assert ((gate > 0) & (gate < 1)).all()


@pytest.mark.system("2.4-SE", "B2.10")
def test_squeeze_excitation_of_256_channels() -> None:
    block = SqueezeExcitation(256, 16)
    weights = sum(p.numel() for name, p in block.named_parameters() if name.endswith("weight"))
    biases = sum(p.numel() for name, p in block.named_parameters() if name.endswith("bias"))
    assert (weights, biases) == (8_192, 272)
    x = 10 * torch.randn(2, 256, 4, 4, dtype=torch.float64)
    gate = block.double().gate(x)
    assert ((gate > 0) & (gate < 1)).all()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(block.gate(x), torch.full((2, 256, 1, 1), 0.5, dtype=torch.float64))
