"""Files of weights in a published format that are not in the table of published ones: one's own, or from elsewhere.

    file -> named tensors -> whose names these are -> ours -> strict load

Darknet's `.weights` have no names, only an order. All others are read by the rename tables of the model's published
weights; vision transformers and DETR also by that of transformers, whose files carry no digest.
"""

from pathlib import Path
from typing import Any, cast

from torch import Tensor

from vidi import files
from vidi.backbones.vit import TokenClassifier
from vidi.detection.detr import Detr
from vidi.detection.yolo import Yolo
from vidi.model import Saved
from vidi.weights.darknet_files import load_darknet
from vidi.weights.loading import load_tensors
from vidi.weights.published import PUBLISHED
from vidi.weights.sources import Source
from vidi.weights.tables.darknet_yolo import darknet_categories, load_yolo
from vidi.weights.tables.transformers_detr import load_detr
from vidi.weights.vit_files import load_vit

WRAPPERS = ("model", "state_dict", "model_state_dict", "model_ema")  # keys under which trainings keep the tensors
PARALLEL = "module."  # before the names of a network that was saved while wrapped in DataParallel


def usual_arguments(name: str, path: Path) -> dict[str, Any]:
    """Return the arguments that a builder needs for most files of its publishers: as trained, with the names."""
    if path.suffix == ".weights":
        return {"categories": darknet_categories()} if name == "yolov3" else {}
    source = next((source for source in PUBLISHED.values() if source.model == name), None)
    return {} if source is None else {**source.arguments, "categories": source.categories()}


def load_file(model: Saved, name: str, path: Path, *, new_head: bool = False) -> None:
    """Load a file into a model of the catalogue; the preprocessing stays as it is, for files do not tell it.

    Args:
        model: what the builder made, with the sizes of the file.
        name: of the builder.
        path: Darknet's `.weights`, safetensors, or what torch saved: named tensors, also under "model" or "state_dict".
        new_head: leave the layers that depend on the categories as they are, to train them for others; a Darknet file
            has always its own.

    Raises:
        ValueError: if the file is damaged, or nobody's whose names are known, or does not fit; the model is then as it
            was.
    """
    network: Any = model.get_submodule("network")
    if path.suffix == ".weights":
        if isinstance(network, Yolo):
            load_yolo(network, path)
        else:
            load_darknet(network, path)
    elif isinstance(network, TokenClassifier):
        load_vit(model, path, new_head=new_head)
    else:
        tensors = read_tensors(path)
        if isinstance(network, Detr) and any(key.startswith("model.") for key in tensors):
            load_detr(model, path, new_head=new_head)
            return
        _load_as_published(model, name, tensors, path, new_head=new_head)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a file that safetensors or torch wrote; no code in it can run."""
    held: Any = files.read_tensors(path) if path.suffix == ".safetensors" else files.read_state(path)
    for key in WRAPPERS:
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    if not isinstance(held, dict) or not all(isinstance(value, Tensor) for value in held.values()):
        raise ValueError(f"{path} holds no named tensors, as a `state_dict` is")
    tensors = cast(dict[str, Tensor], held)
    return {name.removeprefix(PARALLEL): tensor for name, tensor in tensors.items()}


def _load_as_published(model: Saved, name: str, tensors: dict[str, Tensor], path: Path, *, new_head: bool) -> None:
    """Load tensors by the first of the model's rename tables that fits."""
    sources: list[Source] = [source for source in PUBLISHED.values() if source.model == name]
    faults: dict[str, None] = {}
    for source in sources:
        try:
            load_tensors(model, tensors, source, new_head=new_head)
        except ValueError as error:
            faults[f"as {source.version.split('/')[0]}'s: {error}"] = None
        else:
            return
    reasons = "; ".join(faults) or f"{name} has no published weights whose names could be read"
    raise ValueError(f"{path} does not fit {name}: {reasons}")
