"""DETR: what holds for every set of objects and queries, the options, and what a small one learns."""

import inspect
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.closeness import EXACT, NUMBERS, assert_close
from tests.detection.scenes import BOXES, SIZE, K, batch_of, target
from tests.parity.networks import distance, randomise
from tests.parity.transformers import decoder_names, encoder_names
from vidi.backbones.efficientnet import efficientnet_lite0
from vidi.detection.detr import (
    Detr,
    DetrCriterion,
    DetrDecode,
    DetrOutputs,
    detr_efficientnet_lite0,
    detr_resnet18,
    detr_resnet50,
    detr_tiny,
    residual_trunk,
)
from vidi.figures.detr_maps import KINDS, box_kinds, object_attention, pixel_attention, query_boxes
from vidi.losses.box import huber_loss
from vidi.model import Step
from vidi.ops.boxes import (
    box_iou,
    cxcywh_to_xyxy,
    paired_generalized_box_iou,
    xyxy_to_cxcywh_normalized,
)
from vidi.preprocess import Placement

Q = 6
SMALL = {"backbone_width": 16, "stride": 16, "width": 16, "hidden": 16, "encoder_layers": 1, "decoder_layers": 2}


def random_outputs(images: int, *, queries: int = Q, layers: int = 3, outputs: int = K, seed: int = 0) -> DetrOutputs:
    """Raw outputs that could come from any network, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, layers, queries, outputs + 1, generator=generator, dtype=torch.float64)
    boxes = torch.randn(images, layers, queries, 4, generator=generator, dtype=torch.float64).sigmoid()
    parts = logits[:, -1], boxes[:, -1], logits[:, :-1], boxes[:, :-1]
    return DetrOutputs(*(part.clone().requires_grad_() for part in parts))


def criterion(**options: Any) -> DetrCriterion:
    return DetrCriterion(tuple(range(K)), **options)


# ----------------------------------------------------------------------------------------------------------------------
# Loss


@pytest.mark.system("4.3.6-BOXLOSS")
def test_generalised_iou_of_boxes_apart():
    """B4.26: a square, another one two to its right: -1/3; so the loss tells near from far."""
    boxes = torch.tensor([[0.0, 0, 1, 1], [2, 0, 3, 1]], dtype=torch.float64)
    assert paired_generalized_box_iou(boxes[:1], boxes[1:]).item() == pytest.approx(-1 / 3, rel=EXACT)
    found, truth = torch.tensor([[0.1, 0.5, 0.2, 1], [0.5, 0.5, 0.2, 1]], dtype=torch.float64)
    terms = criterion().box_terms(found[None], truth[None])
    assert terms["giou"].item() == pytest.approx(2 * (1 + 1 / 3), rel=EXACT)
    assert terms["l1"].item() == pytest.approx(5 * 0.4, rel=EXACT)


@pytest.mark.system("4.3.6-BOXLOSS")
def test_the_box_loss_of_the_notes():
    """Huber + IoU, in the matching and in the loss."""
    outputs = random_outputs(1)
    boxes = torch.tensor([[4.0, 4, 30, 40], [50, 20, 90, 60]], dtype=torch.float64)
    notes = criterion(box_loss="huber_iou", class_weight=0.0)
    losses = notes.compare(outputs, batch_of([target(boxes)]), Step())
    truth = xyxy_to_cxcywh_normalized(boxes, SIZE)
    found = outputs.boxes_cxcywh_normalized[0].detach()
    apart = torch.stack([huber_loss(found, t.expand(Q, 4), delta=0.1, reduction="none").sum(-1) for t in truth], 1)
    overlap = box_iou(cxcywh_to_xyxy(found), cxcywh_to_xyxy(truth))
    total = 5 * apart - 2 * overlap  # Q 2
    a, b = min(
        ((a, b) for a in range(Q) for b in range(Q) if a != b), key=lambda p: float(total[p[0], 0] + total[p[1], 1])
    )
    assert losses["huber"].item() == pytest.approx(5 * float(apart[a, 0] + apart[b, 1]) / 2, rel=1e-10)
    assert losses["iou"].item() == pytest.approx(2 * float(2 - overlap[a, 0] - overlap[b, 1]) / 2, rel=1e-10)
    assert losses["classification"] == 0
    with pytest.raises((ValueError, TypeError)):  # a TypeError where the shape checks look at it first
        criterion(box_loss="l2")


@pytest.mark.system("4.3.6-SETLOSS")
def test_the_loss_by_hand():
    """One object: its best query answers for it, the others for no object with a tenth of the weight (C4.36)."""
    logits = torch.tensor([[[2.0, 0, 0, 1], [0, 1, 0, 3]]], dtype=torch.float64)
    boxes = torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.25, 0.25, 0.1, 0.1]]], dtype=torch.float64)
    outputs = DetrOutputs(logits, boxes, logits[:, None][:, :0], boxes[:, None][:, :0])
    losses = criterion().compare(outputs, batch_of([target([[24, 16, 72, 48]], [0])]), Step())
    log_p = logits.log_softmax(-1)
    expected = -(log_p[0, 0, 0] + 0.1 * log_p[0, 1, 3]) / 1.1
    assert losses.keys() == {"classification", "l1", "giou"}  # one layer: nothing auxiliary
    assert losses["classification"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert losses["l1"].item() == pytest.approx(0, abs=EXACT)
    assert losses["giou"].item() == pytest.approx(0, abs=EXACT)


@pytest.mark.system("4.3.6-SETLOSS", "4.3.6-HUNGARIAN")
@pytest.mark.parametrize("box_loss", ["l1_giou", "huber_iou"])
def test_the_order_of_objects_changes_nothing(box_loss):
    boxes = torch.tensor([[4.0, 4, 30, 40], [50, 20, 90, 60], [0, 0, 9, 9], [40, 40, 41, 41]])
    labels, order = torch.tensor([2, 0, 1, 1]), torch.tensor([3, 1, 0, 2])
    outputs, compare = random_outputs(2), criterion(box_loss=box_loss).compare
    one = compare(outputs, batch_of([target(boxes, labels), target([])]), Step())
    other = compare(outputs, batch_of([target(boxes[order], labels[order]), target([])]), Step())
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-12, atol=0)


@pytest.mark.system("4.3.6-SETLOSS")
def test_every_layer_has_a_matching_of_its_own():
    outputs = random_outputs(2, layers=3)
    batch = batch_of([target(BOXES["at the border"]), target(BOXES["one"])])
    losses = criterion().compare(outputs, batch, Step())
    alone = [
        criterion().compare(DetrOutputs(logits, boxes, logits[:, None][:, :0], boxes[:, None][:, :0]), batch, Step())
        for logits, boxes in zip(
            outputs.auxiliary_class_logits.unbind(1), outputs.auxiliary_boxes_cxcywh_normalized.unbind(1), strict=True
        )
    ]
    for name in ("classification", "l1", "giou"):
        torch.testing.assert_close(losses[f"auxiliary_{name}"], alone[0][name] + alone[1][name])


@pytest.mark.system("4.3.6-HUNGARIAN")
def test_more_objects_than_queries():
    """100 queries stand for the 100 of 300 objects that are cheapest; the rest is divided by, but not learnt."""
    corner = torch.rand(300, 2, dtype=torch.float64) * torch.tensor([80, 50])
    boxes = torch.cat((corner, corner + 2 + 12 * torch.rand(300, 2, dtype=torch.float64)), 1)
    outputs, batch = random_outputs(1, queries=100), batch_of([target(boxes)])
    objects = criterion().padded_objects(batch, like=outputs.boxes_cxcywh_normalized)
    pairs = criterion().match(outputs.class_logits, outputs.boxes_cxcywh_normalized, objects)
    assert pairs.row.tolist() == list(range(100))
    assert len(set(pairs.column.tolist())) == 100
    assert all(value.isfinite() for value in criterion().compare(outputs, batch, Step()).values())


def test_crowds_are_no_targets():
    outputs = random_outputs(1)
    crowd = target([[0, 0, 48, 64], [60, 20, 90, 50]], [0, 1], [True, False])
    with_crowd = criterion().compare(outputs, batch_of([crowd]), Step())
    assert with_crowd == criterion().compare(outputs, batch_of([target([[60, 20, 90, 50]], [1])]), Step())


def test_outputs_without_a_category_are_dropped_after_the_softmax():
    outputs = random_outputs(1, outputs=5)
    decode = DetrDecode((None, "b", "c", None, "e"))
    (result,) = decode(outputs, [Placement(SIZE, SIZE)])
    assert result.categories == ("b", "c", "e")
    expected = outputs.class_logits[0].softmax(-1)[:, [1, 2, 4]].amax(-1).sort(descending=True).values
    torch.testing.assert_close(result.scores, expected.detach())


def test_a_network_that_diverged_gives_a_loss_that_says_so():
    outputs = random_outputs(1)
    broken = outputs._replace(boxes_cxcywh_normalized=outputs.boxes_cxcywh_normalized * math.nan)
    losses = criterion().compare(broken, batch_of([target(BOXES["one"])]), Step())
    assert losses["l1"].isnan()


# ----------------------------------------------------------------------------------------------------------------------
# Network


def small(**options: Any) -> Any:
    torch.default_generator.manual_seed(0)
    return detr_tiny(**{"categories": K, "queries": Q, "size": SIZE, **SMALL, **options}).double().eval()


@pytest.mark.system("4.3.6-PARDEC", "4.3.6-QUERIES")
@pytest.mark.parametrize("positions", ["attention", "input"])
def test_queries_are_decoded_in_parallel_and_in_no_order(positions):
    """Other orders of the queries give the same objects in that order; a query alone would see something else."""
    model, images = small(positions=positions), torch.randn(2, 3, *SIZE, dtype=torch.float64)
    order = torch.randperm(Q)
    with torch.no_grad():
        before = model.network(images)
        model.network.queries.copy_(model.network.queries[order])
        after = model.network(images)
        model.network.queries = torch.nn.Parameter(model.network.queries[:1])
        alone = model.network(images)
    for one, other in zip(before, after, strict=True):
        assert_close(other, one.index_select(one.ndim - 2, order))
    assert distance(alone.class_logits[:, 0], after.class_logits[:, 0]) > 1e-4


@pytest.mark.system("4.3.6-QUERIES")
def test_queries_that_are_equal_find_the_same():
    """Content starts at zero: only their embeddings tell queries apart, and all of them are learnt."""
    model, images = small(), torch.randn(1, 3, *SIZE, dtype=torch.float64)
    batch = batch_of([target(BOXES["one"])], images=images, masked=True)
    torch.stack(list(model.losses("network", batch, Step()).values())).sum().backward()
    assert (model.network.queries.grad.abs().sum(1) > 0).all()
    with torch.no_grad():
        model.network.queries[1] = model.network.queries[0]
        outputs = model.network(images)
    assert_close(outputs.class_logits[:, 0], outputs.class_logits[:, 1])
    assert distance(outputs.class_logits[:, 0], outputs.class_logits[:, 2]) > 1e-4


def seen(model: Any, features: Tensor, mask: Tensor | None = None) -> DetrOutputs:
    """What the transformer makes of a map, whatever the image."""
    model.network.backbone.features = lambda images: (features,)
    with torch.no_grad():
        return model.network(torch.zeros(1, 3, *SIZE, dtype=torch.float64), mask)


@pytest.mark.system("4.3.6-2DPE")
@pytest.mark.parametrize("positions", ["attention", "input"])
def test_without_positions_an_image_would_be_a_bag_of_tokens(positions, monkeypatch):
    model = small(positions=positions)
    x = torch.randn(1, model.network.backbone.channels[-1], 4, 6, dtype=torch.float64)
    for axis in (2, 3):
        assert distance(seen(model, x).class_logits, seen(model, x.flip(axis)).class_logits) > 1e-5
    monkeypatch.setattr("vidi.detection.detr.sinusoids_2d", lambda mask, width: torch.zeros(*mask.shape, width))
    for axis in (2, 3):
        assert_close(seen(model, x).class_logits, seen(model, x.flip(axis)).class_logits)


def test_the_two_ways_of_adding_positions_differ():
    images = torch.randn(1, 3, *SIZE, dtype=torch.float64)
    one, other = (small(positions=positions).network(images) for positions in ("attention", "input"))
    assert distance(one.class_logits, other.class_logits) > 1e-4


@pytest.mark.system("4.3.6-2DPE")
@pytest.mark.parametrize("norm_first", [False, True])
def test_positions_at_the_input_are_added_once_before_torchs_transformer(norm_first):
    """torch's own encoder and decoder, on tokens + sines of the cells and on the queries, see the same objects."""
    torch.default_generator.manual_seed(0)
    backbone = residual_trunk("resnet18", 16, "frozen")
    shape: dict[str, Any] = {"width": 16, "heads": 4, "hidden": 24, "encoder_layers": 2, "decoder_layers": 2}
    ours = Detr(backbone, K, queries=Q, norm_first=norm_first, positions="input", dropout=0.0, **shape).double().eval()
    options: dict[str, Any] = {"batch_first": True, "norm_first": norm_first}
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 4, 24, 0.0, **options),
        2,
        nn.LayerNorm(16) if norm_first else None,
        enable_nested_tensor=False,
    )
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 4, 24, 0.0, **options), 2, nn.LayerNorm(16))
    for stack, names, part in ((encoder, encoder_names, ours.encoder), (decoder, decoder_names, ours.decoder)):
        randomise(stack.double().eval())
        part.load_state_dict(names(stack.state_dict()))
    features = torch.randn(2, backbone.channels[-1], 3, 5, dtype=torch.float64)
    backbone.features = lambda images: (features,)
    received = ours(torch.zeros(2, 3, *SIZE, dtype=torch.float64))

    positions = torch.empty(15, 16, dtype=torch.float64)  # half of the channels for y, half for x, in 2 pi of the map
    for row in range(3):
        for column in range(5):
            places = (2 * math.pi * (row + 1) / (3 + 1e-6), 2 * math.pi * (column + 1) / (5 + 1e-6))
            waves = [
                wave(place / 10_000 ** (2 * i / 8))
                for place in places
                for i in range(4)
                for wave in (math.sin, math.cos)
            ]
            positions[5 * row + column] = torch.tensor(waves, dtype=torch.float64)
    tokens = ours.projection(features).flatten(2).transpose(1, 2) + positions
    objects = decoder(ours.queries.expand(2, -1, -1), encoder(tokens))
    logits = ours.class_head(objects)
    assert distance(received.class_logits, logits) <= 1e-6 * float(logits.detach().abs().max())  # positions are float32


@pytest.mark.parametrize("positions", ["attention", "input"])
def test_padding_is_not_looked_at(positions):
    """Boxes are in units of the image; what tokens of padding hold changes nothing."""
    model = small(positions=positions)
    features = torch.randn(1, model.network.backbone.channels[-1], 4, 6, dtype=torch.float64)
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[:, :48, :64] = True  # 3 x 4 cells
    noisy = features.clone()
    noisy[:, :, 3:] += 5
    noisy[:, :, :, 4:] += 5
    outputs = seen(model, features, mask), seen(model, noisy, mask), seen(model, features[:, :, :3, :4])
    for one, two, alone in zip(*outputs, strict=True):
        assert_close(one, two, NUMBERS)
        assert_close(one, alone, 1e-6)  # positions are float32


@pytest.mark.system("4.3.6-DETR")
def test_outputs_of_the_paper_s_network():
    with torch.device("meta"):
        model: Any = detr_resnet50(categories=80)
        outputs = model.network(torch.zeros(2, 3, 800, 1066))
    expected = [(2, 100, 81), (2, 100, 4), (2, 5, 100, 81), (2, 5, 100, 4)]
    assert [tuple(value.shape) for value in outputs] == expected
    assert model.network.grid((800, 1066)) == (25, 34)
    assert model.network.projection.weight.shape == (256, 2048, 1, 1)
    assert model.network.class_head.weight.shape == (81, 256)
    assert sum(p.numel() for p in model.network.box_head.parameters()) == 2 * (256 * 256 + 256) + 4 * 256 + 4


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_the_small_network_over_efficientnet_lite0(stride):
    """The backbone that the published weights fit, its last map at the stride asked for; halved where it is to be."""
    with torch.device("meta"):
        model: Any = detr_efficientnet_lite0(stride=stride)
        narrow: Any = detr_efficientnet_lite0(stride=stride, backbone_width=16)
        classifier: Any = efficientnet_lite0()
        tokens = model.network.backbone.features(torch.zeros(1, 3, 160, 96))[-1]
    assert tokens.shape == (1, 320, 160 // stride, 96 // stride)
    assert model.network.grid((160, 96)) == tokens.shape[2:]
    assert narrow.network.backbone.channels[-1] == 160
    ours, theirs = model.network.backbone, classifier.network.backbone
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
        (k, v.shape) for k, v in theirs.state_dict().items()
    ]
    assert str(ours.stem) == str(theirs.stem)  # activations, padding and norms too
    assert (model.preprocess.mean, model.preprocess.std) == (classifier.preprocess.mean, classifier.preprocess.std)
    assert "norm" not in inspect.signature(detr_efficientnet_lite0).parameters


@pytest.mark.parametrize("build", [detr_resnet18, detr_efficientnet_lite0])
def test_options_that_do_not_exist_are_refused(build):
    with pytest.raises(ValueError, match="expected one of 32, 16, 8"):
        build(stride=4)
    with pytest.raises(ValueError, match="a multiple of 4"):
        detr_tiny(width=30, heads=2)


# ----------------------------------------------------------------------------------------------------------------------
# Maps


@pytest.mark.system("4.3.6-QUERYVIS")
def test_boxes_of_queries_over_a_data_set():
    """Every query's box in every image, as the network gives them image by image, and the kinds of the figure."""
    model = small().float()
    images = [torch.rand(3, *size) for size in ((64, 96), (50, 70), (64, 96))]
    rows = query_boxes(model, images)
    assert rows.boxes_cxcywh_normalized.shape == (3, Q, 4)
    for row, image in enumerate(images):
        result = model.predict(image)[0]
        torch.testing.assert_close(rows.scores[row].sort(descending=True).values, result.scores)
        assert ((rows.boxes_cxcywh_normalized[row] > 0) & (rows.boxes_cxcywh_normalized[row] < 1)).all()
    torch.testing.assert_close(rows.boxes_cxcywh_normalized[0], query_boxes(model, images[:1])[0][0])
    boxes = torch.tensor([[0.5, 0.5, 0.1, 0.1], [0.5, 0.5, 0.9, 0.2], [0.5, 0.5, 0.2, 0.9], [0.1, 0.5, 0.3, 0.05]])
    assert [KINDS[kind] for kind in box_kinds(boxes).tolist()] == ["small", "wide", "tall", "small"]


@pytest.mark.system("4.3.6-ENCVIS", "4.3.6-DECVIS")
def test_maps_are_shares_of_the_image():
    model = small().float()
    image = torch.randint(0, 256, (3, 128, 192), dtype=torch.uint8)
    maps = pixel_attention(model, image, [(0, 0), (191.9, 127.9), (100, 2)])
    assert maps.shape == (3, 4, 6)
    found = object_attention(model, image, threshold=0)
    assert found.maps.shape == (Q, 4, 6)
    assert sorted(found.queries.tolist()) == list(range(Q))
    torch.testing.assert_close(found.detections.scores, model.predict(image)[0].scores)
    for shares in (maps, found.maps):
        torch.testing.assert_close(shares.sum((1, 2)), torch.ones(len(shares)))
    assert len(object_attention(model, image, threshold=1).queries) == 0
    with pytest.raises(ValueError, match="an image of 192 x 128 pixels"):
        pixel_attention(model, image, [(192, 3)])
