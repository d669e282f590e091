"""What generated pictures are judged with: the features of a classifier (notes 8.1.1, 8.1.2).

    pictures B 3 H W in [0, 1] -> the classifier's own preprocessing -> last map, averaged: B D -> softmax of scores B K

"inception"   the network of FID (2048 features, 1008 classes), whose published file has to be here or be downloaded
"digits"      a small classifier of digits (64 features, 10 classes) that comes with the package: scores of two
              generators of digits can be told apart by it, and no score of it be compared with a paper's

The classifier of digits is a ResNet-20, in half precision in its file, of

    vidi train resnet20 --data mnist/ size=32,32 epochs=1 batch_size=32 learning_rate=0.05 augment=none
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.backbones.classifier import Classifier
from vidi.metrics.generation_score import Extracted, Extractor, digest_of
from vidi.model import Supervised, evaluating
from vidi.preprocess import Preprocess
from vidi.weights.creation import create

SHIPPED = Path(__file__).with_name("shipped")
"""Folders that `model.save` wrote, the weights in half precision."""

EXTRACTORS: dict[str, tuple[str, str]] = {  # name -> model, weights
    "digits": ("resnet20", str(SHIPPED / "digits")),
    "inception": ("inception_v3_fid", "pytorch_fid/tensorflow_2015"),
}


def extractor(name: str = "digits", *, download: bool = False) -> Extractor:
    """Return an extractor by its name.

    Args:
        name: a key of `EXTRACTORS`.
        download: fetch its weights if they are not on this machine.

    Raises:
        ValueError: for an unknown name.
        FileNotFoundError: if its weights are not on this machine; says where to put them.
    """
    if name not in EXTRACTORS:
        raise ValueError(f"received the extractor {name!r}, expected one of {', '.join(EXTRACTORS)}")
    model, weights = EXTRACTORS[name]
    return extractor_of(create(model, weights=weights, download=download), name)


def extractor_of(model: Supervised, name: str) -> Extractor:
    """Return any image classifier as an extractor: its averaged last map, and its opinion.

    Args:
        model: of the task classification, with the weights that the features are to come from.
        name: for the record.

    Raises:
        TypeError: if the model is no image classifier.
    """
    network = model.network
    if not isinstance(network, Classifier):
        raise TypeError(f"received a model around a {type(network).__name__}, expected an image classifier")

    @torch.no_grad()
    def run(pictures: Float[Tensor, "B 3 H W"]) -> Extracted:
        placed = [model.preprocess.place(picture, {}) for picture in pictures]
        with evaluating(model):
            batch = model.preprocess.collate(placed).to(model.device)
            last = network.features(batch.images)[-1]
            return Extracted(last.mean((2, 3)), network.head(last).softmax(1))

    return Extractor(name, digest_of(network.state_dict()), described(model.preprocess), run)


def described(preprocess: Preprocess) -> str:
    """Return in words what is done to a picture's pixels."""
    sizes: dict[str, Any] = {name: getattr(preprocess, name) for name in ("exact", "shorter", "longest", "crop")}
    told = [f"{name} {value}" for name, value in sizes.items() if value is not None] or ["no resizing"]
    filtered = preprocess.interpolation + (", antialiased" if preprocess.antialias else "")
    return f"{', '.join(told)}; {filtered}; mean {preprocess.mean}, std {preprocess.std}"
