"""From the numbers of a recipe to an optimizer and its learning rate at a step."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from vidi.engine.recipe import Recipe
from vidi.model import Trainable
from vidi.optim.adagrad import AdaGrad
from vidi.optim.adam import Adam, AdamW
from vidi.optim.rmsprop import RMSProp
from vidi.optim.schedules import cosine_factor, exponential_factor, polynomial_factor, step_factor, warmup_factor
from vidi.optim.sgd import SGD


def make_optimizer(
    parameters: Iterable[nn.Parameter],
    recipe: Recipe,
    *,
    backbone: Iterable[nn.Parameter] = (),
    undecayed: Iterable[nn.Parameter] = (),
) -> torch.optim.Optimizer:
    """Return the recipe's optimizer.

    Weight decay spares vectors (biases, normalisation) and `undecayed`, some of the parameters, unless `decay_norms`.
    Each group of parameters has a "rate", by which a step multiplies the learning rate: that of `backbone`, some of the
    parameters, is the recipe's.
    """
    of_backbone, spared = set(map(id, backbone)), set(map(id, undecayed))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.requires_grad:
            decayed = recipe.decay_norms or (parameter.ndim > 1 and id(parameter) not in spared)
            rate = recipe.backbone_rate if id(parameter) in of_backbone else 1.0
            groups.setdefault((rate, recipe.weight_decay if decayed else 0.0), []).append(parameter)
    return _optimizer([{"params": p, "rate": r, "weight_decay": d} for (r, d), p in groups.items()], recipe)


def kept_still(model: Trainable) -> list[nn.Module]:
    """Keep the backbone's weights from learning, and return its norms, whose statistics are not to change either.

    Raises:
        ValueError: if the model has no backbone.
    """
    weights = {id(parameter): parameter.requires_grad_(False) for parameter in model.backbone_parameters()}
    if not weights:
        raise ValueError("received backbone_rate=0 for a model without a backbone that could be kept as it is")
    norms = (module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return [norm for norm in norms if any(id(parameter) in weights for parameter in norm.parameters())]


def _optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    rate = recipe.learning_rate
    match recipe.optimizer:
        case "sgd":
            return SGD(groups, rate, momentum=recipe.momentum, nesterov=recipe.nesterov)
        case "adagrad":
            return AdaGrad(groups, rate)
        case "rmsprop":
            return RMSProp(groups, rate, momentum=recipe.momentum)
        case "rmsprop_tf":  # with the decay of EfficientNet (Tan & Le 2019, section 5.2) and the eps of its code
            return RMSProp(
                groups,
                rate,
                alpha=0.9,
                eps=1e-3,
                momentum=recipe.momentum,
                eps_inside=True,
                lr_in_momentum=True,
                initial_accumulator_value=1.0,
            )
        case "adam":
            return Adam(groups, rate, betas=recipe.betas)
        case "adamw":
            return AdamW(groups, rate, betas=recipe.betas)


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """Return the learning rate of a step of a training of `total` steps."""
    match recipe.schedule:
        case "cosine":
            factor = cosine_factor(step, total)
        case "step":
            factor = step_factor(step, total, milestones=recipe.milestones, decay=recipe.decay)
        case "polynomial":
            factor = polynomial_factor(step, total, power=recipe.power)
        case "exponential":
            factor = exponential_factor(step, total, decay=recipe.decay)
        case "constant":
            factor = 1.0
    return recipe.learning_rate * factor * warmup_factor(step, warmup_steps(recipe, total))


def warmup_steps(recipe: Recipe, total: int) -> int:
    """Return the steps over which the rate of a training of `total` steps rises; a share is rounded to whole ones."""
    return recipe.warmup if isinstance(recipe.warmup, int) else round(recipe.warmup * total)
