import pytest
import torch

from tests.closeness import EXACT, assert_close
from vidi.nn.pooling import L2Pool2d


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.system("7.2.2-L2POOL")
@pytest.mark.parametrize(("kernel", "stride"), [(2, None), (3, 2), (3, 1), (1, 1)])
@pytest.mark.parametrize("size", [(9, 12), (10, 7)])
def test_it_is_torchs(size: tuple[int, int], kernel: int, stride: int | None):
    x = drawn(2, 3, *size).requires_grad_()
    ours, theirs = L2Pool2d(kernel, stride)(x), torch.nn.LPPool2d(2, kernel, stride)(x)
    assert_close(ours, theirs, EXACT)
    weights = drawn(*ours.shape)
    mine, other = (torch.autograd.grad((weights * y).sum(), x)[0] for y in (ours, theirs))
    assert_close(mine, other, EXACT)


@pytest.mark.system("7.2.2-L2POOL")
def test_it_is_the_root_of_the_summed_squares_of_a_window():
    x = torch.tensor([[3.0, -4.0, 0.0], [0.0, 0.0, 12.0], [1.0, 1.0, 1.0]])[None, None]
    assert L2Pool2d(2, 1)(x).tolist() == [
        [[[5, pytest.approx(160**0.5)], [pytest.approx(2**0.5), pytest.approx(146**0.5)]]]
    ]
    assert L2Pool2d(3)(x).item() == pytest.approx((25 + 144 + 3) ** 0.5)
    padded = L2Pool2d(3, 2, padding=1)(x)
    assert padded.flatten().tolist() == pytest.approx([5, 160**0.5, 2**0.5, 146**0.5])
    whole = L2Pool2d(2, ceil_mode=True)(x)
    assert whole.flatten().tolist() == pytest.approx([5, 12, 2**0.5, 1])
    assert L2Pool2d(2)(x).shape == (1, 1, 1, 1)


@pytest.mark.system("7.2.2-L2POOL")
def test_empty_windows_have_a_gradient_and_half_precision_does_not_overflow():
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    assert torch.autograd.grad(L2Pool2d(2)(x).sum(), x)[0].abs().max() == 0
    half = L2Pool2d(2)(torch.full((1, 1, 2, 2), 1000.0, dtype=torch.float16))
    assert half.dtype == torch.float16
    assert half.item() == 2000
