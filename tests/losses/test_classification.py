"""Losses of class scores against torch, torchvision, closed forms and the worked examples."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision.ops
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from tests.closeness import EXACT, NUMBERS, OUTPUTS, assert_close
from vidi.losses.classification import (
    binary_cross_entropy,
    class_balanced_weights,
    cross_entropy,
    focal_loss,
    foreground_targets,
    multi_label_cross_entropy,
    prior_bias,
    prior_bias_from_counts,
)
from vidi.losses.reduction import reduce_loss


def scores(*shape: int) -> torch.Tensor:
    return (torch.randn(*shape, dtype=torch.float64) * 4).requires_grad_()


def logit(probability: float) -> torch.Tensor:
    return torch.tensor([math.log(probability / (1 - probability))], dtype=torch.float64)


def assert_equal_with_gradient(ours: torch.Tensor, reference: torch.Tensor, leaf: torch.Tensor) -> None:
    assert_close(ours, reference, NUMBERS)
    mine, theirs = (torch.autograd.grad(loss.sum(), leaf, retain_graph=True)[0] for loss in (ours, reference))
    assert_close(mine, theirs, OUTPUTS)


# ----------------------------------------------------------------------------------------------------------------------
# Softmax


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_for_labels_and_for_mixtures(reduction, smoothing):
    logits, labels = scores(20, 7), torch.arange(20) % 7
    mixture = torch.softmax(torch.randn(20, 7, dtype=torch.float64), 1)
    for targets in (labels, mixture):
        ours = cross_entropy(logits, targets, smoothing=smoothing, reduction=reduction)
        reference = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction=reduction)
        assert_equal_with_gradient(ours, reference, logits)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_class_weights_are_torchs(reduction):
    logits, labels, weights = scores(20, 3), torch.arange(20) % 3, torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    ours = cross_entropy(logits, labels, class_weights=weights, reduction=reduction)
    assert_equal_with_gradient(ours, F.cross_entropy(logits, labels, weights, reduction=reduction), logits)


def test_mixup_is_the_mixture_of_two_losses():
    logits, share = scores(6, 4), 0.3
    first, second = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([3, 3, 1, 0, 2, 2])
    targets = share * F.one_hot(first, 4).double() + (1 - share) * F.one_hot(second, 4).double()
    expected = share * cross_entropy(logits, first) + (1 - share) * cross_entropy(logits, second)
    assert_close(cross_entropy(logits, targets), expected)


def test_labels_outside_the_classes_and_impossible_smoothing_are_refused():
    with pytest.raises(ValueError, match="labels from 0 to 3, expected 0 to 2"):
        cross_entropy(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="smoothing=2"):
        cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]), smoothing=2)
    with pytest.raises((ValueError, TypeCheckError), match="median"):  # the tests' hook comes first
        reduce_loss(torch.zeros(2), "median")  # pyright: ignore[reportArgumentType]


# ----------------------------------------------------------------------------------------------------------------------
# Sigmoids


@pytest.mark.system("4.3.4-MULTILABEL")
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_binary_cross_entropy_is_torchs(reduction):
    logits = scores(30, 5)
    soft = torch.rand(30, 5, dtype=torch.float64)
    for targets in (soft, soft > 0.5):
        ours = binary_cross_entropy(logits, targets, reduction=reduction)
        reference = F.binary_cross_entropy_with_logits(logits, targets.double(), reduction=reduction)
        assert_equal_with_gradient(ours, reference, logits)


@pytest.mark.system("4.3.4-MULTILABEL")
def test_the_multi_label_loss_sums_over_sigmoids_and_background_fires_none():
    logits = scores(4, 3)
    targets = foreground_targets(torch.tensor([0, 2, 3, 3]), 3)  # 3: background
    assert targets.tolist() == [[True, False, False], [False, False, True], [False] * 3, [False] * 3]
    losses = multi_label_cross_entropy(logits, targets, reduction="none")
    expected = []
    for row, truth in zip(logits.tolist(), targets.tolist(), strict=True):
        p = [1 / (1 + math.exp(-s)) for s in row]
        expected.append(-sum(math.log(q if y else 1 - q) for q, y in zip(p, truth, strict=True)))
    assert losses.tolist() == pytest.approx(expected, rel=NUMBERS)
    reference = F.binary_cross_entropy_with_logits(logits, targets.double(), reduction="sum") / 4
    assert_close(multi_label_cross_entropy(logits, targets), reference)
    with pytest.raises(ValueError, match="expected 0 to 3"):
        foreground_targets(torch.tensor([4]), 3)


@pytest.mark.system("4.3.4-WBCE")
def test_class_weights_are_alpha_and_its_complement():
    logits, targets, alpha = scores(40), torch.arange(40) % 3 == 0, 0.8
    ours = binary_cross_entropy(logits, targets, alpha=alpha, reduction="none")
    weights = alpha * targets.double() + (1 - alpha) * (~targets).double()
    reference = F.binary_cross_entropy_with_logits(logits, targets.double(), weight=weights, reduction="none")
    assert_equal_with_gradient(ours, reference, logits)
    assert_equal_with_gradient(ours, focal_loss(logits, targets, gamma=0, alpha=alpha, reduction="none"), logits)


# ----------------------------------------------------------------------------------------------------------------------
# Focal loss


@pytest.mark.system("B4.19", "4.3.4-BFL")
def test_focal_factors_of_the_worked_example():
    for p_t, factor in ((0.9, 0.01), (0.6, 0.16), (0.4, 0.36), (0.1, 0.81)):
        focal = focal_loss(logit(p_t), torch.tensor([True]), gamma=2, alpha=None)
        plain = focal_loss(logit(p_t), torch.tensor([True]), gamma=0, alpha=None)
        assert (focal / plain).item() == pytest.approx(factor, rel=EXACT)


@pytest.mark.system("B4.20", "4.3.4-WBFL")
def test_focal_loss_of_the_worked_example():
    positive = torch.tensor([True])
    assert focal_loss(logit(0.9), positive).item() == pytest.approx(0.000263401, abs=5e-10)
    assert focal_loss(logit(0.9), positive, alpha=None).item() == pytest.approx(0.00105361, abs=5e-9)
    assert binary_cross_entropy(logit(0.9), positive).item() == pytest.approx(0.105361, abs=5e-7)


@pytest.mark.system("4.3.4-BFL", "4.3.4-WBFL")
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("gamma", [0, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.25, 0.9])
def test_focal_loss_is_torchvisions(gamma, alpha, reduction):
    logits, targets = scores(40, 3), torch.rand(40, 3) < 0.3
    ours = focal_loss(logits, targets, gamma=gamma, alpha=alpha, reduction=reduction)
    reference = torchvision.ops.sigmoid_focal_loss(
        logits, targets.double(), alpha=-1 if alpha is None else alpha, gamma=gamma, reduction=reduction
    )
    assert_equal_with_gradient(ours, reference, logits)


@pytest.mark.system("4.3.4-BFL")
def test_focal_loss_is_the_papers_formula_and_bce_without_gamma():
    logits, targets = scores(30), torch.arange(30) % 2 == 0
    expected = []
    for s, y in zip(logits.tolist(), targets.tolist(), strict=True):
        p_t = 1 / (1 + math.exp(-s if y else s))
        expected.append(-((1 - p_t) ** 1.5) * math.log(p_t))
    ours = focal_loss(logits, targets, gamma=1.5, alpha=None, reduction="none")
    assert ours.tolist() == pytest.approx(expected, rel=NUMBERS)
    plain = binary_cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(focal_loss(logits, targets, gamma=0, alpha=None, reduction="none"), plain)


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_extreme_logits_stay_finite(gamma):
    logits = torch.tensor([-1e4, -200.0, -60.0, 0.0, 60.0, 200.0, 1e4], requires_grad=True)
    for truth in (True, False):
        targets = torch.full((7,), truth)
        losses = focal_loss(logits, targets, gamma=gamma, reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        assert losses.isfinite().all()
        assert gradient.isfinite().all()
        assert losses.max().item() == pytest.approx(1e4 * (0.25 if truth else 0.75))
        assert binary_cross_entropy(logits, targets, reduction="none").isfinite().all()


def test_gradients_are_right():
    logits, targets = scores(3, 4), torch.rand(3, 4) < 0.5
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, targets, gamma=0.7), logits)
    assert torch.autograd.gradcheck(lambda x: binary_cross_entropy(x, targets, alpha=0.3), logits)


@given(st.floats(-30, 30), st.booleans(), st.floats(0, 5), st.floats(0, 5))
def test_more_gamma_never_raises_the_loss(score, truth, one, two):
    logits, targets = torch.tensor([score], dtype=torch.float64), torch.tensor([truth])
    low, high = (focal_loss(logits, targets, gamma=g, alpha=None).item() for g in sorted((one, two)))
    assert 0 <= high <= low * (1 + 1e-12)


def test_half_precision_is_computed_in_float32_and_nothing_costs_nothing():
    logits, targets = torch.randn(5, 3).bfloat16(), torch.rand(5, 3) < 0.5
    assert torch.equal(focal_loss(logits, targets), focal_loss(logits.float(), targets))
    assert torch.equal(binary_cross_entropy(logits, targets), binary_cross_entropy(logits.float(), targets))
    assert cross_entropy(logits.half(), torch.zeros(5, dtype=torch.int64)).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert focal_loss(logits, targets).dtype == torch.float32
    empty = torch.zeros(0, 3, requires_grad=True)
    value = focal_loss(empty, torch.zeros(0, 3, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    with pytest.raises(ValueError, match="gamma=-1"):
        focal_loss(empty, torch.zeros(0, 3, dtype=torch.bool), gamma=-1)


# ----------------------------------------------------------------------------------------------------------------------
# Rare classes


def test_class_balanced_weights_are_the_papers_formula():
    counts = torch.tensor([5000, 200, 3, 1])
    for beta in (0.0, 0.9, 0.999, 0.9999):
        effective = [sum(beta**i for i in range(n)) for n in counts.tolist()]  # (1 - beta^n) / (1 - beta)
        expected = torch.tensor([1 / e for e in effective])
        weights = class_balanced_weights(counts, beta=beta)
        torch.testing.assert_close(weights, expected * 4 / expected.sum())
    assert class_balanced_weights(counts, beta=0).tolist() == [1, 1, 1, 1]
    nearly_1 = class_balanced_weights(counts, beta=1 - 1e-9)
    assert (nearly_1[3] / nearly_1[0]).item() == pytest.approx(5000, rel=1e-3)


def test_a_class_without_samples_has_no_weight():
    assert class_balanced_weights(torch.tensor([4, 0, 4])).tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match=r"counts \[0, 0\]"):
        class_balanced_weights(torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="beta=1"):
        class_balanced_weights(torch.tensor([1, 2]), beta=1)


@pytest.mark.system("B4.21", "4.3.4-PRIORINIT")
def test_prior_bias_of_the_worked_example():
    assert prior_bias(0.01) == pytest.approx(-math.log(99))
    assert prior_bias(0.01) == pytest.approx(-4.595120, abs=5e-7)
    assert prior_bias_from_counts(1, 100) == pytest.approx(-math.log(100))  # psi = 1 / 101
    assert prior_bias_from_counts(1, 100) == pytest.approx(-4.605170, abs=5e-7)
    assert torch.tensor(prior_bias(0.2)).sigmoid().item() == pytest.approx(0.2)


@pytest.mark.system("4.3.4-PRIORINIT")
def test_prior_bias_is_torchvisions():
    from torchvision.models.detection.retinanet import RetinaNetClassificationHead

    head = RetinaNetClassificationHead(8, 9, 3, prior_probability=0.01)
    assert head.cls_logits.bias is not None
    assert head.cls_logits.bias.tolist() == pytest.approx([prior_bias(0.01)] * 27, abs=1e-6)
    for impossible in (0, 1, -0.5):
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            prior_bias(impossible)
    with pytest.raises(ValueError, match="0 positives"):
        prior_bias_from_counts(0, 5)


@pytest.mark.system("B4.22", "4.3.4-PRIORINIT")
def test_initial_loss_with_and_without_the_prior():
    targets = torch.arange(101) == 0  # 1 : 100
    for psi, loss in ((0.5, 0.693147), (0.01, 0.0555466)):
        logits = torch.full((101,), prior_bias(psi), dtype=torch.float64)
        assert binary_cross_entropy(logits, targets).item() == pytest.approx(loss, abs=5e-7)
