"""A model whose weights are "published": a file behind a url of this machine, in the table of published weights."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from vidi import files
from vidi.model import Supervised
from vidi.preprocess import Preprocess
from vidi.weights import table
from vidi.weights.published import File, Published
from vidi.weights.renaming import renamed
from vidi.weights.tables.cifar_resnet import PUBLISHED

NAME = "resnet20/akamaster/cifar10"
TO_PUBLISHED = {
    "backbone.stem.conv.weight": "conv1.weight",
    "backbone.stem.norm.*": "bn1.*",
    "backbone.stage*.*.conv*.weight": "layer*.*.conv*.weight",
    "backbone.stage*.*.norm*.*": "layer*.*.bn*.*",
    "head.linear.*": "linear.*",
}


def publish(donor: Supervised, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Publish a ResNet-20 for images of 40 pixels in `folder`/web; the caches, in `folder`, are empty."""
    state = renamed(donor.network.state_dict(), TO_PUBLISHED)
    path = folder / "web" / "resnet20.th"
    files.write_state(path, {"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 200})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    file = File(path.as_uri(), digest[:8])
    source = replace(PUBLISHED[NAME], files=(file,), preprocess=Preprocess(exact=(40, 40)))
    monkeypatch.setitem(table.PUBLISHED, NAME, source)
    monkeypatch.setenv("VIDI_WEIGHTS", str(folder / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    return source
