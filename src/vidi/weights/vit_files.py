"""Vision transformers from files on this machine: what torchvision, timm or transformers saved or published.

    file -> named tensors -> whose names these are -> ours -> positions of the network's grid -> strict load

Files of known digest have a name of their own (`vidi.create(name, weights=...)`); this is for all others, such as
`model.safetensors` of a model on the Hugging Face hub.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vidi import files
from vidi.backbones.vit import fitted_positions
from vidi.model import Saved
from vidi.weights.packed_projections import unpacked
from vidi.weights.renaming import Names, renamed
from vidi.weights.strict import load_strictly
from vidi.weights.tables import timm_vit, torchvision_vit, transformers_vit


@dataclass(frozen=True)
class Publisher:
    """How a publisher names its tensors, and how it brings positions to another grid."""

    names: Names
    mark: str  # how the name of its positions ends
    antialias: bool = False
    align_corners: bool = False


PUBLISHERS = {
    "torchvision": Publisher(torchvision_vit.CLASSIFIER, "encoder.pos_embedding", align_corners=True),
    "timm": Publisher(timm_vit.CLASSIFIER, "pos_embed", antialias=True),
    "transformers": Publisher(transformers_vit.CLASSIFIER, "embeddings.position_embeddings"),
}


def publisher_of(tensors: Mapping[str, Tensor]) -> str:
    """Return whose names these are, a key of `PUBLISHERS`.

    Raises:
        ValueError: if they are nobody's.
    """
    for name, publisher in PUBLISHERS.items():
        if any(key == publisher.mark or key.endswith(f".{publisher.mark}") for key in tensors):
            return name
    marks = ", ".join(f"{publisher.mark} ({name})" for name, publisher in PUBLISHERS.items())
    raise ValueError(f"received {len(tensors)} tensors without positions, expected one of {marks}")


def converted(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a publisher's tensors under our names, with positions for the grid of `network`.

    Raises:
        ValueError: if they are no publisher's, or more or others than a vision transformer has.
    """
    publisher = PUBLISHERS[publisher_of(tensors)]
    ours = unpacked(renamed(tensors, publisher.names))
    return fitted_positions(network, ours, antialias=publisher.antialias, align_corners=publisher.align_corners)


def load_vit(model: Saved, path: str | Path, *, new_head: bool = False) -> str:
    """Load a file of torchvision, timm or transformers into a classifier, and return whose it is.

    The preprocessing stays: it is not in such files, and has to be set to the publisher's. So have the eps of the norms
    when the model is built: 1e-12 for files of transformers.

    Args:
        model: what `vit_b_16` or another builder made, with the file's patch, depth and widths; any size.
        path: named tensors, as safetensors or as torch saves them (also under "model" or "state_dict").
        new_head: leave the last layer as it is: it is for other categories, or the file has none.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or its tensors do not fit; the model is then as it was.
    """
    tensors: Any = files.read_tensors(path) if Path(path).suffix == ".safetensors" else files.read_state(path)
    for key in ("model", "state_dict"):
        tensors = tensors.get(key, tensors)
    network = model.get_submodule("network")
    ours = converted(network, tensors)
    if new_head:
        present = network.state_dict()
        ours |= {key: present[key] for key in present if key.startswith("head.linear.")}
    load_strictly(network, ours)
    return publisher_of(tensors)
