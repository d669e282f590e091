"""The region proposal network beyond its parity with torchvision: two-way objectness, sampling, borders, selection."""

import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from tests.closeness import assert_close
from vidi.detection.anchors import LevelAnchors
from vidi.detection.regions.region_proposals import (
    AnchorPredictions,
    ProposalCriterion,
    ProposalHead,
    ProposalSelection,
    as_one_way,
    image_sizes,
)
from vidi.detection.targets import Objects
from vidi.model import Step
from vidi.ops.boxes import box_iou
from vidi.ops.matching import BACKGROUND, IGNORED, sample_balanced

SIZE = (64, 96)
MAPS = ((8, 12), (4, 6))
WRONG = (ValueError, TypeError)
NOTHING = torch.zeros(0, 4, dtype=torch.float64)


def level_anchors() -> tuple[torch.Tensor, ...]:
    return LevelAnchors([(16,), (32,)], (8, 16), "paper").double().by_level(SIZE, MAPS)


def predictions(images: int, seed: int = 0) -> AnchorPredictions:
    generator = torch.Generator().manual_seed(seed)
    anchors = level_anchors()
    draw = [torch.randn(images, len(a), 5, generator=generator, dtype=torch.float64) for a in anchors]
    return AnchorPredictions(
        tuple(d[..., 0].requires_grad_() for d in draw), tuple(0.3 * d[..., 1:].requires_grad_() for d in draw), anchors
    )


def objects(*boxes: list[float], crowd: torch.Tensor = NOTHING) -> Objects:
    rows = torch.tensor(boxes, dtype=torch.float64).view(-1, 4)
    return Objects(rows, torch.zeros(len(rows), dtype=torch.int64), crowd)


def sizes(images: int) -> torch.Tensor:
    return torch.tensor([SIZE] * images, dtype=torch.float64)


# ----------------------------------------------------------------------------------------------------------------------
# Head


@pytest.mark.system("B4.17", "4.3.2-RPN2WAY")
def test_a_two_way_head_says_the_logit_whose_sigmoid_is_the_softmax_of_its_pair() -> None:
    """Worked example B4.17 on the head itself: its pair of logits is set by biases to (a, b), object is the second."""
    head = ProposalHead(2, 1, two_way=True).double()
    x = torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    for a, b in ((0.0, 0.0), (1.5, -0.25), (-4.0, 3.0)):
        with torch.no_grad():
            head.objectness.bias.copy_(torch.tensor([a, b]))  # type: ignore[union-attr]
            head.objectness.weight.zero_()
        (logits,), _ = head([x])
        of_object = math.exp(b) / (math.exp(a) + math.exp(b))
        assert logits.sigmoid().flatten().tolist() == pytest.approx([of_object] * 9, rel=1e-12)
        (one_way,), _ = as_one_way(head)([x])
        assert one_way.flatten().tolist() == pytest.approx([b - a] * 9, abs=1e-12)


@pytest.mark.system("4.3.2-RPN2WAY", "4.3.2-RPN")
def test_a_two_way_head_gives_the_probabilities_and_the_loss_of_its_2k_logits() -> None:
    torch.default_generator.manual_seed(0)
    head = ProposalHead(6, 3, two_way=True).double()
    torch.nn.init.normal_(head.objectness.weight)
    x = torch.randn(2, 6, 4, 5, dtype=torch.float64)
    raw, deltas = head.logits(x)
    assert (raw.shape, deltas.shape) == ((2, 6, 4, 5), (2, 12, 4, 5))  # 2k and 4k channels
    two_way = raw.unflatten(1, (2, 3)).permute(0, 3, 4, 2, 1).reshape(-1, 2)  # rows: cells, then anchors; no, yes
    (logits,), _ = head([x])
    torch.testing.assert_close(logits.sigmoid().flatten(), two_way.softmax(1)[:, 1], rtol=1e-12, atol=0)
    labels = torch.arange(len(two_way)) % 2
    cross_entropy = F.cross_entropy(two_way, labels)
    one_way = F.binary_cross_entropy_with_logits(logits.flatten(), labels.double())
    torch.testing.assert_close(one_way, cross_entropy, rtol=1e-12, atol=0)
    gradients = [
        torch.autograd.grad(loss, head.objectness.weight, retain_graph=True)[0] for loss in (one_way, cross_entropy)
    ]
    assert_close(gradients[0], gradients[1])

    converted = as_one_way(head)
    assert converted.objectness.out_channels == 3
    for ours, theirs in zip(converted([x]), head([x]), strict=True):
        assert_close(ours[0], theirs[0])
    same = as_one_way(converted)
    assert torch.equal(same([x])[0][0], converted([x])[0][0])


@pytest.mark.system("4.3.2-RPN")
@pytest.mark.parametrize("anchors", [1, 9])
def test_k_anchors_are_k_heads_of_one_anchor_side_by_side(anchors: int) -> None:
    """One 3x3 with padding 1 and stride 1, then 1x1 convolutions: C4.18 and C4.14, one prediction a location."""
    head = ProposalHead(8, anchors, width=16)
    x = torch.randn(1, 8, 5, 7)
    (objectness,), (deltas,) = head([x])
    assert (objectness.shape, deltas.shape) == ((1, 35 * anchors), (1, 35 * anchors, 4))
    assert head.tower[0][0].weight.shape == (16, 8, 3, 3)  # type: ignore[index]
    for k in range(anchors):
        single = ProposalHead(8, 1, width=16)
        state = (
            head.state_dict()
            | {
                "objectness.weight": head.objectness.weight[k : k + 1],
                "objectness.bias": head.objectness.bias[k : k + 1],  # type: ignore[index]
                "deltas.weight": head.deltas.weight[4 * k : 4 * k + 4],
                "deltas.bias": head.deltas.bias[4 * k : 4 * k + 4],  # type: ignore[index]
            }
        )
        single.load_state_dict(state)
        (alone,), (of_alone,) = single([x])
        torch.testing.assert_close(objectness[:, k::anchors], alone)
        torch.testing.assert_close(deltas[:, k::anchors], of_alone)


# ----------------------------------------------------------------------------------------------------------------------
# Assignment, sampling, loss


def test_the_best_anchor_of_each_object_is_positive() -> None:
    """C4.15: also if another object has anchors above 0.7, and negatives are below 0.3 with every object."""
    anchors = torch.cat(level_anchors())
    exact, odd = anchors[200].tolist(), [3.0, 3.0, 7.0, 8.0]
    own = objects(exact, odd)
    matches = ProposalCriterion().assign(anchors, own, sizes(1)[0])
    iou = box_iou(own.boxes, anchors)
    assert iou[0].max() > 0.7
    assert iou[1].max() < 0.3
    assert matches[iou[1].argmax()] == 1
    assert set(matches[(iou < 0.3).all(0) & (matches < 0)].tolist()) == {BACKGROUND}
    assert (iou[:, matches == BACKGROUND] < 0.3).all()
    between = (iou.amax(0) >= 0.3) & (iou.amax(0) < 0.7) & (matches < 0)
    assert between.any()
    assert set(matches[between].tolist()) == {IGNORED}


def test_anchors_that_cross_the_border_can_be_ignored() -> None:
    """C4.42: then the best anchor of an object is the best of those inside."""
    anchors = torch.cat(level_anchors())
    inside = ((anchors >= 0) & (anchors <= torch.tensor([96, 64, 96, 64]))).all(1)
    own = objects([0.0, 0.0, 14.0, 14.0])
    kept, ignored = (ProposalCriterion(border).assign(anchors, own, sizes(1)[0]) for border in ("keep", "ignore"))
    assert (kept[~inside] == 0).any()
    assert set(ignored[~inside].tolist()) == {IGNORED}
    iou = box_iou(own.boxes, anchors)[0]
    assert ignored[(iou * inside).argmax()] == 0
    smaller = ProposalCriterion("ignore").assign(anchors, own, torch.tensor([40.0, 50.0]))
    assert (smaller == IGNORED).sum() > (ignored == IGNORED).sum()


def test_anchors_in_a_crowd_are_ignored() -> None:
    anchors = torch.cat(level_anchors())
    crowd = torch.tensor([[0.0, 0.0, 48.0, 64.0]], dtype=torch.float64)
    matches = ProposalCriterion().assign(anchors, objects(crowd=crowd), sizes(1)[0])
    assert set(matches[anchors[:, 2] < 48].tolist()) == {IGNORED}
    assert set(matches[anchors[:, 0] > 48].tolist()) == {BACKGROUND}


@pytest.mark.system("4.3.2-RPNSAMPLE")
@pytest.mark.parametrize(("positives", "negatives"), [(400, 5000), (10, 5000), (400, 30), (0, 5000), (5, 0), (0, 0)])
@pytest.mark.parametrize(("count", "share"), [(256, 0.5), (512, 0.25)])
def test_numbers_of_samples_are_torchvisions(positives: int, negatives: int, count: int, share: float) -> None:
    labels = torch.cat([torch.ones(positives), torch.zeros(negatives), -torch.ones(70)])
    labels = labels[torch.randperm(len(labels))]
    ours = sample_balanced(labels == 1, labels == 0, count=count, positive_share=share)
    theirs = [mask[0].bool() for mask in BalancedPositiveNegativeSampler(count, share)([labels])]
    assert [len(rows) for rows in ours] == [int(mask.sum()) for mask in theirs]
    assert (labels[ours[0]] == 1).all()
    assert (labels[ours[1]] == 0).all()
    assert all(len(rows.unique()) == len(rows) for rows in ours)


@pytest.mark.system("4.3.2-RPNSAMPLE")
def test_the_notes_keep_all_positives() -> None:
    """C4.16: and fill the mini-batch up; the paper caps them at a half."""
    matches = torch.cat([torch.zeros(200), -torch.ones(1000)]).long()
    paper, notes = (ProposalCriterion(sampling=kind).sample(matches, None) for kind in ("paper", "notes"))
    assert [len(rows) for rows in paper] == [128, 128]
    assert [len(rows) for rows in notes] == [200, 56]
    many = torch.zeros(300).long()
    assert [len(rows) for rows in ProposalCriterion(sampling="notes").sample(many, None)] == [300, 0]


@pytest.mark.system("4.3.2-RPNSAMPLE")
def test_samples_are_functions_of_the_generator_and_uniform() -> None:
    positive, negative = torch.arange(30) < 10, torch.arange(30) >= 10

    def draw(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return sample_balanced(positive, negative, count=8, positive_share=0.5, generator=generator)

    assert all(torch.equal(a, b) for a, b in zip(draw(1), draw(1), strict=True))
    counts = Counter(row for seed in range(600) for rows in draw(seed) for row in rows.tolist())
    assert all(abs(counts[row] - 240) < 75 for row in range(10))  # 4 of 10, six deviations
    assert all(abs(counts[row] - 120) < 60 for row in range(10, 30))  # 4 of 20
    with pytest.raises(ValueError, match="count=-1"):
        sample_balanced(positive, negative, count=-1, positive_share=0.5)


@pytest.mark.system("4.3.2-RPN")
def test_the_loss_is_equation_1_by_slow_loops() -> None:
    given, step = predictions(2), Step(generator=torch.Generator().manual_seed(5))
    truth = [objects([10, 10, 30, 24], [40, 20, 80, 60]), objects()]
    criterion = ProposalCriterion(count=40)
    losses = criterion(given, truth, sizes(2), step)
    generator = torch.Generator().manual_seed(5)
    anchors = torch.cat(given.anchors)
    log_loss = box_loss = total = 0.0
    for image in range(2):
        matches = criterion.assign(anchors, truth[image], sizes(1)[0])
        positive, negative = criterion.sample(matches, generator)
        logits, deltas = torch.cat(given.objectness, 1)[image], torch.cat(given.deltas, 1)[image]
        for row in [*positive.tolist(), *negative.tolist()]:
            p = 1 / (1 + math.exp(-logits[row].item()))
            log_loss -= math.log(p if row in positive.tolist() else 1 - p)
            total += 1
        for row in positive.tolist():
            ax1, ay1, ax2, ay2 = anchors[row].tolist()
            gx1, gy1, gx2, gy2 = truth[image].boxes[matches[row]].tolist()
            w, h = ax2 - ax1, ay2 - ay1
            wanted = [(gx1 + gx2 - ax1 - ax2) / 2 / w, (gy1 + gy2 - ay1 - ay2) / 2 / h]
            wanted += [math.log((gx2 - gx1) / w), math.log((gy2 - gy1) / h)]
            for given_delta, delta in zip(deltas[row].tolist(), wanted, strict=True):
                residual = abs(given_delta - delta)
                box_loss += 4.5 * residual**2 if residual < 1 / 9 else residual - 1 / 18
    assert total == 80
    assert losses["objectness"].item() == pytest.approx(log_loss / total, rel=1e-10)
    assert losses["proposal"].item() == pytest.approx(box_loss / total, rel=1e-10)
    assert box_loss > 0


def test_two_processes_equal_one() -> None:
    given = predictions(2)
    truth = [objects([10, 10, 30, 24]), objects()]
    criterion = ProposalCriterion(count=10**6)
    expected = criterion(given, truth, sizes(2), Step())
    halves = [
        AnchorPredictions(
            tuple(x[i : i + 1] for x in given.objectness), tuple(x[i : i + 1] for x in given.deltas), given.anchors
        )
        for i in (0, 1)
    ]
    matches = [criterion.assign(torch.cat(given.anchors), o, sizes(1)[0]) for o in truth]
    count = torch.tensor(float(sum((m != IGNORED).sum() for m in matches)) / 2, dtype=torch.float64)
    shares = [
        criterion(half, [own], sizes(1), Step(mean=lambda _: count)) for half, own in zip(halves, truth, strict=True)
    ]
    for name, value in expected.items():
        torch.testing.assert_close((shares[0][name] + shares[1][name]) / 2, value, atol=0, rtol=1e-12)


def test_unknown_options_are_refused() -> None:
    options: list[dict[str, Any]] = [{"border": "clip"}, {"sampling": "all"}]
    for option in options:
        with pytest.raises(WRONG):
            ProposalCriterion(**option)
    with pytest.raises(WRONG, match="equally many"):
        LevelAnchors([(8, 16), (32,)], (8, 16), "paper")
    with pytest.raises(WRONG, match="one for each of 1 levels"):
        LevelAnchors([(8,), (32,)], (8,), "paper")


# ----------------------------------------------------------------------------------------------------------------------
# Selection


@pytest.mark.system("4.3.2-RPN")
def test_proposals_lie_in_their_images_and_do_not_overlap_on_a_level() -> None:
    given = predictions(3)
    limits = torch.tensor([SIZE, (40, 96), (64, 50)], dtype=torch.float64)
    proposals = ProposalSelection(1000, 60, threshold=0.5)(given, limits)
    assert proposals.boxes.shape == (3, 60, 4)
    assert not proposals.boxes.requires_grad
    for image, (h, w) in enumerate(limits.tolist()):
        boxes = proposals.boxes[image, proposals.valid[image]]
        assert len(boxes)
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([w, h, w, h])).all()
    single = AnchorPredictions(given.objectness[:1], given.deltas[:1], given.anchors[:1])
    kept = ProposalSelection(1000, 300, threshold=0.5)(single, limits)
    overlap = box_iou(kept.boxes[0, kept.valid[0]], kept.boxes[0, kept.valid[0]]).fill_diagonal_(0)
    assert overlap.max() <= 0.5


def test_slots_are_as_many_on_any_canvas_and_empty_ones_are_zero() -> None:
    given = predictions(1)
    few = ProposalSelection(5000, 900)(given, sizes(1))
    assert few.boxes.shape == (1, 900, 4)
    count = int(few.valid.sum())
    assert 0 < count < sum(len(a) for a in given.anchors) <= 900
    assert few.valid[0, :count].all()
    assert not few.boxes[0, count:].any()
    assert not few.scores[0, count:].any()


def test_what_is_not_a_number_is_no_proposal() -> None:
    given = predictions(1)
    broken = SimpleNamespace(objectness=given.objectness[0].detach().clone(), deltas=given.deltas[0].detach().clone())
    broken.objectness[0, :20], broken.deltas[0, 20:40] = torch.nan, torch.nan
    predicted = AnchorPredictions((broken.objectness,), (broken.deltas,), given.anchors[:1])
    proposals = ProposalSelection(200, 100)(predicted, sizes(1))
    assert proposals.boxes.isfinite().all()
    assert proposals.valid.any()


def test_sizes_are_those_of_the_mask() -> None:
    images, mask = torch.zeros(3, 3, 32, 64), torch.ones(3, 32, 64, dtype=torch.bool)
    mask[1, 20:], mask[2, :, 31:] = False, False
    assert image_sizes(images, mask).tolist() == [[32, 64], [20, 64], [32, 31]]
    assert image_sizes(images, None).tolist() == [[32, 64]] * 3
