"""Losses of pairs, of one positive among negatives, of templates: against other libraries, slow loops, the notes."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from pytorch_metric_learning.losses import (
    ArcFaceLoss,
    ContrastiveLoss,
    NormalizedSoftmaxLoss,
    NPairsLoss,
    NTXentLoss,
    SelfSupervisedLoss,
)
from pytorch_metric_learning.reducers import MeanReducer
from pytorch_metric_learning.regularizers import LpRegularizer
from torch import Tensor

from tests.closeness import EXACT, GRADIENTS, NUMBERS, assert_close
from tests.embedding.losses import BATCH_LOSSES, TEMPLATE_LOSSES, assert_equal_with_gradients, batch_of, drawn, number
from tests.references import metric_learning as slow
from vidi.losses.embedding import (
    arcface_loss,
    batch_contrastive_loss,
    batch_n_pairs_loss,
    batch_tuple_loss,
    contrastive_loss,
    first_pairs,
    info_nce_loss,
    log_sum_exp,
    n_pairs_loss,
    normalized_softmax_loss,
    nt_xent_loss,
    tuple_loss,
    with_angular_margin,
)


def float64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ----------------------------------------------------------------------------------------------------------------------
# Pairs


@pytest.mark.system("7.2.1-CONTRAST")
def test_pairs_of_one_identity_cost_what_pytorch_metric_learning_says():
    embeddings, identities = batch_of(5, 4)
    # its hinge, of squared distances, is switched off; that of ours is at a margin that nothing reaches
    theirs = ContrastiveLoss(
        pos_margin=0, neg_margin=0, distance=LpDistance(power=2, normalize_embeddings=False), reducer=MeanReducer()
    )
    ours = batch_contrastive_loss(embeddings, identities, partial(contrastive_loss, margin=0))
    assert_equal_with_gradients(ours, theirs(embeddings, identities), embeddings)


@pytest.mark.system("7.2.1-CONTRAST")
@pytest.mark.parametrize("margin", [1.0, 2])
def test_the_unsquared_hinge_is_that_of_pytorch_metric_learning(margin: Any):
    embeddings, identities = batch_of(5, 4)
    theirs = ContrastiveLoss(
        pos_margin=100, neg_margin=margin, distance=LpDistance(normalize_embeddings=False), reducer=MeanReducer()
    )
    loss = partial(contrastive_loss, margin=margin, positive_margin=100, squared_hinge=False)
    ours = batch_contrastive_loss(embeddings, identities, loss)
    assert_equal_with_gradients(ours, theirs(embeddings, identities), embeddings)


@pytest.mark.system("7.2.1-CONTRAST")
@pytest.mark.parametrize("squared_hinge", [True, False])
@pytest.mark.parametrize("positive_margin", [0.0, 0.6])
@pytest.mark.parametrize(("margin", "factor"), [(None, 1.0), (1.3, 0.5), (0.7, 2)])
def test_contrastive_loss_is_that_of_slow_loops(margin, factor, positive_margin, squared_hinge):
    embeddings, identities = batch_of(4, 3)
    options: Any = {
        "margin": margin, "factor": factor, "positive_margin": positive_margin, "squared_hinge": squared_hinge
    }  # fmt: skip
    ours = batch_contrastive_loss(embeddings, identities, partial(contrastive_loss, **options))
    expected = slow.contrastive(embeddings.tolist(), identities.tolist(), **options)
    assert number(ours) == pytest.approx(expected, rel=NUMBERS)


@pytest.mark.system("7.2.1-CONTRAST", "B7.1")
def test_the_negative_branch_is_squared_unless_asked_otherwise():
    """B7.1, C7.1: a negative at 0.4 costs 0.36 with margin 1, and 0.6 in the notes' last line."""
    squared, apart = float64(0.4**2), torch.tensor([False])
    assert number(contrastive_loss(squared, apart)) == pytest.approx(0.36)
    assert number(contrastive_loss(squared, apart, squared_hinge=False)) == pytest.approx(0.6)
    assert number(contrastive_loss(squared, apart, factor=0.5)) == pytest.approx(0.18)
    assert number(contrastive_loss(squared, apart, margin=0.3)) == 0
    assert number(contrastive_loss(squared, apart, margin=None)) == pytest.approx(-0.16)


@pytest.mark.system("7.2.1-CONTRAST")
def test_pairs_of_one_identity_cost_their_squared_distance_beyond_the_positive_margin():
    squared, same = float64(0.4**2, 0.1**2), torch.tensor([True, True])
    assert_close(contrastive_loss(squared, same, reduction="none"), float64(0.16, 0.01))
    assert_close(contrastive_loss(squared, same, positive_margin=0.3, reduction="none"), float64(0.01, 0))
    assert number(contrastive_loss(squared, same, factor=0.5, reduction="sum")) == pytest.approx(0.085)
    assert number(contrastive_loss(squared, same, positive_margin=0.3)) == pytest.approx(0.005)


@pytest.mark.parametrize("options", [{"margin": -1}, {"positive_margin": -0.1}, {"margin": math.nan}])
def test_margins_below_zero_are_refused(options: dict[str, Any]):
    with pytest.raises(ValueError, match="expected numbers that are not negative, or margin=None"):
        contrastive_loss(float64(1), torch.tensor([True]), **options)


# ----------------------------------------------------------------------------------------------------------------------
# One positive among negatives


@pytest.mark.system("7.2.4-LSE", "B7.7")
@given(st.lists(st.floats(-700, 700), min_size=1, max_size=6))
def test_log_sum_exp_softens_the_maximum(values: list[float]):
    """C7.11: max <= LSE <= max + ln n."""
    x = float64(*values).requires_grad_()
    ours, theirs = log_sum_exp(x), torch.logsumexp(x, 0)
    assert_close(ours, theirs, EXACT, size=max(map(abs, values)) + 1)
    assert max(values) <= number(ours) + 1e-12 <= max(values) + math.log(len(values)) + 2e-12
    mine, other = (torch.autograd.grad(loss, x)[0] for loss in (ours, theirs))
    assert_close(mine, other, EXACT)


@pytest.mark.system("7.2.4-LSE", "B7.7")
def test_log_sum_exp_of_one_two_three():
    """B7.7: 3.407606, between 3 and 4.098612."""
    assert number(log_sum_exp(float64(1, 2, 3))) == pytest.approx(3.407606, abs=5e-7)
    assert 3 + math.log(3) == pytest.approx(4.098612, abs=5e-7)
    assert number(log_sum_exp(float64(1e4, 1e4))) == pytest.approx(1e4 + math.log(2), rel=1e-14)
    assert number(log_sum_exp(torch.tensor([1e38, -1e38]))) == pytest.approx(1e38)


@pytest.mark.system("7.2.4-LSE")
def test_cross_entropy_is_log_sum_exp_less_the_logit_of_the_truth():
    logits, labels = drawn(7, 5, scale=3), torch.arange(7) % 5
    ours = log_sum_exp(logits) - logits[torch.arange(7), labels]
    assert_close(ours, F.cross_entropy(logits, labels, reduction="none"), EXACT)


@pytest.mark.system("7.2.4-LSE")
def test_log_sum_exp_of_some_values_and_of_none():
    x = drawn(3, 4).requires_grad_()
    where = torch.tensor([[True, False, True, True], [False] * 4, [False, False, False, True]])
    values = log_sum_exp(x, where)
    assert_close(values[0], torch.logsumexp(x[0, where[0]], 0))
    assert values[1] == -math.inf
    assert_close(values[2], x[2, 3])
    (gradient,) = torch.autograd.grad(values[[0, 2]].sum() + values[1].exp(), x)
    assert_close(gradient[0], (x[0].exp() * where[0] / x[0, where[0]].exp().sum()))
    assert gradient[1].tolist() == [0] * 4
    assert gradient[2].tolist() == [0, 0, 0, 1]
    assert log_sum_exp(torch.zeros(2, 0)).tolist() == [-math.inf] * 2


@pytest.mark.system("7.2.4-TUPLE")
def test_only_the_worst_negative_pulls():
    positive, negatives = float64(0.5, 0.9).requires_grad_(), torch.tensor(
        [[0.2, 0.7, 0.6], [0.1, 0.8, -1.0]], dtype=torch.float64, requires_grad=True
    )  # fmt: skip
    losses = tuple_loss(positive, negatives, reduction="none")
    assert_close(losses, float64(0.2, 0))
    by_positive, by_negatives = torch.autograd.grad(losses.sum(), (positive, negatives))
    assert by_positive.tolist() == [-1, 0]
    assert by_negatives.tolist() == [[0, 1, 0], [0, 0, 0]]
    assert tuple_loss(positive, negatives) == losses.mean()
    assert tuple_loss(positive, negatives[:, :0]).tolist() == 0


@pytest.mark.system("7.2.4-TUPLE")
def test_the_tuple_loss_of_a_batch_is_that_of_slow_loops():
    embeddings, identities = batch_of(4, 3)

    def worst(positive: float, negatives: list[float]) -> float:
        return max(0.0, max(negatives) - positive)

    expected = slow.over_pairs(embeddings.tolist(), identities.tolist(), worst)
    ours = batch_tuple_loss(embeddings, identities)
    assert number(ours) == pytest.approx(expected, rel=NUMBERS)
    assert torch.autograd.gradcheck(partial(batch_tuple_loss, identities=identities), (embeddings,))
    rows = [(a, p) for a in range(12) for p in range(12) if a != p and identities[a] == identities[p]]
    cosines = F.cosine_similarity(embeddings[:, None], embeddings, dim=2)
    alone = [tuple_loss(cosines[a, p].view(1), cosines[a, identities != identities[a]].view(1, -1)) for a, p in rows]
    assert_equal_with_gradients(ours, torch.stack(alone).mean(), embeddings)


@pytest.mark.system("7.2.4-INFONCE", "B7.6")
def test_info_nce_of_equal_similarities_is_the_log_of_their_number():
    """B7.6: ln 8 for seven negatives."""
    for cosine in (-1.0, 0.3):
        loss = info_nce_loss(float64(cosine), torch.full((1, 7), cosine, dtype=torch.float64))
        assert number(loss) == pytest.approx(2.079442, abs=5e-7)


@pytest.mark.system("7.2.4-INFONCE", "7.2.4-NTXENT")
@pytest.mark.parametrize("temperature", [1.0, 0.07])
def test_info_nce_is_cross_entropy_of_the_positive(temperature: float):
    cosines = (drawn(6, 9) / 2).requires_grad_()
    ours = info_nce_loss(cosines[:, 0], cosines[:, 1:], temperature=temperature)
    theirs = F.cross_entropy(cosines / temperature, torch.zeros(6, dtype=torch.int64))
    assert_equal_with_gradients(ours, theirs, cosines)
    each = info_nce_loss(cosines[:, 0], cosines[:, 1:], temperature=temperature, reduction="none")
    assert_close(each.mean(), ours)
    assert info_nce_loss(cosines[:, 0], cosines[:, :0]) == 0


@pytest.mark.system("7.2.4-NTXENT", "B7.8")
@pytest.mark.parametrize(
    ("temperature", "expected", "weights"),
    [
        (1, 0.976580, (0.3408, 0.1692, 0.1134)),
        (0.5, 0.747325, None),
        (0.1, 0.313511, (0.2689, 0.0002, 0.0000)),
        (0.07, 0.214839, None),
    ],
)
def test_a_small_temperature_looks_at_the_hardest_negative(temperature, expected, weights):
    """B7.8, C7.9: cosines 0.9 with the positive; 0.8, 0.1, -0.3 with negatives."""
    negatives = float64(0.8, 0.1, -0.3)[None].requires_grad_()
    loss = info_nce_loss(float64(0.9), negatives, temperature=temperature)
    assert number(loss) == pytest.approx(expected, abs=5e-7)
    if weights is not None:
        (gradient,) = torch.autograd.grad(loss, negatives)
        assert (gradient[0] * temperature).tolist() == pytest.approx(weights, abs=5e-5)


@pytest.mark.system("7.2.4-NTXENT", "7.2.4-INFONCE")
@pytest.mark.parametrize(("identities", "pictures"), [(6, 2), (4, 4)])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.07])
def test_nt_xent_is_that_of_pytorch_metric_learning(temperature, identities, pictures):
    embeddings, labels = batch_of(identities, pictures)
    theirs = NTXentLoss(temperature=temperature, reducer=MeanReducer())(embeddings, labels)
    assert_equal_with_gradients(nt_xent_loss(embeddings, labels, temperature=temperature), theirs, embeddings)


@pytest.mark.system("7.2.4-NTXENT")
def test_two_views_have_two_times_all_but_one_negatives():
    """Chen et al., equation 1: cross-entropy over the 2 N - 1 other views, of which one is the positive."""
    embeddings = drawn(10, 6).requires_grad_()
    labels = torch.arange(5).repeat(2)
    ours = nt_xent_loss(embeddings, labels)
    cosines = F.cosine_similarity(embeddings[:, None], embeddings, dim=2) / 0.1
    cosines = cosines.masked_fill(torch.eye(10, dtype=torch.bool), -math.inf)
    assert_equal_with_gradients(ours, F.cross_entropy(cosines, (torch.arange(10) + 5) % 10), embeddings)
    theirs = SelfSupervisedLoss(NTXentLoss(temperature=0.1, reducer=MeanReducer()))
    assert_equal_with_gradients(nt_xent_loss(embeddings, labels), theirs(embeddings[:5], embeddings[5:]), embeddings)


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan])
def test_temperatures_that_are_not_positive_are_refused(temperature: float):
    for call in (
        partial(info_nce_loss, float64(1), torch.ones(1, 2)),
        partial(nt_xent_loss, torch.ones(2, 2), torch.arange(2)),
    ):
        with pytest.raises(ValueError, match="temperature"):
            call(temperature=temperature)


@pytest.mark.system("7.2.4-INFONCE")
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("penalty", [0, 0.02])
def test_n_pairs_are_those_of_pytorch_metric_learning(normalize: bool, penalty: float):
    """C7.12: Sohn compares products, and penalises lengths; the notes compare cosines."""
    embeddings, labels = batch_of(6, 2)
    distance = DotProductSimilarity(normalize_embeddings=normalize)
    theirs = NPairsLoss(distance=distance, reducer=MeanReducer())(embeddings, labels)
    lengths = LpRegularizer(p=2, power=2)(torch.nn.functional.normalize(embeddings) if normalize else embeddings)
    ours = batch_n_pairs_loss(embeddings, labels, normalize=normalize, penalty=penalty)
    assert_equal_with_gradients(ours, theirs + penalty * lengths, embeddings)


@pytest.mark.system("7.2.4-INFONCE")
def test_n_pairs_are_cross_entropy_over_the_positives_of_all():
    anchors, positives = drawn(5, 6).requires_grad_(), drawn(5, 6, seed=1).requires_grad_()
    theirs = F.cross_entropy(anchors @ positives.T, torch.arange(5))
    assert_equal_with_gradients(n_pairs_loss(anchors, positives), theirs, anchors, positives)
    assert n_pairs_loss(anchors[:0], positives[:0]) == 0


def test_the_first_two_pictures_of_each_identity_make_a_pair():
    first, second = first_pairs(torch.tensor([5, 2, 5, 2, 2, 9, 5]))
    assert (first.tolist(), second.tolist()) == ([1, 0], [3, 2])
    assert [places.tolist() for places in first_pairs(torch.tensor([3, 1]))] == [[], []]
    assert [places.tolist() for places in first_pairs(torch.zeros(0, dtype=torch.int64))] == [[], []]


# ----------------------------------------------------------------------------------------------------------------------
# Templates


def with_templates(loss: Any, templates: Tensor) -> Any:
    """Give a loss of pytorch-metric-learning these templates, its columns."""
    loss.W.data = templates.detach().T.clone()
    return loss


@pytest.mark.system("7.2.3-NORMSOFTMAX", "7.2.3-TEMPLATE")
@pytest.mark.parametrize("scale", [20.0, 3])
def test_normalised_softmax_is_that_of_pytorch_metric_learning(scale: float):
    embeddings, labels = batch_of(5, 4)
    templates = drawn(7, 6, seed=8).requires_grad_()
    theirs = with_templates(NormalizedSoftmaxLoss(7, 6, temperature=1 / scale, reducer=MeanReducer()), templates)
    other = theirs(embeddings, labels)
    ours = normalized_softmax_loss(embeddings, templates, labels, scale=scale)
    assert_equal_with_gradients(ours, other, embeddings)
    by_templates = torch.autograd.grad(normalized_softmax_loss(embeddings, templates, labels, scale=scale), templates)
    assert_close(by_templates[0], torch.autograd.grad(theirs(embeddings, labels), theirs.W)[0].T, GRADIENTS)
    assert normalized_softmax_loss(embeddings, templates, labels) == normalized_softmax_loss(
        embeddings, templates, labels, scale=20
    )


@pytest.mark.system("7.2.3-NORMSOFTMAX")
def test_the_scale_may_be_learned():
    embeddings, labels = batch_of(3, 2)
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    loss = normalized_softmax_loss(embeddings, drawn(3, 6, seed=8), labels, scale=scale)
    assert torch.autograd.grad(loss, scale)[0] != 0


@pytest.mark.system("7.2.3-TEMPLATE", "7.2.3-COSINE")
def test_a_linear_layer_compares_with_templates_and_a_normalised_one_gives_cosines():
    """Its columns (torch's rows) are templates: the logit is the product with each, ||w|| ||e|| cos."""
    layer = torch.nn.Linear(6, 4, bias=False, dtype=torch.float64)
    embedding = drawn(1, 6)
    cosines = F.cosine_similarity(embedding, layer.weight)
    assert_close(layer(embedding)[0], cosines * layer.weight.norm(dim=1) * embedding.norm())
    losses = [normalized_softmax_loss(embedding, layer.weight, torch.tensor([k]), scale=1) for k in range(4)]
    assert_close(torch.stack(losses), -torch.log_softmax(cosines, 0))


@pytest.mark.system("7.2.3-ARCFACE", "7.2.3-TEMPLATE")
@pytest.mark.parametrize(("margin", "scale"), [(0.5, 64.0), (0.3, 8), (1.2, 16), (0, 1.0)])
def test_arcface_is_that_of_pytorch_metric_learning(margin: float, scale: Any):
    embeddings, labels = batch_of(5, 6, seed=3)
    templates = drawn(7, 6, seed=8).requires_grad_()
    with torch.no_grad():
        embeddings[:4] -= 3 * templates[labels[:4]]  # beyond the wrap-around
    beyond = F.cosine_similarity(embeddings, templates[labels]) < -math.cos(margin)
    assert beyond.any() == (margin > 0)
    theirs = with_templates(
        ArcFaceLoss(7, 6, margin=math.degrees(margin), scale=scale, reducer=MeanReducer()), templates
    )
    ours = arcface_loss(embeddings, templates, labels, margin=margin, scale=scale)
    assert_equal_with_gradients(ours, theirs(embeddings, labels), embeddings)
    by_templates = torch.autograd.grad(
        arcface_loss(embeddings, templates, labels, margin=margin, scale=scale), templates
    )
    assert_close(by_templates[0], torch.autograd.grad(theirs(embeddings, labels), theirs.W)[0].T, GRADIENTS)


@pytest.mark.system("7.2.3-ARCFACE", "B7.5")
def test_an_angular_margin_turns_away_until_it_would_wrap_around():
    """B7.5, C7.8: cos(theta + 0.5); past theta = pi - 0.5 the fallback cos(theta) - m sin(m)."""
    cosines = float64(1, 0.8, 0.5, 0, -0.5, -0.877, -0.879, -1)
    angles = cosines.arccos()
    vectors = torch.stack([cosines, angles.sin()], 1)
    template = float64(1, 0).expand_as(vectors)
    widened = with_angular_margin(vectors, template, 0.5)
    expected = (0.877583, 0.414411, 0.023597, -0.479426, -0.853986)
    assert widened[:5].tolist() == pytest.approx(expected, abs=5e-7)
    assert -math.cos(0.5) == pytest.approx(-0.877583, abs=5e-7)
    assert_close(widened, float64(*(slow.arcface_logit(angle, 0.5) for angle in angles.tolist())), 1e-9)
    assert widened.tolist() == sorted(widened.tolist(), reverse=True)


@pytest.mark.system("7.2.3-ARCFACE")
def test_arcface_has_the_papers_margin_and_scale():
    embeddings, labels = batch_of(4, 2)
    templates = drawn(4, 6, seed=8)
    ours = arcface_loss(embeddings, templates, labels)
    assert ours == arcface_loss(embeddings, templates, labels, margin=0.5, scale=64)
    cosines = F.cosine_similarity(embeddings[:, None], templates, dim=2)
    rows = torch.arange(8)
    angles = cosines[rows, labels].arccos().tolist()
    cosines[rows, labels] = float64(*(slow.arcface_logit(angle, 0.5) for angle in angles))
    assert_close(ours, F.cross_entropy(64 * cosines, labels), NUMBERS)


@pytest.mark.system("7.2.3-ARCFACE")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arcface_is_smooth_where_embeddings_lie_on_their_template_or_opposite(dtype: torch.dtype):
    templates = drawn(3, 6, seed=8).to(dtype)
    nearly = templates[0] + 1e-6 * drawn(6, seed=9).to(dtype)
    embeddings = torch.stack([templates[0], -templates[0], nearly, -nearly, 0 * nearly]).requires_grad_()
    leaf = templates.clone().requires_grad_()
    labels = torch.zeros(5, dtype=torch.int64)
    loss = arcface_loss(embeddings, leaf, labels)
    for gradient in torch.autograd.grad(loss, (embeddings, leaf)):
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e3
    alone = arcface_loss(embeddings[4:], leaf, labels[4:])
    assert number(alone) == pytest.approx(math.log(3), rel=1e-6)  # no direction: all classes alike


@pytest.mark.parametrize("loss", TEMPLATE_LOSSES.values(), ids=TEMPLATE_LOSSES)
@pytest.mark.parametrize("label", [-1, 3])
def test_labels_without_a_template_are_refused(loss: Callable[..., Tensor], label: int):
    with pytest.raises(ValueError, match=r"expected 0 to 2"):
        loss(drawn(2, 6), drawn(3, 6), torch.tensor([0, label]))


@pytest.mark.parametrize("margin", [-0.1, 3.2, math.nan])
def test_margins_that_are_no_angle_are_refused(margin: float):
    with pytest.raises(ValueError, match="expected radians from 0 to pi"):
        arcface_loss(drawn(2, 6), drawn(3, 6), torch.tensor([0, 1]), margin=margin)


# ----------------------------------------------------------------------------------------------------------------------
# All of them


SAME = drawn(1, 6).expand(6, 6)
ODD: dict[str, tuple[Tensor, Tensor]] = {
    "one identity": (drawn(6, 6), torch.zeros(6, dtype=torch.int64)),
    "one picture of each": (drawn(6, 6), torch.arange(6)),
    "one picture": (drawn(1, 6), torch.zeros(1, dtype=torch.int64)),
    "no picture": (drawn(0, 6), torch.zeros(0, dtype=torch.int64)),
    "all vectors equal": (SAME, torch.arange(6) % 3),
    "vectors of length 0": (drawn(6, 6) * (torch.arange(6) > 1)[:, None], torch.arange(6) % 3),
    "far from the origin": (drawn(6, 6) + 1e6, torch.arange(6) % 3),
    "huge": (1e15 * drawn(6, 6), torch.arange(6) % 3),
    "tiny": (1e-25 * drawn(6, 6), torch.arange(6) % 3),
}


@pytest.mark.system("7.2.1-CONTRAST", "7.2.2-TRIPLET", "7.2.4-ANGTRIP", "7.2.4-TUPLE", "7.2.4-INFONCE", "7.2.4-NTXENT")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("name", [*BATCH_LOSSES, *TEMPLATE_LOSSES])
def test_every_batch_has_a_finite_loss_and_finite_gradients(name: str, case: str, dtype: torch.dtype):
    embeddings, identities = ODD[case]
    embeddings = embeddings.to(dtype).clone().requires_grad_()
    templates = drawn(6, 6, seed=8).to(dtype)
    loss = (
        TEMPLATE_LOSSES[name](embeddings, templates, identities)
        if name in TEMPLATE_LOSSES
        else BATCH_LOSSES[name](embeddings, identities)
    )
    (gradient,) = torch.autograd.grad(loss, embeddings)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    without_triplets = case in ("one identity", "one picture of each", "one picture", "no picture")
    if without_triplets and name not in TEMPLATE_LOSSES and not name.startswith(("contrastive", "N-pairs")):
        assert loss == 0
        assert not gradient.any()


@pytest.mark.parametrize("name", [*BATCH_LOSSES, *TEMPLATE_LOSSES])
def test_blocks_give_the_values_and_gradients_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch):
    embeddings, identities = batch_of(5, 4)
    templates = drawn(7, 6, seed=8).requires_grad_()
    leaves = (embeddings, templates) if name in TEMPLATE_LOSSES else (embeddings,)
    loss = partial((BATCH_LOSSES | TEMPLATE_LOSSES)[name], *leaves)
    whole = 3 * loss(identities)
    expected = torch.autograd.grad(whole, leaves)
    for largest in (1, 3 * 20, 7 * 20):  # a row, three, seven with a remainder
        monkeypatch.setattr("vidi.ops.blocks.LARGEST", largest)
        parts = 3 * loss(identities)
        assert_close(parts, whole, EXACT)
        for one, other in zip(torch.autograd.grad(parts, leaves), expected, strict=True):
            assert_close(one, other, EXACT)
        with torch.no_grad():
            assert_close(3 * loss(identities), whole.detach(), EXACT)


@pytest.mark.parametrize("name", [*BATCH_LOSSES, *TEMPLATE_LOSSES])
def test_half_precision_is_computed_in_float32(name: str):
    embeddings, identities = batch_of(5, 4)
    half = embeddings.detach().bfloat16()
    templates = (drawn(7, 6, seed=8).bfloat16(),) if name in TEMPLATE_LOSSES else ()
    loss: Callable[..., Tensor] = (BATCH_LOSSES | TEMPLATE_LOSSES)[name]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        received = loss(half, *templates, identities)
    assert received.dtype == torch.float32
    assert torch.equal(received, loss(half.float(), *(t.float() for t in templates), identities))
