"""How a training tells what it does; the command line draws it, tests and notebooks keep silent."""

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Receives what happens in a training."""

    def start(self, what: str, done: int, total: int) -> None:
        """A training of `total` steps begins at step `done`."""
        ...

    def advance(self, step: int, losses: Mapping[str, float], images_per_second: float) -> None:
        """Steps up to `step` are done; the losses are means since the last call."""
        ...

    def say(self, text: str) -> None:
        """Something worth a line: a validation, a file written."""
        ...

    def stop(self) -> None:
        """The training has ended, by itself or not."""
        ...


class Silent:
    """Ignores everything."""

    def start(self, what: str, done: int, total: int) -> None: ...

    def advance(self, step: int, losses: Mapping[str, float], images_per_second: float) -> None: ...

    def say(self, text: str) -> None: ...

    def stop(self) -> None: ...
