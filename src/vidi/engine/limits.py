"""What the numbers of a recipe may be."""

from collections.abc import Callable, Iterator, Mapping

import torch

from vidi.engine.overrides import OverrideError
from vidi.engine.recipe import Recipe
from vidi.engine.task import Task

# What a number of a recipe may be: a test, and the test in words.
LIMITS: dict[str, tuple[Callable[[float], bool], str]] = {
    **dict.fromkeys(("epochs", "steps", "batch_size", "accumulate", "per_identity"), (lambda v: v >= 1, "at least 1")),
    **dict.fromkeys(("world_scenes", "frame_gap", "validate_every", "log_every"), (lambda v: v >= 1, "at least 1")),
    **dict.fromkeys(("learning_rate", "clip", "decay"), (lambda v: v > 0, "more than 0")),
    "threads": (lambda v: v >= 1, "at least 1"),
    "judged_pictures": (lambda v: v >= 8, "at least 8"),
    "norm_momentum": (lambda v: 0 < v <= 1, "more than 0 and at most 1"),
    **dict.fromkeys(("backbone_rate", "weight_decay", "checkpoint_seconds"), (lambda v: v >= 0, "at least 0")),
    **dict.fromkeys(("workers", "seed"), (lambda v: v >= 0, "at least 0")),
    "warmup": (
        lambda v: v >= 0 and (isinstance(v, int) or v < 1),
        "a whole number of steps, or a share of them of at least 0 and less than 1",
    ),
    **dict.fromkeys(("momentum", "betas", "ema", "milestones"), (lambda v: 0 <= v < 1, "at least 0 and less than 1")),
}


def check_recipes(recipes: Mapping[str, Recipe], task: Task) -> None:
    """Refuse numbers that no training can follow.

    Args:
        recipes: by stage; "" for a system without stages.
        task: of the system.

    Raises:
        OverrideError: with a line for each number.
    """
    faults = []
    for stage, recipe in recipes.items():
        prefix = f"{stage}." if stage else ""
        faults += [prefix + fault for fault in _faults_of(recipe, task)]
    if faults:
        raise OverrideError("\n".join(faults))


def _faults_of(recipe: Recipe, task: Task) -> Iterator[str]:
    for key, (holds, limit) in LIMITS.items():
        value = getattr(recipe, key)
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if not all(map(holds, numbers)):
            yield f"{key}: received {value}, expected {limit}"
    if recipe.accumulate >= 1 and recipe.batch_size % recipe.accumulate:
        yield f"batch_size: received {recipe.batch_size}, expected a multiple of accumulate"
    yield from _faults_of_balance(recipe)
    for key, choices in (("augment", task.moves), ("mix", task.mixes)):
        if getattr(recipe, key) not in choices:
            yield f"{key}: received {getattr(recipe, key)}, expected {' or '.join(choices)} for {task.name}"
    if recipe.precision == "fp16" and (recipe.device == "cpu" or not torch.accelerator.is_available()):
        yield "precision: received fp16, which needs a GPU; a CPU takes float32 or bf16"


def _faults_of_balance(recipe: Recipe) -> Iterator[str]:
    """Find what keeps batches from being P identities with K pictures each, and micro-batches from holding pairs."""
    K, parts = recipe.per_identity, recipe.accumulate
    if K is None or K < 1 or parts < 1:
        return
    if recipe.batch_size % K:
        yield f"batch_size: received {recipe.batch_size}, expected a multiple of per_identity={K}"
    if parts > 1 and (K % parts or K // parts < 2):
        yield f"per_identity: received {K}, expected 2 or more for each of {parts} micro-batches, equally many"
