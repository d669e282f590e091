"""An exported file as a network: it takes and gives what the network that it was made of took and gave.

    model.onnx   graph, weights, and `vidi`: what `config.json` says of a run, the form of the outputs, the verdict
    inputs       tensors as a batch has them       -> onnxruntime ->  the same NamedTuple

What a model does before and after its network (sizes, pixel statistics, decoder) is not in the graph: it is done by the
model that the file's configuration describes. So an exported file has the results of its run by the run's own code.
"""

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor, nn

from vidi.engine.runs import EXPORTED
from vidi.exported.graph import Form

KEY = "vidi"
"""Of what a file says of itself, among the metadata of ONNX."""


class NoRuntimeError(ImportError):
    """The packages that exported files need are not installed."""

    is_usage = True


def is_exported(path: str | Path) -> bool:
    """Tell whether a name is that of an exported file."""
    return Path(path).suffix == EXPORTED


@dataclass(frozen=True)
class Description:
    """What an exported file says of itself.

    Attributes:
        config: of the model, as a run's `config.json`.
        fields: the form of the outputs, see `Form`.
        verdict: what the gate found when the file was made.
        licence: of the weights.
        versions: of the packages that made it.
    """

    config: dict[str, Any]
    fields: tuple[tuple[str, int | None], ...]
    verdict: str
    licence: str
    versions: dict[str, str]

    @property
    def form(self) -> Form:
        """How the outputs are put together."""
        return Form(self.fields)

    def text(self) -> str:
        """Return what goes into the file."""
        parts = {name: getattr(self, name) for name in ("config", "fields", "verdict", "licence", "versions")}
        return json.dumps(parts)


def runtime() -> Any:
    """Return the module onnxruntime.

    Raises:
        NoRuntimeError: if it is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise NoRuntimeError(f"{error.name} is not installed; exported files need pip install 'vidi[export]'") from None
    return onnxruntime


def checked_model(path: str | Path) -> Any:
    """Return a file's graph (`onnx.ModelProto`), its weights not read, if nothing in it lies outside its folder.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no graph, or names data outside its folder, or that is not there.
    """
    runtime()
    import onnx
    from google.protobuf.message import DecodeError

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected an exported file, as `vidi export` makes")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError:
        raise ValueError(f"{path} is no ONNX file, or it is cut") from None
    folder = path.parent.resolve()
    for place in sorted(_outside(model)):
        target = (folder / place).resolve()
        if Path(place).is_absolute() or not target.is_relative_to(folder):
            raise ValueError(f"{path} asks for data outside its folder ({place!r}), which is not read")
        if not target.is_file():
            raise ValueError(f"{path} needs {place} beside it, which is not there")
    return model


def _outside(model: Any) -> set[str]:
    """Return the places of all data that a graph does not hold itself."""
    return {
        entry.value
        for tensor in _tensors(model)
        if tensor.data_location == tensor.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }


def _tensors(message: Any) -> Iterator[Any]:
    """Yield all tensors in a message, however deep."""
    from onnx import TensorProto

    for _, value in message.ListFields():
        for part in value if hasattr(value, "__len__") and not isinstance(value, str | bytes) else (value,):
            if isinstance(part, TensorProto):
                yield part
            elif hasattr(part, "ListFields"):
                yield from _tensors(part)


def said_by(path: str | Path) -> Description:
    """Return what an exported file says of itself.

    Raises:
        FileNotFoundError, ValueError: as `checked_model`; also if it is somebody else's.
    """
    found = {entry.key: entry.value for entry in checked_model(path).metadata_props}
    try:
        parts = json.loads(found[KEY])
        fields = tuple((str(name), None if count is None else int(count)) for name, count in parts["fields"])
        described = Description(**{**parts, "fields": fields})
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} says nothing of a model of vidi: it is not one of `vidi export`") from None
    if not {"model", "arguments", "preprocess"} <= described.config.keys():
        raise ValueError(f"{path} does not describe a model")
    return described


Runs = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""From a batch's inputs to outputs in a row."""


class ExportedNetwork(nn.Module):
    """What was exported, in place of the network that it was made of.

    Args:
        run: gives the outputs.
        form: of the outputs.
        kind: the NamedTuple of the outputs.
        digest: SHA-256 of the file, which stands for its weights where models are told apart.
    """

    digest: Tensor

    def __init__(self, run: Runs, form: Form, kind: Any, digest: bytes):
        super().__init__()
        self.run, self.form, self.kind = run, form, kind
        self.register_buffer("digest", torch.tensor(list(digest), dtype=torch.uint8))

    def __deepcopy__(self, memo: dict[int, Any]) -> "ExportedNetwork":
        """Return the same: nothing in it changes."""
        return self

    def forward(self, *inputs: Tensor) -> Any:
        """Return the outputs of a batch's inputs."""
        return self.form.put_together(self.run(inputs), self.kind)


def running(graph: str | Path | bytes) -> Runs:
    """Return what runs a graph, or a file that was checked before, on the processor, with as many threads as torch."""
    ort = runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    source = graph if isinstance(graph, bytes) else str(graph)
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def run(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        named = zip(names, inputs, strict=True)
        return [torch.from_numpy(v) for v in session.run(None, {name: v.contiguous().numpy() for name, v in named})]

    return run


def kind_of(network: nn.Module, form: Form) -> Any:
    """Return the NamedTuple that a network gives, by what its `forward` is declared to.

    Raises:
        ValueError: if no declared one has these fields.
    """
    declared = get_type_hints(type(network).forward).get("return")
    names = tuple(name for name, _ in form.fields)
    for kind in (declared, *get_args(declared)):
        if getattr(kind, "_fields", None) == names:
            return kind
    raise ValueError(f"a {type(network).__name__} of this version gives other outputs than {', '.join(names)}")


def with_network(model: Any, run: Runs, form: Form, digest: bytes = b"") -> Any:
    """Return a copy of a model, in evaluation, whose network is what was exported of it."""
    other = copy.copy(model)
    network = ExportedNetwork(run, form, kind_of(model.network, form), digest)
    other.__dict__["_modules"] = {**model._modules, "network": network}
    other.drawn_at, other.by_one_network = None, False  # nothing in it is random, nothing is left to be folded
    other.save = _refuse
    return other.eval()


def _refuse(folder: str | Path) -> None:
    """Stand for `save`: the weights are in the exported file alone."""
    raise ValueError(f"an exported model cannot be written to {folder}: copy the file that it was loaded from")


def versions() -> Mapping[str, str]:
    """Return the versions of what makes exported files."""
    from importlib.metadata import version

    return {name: version(name) for name in ("vidi", "torch", "onnx", "onnxscript", "onnxruntime")}
