"""Frozen batch normalisation against torchvision, and the choice of norms by name."""

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d as Reference

from tests.closeness import assert_close
from tests.parity.networks import randomise
from vidi.nn.normalization import FrozenBatchNorm2d, norm_layer


@pytest.mark.parametrize("eps", [1e-5, 0.0])
def test_equals_torchvision_with_gradient(eps: float) -> None:
    ours, theirs = FrozenBatchNorm2d(6, eps=eps).double(), Reference(6, eps=eps).double()
    randomise(theirs)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    received, expected = (x.clone().requires_grad_() for _ in range(2))
    direction = torch.randn_like(x)
    outputs = ours(received), theirs(expected)
    assert_close(*outputs)
    for output in outputs:
        (output * direction).sum().backward()
    assert_close(received.grad, expected.grad)


def test_nothing_is_trained_or_updated() -> None:
    norm = FrozenBatchNorm2d(3).train()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm(torch.randn(4, 3, 2, 2))
    assert not list(norm.parameters())
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_takes_the_state_of_a_batch_norm_strictly() -> None:
    source = nn.Sequential(nn.BatchNorm2d(3))
    randomise(source)
    frozen = nn.Sequential(FrozenBatchNorm2d(3))
    state = source.state_dict()
    frozen.load_state_dict(state)
    assert "0.num_batches_tracked" in state  # the caller's dictionary is as it was
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(frozen(x), source.eval()(x))
    with pytest.raises(RuntimeError, match="Missing"):
        frozen.load_state_dict({"0.weight": torch.ones(3)})


def test_layers_by_name() -> None:
    batch = norm_layer("batch", eps=1e-3, momentum=0.01)(8)
    assert isinstance(batch, nn.BatchNorm2d)
    assert (batch.eps, batch.momentum) == (1e-3, 0.01)
    group = norm_layer("group")(64)
    assert isinstance(group, nn.GroupNorm)
    assert (group.num_groups, group.num_channels) == (32, 64)
    with pytest.raises((ValueError, TypeError), match="instance"):
        norm_layer("instance")  # type: ignore[arg-type]
