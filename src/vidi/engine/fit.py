"""Training: batches in, updates, averages, validation, and states from which a killed run resumes bit for bit.

What step n does depends on (seed, n, process) and the weights alone: order, augmentation, dropout and draws are seeded
from them, so a state holds tensors and plain numbers only. Accelerate brings devices, mixed precision and several
processes; it wraps the whole loss, because stages of a network called outside the DDP module get no averaged gradients.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from vidi import files
from vidi.data.loading import Augment, Balance, Plan, derived_seed, size_of, training_loader
from vidi.engine.averaging import Averages
from vidi.engine.loss_window import Clock, LossWindow
from vidi.engine.optimizers import kept_still, learning_rate, make_optimizer
from vidi.engine.processes import Processes
from vidi.engine.progress import Progress, Silent
from vidi.engine.recipe import Recipe
from vidi.engine.runs import Row, Run, describe_scores, numbers_of, shown, with_gaps
from vidi.model import Fitted, Losses, Saved, Step, Trainable
from vidi.preprocess import AnyBatch

Validate = Callable[[Trainable, Processes], Row]
"""Scores a model: metric and validation losses by name."""


class Interrupted(KeyboardInterrupt):
    """The user stopped the training; the state was saved."""


@dataclass(frozen=True)
class Validated:
    """A validation that is over.

    Attributes:
        row: its scores.
        averages: of the weights, which the model has at the time.
        is_best: whether the weights are the best so far.
        is_last: whether the training ends with it.
    """

    row: Row
    averages: Averages
    is_best: bool
    is_last: bool


UNEQUAL_CALLS = (
    "the criterion calls Step.mean on some micro-batches of a step only; expected equally many calls on each, "
    "so that they can be added up"
)


def noted(counts: list[Tensor], count: Tensor) -> Tensor:
    """Append a count, and return it."""
    counts.append(count.detach())
    return count


def in_turn(totals: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a function that gives, whatever it is called with, the first total, then the second, and so on."""
    remaining = iter(totals)

    def total(count: Tensor) -> Tensor:
        value = next(remaining, None)
        if value is None:
            raise ValueError(UNEQUAL_CALLS)
        return value

    return total


class Objective(nn.Module):
    """The whole loss as one module, so that DDP sees every stage of the network."""

    def __init__(self, model: Trainable):
        super().__init__()
        self.model = model

    def forward(self, turn: str, batch: AnyBatch, step: Step) -> Losses:
        return self.model.losses(turn, batch, step)


def turns_by_batch(turns: Sequence[str]) -> list[tuple[str, ...]]:
    """Group turns into those that share a batch: a repeated name takes a new one, another name reuses the last.

    (discriminator, discriminator, generator) becomes (discriminator,), (discriminator, generator).
    """
    groups = [[turns[0]]]
    for previous, turn in pairwise(turns):
        if turn == previous:
            groups.append([turn])
        else:
            groups[-1].append(turn)
    return [tuple(group) for group in groups]


def trained_by_gradients(model: Saved) -> Trainable | None:
    """Return the model if it is trained by gradients, None if it is fitted at once.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(model, Fitted):
        return None
    if isinstance(model, Trainable):
        return model
    raise TypeError(f"received a {type(model).__name__}, expected one of the shapes of vidi.model")


def fit_at_once(model: Saved, dataset: Any, *, seed: int) -> None:
    """Fit a system that is not trained by gradients; its draws come from the seed."""
    if not isinstance(model, Fitted):
        raise TypeError(f"received a {type(model).__name__}, expected a Fitted")
    model.fit(dataset, generator=torch.Generator().manual_seed(derived_seed(seed)))


def make_accelerator(recipe: Recipe, model: Trainable) -> Accelerator:
    """Return an Accelerator for the recipe's device and precision."""
    # Accelerate keeps one precision for the life of a process; each training of ours has its own
    AcceleratorState._reset_state()
    precision = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}[recipe.precision]
    trained = [{id(p) for p in model.parameters_of(turn)} for turn in dict.fromkeys(model.turns)]
    partly = any(id(p) not in own for own in trained for p in model.parameters() if p.requires_grad)
    return Accelerator(
        mixed_precision=precision,
        cpu=recipe.device == "cpu" or not torch.accelerator.is_available(),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=partly)],
    )


def balance_of(dataset: Any, recipe: Recipe) -> Balance | None:
    """Return how batches are balanced by identity, if the recipe says so.

    Raises:
        ValueError: if the data set does not know whom its samples show, or shows too few.
    """
    if recipe.per_identity is None:
        return None
    labels = getattr(dataset, "labels", None)
    if not isinstance(labels, Tensor):
        what = f"a {type(dataset).__name__} without labels"
        raise ValueError(
            f"received per_identity={recipe.per_identity} and {what}, expected one that has a label for each"
        )
    return Balance(labels, recipe.per_identity, recipe.batch_size // recipe.per_identity)


class Training:
    """One training of one trainable, in one run folder.

    Args:
        model: what is trained.
        recipe: the numbers.
        dataset: map-style, samples (image, target).
        run: the folder to write to; a state found there is resumed.
        owner: what is saved as weights, if `model` is one stage of it.
        augment: applied to each sample, drawing from torch's global generator only.
        alter: applied to each batch on the device (mixup), drawing from the generator it gets.
        validate: scores the model after epochs; None for none.
        headline: the name of the validation number that decides which weights are best.
        falling: whether it is best where it is smallest, not largest.
        after_validation: called in the main process with the model, which has its averaged weights then, and what the
            validation came to: pictures and reports.
        former: the recipe with the lengths that it had before; a state of one of them goes on to the new one.
    """

    def __init__(
        self,
        model: Trainable,
        recipe: Recipe,
        dataset: Any,
        run: Run,
        *,
        owner: Saved | None = None,
        augment: Augment | None = None,
        alter: Callable[[AnyBatch, torch.Generator], AnyBatch] | None = None,
        validate: Validate | None = None,
        headline: str | None = None,
        falling: bool = False,
        after_validation: Callable[[Trainable, Validated], None] | None = None,
        progress: Progress | None = None,
        former: Sequence[Recipe] = (),
    ):
        self.model, self.recipe, self.dataset, self.run = model, recipe, dataset, run
        self.owner = owner or model
        self.augment, self.alter = augment, alter
        self.validate, self.headline, self.after_validation = validate, headline, after_validation
        self.falling = falling
        self.progress = progress or Silent()

        self.accelerator = make_accelerator(recipe, model)
        self.processes = Processes.of(self.accelerator)
        self.still = kept_still(model) if recipe.backbone_rate == 0 else []
        self._to_training()
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        balance = balance_of(dataset, recipe)
        self.plan = Plan(
            size_of(dataset) if balance is None else balance.count,
            recipe.batch_size,
            recipe.seed,
            self.processes.count,
            recipe.accumulate,
            least=2 if any(norm.training for norm in norms) else 1,  # one sample has no spread to normalise by
            balance=balance,
        )
        self.total, *self.former_totals = (r.steps or r.epochs * self.plan.steps_per_epoch for r in (recipe, *former))
        self.groups = turns_by_batch(model.turns)

        model.to(self.accelerator.device)
        if recipe.norm_momentum is not None:
            for norm in norms:
                norm.momentum = recipe.norm_momentum
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.compile:
            for name, player in model.named_children():
                if name != "criterion":
                    player.compile()
        self.objective = self.accelerator.prepare_model(Objective(model))
        self.optimizers = {
            turn: self.accelerator.prepare_optimizer(
                make_optimizer(
                    model.parameters_of(turn),
                    recipe,
                    backbone=model.backbone_parameters(),
                    undecayed=model.undecayed_parameters(),
                )
            )
            for turn in dict.fromkeys(model.turns)
        }
        self.averages = Averages(model, model.averaged, recipe.ema)

        self.step = 0  # steps done
        self.validation_due = recipe.validate_first and validate is not None
        self.rows: list[Row] = []
        self.best: float | None = None
        self.window = LossWindow()
        self.interrupted = False
        if run.state_path.is_file():
            self.load_state(files.read_state(run.state_path))

    # --- the loop

    def fit(self) -> list[Row]:
        """Train to the end, or until the user interrupts; return the metric rows.

        Raises:
            NonFiniteLossError: naming the loss term and the step.
            Interrupted: after the user's Ctrl-C, once the state is saved.
        """
        self.progress.start(self.run.folder.name, self.step, self.total)
        if self.plan.left_out:
            self.progress.say(
                f"each epoch leaves out {self.plan.left_out} of {self.plan.count} samples, others each time: "
                "a last batch of them would give a batch norm, or a process, too few"
            )
        try:
            with self._interruptible():
                if self.validate is not None and self.validation_due:
                    self._validate(self.validate)
                loader = iter(self._loader())
                saved, clock, first = time.monotonic(), Clock(self.step), self.step + 1
                while self.step < self.total:
                    self._one_step([next(loader) for _ in range(self.plan.shape(self.step)[1])])
                    if self.step % self.recipe.log_every == 0 or self.step == self.total:
                        self._log(clock.rate(self.step) * self.recipe.batch_size)
                    elif self.step == first:
                        self.progress.advance(first, self.window.means(), clock.rate(first) * self.recipe.batch_size)
                    self.validation_due = self._epoch_ends() and self.validate is not None
                    if self.validation_due or self.interrupted or self._is_time(saved):
                        self.save_state()
                        saved = time.monotonic()
                    if self.interrupted:
                        raise Interrupted
                    if self.validate is not None and self.validation_due:
                        self._validate(self.validate)
                        clock = Clock(self.step)
        finally:
            self.progress.stop()
            self.model.eval()
        if self.validate is None:
            with self.averages.applied(self.model):
                self._write_weights(is_best=True)
        self.save_state()
        return self.rows

    def _loader(self) -> Any:
        return training_loader(
            self.dataset,
            self.model.preprocess,
            self.plan,
            augment=self.augment,
            first=self.step,
            last=self.total,
            process=self.processes.index,
            workers=self.recipe.workers,
        )

    def _one_step(self, micro_batches: Sequence[AnyBatch]) -> None:
        rate = learning_rate(self.recipe, self.step, self.total)
        device = self.accelerator.device
        batches = [b.to(device, channels_last=self.recipe.channels_last) for b in micro_batches]
        if self.alter is not None:
            batches = [self.alter(b, self._generator(-1, part)) for part, b in enumerate(batches)]
        self._to_training()
        for number, turn in enumerate(self.groups[self.step % len(self.groups)]):
            self._one_turn(turn, number, batches, rate)
        self.averages.update(self.model)
        self.step += 1

    def _to_training(self) -> None:
        """Put the model into training mode, but for norms of a backbone that is kept as it is."""
        self.model.train()
        for norm in self.still:
            norm.eval()

    def _one_turn(self, turn: str, number: int, batches: Sequence[AnyBatch], rate: float) -> None:
        optimizer = self.optimizers[turn]
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        self.objective.zero_grad(set_to_none=True)  # of all players: a turn leaves gradients in the others
        totals = self._totals(turn, number, batches) if len(batches) > 1 else None
        whole: Losses = {}
        for part, batch in enumerate(batches):
            step = self._step(number, part, batch, self._sum if totals is None else in_turn(totals))
            # DDP takes the mean over processes, the whole is a sum of shares
            weight = step.share * self.processes.count
            with nullcontext() if part == len(batches) - 1 else self.accelerator.no_sync(self.objective):
                losses: Losses = self.objective(turn, batch, step)
                for name, value in losses.items():
                    whole[name] = whole.get(name, 0) + weight * value.detach()
                self.accelerator.backward(weight * torch.stack(list(losses.values())).sum())
        self.window.add(turn if len(self.optimizers) > 1 else "", whole, self.step)
        if self.recipe.clip is not None:
            self.accelerator.clip_grad_norm_(list(self.model.parameters_of(turn)), self.recipe.clip)
        optimizer.step()
        self.model.after_step(turn, Step(self.step, self.total))

    def _step(self, number: int, part: int, batch: AnyBatch, total: Callable[[Tensor], Tensor]) -> Step:
        """Seed dropout, and return what a criterion may know of a turn's micro-batch.

        `total` gives the sum of a count over the global batch.
        """
        generator = self._generator(number, part)
        torch.default_generator.manual_seed(generator.initial_seed())  # dropout
        share = len(batch.placements) / self.plan.shape(self.step)[0]
        return Step(self.step, self.total, generator, share, lambda count: share * total(count), self.processes.gather)

    def _sum(self, count: Tensor) -> Tensor:
        """Return the sum of a count over all processes."""
        return self.processes.mean(count) * self.processes.count

    def _totals(self, turn: str, number: int, batches: Sequence[AnyBatch]) -> list[Tensor]:
        """Return what the counts by which a criterion normalises sum up to over the global batch, call by call.

        A pass over the micro-batches without gradient, with the draws of the real one; buffers are put back. It ends
        after the first of them if the criterion asks for nothing.

        Raises:
            ValueError: if the criterion calls `Step.mean` more often on one micro-batch than on another.
        """
        before = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        objective = self.accelerator.unwrap_model(self.objective)  # DDP would take this for a pass of its own
        calls: list[list[Tensor]] = []
        with torch.no_grad():
            for part, batch in enumerate(batches):
                counts: list[Tensor] = []
                objective(turn, batch, self._step(number, part, batch, partial(noted, counts)))
                calls.append(counts)
                if not calls[0]:
                    break
            for buffer, value in before:
                buffer.copy_(value)
        if len({len(counts) for counts in calls}) > 1:
            raise ValueError(UNEQUAL_CALLS)
        return [self._sum(torch.stack(of_call).sum(0)) for of_call in zip(*calls, strict=True)]

    def _generator(self, turn: int, part: int) -> torch.Generator:
        seed = derived_seed(self.recipe.seed, self.step, self.processes.index, turn + 1, part)
        return torch.Generator(self.accelerator.device).manual_seed(seed)

    def _epoch_ends(self) -> bool:
        if self.step == self.total:
            return True
        epoch, rest = divmod(self.step, self.plan.steps_per_epoch)
        return rest == 0 and epoch % self.recipe.validate_every == 0

    def _is_time(self, saved: float) -> bool:
        return time.monotonic() - saved > self.recipe.checkpoint_seconds

    # --- looking at it

    def _log(self, rate: float) -> None:
        means = self.window.take(self.processes)
        self.progress.advance(self.step, means, rate)
        self.rows.append(
            {
                "step": self.step,
                "epoch": round(self.step / self.plan.steps_per_epoch, 4),
                "learning_rate": learning_rate(self.recipe, self.step - 1, self.total),
                **{f"train/{name}": value for name, value in means.items()},
            }
        )

    def _validate(self, validate: Validate) -> None:
        self.model.eval()
        with self.averages.applied(self.model):
            scores = validate(self.model, self.processes)
            value = scores.get(self.headline or "")
            number = float(value) if isinstance(value, int | float) else None
            is_best = self.best is None or (
                number is not None and (number < self.best if self.falling else number > self.best)
            )
            if number is not None and is_best:
                self.best = number
            self.rows.append({"step": self.step, "epoch": round(self.step / self.plan.steps_per_epoch, 4), **scores})
            self._write_weights(is_best=is_best)
            if self.accelerator.is_main_process:
                self.run.write_metrics(self.rows)
                if self.after_validation is not None:
                    is_last = self.step == self.total
                    self.after_validation(self.model, Validated(self.rows[-1], self.averages, is_best, is_last))
        self.validation_due = False
        epochs = self.step / self.plan.steps_per_epoch
        found = numbers_of(scores)
        told = {name: value for name, value in found.items() if name == self.headline or "/" in name} or found
        numbers = ", ".join(f"{name} {shown(value, '.4g')}" for name, value in told.items())
        scored = f" {describe_scores(scores)}" if numbers else ""
        best = "  (best so far)" if is_best and number is not None else ""
        self.progress.say(f"epoch {epochs:.4g}{scored}: {numbers or 'weights written'}{best}")
        self.save_state()

    def _write_weights(self, *, is_best: bool) -> None:
        if not self.accelerator.is_main_process:
            return
        weights = self.owner.state_dict()
        files.write_tensors(self.run.weights_path("last"), weights)
        if is_best:
            files.write_tensors(self.run.weights_path("best"), weights)

    # --- states

    def save_state(self) -> None:
        """Write all that an exact resume needs: tensors and plain numbers."""
        if not self.accelerator.is_main_process:
            return
        self.run.write_metrics(self.rows)
        if not self.run.weights_path("best").is_file():  # of a run that is stopped before its first validation
            with self.averages.applied(self.model):
                files.write_tensors(self.run.weights_path("last"), self.owner.state_dict())
        scaler = self.accelerator.scaler
        files.write_state(
            self.run.state_path,
            {
                "step": self.step,
                "total": self.total,
                "validation_due": self.validation_due,
                "model": self.model.state_dict(),
                "owner": self.owner.state_dict() if self.owner is not self.model else {},
                "optimizers": {turn: optimizer.state_dict() for turn, optimizer in self.optimizers.items()},
                "averages": self.averages.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else {},
                "rows": self.rows,
                "best": self.best,
                "window": self.window.state(),
            },
        )

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from what `save_state` wrote.

        Raises:
            ValueError: if the state belongs to another training.
        """
        try:
            self._load_parts(state)
        except (KeyError, TypeError, RuntimeError) as error:  # of dictionaries and of torch, which list every name
            raise ValueError(f"{self.run.state_path} is the state of another model or of another version") from error

    def _load_parts(self, state: Mapping[str, Any]) -> None:
        if state["total"] not in (self.total, *self.former_totals) or state["step"] > self.total:
            raise ValueError(
                f"{self.run.state_path} is of a training of {state['total']} steps, this one has {self.total}: "
                "a run resumes with its own recipe and data"
            )
        if self.owner is not self.model:
            self.owner.load_state_dict(state["owner"])
        self.model.load_state_dict(state["model"])
        for turn, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][turn])
        self.averages.load_state_dict(state["averages"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.step, self.best, self.rows = state["step"], state["best"], [with_gaps(row) for row in state["rows"]]
        self.validation_due = state["validation_due"]
        self.window = LossWindow(*state["window"])

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let the first Ctrl-C or SIGTERM end the training after the present step; the second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: object) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
            self.progress.say("stopping after this step (press again to stop at once)")

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
