"""Trainings of a GAN on a few pictures of digits: what tests of resuming and of several processes need.

`torchrun --nproc-per-node=2 -m tests.generative.gan.trainings FOLDER` trains a small WGAN with a gradient penalty.
"""

import sys
from pathlib import Path
from typing import Any

import torch

from vidi import files
from vidi.catalog.table import CATALOG
from vidi.data.digits import Digits
from vidi.engine.fit import Training
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Run
from vidi.model import Trainable

RULES: dict[str, Any] = {"batch_size": 8, "device": "cpu", "ema": 0.9, "log_every": 3}


class Few(Digits):
    """The first forty digits."""

    def __len__(self) -> int:
        return 40


def training(name: str, folder: Path, arguments: dict[str, Any], **numbers: Any) -> Training:
    """Return a training of a GAN on forty digits, from the same random weights each time."""
    entry = CATALOG[name]
    recipe = Recipe(**{**vars(next(iter(entry.recipes.values()))), **RULES, **numbers})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = entry.builder(**arguments)
    if not isinstance(model, Trainable):
        raise TypeError(f"a {type(model).__name__} is not trained by gradients")
    return Training(model, recipe, Few(), Run(folder))


def assert_resumes(name: str, folder: Path, *, stop: int, steps: int, **arguments: Any) -> None:
    """Ask that a training that stops after some steps ends with the state of one that does not."""
    whole = training(name, folder / "whole", arguments, steps=steps)
    whole.fit()
    stopped = training(name, folder / "stopped", arguments, steps=steps)
    loader = iter(stopped._loader())
    while stopped.step < stop:
        stopped._one_step([next(loader)])
    stopped.save_state()
    resumed = training(name, folder / "stopped", arguments, steps=steps)
    assert resumed.step == stop
    resumed.fit()
    one, other = (files.read_state(folder / part / "state.pt") for part in ("whole", "stopped"))
    assert_same(one["model"], other["model"])
    assert_same(one["averages"], other["averages"])
    for turn in whole.optimizers:
        assert_same(one["optimizers"][turn]["state"], other["optimizers"][turn]["state"])


def assert_same(one: Any, other: Any) -> None:
    """Ask that nested dictionaries hold equal tensors."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def penalised(folder: Path, **numbers: Any) -> Training:
    """Return a training of three updates of a critic and one of its generator."""
    arguments = {"size": (8, 8), "latent": 4, "width": 4, "critic_turns": 3}
    return training("wgan_gp", folder, arguments, steps=3, **numbers)


if __name__ == "__main__":
    penalised(Path(sys.argv[1])).fit()
