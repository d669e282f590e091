"""The systems of the catalogue as the contract tests see them: by family, and in their tiny variants."""

import copy
import functools
import inspect
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from tests.settings import SEED
from vidi.catalog.table import CATALOG


def families() -> dict[str, list[str]]:
    """Return the names by the file that defines them."""
    files: dict[str, list[str]] = {}
    for name, entry in CATALOG.items():
        files.setdefault(inspect.unwrap(entry.builder).__module__, []).append(name)
    return files


FIRST = {names[0] for names in families().values()}


def marked(names: Iterable[str]) -> list[Any]:
    """Leave all but the first of each family to the extended suite."""
    return [name if name in FIRST else pytest.param(name, marks=pytest.mark.extended) for name in names]


def build(name: str, **arguments: Any) -> Any:
    """Build the tiny variant of a system, with some arguments of the test's own."""
    torch.default_generator.manual_seed(SEED)
    return CATALOG[name].builder(**{**CATALOG[name].tiny, **arguments})


@functools.lru_cache(maxsize=2)
def built(name: str) -> Any:
    """Return the tiny variant of a system, the same to all tests: for those that leave it as it is."""
    return build(name)


def copied(name: str) -> Any:
    """Return a tiny variant for a test that changes it."""
    return copy.deepcopy(built(name))
