"""Published weights into a model: find the files, check their digests, rename, load strictly.

Files are looked for under their published names in `$VIDI_WEIGHTS` if that is set, then in torch's own cache
(`~/.cache/torch/hub/checkpoints`, or below `$TORCH_HOME`), where torchvision leaves its files, then in the Python
package that ships them, if one does and it is installed. Nothing is downloaded unless the caller asks for it.
"""

import difflib
import hashlib
from collections.abc import Iterable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from vidi import files
from vidi.model import Saved
from vidi.weights.darknet_files import Order
from vidi.weights.layouts import Layout
from vidi.weights.published import File, Published
from vidi.weights.reading import read_tensors
from vidi.weights.strict import load_strictly
from vidi.weights.table import PUBLISHED


def load_published(
    model: Saved,
    name: str,
    *,
    part: str | None = None,
    new_head: bool = False,
    own_size: bool = False,
    folder: Path | None = None,
    download: bool = False,
) -> None:
    """Load published weights and, with all of them, the preprocessing they were evaluated with.

    Args:
        model: what their builder made, with their arguments; for a `part`, anything that has this part.
        name: a key of `PUBLISHED`, such as "resnet50/torchvision/imagenet1k_v2".
        part: load this sub-module of the network only ("backbone", under another system); the sizes of the model's
            preprocessing stay, and what its pixels mean comes with the weights.
        new_head: leave the layers that depend on the categories as they are, to train them for others.
        own_size: keep the sizes of the model's preprocessing, as for a part.
        folder: look here only; see the module for what is searched otherwise.
        download: fetch files that are not there.

    Raises:
        FileNotFoundError: saying what to download, and where to put it.
        ConnectionError: if the download fails.
        ValueError: for an unknown name, a file with another digest, or tensors that do not fit or that two files
            hold; the model is then as it was.
    """
    row = published(name)
    tensors = joined_tensors(row.files, folder, download=download)
    load_tensors(model, tensors, row.layout, part=part, new_head=new_head)
    ours, theirs = model.preprocess, row.preprocess
    pixels = replace(
        ours, mean=theirs.mean, std=theirs.std, interpolation=theirs.interpolation, antialias=theirs.antialias
    )
    model.preprocess = pixels if own_size or part is not None else replace(theirs, masked=ours.masked)


def published(name: str) -> Published:
    """Return what is known about published weights.

    Raises:
        ValueError: for an unknown name, with the nearest ones.
    """
    if name not in PUBLISHED:
        choices = difflib.get_close_matches(name, PUBLISHED, n=5, cutoff=0.4) or list(PUBLISHED)
        raise ValueError(f"no published weights are named {name!r}; did you mean {', '.join(choices)}?")
    return PUBLISHED[name]


def published_weights(model: str) -> list[str]:
    """Return the names of the published weights of a model, publisher/version, the oldest first."""
    return [row.version for row in PUBLISHED.values() if row.model == model]


def describe_weights(model: str) -> list[dict[str, Any]]:
    """Return what is known about each file of a model's published weights, and where it is, if it is here."""
    rows = []
    for row in PUBLISHED.values():
        for file in row.files if row.model == model else ():
            path = found(file)
            rows.append(
                {
                    "name": model,
                    "weights": row.version,
                    "score": dict(row.score),
                    "licence": row.licence,
                    "url": file.url,
                    "sha256": file.sha256,
                    "path": str(path) if path is not None else None,
                }
            )
    return rows


def load_tensors(
    model: Saved, held: Any, layout: Layout | Order, *, part: str | None = None, new_head: bool = False
) -> None:
    """Load what a file of a layout holds: named tensors, or for an `Order` bytes; see `load_published`."""
    network = model.get_submodule(layout.into)
    ours = layout.ours(network, held)
    if new_head:
        present = network.state_dict()
        ours |= {key: present[key] for key in layout.by_category}
    if part is not None:
        if not hasattr(network, part):
            raise ValueError(f"the network has no {part} of its own that the weights would be for")
        network = network.get_submodule(part)
        ours = {key.removeprefix(f"{part}."): value for key, value in ours.items() if key.startswith(f"{part}.")}
    load_strictly(network, ours)


# ----------------------------------------------------------------------------------------------------------------------
# Files


def found(file: File, folder: Path | None = None) -> Path | None:
    """Return the path of a file, None if it is not on this machine; see the module for where it may be."""
    places = [folder] if folder is not None else files.weight_folders()
    shipped = _shipped(file) if folder is None else None
    return next((place / file.name for place in places if (place / file.name).is_file()), shipped)


def _shipped(file: File) -> Path | None:
    """Return the file inside the installed package that ships it."""
    package = find_spec(file.package) if file.package else None
    roots = package.submodule_search_locations if package is not None else None
    return next((path for root in roots or () for path in Path(root).rglob(file.name)), None)


def located(file: File, folder: Path | None = None, *, download: bool = False) -> Path:
    """Return the path of a file, downloaded if that is wanted; see `load_published`."""
    present = found(file, folder)
    if present is not None:
        return present
    path = (folder or files.weight_folders()[0]) / file.name
    if not download:
        package = f"the package {file.package.replace('_', '-')}" if file.package and folder is None else ""
        looked = ", ".join(
            [*map(str, [folder] if folder is not None else files.weight_folders()), *filter(None, [package])]
        )
        install = f", or install {package}" if package else ""
        raise FileNotFoundError(
            f"{path}: no such file (looked in {looked}); put {file.url} there, or ask for the download{install}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(file.url, str(path), hash_prefix=file.sha256, progress=False)
    except URLError as error:
        raise ConnectionError(f"{file.url} cannot be downloaded ({error}); put it at {path} by hand") from error
    except RuntimeError as error:
        raise ValueError(f"{file.url}: {error}") from error
    return path


def joined_tensors(parts: Iterable[File], folder: Path | None = None, *, download: bool = False) -> dict[str, Tensor]:
    """Read the named tensors of files after checking their digests; no code in them can run. See `load_published`."""
    joined: dict[str, Tensor] = {}
    for file, path in [(file, located(file, folder, download=download)) for file in parts]:
        digest = hashlib.sha256(files.read_bytes(path)).hexdigest()
        if not digest.startswith(file.sha256):
            raise ValueError(
                f"{path}: its sha256 is {digest}, expected {file.sha256}; the file is damaged or another one"
            )
        tensors = read_tensors(path)
        twice = sorted(joined.keys() & tensors.keys())
        if twice:
            raise ValueError(f"{path} holds {len(twice)} tensors that another file holds too: {', '.join(twice[:5])}")
        joined |= tensors
    return joined
