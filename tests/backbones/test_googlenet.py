"""GoogLeNet against torchvision, the paper and the notes."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.closeness import FLOAT32, NUMBERS, assert_close
from tests.parity.networks import assert_same_training, randomise
from tests.references.response_norm import response_norm
from vidi.backbones.classifier import Classifier, GlobalAverageHead, Logits
from vidi.backbones.googlenet import (
    MODULES,
    AuxiliaryClassifier,
    AuxiliaryCriterion,
    AuxiliaryHead,
    AuxiliaryLogits,
    GoogLeNetStem,
    InceptionModule,
    L2Pool,
    NaiveInceptionModule,
    Widths,
    equal_windows,
    googlenet,
    trunk,
)
from vidi.model import Step
from vidi.nn.branches import ConvUnit
from vidi.nn.normalization import norm_layer
from vidi.preprocess import Batch, Placement
from vidi.weights.renaming import renamed
from vidi.weights.tables import torchvision_googlenet

WRONG = (ValueError, TypeError)  # the shape checks of the test suite refuse a wrong Literal before we do
PLAIN = ConvUnit(None)
BATCH = ConvUnit(norm_layer("batch", eps=1e-3))
NAMES = torchvision_googlenet.CLASSIFIER | {
    "aux1.conv.conv.weight": "auxiliary.0.conv.conv.weight",
    "aux1.conv.bn.*": "auxiliary.0.conv.norm.*",
    "aux1.fc1.*": "auxiliary.0.hidden.*",
    "aux1.fc2.*": "auxiliary.0.linear.*",
    "aux2.conv.conv.weight": "auxiliary.1.conv.conv.weight",
    "aux2.conv.bn.*": "auxiliary.1.conv.norm.*",
    "aux2.fc1.*": "auxiliary.1.hidden.*",
    "aux2.fc2.*": "auxiliary.1.linear.*",
}
RENAME = partial(renamed, names=NAMES)


def images(size: tuple[int, int] = (96, 96), dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(7))


def heads_of(network: nn.Module) -> list[Tensor]:
    """The scores of all heads of either network: the main one, that on 4a, that on 4d."""
    if isinstance(network, AuxiliaryClassifier):
        outputs = network.with_auxiliary(images())
        return [outputs.logits, *outputs.auxiliary]
    outputs = network(images())
    return [outputs.logits, outputs.aux_logits1, outputs.aux_logits2]


def every_score(network: nn.Module) -> Tensor:
    return torch.cat(heads_of(network), 1)


def scores(network: nn.Module) -> Tensor:
    outputs = network(images())
    return outputs.logits if isinstance(outputs, Logits) else outputs


def without_dropout(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def reference(**options: Any) -> torchvision.models.GoogLeNet:
    theirs = torchvision.models.googlenet(weights=None, init_weights=False, num_classes=7, **options)
    without_dropout(theirs)
    return theirs


# ----------------------------------------------------------------------------------------------------------------------
# Parity


@pytest.mark.system("2.1-STEM", "2.1-INCEPTION", "2.1-AUX", "2.1-GOOGLENET")
def test_training_with_auxiliary_heads_equals_torchvision() -> None:
    ours = without_dropout(googlenet(form="torchvision", categories=7).network)
    assert_same_training(ours, reference(), RENAME, every_score, training=True)


@pytest.mark.system("2.1-GOOGLENET")
def test_evaluation_equals_torchvision() -> None:
    ours = googlenet(form="torchvision", categories=7, auxiliary=False).network
    rename = partial(renamed, names=torchvision_googlenet.CLASSIFIER)
    assert_same_training(ours, reference(aux_logits=False), rename, scores, training=False)


@pytest.mark.system("2.1-INCEPTION", "2.1-GOOGLENET")
def test_form_of_the_paper_is_torchvisions_without_its_deviations() -> None:
    """The 5x5 branch gets 5x5 kernels, the last pool 3x3 pixels (C2.15)."""
    theirs = reference(aux_logits=False)
    for name, widths in MODULES.items():
        branch: Any = getattr(theirs, f"inception{name}").branch3
        branch[1].conv = nn.Conv2d(widths.reduce5, widths.five, 5, padding=2, bias=False)
    theirs.maxpool4 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    ours = without_dropout(googlenet(categories=7, auxiliary=False).network)
    rename = partial(renamed, names=torchvision_googlenet.CLASSIFIER)
    assert_same_training(ours, theirs, rename, scores, training=True)


@pytest.mark.system("2.1-AUX")
def test_loss_is_the_sum_of_torchvisions_with_the_weights_of_the_paper() -> None:
    ours, theirs = without_dropout(googlenet(form="torchvision", categories=7).network).double(), reference().double()
    ours.train().load_state_dict(RENAME(theirs.state_dict()))
    labels = torch.tensor([3, 6])
    batch = batch_of(images(), labels)
    losses = AuxiliaryCriterion(0.3)(ours, batch, Step())
    outputs = theirs(batch.images)
    main, first, second = (F.cross_entropy(x, labels) for x in (outputs.logits, outputs.aux_logits1, outputs[1]))
    assert set(losses) == {"cross_entropy", "auxiliary"}
    assert_close(losses["cross_entropy"], main, NUMBERS)
    assert_close(losses["auxiliary"], 0.3 * (first + second), NUMBERS)


@pytest.mark.parametrize("size", [(64, 64), (85, 71)], ids=["even", "odd"])
def test_float32_evaluation_equals_torchvision(size: tuple[int, int]) -> None:
    ours, theirs = googlenet(form="torchvision", categories=7).network.eval(), reference().eval()
    randomise(theirs)
    ours.load_state_dict(RENAME(theirs.state_dict()))
    x = images(size, torch.float32)
    assert_close(ours(x).logits, theirs(x), FLOAT32)


# ----------------------------------------------------------------------------------------------------------------------
# Modules


@pytest.mark.system("2.1-INCEPTION", "B2.1")
def test_module_3a_of_the_notes() -> None:
    widths = MODULES["3a"]
    module = InceptionModule(192, widths, unit=PLAIN)
    x = torch.randn(1, 192, 28, 28)
    assert module(x).shape == (1, 256, 28, 28)
    assert [branch(x).shape[1] for branch in module] == [64, 128, 32, 32]
    assert widths.out == 256


@pytest.mark.system("2.1-INCEPTION")
def test_module_is_its_four_paths_written_out() -> None:
    """The third path has a true 5x5 (C2.15); the fourth pools before its 1x1 (C2.1)."""
    module = InceptionModule(4, Widths(2, 3, 5, 2, 3, 4), unit=PLAIN).double()
    w = [parameter.detach() for parameter in module.parameters()]  # weights and biases in turn
    x = torch.randn(2, 4, 6, 7, dtype=torch.float64)
    reduced3, reduced5 = F.conv2d(x, w[2], w[3]).relu(), F.conv2d(x, w[6], w[7]).relu()
    expected = (
        F.conv2d(x, w[0], w[1]),
        F.conv2d(reduced3, w[4], w[5], padding=1),
        F.conv2d(reduced5, w[8], w[9], padding=2),
        F.conv2d(F.max_pool2d(x, 3, stride=1, padding=1), w[10], w[11]),
    )
    assert w[8].shape[2:] == (5, 5)
    assert_close(module(x), torch.cat(expected, 1).relu())


@pytest.mark.system("2.1-NAIVE")
def test_naive_module_costs_more_and_grows() -> None:
    widths, x = MODULES["3a"], torch.randn(1, 192, 28, 28)
    reduced = InceptionModule(192, widths, unit=BATCH)
    naive = NaiveInceptionModule(192, widths.one, widths.three, widths.five, unit=BATCH)
    costs = []
    for module in (reduced, naive):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(x)
        costs.append(counter.get_total_flops() // 2)
    three, five = 192 * 96 + 96 * 128 * 9, 192 * 16 + 16 * 32 * 25
    assert costs[0] == 28 * 28 * (192 * 64 + three + five + 192 * 32) == 128_049_152
    assert costs[1] == 28 * 28 * (192 * 64 + 192 * 128 * 9 + 192 * 32 * 25) == 303_464_448
    assert naive(x).shape == (1, 64 + 128 + 32 + 192, 28, 28)


@pytest.mark.system("2.1-NAIVE")
def test_naive_module_is_its_four_paths_written_out() -> None:
    module = NaiveInceptionModule(4, 2, 5, 3, unit=PLAIN).double()
    w = [parameter.detach() for parameter in module.parameters()]
    x = torch.randn(2, 4, 6, 7, dtype=torch.float64)
    convolved = [F.conv2d(x, w[2 * i], w[2 * i + 1], padding=i).relu() for i in range(3)]
    expected = torch.cat((*convolved, F.max_pool2d(x, 3, stride=1, padding=1)), 1)
    assert_close(module(x), expected)


def test_l2_pool_is_the_root_of_summed_squares() -> None:
    x = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    expected = F.lp_pool2d(F.pad(x, (1, 1, 1, 1)), 2.0, 3, stride=1)
    assert_close(L2Pool()(x), expected)


def test_l2_pool_has_a_gradient_where_everything_is_zero() -> None:
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    x[0, 0, 0, 0] = 3.0
    x.requires_grad_()
    pooled = L2Pool()(x)
    pooled.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad[0, 0, 0, 0] == 4  # of the four windows around it each one is 3 as well
    assert pooled[0, 0, 5, 5] < 1e-15


@pytest.mark.system("2.1-STEM", "B2.2")
@pytest.mark.parametrize("unit", [BATCH, PLAIN], ids=["batch", "response"])
def test_stem_brings_224_pixels_to_28(unit: ConvUnit) -> None:
    """Three convolutions and two pools (C2.14)."""
    stem = GoogLeNetStem(unit, "imagenet").eval()
    with torch.no_grad():
        assert stem(torch.randn(1, 3, 224, 224)).shape == (1, 192, 28, 28)
    kinds = [type(module) for module in stem.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.MaxPool2d)) == (3, 2)
    assert kinds.count(nn.LocalResponseNorm) == (2 if unit.norm is None else 0)


@pytest.mark.system("2.1-STEM")
def test_stem_of_the_paper_written_out() -> None:
    """Pool before the first response norm, after the second (paper, figure 3); alpha is divided by n as in Caffe."""
    stem = GoogLeNetStem(ConvUnit(None, width=8, full=64), "imagenet").double()
    x = 20 * images((40, 40))
    w = [parameter.detach() for parameter in stem.parameters()]
    norm = partial(response_norm, n=5, alpha=1e-4 / 5, beta=0.75, k=1.0)
    pool = partial(F.max_pool2d, kernel_size=3, stride=2, ceil_mode=True)
    x1 = norm(pool(F.conv2d(x, w[0], w[1], stride=2, padding=3).relu()))
    x2 = F.conv2d(F.conv2d(x1, w[2], w[3]).relu(), w[4], w[5], padding=1).relu()
    assert_close(stem(x), pool(norm(x2)), 1e-11)


# ----------------------------------------------------------------------------------------------------------------------
# Network


@pytest.mark.system("2.1-GOOGLENET")
def test_sizes_and_channels_of_the_papers_table() -> None:
    with torch.device("meta"):
        backbone = trunk(norm="response")
        maps, taps = backbone.features_and_taps(torch.zeros(1, 3, 224, 224))
    sizes = [(192, 56), (480, 28), (832, 14), (1024, 7)]
    assert [(x.shape[1], x.shape[2], x.shape[3]) for x in maps] == [(c, side, side) for c, side in sizes]
    assert [(x.shape[1], x.shape[2]) for x in taps] == [(512, 14), (528, 14)]
    assert backbone.channels == tuple(c for c, _ in sizes)
    assert backbone.strides == (4, 8, 16, 32)


@pytest.mark.system("2.1-GOOGLENET", "B2.4")
def test_parameter_counts() -> None:
    """torchvision's, and the paper's by a formula: weights and biases of table 1."""

    def count(**options: Any) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in googlenet(**options).network.parameters())

    def conv(i: int, o: int, k: int = 1) -> int:
        return i * o * k * k + o

    total, before = conv(3, 64, 7) + conv(64, 64) + conv(64, 192, 3), 192
    for m in MODULES.values():
        total += conv(before, m.one) + conv(before, m.reduce3) + conv(m.reduce3, m.three, 3)
        total += conv(before, m.reduce5) + conv(m.reduce5, m.five, 5) + conv(before, m.pool)
        before = m.out
    assert count(form="torchvision") == 13_004_888
    assert count(form="torchvision", auxiliary=False) == 6_624_904
    assert count(norm="response", auxiliary=False) == total + conv(1024, 1000) == 6_998_552
    heads = sum(conv(c, 128) + conv(2048, 1024) + conv(1024, 1000) for c in (512, 528))
    assert count(norm="response") == total + conv(1024, 1000) + heads


@pytest.mark.system("2.1-GAP")
def test_global_average_pooling_saves_most_of_a_flattened_head() -> None:
    head = googlenet(auxiliary=False).network.get_submodule("head")
    assert isinstance(head, GlobalAverageHead)
    assert sum(p.numel() for p in head.parameters()) == 1_025_000
    assert head.parameters_saved((7, 7)) == 48 * 1024 * 1000


def test_small_stem_keeps_the_resolution() -> None:
    backbone = trunk(stem="small", width=8).eval()
    maps = backbone(images((32, 32), torch.float32))
    assert [tuple(x.shape[1:]) for x in maps] == [(24, 32, 32), (60, 16, 16), (104, 8, 8), (128, 4, 4)]
    assert backbone.strides == (1, 2, 4, 8)


def test_l2_pooling_goes_to_every_module() -> None:
    kinds = [type(module) for module in trunk(pool="l2", width=8).modules()]
    assert kinds.count(L2Pool) == 9


@pytest.mark.parametrize(("norm", "std"), [("batch", 0.01), ("response", 832**-0.5)], ids=["batch", "response"])
def test_initialisation(norm: Any, std: float) -> None:
    backbone = trunk(norm=norm)
    weight = next(p for name, p in backbone.named_parameters() if name.startswith("inception5a.1.0"))
    assert weight.shape == (160, 832, 1, 1)
    torch.testing.assert_close(float(weight.detach().std()), std, rtol=0.02, atol=0)
    biases = [p for name, p in backbone.named_parameters() if name.endswith("bias") and "norm" not in name]
    assert len(biases) == (57 if norm == "response" else 0)
    assert all((bias == 0.2).all() for bias in biases)


# ----------------------------------------------------------------------------------------------------------------------
# Auxiliary heads


def batch_of(pictures: Tensor, labels: Tensor) -> Batch:
    place = Placement((8, 8), (8, 8))
    mask = torch.ones(len(pictures), *pictures.shape[2:], dtype=torch.bool)
    return Batch(pictures, mask, [place] * len(labels), [{"label": label} for label in labels])


@pytest.mark.system("2.1-AUX")
def test_windows_are_the_papers_on_14_pixels() -> None:
    x = torch.randn(2, 3, 14, 14, dtype=torch.float64)
    assert_close(equal_windows(x, 4), F.avg_pool2d(x, 5, stride=3))


@pytest.mark.parametrize("size", [(4, 4), (5, 9), (28, 17), (3, 8), (1, 1)], ids=str)
def test_windows_of_any_map(size: tuple[int, int]) -> None:
    windows = equal_windows(torch.randn(1, 2, *size), 4)
    assert windows.shape == (1, 2, 4, 4)
    torch.testing.assert_close(equal_windows(torch.ones(1, 2, *size), 4), torch.ones(1, 2, 4, 4))


@pytest.mark.system("2.1-AUX")
def test_auxiliary_head_of_the_paper_written_out() -> None:
    head = AuxiliaryHead(512, 5, unit=PLAIN).double().eval()
    assert head.dropout.p == 0.7
    x = torch.randn(2, 512, 14, 14, dtype=torch.float64)
    w = [parameter.detach() for parameter in head.parameters()]
    assert [tuple(p.shape) for p in w[::2]] == [(128, 512, 1, 1), (1024, 2048), (5, 1024)]
    hidden = F.conv2d(F.avg_pool2d(x, 5, stride=3), w[0], w[1]).relu().flatten(1)
    expected = F.linear(F.linear(hidden, w[2], w[3]).relu(), w[4], w[5])
    assert_close(head(x), expected)


@pytest.mark.system("2.1-AUX")
def test_auxiliary_heads_run_in_training_only() -> None:
    class Forbidden(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("an auxiliary head ran")

    network = googlenet(categories=3, width=8).network
    assert isinstance(network, AuxiliaryClassifier)
    network.auxiliary[1] = Forbidden()
    for mode in (True, False):
        assert type(network.train(mode)(images((64, 64), torch.float32))) is Logits
    with pytest.raises(AssertionError, match="auxiliary head ran"):
        network.with_auxiliary(images((64, 64), torch.float32))


@pytest.mark.system("2.1-AUX")
def test_every_head_gets_gradients_and_the_weight_scales_them() -> None:
    model = googlenet(categories=3, width=8, dropout=0.0)
    without_dropout(model.network)
    batch = batch_of(images((64, 64), torch.float32), torch.tensor([0, 2]))
    gradients = []
    for weight in (0.3, 0.6):
        model.network.zero_grad()
        sum(AuxiliaryCriterion(weight)(model.network, batch, Step()).values(), torch.zeros(())).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        gradients.append(model.network.get_parameter("auxiliary.1.linear.weight").grad)
    torch.testing.assert_close(2 * gradients[0], gradients[1])


@pytest.mark.system("2.1-AUX")
def test_validation_compares_the_main_head_alone() -> None:
    criterion, batch = AuxiliaryCriterion(0.3, smoothing=0.1), batch_of(torch.zeros(2, 3, 8, 8), torch.tensor([1, 0]))
    logits, other = torch.randn(2, 3), torch.randn(2, 3)
    plain = criterion.compare(Logits(logits), batch, Step())
    full = criterion.compare(AuxiliaryLogits(logits, (other,)), batch, Step())
    assert set(plain) == {"cross_entropy"}
    assert torch.equal(plain["cross_entropy"], full["cross_entropy"])
    expected = 0.3 * F.cross_entropy(other, torch.tensor([1, 0]), label_smoothing=0.1)
    torch.testing.assert_close(full["auxiliary"], expected)


def test_without_auxiliary_heads_it_is_a_plain_classifier() -> None:
    model = googlenet(categories=3, width=8, auxiliary=False)
    assert type(model.network) is Classifier
    assert model.network(images((64, 64), torch.float32)).logits.shape == (2, 3)


# ----------------------------------------------------------------------------------------------------------------------
# Options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "caffe"}, "'paper'.*'torchvision'"),
        ({"norm": "layer"}, "'batch'.*'frozen'.*'response'"),
        ({"pool": "mean"}, "'max'.*'l2'"),
        ({"stem": "tiny"}, "'imagenet'.*'small'"),
        ({"width": 4}, "at least 8"),
    ],
)
def test_wrong_arguments_name_the_choices(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(WRONG, match=message):
        trunk(**arguments)


def test_builder_records_name_and_arguments() -> None:
    model = googlenet(categories=("cat", "dog"), size=(48, 64), width=8)
    assert model.origin is not None
    assert model.origin[0] == "googlenet"
    assert model.origin[1]["categories"] == ("cat", "dog")
    assert model.preprocess.exact == (48, 64)
    assert isinstance(model.criterion, AuxiliaryCriterion)
    assert model.criterion.weight == 0.3
