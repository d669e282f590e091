"""Models that are read whole from what their publishers wrote: their sizes are those of the files, no builder has them.

PIPELINES     name -> its task, and what reads it
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vidi.catalog.listed import UsageError
from vidi.engine.task import Task
from vidi.model import Saved
from vidi.tasks.text_to_image import TEXT_TO_IMAGE
from vidi.weights.stable_diffusion import read_stable_diffusion
from vidi.weights.stable_diffusion_file import read_stable_diffusion_file


def folder_or_file(path: Path) -> Saved:
    """Return Stable Diffusion from a folder in the layout of diffusers, or from a single file."""
    return read_stable_diffusion(path) if path.is_dir() else read_stable_diffusion_file(path)


@dataclass(frozen=True)
class Pipeline:
    """A model that is read whole.

    Attributes:
        task: what it is for.
        read: makes it of a folder or a file.
        expected: which, in words.
    """

    task: Task
    read: Callable[[Path], Saved]
    expected: str


PIPELINES = {
    "stable_diffusion": Pipeline(
        TEXT_TO_IMAGE, folder_or_file, "a folder in the layout of diffusers, or one file of safetensors"
    )
}


def read_whole(name: str, weights: str | Path | None) -> Saved:
    """Return the model of a name in `PIPELINES`.

    Raises:
        ValueError: if nobody says where its weights are, or these are not its.
        FileNotFoundError: if there is nothing, or a part is missing.
    """
    pipeline = PIPELINES[name]
    if weights is None:
        raise UsageError(f"{name} is read from its weights; say where with --weights (weights=): {pipeline.expected}")
    path = Path(weights)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such folder or file; expected {pipeline.expected}")
    return pipeline.read(path)
