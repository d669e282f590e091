"""Learning-rate schedules against torch's schedulers, and the recipes that use them."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.closeness import EXACT
from vidi.engine.optimizers import learning_rate, make_optimizer
from vidi.engine.recipe import Recipe
from vidi.optim.adagrad import AdaGrad
from vidi.optim.adam import Adam, AdamW
from vidi.optim.rmsprop import RMSProp
from vidi.optim.schedules import cosine_factor, exponential_factor, polynomial_factor, step_factor, warmup_factor
from vidi.optim.sgd import SGD

scheduler = torch.optim.lr_scheduler
TOTAL = 20


@pytest.mark.parametrize(
    ("factor", "theirs", "options"),
    [
        (lambda t: cosine_factor(t, TOTAL), scheduler.CosineAnnealingLR, {"T_max": TOTAL}),
        (lambda t: cosine_factor(t, TOTAL, floor=0.1), scheduler.CosineAnnealingLR, {"T_max": TOTAL, "eta_min": 0.1}),
        (
            lambda t: step_factor(t, TOTAL, milestones=(0.5, 0.75), decay=0.3),
            scheduler.MultiStepLR,
            {"milestones": [10, 15], "gamma": 0.3},
        ),
        (lambda t: polynomial_factor(t, TOTAL), scheduler.PolynomialLR, {"total_iters": TOTAL, "power": 0.9}),
        (
            lambda t: exponential_factor(t, TOTAL, decay=0.01),
            scheduler.ExponentialLR,
            {"gamma": math.pow(0.01, 1 / TOTAL)},
        ),
        (lambda t: warmup_factor(t, 4), scheduler.LinearLR, {"start_factor": 1 / 5, "total_iters": 4}),
    ],
    ids=["cosine", "cosine with floor", "step", "polynomial", "exponential", "warm-up"],
)
def test_factors_are_torchs(factor: Callable[[int], float], theirs: Any, options: dict[str, Any]):
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = theirs(optimizer, **options)
    for step in range(TOTAL + 1):
        assert factor(step) == pytest.approx(reference.get_last_lr()[0], rel=EXACT)
        optimizer.step()
        reference.step()


@pytest.mark.parametrize(
    ("schedule", "last"),
    [("cosine", 0.0), ("step", 0.01), ("polynomial", 0.0), ("exponential", 0.1), ("constant", 1.0)],
)
def test_a_recipe_falls_from_its_rate_to_its_end(schedule, last):
    recipe = Recipe(schedule=schedule, learning_rate=2.0, warmup=3)
    rates = [learning_rate(recipe, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.5)
    assert rates[-1] == pytest.approx(2.0 * last, rel=EXACT)
    assert max(rates) <= 2.0


@pytest.mark.parametrize(
    ("name", "expected", "options"),
    [
        ("sgd", SGD, {"momentum": 0.8, "nesterov": True}),
        ("adagrad", AdaGrad, {}),
        ("rmsprop", RMSProp, {"momentum": 0.8, "eps_inside": False}),
        ("rmsprop_tf", RMSProp, {"momentum": 0.8, "eps_inside": True, "lr_in_momentum": True, "eps": 1e-3}),
        ("adam", Adam, {"betas": (0.5, 0.99)}),
        ("adamw", AdamW, {"betas": (0.5, 0.99)}),
    ],
)
def test_a_recipe_names_our_optimizers(name, expected, options):
    model = nn.Linear(2, 2)
    recipe = Recipe(optimizer=name, momentum=0.8, nesterov=True, betas=(0.5, 0.99), weight_decay=0.1)
    optimizer = make_optimizer(model.parameters(), recipe)
    assert type(optimizer) is expected
    matrices, vectors = optimizer.param_groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert {key: matrices[key] for key in options} == options
