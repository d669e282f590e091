"""Squeeze and excitation against torchvision."""

import pytest
import torch
import torchvision
from torch import nn

from vidi.nn.squeeze_excitation import SqueezeExcitation


@pytest.mark.system("2.4-SE")
@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
def test_equals_torchvision(activation: type[nn.Module]) -> None:
    ours = SqueezeExcitation(32, 6, activation).double()
    theirs = torchvision.ops.SqueezeExcitation(32, 6, activation).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 32, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-14)
    gate = ours.gate(x)
    assert gate.shape == (2, 32, 1, 1)
    assert ((gate > 0) & (gate < 1)).all()
