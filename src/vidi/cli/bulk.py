"""`vidi predict ... --save`: pictures by the million, for as many processes as torchrun starts."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vidi.cli.output import err, out, print_json
from vidi.engine.console import counting, pace

if TYPE_CHECKING:
    from vidi.model import Predicts


def loaded(
    name: str, weights: str | None, threshold: float | None, options: Mapping[str, Any], *, download: bool
) -> Any:
    """Return a model as it is to predict, on the device of this process."""
    import torch

    from vidi import api

    model = api.load_or_create(name, weights=weights, download=download)
    if options:
        model = api.with_options(model, options)
    if threshold is not None:
        model.shown_from = threshold
    if torch.cuda.is_available():
        model.to(torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()))
    return model


def predict(
    model: "Predicts",
    arguments: Sequence[str],
    folder: Path,
    save: Literal["jsonl", "coco", "parquet", "labels"],
    *,
    as_json: bool,
    **asked: Any,
) -> None:
    """Predict on all that was named, `asked` as `vidi.bulk.job.Asked` says, and say what was done and what is left."""
    from vidi import api
    from vidi.bulk.job import Asked, predict_many, usual_workers
    from vidi.bulk.sources import listing_of
    from vidi.data.readers.image_set import counted_suffixes

    model = api.predicting(model, asked["known"])
    process, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    asked = {"workers": usual_workers(int(os.environ.get("LOCAL_WORLD_SIZE", processes)))} | asked
    listing = listing_of(arguments, folder)
    if listing.skipped and process == 0:
        print(f"vidi: skipped: {counted_suffixes(listing.skipped)}", file=sys.stderr)
    how, began = Asked(save, **asked), time.perf_counter()
    with counting(err) as bar:

        def hear(done: int, total: int, error: str | None = None, /) -> None:
            if error is not None:
                err.print(f"vidi: {error}", markup=False, highlight=False)
            bar("pictures", done, total)

        try:
            done = predict_many(model, listing, folder, how, process=process, processes=processes, hears=hear)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; the same command goes on where it was") from None
    told = [f"{done.before} were done before"] * bool(done.before) + [f"{done.broken} have an error"] * bool(
        done.broken
    )
    err.print(", ".join([pace(done.pictures, time.perf_counter() - began), *told]), markup=False, highlight=False)
    if as_json:
        print_json({**done._asdict(), "saved": list(map(str, done.saved))})
        return
    if done.saved:
        out.print(f"saved: {', '.join(map(str, done.saved))}", markup=False, highlight=False)
    else:
        left = f"{done.left} are left to other processes, of which the last one writes the files; if none runs, this "
        out.print(f"{left}command does them", markup=False, highlight=False)
