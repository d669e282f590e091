"""Log a training to trackio: losses, scores and the mosaic of each validation.

pip install trackio
python docs/examples/log_to_trackio.py && trackio show
"""

import trackio

import vidi

NUMBERS = {"epochs": 5, "world_scenes": 400}


class Trackio:
    """An `on_epoch` that hands each validation on to trackio."""

    def __init__(self, project: str):
        self.project = project
        self.begun = False

    def __call__(self, epoch: vidi.Epoch) -> None:
        if not self.begun:
            trackio.init(project=self.project, name=epoch.run.folder.name, config=epoch.run.config())
            self.begun = True
        for row in epoch.rows:
            numbers = {name: value for name, value in row.items() if isinstance(value, float | int) and name != "step"}
            trackio.log(numbers, step=row["step"])
        for name, path in epoch.pictures.items():
            trackio.log({name: trackio.Image(str(path))}, step=epoch.step)
        if epoch.is_last:
            trackio.finish()


if __name__ == "__main__":
    vidi.train("retinanet_tiny", on_epoch=Trackio("vidi"), **NUMBERS)
