"""Run folders: everything that a training made, and all that later commands need. Imports no torch.

config.json          model, arguments, preprocessing, recipe, data, task
weights.safetensors  the best weights by the validation metric (the averaged ones where the recipe averages)
last.safetensors     the weights at the last validation
state.pt             what an exact resume needs; an ended training has it only with keep_state=true
metrics.csv          one row a log point, one a validation
scores.json          the scores of the best weights, and what they are of
report.md, *.png     what people of the task look at

A folder that `model.save` wrote has the first two, without recipe, data and task.

A score that there is none of, such as the AP of large objects where no object is large, is None here: nothing in csv,
null in json, a dash in text. Older runs have COCO's -1 for it, which is read as None.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from vidi import files

Row = dict[str, Any]
"""Numbers and words by name; None for a score that there is none of."""

SCORED = ("split", "images", "weights", "data")
"""What a row of scores says before its numbers: on which part of what data which weights were scored."""

EXPORTED = ".onnx"
"""How the name of an exported file ends, which `vidi.load` takes in the place of a run folder."""

WEIGHTS = {"best": "weights.safetensors", "last": "last.safetensors"}


class NotARunError(FileNotFoundError):
    """A path given as a run folder is none."""

    is_usage = True


def is_main_process() -> bool:
    """Tell whether this process is the one that writes: the first under torchrun, or the only one."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class Run:
    """A run folder."""

    folder: Path

    @property
    def config_path(self) -> Path:
        return self.folder / "config.json"

    @property
    def state_path(self) -> Path:
        return self.folder / "state.pt"

    @property
    def metrics_path(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def scores_path(self) -> Path:
        return self.folder / "scores.json"

    def weights_path(self, which: str = "best") -> Path:
        """Return the file of the best or the last weights.

        Raises:
            ValueError: for any other word.
        """
        if which not in WEIGHTS:
            raise ValueError(f"received weights={which!r}, expected one of {', '.join(WEIGHTS)}")
        return self.folder / WEIGHTS[which]

    def config(self) -> dict[str, Any]:
        """Read the run's configuration.

        Raises:
            NotARunError: if the folder does not exist or is not a run.
            ValueError: if config.json is damaged, or somebody else's.
        """
        if not self.config_path.is_file():
            found = "does not exist" if not self.folder.exists() else "has no config.json"
            raise NotARunError(f"{self.folder} {found}; expected a run folder, as `vidi train` makes")
        config = files.read_json(self.config_path)
        if not isinstance(config, dict) or not {"model", "arguments", "preprocess"} <= config.keys():
            raise ValueError(f"{self.config_path} does not describe a model; expected a run folder's or `model.save`'s")
        return config

    def metrics(self) -> list[Row]:
        """Read metrics.csv; an empty list if nothing was logged yet."""
        if not self.metrics_path.is_file():
            return []
        rows = files.read_csv(self.metrics_path)
        plain = ({name: _number(value) for name, value in row.items() if name and value} for row in rows)
        return [{name: value for name, value in with_gaps(row).items() if value is not None} for row in plain]

    def write_metrics(self, rows: Sequence[Row]) -> None:
        """Rewrite metrics.csv from all rows so far, so that a resumed run leaves no row of a lost step behind."""
        files.write_csv(self.metrics_path, rows)

    def scores(self) -> Row:
        """Read scores.json; empty before the training has ended."""
        return with_gaps(files.read_json(self.scores_path)) if self.scores_path.is_file() else {}

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the run's configuration, making the folder."""
        files.write_json(self.config_path, config)

    def is_taken(self) -> bool:
        """Tell whether a training left something here that another one would overwrite, or take for its own state."""
        return self.has_state() or any(path.exists() for path in (self.config_path, *map(self.weights_path, WEIGHTS)))

    def has_state(self) -> bool:
        """Tell whether there is a state to resume from, of the training or of one of its stages."""
        return self.state_path.exists() or any(self.folder.glob("*/state.pt"))

    def has_ended(self) -> bool:
        """Tell whether the training came to its end."""
        return self.scores_path.is_file()

    def forget_states(self) -> None:
        """Remove what only a resume needs."""
        for path in (self.state_path, *self.folder.glob("*/state.pt")):
            path.unlink(missing_ok=True)

    def forget_scores(self) -> None:
        """Remove the scores that a training ended with which now goes on."""
        self.scores_path.unlink(missing_ok=True)

    def discard_if_empty(self) -> None:
        """Remove a configuration that no training has followed, so that the folder is free for the next attempt."""
        if any(path.suffix in (".pt", ".safetensors") for path in self.folder.rglob("*")):
            return
        self.config_path.unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def describe_scores(row: Mapping[str, Any]) -> str:
    """Say what the numbers of a row are of: `best weights on val of /photos, 24 images`."""
    parts = {"weights": "{} weights", "split": "on {}", "data": "of {}"}
    words = " ".join(text.format(row[name]) for name, text in parts.items() if name in row)
    return ", ".join(filter(None, [words, f"{row['images']} images" if "images" in row else ""]))


def numbers_of(row: Mapping[str, Any]) -> Row:
    """Return the scores of a row without what they are of."""
    return {name: value for name, value in row.items() if name not in (*SCORED, "step", "epoch", "stage")}


def number_in(row: Mapping[str, Any], name: str) -> float | int:
    """Return a number that a row has.

    Raises:
        TypeError: if it has none of that name.
    """
    value = row.get(name)
    if not isinstance(value, float | int):
        raise TypeError(f"received {value!r} as {name}, expected a number")
    return value


def with_gaps(row: Mapping[str, Any]) -> Row:
    """Return a row in which a score that there is none of is None: -1, as COCO has it, and NaN.

    Losses, learning rates and steps stay what they are.
    """
    return {name: None if _is_gap(name, value) else value for name, value in row.items()}


def _is_gap(name: str, value: Any) -> bool:
    if "/" in name or name in ("learning_rate", "step", "epoch") or not isinstance(value, float | int):
        return False
    return value == -1 or math.isnan(value)


def shown(value: float | int | str | None, digits: str = ".4f") -> str:
    """Return a score as text for people; where there is none a dash."""
    if value is None:
        return "-"
    return f"{value:{digits}}" if isinstance(value, float) else str(value)


def find_runs(root: Path) -> list[Run]:
    """Return the runs in a folder, in the order of their paths; stages inside a run are not listed.

    Raises:
        NotARunError: if the folder does not exist.
    """
    if not root.is_dir():
        raise NotARunError(f"{root} is not a folder; expected one that holds runs, as `vidi train` makes")
    found = sorted({path.parent for pattern in ("config.json", "*/config.json") for path in root.glob(pattern)})
    return [Run(folder) for folder in found]


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def recorded_part(what: str, kind: Any, value: Any) -> Any:
    """Turn a part of a configuration into the dataclass that it was.

    Raises:
        ValueError: naming what this version of vidi does not know.
    """
    try:
        return pydantic.TypeAdapter(kind).validate_python(value)
    except pydantic.ValidationError as error:
        lines = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise ValueError(f"the configuration's {what} is not one of this version: {'; '.join(lines)}") from None
