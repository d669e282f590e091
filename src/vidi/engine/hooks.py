"""`on_epoch`: what somebody who looks on is told of a training at each validation, for loggers, searches and alarms."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidi.engine.progress import Progress
from vidi.engine.runs import Row, Run

PICTURES = ("mosaic.png", "samples.png")


class StopTraining(Exception):  # noqa: N818 - a wish, not an error
    """What a hook raises to end a training; it comes out of `vidi.train`, and the run can be resumed."""


@dataclass(frozen=True)
class Epoch:
    """A validation of a training, and what came before it since the last one.

    Attributes:
        run: the folder of the training; `run.config()` is its configuration.
        stage: the stage of a staged system, else empty.
        step: updates done, of the stage.
        epoch: passes over the data, of the stage.
        rows: of metrics.csv since the validation before: losses and rates by step, and this validation's scores.
        scores: this validation's, by name; None for one that there is none of.
        headline: the name of the score by which weights are best, None where there is none.
        falling: whether it is best where it is smallest.
        is_best: whether these weights are the best so far.
        is_last: whether the training has ended; the run folder is complete then.
    """

    run: Run
    stage: str
    step: int
    epoch: float
    rows: tuple[Row, ...]
    scores: Mapping[str, float | int | str | None]
    headline: str | None
    falling: bool
    is_best: bool
    is_last: bool

    @property
    def value(self) -> float | None:
        """The score of the headline; None where there is none."""
        found = self.scores.get(self.headline or "")
        return float(found) if isinstance(found, float | int) else None

    @property
    def pictures(self) -> dict[str, Path]:
        """The pictures that people of the task look at, by name, as far as they were written."""
        paths = {Path(name).stem: self.run.folder / self.stage / name for name in PICTURES}
        return {name: path for name, path in paths.items() if path.is_file()}


OnEpoch = Callable[[Epoch], object]


def since_last_validation(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows of metrics.csv from the one after the last validation but one on; losses have a learning rate."""
    validated = [place for place, row in enumerate(rows) if "learning_rate" not in row]
    return tuple(rows[validated[-2] + 1 :] if len(validated) > 1 else rows)


class Hook:
    """Calls an `on_epoch`; what it fails by is said once, and the training goes on.

    The last validation of a stage is held back until it is known whether the training ends with it.
    """

    def __init__(self, on_epoch: OnEpoch | None, progress: Progress):
        self.on_epoch, self.progress = on_epoch, progress
        self.held: Epoch | None = None
        self.has_failed = False

    def tell(self, epoch: Epoch, *, ends_stage: bool = False) -> None:
        """Tell the hook of a validation.

        Raises:
            StopTraining: if the hook does.
        """
        self._call(self.held)
        self.held = epoch if ends_stage else None
        if not ends_stage:
            self._call(epoch)

    def end(self) -> None:
        """Tell the hook of the validation that the training ended with."""
        self._call(None if self.held is None else replace(self.held, is_last=True))

    def _call(self, epoch: Epoch | None) -> None:
        if self.on_epoch is None or epoch is None:
            return
        try:
            self.on_epoch(epoch)
        except StopTraining:
            raise
        except Exception as error:
            if not self.has_failed:
                self.has_failed = True
                told = f"{type(error).__name__}: {error}"
                self.progress.say(f"warning: on_epoch failed, and the training goes on: {told}")
