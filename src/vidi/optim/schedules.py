"""Learning-rate schedules: the factor that multiplies the base learning rate at each step. Pure functions of the step.

Sources: linear warm-up of Goyal et al. 2017 (arXiv 1706.02677), cosine decay of Loshchilov & Hutter 2017 (arXiv
1608.03983, without restarts), step decay of He et al. 2016 (arXiv 1512.03385), polynomial decay of Chen et al.
2017 (DeepLab, arXiv 1606.00915), exponential decay of Szegedy et al. 2016 (arXiv 1512.00567).
"""

import math
from collections.abc import Sequence


def warmup_factor(step: int, warmup: int) -> float:
    """Rise linearly from 1 / (warmup + 1) at step 0 to 1 at step `warmup`."""
    return min(1.0, (step + 1) / (warmup + 1))


def cosine_factor(step: int, total: int, *, floor: float = 0.0) -> float:
    """Fall from 1 at step 0 along half a cosine to `floor` at step `total`."""
    progress = min(1.0, step / max(total, 1))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def step_factor(step: int, total: int, *, milestones: Sequence[float], decay: float) -> float:
    """Multiply by `decay` at each milestone, given as a fraction of `total`."""
    return decay ** sum(step >= milestone * total for milestone in milestones)


def polynomial_factor(step: int, total: int, *, power: float | int = 0.9) -> float:
    """Fall from 1 at step 0 to 0 at step `total` as (1 - step / total)^power; power 1 is linear."""
    return (1.0 - min(1.0, step / max(total, 1))) ** power


def exponential_factor(step: int, total: int, *, decay: float | int) -> float:
    """Multiply by the same number at each step, so that `total` steps give `decay`."""
    return decay ** (step / max(total, 1))
