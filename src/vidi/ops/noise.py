"""Standard normal noise that a picture's own seed decides: a batch of four equals four singles.

seeds N, step -> a generator for each picture and step -> N x shape
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

LARGEST_SEED = 2**63 - 1


def picture_seeds(generator: torch.Generator | None, count: int) -> list[int]:
    """Return the seeds of `count` pictures: s, s + 1, ... from the seed s that a generator was given.

    Whatever was drawn from the generator since does not matter; without one, s is another at each call.
    """
    return seeds_from(torch.Generator().seed() if generator is None else generator.initial_seed(), count)


def seeds_from(first: int, count: int) -> list[int]:
    """Return `count` seeds, each one more than the one before; after the largest comes 0."""
    return [(first + row) % (LARGEST_SEED + 1) for row in range(count)]


def seeded_normal(
    shape: Sequence[int],
    seeds: Sequence[int],
    step: int = 0,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "N ..."]:
    """Return noise of which row i is a function of (seeds[i], step) alone, drawn on the CPU, the same on all devices.

    Args:
        shape: of one picture.
        seeds: of the pictures, from 0 to 2^63 - 1.
        step: of a sampler; each has other noise.
        device: where it goes; None: the CPU.
        dtype: a floating type; that of 16 bits is rounded from float32.

    Raises:
        ValueError: for a negative step, and for a seed out of range.
    """
    wrong = [seed for seed in seeds if not 0 <= seed <= LARGEST_SEED]
    if wrong or step < 0:
        raise ValueError(
            f"received seeds {wrong or list(seeds)}, step {step}; expected seeds from 0 to 2^63 - 1, a step >= 0"
        )
    drawn_as = dtype if dtype in (torch.float32, torch.float64) else torch.float32
    noise = torch.empty(len(seeds), *shape, dtype=drawn_as)
    for row, seed in zip(noise, seeds, strict=True):
        words = (seed % 2**32, seed >> 32, step)
        mixed = np.random.SeedSequence(words).generate_state(1, np.uint32)  # torch's generator has 32 bits
        row.normal_(generator=torch.Generator().manual_seed(int(mixed[0])))
    return noise.to(device, dtype)
