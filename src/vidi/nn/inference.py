"""Faster inference: batch norms become part of the convolutions before them, and memory is laid out channels last.

In evaluation a batch norm scales and shifts each channel by constants, and so can its convolution (Jacob et al. 2018,
arXiv 1712.05877, section 3.2). On a CPU the passes over maps that this saves, and kernels that find the channels of a
pixel side by side, are worth a factor of 1.2 to 2 (`benchmarks/inference.py`).

    settle  weights that are computed from others are computed once   `ComputesWeights`
    trace   torch.fx says which layer uses which one's result         the largest parts that can be traced
    fold    scaled weights, shifted biases; an identity for the norm  torch.nn.utils.fusion
    reuse   an activation overwrites what only it would have read
    layout  weights and images channels last                          B C H W as before, only the strides change

Results are those of the model up to rounding. What cannot be folded, because no convolution comes before the norm or
because something else reads its result too, stays as it is; so does a network without batch norms.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vidi.model import Predicts
from vidi.nn.convolution import SamePaddedConv2d
from vidi.nn.normalization import FrozenBatchNorm2d
from vidi.preprocess import Batch, Sample

FOLDABLE = (nn.Conv2d, nn.ConvTranspose2d, SamePaddedConv2d)  # these and no subclass: it may change its weights
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.Hardswish)  # they have an attribute `inplace`


class FusedModel(Predicts):
    """What a model becomes by `fuse_for_inference`: it predicts as before, but is neither trained nor saved.

    Attributes:
        model: the fused copy.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        self.preprocess, self.decode = model.preprocess, model.decode
        self.origin, self.shown_from = model.origin, model.shown_from
        self.eval()

    def forward(self, images: Float[Tensor, "B C H W"], *others: Tensor) -> Any:
        """Return the network's raw outputs for normalised images, as the model it was made from does."""
        return self.model(images.contiguous(memory_format=torch.channels_last), *others)

    def samples(self, images: Any, **known: Any) -> Iterator[Sample]:
        return self.model.samples(images, **known)

    def predict_batch(self, batch: Batch) -> list[Any]:
        batch = batch.to(self.device)
        return self.model.results_of(self(*batch.inputs), batch)

    def train(self, mode: bool = True) -> "FusedModel":
        """Stay in evaluation.

        Raises:
            ValueError: for `mode=True`: there are no norms left that could be trained.
        """
        if mode:
            raise ValueError("a model fused for inference cannot be trained; train the one it was made from, then fuse")
        return super().train(False)

    def description(self) -> dict[str, Any]:
        """Refuse to be saved.

        Raises:
            ValueError: always; the weights no longer fit what the model's builder makes.
        """
        raise ValueError(
            "a model fused for inference cannot be saved; save the one it was made from, fuse after loading"
        )


def fuse_for_inference(model: Predicts) -> FusedModel:
    """Return a copy of a model that gives the same results faster; the model itself stays as it is.

    Args:
        model: in any mode, with or without batch norms; the copy keeps its device and its precision.

    Raises:
        TypeError: if its results do not come from one network alone.
    """
    if not model.by_one_network:
        raise TypeError(f"received a {type(model).__name__}, expected a model whose results come from one network")
    fused: Any = copy.deepcopy(model).eval().requires_grad_(False)
    settle_weights(fused.network)
    fuse_layers(fused.network)
    for module in fused.network.modules():
        if isinstance(module, CONVOLUTIONS):
            module.to(memory_format=torch.channels_last)
    return FusedModel(fused)


# ----------------------------------------------------------------------------------------------------------------------
# Folding


@runtime_checkable
class ComputesWeights(Protocol):
    """A convolution that computes its weights from others at each call, such as a standardised one."""

    def plain(self) -> nn.Conv2d:
        """Return the ordinary convolution that it is as long as nothing is trained."""
        ...


def settle_weights(network: nn.Module) -> None:
    """Replace convolutions that compute their weights by ordinary ones, in place."""
    for name, module in list(network.named_modules()):
        if name and isinstance(module, ComputesWeights):
            network.set_submodule(name, module.plain())


class Succession(NamedTuple):
    """A layer, and the only one that uses its result: paths below a part of the network."""

    part: nn.Module
    first: str
    second: str

    def layers(self) -> tuple[Any, Any]:
        """Return both."""
        return self.part.get_submodule(self.first), self.part.get_submodule(self.second)


def fuse_layers(network: nn.Module) -> None:
    """Fold batch norms of a network in evaluation into convolutions, and let activations overwrite, in place.

    Only where that is the same for certain: `forward` uses neither of two layers anywhere else, and nothing but the
    second reads what the first gives.
    """
    calls: Counter[nn.Module] = Counter()
    successions: list[Succession] = []
    for part, graph in traced_parts(network):
        for node in graph.nodes:
            if node.op == "call_module":
                calls[part.get_submodule(str(node.target))] += 1
                before = node.args[0] if node.args else None
                if isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1:
                    successions.append(Succession(part, str(before.target), str(node.target)))
    names = Counter(module for _, module in network.named_modules(remove_duplicate=False))

    def used_once(*modules: nn.Module) -> bool:
        return all(calls[module] == names[module] == 1 for module in modules)

    activations = [s for s in successions if _can_overwrite(*s.layers()) and used_once(s.layers()[1])]
    folds = [s for s in successions if _can_fold(*s.layers()) and used_once(*s.layers())]
    for succession in activations:
        succession.layers()[1].inplace = True
    for succession in folds:
        conv, norm = succession.layers()
        folded = fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d))
        succession.part.set_submodule(succession.first, folded)
        succession.part.set_submodule(succession.second, nn.Identity())


def _can_overwrite(layer: nn.Module, activation: nn.Module) -> bool:
    return isinstance(layer, (*CONVOLUTIONS, *NORMS)) and type(activation) in ACTIVATIONS


def _can_fold(conv: nn.Module, norm: nn.Module) -> bool:
    if type(conv) not in FOLDABLE or type(norm) not in NORMS:
        return False
    if isinstance(conv, nn.ConvTranspose2d) and conv.groups > 1:  # torch's formula does not cover it
        return False
    # some norms have no statistics but a batch's; some weights are computed anew from others before each use
    return norm.running_mean is not None and isinstance(conv.weight, nn.Parameter)


def traced_parts(module: nn.Module) -> Iterator[tuple[nn.Module, fx.Graph]]:
    """Yield the largest parts of a module that torch.fx can trace, with their graphs."""
    graph = _traced(module)
    if graph is not None:
        yield module, graph
        return
    for child in module.children():
        yield from traced_parts(child)


class LayerTracer(fx.Tracer):
    """Keep convolutions and norms whole, also those that torch does not know."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*CONVOLUTIONS, *NORMS)) or super().is_leaf_module(m, module_qualified_name)


def _traced(module: nn.Module) -> fx.Graph | None:
    try:
        return LayerTracer().trace(module)
    except Exception:  # the module's own code runs on stand-ins for tensors: what it then raises can be anything
        return None
