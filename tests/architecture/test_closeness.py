"""The rule of `tests/closeness.py`: what it lets pass, what it does not, and that no test has a rule of its own."""

import ast
from typing import Any

import numpy as np
import pytest
import torch
from tests.architecture.sources import ROOT
from tests.closeness import EXACT, assert_close, largest

LARGE = torch.tensor([200.0, -0.001], dtype=torch.float64)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_tolerance_follows_the_largest_value(scale: float) -> None:
    near, far = torch.tensor([0.0, 1.5e-10]), torch.tensor([0.0, 3e-10])
    assert_close(scale * (LARGE + near), scale * LARGE)
    with pytest.raises(AssertionError, match="not close"):
        assert_close(scale * (LARGE + far), scale * LARGE)
    assert_close(scale * (LARGE + far), scale * LARGE, 2 * EXACT)


def test_remains_of_larger_values_are_measured_by_those() -> None:
    nothing, rounding = torch.zeros(3), torch.full((3,), 1e-7)
    assert_close(nothing, nothing)
    with pytest.raises(AssertionError, match="not equal"):
        assert_close(rounding, nothing, 1e-6)
    assert_close(rounding, nothing, 1e-6, size=1)


def test_mappings_are_compared_name_by_name() -> None:
    found = {"small": torch.tensor(1e-3), "large": torch.tensor(1e3)}
    assert_close(found, dict(found))
    wrong = {**found, "small": torch.tensor(1.1e-3)}
    with pytest.raises(AssertionError, match="item 'small'"):
        assert_close(wrong, found, 1e-2)
    assert_close(wrong, found, 1e-2, size=largest(*found.values()))
    with pytest.raises(AssertionError):
        assert_close({"small": found["small"]}, found)


@pytest.mark.parametrize(
    "found", [LARGE[:1], LARGE.float(), LARGE + torch.tensor([torch.nan, 0]), LARGE + torch.inf], ids=str
)
def test_shapes_types_and_numbers_that_are_none_differ(found: torch.Tensor) -> None:
    with pytest.raises(AssertionError):
        assert_close(found, LARGE, 0.1)


def test_arrays_and_numbers_are_compared_in_their_own_precision() -> None:
    assert_close(np.array([1.0, 2.0]), [1.0, 2.0])
    assert_close(1.0 + 1e-13, 1.0)
    with pytest.raises(AssertionError, match="not close"):
        assert_close([1.0 + 1e-11], [1.0])


def test_no_test_compares_by_an_absolute_number() -> None:
    """A bound of a hundredth or more is a statement about pixels or levels of grey, not about rounding."""
    faults = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".assert_close", ".assert_allclose")):
                given: dict[Any, Any] = {
                    k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)
                }
                if given.get("rtol") == 0 and 0 < given.get("atol", 0) < 0.01:
                    faults.append(f"{path.relative_to(ROOT)}:{node.lineno}: use tests.closeness.assert_close")
    assert not faults, "\n".join(faults)
