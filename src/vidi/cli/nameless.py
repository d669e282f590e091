"""What commands do where a name is left away, and who looks on at a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vidi.catalog.listed import listed
from vidi.cli.failures import USAGE, fail
from vidi.cli.output import err
from vidi.engine.runs import Run
from vidi.formats import files_below, is_image_name


def logger_for(log: str | None) -> Any:
    """Return what is told of each validation, as `on_epoch` takes it; None for nobody."""
    if log is None:
        return None
    from vidi.engine.tensorboard import TensorBoard

    return TensorBoard()


def names_pictures(word: str) -> bool:
    """Tell whether the first word after `vidi predict` is no run or model, but a picture or a folder of pictures."""
    path = Path(word)
    if path.is_file():
        return is_image_name(path.name)
    is_other = Run(path).config_path.is_file() or any(system.name == word for system in listed())
    return not is_other and path.is_dir() and len(files_below(path)) > 0


class Named(NamedTuple):
    """A model, and what it is to look at."""

    name: str
    weights: str
    pictures: list[Path]


def installed_model(task: str | None, weights: str | None, words: Sequence[Path]) -> Named:
    """Return the best model of a task whose published weights are here, and say which it is."""
    from vidi.starting.installed import best_installed

    if weights is not None:
        fail(USAGE, f"--weights {weights}: they belong to a model; name it before the pictures")
    found = best_installed(task)
    err.print(f"{found}; the same: vidi predict {found.name} --weights {found.weights}", markup=False, highlight=False)
    return Named(found.name, found.weights, list(words))
