"""A network as a graph of ONNX, or as a program of torch: any batch, and any height and width that it takes itself.

network(*inputs)   NamedTuple of tensors, or of tuples of tensors
Flat               the tensors in a row, half precision widened             `Form` says how they were put together
torch.export       a program; which sides are free is found by tracing
torch.onnx         a graph; what it has no translation for, this file has
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vidi.model import widened

AXES = {4: ("batch", None, "height", "width"), 3: ("batch", "height", "width"), 2: ("batch", None)}
"""Of an input, by the number of its axes; None is fixed."""


@dataclass(frozen=True)
class Form:
    """How a NamedTuple of outputs is put together: the fields by name, and how many tensors each holds.

    Attributes:
        fields: (name, count) for each; count is None for one tensor, and a number for a tuple of so many.
    """

    fields: tuple[tuple[str, int | None], ...]

    @classmethod
    def of(cls, outputs: Any) -> "Form":
        """Return the form of a network's outputs.

        Raises:
            ValueError: for what is no NamedTuple of tensors.
        """
        if not hasattr(outputs, "_fields"):
            raise ValueError(f"received outputs of {type(outputs).__name__}, expected a NamedTuple of tensors")
        fields = []
        for name, value in zip(outputs._fields, outputs, strict=True):
            parts = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(part, Tensor) for part in parts):
                raise ValueError(f"received {name} of {type(value).__name__}, expected a tensor or a tuple of tensors")
            fields.append((name, len(value) if isinstance(value, tuple) else None))
        return cls(tuple(fields))

    @property
    def names(self) -> list[str]:
        """A name for each tensor, in a row: that of the field, with the number where it holds several."""
        return [name if count is None else f"{name}.{k}" for name, count in self.fields for k in range(count or 1)]

    def put_together(self, tensors: Sequence[Tensor], kind: Any) -> Any:
        """Return the tensors of a row as what they were, a NamedTuple of type `kind`."""
        left, fields = list(tensors), []
        for _, count in self.fields:
            own, left = left[: count or 1], left[count or 1 :]
            fields.append(own[0] if count is None else tuple(own))
        return kind(*fields)


def in_a_row(outputs: Any) -> list[Tensor]:
    """Return the tensors of a NamedTuple in a row."""
    return [part for value in outputs for part in (value if isinstance(value, tuple) else (value,))]


class Flat(nn.Module):
    """A network whose outputs are in a row; in half precision inside if asked, in full precision outside."""

    def __init__(self, network: nn.Module, *, half: bool = False):
        super().__init__()
        self.network = copy.deepcopy(network).half() if half else network
        self.half_inside = half

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self.half_inside:
            inputs = tuple(value.half() if value.is_floating_point() else value for value in inputs)
        return tuple(widened(value) for value in in_a_row(self.network(*inputs)))


def program_of(
    network: nn.Module, inputs: Sequence[Tensor], *, half: bool = False, sides: bool = True
) -> torch.export.ExportedProgram:
    """Return a network as a program of torch for any batch; which heights and widths it takes is found by tracing.

    Args:
        network: in evaluation.
        inputs: of a batch of several.
        half: whether numbers inside have sixteen bits.
        sides: whether heights and widths may be others than those of the inputs.

    Raises:
        RuntimeError: whatever torch says of what cannot be traced, in a line.
    """
    free = ("batch", "height", "width") if sides else ("batch",)
    auto = torch.export.Dim.AUTO
    shapes = tuple({k: auto for k, axis in enumerate(AXES[value.ndim]) if axis in free} for value in inputs)
    with _quietly("tracing"), torch.no_grad():
        flat = Flat(network, half=half).eval()
        program = torch.export.export(flat, tuple(inputs), dynamic_shapes=(shapes,), strict=False)
    (first, *_) = program.graph_signature.user_inputs
    (node,) = [node for node in program.graph.nodes if node.name == first]
    if isinstance(node.meta["val"].shape[0], int):
        raise RuntimeError("tracing: the network is for one size of batches only")
    return program


def graph_of(program: torch.export.ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Return a program as a graph of ONNX (`onnx.ModelProto`), with these names.

    Raises:
        RuntimeError: if an operator has no translation.
    """
    with _quietly("translating"):
        made: Any = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            custom_translation_table=_translations(),
            verbose=False,
        )
    graph = made.model_proto
    del graph.graph.value_info[:]  # sizes inside, of which some are those of the traced photo; runtimes find their own
    return graph


def _translations() -> dict[Any, Any]:
    """Return operators that torch.onnx does not know."""
    from onnxscript import opset18

    op: Any = opset18

    def stable_sort(values: Any, stable: Any = None, dim: int = -1, descending: bool = False) -> Any:
        """TopK of all: of equal ones it takes the first one first."""
        count = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]))
        return op.TopK(values, count, axis=dim, largest=int(descending), sorted=1)

    def max_in_boxes(maps: Any, boxes: Any, scale: float, height: int, width: int) -> Any:
        """MaxRoiPool, and in the place of the indices, which nobody reads, the same."""
        found = op.MaxRoiPool(maps, boxes, pooled_shape=[height, width], spatial_scale=scale)
        return found, found

    return {torch.ops.aten.sort.stable: stable_sort, torch.ops.torchvision.roi_pool.default: max_in_boxes}


@contextmanager
def _quietly(what: str) -> Iterator[None]:
    """Silence what torch tells its developers, and shorten what it says when it fails."""
    names = "torch", "torch.onnx", "torch.export", "torch._dynamo", "onnxscript", "onnx_ir"
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise RuntimeError(f"{what}: {first_line(error)}") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def first_line(error: BaseException) -> str:
    """Return what an error comes from, in a line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:200]
