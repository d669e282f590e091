"""The systems of the catalogue as the contract tests see them: by family, and in their tiny variants."""

import copy
import functools
import inspect
from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch

from tests.settings import SEED
from vidi.catalog.table import CATALOG
from vidi.model import Adversarial, Fitted, OneLoss, Staged, Supervised
from vidi.preprocess import Batch, Preprocess


def families() -> dict[str, list[str]]:
    """Return the names by the file that defines them."""
    files: dict[str, list[str]] = {}
    for name, entry in CATALOG.items():
        files.setdefault(entry.builder.__module__, []).append(name)
    return files


NAMES = list(CATALOG)
FIRST = {names[0] for names in families().values()}
COMBINED = {  # the network of one entry with the criterion and the decoder of another: each is tested there
    "maskformer_resnet50_semantic",
    "maskformer_swin_t_semantic",
    "mask2former_swin_t_semantic",
    "mask2former_resnet50_instance",
    "mask2former_swin_t_instance",
}


def shape_of(name: str) -> type:
    """Return the shape of a system without building it."""
    annotation = inspect.signature(CATALOG[name].builder).return_annotation
    return next(kind for kind in (Supervised, Adversarial, Staged, Fitted, OneLoss) if issubclass(annotation, kind))


def marked(names: Iterable[str]) -> list[Any]:
    """Leave all but the first of each family to the extended suite, and out what others have shown."""
    shown = [name for name in names if name not in COMBINED]
    return [name if name in FIRST else pytest.param(name, marks=pytest.mark.extended) for name in shown]


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


def without_draws(criterion: Any) -> Any:
    """Return a criterion that trains on all of its proposals, so that nothing is drawn."""
    parts = {f.name: getattr(criterion, f.name) for f in fields(criterion)}
    parts = {key: without_draws(part) for key, part in parts.items() if is_dataclass(part)}
    counts = dict.fromkeys({"count", "sampled", "per_image"} & vars(criterion).keys(), 10**6)
    return replace(criterion, **parts, **counts)


class DoublePreprocess(Preprocess):
    """The same pictures in float64."""

    def collate(self, placed: Any) -> Batch:
        batch = super().collate(placed)
        return replace(batch, images=batch.images.double())


def doubled(preprocess: Preprocess) -> Preprocess:
    """Return a preprocessing that gives float64, whatever kind it is."""
    kind = type("Double", (DoublePreprocess, type(preprocess)), {})
    return kind(**vars(preprocess))
