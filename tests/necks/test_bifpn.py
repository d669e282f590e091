"""BiFPN and its fusion against effdet, and against the formulas of the paper."""

from functools import partial
from typing import Any

import pytest
import torch
from effdet import get_efficientdet_config
from effdet.efficientdet import BiFpn, FpnCombine
from torch import Tensor, nn

from tests.closeness import EXACT, NUMBERS, assert_close
from tests.parity.networks import assert_same_training
from vidi.necks.bifpn import BiFPN, Style, WeightedFusion, fusion_shares, halved
from vidi.weights.renaming import renamed
from vidi.weights.tables.effdet_efficientdet import NECK

CHANNELS = (5, 8, 12)
WRONG = (ValueError, TypeError)  # the shape checks of the test suite refuse a wrong Literal before we do
WAYS: list[Any] = [("fast", "fastattn"), ("softmax", "attn"), ("sum", "sum")]


def maps(size: tuple[int, int] = (16, 24), channels: tuple[int, ...] = CHANNELS) -> list[Tensor]:
    """Maps of a backbone, each half as large as the one before, rounded up."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for count in channels:
        made.append(torch.randn(2, count, *size, dtype=torch.float64, generator=generator))
        size = (-(-size[0] // 2), -(-size[1] // 2))
    return made


def flattened(network: nn.Module, inputs: list[Tensor]) -> Tensor:
    """All levels in one vector; effdet appends to the list that it gets."""
    return torch.cat([level.flatten() for level in network(list(inputs))])


# ----------------------------------------------------------------------------------------------------------------------
# Fusion


@pytest.mark.system("4.A-FASTFUSE", "B4.29")
def test_the_worked_example() -> None:
    """B4.29: w = (1, 1), inputs 2 and 4: 6 / 2.0001."""
    fuse = WeightedFusion(2)
    assert fuse([torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 4.0)]).item() == pytest.approx(
        2.99985, abs=5e-6
    )


@pytest.mark.system("4.A-FASTFUSE")
@pytest.mark.parametrize(("fusion", "theirs"), WAYS)
def test_fusion_equals_effdet(fusion: Any, theirs: str) -> None:
    info = [{"num_chs": 3, "size": (4, 5)}] * 3
    reference: Any = FpnCombine(info, 3, (0, 1, 2), (4, 5), weight_method=theirs).double()
    fuse = WeightedFusion(3, fusion).double()
    weights = torch.tensor([0.7, -0.4, 1.9], dtype=torch.float64)  # a negative one counts nothing in "fast"
    inputs = maps((4, 5), (3,)) + [torch.randn(2, 3, 4, 5, dtype=torch.float64) for _ in range(2)]
    if fusion != "sum":
        assert isinstance(fuse.weights, nn.Parameter)
        fuse.weights.data.copy_(weights)
        reference.edge_weights.data.copy_(weights)
    received, expected = fuse(inputs), reference(inputs)
    assert_close(received, expected, NUMBERS)
    if fusion != "sum":
        received.square().sum().backward()
        expected.square().sum().backward()
        assert_close(fuse.weights.grad, reference.edge_weights.grad, NUMBERS)  # type: ignore[union-attr]


@pytest.mark.system("4.A-FASTFUSE")
def test_shares_of_the_formula() -> None:
    weights = torch.tensor([1.0, 3.0, -2.0], dtype=torch.float64)
    assert fusion_shares(weights).tolist() == pytest.approx([1 / 4.0001, 3 / 4.0001, 0.0], rel=EXACT)
    assert fusion_shares(weights, "softmax").sum().item() == pytest.approx(1.0)
    assert fusion_shares(weights, "sum").tolist() == [1, 1, 1]
    assert fusion_shares(-weights.abs()).tolist() == [0, 0, 0]  # and not 0 / 0


def test_another_fusion_is_refused() -> None:
    wrong: Any = "mean"
    with pytest.raises(WRONG):
        WeightedFusion(2, wrong)


# ----------------------------------------------------------------------------------------------------------------------
# Pyramid


@pytest.mark.system("4.A-BIFPN")
@pytest.mark.parametrize(
    ("fusion", "theirs", "same", "size"),
    [
        (*WAYS[0], False, (17, 27)),
        (*WAYS[0], True, (16, 32)),
        (*WAYS[1], True, (19, 33)),
        (*WAYS[2], False, (16, 24)),
        pytest.param(*WAYS[0], True, (19, 33), marks=pytest.mark.extended),
        pytest.param(*WAYS[1], False, (16, 24), marks=pytest.mark.extended),
        pytest.param(*WAYS[2], True, (16, 32), marks=pytest.mark.extended),
    ],
)
def test_pyramids_equal_effdet(fusion: Any, theirs: str, same: bool, size: tuple[int, int]) -> None:
    """Also where sides are odd, where TensorFlow pads otherwise, and with the biases before norms."""
    config = get_efficientdet_config("tf_efficientdet_d0")
    config.update({
        "image_size": (size[0] * 8, size[1] * 8),
        "fpn_channels": 10,
        "fpn_cell_repeats": 2,
        "fpn_name": {"fastattn": "bifpn_fa", "attn": "bifpn_attn", "sum": "bifpn_sum"}[theirs],
        "pad_type": "same" if same else "",
        "redundant_bias": same,
    })  # fmt: skip
    reference = BiFpn(config, [{"num_chs": count} for count in CHANNELS])
    ours = BiFPN(CHANNELS, 10, repeats=2, style=Style(fusion=fusion, bias=same, same_padding=same))
    inputs = maps(size)
    assert_same_training(ours, reference, rename, partial(flattened, inputs=inputs), training=True)
    assert [x.shape for x in ours(inputs)] == [x.shape for x in reference(list(inputs))]


def rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """From a neck of effdet's to ours."""
    named = renamed({f"fpn.{name}": value for name, value in tensors.items()}, NECK)
    return {name.removeprefix("neck."): value for name, value in named.items()}


@pytest.mark.system("4.A-BIFPN")
def test_the_formulas_of_the_paper() -> None:
    """C4.38: the sum that flows down is normalised by its own node's weights, and the top level flows as it is."""
    neck = BiFPN((6, 6, 6), 6, levels=3, repeats=1).double().eval()
    p3, p4, p5 = maps(channels=(6, 6, 6))
    (cell,) = neck.cells
    td4, td3, out4, out5 = (*cell.down, *cell.up)  # type: ignore[union-attr, misc]
    for seed, node in enumerate((td4, td3, out4, out5)):
        node.fuse.weights.data.uniform_(0.2, 2.0, generator=torch.Generator().manual_seed(seed))

    def convolved(node: Any, *inputs: Tensor) -> Tensor:
        total = sum(w * x for w, x in zip(node.fuse.weights, inputs, strict=True))
        x = total / (node.fuse.weights.sum() + 1e-4)
        x = x / (1 + (-x).exp())
        x = nn.functional.conv2d(x, node.conv.depthwise.weight, padding=1, groups=6)
        return node.norm((node.conv.pointwise.weight[:, :, 0, 0] @ x.flatten(2)).unflatten(2, x.shape[2:]))

    def up(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def down(x: Tensor) -> Tensor:
        padded = nn.functional.pad(x, (1, 1, 1, 1), value=-torch.inf)
        return padded.unfold(2, 3, 2).unfold(3, 3, 2).amax((4, 5))

    middle4 = convolved(td4, p4, up(p5))
    expected = [convolved(td3, p3, up(middle4))]
    expected.append(convolved(out4, p4, middle4, down(expected[0])))
    expected.append(convolved(out5, p5, down(expected[1])))
    for received, want in zip(neck((p3, p4, p5)), expected, strict=True):
        assert_close(received, want, NUMBERS)


@pytest.mark.system("4.A-BIFPN")
def test_nodes_with_one_input_are_left_out_and_inputs_reach_their_outputs() -> None:
    """What BiFPN changes of PANet: 8 nodes for 5 levels and not 10, and three inputs at the inner levels."""
    neck = BiFPN((6,) * 5, 6, repeats=1)
    (cell,) = neck.cells
    assert [len(node.projections) for node in cell.down] == [2, 2, 2, 2]  # type: ignore[union-attr]
    assert [len(node.projections) for node in cell.up] == [3, 3, 3, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_levels(levels: int, count: int) -> None:
    if levels < count:
        return
    neck = BiFPN(CHANNELS[:count], 10, levels=levels, repeats=2)
    inputs = [x.float().requires_grad_() for x in maps((32, 64))[:count]]
    outputs = neck(inputs)
    assert neck.strides((8, 16, 32)[:count]) == tuple(8 * 2**level for level in range(levels))
    assert [tuple(x.shape) for x in outputs] == [(2, 10, 32 // 2**i, 64 // 2**i) for i in range(levels)]
    sum(x.square().sum() for x in outputs).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in neck.parameters())
    assert all(x.grad is not None for x in inputs)


@pytest.mark.parametrize(("size", "expected"), [((5, 6), (3, 3)), ((1, 1), (1, 1)), ((2, 7), (1, 4))])
def test_halves_are_rounded_up(size: tuple[int, int], expected: tuple[int, int]) -> None:
    for same in (False, True):
        assert halved(torch.zeros(1, 1, *size), same_padding=same).shape[2:] == expected


def test_another_number_of_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="received 2 maps, expected 3"):
        BiFPN(CHANNELS, 10).double()(maps()[:2])


@pytest.mark.parametrize(("levels", "repeats"), [(1, 1), (2, 1), (5, 0)])
def test_sizes_that_cannot_be_are_refused(levels: int, repeats: int) -> None:
    with pytest.raises(ValueError, match="expected at least one map"):
        BiFPN(CHANNELS, 10, levels=levels, repeats=repeats)
