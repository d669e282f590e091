"""From a recipe to an optimizer: which parameters decay, at what rate each learns, how the rate warms up."""

from typing import Any

import pytest
import timm
import torch
from timm.optim._param_groups import param_groups_weight_decay
from torch import nn

import vidi
from vidi.engine.limits import check_recipes
from vidi.engine.optimizers import learning_rate, make_optimizer, warmup_steps
from vidi.engine.overrides import OverrideError, check_overrides
from vidi.engine.recipe import Recipe
from vidi.optim.adagrad import AdaGrad
from vidi.optim.adam import Adam, AdamW
from vidi.optim.rmsprop import RMSProp
from vidi.optim.sgd import SGD
from vidi.tasks.table import TASKS

SMALL_VIT: dict[str, Any] = {"categories": 3, "size": (32, 32), "patch": 16, "width": 24, "depth": 2, "heads": 2}


def decayed_numbers(groups: list[dict[str, Any]]) -> dict[bool, int]:
    """Return how many numbers decay, and how many do not."""
    counts = {True: 0, False: 0}
    for group in groups:
        counts[group["weight_decay"] > 0] += sum(parameter.numel() for parameter in group["params"])
    return counts


def test_vectors_do_not_decay_unless_wanted() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))  # 108 weights, 4 biases, 8 of the norm
    groups = make_optimizer(layers.parameters(), Recipe(weight_decay=0.1)).param_groups
    assert decayed_numbers(groups) == {True: 108, False: 12}
    groups = make_optimizer(layers.parameters(), Recipe(weight_decay=0.1, decay_norms=True)).param_groups
    assert decayed_numbers(groups) == {True: 120, False: 0}


def test_a_vision_transformers_class_token_and_positions_decay_no_more_than_timms() -> None:
    model = vidi.create("vit_tiny", **SMALL_VIT)
    theirs = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=16, embed_dim=24, depth=2, num_heads=2, num_classes=3
    )
    names = theirs.no_weight_decay()  # type: ignore[operator]
    expected = decayed_numbers(param_groups_weight_decay(theirs, 0.05, no_weight_decay_list=names))
    recipe = Recipe(weight_decay=0.05)
    groups = make_optimizer(model.parameters(), recipe, undecayed=model.undecayed_parameters()).param_groups
    assert decayed_numbers(groups) == expected
    undecayed = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    backbone = model.network.backbone
    assert {id(backbone.class_token), id(backbone.positions.table)} <= undecayed
    recipe = Recipe(weight_decay=0.05, decay_norms=True)
    groups = make_optimizer(model.parameters(), recipe, undecayed=model.undecayed_parameters()).param_groups
    assert decayed_numbers(groups)[False] == 0


def test_a_transformer_without_a_class_token_names_its_positions_only() -> None:
    pooled = vidi.create("vit_tiny", pool="mean", **SMALL_VIT)
    assert [p.shape for p in pooled.undecayed_parameters()] == [(1, 4, 24)]
    assert not list(vidi.create("resnet20").undecayed_parameters())


def test_a_training_spares_what_its_network_names(tmp_path) -> None:
    """With gradients of nothing but weight decay, the class token stays and the weights shrink."""
    run = vidi.train(
        "vit_tiny",
        out=tmp_path / "run",
        steps=1,
        batch_size=4,
        world_scenes=8,
        learning_rate=1.0,
        weight_decay=0.5,
        optimizer="sgd",
        clip=1e-12,
        schedule="constant",
        warmup=0,
        **{key: value for key, value in SMALL_VIT.items() if key != "categories"},
    )
    backbone = vidi.load(run.folder, weights="last").requires_grad_(False).network.backbone
    assert backbone.positions.table.std() == pytest.approx(0.02, rel=0.3)  # as drawn; half of it had it decayed
    width = backbone.encoder.layers[0].feed_forward.widen.weight.std()
    assert width == pytest.approx(0.5 * (2 / (24 + 96)) ** 0.5, rel=0.1)  # Glorot's, halved by the decay


def test_the_backbone_learns_at_its_own_rate() -> None:
    layers = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    recipe = Recipe(backbone_rate=0.25, weight_decay=0.1)
    groups = make_optimizer(layers.parameters(), recipe, backbone=layers[0].parameters()).param_groups
    rates = {id(p): group["rate"] for group in groups for p in group["params"]}
    assert [rates[id(p)] for p in layers.parameters()] == [0.25, 0.25, 1.0, 1.0]
    assert all(group["lr"] == recipe.learning_rate for group in groups)


def test_what_is_frozen_is_left_out() -> None:
    layers = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    layers[0].requires_grad_(False)
    groups = make_optimizer(layers.parameters(), Recipe()).param_groups
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in layers[1].parameters()}


# ----------------------------------------------------------------------------------------------------------------------
# Warm-up


@pytest.mark.parametrize(("warmup", "total", "steps"), [(0, 50, 0), (7, 50, 7), (0.1, 50, 5), (0.1, 4, 0), (0.5, 5, 2)])
def test_a_warm_up_is_steps_or_a_share_of_all(warmup: float, total: int, steps: int) -> None:
    recipe = Recipe(warmup=warmup, schedule="constant", learning_rate=3.0)
    assert warmup_steps(recipe, total) == steps
    rates = [learning_rate(recipe, step, total) for step in range(total)]
    assert rates == pytest.approx([3.0 * min(1.0, (step + 1) / (steps + 1)) for step in range(total)], rel=1e-12)


def test_text_gives_steps_or_a_share() -> None:
    types = {"warmup": Recipe.__annotations__["warmup"]}
    found = {word: check_overrides({"warmup": word}, types)["warmup"] for word in ("20", "0.05", "0", "0.0")}
    assert found == {"20": 20, "0.05": 0.05, "0": 0, "0.0": 0.0}
    assert [type(found[word]) for word in ("20", "0.05")] == [int, float]


@pytest.mark.parametrize("warmup", [1.0, 2.5, -1, -0.1])
def test_no_share_of_a_whole_training_or_more(warmup: float) -> None:
    with pytest.raises(OverrideError, match=r"warmup: received .*, expected a whole number of steps, or a share"):
        check_recipes({"": Recipe(warmup=warmup)}, TASKS["classification"])


@pytest.mark.parametrize("warmup", [0, 3, 0.0, 0.99])
def test_limits_of_a_warm_up(warmup: float) -> None:
    check_recipes({"": Recipe(warmup=warmup)}, TASKS["classification"])


@pytest.mark.parametrize(
    ("name", "kind", "numbers"),
    [
        ("sgd", SGD, {"momentum": 0.7, "nesterov": True}),
        ("adagrad", AdaGrad, {}),
        ("rmsprop", RMSProp, {"momentum": 0.7, "eps_inside": False, "lr_in_momentum": False}),
        (
            "rmsprop_tf",  # Tan & Le 2019, section 5.2: decay 0.9; the rest as in timm's RMSpropTF and their code
            RMSProp,
            {
                "momentum": 0.7,
                "alpha": 0.9,
                "eps": 1e-3,
                "eps_inside": True,
                "lr_in_momentum": True,
                "initial_accumulator_value": 1.0,
            },
        ),
        ("adam", Adam, {"betas": (0.6, 0.8)}),
        ("adamw", AdamW, {"betas": (0.6, 0.8)}),
    ],
)
def test_each_optimizer_gets_its_numbers(name: Any, kind: type, numbers: dict[str, Any]) -> None:
    recipe = Recipe(optimizer=name, learning_rate=0.3, momentum=0.7, nesterov=True, betas=(0.6, 0.8))
    optimizer = make_optimizer([nn.Parameter(torch.zeros(2, 2))], recipe)
    assert type(optimizer) is kind
    assert {key: optimizer.defaults[key] for key in numbers} == numbers
    assert optimizer.param_groups[0]["lr"] == 0.3


@pytest.mark.parametrize(
    ("schedule", "factor"),
    [("constant", 1.0), ("cosine", 0.5), ("step", 0.1), ("polynomial", 0.25), ("exponential", 0.1**0.5)],
)
def test_each_schedule_is_a_share_of_the_rate(schedule: Any, factor: float) -> None:
    """Half way; before, the warm-up's share of it."""
    recipe = Recipe(learning_rate=0.4, schedule=schedule, milestones=(0.5,), power=2.0, decay=0.1)
    assert learning_rate(recipe, 50, 100) == pytest.approx(0.4 * factor)
