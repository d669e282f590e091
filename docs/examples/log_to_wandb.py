"""Log a training to Weights & Biases, and stop it when its score has not risen for three validations.

pip install wandb
python docs/examples/log_to_wandb.py
"""

import wandb

import vidi

NUMBERS = {"epochs": 5, "world_scenes": 400}
PATIENCE = 3  # validations


class Wandb:
    """An `on_epoch` that hands each validation on to Weights & Biases."""

    def __init__(self, project: str, patience: int = PATIENCE):
        self.project, self.patience = project, patience
        self.log = None
        self.waited = 0

    def __call__(self, epoch: vidi.Epoch) -> None:
        if self.log is None:
            name, config = epoch.run.folder.name, epoch.run.config()
            self.log = wandb.init(project=self.project, name=name, config=config)
        for row in epoch.rows:
            numbers = {name: value for name, value in row.items() if isinstance(value, float | int) and name != "step"}
            self.log.log(numbers, step=row["step"])
        self.log.log({name: wandb.Image(str(path)) for name, path in epoch.pictures.items()}, step=epoch.step)
        self.waited = 0 if epoch.is_best else self.waited + 1
        if epoch.is_last or self.waited == self.patience:
            self.log.finish()
        if self.waited == self.patience and not epoch.is_last:
            raise vidi.StopTraining(f"{epoch.headline} has not risen for {self.patience} validations")


if __name__ == "__main__":
    try:
        vidi.train("retinanet_tiny", on_epoch=Wandb("vidi"), **NUMBERS)
    except vidi.StopTraining as stopped:
        print(stopped)
