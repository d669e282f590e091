"""Published weights into a model: find the file, check its digest, rename, load strictly.

Files are looked for under their published names in `$VIDI_WEIGHTS` if that is set, then in torch's own cache
(`~/.cache/torch/hub/checkpoints`, or below `$TORCH_HOME`), where torchvision leaves its files, then in the Python
package that ships them, if one does and it is installed. Nothing is downloaded unless the caller asks for it.
"""

import difflib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from vidi import files
from vidi.model import Saved
from vidi.weights.published import PUBLISHED
from vidi.weights.renaming import renamed
from vidi.weights.sources import Source
from vidi.weights.strict import load_strictly


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
        model: what the source's builder made, with the source's arguments; for a `part`, anything that has this part.
        name: a key of `PUBLISHED`, such as "resnet50/torchvision/imagenet1k_v2".
        part: load this sub-module of the network only ("backbone", under another system); the sizes of the model's
            preprocessing stay, and what its pixels mean comes with the source.
        new_head: leave the layers that depend on the categories as they are, to train them for others.
        own_size: keep the sizes of the model's preprocessing, as for a part.
        folder: look here only; see the module for what is searched otherwise.
        download: fetch the file if it is not there.

    Raises:
        FileNotFoundError: saying what to download, and where to put it.
        ConnectionError: if the download fails.
        ValueError: for an unknown name, a file with another digest, or tensors that do not fit; the model is then as
            it was.
    """
    source = published(name)
    path = located(source, folder, download=download)
    load_tensors(model, checked_tensors(path, source), source, part=part, new_head=new_head)
    ours, theirs = model.preprocess, source.preprocess
    pixels = replace(
        ours, mean=theirs.mean, std=theirs.std, interpolation=theirs.interpolation, antialias=theirs.antialias
    )
    model.preprocess = pixels if own_size or part is not None else replace(theirs, masked=ours.masked)


def published(name: str) -> Source:
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
    return [source.version for source in PUBLISHED.values() if source.model == model]


def describe_weights(model: str) -> list[dict[str, Any]]:
    """Return what is known about each set of published weights of a model, and where its file is, if it is here."""
    rows = []
    for source in PUBLISHED.values():
        if source.model == model:
            path = found(source)
            rows.append(
                {
                    "name": model,
                    "weights": source.version,
                    "score": dict(source.score),
                    "licence": source.licence,
                    "url": source.url,
                    "sha256": source.sha256,
                    "path": str(path) if path is not None else None,
                }
            )
    return rows


def load_tensors(
    model: Saved, tensors: Mapping[str, Tensor], source: Source, *, part: str | None = None, new_head: bool = False
) -> None:
    """Load tensors that carry the publisher's names; see `load_published`."""
    network = model.get_submodule(source.into)
    ours = source.fit(network, source.convert(renamed(tensors, source.names)))
    if new_head:
        present = network.state_dict()
        ours |= {key: present[key] for key in source.by_category}
    if part is not None:
        if not hasattr(network, part):
            raise ValueError(f"the network has no {part} of its own that the weights would be for")
        network = network.get_submodule(part)
        ours = {key.removeprefix(f"{part}."): value for key, value in ours.items() if key.startswith(f"{part}.")}
    load_strictly(network, ours)


# ----------------------------------------------------------------------------------------------------------------------
# Files


def folders() -> list[Path]:
    """Return the folders where published weights are looked for; downloads go into the first."""
    chosen = os.environ.get("VIDI_WEIGHTS")
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    return [Path(chosen), cache] if chosen else [cache]


def found(source: Source, folder: Path | None = None) -> Path | None:
    """Return the path of a source's file, None if it is not on this machine; see the module for where it may be."""
    places = [folder] if folder is not None else folders()
    shipped = _shipped(source) if folder is None else None
    return next((place / source.filename for place in places if (place / source.filename).is_file()), shipped)


def _shipped(source: Source) -> Path | None:
    """Return the file inside the installed package that ships it."""
    package = find_spec(source.package) if source.package else None
    roots = package.submodule_search_locations if package is not None else None
    return next((path for root in roots or () for path in Path(root).rglob(source.filename)), None)


def located(source: Source, folder: Path | None = None, *, download: bool = False) -> Path:
    """Return the path of a source's file, downloaded if that is wanted; see `load_published`."""
    present = found(source, folder)
    if present is not None:
        return present
    path = (folder or folders()[0]) / source.filename
    if not download:
        package = f"the package {source.package.replace('_', '-')}" if source.package and folder is None else ""
        looked = ", ".join([*map(str, [folder] if folder is not None else folders()), *filter(None, [package])])
        install = f", or install {package}" if package else ""
        raise FileNotFoundError(
            f"{path}: no such file (looked in {looked}); put {source.url} there, or ask for the download{install}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(source.url, str(path), hash_prefix=source.sha256, progress=False)
    except URLError as error:
        raise ConnectionError(f"{source.url} cannot be downloaded ({error}); put it at {path} by hand") from error
    except RuntimeError as error:
        raise ValueError(f"{source.url}: {error}") from error
    return path


def checked_tensors(path: Path, source: Source) -> dict[str, Tensor]:
    """Read the named tensors of a source's file after checking its digest; no code in it can run."""
    digest = hashlib.sha256(files.read_bytes(path)).hexdigest()
    if not digest.startswith(source.sha256):
        raise ValueError(
            f"{path}: its sha256 is {digest}, expected {source.sha256}; the file is damaged or another one"
        )
    return source.unpack(files.read_tensors(path) if path.suffix == ".safetensors" else files.read_state(path))
