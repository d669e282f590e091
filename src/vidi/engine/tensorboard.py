"""A training in TensorBoard: `vidi train NAME --log tensorboard`, then `tensorboard --logdir runs`.

Losses, rates and scores are scalars over the steps, mosaics and samples pictures. The files lie in the run folder. Of a
run that is resumed, what was written after the step that it goes on from is hidden.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from vidi import files
from vidi.engine.hooks import Epoch
from vidi.engine.runs import number_in, numbers_of

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

FOLDER = "tensorboard"


class TensorBoard:
    """An `on_epoch` that writes what TensorBoard reads, into the folder `tensorboard` of the run.

    Raises:
        ModuleNotFoundError: if TensorBoard is not installed.
    """

    def __init__(self) -> None:
        if find_spec("tensorboard") is None:
            raise ModuleNotFoundError("TensorBoard is not installed: pip install 'vidi[log]'")
        self.writers: dict[str, SummaryWriter] = {}  # by stage

    def __call__(self, epoch: Epoch) -> None:
        """Write a validation, and the losses since the last one."""
        writer = self._writer(epoch)
        for row in epoch.rows:
            step = int(number_in(row, "step"))
            for name, value in numbers_of(row).items():
                if isinstance(value, float | int):
                    writer.add_scalar(tag_of(name), value, step)
        for name, path in epoch.pictures.items():
            picture = np.ascontiguousarray(files.read_image(path).permute(1, 2, 0).numpy())  # H W 3
            writer.add_image(name, picture, epoch.step, dataformats="HWC")
        writer.flush()
        if epoch.is_last:
            self.close()

    def close(self) -> None:
        """Close the files; after the last validation of a training they are."""
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()

    def _writer(self, epoch: Epoch) -> "SummaryWriter":
        from torch.utils.tensorboard.writer import SummaryWriter

        if epoch.stage not in self.writers:
            folder = epoch.run.folder / epoch.stage / FOLDER
            first = min((int(number_in(row, "step")) for row in epoch.rows), default=epoch.step)
            self.writers[epoch.stage] = SummaryWriter(str(folder), purge_step=first if folder.exists() else None)
        return self.writers[epoch.stage]


def tag_of(name: str) -> str:
    """Return a column of metrics.csv as TensorBoard groups them: losses by `train/` and `val/`, the rest as scores."""
    return name if "/" in name or name == "learning_rate" else f"scores/{name}"
