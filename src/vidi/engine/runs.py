"""Run folders: everything that a training made, and all that later commands need. Imports no torch.

config.json          model, arguments, preprocessing, recipe, data, task
weights.safetensors  the best weights by the validation metric (the averaged ones where the recipe averages)
last.safetensors     the weights at the last validation
state.pt             what an exact resume needs
metrics.csv          one row a log point, one a validation
scores.json          the scores of the best weights on the validation split
report.md, *.png     what people of the task look at
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidi import files

Row = dict[str, float | int | str]


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
        """Return the file of the best or the last weights."""
        return self.folder / {"best": "weights.safetensors", "last": "last.safetensors"}[which]

    def config(self) -> dict[str, Any]:
        """Read the run's configuration.

        Raises:
            FileNotFoundError: if the folder does not exist or is not a run.
        """
        if not self.config_path.is_file():
            found = "does not exist" if not self.folder.exists() else "has no config.json"
            raise FileNotFoundError(f"{self.folder} {found}; expected a run folder, as `vidi train` makes")
        return files.read_json(self.config_path)

    def metrics(self) -> list[Row]:
        """Read metrics.csv; an empty list if nothing was logged yet."""
        if not self.metrics_path.is_file():
            return []
        rows = files.read_csv(self.metrics_path)
        return [{name: _number(value) for name, value in row.items() if value != ""} for row in rows]

    def write_metrics(self, rows: Sequence[Row]) -> None:
        """Rewrite metrics.csv from all rows so far, so that a resumed run leaves no row of a lost step behind."""
        files.write_csv(self.metrics_path, rows)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the run's configuration, making the folder."""
        files.write_json(self.config_path, config)


def find_runs(root: Path) -> list[Run]:
    """Return the runs below a folder, in the order of their paths; stages inside a run are not listed.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; expected one that holds runs")
    found = sorted({path.parent for pattern in ("config.json", "*/config.json") for path in root.glob(pattern)})
    return [Run(folder) for folder in found]


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
