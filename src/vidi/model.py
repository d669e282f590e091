"""What a system is made of: how it is trained (shapes) and what it can do (verbs), two questions answered apart.

Shapes: `OneLoss` (most systems), `Adversarial`, `Staged`, `Fitted`. Verbs: `Predicts`, `Samples`, `Embeds`.
`Supervised` is one loss and predicts, by four parts: a `network` (tensors to tensors), a `criterion` (runs the network
as training needs it and compares), a `decode` (outputs to typed results in the pixels of the original) and a
`Preprocess` (numbers only, travels with the weights):

    files -> Preprocess.place -> Preprocess.collate -> Batch -> network(*batch.inputs) -> outputs -> decode -> results
                                                         `-> criterion(network, batch, step) -> {name: scalar}
"""

import copy
import functools
import inspect
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, get_args, get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vidi import files
from vidi.chosen import decided_by, options_of, selecting_by
from vidi.keys import typed
from vidi.preprocess import AnyBatch, Prepares, Preprocess, Sample, as_images, first_image, in_batches, several
from vidi.results.categories import Categories, category_names
from vidi.results.result import SHOWN_FROM, settle
from vidi.tiled import Tiling, predict_in_tiles

Losses = dict[str, Tensor]
"""Name -> scalar, weights applied; training minimises the sum."""

Value = TypeVar("Value")


def identity(value: Value) -> Value:
    """Return `value`: what a mean or a gathering over one process is."""
    return value


def untold(what: str, done: int, total: int) -> None:
    """Tell nobody."""


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

    def joint_generator(self) -> torch.Generator | None:
        """Return a generator that is the same in all processes, for draws over the rows that `gather` gives."""
        if self.generator is None:
            return None
        device = self.generator.device
        seeds = self.gather(torch.tensor([self.generator.initial_seed()], device=device))
        return torch.Generator(device).manual_seed(int(seeds[0]))


class Criterion(Protocol):
    """Runs the network as training needs it, and compares; may own parameters, never the network."""

    def __call__(self, network: nn.Module, batch: Any, step: Step) -> Losses: ...


class Decode(Protocol):
    """Outputs of one forward to one typed result per image, in the pixels of the original. Pure."""

    def __call__(self, outputs: Any, placements: Sequence[Any]) -> list[Any]: ...


# ----------------------------------------------------------------------------------------------------------------------
# What every system is, and what it can do


class Saved(nn.Module):
    """Anything that `@builder` made: knows how it was built, and saves itself."""

    origin: tuple[str, dict[str, Any]] | None = None
    preprocess: Any  # a `Prepares`; `Preprocess` wherever images come in
    can_begin_with_weights: bool = True
    drawn_at: tuple[int, ...] | None = None  # the versions of random weights that nobody has changed so far

    def __repr__(self) -> str:
        name = type(self).__name__ if self.origin is None else self.origin[0]
        count = sum(parameter.numel() for parameter in self.parameters())
        return f"<{name}: {count:,} parameters on {self.device}>"

    def note_random_weights(self) -> None:
        """Remember that the weights are random, as long as nobody changes them."""
        self.drawn_at = _versions(self)

    def is_random(self) -> bool:
        """Tell whether the weights are those that were drawn when the model was built."""
        return bool(self.drawn_at) and _versions(self) == self.drawn_at

    @property
    def categories(self) -> Categories:
        """The names of the classes, None for unnamed ones; none for a system without classes."""
        arguments = {} if self.origin is None else self.origin[1]
        named = arguments.get("categories")
        return category_names(named) if named else ()

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

    def stages(self) -> "list[Stage]":
        """Return the trainings that it takes, in order; one by default, of the model itself."""
        return [Stage("", self)]

    def learnt_numbers(self) -> dict[str, float]:
        """Return single numbers that it learnt and that say how well, by name; none by default."""
        return {}


def _versions(model: nn.Module) -> tuple[int, ...]:
    """Return how often each parameter was changed."""
    return tuple(parameter._version for parameter in model.parameters())


class Predicts(Saved):
    """Gives one typed result per image."""

    by_one_network: bool = False  # whether its results are `decode` of what one `network` makes of a batch's inputs
    shown_from: float = SHOWN_FROM  # the score from which on results show what was found; a run has its own

    def description(self) -> dict[str, Any]:
        own = {} if self.shown_from == SHOWN_FROM else {"threshold": self.shown_from}
        return {**super().description(), **own}

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Predict on pictures, as `predict` takes them; tensors go through the network as in any module of torch."""
        if not inputs or isinstance(inputs[0], Tensor):
            return super().__call__(*inputs, **options)
        return self.predict(*inputs, **options)

    def predict(
        self,
        images: Any,
        *,
        threshold: float | int | None = None,
        batch_size: int = 16,
        tile: int | None = None,
        overlap: float | int = 0.25,
        **known: Any,
    ) -> list[Any]:
        """Return one result per image, in input order; each remembers its picture, so that it can be drawn and saved.

        Args:
            images: one image or a sequence of them: paths (a folder is all pictures in it), PIL images, arrays (of
                shape H W, H W 1, H W 3 or H W 4: whole numbers 0 to 255, floats 0 to 1, or uint16 H W) or tensors
                3 H W (uint8, or float in [0, 1]), mixed at will.
            threshold: leave out what was found with a lower score. By default all that the decoder lets through is
                kept, and `print`, `draw` and `above()` show what scores at least the model's `shown_from`.
            batch_size: the most images that go through the network at once; only images of equal canvas share a
                batch, so that a result does not depend on its neighbours.
            tile: cut images into squares of so many pixels, and put together what is found in them: `vidi.tiled`.
            overlap: the share of a tile that the next one shows again.
            known: what the model's own `samples` takes besides, such as the focal length.

        Several threads may call it at once; those of a model in training mode take turns.

        Raises:
            ValueError: for a tile or an overlap that cannot be, and for results that are not of pixels or boxes.
        """
        if self.is_random():
            name = type(self).__name__ if self.origin is None else self.origin[0]
            logging.getLogger("vidi").warning("%s has random weights: its results mean nothing yet", name)
            self.drawn_at = None  # said once
        given = several(images)
        samples = self.samples(given, **known)
        results = self.predict_samples(samples, batch_size=batch_size, tile=tile, overlap=overlap)
        if isinstance(given, Sequence) and type(self).read is Predicts.read:
            for result, image in zip(results, given, strict=True):  # what runs through a generator is not held on to
                settle(result, picture=functools.partial(first_image, image))
        if threshold is None:
            return results
        return [result.above(threshold) if hasattr(result, "above") else result for result in results]

    def predict_samples(
        self,
        samples: Iterable[Sample],
        *,
        batch_size: int = 16,
        tile: int | None = None,
        overlap: float | int = 0.25,
    ) -> list[Any]:
        """Return one result per sample: an image as `read` yields it, and a target with what is known of it besides."""
        with evaluating(self), torch.no_grad():
            if tile is not None:
                tiling = Tiling(tile, overlap)
                results = [predict_in_tiles(self, image, tiling, batch_size) for image, _ in samples]
            else:
                found = dict(in_batches(self.preprocess, samples, batch_size, self.predict_batch))
                results = [found[row] for row in range(len(found))]
        for result in results:
            if hasattr(result, "above"):
                settle(result, threshold=self.shown_from)
        return results

    def read(self, inputs: Any) -> Iterator[Tensor]:
        """Yield what `predict` takes as tensors that `preprocess` can place."""
        return as_images(inputs)

    def samples(self, images: Any) -> Iterator[Sample]:
        """Yield what `predict` takes as samples.

        A model that makes use of more than pictures, such as their focal length, takes it here by a name of its own;
        `vidi predict` has an option of that name.
        """
        return ((image, {}) for image in self.read(images))

    def predict_batch(self, batch: AnyBatch) -> list[Any]:
        """Return one result per image of a batch, in the pixels of the originals."""
        raise NotImplementedError

    def judge_batch(
        self, batch: AnyBatch, steps: Sequence[Step], note: Callable[[Sequence[Losses]], None]
    ) -> list[Any]:
        """Return the results of a batch; before, note the losses of each image alone, if it has any.

        Args:
            batch: on the model's device.
            steps: one for each image's losses.
            note: hears the losses, one set for each image.
        """
        return self.predict_batch(batch)


class Samples(Saved):
    """Makes images. A system's own `sample` has the keyword arguments that it takes as conditions, with their types.

    An argument that ends in an underscore, such as `class_`, is asked for without it.
    """

    tell: Callable[[str, int, int], None] = staticmethod(untold)
    """Hears of long samplings: what is done, how many steps of it, of how many."""

    def sample(self, count: int, *, generator: torch.Generator | None = None) -> Float[Tensor, "N C H W"]:
        """Return images in [0, 1]; equal generators give equal images, image i whatever the count.

        Image i of a generator with the seed s is the first one of the seed s + i.
        """
        raise NotImplementedError

    def conditions(self, image: int | None = None, /, **given: Any) -> dict[str, Any]:
        """Return all conditions of `sample` by name: those given, and what the others come to.

        Args:
            image: its number: the conditions under which it is the first image of its own seed; None: those of all.
            given: some of the conditions.

        Raises:
            ValueError: for conditions out of range, or under which an image is no function of its own seed.
        """
        asked = inspect.signature(self.sample).bind(1, **given)
        asked.apply_defaults()
        return {key: value for key, value in asked.arguments.items() if key not in ("count", "generator")}

    def log_prob(self, images: Float[Tensor, "N C H W"]) -> Float[Tensor, " N"]:
        """Return the log-density of images in [0, 1], in nats; NotImplementedError where a system has none, as GANs."""
        raise NotImplementedError(f"a {type(self).__name__} draws images, and knows no density of them")

    def opinion(self, real: Float[Tensor, "N C H W"], generated: Float[Tensor, "M C H W"]) -> dict[str, float]:
        """Return numbers by which the model itself tells real images from its own, in [0, 1]; none by default."""
        return {}


class Embeds(Saved):
    """Turns images into vectors that are near each other for what is alike."""

    def embed(self, images: Any, *, batch_size: int = 16) -> Float[Tensor, "N D"]:
        """Return one vector per image, in input order; images as for `Predicts.predict`."""
        raise NotImplementedError


# ----------------------------------------------------------------------------------------------------------------------
# The shapes: how it is trained


class Trainable(Saved):
    """One or several players that take turns: all that training by gradients knows of a model."""

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


class OneLoss(Trainable):
    """One loss and one optimizer: a network, its criterion and its preprocessing."""

    def __init__(self, network: nn.Module, criterion: Criterion, preprocess: Prepares):
        super().__init__()
        self.network = network
        self.criterion = criterion
        self.preprocess = preprocess

    def forward(self, *inputs: Tensor) -> Any:
        """Return the network's raw outputs for a batch's inputs; a NamedTuple of tensors, half precision widened.

        Usually the inputs are normalised images B C H W; for networks that tell images from padding also a mask B H W,
        True on pixels of images, which may be left away where there is no padding.
        """
        outputs = self.network(*inputs)
        return type(outputs)(*(widened(value) for value in outputs))

    def parameters_of(self, turn: str) -> Iterable[nn.Parameter]:
        return self.parameters()

    def backbone_parameters(self) -> Iterable[nn.Parameter]:
        backbone = getattr(self.network, "backbone", None)
        return () if backbone is None else backbone.parameters()

    def losses(self, turn: str, batch: AnyBatch, step: Step) -> Losses:
        return self.criterion(self.network, batch, step)


class Supervised(OneLoss, Predicts):
    """One loss against the truth of an image, and one result for it: also a decoder."""

    by_one_network = True

    def __init__(self, network: nn.Module, criterion: Criterion, decode: Decode, preprocess: Prepares):
        super().__init__(network, criterion, preprocess)
        self.decode = decode

    def options(self) -> dict[str, Any]:
        """Return what may be chosen anew for predictions, by name, and its type; nothing by default.

        `vidi.chosen` says who names options; of those, a model that a builder made has its arguments, so that it can be
        saved as it was chosen.
        """
        found = options_of(self.decode, self.network)
        return found if self.origin is None else {name: found[name] for name in found if name in self.origin[1]}

    def with_options(self, **options: Any) -> "Supervised":
        """Return a model of the same weights that decides by other numbers; what it saves has them as its arguments.

        Raises:
            ValueError: for options that it does not have, and for values that cannot be.
        """
        unknown = sorted(set(options) - set(self.options()))
        if unknown:
            known = ", ".join(sorted(self.options())) or "none: it has no options"
            raise ValueError(f"received the options {', '.join(unknown)}, expected {known}")
        other = copy.copy(self)
        other.decode = decided_by(self.decode, options)
        network = selecting_by(self.network, options, self.decode)
        other.__dict__["_modules"] = {**self._modules, "network": network}
        if self.origin is not None:
            name, arguments = self.origin
            other.origin = (name, {**arguments, **options})
        return other

    def loss(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> Losses:
        """Return the named losses of images (as for `predict`) against targets in the pixels of those images."""
        samples = zip(self.read(images), targets, strict=True)
        placed = [self.preprocess.place(image, typed(target, image.shape[-2:])) for image, target in samples]
        batch = self.preprocess.collate(placed)
        return self.losses("network", batch.to(self.device), Step())

    def predict_batch(self, batch: AnyBatch) -> list[Any]:
        batch = batch.to(self.device)
        return self.results_of(self(*batch.inputs), batch)

    def results_of(self, outputs: Any, batch: AnyBatch) -> list[Any]:
        """Return what outputs say of the images of a batch."""
        return self.decode(outputs, batch.placements)

    def judge_batch(
        self, batch: AnyBatch, steps: Sequence[Step], note: Callable[[Sequence[Losses]], None]
    ) -> list[Any]:
        outputs = self(*batch.inputs)
        note([self._losses_alone(outputs, batch, row, step) for row, step in enumerate(steps)])
        return self.results_of(outputs, batch)

    def _losses_alone(self, outputs: Any, batch: AnyBatch, row: int, step: Step) -> Losses:
        """Return the losses of one image of a batch, as if it were alone.

        They are those of the batch's outputs where criterion and outputs allow it, else the network runs on it again.
        """
        compare = getattr(self.criterion, "compare", None)
        alone = None if compare is None else outputs_alone(outputs, row)
        if compare is None or alone is None:
            return self.losses("network", batch.only(row), step)
        return compare(alone, batch.only(row), step)


class Adversarial(Trainable):
    """A generator and a discriminator that take turns; each has its own loss.

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

    def losses(self, turn: str, batch: AnyBatch, step: Step) -> Losses:
        compare = self.criterion.of_discriminator if turn == "discriminator" else self.criterion.of_generator
        return compare(self.generator, self.discriminator, batch, step)


class Fitted(Saved):
    """A system that is fitted, not trained by gradients; what it learns are buffers, loaded strictly by name."""

    can_begin_with_weights = False

    def fit(self, dataset: Any, *, generator: torch.Generator | None = None) -> None:
        """Learn from a data set of samples (image, target)."""
        raise NotImplementedError

    def learnt_numbers(self) -> dict[str, float]:
        return {name: value.item() for name, value in self.named_buffers() if value.ndim == 0}

    def register_learnt(self, name: str, value: Tensor) -> None:
        """Make a buffer that `fit` fills; a saved model may hold another number of rows than an empty one."""
        self.register_buffer(name, value)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any) -> None:
        for name, value in list(self.named_buffers(recurse=False)):
            saved = state_dict.get(prefix + name)
            if saved is not None and saved.ndim == value.ndim:
                setattr(self, name, torch.empty_like(saved, device=value.device))
        super()._load_from_state_dict(state_dict, prefix, *arguments)  # type: ignore[arg-type]


class Staged(Saved):
    """A system trained in stages: it owns the parts once, `stages()` builds the trainables around them."""

    parts: nn.ModuleDict

    def stages(self) -> "list[Stage]":
        raise NotImplementedError


@dataclass(frozen=True)
class Stage:
    """One training of a system; recipe keys of a staged one are `name.key`."""

    name: str  # "" for the only one
    model: Saved  # trainable or fitted; shares modules with the other stages by reference
    prepare: Callable[[Any], Any] = identity  # the data set as this stage sees it: proposals, latents, hard negatives


# ----------------------------------------------------------------------------------------------------------------------
# Small things the shapes share

Model = TypeVar("Model", bound=Saved)
Arguments = ParamSpec("Arguments")


def builder(function: Callable[Arguments, Model]) -> Callable[Arguments, Model]:
    """Record a model's name and arguments on the model, so that `save` can write them, and put it into evaluation mode.

    The function's name is the model's name in the catalogue; its arguments must be plain values (numbers, strings,
    tuples of them).
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def build(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Model:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        model = function(*args, **kwargs)
        model.origin = (function.__name__, dict(bound.arguments))
        return model.eval()  # only training switches, so that predictions never have to

    return build


def of_family(
    build: Callable[Concatenate[str, Arguments], Model],
    name: str,
    says: str,
    module: str | None = None,
    without: Sequence[str] = (),
    **defaults: Any,
) -> Callable[Arguments, Model]:
    """Return the `builder` of one member of a family: signature, types and docstring are the family's, less the name.

    Args:
        build: makes any member from its name; below the first line its docstring explains the other arguments.
        name: of the member, in the catalogue and for `build`.
        says: what the first line of the docstring says of it, such as the number of parameters.
        module: in which the member stands; None: that of the family.
        without: arguments of the family that the member does not take; they keep their defaults.
        defaults: of the member, where they differ from the family's.

    Raises:
        ValueError: if the family has no argument of such a default, or none to do without.
    """
    return _member(functools.partial(build, name, **defaults), build, name, says, module, without)


def with_defaults(
    build: Callable[Arguments, Model], name: str, says: str, module: str | None = None, **defaults: Any
) -> Callable[Arguments, Model]:
    """Return a `builder` that is another one with other defaults: its signature, types and docstring, less the name.

    Args:
        build: a builder; below the first line its docstring explains the arguments.
        name: of the new one, in the catalogue.
        says: what the first line of its docstring says of it.
        module: in which it stands; None: that of the other one.
        defaults: its own.

    Raises:
        ValueError: if there is no argument of such a default.
    """
    return _member(functools.partial(build, **defaults), build, name, says, module)


def _member(
    bound: Any, build: Callable[..., Any], name: str, says: str, module: str | None, without: Sequence[str] = ()
) -> Any:
    """Make a builder of its own of a family's, of which some arguments are settled."""
    _, _, explained = (build.__doc__ or "").partition("\n")
    signature = inspect.signature(bound)
    unknown = [argument for argument in without if f"    {argument}: " not in explained]
    if unknown:
        raise ValueError(
            f"received {', '.join(unknown)} to do without, expected arguments that {build.__name__} explains"
        )
    lines = [line for line in explained.split("\n") if not line.lstrip().startswith(tuple(f"{a}: " for a in without))]
    bound.__name__ = bound.__qualname__ = name
    bound.__module__ = module or build.__module__
    bound.__doc__ = "\n".join([f"Build {name}: {says}.", *lines])
    kept = [parameter for argument, parameter in signature.parameters.items() if argument not in without]
    bound.__signature__ = signature.replace(parameters=kept)
    left = {*bound.__signature__.parameters, "return"}  # what is left to say
    made: Any = builder(bound)
    made.__annotations__ = {key: kind for key, kind in build.__annotations__.items() if key in left}
    return made


def in_float32(compare: Callable[..., Losses]) -> Callable[..., Losses]:
    """Run a comparison of outputs with targets outside autocast, on widened outputs: half precision ruins losses."""

    @functools.wraps(compare)
    def run(self: Any, outputs: Any, batch: AnyBatch, step: Step) -> Losses:
        with torch.autocast(batch.inputs[0].device.type, enabled=False):
            return compare(self, type(outputs)(*(widened(value) for value in outputs)), batch, step)

    return run


def outputs_alone(outputs: Any, row: int) -> Any | None:
    """Cut one image out of outputs by their declared axes: B is cut, what has none (anchors) is of every image.

    None for outputs that declare no axes.
    """
    fields = []
    for value, declared in zip(outputs, get_type_hints(type(outputs)).values(), strict=True):
        several = isinstance(value, tuple)
        axes = getattr(get_args(declared)[0] if several else declared, "dim_str", None)
        if axes is None:
            return None
        cut = [part[row : row + 1] if axes.split()[0] == "B" else part for part in (value if several else (value,))]
        fields.append(tuple(cut) if several else cut[0])
    return type(outputs)(*fields)


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
