"""What the first-order optimizers share: parameter groups, closures, refusals, states, and the choice of a fast path.

Each optimizer states its equations once as a pure function: (parameter, gradient, *state) -> (parameter, *state). That
is the path of `fused=False` (`foreach=False`). Where torch has a kernel that does the same in one pass over memory, all
parameters of a group go through it; torch's own classes do that on request only. States carry torch's names, so that
`state_dict` goes from here to `torch.optim` and back.

Differs from torch: a step count is a plain number; a gradient whose memory is laid out otherwise than its parameter's
(torch's kernels pair the wrong entries there without a word) takes the readable path; channels_last is not slower.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

Entries = Float[Tensor, "*S"]
"""A parameter, or what belongs to each of its entries."""

Group = dict[str, Any]
State = dict[str, Any]
Tensors = tuple[Tensor, ...]

operators: Any = torch
"""torch with its `_fused_*_` and `_foreach_*` operators, which its stubs leave out."""

FUSED_DTYPES = {torch.float32, torch.float64, torch.bfloat16, torch.float16}
MOST_ENTRIES = 1 << 17  # in a part of a batch on a CPU, unless one parameter has more
DISPATCH_KEYS = {"cpu": "CPU", "cuda": "CUDA", "mps": "MPS", "xpu": "XPU"}


class FirstOrderOptimizer(torch.optim.Optimizer):
    """Update every parameter that has a gradient from that gradient and the parameter's own state.

    A subclass checks its options (`_check`), names the tensors of a state (`_accumulators`), and updates one parameter
    by its equations (`_update`) or many by a kernel (`_update_together`).
    """

    operator: ClassVar[str | None] = None  # the fused kernel, by its name in torch; None: made of torch._foreach ops
    counted: ClassVar[bool] = True  # whether a state counts its steps
    refused: ClassVar[tuple[str, ...]] = ("maximize",)  # options of torch that a loaded state must not ask for

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own.

        Raises:
            ValueError: if an option is out of its range.
            TypeError: if a parameter is complex.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._check(group)
            if any(parameter.is_complex() for parameter in group["params"]):
                raise TypeError(f"received a complex parameter, {type(self).__name__} expects real ones")
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters once.

        Args:
            closure: called before, with gradients switched on; evaluates the loss, calls `backward` and returns the
                loss. Without it the gradients are those that the parameters have.

        Returns:
            what `closure` returned.

        Raises:
            TypeError: if a gradient is sparse.
            ValueError: if a group asks for `fused=True` where no kernel does its update.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: Group) -> None:
        accumulators = self._accumulators(group)
        batches: defaultdict[Any, list[tuple[Tensor, Tensor, State]]] = defaultdict(list)
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.layout != torch.strided:
                raise TypeError(
                    f"received a {gradient.layout} gradient, {type(self).__name__} expects a dense one "
                    "(torch.optim.SparseAdam takes sparse ones)"
                )
            state = self.state[parameter] if accumulators else {}
            step = self._begin(accumulators, parameter, state) if accumulators else 0
            layout = shared_layout([parameter, gradient, *[state[name] for name in accumulators]])
            batches[parameter.device, parameter.dtype, step, layout].append((parameter, gradient, state))
        for (device, dtype, step, layout), batch in batches.items():
            if self._goes_together(group, device, dtype, layout):
                if layout not in (None, torch.contiguous_format):
                    batch = [in_memory_order(*row) for row in batch]
                parameters, gradients, states = zip(*batch, strict=True)
                self._update_together(group, parameters, gradients, states, step)
            else:
                for parameter, gradient, state in batch:
                    self._update(group, parameter, gradient, state, step)

    def _begin(self, accumulators: dict[str, float | int], parameter: Tensor, state: State) -> int:
        """Give a state what it lacks; return the number of the update (from 1; not counted: 1, then always 2)."""
        lacking = [name for name in accumulators if state.get(name) is None]
        for name in lacking:
            state[name] = torch.full_like(parameter, accumulators[name])
        if not self.counted:
            return 1 if lacking else 2
        state["step"] = state.get("step", 0) + 1
        return state["step"]

    def _goes_together(
        self, group: Group, device: torch.device, dtype: torch.dtype, layout: torch.memory_format | None
    ) -> bool:
        """Tell whether a batch of parameters takes the fast path, as their group asks."""
        if self.operator is None:
            return group["foreach"] is not False
        if group["fused"] is False:
            return False
        applies = (
            layout is not None
            and dtype in FUSED_DTYPES
            and self._has_equations_of_kernel(group)
            and has_kernel(self.operator, device.type)
        )
        if group["fused"] and not applies:
            otherwise = "" if layout is not None else " whose gradients have another dtype or memory layout"
            raise ValueError(
                f"received fused=True, but no kernel of torch does this update of {type(self).__name__} on {dtype} "
                f"parameters on {device}{otherwise}; "
                "fused=None takes the kernel where there is one"
            )
        return applies

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, also one of torch's optimizer of the same name.

        Raises:
            ValueError: if the state is of other parameters or another optimizer, or asks for what this one refuses.
        """
        name = type(self).__name__
        for saved in state_dict["param_groups"]:
            for option in self.refused:
                if saved.get(option):
                    raise ValueError(f"the state is of an optimizer with {option}=True, which {name} does not do")
            states = [state_dict["state"][key] for key in saved["params"] if state_dict["state"].get(key)]
            for key in (*self._accumulators({**self.defaults, **saved}), *(["step"] if self.counted else [])):
                if any(key not in state for state in states):
                    raise ValueError(f"the state has no {key!r}: it is not one of {name}")
        before = [dict(group) for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, options in zip(self.param_groups, before, strict=True):
            for option, value in options.items():  # those that torch's optimizer does not have
                group.setdefault(option, value)
            for state in (self.state[p] for p in group["params"] if p in self.state):
                if "step" in state:
                    state["step"] = int(state["step"])

    # --- what a subclass gives

    def _check(self, group: Group) -> None:
        """Raise ValueError if an option of the group is out of its range."""
        raise NotImplementedError

    def _accumulators(self, group: Group) -> dict[str, float | int]:
        """Return the names of the tensors in a parameter's state, and the value that each starts from."""
        raise NotImplementedError

    def _update(self, group: Group, parameter: Tensor, gradient: Tensor, state: State, step: int) -> None:
        """Update one parameter by the equations."""
        raise NotImplementedError

    def _has_equations_of_kernel(self, group: Group) -> bool:
        """Tell whether torch's kernel knows the options of the group."""
        return True

    def _update_together(
        self, group: Group, parameters: Tensors, gradients: Tensors, states: Sequence[State], step: int
    ) -> None:
        """Update parameters of one device, dtype and step by a kernel or by torch._foreach ops."""
        raise NotImplementedError


@functools.cache
def has_kernel(operator: str, device: str) -> bool:
    """Tell whether this build of torch has the operator for a type of device."""
    key = DISPATCH_KEYS.get(device)
    return key is not None and torch._C._dispatch_has_kernel_for_dispatch_key(f"aten::{operator}", key)


def shared_layout(tensors: Sequence[Tensor]) -> torch.memory_format | None:
    """Return the order in which tensors of one dtype all fill their memory without gaps; None if there is none."""
    dtype = tensors[0].dtype
    if all([t.is_contiguous() and t.dtype == dtype for t in tensors]):
        return torch.contiguous_format
    if all([t.dtype == dtype for t in tensors]):
        for layout in (torch.channels_last, torch.channels_last_3d):
            if all([t.is_contiguous(memory_format=layout) for t in tensors]):
                return layout
    return None


def in_memory_order(parameter: Tensor, gradient: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
    """Return tensors that share a layout as vectors of their memory: views.

    torch's kernels take up to three times as long on channels_last tensors, though the order is nothing to them.
    """
    shape, stride = (parameter.numel(),), (1,)
    vectors = {name: value.as_strided(shape, stride) for name, value in state.items() if isinstance(value, Tensor)}
    return parameter.as_strided(shape, stride), gradient.as_strided(shape, stride), vectors


def cache_sized_parts(parameters: Tensors) -> Iterator[slice]:
    """Cut a batch: not at all on a GPU, where launches cost; on a CPU so that a part stays in its cache."""
    most = MOST_ENTRIES if parameters[0].device.type == "cpu" else math.inf
    first, entries = 0, 0
    for index, parameter in enumerate(parameters):
        if first < index and entries + parameter.numel() > most:
            yield slice(first, index)
            first, entries = index, 0
        entries += parameter.numel()
    yield slice(first, len(parameters))


def overwrite(old: Iterable[Tensor | None], new: Iterable[Tensor | None]) -> None:
    """Copy what a pure update returned into the memory of the parameter and its state; None stands for no state."""
    for target, value in zip(old, new, strict=True):
        if target is not None and value is not None:
            target.copy_(value)


def expect(holds: bool, name: str, value: object, expected: str) -> None:
    """Raise ValueError with what was received and what was expected unless the condition holds."""
    if not holds:
        raise ValueError(f"received {name}={value!r}, expected {expected}")


def expect_at_least_zero(group: Group, *names: str) -> None:
    """Raise ValueError unless the named options are numbers of at least 0."""
    for name in names:
        expect(group[name] >= 0.0, name, group[name], "a number of at least 0")


def expect_fraction(name: str, value: float | int) -> None:
    """Raise ValueError unless a coefficient of a moving average or sum lies in [0, 1)."""
    expect(0.0 <= value < 1.0, name, value, "a number in [0, 1)")
