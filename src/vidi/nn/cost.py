"""What a network costs: parameters, multiply-adds and FLOPs, in total and for every module by its name.

    network, input -> one forward pass -> each product of matrices is seen by torch's dispatcher
                   -> multiply-adds, credited to the module that runs at that moment -> CostReport

Conventions. A multiply-add (MAC) is one product and its addition to a sum; FLOPs are 2 x MACs. Counted are

    convolution   output positions x output channels x (input channels / groups) x kernel, also where the kernel lies
                  on padding; a transposed one has the positions and channels of its input and output swapped
    linear        products with a parameter: n x inputs x outputs for n positions, the gates of LSTM and GRU included
    matmul        products of two activations: the scores and the weighted sums of attention, whole even where a mask
                  hides a part of them; in self-attention over n tokens of width D they are 2 n^2 D

and nothing else: the addition of a bias, norms, activations, softmax, pooling, resizing and sums of maps are free, as
in the numbers that papers state. Parameters are those that are trained or could be; one that several modules share
counts once, where it is first met. Buffers do not count.

Attention is taken apart into its products for the length of a count, whatever kernel would run otherwise: fused kernels
hide them from counters of single operators. On the CPU torch's own sees nothing of `nn.MultiheadAttention` when it is
evaluated, and only its projections when it is trained.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from vidi.model import evaluating

FLOPS_PER_MAC = 2


# ----------------------------------------------------------------------------------------------------------------------
# The report


@dataclass(frozen=True)
class ModuleCost:
    """What one module costs by itself, without its children; the counts of multiply-adds are by kind of product."""

    name: str  # dotted, as in `network.named_modules()`; empty for the network itself
    kind: str  # name of its class
    parameters: int
    convolution: int = 0
    linear: int = 0
    matmul: int = 0

    @property
    def macs(self) -> int:
        return self.convolution + self.linear + self.matmul

    @property
    def flops(self) -> int:
        return FLOPS_PER_MAC * self.macs


@dataclass(frozen=True)
class CostReport:
    """What one forward pass costs: a row for each module, in the order of `network.named_modules()`."""

    modules: tuple[ModuleCost, ...]
    inputs: tuple[tuple[int, ...], ...]  # shapes

    @property
    def total(self) -> ModuleCost:
        """The cost of the whole network."""
        return self.of("")

    @property
    def parameters(self) -> int:
        return self.total.parameters

    @property
    def macs(self) -> int:
        return self.total.macs

    @property
    def flops(self) -> int:
        return self.total.flops

    def of(self, name: str) -> ModuleCost:
        """Return the cost of a module with all its children.

        Raises:
            ValueError: if the network has no module of that dotted name.
        """
        named = next((module for module in self.modules if module.name == name), None)
        if named is None:
            raise ValueError(f"received the name {name!r}, expected that of a module, such as {self._some_names()}")
        inside = [m for m in self.modules if not name or m.name == name or m.name.startswith(f"{name}.")]
        sums = {key: sum(getattr(m, key) for m in inside) for key in ("parameters", "convolution", "linear", "matmul")}
        return ModuleCost(name, named.kind, **sums)

    def _some_names(self) -> str:
        return ", ".join(repr(module.name) for module in self.modules[1:6])

    def table(self, depth: int | None = None) -> str:
        """Return the report as text.

        Args:
            depth: modules this many dots deep are shown with all that is in them; None: every module that has a cost of
                its own, by itself.

        Raises:
            ValueError: if the depth is below 1.
        """
        if depth is not None and depth < 1:
            raise ValueError(f"received depth={depth}, expected at least 1, or None")
        total = self.total
        rows = self.modules if depth is None else self._collapsed(depth)
        lines = [("module", "kind", "parameters", "multiply-adds", "share")]
        lines += [_line(row, total.macs) for row in rows if row.parameters or row.macs]
        lines += [_line(replace(total, name="total"), total.macs)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [
            f"{name:<{widths[0]}}  {kind:<{widths[1]}}  "
            + "  ".join(f"{number:>{width}}" for number, width in zip(numbers, widths[2:], strict=True))
            for name, kind, *numbers in lines
        ]
        kinds = ", ".join(f"{key} {getattr(total, key):,}" for key in ("convolution", "linear", "matmul"))
        sizes = ", ".join(" x ".join(map(str, shape)) for shape in self.inputs)
        text[-1:-1] = ["-" * len(text[0])]
        return "\n".join([*text, f"{total.flops:,} FLOPs for an input of {sizes}; multiply-adds: {kinds}"])

    def _collapsed(self, depth: int) -> list[ModuleCost]:
        """Return modules at a depth with all that is in them, and shallower ones by themselves."""
        deep = [(m, m.name.count(".") + 1 if m.name else 0) for m in self.modules]
        return [self.of(m.name) if level == depth else m for m, level in deep if level <= depth]

    def __str__(self) -> str:
        return self.table()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        total = {"parameters": self.parameters, "macs": self.macs, "flops": self.flops}
        rows = [{**asdict(m), "macs": m.macs, "flops": m.flops} for m in self.modules]
        return {"inputs": [list(shape) for shape in self.inputs], **total, "modules": rows}


def _line(row: ModuleCost, macs: int) -> tuple[str, ...]:
    share = f"{row.macs / macs:.1%}" if macs else "-"
    return row.name or "(itself)", row.kind, f"{row.parameters:,}", f"{row.macs:,}", share


# ----------------------------------------------------------------------------------------------------------------------
# Counting


def count_cost(network: nn.Module, image_size: int | tuple[int, int], *, channels: int = 3) -> CostReport:
    """Count what a network costs for one image; see the module for what is counted.

    Args:
        network: on the CPU or on the meta device, where a count takes neither memory nor arithmetic.
        image_size: (H, W) in pixels, or the side of a square.
        channels: of the image.

    Raises:
        ValueError: for a size below 1 pixel, and where a product hides in an operator that cannot be taken apart.
    """
    H, W = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(H, W, channels) < 1:
        raise ValueError(f"received an image of {channels} x {H} x {W}, expected no length below 1")
    first = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    return count_call(network, torch.zeros(1, channels, H, W, device=first.device, dtype=first.dtype))


def count_call(network: nn.Module, *inputs: Any) -> CostReport:
    """Count what `network(*inputs)` costs; for networks whose input is no single image.

    The pass runs in evaluation mode and without gradients: no statistic moves, and the modes are put back.

    Raises:
        ValueError: where a product hides in an operator that cannot be taken apart.
    """
    names = {module: name for name, module in network.named_modules()}
    counter = _Counter(network)
    with evaluating(network), _following(names, counter.running), _taken_apart(), counter:
        network(*inputs)
    seen: set[nn.Parameter] = set()
    rows = []
    for module, name in names.items():
        own = [p for p in module.parameters(recurse=False) if p not in seen]
        seen.update(own)
        counts = counter.counts.get(name, {})
        rows.append(ModuleCost(name, type(module).__name__, sum(p.numel() for p in own), **counts))
    return CostReport(tuple(rows), tuple(tuple(x.shape) for x in inputs if isinstance(x, Tensor)))


@contextmanager
def _following(names: Mapping[nn.Module, str], running: list[str]) -> Iterator[None]:
    """Keep the names of the modules whose `forward` is running on a stack, the innermost last."""

    def enter(module: nn.Module, arguments: Any) -> None:
        running.append(names[module])

    def leave(module: nn.Module, arguments: Any, outputs: Any) -> None:
        running.pop()

    with ExitStack() as hooks:
        for module in names:
            hooks.callback(module.register_forward_pre_hook(enter).remove)
            hooks.callback(module.register_forward_hook(leave, always_call=True).remove)
        yield


@contextmanager
def _taken_apart() -> Iterator[None]:
    """Have attention and linear maps run as the products that they consist of, without gradients."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # in inference mode composite operators would reach the counter whole
        with torch.inference_mode(False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


# ----------------------------------------------------------------------------------------------------------------------
# Operators


def _convolution(arguments: Sequence[Any], output: Tensor) -> int:
    images, weight, transposed = arguments[0], arguments[1], arguments[6]
    positions = images if transposed else output  # each is a product with one row of the weight
    return positions.numel() * weight[0].numel()


def _deformable_convolution(arguments: Sequence[Any], output: Tensor) -> int:
    return output.numel() * arguments[1][0].numel()


def _matrices(arguments: Sequence[Any], output: Tensor) -> int:
    return output.numel() * arguments[0].shape[-1]  # the length of each sum


def _lstm_layer(arguments: Sequence[Any], output: Any) -> int:
    steps, of_input, of_state = arguments[0], arguments[1], arguments[2]  # T B C, 4H C, 4H H
    return steps.shape[0] * steps.shape[1] * (of_input.numel() + of_state.numel())


PRODUCTS: dict[str, Callable[[Sequence[Any], Any], int]] = {
    "aten::convolution": _convolution,
    "torchvision::deform_conv2d": _deformable_convolution,
    "aten::mm": _matrices,
    "aten::bmm": _matrices,
    "aten::mv": _matrices,
    "aten::dot": _matrices,
    "aten::addmm": _matrices,
    "aten::addmv": _matrices,
    "aten::baddbmm": _matrices,
    "aten::mkldnn_rnn_layer": _lstm_layer,
}
CONVOLUTIONS = ("aten::convolution", "torchvision::deform_conv2d")
ADDING = ("aten::addmm", "aten::addmv", "aten::baddbmm")  # their first argument is no factor but a summand

# Products hide in these, and no rule above counts them: an error is better than a number that is too small.
OPAQUE = (
    *("aten::linear", "aten::matmul", "aten::addbmm", "aten::_trilinear", "aten::_cudnn_rnn"),
    *("aten::scaled_dot_product", "aten::_scaled_dot_product", "aten::_native_multi_head_attention"),
    "aten::_transformer_encoder_layer_fwd",
)


class _Counter(TorchDispatchMode):
    """See every operator that runs, and credit its products to the running module."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.memory = {_memory_of(p) for p in network.parameters()}
        self.running = [""]
        self.counts: dict[str, dict[str, int]] = {}  # name of the module -> kind of product -> multiply-adds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func._schema.name
        if name in PRODUCTS:
            counts = self.counts.setdefault(self.running[-1], {})
            factors = args[1:] if name in ADDING else args
            kind = self._kind(name, factors)
            counts[kind] = counts.get(kind, 0) + PRODUCTS[name](factors, output)
        elif name.startswith(OPAQUE):
            raise ValueError(f"cannot count the products inside {name}, in the module {self.running[-1]!r}")
        return output

    def _kind(self, name: str, factors: Sequence[Any]) -> str:
        if name in CONVOLUTIONS:
            return "convolution"
        is_own = any(isinstance(x, Tensor) and _memory_of(x) in self.memory for x in factors)
        return "linear" if is_own else "matmul"


def _memory_of(tensor: Tensor) -> int:
    """Return what tells the memory behind a tensor, which its views share, from any other; on meta as well."""
    return tensor.untyped_storage()._cdata
