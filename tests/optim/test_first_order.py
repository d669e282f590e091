"""First-order optimizers against torch's and timm's: equal iterates by both paths, states that go over, refusals."""

import copy
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from timm.optim.rmsprop_tf import RMSpropTF
from torch import Tensor, nn

from tests.closeness import assert_close
from vidi.optim.adagrad import AdaGrad
from vidi.optim.adam import Adam, AdamW
from vidi.optim.landscapes import LANDSCAPES, rosenbrock
from vidi.optim.rmsprop import RMSProp
from vidi.optim.sgd import SGD, Nesterov

Make = Callable[..., torch.optim.Optimizer]

TF = {"eps_inside": True, "initial_accumulator_value": 1.0}
TUNED = {"lr": 2e-3, "betas": (0.8, 0.95), "eps": 1e-3}

# ours, the reference, the options of both, those of ours alone; the systems
CASES: dict[str, tuple[Make, Make, dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "sgd": (SGD, torch.optim.SGD, {"lr": 0.01}, {}, ("1.1-SGD",)),
    "sgd decay": (SGD, torch.optim.SGD, {"lr": 0.01, "weight_decay": 0.1}, {}, ("1.1-SGD",)),
    "momentum": (SGD, torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9}, {}, ("1.3-MOM",)),
    "momentum decay": (
        SGD, torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9, "weight_decay": 0.1, "dampening": 0.3}, {}, ("1.3-MOM",)
    ),
    "momentum of steps": (SGD, torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9}, {"lr_in_momentum": True}, ("1.3-MOM",)),
    "nesterov": (SGD, torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9, "nesterov": True}, {}, ("1.3-NAG-REF",)),
    "nesterov decay": (
        SGD, torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, {}, ("1.3-NAG-REF",)
    ),
    "nesterov of steps": (
        SGD, torch.optim.SGD, {"lr": 1e-3, "momentum": 0.9, "nesterov": True}, {"lr_in_momentum": True},
        ("1.3-NAG-REF",),
    ),
    "adagrad": (AdaGrad, torch.optim.Adagrad, {}, {}, ("1.4.1-ADAGRAD",)),
    "adagrad options": (
        AdaGrad,
        torch.optim.Adagrad,
        {"lr": 0.02, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-3},
        {},
        ("1.4.1-ADAGRAD",),
    ),
    "rmsprop": (RMSProp, torch.optim.RMSprop, {"lr": 1e-3}, {}, ("1.4.2-RMSPROP",)),
    "rmsprop momentum": (
        RMSProp, torch.optim.RMSprop, {"lr": 1e-3, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1}, {},
        ("1.4.2-RMSPROP",),
    ),
    "rmsprop centred": (
        RMSProp, torch.optim.RMSprop, {"lr": 1e-3, "eps": 1e-2, "centered": True}, {}, ("1.4.2-RMSPROP",)
    ),
    "rmsprop tf": (
        RMSProp, RMSpropTF, {"lr": 1e-3, "alpha": 0.9, "eps": 1e-3}, TF, ("1.4.2-RMSPROP",)
    ),
    "rmsprop tf momentum": (
        RMSProp, RMSpropTF, {"lr": 1e-3, "alpha": 0.9, "eps": 1e-3, "momentum": 0.9, "weight_decay": 0.1},
        {"lr_in_momentum": True, **TF}, ("1.4.2-RMSPROP",),
    ),
    "rmsprop tf centred": (
        RMSProp, RMSpropTF, {"lr": 1e-3, "alpha": 0.9, "eps": 0.1, "centered": True}, TF,
        ("1.4.2-RMSPROP",),
    ),
    "adam": (Adam, torch.optim.Adam, {}, {}, ("1.4.3-ADAM",)),
    "adam options": (Adam, torch.optim.Adam, TUNED, {}, ("1.4.3-ADAM",)),
    "adam l2": (Adam, torch.optim.Adam, {**TUNED, "weight_decay": 0.1}, {}, ("1.4.4-ADAML2",)),
    "adamw": (AdamW, torch.optim.AdamW, {}, {}, ("1.4.4-ADAMW",)),
    "adamw options": (AdamW, torch.optim.AdamW, {**TUNED, "weight_decay": 0.1}, {}, ("1.4.4-ADAMW",)),
}  # fmt: skip

PATHS = {"fast": None, "readable": False}


def switch(optimizer: Make) -> str:
    """Give the name of the option that chooses the path."""
    return "foreach" if optimizer in (RMSProp, Nesterov) else "fused"


FIRST = {
    *("sgd", "momentum decay", "nesterov decay", "adagrad options", "rmsprop momentum", "rmsprop tf momentum"),
    *("adam", "adam l2", "adamw options"),
}
"""One case of each form; the others run with the other variants."""


def cases(*, same_state: bool = False) -> list[Any]:
    """Give the names of the cases with their marks, or of those whose states are the reference's."""
    chosen = {name: row for name, row in CASES.items() if not (same_state and row[3])}
    marks = {name: [pytest.mark.system(*row[-1])] for name, row in chosen.items()}
    return [
        pytest.param(name, marks=rows if name in FIRST else [*rows, pytest.mark.extended], id=name)
        for name, rows in marks.items()
    ]


def network(dtype: torch.dtype) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 2)
        )  # fmt: skip
    return layers.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Matrices and vectors apart; the vectors do not decay."""
    parameters = list(model.parameters())
    vectors = [p for p in parameters if p.ndim == 1]
    return [{"params": [p for p in parameters if p.ndim > 1]}, {"params": vectors, "weight_decay": 0.0}]


BATCHES = torch.randn(7, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def losses(model: nn.Module, steps: int, *, first: int = 0) -> Iterator[Tensor]:
    """Yield the loss of batch after batch of a small regression."""
    batches = BATCHES.to(next(model.parameters()).dtype)
    for step in range(first, first + steps):
        images = batches[step % 7]
        yield (model(images) - images.mean((2, 3))[:, :2]).square().mean()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, *, first: int = 0) -> list[Tensor]:
    """Train and give the parameters."""
    for loss in losses(model, steps, first=first):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def assert_equal(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", cases())
def test_a_network_trains_as_with_the_reference(name, dtype):
    ours, theirs, options, own, _ = CASES[name]
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    model = network(dtype)
    start = [p.detach().clone() for p in model.parameters()]
    expected = train(model, theirs(groups(model), **options), 100)
    assert not any(torch.allclose(a, b, atol=1e-4) for a, b in zip(start, expected, strict=True))
    for path in PATHS.values():
        model = network(dtype)
        found = train(model, ours(groups(model), **options, **own, **{switch(ours): path}), 100)
        assert_equal(found, expected, tolerance)


def descend(name: str, make: Callable[[list[Tensor]], torch.optim.Optimizer], dtype: torch.dtype) -> Tensor:
    landscape = LANDSCAPES[name]()
    point = torch.tensor(landscape.start, dtype=dtype, requires_grad=True)
    optimizer = make([point])
    for _ in range(100):
        optimizer.zero_grad()
        landscape.value(point).backward()
        optimizer.step()
    return point.detach()


@pytest.mark.parametrize("name", cases())
def test_a_landscape_is_descended_as_by_the_reference(name):
    ours, theirs, options, own, _ = CASES[name]
    for landscape, dtype, tolerance in (("rotated_canyon", torch.float32, 1e-6), ("beale", torch.float64, 1e-12)):
        expected = descend(landscape, lambda parameters: theirs(parameters, **options), dtype)
        for path in PATHS.values():
            more = {**own, switch(ours): path}
            found = descend(landscape, lambda parameters, more=more: ours(parameters, **options, **more), dtype)
            assert_close(found, expected, tolerance)


SMALL_STEPS = {
    "sgd": (SGD, {"lr": 1e-3}),
    "momentum": (SGD, {"lr": 1e-4, "momentum": 0.9}),
    "nesterov": (SGD, {"lr": 1e-4, "momentum": 0.9, "nesterov": True}),
    "look-ahead": (Nesterov, {"lr": 1e-4, "momentum": 0.9}),
    "adagrad": (AdaGrad, {"lr": 0.8}),
    "rmsprop": (RMSProp, {"lr": 1e-3, "alpha": 0.9, "momentum": 0.9}),
    "rmsprop tf": (RMSProp, {"lr": 1e-3, "alpha": 0.9, "eps": 1e-3, "momentum": 0.9, "lr_in_momentum": True, **TF}),
    "adam": (Adam, {"lr": 5e-2}),
    "adamw": (AdamW, {"lr": 5e-2, "weight_decay": 1e-6}),
}


@pytest.mark.parametrize("name", SMALL_STEPS)
def test_rosenbrock_is_minimised(name):
    """From (1.5, 1.5), as timm's tests do it, but down to a thousandth of the first value."""
    make, options = SMALL_STEPS[name]
    landscape = rosenbrock()
    point = torch.tensor([1.5, 1.5], requires_grad=True)
    optimizer = make([point], **options)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = landscape.value(point)
        loss.backward()
        return loss

    first = landscape.value(point).item()
    for _ in range(500):
        optimizer.step(closure)
    assert landscape.value(point).item() < 1e-3 * first


@pytest.mark.parametrize("name", ["momentum", "adagrad options", "adam l2", "adamw options", "sgd"])
def test_the_kernel_is_taken_where_it_applies(name, monkeypatch):
    ours, theirs, options, _, _ = CASES[name]

    def readable(*_: object, **__: object) -> None:
        raise AssertionError("the readable path")

    for module, function in (("sgd", "sgd_update"), ("adagrad", "adagrad_update"), ("adam", "adam_update")):
        monkeypatch.setattr(f"vidi.optim.{module}.{function}", readable)
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        found, expected = ([nn.Parameter(torch.randn(4, 3, 3, 3, dtype=dtype))] for _ in range(2))
        with torch.no_grad():
            expected[0].copy_(found[0])
        optimizers = ours(found, **options), theirs(expected, **options, fused=True)
        for _ in range(3):
            found[0].grad = torch.randn(4, 3, 3, 3, dtype=dtype)
            expected[0].grad = found[0].grad.clone()
            for optimizer in optimizers:
                optimizer.step()
        assert torch.equal(found[0], expected[0])
    model = network(torch.float32)
    with pytest.raises(AssertionError, match="the readable path"):
        train(model, ours(groups(model), **options, fused=False), 1)


@pytest.mark.parametrize("name", ["momentum", "adagrad", "rmsprop momentum", "adam", "adamw"])
def test_a_gradient_of_another_memory_layout_is_paired_rightly(name):
    ours, theirs, options, own, _ = CASES[name]
    values, gradient = torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    found = nn.Parameter(values.clone(memory_format=torch.channels_last))
    expected = nn.Parameter(values.clone())
    found.grad, expected.grad = gradient.clone(), gradient.clone()
    for parameter, optimizer in ((found, ours([found], **options, **own)), (expected, theirs([expected], **options))):
        for _ in range(2):
            optimizer.step()
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, gradient)
    assert_close(found, expected, 1e-6)


def test_a_parameter_with_gaps_in_memory_is_updated_within_them():
    buffer = torch.zeros(4, 8)
    parameter = nn.Parameter(buffer[:, ::2])
    parameter.grad = torch.ones(4, 4)
    SGD([parameter], lr=1.0).step()
    assert torch.equal(buffer[:, ::2], -torch.ones(4, 4))
    assert not buffer[:, 1::2].any()


def saved_and_read(state: dict[str, Any]) -> dict[str, Any]:
    """Send a state through a file that may hold tensors and plain values only."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", cases())
def test_a_run_continues_bit_for_bit_from_its_state(name):
    ours, _, options, own, _ = CASES[name]
    model = network(torch.float32)
    optimizer = ours(groups(model), **options, **own)
    train(model, optimizer, 3)
    other = network(torch.float32)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    resumed = ours(groups(other), **options, **own)
    resumed.load_state_dict(saved_and_read(optimizer.state_dict()))
    assert_equal(train(other, resumed, 3, first=3), train(model, optimizer, 3, first=3), 0.0)
    assert resumed.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]


@pytest.mark.parametrize("name", cases(same_state=True))
def test_states_go_to_the_reference_and_back(name):
    ours, theirs, options, _, _ = CASES[name]
    for first, second in ((ours, theirs), (theirs, ours)):
        model = network(torch.float64)
        optimizer = first(groups(model), **options)
        train(model, optimizer, 3)
        other = network(torch.float64)
        other.load_state_dict(copy.deepcopy(model.state_dict()))
        taken_over = second(groups(other), **options)
        taken_over.load_state_dict(saved_and_read(optimizer.state_dict()))
        assert_equal(train(other, taken_over, 5, first=3), train(model, optimizer, 5, first=3), 1e-12)


def test_a_momentum_that_is_switched_on_later_starts_from_zero():
    for make, state in ((SGD, "momentum_buffer"), (RMSProp, "momentum_buffer")):
        parameter = nn.Parameter(torch.ones(3))
        parameter.grad = torch.ones(3)
        optimizer = make([parameter], lr=0.1)
        optimizer.step()
        optimizer.param_groups[0]["momentum"] = 0.9
        optimizer.step()
        assert state in optimizer.state[parameter]


def test_parameters_without_gradient_stay_and_count_no_steps():
    still, moving = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    for make in (SGD, AdaGrad, RMSProp, Adam, AdamW):
        optimizer = make([still, moving], lr=0.1)
        moving.grad = torch.ones(2)
        optimizer.step()
        assert still.tolist() == [1.0, 1.0]
        assert still not in optimizer.state
        still.grad = torch.ones(2)  # joins later: its own count of steps
        expected = still.detach().clone()
        optimizer.step()
        assert not torch.equal(still, expected)
        if make is Adam:
            torch.testing.assert_close(still, expected - 0.1)  # Adam's first step, debiased by its own count
        still = nn.Parameter(torch.ones(2))


def test_a_closure_is_called_with_gradients_and_its_loss_returned():
    for make in (SGD, Nesterov, AdaGrad, RMSProp, Adam, AdamW):
        parameter = nn.Parameter(torch.tensor([2.0]))
        optimizer = make([parameter], lr=0.1)

        def closure(parameter: nn.Parameter = parameter, optimizer: torch.optim.Optimizer = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = parameter.square().sum()
            loss.backward()
            return loss

        with torch.no_grad():
            assert optimizer.step(closure).item() == 4.0
        assert parameter.item() < 2.0


def test_a_gradient_scaler_unscales_and_leaves_out_steps_with_infinities():
    for make in (SGD, AdaGrad, RMSProp, Adam, AdamW):
        parameter = nn.Parameter(torch.tensor([1.0]))
        plain = nn.Parameter(torch.tensor([1.0]))
        optimizer, reference = make([parameter], lr=0.1), make([plain], lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for factor in (3.0, float("inf"), 2.0):
            optimizer.zero_grad()
            scaler.scale((parameter * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            if factor < 10:
                plain.grad = torch.tensor([factor])
                reference.step()
        assert_close(parameter, plain, 1e-6)
        assert optimizer.state[parameter].get("step") == reference.state[plain].get("step")


def test_schedulers_of_torch_drive_the_learning_rate():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = SGD([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for _ in range(3):
        parameter.grad = torch.ones(1)
        optimizer.step()
        scheduler.step()
    assert parameter.item() == -1.75


def test_sparse_gradients_and_complex_parameters_are_refused():
    for make in (SGD, AdaGrad, RMSProp, Adam, AdamW):
        parameter = nn.Parameter(torch.zeros(3))
        parameter.grad = torch.tensor([0.0, 1.0, 0.0]).to_sparse()
        with pytest.raises(TypeError, match=rf"sparse_coo gradient, {make.__name__} expects a dense one"):
            make([parameter], lr=0.1).step()
        with pytest.raises(TypeError, match=rf"complex parameter, {make.__name__} expects real ones"):
            make([torch.zeros(2, dtype=torch.complex64, requires_grad=True)], lr=0.1)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (SGD, {"lr": -1.0}, "received lr=-1.0, expected a number of at least 0"),
        (SGD, {"momentum": 1.0}, r"received momentum=1.0, expected a number in \[0, 1\)"),
        (SGD, {"nesterov": True}, "expected a momentum above 0 and no dampening"),
        (SGD, {"momentum": 0.9, "dampening": 2.0}, "received dampening=2.0"),
        (Nesterov, {"momentum": -0.1}, "received momentum=-0.1"),
        (AdaGrad, {"lr_decay": float("nan")}, "received lr_decay=nan"),
        (RMSProp, {"alpha": 1.5}, r"received alpha=1.5, expected a number in \[0, 1\]"),
        (Adam, {"betas": (0.9, 1.0)}, r"received betas\[1\]=1.0"),
        (Adam, {"eps": -1e-8}, "received eps=-1e-08"),
        (AdamW, {"decay": "cosine"}, "received decay='cosine', expected 'torch' or 'paper'"),
        (AdamW, {"decay": "paper", "lr": 0.0}, "received lr=0.0, expected a number above 0"),
    ],
)
def test_options_out_of_range_are_refused(make, options, message):
    parameter = nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match=message):
        make([parameter], **options)
    optimizer = make([nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group({"params": [parameter], **options})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (SGD, {"momentum": 0.9, "lr_in_momentum": True}),
        (SGD, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
        (AdaGrad, {"eps_inside": True}),
    ],
)
def test_a_kernel_that_does_not_exist_is_refused_when_asked_for(make, options):
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    with pytest.raises(ValueError, match="received fused=True, but no kernel of torch does this update"):
        make([parameter], **options, fused=True).step()
    make([parameter], **options).step()
    assert parameter[0].item() < 0


def test_states_of_other_optimizers_are_refused():
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    amsgrad, adam = torch.optim.Adam([parameter], amsgrad=True), torch.optim.Adam([parameter])
    decoupled = torch.optim.AdamW([parameter])
    for optimizer in (amsgrad, adam, decoupled):
        optimizer.step()
    for state, make, message in (
        (amsgrad, Adam, "amsgrad=True, which Adam does not do"),
        (decoupled, Adam, "decoupled_weight_decay=True, which Adam does not do"),
        (adam, AdaGrad, "the state has no 'sum': it is not one of AdaGrad"),
        (adam, lambda p: SGD(p, momentum=0.9), "the state has no 'momentum_buffer': it is not one of SGD"),
    ):
        with pytest.raises(ValueError, match=message):
            make([parameter]).load_state_dict(state.state_dict())
