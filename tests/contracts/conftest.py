"""The tests of a module go from model to model, so that few of them are kept: see `tests.contracts.models`."""

from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def model_of(item: Any) -> str:
    """Return the name of the model that a test looks at; empty for one that is not of a model."""
    return str(item.callspec.params.get("name", "")) if hasattr(item, "callspec") else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = [row for row, item in enumerate(items) if item.path.parent == HERE]
    ordered = sorted((items[row] for row in places), key=lambda item: (item.path, model_of(item)))
    for row, item in zip(places, ordered, strict=True):
        items[row] = item
