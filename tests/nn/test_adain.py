"""Instance normalisation and AdaIN: torch, loops over pixels, and what they leave as it is."""

import pytest
import torch
from torch import Tensor

from tests.closeness import GRADIENTS, NUMBERS, OUTPUTS, assert_close
from vidi.nn.adain import adain, styled
from vidi.nn.normalization import normalized_map

EPS = 1e-5


def maps(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1


@pytest.mark.system("8.2.4-IN")
def test_instance_normalisation_is_torchs_per_sample_and_channel() -> None:
    ours, theirs = (maps(3, 4, 5, 6).requires_grad_() for _ in range(2))
    found, expected = normalized_map(ours, "instance"), torch.nn.InstanceNorm2d(4).double()(theirs)
    assert_close(found.detach(), expected.detach(), OUTPUTS)
    weights = maps(3, 4, 5, 6, seed=1)
    for value in (found, expected):
        (value * weights).sum().backward()
    assert ours.grad is not None
    assert_close(ours.grad, theirs.grad, GRADIENTS)
    for sample in range(3):
        for channel in range(4):
            plane = maps(3, 4, 5, 6)[sample, channel].flatten().tolist()
            mean = sum(plane) / 30
            variance = sum((value - mean) ** 2 for value in plane) / 30
            expected_plane = [(value - mean) / (variance + EPS) ** 0.5 for value in plane]
            assert_close(
                found.detach()[sample, channel].flatten(), torch.tensor(expected_plane, dtype=torch.float64), OUTPUTS
            )


@pytest.mark.system("8.2.4-ADAIN")
def test_both_forms_are_the_formula_at_every_pixel() -> None:
    content, style = maps(2, 3, 4, 5), maps(2, 3, 6, 2, seed=1)
    scale, shift = maps(2, 3, seed=2), maps(2, 3, seed=3)
    of_picture, of_vector = adain(content, style), styled(content, scale, shift)
    for b in range(2):
        for c in range(3):
            values, others = content[b, c].flatten().tolist(), style[b, c].flatten().tolist()
            m_c, m_s = sum(values) / 20, sum(others) / 12
            v_c = sum((value - m_c) ** 2 for value in values) / 20
            v_s = sum((value - m_s) ** 2 for value in others) / 12
            whitened = [(value - m_c) / (v_c + EPS) ** 0.5 for value in values]
            expected = torch.tensor([v_s**0.5 * w + m_s for w in whitened], dtype=torch.float64)
            assert_close(of_picture[b, c].flatten(), expected, NUMBERS)
            expected = torch.tensor(
                [float(scale[b, c]) * w + float(shift[b, c]) for w in whitened], dtype=torch.float64
            )
            assert_close(of_vector[b, c].flatten(), expected, NUMBERS)


@pytest.mark.system("8.2.4-ADAIN", "B8.15")
def test_content_in_its_own_style_is_itself_and_takes_the_statistics_of_another() -> None:
    content, style = maps(2, 3, 8, 8), 5 * maps(2, 3, 4, 4, seed=1) - 2
    assert_close(adain(content, content, eps=0.0), content)
    found = adain(content, style, eps=0.0)
    assert_close(found.mean((2, 3)), style.mean((2, 3)))
    assert_close(found.std((2, 3), correction=0), style.std((2, 3), correction=0))
