"""What a request gets back: results as plain values, with what a page draws itself; or the picture that they draw."""

import base64
import inspect
import zlib
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor

from vidi import files
from vidi.engine.conditions import told_conditions
from vidi.engine.overrides import describe_type
from vidi.files import ImageBytes
from vidi.model import Samples
from vidi.ops.palette import class_colour
from vidi.serve.limits import Limits
from vidi.serve.served import Prepared, Served, Source

MEDIA = {"png": "image/png", "jpeg": "image/jpeg"}
"""The kinds of pictures that can be asked for."""


def name_of(source: Source) -> str:
    """Return what a picture is called; of a pair, the left one."""
    return source.name if isinstance(source, ImageBytes) else source[0].name


def answer_of(source: Source, prepared: Prepared, result: Any, threshold: float | None, side: int | None) -> Any:
    """Return a result as plain values.

    Args:
        source: the picture.
        prepared: from it.
        result: of it.
        threshold: leave out what was found with a lower score; None: than the model's own.
        side: pixels of the longer side of maps that are added, at most; None: no maps.
    """
    shown = result.above(threshold) if hasattr(result, "above") else result
    height, width = prepared.image.shape[-2:]
    about = {"image": name_of(source), "width": width, "height": height, "kind": type(result).__name__}
    found = {**about, "summary": str(shown), "result": shown.to_dict()}
    if side is not None:
        maps = shown.maps() if hasattr(shown, "maps") else {}
        found["maps"] = {name: packed(values, side) for name, values in maps.items()}
        skeleton = getattr(result, "skeleton", None)
        if skeleton is not None:
            found["bones"] = [[skeleton.joints[a], skeleton.joints[b]] for a, b in skeleton.bones]
    return found


def packed(values: Tensor, side: int) -> dict[str, Any]:
    """Return a map H W for JSON: its shape, the type of its numbers, and those compressed by zlib as base64.

    A map with a longer side than `side` is thinned out: of every so many rows and columns the first is kept.
    """
    step = -(-max(values.shape) // side)
    thinned = values[::step, ::step].contiguous()
    if thinned.dtype == torch.int32:
        fits = not thinned.numel() or 0 <= int(thinned.min()) <= int(thinned.max()) < 2**16
        thinned = thinned.to(torch.uint16) if fits else thinned
    data = base64.b64encode(zlib.compress(thinned.numpy().tobytes(), 1)).decode("ascii")
    kind = str(thinned.dtype).removeprefix("torch.")
    return {"shape": list(thinned.shape), "step": step, "type": kind, "zlib": data}


def drawn(result: Any, threshold: float | None, kind: str) -> bytes:
    """Return the picture with a result drawn on it, as the bytes of a file."""
    picture = result.draw(result.picture(), threshold=threshold)
    return files.encode_image(picture, f".{kind}", quality=90)


def made(
    images: Float[Tensor, "N C H W"], seed: int, served: Served, conditions: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return pictures that a model made as PNGs in base64, each with its seed; their text says how to repeat it."""
    model: Any = served.model
    told = {"model": served.name, "seed": str(seed), "count": str(len(images)), **told_conditions(model, conditions)}
    rows = []
    for number, image in enumerate((images.clamp(0, 1) * 255).round().to(torch.uint8)):
        data = files.encode_image(image, ".png", text={**told, "picture": str(number)})
        rows.append({"seed": seed + number, "png": base64.b64encode(data).decode("ascii")})
    return rows


def described(served: Served, limits: Limits) -> dict[str, Any]:
    """Return what there is to know of a model before it is asked: its verbs, classes, threshold and conditions."""
    model: Any = served.model
    about: dict[str, Any] = {
        "name": served.name,
        "system": model.origin[0] if model.origin is not None else type(model).__name__,
        "does": list(served.does),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    if "predict" in served.does:
        names = model.categories
        about["categories"] = [{"name": name, "colour": _hex(k)} for k, name in enumerate(names)]
        about["threshold"] = model.shown_from
        about["pairs"] = served.looks_at_pairs
        about["knows"] = list(served.knows)
    if "sample" in served.does:
        about["conditions"] = conditions_of(model)
        about["most"] = limits.samples
    return about


def conditions_of(model: Samples) -> list[dict[str, Any]]:
    """Return what a model can be asked for when it makes pictures: name, type in words, choices, and default."""
    hints, rows = get_type_hints(model.sample), []
    for name, parameter in inspect.signature(model.sample).parameters.items():
        if name not in ("count", "generator"):
            row = {"name": name.removesuffix("_"), "type": describe_type(hints[name]), "default": parameter.default}
            rows.append({**row, "choices": list(get_args(hints[name]))} if get_origin(hints[name]) is Literal else row)
    return rows


def _hex(index: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*class_colour(index))
