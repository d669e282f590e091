"""How close two computed numbers must be: the one rule of the tests, and its levels.

The rounding of a sum is a share of the values that were added up, and every processor adds them in another order: so a
difference is measured against the largest expected value, never against a number that happened to hold where the test
was written. Nothing is asked more closely than EXACT for the same reason. `pytest.approx(value, rel=LEVEL)` is the rule
for one number. `abs=` is for zero, and for what was rounded where it was printed, such as a number of a paper.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

EXACT = 1e-12  # one formula written in two ways, in float64
NUMBERS = 1e-10  # losses, metrics and schedules, in float64
OUTPUTS = 1e-8  # of a network, in float64
GRADIENTS = 1e-8  # in float64; of the largest of the whole network
FLOAT32 = 1e-4  # outputs of a network in evaluation, in float32


def assert_close(
    found: Any, expected: Any, relative: float = EXACT, *, size: float | None = None, msg: str | None = None
) -> None:
    """Ask that no element is further from the expected one than `relative` times the largest expected one.

    Args:
        found: a tensor, an array, a number or a list of numbers, or a mapping to such, which are compared one by one.
        expected: the same; two tensors must agree in type, and all in shape.
        relative: the share, best one of the levels of this file.
        size: what is largest, where the expected values are the remains of larger ones or a part of a whole.
        msg: what is compared, said first if it differs.
    """
    __tracebackhide__ = True
    if isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_close(found[name], value, relative, size=size, msg=f"{msg or 'item'} {name!r}")
        return
    one, other = (
        value if isinstance(value, Tensor) else torch.tensor(np.array(value, order="C")) for value in (found, expected)
    )
    torch.testing.assert_close(
        one,
        other,
        rtol=0,
        atol=relative * (largest(other) if size is None else size),
        check_dtype=isinstance(found, Tensor) and isinstance(expected, Tensor),
        msg=None if msg is None else lambda text: f"{msg}: {text}",
    )


def largest(*values: Tensor) -> float:
    """Return the largest absolute value of some tensors that is finite, 0 without any."""
    finite = [float(value.detach()[value.isfinite()].abs().max()) for value in values if value.isfinite().any()]
    return max(finite, default=0.0)
