"""One routine over different axes against torch's four norms; layer norm by its equation."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import assert_close
from tests.parity.networks import distance
from vidi.nn.normalization import normalized_map, standardized

MODULES = {
    "batch": nn.BatchNorm2d(6, affine=False, dtype=torch.float64),
    "layer": nn.LayerNorm([6, 5, 4], elementwise_affine=False),
    "instance": nn.InstanceNorm2d(6),
    "group": nn.GroupNorm(3, 6, affine=False),
}


@pytest.mark.system("3.1.3-NORMS")
@pytest.mark.parametrize("kind", MODULES)
def test_equals_torch_with_gradient(kind: str):
    x = 3 * torch.randn(4, 6, 5, 4, dtype=torch.float64) + 1
    received, expected = (x.clone().requires_grad_() for _ in range(2))
    outputs = normalized_map(received, kind, groups=3), MODULES[kind].train()(expected)
    assert_close(*outputs)
    direction = torch.randn_like(x)
    for output in outputs:
        (output * direction).sum().backward()
    assert_close(received.grad, expected.grad)  # type: ignore[arg-type]


@pytest.mark.system("3.1.3-NORMS")
def test_groups_lie_between_layer_and_instance():
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    assert_close(normalized_map(x, "group", groups=1), normalized_map(x, "layer"))
    assert_close(normalized_map(x, "group", groups=6), normalized_map(x, "instance"))


@pytest.mark.system("3.1.3-NORMS", "3.1.3-LN")
def test_only_batch_norm_depends_on_what_else_is_in_the_batch():
    """Rows of padding change the batch norm of an image, and no other; so does what is padded onto a sequence."""
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
    padded = torch.cat((x, torch.zeros(3, 6, 5, 4, dtype=torch.float64)))
    for kind in ("layer", "instance", "group"):
        same = normalized_map(padded, kind, groups=3)[:2], normalized_map(x, kind, groups=3)
        assert_close(*same, msg=kind)
    assert distance(normalized_map(padded, "batch")[:2], normalized_map(x, "batch")) > 0.1

    tokens = torch.randn(2, 7, 6, dtype=torch.float64)  # B T D
    longer = F.pad(tokens, (0, 0, 0, 4))
    assert_close(standardized(longer, (-1,))[:, :7], standardized(tokens, (-1,)))
    assert distance(standardized(longer, (0, 1))[:, :7], standardized(tokens, (0, 1))) > 0.1


def test_unknown_kinds_are_told():
    with pytest.raises(ValueError, match="'batch', 'layer', 'instance', 'group'"):
        normalized_map(torch.zeros(1, 2, 2, 2), "weight")


@pytest.mark.system("3.1.3-LN")
@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_layer_norm_is_the_equation(eps: float):
    """Over D of each token (erratum C3.11), eps inside the root, learnt gain and offset, one rule in both modes."""
    x = (3 * torch.randn(2, 5, 8, dtype=torch.float64)).requires_grad_()
    norm = nn.LayerNorm(8, eps=eps, dtype=torch.float64)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    ours = standardized(x, (-1,), eps=eps) * norm.weight + norm.bias
    theirs = norm(x)
    assert_close(ours, theirs)
    assert torch.equal(norm.eval()(x), norm.train()(x))
    direction = torch.randn_like(ours)
    gradients = (torch.autograd.grad((y * direction).sum(), [x, norm.weight, norm.bias]) for y in (ours, theirs))
    for one, other in zip(*gradients, strict=True):
        assert_close(one, other, 1e-11)

    def by_hand(token: Tensor) -> list[float]:
        mean = sum(token.tolist()) / 8
        variance = sum((value - mean) ** 2 for value in token.tolist()) / 8
        return [(value - mean) / math.sqrt(variance + eps) for value in token.tolist()]

    expected = torch.tensor([[by_hand(token) for token in row] for row in x.detach()], dtype=torch.float64)
    assert_close(standardized(x, (-1,), eps=eps), expected)


@pytest.mark.system("3.1.3-LN", "B3.5")
def test_worked_example():
    """Worked example B3.5: the variance of (1, 2, 3, 4) is the biased one, 1.25."""
    received = standardized(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64), (-1,), eps=0.0)
    expected = torch.tensor([-1.341641, -0.447214, 0.447214, 1.341641], dtype=torch.float64)
    assert distance(received, expected) <= 5e-7
