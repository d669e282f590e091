"""From a model to a file that says what it is, and whether it has the model's results.

model, photos -> program of torch -> graph of ONNX [-> eight bits]
              -> gate: results of the file and of the model, on the photos
              -> file with graph, configuration, licence, versions and verdict
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from vidi import files
from vidi.exported.gate import HALF_TOLERANCE, TOLERANCE, VERIFIED, Difference, batch_of, batches_of, difference
from vidi.exported.graph import Form, first_line, graph_of, program_of
from vidi.exported.network import KEY, Description, Runs, running, versions, with_network
from vidi.exported.quantised import quantised
from vidi.model import Predicts, Supervised
from vidi.preprocess import Sample

Format = Literal["onnx", "pt2"]

LARGEST = 2**31 - 2**20
"""Bytes of the largest graph that fits into one file of ONNX."""


class NoExportError(ValueError):
    """The model cannot be exported; the message says why."""

    is_usage = True


class DiffersError(ValueError):
    """The file does not have the results of the model."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: of the file.
        verdict: of the gate.
        difference: on the photos.
    """

    path: Path
    verdict: str
    difference: Difference


def reason_against(model: Any) -> str | None:
    """Return why a model cannot be exported, None if it may."""
    if isinstance(model, Supervised):
        return None
    if not isinstance(model, Predicts):
        return f"{type(model).__name__} has no results for pictures"
    if getattr(model, "by_one_network", False):
        return "it has been exported already, or its norms are folded"
    return f"{type(model).__name__} is more than one network from pictures to results"


@dataclass(frozen=True)
class Made:
    """An export before it is a file.

    Attributes:
        run: gives its outputs.
        contents: of the file, by the text that describes it.
    """

    run: Runs
    contents: Callable[[str], bytes]


def export_model(
    model: Any,
    samples: Sequence[Sample],
    path: str | Path,
    *,
    config: dict[str, Any],
    licence: str,
    format: Format = "onnx",
    half: bool = False,
    calibration: Sequence[Sample] = (),
    anyway: bool = False,
) -> Exported:
    """Write a model's network to a file, if its results are the model's.

    Args:
        model: with nothing against it, see `reason_against`.
        samples: photos that results are compared on.
        path: of the file.
        config: of the model, as a run's `config.json`.
        licence: of the weights.
        format: "onnx", or "pt2" for programs of torch.
        half: whether numbers inside have sixteen bits.
        calibration: photos that say the ranges of values in eight bits; none: numbers stay as they are.
        anyway: write it also if it differs. One of eight bits, which always differs, is written.

    Raises:
        NoExportError: if it cannot be exported.
        DiffersError: if it differs, and is not wanted anyway.
    """
    model, batches = model.eval(), batches_of(samples)
    try:
        example = batch_of(model, batches[-1])
        form = Form.of(_outputs(model, example))
        ranges = [batch_of(model, [sample]).inputs for sample in calibration]
        made, sides = _made(model, example.inputs, form, ranges, format=format, half=half)
    except (RuntimeError, ValueError) as error:
        raise NoExportError(f"{config['model']} is not exported: {error}") from error
    try:
        found = difference(model, with_network(model, made.run, form), batches)
    except Exception as error:  # of a runtime, whose errors are of no common kind
        raise NoExportError(f"{config['model']} is not exported: {first_line(error)}") from error
    verdict = found.verdict(HALF_TOLERANCE if half else TOLERANCE)
    verdict += f" at {sides[0]} x {sides[1]} pixels" if sides and verdict == VERIFIED else ""
    if not verdict.startswith(VERIFIED) and not anyway and not calibration:
        raise DiffersError(f"{path} is not written: it {verdict}; --anyway (anyway=True) writes it, with this verdict")
    described = Description(config, form.fields, verdict, licence, dict(versions()))
    files.write_bytes(path, made.contents(described.text()))
    return Exported(Path(path), verdict, found)


def _made(
    model: Any, inputs: Sequence[Tensor], form: Form, ranges: Sequence[Sequence[Tensor]], *, format: Format, half: bool
) -> tuple[Made, tuple[int, int] | None]:
    """Return a model's network exported, and its size (H, W) where it takes no other, which all pictures get."""

    def made(**free: bool) -> Made:
        program = program_of(model.network, inputs, half=half, **free)
        return _as_program(program) if format == "pt2" else _as_graph(program, names, form, ranges)

    names = list(inspect.signature(model.network.forward).parameters)[: len(inputs)]
    try:
        return made(), None
    except RuntimeError:
        sides = model.preprocess.crop or model.preprocess.exact
        if sides is None:
            raise
        return made(sides=False), sides


def _outputs(model: Any, batch: Any) -> Any:
    with torch.no_grad():
        return model.network(*batch.inputs)


def _as_program(program: torch.export.ExportedProgram) -> Made:
    """Return a program as it is after it was written and read."""
    read = files.program_of(files.program_bytes(program, {})).module()
    return Made(lambda inputs: read(*inputs), lambda text: files.program_bytes(program, {f"{KEY}.json": text}))


def _as_graph(
    program: torch.export.ExportedProgram, names: Sequence[str], form: Form, ranges: Sequence[Sequence[Tensor]]
) -> Made:
    """Return a program as a graph of ONNX with inputs of these names, in eight bits if there are inputs for that.

    Raises:
        ValueError: if it is too large for one file.
    """
    graph = graph_of(program, names, form.names)
    if graph.ByteSize() > LARGEST:
        raise ValueError(f"its graph has {graph.ByteSize() / 2**30:.1f} GiB, more than fits into a file of ONNX (2)")
    if ranges:
        graph = quantised(graph, ranges)

    def contents(text: str) -> bytes:
        graph.metadata_props.add(key=KEY, value=text)
        return graph.SerializeToString()

    return Made(running(graph.SerializeToString()), contents)
