"""What every system of the catalogue promises, whatever it is: written once, run on each entry's tiny variant."""

import functools
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.closeness import FLOAT32, assert_close
from tests.contracts.models import NAMES, build, built, copied, doubled, marked, shape_of, without_draws
from tests.settings import SEED
from vidi.api import load
from vidi.catalog.table import CATALOG
from vidi.engine.recipe import Recipe
from vidi.engine.task import Task
from vidi.model import Adversarial, Fitted, OneLoss, Staged, Step, Supervised
from vidi.preprocess import Preprocess
from vidi.results.classification import Classification
from vidi.results.detections import Detections
from vidi.tasks.table import TASKS

SIZES = ((40, 48), (33, 57), (64, 40))  # H, W: even, odd, upright
Samples = Sequence[tuple[Any, dict[str, Any]]]


def explained(builder: Callable[..., Any]) -> list[str]:
    """Return the arguments that a docstring explains, in its order."""
    _, _, arguments = (inspect.getdoc(builder) or "").partition("\nArgs:\n")
    arguments, _, _ = arguments.partition("\n\n")
    return [
        name for line in re.findall(r"^    (\w+(?:, \w+)*): ", arguments, re.MULTILINE) for name in line.split(", ")
    ]


def names_of(*shapes: type) -> list[Any]:
    return marked([name for name in NAMES if shape_of(name) in shapes])


def in_double(name: str) -> Any:
    """Build a system that computes in float64: before a training most scores differ by less than float32's rounding."""
    model = copied(name).double()
    if isinstance(model.preprocess, Preprocess):
        model.preprocess = doubled(model.preprocess)
    return model


PREDICTING = marked([name for name in NAMES if shape_of(name) in (Supervised, Staged) and CATALOG[name].task.result])


@functools.cache
def opened(task: Task, size: tuple[int, int], count: int) -> Any:
    """Return what a task has built in, at a size (H, W) of its own."""
    source, *_ = task.built_in.values()
    return source.opens("train", count, replace(task.recipe, world_size=size), task.keys)


def samples(name: str, sizes: Sequence[tuple[int, int]] = SIZES) -> Samples:
    """Return a sample of each size, with the targets that the tiny variant can learn: three classes, three joints."""
    found = [opened(CATALOG[name].task, size, len(sizes))[row] for row, size in enumerate(sizes)]
    return [(image, {key: fitting(key, value) for key, value in target.items()}) for image, target in found]


def fitting(key: str, value: Any) -> Any:
    if key in ("label", "labels", "semantic"):
        return value % 3
    return value[:, :3] if key in ("keypoints", "visibility") else value


def parts(found: Samples) -> tuple[list[Any], list[Any]]:
    """Return the inputs of some samples, and their targets."""
    inputs, targets = zip(*found, strict=True)
    return list(inputs), list(targets)


def shown(name: str, found: Samples) -> list[Any]:
    """Return what `predict` takes of some samples: inputs, or pairs of pictures."""
    images, targets = parts(found)
    if CATALOG[name].task.asks != "pairs":
        return images
    return [(image, target["right"]) for image, target in zip(images, targets, strict=True)]


def tensors_of(value: Any) -> list[Tensor]:
    """Return the tensors of a result; 0 and 1 for what is false and true."""
    found = [v for v in vars(value).values() if isinstance(v, Tensor)]
    return [v.byte() if v.dtype == torch.bool else v for v in found]


# ----------------------------------------------------------------------------------------------------------------------
# Every entry


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_is_complete(name: str) -> None:
    entry = CATALOG[name]
    assert entry.name == name
    assert getattr(sys.modules[entry.builder.__module__], name) is entry.builder
    assert entry.task is TASKS[entry.task.name]
    assert entry.section
    assert entry.paper
    parameters = inspect.signature(entry.builder).parameters
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters.values())
    assert explained(entry.builder) == [*parameters]


@pytest.mark.parametrize("name", NAMES)
def test_no_key_is_both_of_the_recipe_and_of_the_builder(name: str) -> None:
    of_recipe = {f"{stage}.{f.name}" if stage else f.name for stage in CATALOG[name].recipes for f in fields(Recipe)}
    assert not of_recipe & set(CATALOG[name].arguments)


@pytest.mark.parametrize("name", names_of(Staged))
def test_stages_have_recipes(name: str) -> None:
    assert [stage.name for stage in built(name).stages()] == list(CATALOG[name].recipes)


@pytest.mark.parametrize("name", marked(NAMES))
def test_equal_seeds_build_equal_models(name: str) -> None:
    one, two = built(name).state_dict(), build(name).state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", marked(NAMES))
def test_a_saved_model_loads_and_gives_the_same(name: str, tmp_path: Path) -> None:
    model: Any = built(name)
    if isinstance(model, Fitted):
        model = copied(name)
        model.fit(samples(name, [(64, 64)] * 9))
    model.save(tmp_path)
    loaded = load(tmp_path)
    assert loaded.preprocess == model.preprocess
    saved, read = model.state_dict(), loaded.state_dict()
    assert saved.keys() == read.keys()
    assert all(torch.equal(saved[key], read[key]) for key in saved)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


# ----------------------------------------------------------------------------------------------------------------------
# Supervised systems


@pytest.mark.parametrize("name", names_of(Supervised))
def test_outputs_are_named_tensors_of_equal_type_in_every_mode(name: str) -> None:
    model = copied(name)
    placed = [model.preprocess.place(*sample) for sample in samples(name, [(64, 64)] * 2)]
    shared = torch.stack([placed[0][0]] * 2) if CATALOG[name].task.asks == "sentences" else torch.randn(2, 3, 64, 64)
    inputs = (shared, shared) if CATALOG[name].task.asks == "pairs" else (shared,)
    trained, evaluated = model.train()(*inputs), model.eval()(*inputs)
    assert type(trained) is type(evaluated)
    for outputs in (trained, evaluated):
        assert all(isinstance(value, Tensor) for value in outputs)
        assert all(value.dtype == torch.float32 for value in outputs if value.is_floating_point())
    assert [v.shape for v in trained] == [v.shape for v in evaluated]


@pytest.mark.parametrize("name", names_of(Supervised))
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    model = copied(name).train()
    losses = model.loss(*parts(samples(name, [(64, 64)] * 3)))
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", names_of(Supervised))
def test_the_loss_falls_on_one_batch(name: str) -> None:
    """A step against the gradient takes a quarter of what the slope promises, if it is short enough."""
    model = copied(name).train()
    if name.startswith(
        ("fasterrcnn", "maskrcnn", "keypointrcnn", "panoptic_fpn")
    ):  # whose proposals follow from the weights: after a step, others would be drawn
        model.criterion = without_draws(model.criterion)
    images, targets = parts(samples(name, [(64, 64)] * 8))  # batch norms over fewer images are steeper still

    def total() -> Tensor:
        torch.default_generator.manual_seed(SEED)  # the same units are dropped, the same proposals drawn
        return torch.stack(list(model.loss(images, targets).values())).sum()

    before = total()
    before.backward()
    gradients = [(p, p.grad) for p in model.parameters() if p.grad is not None]
    slope = sum(float(gradient.square().sum()) for _, gradient in gradients)
    shares = (0.1, 0.03, 0.01, 0.003, 0.001)  # of the loss, which a straight line would lose
    lost, gone = [], 0.0
    with torch.no_grad():
        for share in shares:
            length = share * float(before) / slope
            for parameter, gradient in gradients:
                parameter -= (length - gone) * gradient
            gone = length
            lost.append(1 - float(total() / before))
    assert any(loss > share / 4 for loss, share in zip(lost, shares, strict=True)), lost


@pytest.mark.parametrize("name", PREDICTING)
def test_results_are_typed_and_do_not_depend_on_their_neighbours(name: str) -> None:
    model = in_double(name)
    found = samples(name)
    together = model.predict(shown(name, found))
    alone = [model.predict([image])[0] for image in shown(name, found)]
    assert len(together) == len(found)
    for result, single, (image, _) in zip(together, alone, found, strict=True):
        assert type(result) is CATALOG[name].task.result
        for a, b in zip(tensors_of(result), tensors_of(single), strict=True):
            assert_close(a, b, FLOAT32)
        assert result.to_dict()
        assert "\n" not in str(result)
        check_ranges(result, image)


def check_ranges(result: Any, image: Tensor) -> None:
    if isinstance(result, Classification):
        assert result.probabilities.sum().item() == pytest.approx(1, abs=1e-4)
    if isinstance(result, Detections):
        H, W = image.shape[1:]
        assert (result.boxes >= 0).all()
        assert (result.boxes <= torch.tensor([W, H, W, H])).all()
        assert ((result.scores >= 0) & (result.scores <= 1)).all()
        assert (result.labels < len(result.categories)).all()


@pytest.mark.parametrize("name", names_of(Supervised))
def test_two_predictions_are_equal_and_leave_the_model_as_it_was(name: str) -> None:
    model = copied(name).train()
    found = samples(name, SIZES[:1])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images, picture = shown(name, found), found[0][0].clone()
    one, two = model.predict(images)[0], model.predict(images)[0]
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(one), tensors_of(two), strict=True))
    assert all(module.training for module in model.modules())
    assert torch.equal(found[0][0], picture)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


# ----------------------------------------------------------------------------------------------------------------------
# The other shapes


@pytest.mark.parametrize("name", names_of(OneLoss))
def test_one_loss_is_finite_and_reaches_every_parameter(name: str) -> None:
    """Of systems that are trained by one loss and predict nothing; last maps that begin at zero hide the others."""
    model = copied(name).train()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    batch = model.preprocess.collate([model.preprocess.place(*sample) for sample in samples(name, [(32, 32)] * 4)])
    losses = model.losses("network", batch, Step(generator=seeded()))
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", names_of(OneLoss))
def test_one_loss_systems_make_equal_pictures_of_equal_seeds(name: str) -> None:
    model = built(name)
    one, two = model.sample(3, generator=seeded()), model.sample(3, generator=seeded())
    assert torch.equal(one, two)
    assert ((one >= 0) & (one <= 1)).all()
    assert one.shape[:2] == (3, 3)


@pytest.mark.parametrize("name", marked([n for n in NAMES if CATALOG[n].task.asks == "nothing"]))
def test_an_image_is_made_again_by_its_own_seed_under_the_conditions_that_are_told(name: str) -> None:
    model = built(name)
    three = model.sample(3, generator=torch.Generator().manual_seed(5))
    alone = model.sample(1, generator=torch.Generator().manual_seed(7), **model.conditions(2))
    assert_close(alone, three[2:], FLOAT32)
    told = model.conditions()
    assert told.keys() == inspect.signature(model.sample).parameters.keys() - {"count", "generator"}
    assert model.conditions(**told) == told


@pytest.mark.parametrize("name", names_of(Adversarial))
def test_every_turn_has_finite_losses_and_gradients_of_its_own(name: str) -> None:
    model = copied(name)
    batch = model.preprocess.collate([model.preprocess.place(*sample) for sample in samples(name, [(32, 32)] * 4)])
    for turn in dict.fromkeys(model.turns):
        model.zero_grad()
        for index in range(9):  # one that grows trains some parts early and others late
            losses = model.losses(turn, batch, Step(index, 9, generator=seeded()))
            torch.stack(list(losses.values())).sum().backward()
        gradients = [p.grad for p in model.parameters_of(turn)]
        assert all(g is not None and g.isfinite().all() for g in gradients)


@pytest.mark.parametrize(
    "name", marked([n for n in NAMES if CATALOG[n].task.asks == "nothing" and shape_of(n) is Adversarial])
)
def test_samples_are_images_and_functions_of_the_generator(name: str) -> None:
    model = built(name)
    one, two = (model.sample(5, generator=seeded()) for _ in range(2))
    assert one.shape[:2] == (5, 3)
    assert torch.equal(one, two)
    assert 0 <= one.min() <= one.max() <= 1


@pytest.mark.parametrize("name", names_of(Staged))
def test_stages_share_the_parts_and_cover_them(name: str) -> None:
    model = built(name)
    own = {id(p) for p in model.parameters()}
    staged = {id(p) for stage in model.stages() for p in stage.model.parameters()}
    assert own == staged


@pytest.mark.parametrize("name", names_of(Fitted))
def test_fitting_twice_gives_the_same(name: str) -> None:
    one, two = copied(name), copied(name)
    for model in (one, two):
        model.fit(samples(name, [(64, 64)] * 9), generator=seeded())
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), two.buffers(), strict=True))
    assert type(one.predict(samples(name)[0][0])[0]) is CATALOG[name].task.result
