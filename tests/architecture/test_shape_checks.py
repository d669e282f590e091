"""The import hook of conftest.py: annotated shapes are checked, and what cannot be wrapped survives it."""

import importlib
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError, install_import_hook

MODULE = """
from dataclasses import dataclass
from typing import NamedTuple, Protocol, no_type_check

import numpy as np
from jaxtyping import Float
from numba import njit
from torch import Tensor


class Outputs(NamedTuple):
    scores: Float[Tensor, "B K"]


@dataclass(frozen=True)
class Boxes:
    xyxy: Float[Tensor, "N 4"]
    name: str = "boxes"

    @property
    def count(self) -> int:
        return len(self.xyxy)


class Score(Protocol):
    def __call__(self, outputs: Outputs) -> Float[Tensor, " B"]: ...


def best(outputs: Outputs) -> Float[Tensor, " B"]:
    return outputs.scores.amax(1)


def apply(score: Score | None, outputs: Outputs) -> Float[Tensor, " B"]:
    return score(outputs) if score else best(outputs)


def aligned(first: Float[Tensor, "N 4"], second: Float[Tensor, "N 4"]) -> Float[Tensor, " N"]:
    return (first - second).abs().sum(1)


@njit(cache=True)
@no_type_check
def total(values: np.ndarray) -> float:
    result = 0.0
    for value in values:
        result += value
    return result
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("hooked")
    (folder / "hooked_sample.py").write_text(MODULE, encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        with install_import_hook("hooked_sample", "tests.architecture.shape_checker.check"):
            module = importlib.import_module("hooked_sample")
        yield module
        shutil.rmtree(module.total.stats.cache_path, ignore_errors=True)
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("hooked_sample", None)


def test_a_wrong_shape_is_an_error(checked):
    four = torch.zeros(2, 4)
    assert checked.aligned(four, four).shape == (2,)
    with pytest.raises(TypeCheckError):
        checked.aligned(four, torch.zeros(3, 4))


def test_frozen_dataclasses_are_checked(checked):
    assert checked.Boxes(torch.zeros(5, 4)).count == 5
    with pytest.raises(TypeCheckError):
        checked.Boxes(torch.zeros(5, 3))


def test_named_tuples_and_protocols_pass(checked):
    outputs = checked.Outputs(torch.eye(3))
    assert checked.apply(checked.best, outputs).tolist() == [1, 1, 1]
    with pytest.raises(TypeCheckError):
        checked.apply("not callable", outputs)


def test_kernels_compile_and_are_cached(checked):
    assert checked.total(np.arange(4.0)) == 6.0
    assert sum(checked.total.stats.cache_misses.values()) == 1
    assert checked.total.stats.cache_path.startswith(os.environ["NUMBA_CACHE_DIR"])


@pytest.mark.skipif(os.environ.get("VIDI_NO_HOOK") == "1", reason="the hook is switched off")
def test_the_package_itself_is_checked():
    from vidi.preprocess import Placement

    with pytest.raises(TypeCheckError):
        Placement((4, 4), (4, 4)).boxes_to_original(torch.zeros(2, 3))
