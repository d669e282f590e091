"""What every system of the catalogue promises, whatever it is: written once, run on each entry's tiny variant."""

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from tests.closeness import FLOAT32, assert_close
from tests.settings import SEED
from vidi.api import load
from vidi.catalog.table import CATALOG
from vidi.data.sentences import VidianSentences
from vidi.engine.recipe import Recipe
from vidi.model import Adversarial, Fitted, Saved, Staged, Step, Supervised
from vidi.preprocess import Batch, Preprocess
from vidi.results.classification import Classification
from vidi.results.detections import Detections
from vidi.tasks.table import TASKS


def families() -> dict[str, list[str]]:
    """Return the names by the file that defines them."""
    files: dict[str, list[str]] = {}
    for name, entry in CATALOG.items():
        files.setdefault(entry.builder.__module__, []).append(name)
    return files


FIRST = {names[0] for names in families().values()}
NAMES = list(CATALOG)
SIZES = [(40, 48), (33, 57), (64, 40)]  # H, W: even, odd, upright
JOINTS = torch.tensor([[9.0, 9], [6, 20], [20, 21]])  # x, y


def explained(builder: Callable[..., Any]) -> list[str]:
    """Return the arguments that a docstring explains, in its order."""
    _, _, arguments = (inspect.getdoc(builder) or "").partition("\nArgs:\n")
    return [
        name for line in re.findall(r"^    (\w+(?:, \w+)*): ", arguments, re.MULTILINE) for name in line.split(", ")
    ]


def shape_of(name: str) -> type:
    """Return the shape of a system without building it."""
    annotation = inspect.signature(CATALOG[name].builder).return_annotation
    return next(kind for kind in (Supervised, Adversarial, Staged, Fitted) if issubclass(annotation, kind))


def marked(names: list[str]) -> list[Any]:
    """Leave all but the first of each family to the extended suite."""
    return [name if name in FIRST else pytest.param(name, marks=pytest.mark.extended) for name in names]


def names_of(*shapes: type) -> list[Any]:
    return marked([name for name in NAMES if shape_of(name) in shapes])


def build(name: str, seed: int = 0) -> Any:
    torch.default_generator.manual_seed(seed)
    return CATALOG[name].builder(**CATALOG[name].tiny)


class DoublePreprocess(Preprocess):
    """The same pictures in float64."""

    def collate(self, placed: Any) -> Batch:
        batch = super().collate(placed)
        return replace(batch, images=batch.images.double())


def in_double(name: str) -> Any:
    """Build a system that computes in float64: before a training most scores differ by less than float32's rounding."""
    model = build(name).double()
    if isinstance(model.preprocess, Preprocess):
        model.preprocess = DoublePreprocess(**vars(model.preprocess))
    return model


def pictures(sizes: Sequence[tuple[int, int]] = SIZES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]


def inputs(task: str, sizes: Sequence[tuple[int, int]] = SIZES) -> list[Tensor]:
    """Return what the models of a task look at: pictures, or sentences of unequal lengths."""
    if task != "translation":
        return pictures(sizes)
    return [VidianSentences("train", count=len(sizes), seed=1)[row][0] for row in range(len(sizes))]


def truths(task: str, sizes: Sequence[tuple[int, int]] = SIZES, *, empty: bool = False) -> list[dict[str, Tensor]]:
    """Targets of every kind that the task needs; detection has no object, one, and two of which one is a crowd."""
    if task == "classification":
        return [{"label": torch.tensor(row % 3)} for row in range(len(sizes))]
    if task == "translation":
        return [VidianSentences("train", count=len(sizes), seed=1)[row][1] for row in range(len(sizes))]
    if task not in ("detection", "pose", "detection_3d", "anchors", "windows"):
        return [{} for _ in sizes]
    targets = []
    for row, size in enumerate(sizes):
        count = 0 if empty else row % 3
        boxes = torch.tensor([[4.0, 4.0, 30.0 - row, 28.0 + row], [0.0, 10.0, 12.0, 33.0]])[:count]
        targets.append(
            {
                "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),  # type: ignore[call-overload]
                "labels": torch.tensor([1, 2])[:count],
                "crowd": torch.tensor([False, True])[:count],
                "keypoints": tv_tensors.KeyPoints(JOINTS.repeat(count, 1, 1), canvas_size=size),  # type: ignore[call-arg]
                "visibility": torch.full((count, len(JOINTS)), 2, dtype=torch.uint8),
                "boxes_3d": torch.tensor([[0.3, 0.2, 5.0, 1, 2, 0.5, 0.4]]).repeat(count, 1),
            }
        )
    return targets


def tensors_of(value: Any) -> list[Tensor]:
    """Return the tensors of a result."""
    return [v for v in vars(value).values() if isinstance(v, Tensor)]


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
    assert [stage.name for stage in build(name).stages()] == list(CATALOG[name].recipes)


@pytest.mark.parametrize("name", marked(NAMES))
def test_equal_seeds_build_equal_models(name: str) -> None:
    one, two = build(name).state_dict(), build(name).state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", marked(NAMES))
def test_a_saved_model_loads_and_gives_the_same(name: str, tmp_path: Path) -> None:
    model: Saved = build(name)
    if isinstance(model, Fitted):
        model.fit(list(zip(pictures([(64, 64)] * 9), truths("anchors", [(64, 64)] * 9), strict=True)))
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
    model = build(name)
    task = CATALOG[name].task.name
    images = torch.randn(2, 3, 64, 64) if task != "translation" else torch.stack(inputs(task, [(64, 64)]) * 2)
    trained, evaluated = model.train()(images), model.eval()(images)
    assert type(trained) is type(evaluated)
    for outputs in (trained, evaluated):
        assert all(isinstance(value, Tensor) for value in outputs)
        assert all(value.dtype == torch.float32 for value in outputs if value.is_floating_point())
    assert [v.shape for v in trained] == [v.shape for v in evaluated]


@pytest.mark.parametrize("name", names_of(Supervised))
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    model = build(name).train()
    task, sizes = CATALOG[name].task.name, [(64, 64)] * 3
    losses = model.loss(inputs(task, sizes), truths(task, sizes))
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", names_of(Supervised))
def test_the_loss_falls_on_one_batch(name: str) -> None:
    """A step against the gradient takes a quarter of what the slope promises, if it is short enough."""
    model = build(name, SEED).train()
    sizes = [(64, 64)] * 8  # batch norms over fewer images are steeper still
    images, targets = inputs(CATALOG[name].task.name, sizes), truths(CATALOG[name].task.name, sizes)

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


@pytest.mark.parametrize("name", marked([name for name in NAMES if CATALOG[name].task.name == "detection"]))
def test_images_without_objects_train(name: str) -> None:
    losses = build(name).loss(pictures(), truths("detection", empty=True))
    assert all(value.isfinite() for value in losses.values())


@pytest.mark.parametrize("name", names_of(Supervised, Staged))
def test_results_are_typed_and_do_not_depend_on_their_neighbours(name: str) -> None:
    model = in_double(name)
    images = inputs(CATALOG[name].task.name)
    together = model.predict(images)
    alone = [model.predict(image)[0] for image in images]
    assert len(together) == len(images)
    for result, single, image in zip(together, alone, images, strict=True):
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
    model = build(name).train()
    images = inputs(CATALOG[name].task.name, [(40, 48)])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    picture = images[0].clone()
    one, two = model.predict(images)[0], model.predict(images)[0]
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(one), tensors_of(two), strict=True))
    assert model.training
    assert torch.equal(images[0], picture)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


# ----------------------------------------------------------------------------------------------------------------------
# The other shapes


@pytest.mark.parametrize("name", names_of(Adversarial))
def test_every_turn_has_finite_losses_and_gradients_of_its_own(name: str) -> None:
    model = build(name)
    placed = [model.preprocess.place(image, {}) for image in pictures([(16, 16)] * 4)]
    batch = model.preprocess.collate(placed)
    for turn in model.turns:
        model.zero_grad()
        losses = model.losses(turn, batch, Step(generator=seeded()))
        torch.stack(list(losses.values())).sum().backward()
        gradients = [p.grad for p in model.parameters_of(turn)]
        assert all(g is not None and g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("name", names_of(Adversarial))
def test_samples_are_images_and_functions_of_the_generator(name: str) -> None:
    model = build(name)
    one, two = (model.sample(5, generator=seeded()) for _ in range(2))
    assert one.shape[:2] == (5, 3)
    assert torch.equal(one, two)
    assert 0 <= one.min() <= one.max() <= 1


@pytest.mark.parametrize("name", names_of(Staged))
def test_stages_share_the_parts_and_cover_them(name: str) -> None:
    model = build(name)
    own = {id(p) for p in model.parameters()}
    staged = {id(p) for stage in model.stages() for p in stage.model.parameters()}
    assert own == staged


@pytest.mark.parametrize("name", names_of(Fitted))
def test_fitting_twice_gives_the_same(name: str) -> None:
    samples: list[tuple[Tensor, Mapping[str, Tensor]]] = list(
        zip(pictures([(64, 64)] * 9), truths("anchors", [(64, 64)] * 9), strict=True)
    )
    one, two = build(name), build(name)
    for model in (one, two):
        model.fit(samples, generator=seeded())
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), two.buffers(), strict=True))
    assert type(one.predict(pictures()[0])[0]) is CATALOG[name].task.result
