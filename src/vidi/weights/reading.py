"""Named tensors out of the files that trainings and publishers write."""

from pathlib import Path
from typing import Any, cast

from torch import Tensor

from vidi import files

WRAPPERS = ("model", "state_dict", "model_state_dict", "model_ema")  # keys under which trainings keep the tensors
PARALLEL = "module."  # before the names of a network that was saved while wrapped in DataParallel


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a file that safetensors or torch wrote; no code in it can run.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or holds other things than tensors.
    """
    held: Any = files.read_tensors(path) if path.suffix == ".safetensors" else files.read_state(path)
    for key in WRAPPERS:
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    if not isinstance(held, dict) or not all(isinstance(value, Tensor) for value in held.values()):
        raise ValueError(f"{path} holds no named tensors, as a `state_dict` is")
    tensors = cast(dict[str, Tensor], held)
    return {name.removeprefix(PARALLEL): tensor for name, tensor in tensors.items()}
