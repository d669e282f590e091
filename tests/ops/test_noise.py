"""Noise by picture: equal alone and in a batch, another for each seed and step, and standard normal."""

import pytest
import torch

from tests.closeness import assert_close
from vidi.ops.noise import picture_seeds, seeded_normal


def test_a_batch_of_four_equals_four_singles() -> None:
    together = seeded_normal((3, 5, 4), [7, 8, 9, 10], step=3)
    assert together.shape == (4, 3, 5, 4)
    alone = torch.cat([seeded_normal((3, 5, 4), [seed], step=3) for seed in (7, 8, 9, 10)])
    assert torch.equal(together, alone)


def test_each_seed_and_step_has_noise_of_its_own() -> None:
    """Also (0, 1) and (1, 0), and seeds that differ beyond the 32 bits of torch's generator."""
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2**32, 0), (2**63 - 1, 0)]
    rows = [seeded_normal((64,), [seed], step)[0] for seed, step in pairs]
    for row, one in enumerate(rows):
        for other in rows[:row]:
            assert (one != other).all()


def test_the_step_is_nought_unless_said() -> None:
    assert torch.equal(seeded_normal((4,), [3]), seeded_normal((4,), [3], 0))


def test_it_is_standard_normal_over_seeds_and_steps() -> None:
    noise = torch.cat([seeded_normal((16,), range(500), step, dtype=torch.float64) for step in range(2)])
    count = noise.numel()
    assert abs(noise.mean().item()) < 4 / count**0.5
    assert abs(noise.var().item() - 1) < 4 * (2 / count) ** 0.5
    neighbours = (noise[1:] * noise[:-1]).mean().item()  # of neighbouring seeds
    assert abs(neighbours) < 4 / count**0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_from_float32(dtype: torch.dtype) -> None:
    assert torch.equal(seeded_normal((9,), [5], dtype=dtype), seeded_normal((9,), [5]).to(dtype))


def test_seeds_and_steps_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"received seeds \[-1\]"):
        seeded_normal((2,), [0, -1])
    with pytest.raises(ValueError, match="received seeds"):
        seeded_normal((2,), [2**63])
    with pytest.raises(ValueError, match="step -1"):
        seeded_normal((2,), [0], -1)


def test_pictures_are_numbered_from_the_seed_of_their_generator() -> None:
    generator = torch.Generator().manual_seed(41)
    torch.randn(3, generator=generator)  # which does not matter
    assert picture_seeds(generator, 3) == [41, 42, 43]
    assert picture_seeds(torch.Generator().manual_seed(2**63 - 1), 2) == [2**63 - 1, 0]
    one, two = picture_seeds(None, 2), picture_seeds(None, 2)
    assert one != two
    assert one[1] == (one[0] + 1) % 2**63
    assert_close(seeded_normal((2,), one).isfinite().float(), torch.ones(2, 2))
