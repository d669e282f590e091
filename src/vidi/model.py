"""The four shapes of a trainable system: supervised, adversarial, staged, fitted.

A system is a composition of parts. A supervised one holds four: a `network` (tensors to tensors), a `criterion`
(runs the network as training needs it and compares), a `decode` (outputs to typed results in the pixels of the
original) and a `Preprocess` (numbers only, travels with the weights):

    files -> Preprocess.place -> Preprocess.collate -> Batch -> network -> outputs -> decode -> results
                                                         `-> criterion(network, batch, step) -> {name: scalar}
"""

import functools
import inspect
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vidi import files
from vidi.preprocess import AnyBatch, Batch, Prepares, Preprocess, as_images, equal_canvases, typed

Losses = dict[str, Tensor]
"""Name -> scalar, weights applied; training minimises the sum."""

Value = TypeVar("Value")


def identity(value: Value) -> Value:
    """Return `value`: what a mean or a gathering over one process is."""
    return value


# ----------------------------------------------------------------------------------------------------------------------
# What a criterion and a decoder are


@dataclass(frozen=True)
class Step:
    """What a criterion may know of the training; the default serves `model.loss()`."""

    index: int = 0
    total: int = 1
    generator: torch.Generator | None = None  # seeded from (seed, index, process), on the batch's device
    share: float = 1.0  # of the global batch's images that are in this batch; each batch's losses weigh that much
    mean: Callable[[Tensor], Tensor] = identity
    """A count that normalises a loss: its sum over the global batch (all processes and accumulated micro-batches) times
    `share`, without gradient. Losses so normalised add up to those of the global batch, whatever it is cut into."""
    gather: Callable[[Tensor], Tensor] = identity  # rows of all processes, with gradient: CLIP, NT-Xent

    def normaliser(self, count: Tensor) -> Tensor:
        """Return `mean` of a count, and 1 where the whole global batch has nothing to count."""
        mean = self.mean(count)
        return torch.where(mean > 0, mean, 1)


class Criterion(Protocol):
    """Runs the network as training needs it, and compares; may own parameters, never the network."""

    def __call__(self, network: nn.Module, batch: Any, step: Step) -> Losses: ...


class Decode(Protocol):
    """Outputs of one forward to one typed result per image, in the pixels of the original. Pure."""

    def __call__(self, outputs: Any, placements: Sequence[Any]) -> list[Any]: ...


# ----------------------------------------------------------------------------------------------------------------------
# The shapes


class Saved(nn.Module):
    """Anything that `@builder` made: knows how it was built, and saves itself."""

    origin: tuple[str, dict[str, Any]] | None = None
    preprocess: Any  # a `Prepares`; `Preprocess` wherever images come in

    def description(self) -> dict[str, Any]:
        """Return what a later process needs to build this model again: name, arguments, preprocessing.

        Raises:
            ValueError: if the model was put together by hand, without a `@builder`.
        """
        if self.origin is None:
            raise ValueError(f"this {type(self).__name__} was not made by a named builder, so it has no description")
        name, arguments = self.origin
        return {"model": name, "arguments": arguments, "preprocess": asdict(self.preprocess)}

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def save(self, folder: str | Path) -> None:
        """Write `config.json` and `weights.safetensors`, from which `vidi.load(folder)` makes an equal model."""
        description = self.description()
        files.write_tensors(Path(folder) / "weights.safetensors", self.state_dict())
        files.write_json(Path(folder) / "config.json", description)


class Trainable(Saved):
    """One or several players that take turns: all that training knows of a model."""

    turns: tuple[str, ...] = ("network",)
    averaged: tuple[str, ...] = ("network",)  # names of the sub-modules kept as an exponential moving average

    def parameters_of(self, turn: str) -> Iterable[nn.Parameter]:
        """Return the parameters that the turn's optimizer updates."""
        raise NotImplementedError

    def backbone_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters that may have a learning rate of their own; none by default."""
        return ()

    def undecayed_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters, besides vectors, that weight decay spares: what modules name in `no_weight_decay`."""
        for module in self.modules():
            yield from (module.get_parameter(name) for name in getattr(module, "no_weight_decay", ()))

    def losses(self, turn: str, batch: AnyBatch, step: Step) -> Losses:
        """Return the named losses of one turn on one batch."""
        raise NotImplementedError

    def after_step(self, turn: str, step: Step) -> None:
        """Do what follows an update (weight clipping, momentum encoders); nothing by default."""


class Predicts(Saved):
    """Gives one typed result per image."""

    def predict(self, images: Any, *, batch_size: int = 16) -> list[Any]:
        """Return one result per image, in input order.

        Args:
            images: one image or a sequence of them: paths, PIL images, arrays (uint8 of shape H W, H W 3 or H W 4, or
                uint16 H W) or tensors 3 H W (uint8, or float in [0, 1]), mixed at will.
            batch_size: the most images that go through the network at once; only images of equal canvas share a
                batch, so that a result does not depend on its neighbours.

        Several threads may call it at once; those of a model in training mode take turns.
        """
        placed = [self.preprocess.place(image, {}) for image in self.read(images)]
        results: list[Any] = [None] * len(placed)
        with evaluating(self), torch.no_grad():
            for rows in equal_canvases(placed, batch_size):
                batch = self.preprocess.collate([placed[row] for row in rows])
                for row, result in zip(rows, self.predict_batch(batch), strict=True):
                    results[row] = result
        return results

    def read(self, inputs: Any) -> Iterator[Tensor]:
        """Yield what `predict` takes as tensors that `preprocess` can place."""
        return as_images(inputs)

    def predict_batch(self, batch: AnyBatch) -> list[Any]:
        """Return one result per image of a batch, in the pixels of the originals."""
        raise NotImplementedError


class Supervised(Trainable, Predicts):
    """One loss and one optimizer: a network, its criterion, its decoder and its preprocessing."""

    def __init__(self, network: nn.Module, criterion: Criterion, decode: Decode, preprocess: Prepares):
        super().__init__()
        self.network = network
        self.criterion = criterion
        self.decode = decode
        self.preprocess = preprocess

    def forward(self, images: Float[Tensor, "B C H W"], mask: Bool[Tensor, "B H W"] | None = None) -> Any:
        """Return the network's raw outputs for normalised images; a NamedTuple of tensors, half precision widened.

        `mask` is True on pixels of the images, for networks that tell them from padding.
        """
        outputs = self.network(images) if mask is None else self.network(images, mask)
        return type(outputs)(*(widened(value) for value in outputs))

    def run(self, batch: AnyBatch) -> Any:
        """Return `forward`'s outputs for a batch; a network with `takes_mask` is told what is padding."""
        if isinstance(batch, Batch) and getattr(self.network, "takes_mask", False):
            return self(batch.images, batch.mask)
        return self(batch.inputs)

    def parameters_of(self, turn: str) -> Iterable[nn.Parameter]:
        return self.parameters()

    def backbone_parameters(self) -> Iterable[nn.Parameter]:
        backbone = getattr(self.network, "backbone", None)
        return () if backbone is None else backbone.parameters()

    def losses(self, turn: str, batch: AnyBatch, step: Step) -> Losses:
        return self.criterion(self.network, batch, step)

    def loss(self, images: Any, targets: Sequence[Mapping[str, Tensor]]) -> Losses:
        """Return the named losses of images (as for `predict`) against targets in the pixels of those images."""
        samples = zip(self.read(images), targets, strict=True)
        placed = [self.preprocess.place(image, typed(target, image.shape[-2:])) for image, target in samples]
        batch = self.preprocess.collate(placed)
        return self.losses("network", batch.to(self.device), Step())

    def predict_batch(self, batch: AnyBatch) -> list[Any]:
        return self.decode(self.run(batch.to(self.device)), batch.placements)


class Adversarial(Trainable):
    """A generator and a discriminator that take turns; each has its own loss.

    The generator has `draw(count, generator) -> Tensor` (latent vectors) and maps them to images in [-1, 1].
    A generator turn reuses the batch of the discriminator turn before it.
    """

    turns = ("discriminator", "generator")
    averaged = ("generator",)

    def __init__(self, generator: nn.Module, discriminator: nn.Module, criterion: Any, preprocess: Preprocess):
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.criterion = criterion
        self.preprocess = preprocess

    def parameters_of(self, turn: str) -> Iterable[nn.Parameter]:
        return self.get_submodule(turn).parameters()

    def losses(self, turn: str, batch: Batch, step: Step) -> Losses:
        compare = self.criterion.of_discriminator if turn == "discriminator" else self.criterion.of_generator
        return compare(self.generator, self.discriminator, batch, step)

    @torch.no_grad()
    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "N C H W"]:
        """Draw images in [0, 1]; equal generators give equal images."""
        with evaluating(self):
            network = cast(Any, self.generator)
            return ((network(network.draw(count, generator)) + 1) / 2).clamp(0, 1)


class Fitted(Predicts):
    """A system that is fitted, not trained by gradients; what it learns are buffers, loaded strictly by name."""

    def fit(self, dataset: Any, *, generator: torch.Generator | None = None) -> None:
        """Learn from a data set of samples (image, target)."""
        raise NotImplementedError

    def register_learnt(self, name: str, value: Tensor) -> None:
        """Make a buffer that `fit` fills; a saved model may hold another number of rows than an empty one."""
        self.register_buffer(name, value)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any) -> None:
        for name, value in list(self.named_buffers(recurse=False)):
            saved = state_dict.get(prefix + name)
            if saved is not None and saved.ndim == value.ndim:
                setattr(self, name, torch.empty_like(saved, device=value.device))
        super()._load_from_state_dict(state_dict, prefix, *arguments)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Stage:
    """One training of a staged system; recipe keys are `name.key`."""

    name: str
    model: Trainable | Fitted  # shares modules with the other stages by reference
    prepare: Callable[[Any], Any] = identity  # the data set as this stage sees it: proposals, latents, hard negatives


class Staged(Predicts):
    """A system trained in stages: it owns the parts once, `stages()` builds the trainables around them."""

    parts: nn.ModuleDict

    def stages(self) -> list[Stage]:
        """Return the stages in the order of training."""
        raise NotImplementedError


# ----------------------------------------------------------------------------------------------------------------------
# Small things the shapes share

Model = TypeVar("Model", bound=Saved)


def builder(function: Callable[..., Model]) -> Callable[..., Model]:
    """Record a model's name and arguments on the model, so that `save` can write them, and put it into evaluation mode.

    The function's name is the model's name in the catalogue; its arguments must be plain values (numbers, strings,
    tuples of them).
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def build(*args: Any, **kwargs: Any) -> Model:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        model = function(*args, **kwargs)
        model.origin = (function.__name__, dict(bound.arguments))
        return model.eval()  # only training switches, so that predictions never have to

    return build


def in_float32(compare: Callable[..., Losses]) -> Callable[..., Losses]:
    """Run a comparison of outputs with targets outside autocast, on widened outputs: half precision ruins losses."""

    @functools.wraps(compare)
    def run(self: Any, outputs: Any, batch: Batch, step: Step) -> Losses:
        with torch.autocast(batch.images.device.type, enabled=False):
            return compare(self, type(outputs)(*(widened(value) for value in outputs)), batch, step)

    return run


def widened(value: Any) -> Any:
    """Return half-precision tensors (also inside lists and tuples) as float32, everything else as it is."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if isinstance(value, list | tuple):
        return type(value)(widened(v) for v in value)
    return value


SWITCHING = threading.RLock()
"""Held by the thread that has switched modules to evaluation for a while."""


class evaluating:  # noqa: N801 - reads as a statement: `with evaluating(model):`
    """Have a module in evaluation mode for the length of a block; where it is not, switch it, and back afterwards.

    What is in evaluation mode already is not touched, so that threads share it. While one thread has switched
    modules, others wait at the entrance: they would find them switched back in their midst.
    """

    def __init__(self, module: nn.Module):
        self.module = module

    def __enter__(self) -> nn.Module:
        SWITCHING.acquire()
        self.switched = [m for m in self.module.modules() if m.training]
        if not self.switched:
            SWITCHING.release()
            return self.module
        return self.module.eval()

    def __exit__(self, *exception: object) -> None:
        if self.switched:
            for module in self.switched:
                module.training = True
            SWITCHING.release()
