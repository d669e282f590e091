"""The cost counter against published numbers, torch's own counter and closed formulas."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vidi.backbones.efficientnet import efficientnet_b0
from vidi.backbones.mobilenet import mobilenet_v2
from vidi.backbones.regnet import regnet_x_400mf
from vidi.backbones.resnet import resnet18, resnet34, resnet50
from vidi.backbones.resnext import resnext50_32x4d
from vidi.backbones.wide_resnet import wide_resnet50_2
from vidi.nn.cost import CostReport, count_call, count_cost

# ----------------------------------------------------------------------------------------------------------------------
# Published numbers


@pytest.mark.system("0-FLOPS", "B2.5")
@pytest.mark.parametrize(
    ("build", "macs"),
    [
        (resnet18, "1.8141"),
        (resnet34, "3.6638"),
        (resnet50, "4.0892"),
        (resnext50_32x4d, "4.2305"),
        (mobilenet_v2, "0.3008"),
        (efficientnet_b0, "0.3858"),
        (wide_resnet50_2, "11.3980"),
        (regnet_x_400mf, "0.4138"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_multiply_adds_of_the_inventory(build: Callable[[], Any], macs: str) -> None:
    """In units of 1e9, to the digits that are stated."""
    with torch.device("meta"):
        report = count_cost(build().network, 224)
    assert f"{report.macs / 1e9:.4f}" == macs
    assert report.total.matmul == 0
    assert report.flops == 2 * report.macs


@pytest.mark.system("0-FLOPS", "B3.11")
@pytest.mark.parametrize("training", [False, True])
def test_multiply_adds_of_a_vision_transformer(training: bool) -> None:
    """17.563 G for ViT-B/16, of which the products of activations are 4.07 %; the same in both modes."""
    with torch.device("meta"):
        network = torchvision.models.vit_b_16().train(training)
    report = count_cost(network, 224)
    assert report.macs == 17_563_828_224
    assert f"{report.total.matmul / report.macs:.4f}" == "0.0407"
    n, D = 197, 768
    assert report.total.matmul == 12 * 2 * n * n * D
    assert report.total.linear == 12 * n * (4 * D * D + 2 * D * 4 * D) + D * 1000
    assert report.total.convolution == 196 * 16 * 16 * 3 * D
    assert report.parameters == 86_567_656


@pytest.mark.system("0-FLOPS", "B3.11")
@pytest.mark.parametrize(("tokens", "sign"), [(4607, -1), (4608, 0), (4609, 1)])
def test_the_quadratic_part_of_a_layer_overtakes_at_six_times_the_width(tokens: int, sign: int) -> None:
    with torch.device("meta"):
        layer = nn.TransformerEncoderLayer(768, 12, 3072, batch_first=True)
        total = count_call(layer, torch.zeros(1, tokens, 768)).total
    assert (total.matmul > total.linear) - (total.matmul < total.linear) == sign


# ----------------------------------------------------------------------------------------------------------------------
# Torch's own counter


class Convolutions(nn.Module):
    """One of each kind, with odd sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(6, 12, (3, 5), stride=(2, 1), padding=(0, 3), groups=3)
        self.dilated = nn.Conv2d(12, 8, 3, dilation=2, padding=1, bias=False)
        self.depthwise = nn.Conv2d(8, 16, 3, groups=8)
        self.transposed = nn.ConvTranspose2d(16, 6, 3, stride=2, output_padding=1, groups=2)
        self.linear = nn.Linear(6, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.transposed(self.depthwise(self.dilated(self.grouped(images)).relu()))
        x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
        return self.linear(x.mean((2, 3)))


@pytest.mark.system("0-FLOPS")
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_convolutional_networks_equal_torchs_counter(device: str) -> None:
    with torch.device(device):
        networks = [(Convolutions(), 6, (17, 22)), (resnet18(stem="small", width=16).network, 3, (31, 33))]
    for network, channels, size in networks:
        with FlopCounterMode(display=False) as theirs, torch.no_grad():
            network.eval()(torch.zeros(1, channels, *size, device=device))
        report = count_cost(network, size, channels=channels)
        assert report.flops == theirs.get_total_flops() > 0
        for name, operators in theirs.get_flop_counts().items():
            _, _, module = name.partition(".")
            if name != "Global":
                assert report.of(module).flops == sum(operators.values()), name


def test_transposed_and_grouped_convolutions_are_what_a_loop_multiplies() -> None:
    """A product for each output position, output channel, input channel of its group and kernel element."""
    report = count_cost(Convolutions(), (17, 22), channels=6)
    assert report.of("grouped").macs == 8 * 24 * 12 * 2 * 15  # 17 x 22 -> 8 x 24
    assert report.of("dilated").macs == 6 * 22 * 8 * 12 * 9  # -> 6 x 22
    assert report.of("depthwise").macs == 4 * 20 * 16 * 1 * 9  # -> 4 x 20
    assert report.of("transposed").macs == 4 * 20 * 16 * 3 * 9  # from each input position and channel
    assert report.of("linear") == report.modules[-1]
    assert report.of("linear").linear == 30


# ----------------------------------------------------------------------------------------------------------------------
# Attention, recurrence, products by hand


@pytest.mark.system("0-FLOPS")
@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_multi_head_attention_is_counted_whole(device: str, training: bool, weights: bool) -> None:
    """4 n D^2 for the projections and 2 n^2 D for the attention, on every path of torch's."""
    n, D = 7, 16
    with torch.device(device):
        attention = nn.MultiheadAttention(D, 4, batch_first=True).train(training)
        x = torch.zeros(3, n, D)
        mask = torch.ones(n, n, dtype=torch.bool).triu(1)

    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = attention

        def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
            return self.attention(x, x, x, need_weights=weights, attn_mask=mask)[0]

    for given in (None, mask):
        total = count_call(Attend(), x, given).total
        assert (total.linear, total.matmul) == (3 * 4 * n * D * D, 3 * 2 * n * n * D)


class ByHand(nn.Module):
    """Attention as people write it: fused, causal, with matmul, with einsum."""

    def __init__(self, how: str):
        super().__init__()
        self.project = nn.Linear(8, 8, bias=False)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        q = self.project(x)
        match self.how:
            case "fused":
                return nn.functional.scaled_dot_product_attention(q, x, x)
            case "causal":
                return nn.functional.scaled_dot_product_attention(q, x, x, is_causal=True)
            case "matmul":
                return (q @ x.transpose(-1, -2)).softmax(-1) @ x
        scores = torch.einsum("bhqd,bhkd->bhqk", q, x)
        return torch.einsum("bhqk,bhkd->bhqd", scores, x)


@pytest.mark.system("0-FLOPS")
@pytest.mark.parametrize("how", ["fused", "causal", "matmul", "einsum"])
def test_attention_by_hand_is_counted_whole(how: str) -> None:
    B, heads, n, d = 2, 3, 5, 8
    total = count_call(ByHand(how), torch.zeros(B, heads, n, d)).total
    assert total.linear == B * heads * n * d * d
    assert total.matmul == 2 * B * heads * n * n * d


class Products(nn.Module):
    """Each operator that multiplies matrices or vectors, with a parameter (2 x 3 or 3) and without."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(2, 3))
        self.vector = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        mm, mv, dot = x @ self.matrix.T, x @ self.vector, x[0] @ self.vector  # 4 3 with 3 2 and 3
        plain = (x @ x.T).sum() + (x @ x[0]).sum() + x[0] @ x[1]
        added = torch.addmm(self.vector[:2], x, self.matrix.T).sum() + torch.addmv(x[:, 0], x, self.vector).sum()
        batches = torch.baddbmm(x[None, :, :2], x[None], self.matrix.T[None]).sum()
        return mm.sum() + mv.sum() + dot + plain + added + batches


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_every_product_is_counted_and_known_by_its_factors(device: str) -> None:
    with torch.device(device):
        total = count_call(Products(), torch.zeros(4, 3)).total
    matrix, vector, dot = 4 * 3 * 2, 4 * 3, 3
    assert total.linear == (matrix + vector + dot) + (matrix + vector) + matrix
    assert total.matmul == 4 * 3 * 4 + 4 * 3 + 3


def test_deformable_convolutions_cost_what_plain_ones_do() -> None:
    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torchvision.ops.DeformConv2d(4, 6, 3, padding=1, groups=2)

        def forward(self, images: Tensor) -> Tensor:
            return self.conv(images, images.new_zeros(len(images), 18, *images.shape[2:]))

    plain = nn.Conv2d(4, 6, 3, padding=1, groups=2)
    assert count_cost(Deformed(), (5, 7), channels=4).macs == count_cost(plain, (5, 7), channels=4).macs > 0


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_recurrent_layers_count_their_gates(device: str) -> None:
    """Four gates of an LSTM and three of a GRU, for each step, layer and direction."""
    B, T, C, H = 2, 5, 4, 8
    with torch.device(device):
        x = torch.zeros(B, T, C)
        lstm = count_call(nn.LSTM(C, H, 2, batch_first=True, bidirectional=True), x)
        gru = count_call(nn.GRU(C, H, batch_first=True), x)
    assert lstm.total.linear == lstm.macs == B * T * 2 * 4 * H * ((C + H) + (2 * H + H))
    assert gru.total.linear == gru.macs == B * T * 3 * H * (C + H)


def test_products_that_hide_are_refused() -> None:
    class Bilinear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.form = nn.Bilinear(2, 3, 4)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.form(a, b)

    with pytest.raises(ValueError, match="_trilinear, in the module 'form'"):
        count_call(Bilinear(), torch.zeros(1, 2), torch.zeros(1, 3))


def test_a_network_that_fuses_attention_itself_is_refused() -> None:
    class Fused(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                return nn.functional.scaled_dot_product_attention(x, x, x)

    with pytest.raises(ValueError, match="scaled_dot_product"):
        count_call(Fused(), torch.zeros(1, 2, 5, 8))


# ----------------------------------------------------------------------------------------------------------------------
# Names, sharing, side effects


class Sharing(nn.Module):
    """One layer under two names, and one weight in two layers; each is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = self.first
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.first(x)) + self.tied(self.tied(x))


def test_what_is_shared_counts_once_and_what_runs_twice_counts_twice() -> None:
    network = Sharing()
    report = count_call(network, torch.zeros(1, 4))
    assert report.parameters == sum(p.numel() for p in network.parameters()) == 20
    assert [(m.name, m.parameters, m.macs) for m in report.modules] == [("", 0, 0), ("first", 20, 32), ("tied", 0, 32)]


@pytest.mark.system("0-FLOPS")
def test_costs_belong_to_the_modules_that_run() -> None:
    report = count_cost(resnet18(width=16).network, (64, 96))
    named = {m.name: m for m in report.modules}
    conv = named["backbone.stage2.0.conv1"]
    assert (conv.kind, conv.parameters, conv.convolution) == ("Conv2d", 9 * 16 * 32, 8 * 12 * 9 * 16 * 32)
    assert named["backbone.stage2.0.norm1"].parameters == 64
    assert named["backbone.stage2.0.norm1"].macs == named["backbone.stage2"].macs == 0
    inside = [m for m in report.modules if m.name.startswith("backbone.stage2.")]
    assert report.of("backbone.stage2").macs == sum(m.macs for m in inside) > 0
    assert report.macs == sum(m.macs for m in report.modules)
    with pytest.raises(ValueError, match=r"'backbone\.stage9'.*'backbone'"):
        report.of("backbone.stage9")


def test_a_count_leaves_the_network_as_it_was() -> None:
    network = resnet18(stem="small", width=16).network.train()
    network.get_submodule("backbone.stage1").eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [m.training for m in network.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    report = count_cost(network, 16)
    assert [m.training for m in network.modules()] == modes
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with torch.inference_mode():
        assert count_cost(network, 16) == report
    assert count_cost(network.double(), 16) == report


def test_a_failed_count_leaves_no_hooks() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 4))
    with pytest.raises(RuntimeError):
        count_call(network, torch.zeros(1, 4))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert torch.backends.mha.get_fastpath_enabled()


# ----------------------------------------------------------------------------------------------------------------------
# The report


@pytest.fixture(scope="module")
def report() -> CostReport:
    with torch.device("meta"):
        return count_cost(resnet18().network, (224, 224))


def test_the_table_names_what_costs(report: CostReport) -> None:
    lines = str(report).splitlines()
    assert lines[0].split() == ["module", "kind", "parameters", "multiply-adds", "share"]
    assert lines[1].split() == ["backbone.stem.conv", "Conv2d", "9,408", "118,013,952", "6.5%"]
    assert lines[-2].split() == ["total", "Classifier", "11,689,512", "1,814,073,344", "100.0%"]
    assert lines[-1].startswith("3,628,146,688 FLOPs for an input of 1 x 3 x 224 x 224")
    assert len(lines) == 1 + 41 + 1 + 2  # 20 convolutions and their norms, the linear layer


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_table_of_any_depth_sums_to_the_total(report: CostReport, depth: int) -> None:
    rows = [line.split() for line in report.table(depth).splitlines()[1:-3]]
    assert sum(int(row[3].replace(",", "")) for row in rows) == report.macs
    assert sum(int(row[2].replace(",", "")) for row in rows) == report.parameters
    assert max(row[0].count(".") for row in rows) == depth - 1
    with pytest.raises(ValueError, match="at least 1"):
        report.table(0)


def test_the_dictionary_is_plain(report: CostReport) -> None:
    values = json.loads(json.dumps(report.to_dict()))
    assert values["macs"] == sum(row["macs"] for row in values["modules"]) == 1_814_073_344
    assert values["inputs"] == [[1, 3, 224, 224]]
    assert math.isclose(values["flops"], 2 * values["macs"])


@pytest.mark.parametrize("size", [0, (32, 0)])
def test_images_have_pixels(size: int | tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="below 1"):
        count_cost(nn.Conv2d(3, 1, 1), size)
