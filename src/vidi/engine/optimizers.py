"""From the numbers of a recipe to an optimizer and its learning rate at a step."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from vidi.engine.recipe import Recipe
from vidi.optim.schedules import cosine_factor, step_factor, warmup_factor


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer; weight decay spares vectors (biases, normalisation) unless `decay_norms`."""
    trained = [p for p in parameters if p.requires_grad]
    if recipe.decay_norms:
        groups: list[dict[str, Any]] = [{"params": trained, "weight_decay": recipe.weight_decay}]
    else:
        matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": recipe.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
    groups = [group for group in groups if group["params"]]
    rate = recipe.learning_rate
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, rate, momentum=recipe.momentum, fused=True)
        case "adam":
            return torch.optim.Adam(groups, rate, betas=recipe.betas, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, rate, betas=recipe.betas, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(groups, rate, momentum=recipe.momentum)


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """Return the learning rate of a step of a training of `total` steps."""
    match recipe.schedule:
        case "cosine":
            factor = cosine_factor(step, total)
        case "step":
            factor = step_factor(step, total, milestones=recipe.milestones, decay=recipe.decay)
        case "constant":
            factor = 1.0
    return recipe.learning_rate * factor * warmup_factor(step, recipe.warmup)
