"""`key=value` on the command line: parsed, checked against types and choices, all faults reported at once."""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import pydantic

HABITS = {
    **dict.fromkeys(("lr", "lr0", "base_lr"), "learning_rate"),
    **dict.fromkeys(("bs", "batch", "batchsize", "train_batch_size"), "batch_size"),
    **dict.fromkeys(("imgsz", "img_size", "image_size", "input_size", "resolution"), "size"),
    **dict.fromkeys(("epoch", "num_epochs", "max_epochs"), "epochs"),
    **dict.fromkeys(("max_steps", "iters", "iterations", "max_iters", "num_steps", "num_inference_steps"), "steps"),
    "wd": "weight_decay",
    **dict.fromkeys(("num_workers", "n_workers"), "workers"),
    **dict.fromkeys(("opt", "optim"), "optimizer"),
    **dict.fromkeys(("scheduler", "sched", "lr_scheduler", "cos_lr"), "schedule"),
    **dict.fromkeys(("warmup_epochs", "warmup_steps", "warmup_ratio"), "warmup"),
    **dict.fromkeys(("clip_grad", "grad_clip", "max_grad_norm", "gradient_clip_val"), "clip"),
    **dict.fromkeys(("accumulation_steps", "gradient_accumulation_steps", "grad_accum"), "accumulate"),
    **dict.fromkeys(("amp", "half", "fp16", "bf16", "dtype"), "precision"),
    **dict.fromkeys(("num_classes", "nc", "classes"), "categories"),
    **dict.fromkeys(("random_seed", "manual_seed"), "seed"),
    **dict.fromkeys(("guidance_scale", "cfg", "cfg_scale"), "guidance"),
    "negative_prompt": "negative",
    **dict.fromkeys(("label", "class_label"), "class"),
    **dict.fromkeys(("ema_decay", "model_ema"), "ema"),
}
"""What other tools call a key, and its name here."""

ELSEWHERE = {
    **dict.fromkeys(("data", "dataset", "data_dir"), "it is an option: --data PATH"),
    **dict.fromkeys(("weights", "checkpoint", "ckpt"), "it is an option: --weights FILE, RUN or NAME"),
    "pretrained": "begin with --weights or --backbone-weights; `vidi models NAME --weights`",
    **dict.fromkeys(("project", "output", "output_dir", "save_dir", "out"), "it is an option: --out FOLDER"),
    "resume": "it is an option: --resume RUN",
    "model": "the model is the first word: `vidi train NAME`",
    **dict.fromkeys(("conf", "conf_thres", "score_thr", "thresh"), "it is an option of `vidi predict`: --threshold"),
    **dict.fromkeys(("freeze", "freeze_backbone"), "backbone_rate=0 keeps the backbone as it is"),
    **dict.fromkeys(("gpus", "gpu", "devices", "nproc"), "N of them: `torchrun --nproc-per-node=N -m vidi train ...`"),
    **dict.fromkeys(("patience", "early_stopping"), "the best weights are kept, however long the training goes on"),
    **dict.fromkeys(("num_classes", "nc", "classes"), "the data set says which categories there are"),
    **dict.fromkeys(("count", "n_samples", "num_images"), "it is an option: --count"),
    **dict.fromkeys(("verbose", "quiet"), "it is an option: --quiet"),
}
"""What other tools have a key for, and how it is done here."""

ABOUT = 0.1
"""How much less alike than the nearest name, as a share, one may be that is told too."""

SHORT = 8
"""Most keys that are listed where none of them is near."""


class OverrideError(ValueError):
    """One or several keys or values that cannot be taken; the message has a line for each."""

    is_usage = True


@dataclass(frozen=True)
class Unreadable:
    """What stands for a value where a word was no `key=value`, or its key came before."""

    fault: str


def split_overrides(words: Sequence[str]) -> dict[str, str | Unreadable]:
    """Split `key=value` words; `check_overrides` tells what is wrong with them, with the faults of their values."""
    pairs: dict[str, str | Unreadable] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            pairs[word] = Unreadable(f"{word!r}: expected key=value")
        else:
            pairs[key] = Unreadable(f"{key}: given twice") if key in pairs else value
    return pairs


def check_overrides(values: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    """Convert values (text from a shell, or Python values) to the types their keys have.

    Args:
        values: what the user gave.
        types: every key that may be given, with its type: numbers, strings, literals, tuples of them, None.

    Raises:
        OverrideError: naming every unknown key with the nearest known one, and every value that does not fit.
    """
    faults, checked = [], {}
    for key, value in values.items():
        if isinstance(value, Unreadable):
            faults.append(value.fault)
            continue
        if key not in types:
            faults.append(f"{key}: no such key; {_advice(key, types)}")
            continue
        try:
            checked[key] = pydantic.TypeAdapter(types[key]).validate_python(_from_text(value, types[key]))
        except pydantic.ValidationError:
            faults.append(f"{key}: received {value!r}, expected {describe_type(types[key])}")
    if faults:
        raise OverrideError("\n".join(faults))
    return checked


def _advice(key: str, types: Mapping[str, Any]) -> str:
    """Say what a key that there is not was meant for."""
    habit = HABITS.get(key.lower())
    if habit in types:
        return f"here it is {habit}"
    if key.lower() in ELSEWHERE:
        return ELSEWHERE[key.lower()]
    if near := nearest_names(key, types):
        return f"did you mean {' or '.join(near)}?"
    if not types:
        return "there is none to give"
    return f"choices: {', '.join(sorted(types))}" if len(types) <= SHORT else "`vidi recipe NAME` lists all keys"


def advice_on_option(option: str, known: Iterable[str], keys: Collection[str] = ()) -> str:
    """Say what an option that there is not was meant for.

    Args:
        option: as it was typed, with its dashes.
        known: options of the command.
        keys: that the command takes as `key=value`.
    """
    key = option.lstrip("-").replace("-", "_").lower()
    for name in (key, HABITS.get(key, key)):
        if name in keys:
            return f"it is a key, without dashes: {name}=VALUE"
    if key in ELSEWHERE and option not in ELSEWHERE[key]:  # else the command has no such option
        return ELSEWHERE[key]
    near = nearest_names(option.lstrip("-"), [name.lstrip("-") for name in known])
    return f"did you mean {' or '.join(f'--{name}' for name in near)}?" if near else "--help lists all options"


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that a misspelt one was meant for: at most three, about as near as the nearest."""
    near = difflib.get_close_matches(name, known, 3)
    ratios = [difflib.SequenceMatcher(None, other, name).ratio() for other in near]
    return [other for other, ratio in zip(near, ratios, strict=True) if ratio > ratios[0] - ABOUT]


def spelled(value: Any) -> str:
    """Return a value as a shell spells it: `check_overrides` reads it again, but for tuples of tuples."""
    if isinstance(value, tuple):
        return ",".join(f"({spelled(part)})" if isinstance(part, tuple) else spelled(part) for part in value)
    return "none" if value is None else str(value)


def describe_type(annotation: Any) -> str:
    """Say in words what values a type admits: `int`, `one of sgd, adamw`, `int or none`, `H,W`."""
    if annotation is None or annotation is type(None):
        return "none"
    arguments = get_args(annotation)
    if not arguments:
        return getattr(annotation, "__name__", str(annotation))
    if _is_literal(annotation):
        return "one of " + ", ".join(map(str, arguments))
    if get_origin(annotation) is tuple:
        if arguments[-1] is Ellipsis:
            return f"{describe_type(arguments[0])},..."
        return ",".join(describe_type(a) for a in arguments)
    return " or ".join(describe_type(a) for a in arguments)


def _is_literal(annotation: Any) -> bool:
    return str(get_origin(annotation)) == "typing.Literal"


def _from_text(value: Any, annotation: Any) -> Any:
    """Turn shell text into None, a choice or a tuple where the type has one; pydantic converts the numbers."""
    if not isinstance(value, str):
        return value
    if _is_literal(annotation):
        return next((choice for choice in get_args(annotation) if str(choice) == value), value)
    members = get_args(annotation) if not _is_literal(annotation) and get_origin(annotation) is not tuple else ()
    if value.lower() == "none" and type(None) in members:
        return None
    tuples = [t for t in (annotation, *members) if get_origin(t) is tuple]
    if tuples and not (int in members and value.isdecimal()):
        parts = [part.strip() for part in value.strip("()[] ").split(",") if part.strip()]
        return tuple(None if part.lower() == "none" else part for part in parts)
    return value
