"""R-CNN: which proposals train, its loss by slow loops, warped crops, and the linear models on its vectors."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.ops import batched_nms

from tests.closeness import FLOAT32, NUMBERS, OUTPUTS, assert_close
from tests.conftest import Learnt
from tests.detection import scenes
from tests.detection.scenes import K, objects
from vidi.detection.regions import region_classifiers
from vidi.detection.regions.fast_rcnn import RegionPredictions, Samples
from vidi.detection.regions.linear_models import RidgeSums, linear_svm
from vidi.detection.regions.rcnn import (
    RCNNCriterion,
    best_of_each_object,
    rcnn_alexnet,
    rcnn_svm_tiny,
    rcnn_tiny,
)
from vidi.detection.regions.region_classifiers import HardNegatives, MarginOutputs, RegionFitting, RegionPlan, SVMDecode
from vidi.model import Step
from vidi.ops.boxes import box_iou, decode_boxes, encode_boxes
from vidi.ops.matching import BACKGROUND, IGNORED
from vidi.ops.roi import crop_and_warp
from vidi.preprocess import Placement

SIZE = (48, 64)
WRONG = (ValueError, TypeError)


boxes_of = partial(scenes.boxes_of, size=SIZE, most=20)


def tiny(build: Any = rcnn_tiny, **options: Any) -> Any:
    options = {"categories": K, "crop": (16, 16), "context": 2, "proposals": 30, "size": SIZE} | options
    return build(**options)


def scene(seed: int = 0, count: int = 2) -> tuple[Tensor, dict[str, Tensor]]:
    """A noisy grey picture with rectangles of pure colours: the colour is the class."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(100, 130, (3, *SIZE), generator=generator, dtype=torch.uint8)
    boxes, labels = [], []
    for number in range(count):
        x, y = (
            4 + 32 * number + int(torch.randint(0, 6, (), generator=generator)),
            int(torch.randint(3, 20, (), generator=generator)),
        )
        label = int(torch.randint(0, K, (), generator=generator))
        image[:, y : y + 20, x : x + 18] = 20
        image[label, y : y + 20, x : x + 18] = 230
        boxes.append([x, y, x + 18, y + 20])
        labels.append(label)
    typed = tv_tensors.BoundingBoxes(torch.tensor(boxes).view(-1, 4).float(), format="XYXY", canvas_size=SIZE)  # type: ignore[call-overload]
    return image, {"boxes": typed, "labels": torch.tensor(labels, dtype=torch.int64)}


# ----------------------------------------------------------------------------------------------------------------------
# Which proposals train


@pytest.mark.system("4.3.2-RCNN")
def test_rules_of_assignment_on_boxes_made_by_hand() -> None:
    """C4.10: an IoU of 0.5 makes a proposal positive; in the notes only the best one of each object is."""
    truth = objects([[0, 0, 10, 10], [20, 20, 40, 40]], [1, 2], crowd=[[44, 0, 64, 20]])
    proposals = torch.tensor(
        [[0, 0, 10, 20], [0, 0, 10, 21], [0, 0, 9, 10], [21, 20, 40, 40], [20, 20, 40, 40], [50, 5, 60, 15]],
        dtype=torch.float64,
    )
    by_overlap = RCNNCriterion((0, 1, 2)).assign(proposals, truth)
    assert by_overlap.tolist() == [0, BACKGROUND, 0, 1, 1, IGNORED]
    best = RCNNCriterion((0, 1, 2), "best").assign(proposals, truth)
    assert best.tolist() == [BACKGROUND, BACKGROUND, 0, BACKGROUND, 1, IGNORED]
    nothing = RCNNCriterion((0, 1, 2)).assign(proposals, objects([], []))
    assert (nothing == BACKGROUND).all()


@pytest.mark.system("4.3.2-RCNN")
def test_the_best_proposal_of_an_object_is_positive_however_little_it_overlaps() -> None:
    """The notes' rule has no threshold: an IoU of 0.25 is enough if no proposal has more; an IoU of 0 is not."""
    truth = objects([[0, 0, 10, 10], [40, 40, 50, 50]], [1, 2])
    proposals = torch.tensor([[0, 0, 10, 40], [0, 0, 10, 50], [20, 20, 30, 30]], dtype=torch.float64)
    assert box_iou(truth.boxes, proposals)[0].tolist() == [0.25, 0.2, 0]
    best = RCNNCriterion((0, 1, 2), "best").assign(proposals, truth)
    assert best.tolist() == [0, BACKGROUND, BACKGROUND]
    assert (RCNNCriterion((0, 1, 2)).assign(proposals, truth) == BACKGROUND).all()
    samples = RCNNCriterion((0, 1, 2), "best").sample([proposals], [truth], K, None)
    assert sorted(samples.labels.tolist()) == [1, K, K]


def test_objects_that_share_a_best_proposal_or_have_none() -> None:
    iou = torch.tensor([[0.6, 0.2, 0.0], [0.7, 0.1, 0.0], [0.0, 0.0, 0.0]])
    assert best_of_each_object(iou).tolist() == [1, BACKGROUND, BACKGROUND]
    assert best_of_each_object(iou[:0]).tolist() == [BACKGROUND] * 3
    assert best_of_each_object(iou[:, :0]).shape == (0,)


@pytest.mark.system("4.3.2-RCNN")
def test_a_mini_batch_has_32_positive_proposals_and_96_of_background() -> None:
    """Of all images of the batch together; the objects are proposals too, but not where only the best ones count."""
    truth = [objects([[10, 10, 30, 40], [40, 20, 60, 44]], [2, 0]), objects([], [])]
    near = truth[0].boxes.repeat(50, 1) + torch.randn(100, 4, dtype=torch.float64)
    proposals = [torch.cat([near, boxes_of(200)]), boxes_of(200, 1)]
    samples = RCNNCriterion((0, 1, 2)).sample(proposals, truth, K, torch.Generator().manual_seed(0))
    assert len(samples.labels) == 128
    assert (samples.labels < K).sum() == 32
    assert (samples.labels[samples.images == 1] == K).all()
    own = samples.images == 0
    iou = box_iou(truth[0].boxes, samples.boxes[own])
    positive = samples.labels[own] < K
    assert (iou.amax(0)[positive] >= 0.5).all()
    assert (iou.amax(0)[~positive] < 0.5).all()
    assert torch.equal(truth[0].labels[iou.argmax(0)][positive], samples.labels[own][positive])
    assert torch.equal(truth[0].boxes[iou.argmax(0)][positive], samples.truths[own][positive])

    few = [boxes_of(0), boxes_of(3)]
    alone = RCNNCriterion((0, 1, 2)).sample(few, truth, K, None)
    assert sorted(alone.labels.tolist()) == [0, 2, K, K, K]
    best = RCNNCriterion((0, 1, 2), "best").sample(few, truth, K, None)
    assert best.labels.tolist() == [K] * 3


# ----------------------------------------------------------------------------------------------------------------------
# Loss


@pytest.mark.system("4.3.2-RCNN")
@pytest.mark.parametrize("deviations", [(0.1, 0.1, 0.2, 0.2), (1.0, 1.0, 1.0, 1.0), (0.5, 1.0, 2.0, 3.0)])
def test_the_loss_is_the_equation_by_slow_loops(deviations: Any) -> None:
    """C4.44: targets are divided by deviations, which all ones leave out as in the notes."""
    generator = torch.Generator().manual_seed(0)
    boxes, truths, labels = boxes_of(20), boxes_of(20, 1), torch.arange(20) % (K + 1)
    samples = Samples(boxes, torch.zeros(20).long(), labels, truths, torch.zeros_like(labels))
    logits = torch.randn(20, K + 1, generator=generator, dtype=torch.float64)
    deltas = torch.randn(20, K, 4, generator=generator, dtype=torch.float64)
    criterion = RCNNCriterion((0, 1, 2), box_weight=3.0, deviations=deviations)
    losses = criterion.of_samples(RegionPredictions(logits, deltas), samples, Step())
    log_loss = box_loss = 0.0
    for row in range(20):
        label = row % (K + 1)
        log_loss += math.log(sum(math.exp(x) for x in logits[row].tolist())) - logits[row, label].item()
        if label == K:
            continue
        (px1, py1, px2, py2), (gx1, gy1, gx2, gy2) = boxes[row].tolist(), truths[row].tolist()
        w, h = px2 - px1, py2 - py1
        wanted = [(gx1 + gx2 - px1 - px2) / 2 / w, (gy1 + gy2 - py1 - py2) / 2 / h]
        wanted += [math.log((gx2 - gx1) / w), math.log((gy2 - gy1) / h)]
        given = [
            x * d for x, d in zip(deltas[row, label].tolist(), (0.1, 0.1, 0.2, 0.2), strict=True)
        ]  # plain corrections
        box_loss += sum(((a - b) / d) ** 2 for a, b, d in zip(given, wanted, deviations, strict=True)) / 4
    assert losses["classification"].item() == pytest.approx(log_loss / 20, rel=1e-10)
    assert losses["box"].item() == pytest.approx(3 * box_loss / 20, rel=1e-10)


@pytest.mark.parametrize(
    "wrong", [{"assignment": "iou"}, {"sampled": 0}, {"box_weight": -1.0}, {"deviations": (0.0, 1.0, 1.0, 1.0)}]
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(WRONG, match=r"received|parameter"):
        RCNNCriterion((0, 1, 2), **wrong)


# ----------------------------------------------------------------------------------------------------------------------
# Network


@pytest.mark.system("4.3.2-RCNN")
def test_every_proposal_is_warped_and_seen_by_itself() -> None:
    """The outputs of a batch are those of each crop alone; a proposal that is none has an empty slot."""
    model = tiny()
    network = model.network.double().eval()
    images = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    proposals = torch.stack([boxes_of(4), boxes_of(4, 1)])
    proposals[1, 2] = 0
    with torch.no_grad():
        outputs = network(images, proposals=proposals)
        assert outputs.valid.tolist() == [[True] * 4, [True, True, False, True]]
        for image, slot in outputs.valid.nonzero().tolist():
            box = proposals[image, slot][None]
            crop = crop_and_warp(images[image : image + 1], box, torch.tensor([0]), (16, 16), context=2)
            vector = network.backbone(crop)[-1].mean((2, 3))
            assert_close(outputs.class_logits[image, slot], network.predict.classes(vector)[0], NUMBERS)
            deltas = network.predict.deltas(vector).view(K, 4)
            assert_close(outputs.box_deltas[image, slot], deltas, NUMBERS)


@pytest.mark.system("4.3.2-RCNN")
def test_the_target_correction_of_a_warped_proposal_gives_the_object_back() -> None:
    boxes, truths = boxes_of(20), boxes_of(20, 1)
    deltas = encode_boxes(truths, boxes, weights=(10, 10, 5, 5))
    assert_close(decode_boxes(deltas, boxes, weights=(10, 10, 5, 5)), truths, NUMBERS)
    images = torch.zeros(1, 1, 60, 80, dtype=torch.float64)
    images[0, 0, 20:40, 30:60] = 1
    warped = crop_and_warp(images, torch.tensor([[30.0, 20, 60, 40]]).double(), torch.tensor([0]), (20, 20), context=5)
    inside = torch.zeros(20, 20, dtype=torch.float64)
    inside[5:15, 5:15] = 1
    assert (warped[0, 0] - inside).abs().max() <= 0.5  # pixels on the edge are mixed
    assert warped[0, 0, 6:14, 6:14].min() > 0.99


@pytest.mark.system("4.3.2-RCNN")
def test_proposals_are_those_of_selective_search_and_remembered() -> None:
    from vidi.detection.regions.selective_search import selective_search

    model = tiny(size=None, longest=64)
    pictures = [scene(0)[0], scene(1)[0][:, :40, :50]]
    batch = model.preprocess.collate([(image, {}, Placement(SIZE, SIZE)) for image in pictures])
    found = model.network.proposals(batch.images, batch.mask)
    for boxes, image in zip(found, pictures, strict=True):
        assert torch.equal(boxes, selective_search(image.contiguous(), mode="fast", most=30, minimum_side=6))
    known = dict(model.network.search.known)
    assert len(known) == 2
    model.network.proposals(batch.images, batch.mask)
    assert all(model.network.search.known[key] is value for key, value in known.items())


@pytest.mark.system("4.3.2-RCNN")
def test_alexnet_makes_vectors_of_4096_numbers() -> None:
    """fc7 of crops of 227 pixels with 16 of context, for 20 classes and background."""
    with torch.device("meta"):
        network = rcnn_alexnet().network
        maps = network.backbone(torch.empty(2, 3, 227, 227))  # type: ignore[operator]
        logits, deltas = network.predict(network.vector(maps[-1]))  # type: ignore[operator]
    assert (tuple(logits.shape), tuple(deltas.shape)) == ((2, 21), (2, 20, 4))
    assert (network.crop, network.context) == ((227, 227), 16)
    without_classifier = 62_378_344 - 4097 * 1000
    assert sum(p.numel() for p in network.parameters()) == without_classifier + 4097 * (21 + 80)


def test_it_trains_on_given_proposals_and_on_none() -> None:
    model = tiny()
    image, target = scene()
    given = tv_tensors.BoundingBoxes(boxes_of(6).float(), format="XYXY", canvas_size=SIZE)  # type: ignore[call-overload]
    losses = model.loss([image, image], [{**target, "proposals": given}, {**target, "proposals": given[:0]}])
    assert not model.network.search.known
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    nothing = {"boxes": target["boxes"][:0], "labels": target["labels"][:0], "proposals": given[:0]}
    with pytest.raises(ValueError, match="neither proposals nor objects"):
        model.loss([image], [nothing])
    one_pixel = {"boxes": torch.tensor([[5.0, 5, 6, 6]]), "labels": torch.tensor([1])}
    assert all(value.isfinite() for value in model.loss([image, image], [one_pixel, nothing]).values())
    assert len(model.predict_proposals([image], [boxes_of(0).float()])[0]) == 0


# ----------------------------------------------------------------------------------------------------------------------
# Linear models on the vectors


@pytest.mark.system("4.3.2-RCNN")
def test_fitting_is_that_of_slow_loops() -> None:
    """Machines of objects against all proposals with an IoU below 0.3 that are not easy; ridge of those from 0.6 on."""
    model = tiny(rcnn_svm_tiny)
    samples = [scene(seed, count=seed % 3) for seed in range(6)]
    fitting = model.stages()[1].model
    assert isinstance(fitting, RegionFitting)
    fitting.fit(samples)
    network, regions = model.parts["network"].eval(), model.parts["regions"]
    positive: list[list[Tensor]] = [[], [], []]
    negative: list[list[Tensor]] = [[], [], []]
    pairs: list[list[tuple[Tensor, Tensor]]] = [[], [], []]
    lengths = []
    for image, target in samples:
        batch = model.preprocess.collate([model.preprocess.place(image, target)])
        (proposals,) = network.proposals(batch.images, batch.mask)
        truths, labels = target["boxes"].as_subclass(Tensor), target["labels"].tolist()
        with torch.no_grad():
            vectors = network.features(
                batch.images, torch.cat([proposals, truths]), torch.zeros(len(proposals) + len(truths)).long()
            )
        lengths += vectors.norm(dim=1).tolist()
        for vector, label in zip(vectors[len(proposals) :], labels, strict=True):
            positive[label].append(vector)
        for box, vector in zip(proposals, vectors, strict=False):
            ious = box_iou(box[None], truths)[0].tolist()
            for k in range(K):
                if all(iou < 0.3 for iou, label in zip(ious, labels, strict=True) if label == k):
                    negative[k].append(vector)
            if ious and max(ious) >= 0.6:
                best = ious.index(max(ious))
                pairs[labels[best]].append((vector, encode_boxes(truths[best], box)))
    scale = 20 / (sum(lengths) / len(lengths))
    assert float(regions.scale) == pytest.approx(scale, rel=1e-5)
    for k in range(K):
        x = torch.stack(positive[k] + negative[k]) * scale
        machine = linear_svm(
            x.double(), torch.arange(len(x)) < len(positive[k]), cost=1e-3, positive_weight=2.0, bias_scale=10.0
        )
        assert_close(regions.class_weights[:, k], machine.weights[:, 0].float(), FLOAT32)
        assert float(regions.class_biases[k]) == pytest.approx(float(machine.biases), rel=FLOAT32)
        sums = RidgeSums(x.shape[1], 4)
        sums.add(scale * torch.stack([v for v, _ in pairs[k]]), torch.stack([t for _, t in pairs[k]]))
        ridge = sums.solve(1000.0)
        assert_close(regions.box_weights[k], ridge.weights.float(), 1e-5)
        assert_close(regions.box_biases[k], ridge.biases.float(), 1e-5)


@pytest.mark.system("4.3.2-RCNN")
def test_hard_negatives_give_the_machine_of_all_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few walks; most of them lie beyond the margin, and never have to be kept."""
    monkeypatch.setattr(region_classifiers, "RETRAIN_AFTER", 40)
    generator = torch.Generator().manual_seed(0)
    positive = torch.randn(20, 4, generator=generator, dtype=torch.float64) + 2
    negative = 2 * torch.randn(800, 4, generator=generator, dtype=torch.float64) - 2
    machine = HardNegatives(positive, RegionPlan(cost=1.0))
    kept = []
    for part in negative.split(50) * 3:
        known = (part[:, None] == machine.negative).all(2).any(1)
        machine.add(part[~known])
        kept.append(len(machine.negative))
    machine.train()
    whole = linear_svm(torch.cat([positive, negative]), torch.arange(820) < 20, positive_weight=2.0, bias_scale=10.0)
    assert_close(machine.weights, whole.weights[:, 0], OUTPUTS)
    assert max(kept) < 500


@pytest.mark.system("4.3.2-RCNN")
def test_decoding_by_margins_is_that_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    margins = torch.randn(1, 30, 4, generator=generator, dtype=torch.float64)
    deltas = 0.1 * torch.randn(1, 30, 4, 4, generator=generator, dtype=torch.float64)
    proposals, valid = boxes_of(30)[None], (torch.arange(30) < 25)[None]
    decode = SVMDecode(("a", "b", None, "c"), lowest_margin=-0.5, detections_per_image=20)
    (result,) = decode(MarginOutputs(proposals, valid, margins, deltas), [Placement((48, 64), (48, 64))])
    boxes, scores, labels = [], [], []
    for row in range(25):
        for label, k in enumerate((0, 1, 3)):
            if margins[0, row, k] > -0.5:
                box = decode_boxes(deltas[0, row, k][None], proposals[0, row][None])[0]
                boxes.append(box.minimum(torch.tensor([64, 48, 64, 48])).clamp(min=0))
                scores.append(1 / (1 + torch.exp(-margins[0, row, k])))
                labels.append(label)
    kept = batched_nms(torch.stack(boxes), torch.stack(scores), torch.tensor(labels), 0.3)[:20]
    assert_close(result.boxes, torch.stack(boxes)[kept], NUMBERS)
    assert_close(result.scores, torch.stack(scores)[kept], NUMBERS)
    assert result.labels.tolist() == [labels[i] for i in kept.tolist()]
    assert result.categories == ("a", "b", "c")


@pytest.mark.system("4.3.2-RCNN")
def test_machines_on_an_untrained_network_find_coloured_rectangles(learnt: Learnt) -> None:
    """They separate what they were fitted to: nearly all objects of other pictures are found, few else surely."""
    model = tiny(rcnn_svm_tiny)
    model.stages()[1].model.fit([scene(seed) for seed in range(24)])  # type: ignore[union-attr]
    found = right = 0
    for seed in range(100, 108):
        image, target = scene(seed)
        (result,) = model.predict(image)
        best = result.above(float(result.scores.max()) - 1e-6)
        found += 1
        iou = box_iou(best.boxes[:1], target["boxes"].as_subclass(Tensor))[0]
        right += int(iou.max() >= 0.5 and best.labels[0] == target["labels"][iou.argmax()])
    learnt("share of objects", right / found, least=0.75)


def test_fits_that_cannot_be_are_told() -> None:
    model = tiny(rcnn_svm_tiny)
    fitting: Any = model.stages()[1].model
    with pytest.raises(ValueError, match="without objects"):
        fitting.fit([scene(0, count=0)])
    with torch.no_grad():
        nn.init.constant_(next(model.parts["network"].parameters()), math.nan)
    with pytest.raises(ValueError, match="NaN"):
        fitting.fit([scene(0)])


def test_a_class_without_objects_is_never_found() -> None:
    model = tiny(rcnn_svm_tiny)
    samples = [scene(seed) for seed in range(8)]
    absent = 1
    samples = [s for s in samples if absent not in s[1]["labels"].tolist()]
    assert samples
    model.stages()[1].model.fit(samples)  # type: ignore[union-attr]
    (result,) = model.predict(samples[0][0])
    rivals = result.labels != absent
    assert rivals.any()
    assert (result.scores[~rivals] < 0.3).all()
