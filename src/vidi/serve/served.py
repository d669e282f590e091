"""A model behind a queue: what it can do, asked by many requests at once.

    bytes   `prepare`   decoded as a file would be, resized; in the threads of the caller
    Placed  `Batcher`   those of equal canvas go through the network together, in the one thread of the model
    result  `predict`   as `model.predict` of that picture alone gives it

A model is asked only for its verbs, whatever class of network it is.
"""

import inspect
import time
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vidi.engine.conditions import checked_conditions
from vidi.files import ImageBytes
from vidi.keys import typed
from vidi.model import Embeds, Predicts, Samples, Saved, evaluating, untold
from vidi.nn.inference import fuse_for_inference
from vidi.results.result import settle
from vidi.serve.batching import Batcher
from vidi.serve.metrics import Metrics

Source = ImageBytes | tuple[ImageBytes, ImageBytes]
"""A picture, or the left and the right one of a stereo pair."""


@dataclass(frozen=True)
class Prepared:
    """A picture that was decoded and resized: all that a network needs of it, and what a result is drawn on."""

    image: Tensor
    placed: tuple[Tensor, Mapping[str, Tensor], Any]


class Served:
    """A model that is served.

    Args:
        name: by which requests choose it.
        model: that predicts, makes or embeds pictures.
        metrics: hears of batches.
        most: pictures of a batch.
        wait: seconds for which a batch waits for pictures that are coming.

    Raises:
        ValueError: for a model that does none of it.
    """

    def __init__(
        self, name: str, model: Saved, *, metrics: Metrics | None = None, most: int = 16, wait: float | int = 0.004
    ):
        if not isinstance(model, Predicts | Samples | Embeds):
            kind = type(model).__name__
            raise ValueError(f"received {name}, a {kind}, expected a model that looks at pictures or makes some")
        self.name, self.model, self.metrics = name, model, metrics or Metrics()
        self.predictor: Predicts | None = None
        if isinstance(model, Predicts):
            self.predictor = fuse_for_inference(model) if model.by_one_network else model
            self.predictor.eval()
        self.batches: Batcher[Any, Any] = Batcher(self._run, most=most, wait=wait, name=f"model {name}")

    @property
    def does(self) -> tuple[str, ...]:
        """The verbs that the model has."""
        verbs = {"predict": Predicts, "sample": Samples, "embed": Embeds}
        return tuple(verb for verb, kind in verbs.items() if isinstance(self.model, kind))

    @property
    def looks_at_pairs(self) -> bool:
        """Whether it takes two pictures for each result."""
        return bool(getattr(self.model.preprocess, "paired", False))

    @property
    def knows(self) -> tuple[str, ...]:
        """What it takes besides pictures, such as their focal length."""
        if not isinstance(self.model, Predicts):
            return ()
        parameters = inspect.signature(self.model.samples).parameters.values()
        return tuple(p.name for p in parameters if p.name != "images" and p.kind is not p.VAR_KEYWORD)

    # ------------------------------------------------------------------------------------------------------- pictures

    def prepare(self, source: Source, known: Mapping[str, Any]) -> Prepared:
        """Decode and resize a picture.

        Raises:
            ValueError: if it cannot be decoded, or the model does not take such a picture.
        """
        if not isinstance(self.model, Predicts):
            raise ValueError(f"{self.name} predicts nothing")
        ((image, told),) = self.model.samples([source], **known)
        return Prepared(image, self.model.preprocess.place(image, typed(told, image.shape[-2:])))

    def predict(self, prepared: Prepared) -> "Future[Any]":
        """Put a prepared picture into the queue; its result is as `model.predict` gives it."""
        return self.batches.submit(("canvas", *prepared.placed[0].shape), prepared)

    def embed(self, source: Source) -> "Future[Tensor]":
        """Put a picture into the queue whose vector is wanted; of a model that embeds and predicts nothing."""
        model: Any = self.model
        return self.batches.submit(None, lambda: model.embed([source])[0])

    # --------------------------------------------------------------------------------------------------------- making

    def sample(
        self, count: int, seed: int, conditions: Mapping[str, Any], seconds: float | int
    ) -> "Future[Float[Tensor, 'N C H W']]":
        """Put a wish for pictures into the queue.

        Args:
            count: N.
            seed: of the first picture; the others have the next ones.
            conditions: what the model's own `sample` takes besides.
            seconds: from now on, after which a long sampling is given up between two of its steps.

        Raises:
            OverrideError: naming all conditions that the model does not take.
        """
        model: Any = self.model
        asked, until = checked_conditions(model, conditions), time.monotonic() + seconds

        def tell(what: str, done: int, total: int) -> None:
            if time.monotonic() > until:
                raise TimeoutError(f"{what}: {done} of {total} steps after {seconds:g} s")

        def draw() -> Tensor:
            model.tell = tell
            try:
                return model.sample(count, generator=torch.Generator(model.device).manual_seed(seed), **asked).cpu()
            finally:
                model.tell = untold

        return self.batches.submit(None, draw)

    # ------------------------------------------------------------------------------------------------------ the thread

    def _run(self, key: Hashable, items: Sequence[Any]) -> Sequence[Any]:
        start = time.perf_counter()
        try:
            if key is None:
                return [items[0]()]
            self.metrics.add("vidi_batch_size", len(items), model=self.name)
            return self._predicted(items)
        finally:
            self.metrics.add("vidi_model_seconds", time.perf_counter() - start, model=self.name)

    def _predicted(self, rows: Sequence[Prepared]) -> list[Any]:
        model: Any = self.predictor
        with evaluating(model), torch.no_grad():
            results = model.predict_batch(model.preprocess.collate([row.placed for row in rows]))
        for row, result in zip(rows, results, strict=True):
            settle(result, picture=lambda image=row.image: image)
            if hasattr(result, "above"):
                settle(result, threshold=self.model.shown_from)  # type: ignore[attr-defined]
        return results
