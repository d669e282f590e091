"""Recipes suit what they train: short trainings, from weights or from none, leave norms that know their data."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import tv_tensors

from tests.conftest import Learnt
from tests.contracts.models import FIRST, NAMES, build, marked, shape_of
from tests.detection.scenes import targets_of_every_kind
from tests.settings import SEED
from vidi import files
from vidi.catalog.table import CATALOG
from vidi.engine.fit import Training
from vidi.engine.limits import check_recipes
from vidi.engine.optimizers import warmup_steps
from vidi.engine.recipe import NORM_MOMENTUM, Recipe
from vidi.engine.runs import Run
from vidi.model import Step, Supervised
from vidi.ops.camera import straight_camera
from vidi.tasks.table import TASKS
from vidi.weights.creation import create

SIZE = (64, 64)
SLOW_NORMS = ("efficientnet_b5", "efficientdet_lite0", "efficientdet_d0")  # published with a momentum of 0.01
STEPS, BATCH = 30, 3
SHIFT = 0.5  # standard deviations


def recipes_of(name: str) -> list[Recipe]:
    """Return the recipes that a system may be trained by: from nothing, and from weights."""
    usual = list(CATALOG[name].recipes.values())
    return usual + [CATALOG[name].task.fine_tuned(recipe) for recipe in usual]


@pytest.mark.parametrize("name", marked(NAMES))
def test_no_recipe_leaves_norms_that_forget_slowly(name: str) -> None:
    with torch.device("meta"):
        momenta = {module.momentum or 0.0 for module in build(name).modules() if isinstance(module, _BatchNorm)}
    for recipe in recipes_of(name):
        assert recipe.norm_momentum == NORM_MOMENTUM or all(momentum >= NORM_MOMENTUM for momentum in momenta)


FITTED = ("body_parts",)
"""Tasks whose systems are fitted at once, so that nothing is tuned, and yet scored."""


def test_every_task_that_is_trained_by_gradients_and_scored_has_a_recipe_for_fine_tuning() -> None:
    for task in TASKS.values():
        assert (task.fine_tuning is None) == (task.scorer is None or task.name in FITTED)
        check_recipes({"": task.recipe, "fine": task.fine_tuned(task.recipe)}, task)


def test_fine_tuning_keeps_how_much_of_the_world_a_system_sees() -> None:
    usual = Recipe(world_scenes=7, world_size=(32, 48))
    found = TASKS["classification"].fine_tuned(usual)
    assert (found.world_scenes, found.world_size) == (7, (32, 48))
    assert replace(found, world_scenes=2000, world_size=(128, 128)) == TASKS["classification"].fine_tuning
    assert TASKS["generation"].fine_tuned(usual) == usual


@pytest.mark.parametrize("name", NAMES)
def test_a_warm_up_is_a_small_share_of_a_short_training(name: str) -> None:
    for recipe in recipes_of(name):
        assert warmup_steps(recipe, 100) <= 15
        assert warmup_steps(recipe, 4) <= 1


# ----------------------------------------------------------------------------------------------------------------------
# A short fine-tuning of each family

FAMILIES = [name for name in NAMES if (name in FIRST and issubclass(shape_of(name), Supervised)) or name in SLOW_NORMS]
PLAIN = ("resnet18", "retinanet_tiny", "centernet_pose_tiny", "centernet_3d_tiny", "efficientdet_lite0")


def after_the_plain(names: Sequence[str]) -> list[Any]:
    """Leave all but one system of each task, and one whose norms are slow, to the extended suite: it is minutes."""
    return [name if name in PLAIN else pytest.param(name, marks=pytest.mark.extended) for name in names]


class Pictures(torch.utils.data.Dataset[Any]):
    """Bright squares on grey or on noise, with targets of every kind."""

    categories = ("a", "b", "c")

    def __init__(self, *, noise: bool, count: int = 12):
        self.targets, self.noise = targets_of_every_kind([SIZE] * count), noise

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        generator = torch.Generator().manual_seed(index)
        grey = torch.full((3, *SIZE), 120, dtype=torch.uint8)
        image = torch.randint(0, 150, (3, *SIZE), generator=generator, dtype=torch.uint8) if self.noise else grey
        image[:, 8:40, 8 + index : 40 + index] += 90
        said = {"image_id": torch.tensor(index), "caption": f"a bright square at {8 + index}"}
        return tv_tensors.Image(image), {**self.targets[index], **views_of(image), **said}


def views_of(image: Tensor) -> dict[str, Any]:
    """Return what the cameras beside one see of a plane 5 m away, whose disparity is 2 pixels, and the plane."""
    places = torch.full(image.shape[1:], True)
    aside = [image.roll(shift, 2) for shift in (-2, 2)]
    disparity, depth = (tv_tensors.Mask(torch.full(image.shape[1:], value)) for value in (2.0, 5.0))
    return {
        "right": tv_tensors.Image(aside[0]),
        "neighbours": tv_tensors.Image(torch.stack(aside)),
        "intrinsics": straight_camera(40.0, (image.shape[1], image.shape[2])),
        "baseline": torch.tensor(0.25),
        "disparity": disparity,
        "disparity_valid": tv_tensors.Mask(places),
        "depth": depth,
        "depth_valid": tv_tensors.Mask(places),
    }


def trained(model: Supervised, recipe: Recipe, dataset: Any, folder: Path, *, steps: int) -> Supervised:
    """Train for a few steps in small batches, and return the model with the weights that are kept."""
    numbers = {"steps": steps, "batch_size": BATCH, "device": "cpu", "augment": "none", "mix": "none", "seed": SEED}
    numbers["per_identity"] = None
    Training(model, replace(recipe, **numbers), dataset, Run(folder)).fit()
    model.load_state_dict(files.read_tensors(Run(folder).weights_path()))
    return model


def largest_shift(model: Supervised, dataset: Any) -> float:
    """Return how far the kept mean of a norm's inputs is from the data's, in their deviations, where it is farthest."""
    seen = copy.deepcopy(model).train()
    norms = {name: module for name, module in seen.named_modules() if isinstance(module, _BatchNorm)}
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None  # of all batches alike
    with torch.no_grad():
        for start in range(0, len(dataset), BATCH):
            placed = [seen.preprocess.place(*dataset[start + row]) for row in range(BATCH)]
            seen.losses("network", seen.preprocess.collate(placed), Step())
    shifts = [torch.zeros(())]
    for name, norm in norms.items():
        if norm.num_batches_tracked:  # not one that training leaves out
            mean, variance = seen.get_buffer(f"{name}.running_mean"), seen.get_buffer(f"{name}.running_var")
            shift = (model.get_buffer(f"{name}.running_mean") - mean) / (variance + 1e-3).sqrt()
            shifts.append(shift.square().mean().sqrt())
    return torch.stack(shifts).max().item()


def fine_tuned(name: str, folder: Path, **numbers: Any) -> float:
    """Train on grey pictures, go on from there on noise, and return how far the norms are from the noise."""
    task, usual = CATALOG[name].task.name, next(iter(CATALOG[name].recipes.values()))
    donor = trained(build(name), usual, Pictures(noise=False), folder / "first", steps=4)
    donor.save(folder / "saved")
    model = create(name, weights=str(folder / "saved"))
    noise = Pictures(noise=True)
    recipe = replace(TASKS[task].fine_tuned(usual), **numbers)
    return largest_shift(trained(model, recipe, noise, folder / "second", steps=STEPS), noise)


@pytest.mark.parametrize("name", after_the_plain([n for n in FAMILIES if CATALOG[n].task.name != "translation"]))
def test_a_short_fine_tuning_leaves_norms_that_know_the_new_pictures(name: str, tmp_path: Path, learnt: Learnt) -> None:
    learnt("shift", fine_tuned(name, tmp_path), most=SHIFT)


@pytest.mark.parametrize("name", after_the_plain(["efficientdet_lite0", "efficientdet_d0"]))
def test_their_own_momentum_would_leave_norms_of_the_old_ones(name: str, tmp_path: Path, learnt: Learnt) -> None:
    learnt("shift", fine_tuned(name, tmp_path, norm_momentum=None), least=SHIFT)
