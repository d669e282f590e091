"""DETR against transformers', with the same random weights, in float64: outputs, matching, losses, gradients, maps.

The reference is run with `auxiliary_loss=False`: with True, transformers 5 hands the normed state of each decoder layer
to the next one, where the original (and transformers 4) norms it for the heads only. The states of all layers are
taken from its modules instead. Its positions are replaced by ours, which are float32 as the original's are in every
precision; tests/nn/test_positional.py compares them.
"""

import copy
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision.ops
from torch import Tensor, nn
from transformers import DetrConfig, DetrForObjectDetection
from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss, HungarianMatcher
from transformers.models.detr.image_processing_detr import DetrImageProcessor
from transformers.models.detr.modeling_detr import DetrObjectDetectionOutput

from tests.closeness import FLOAT32, GRADIENTS, NUMBERS, OUTPUTS, assert_close, largest
from tests.parity.networks import randomise
from vidi.detection import detr
from vidi.detection.detr import Detr, DetrCriterion, DetrDecode, DetrOutputs, PaddedObjects, residual_trunk
from vidi.figures.detr_maps import object_attention, pixel_attention
from vidi.model import Step, Supervised
from vidi.nn.positional import sinusoids_2d
from vidi.ops.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh_normalized
from vidi.preprocess import Batch, MaskedBatch, Placement, Preprocess
from vidi.weights.renaming import renamed
from vidi.weights.tables.transformers_detr import DETR

CLASSES, QUERIES, WIDTH = 5, 9, 32
CANVAS = (96, 128)
SIZES = [(96, 128), (70, 90), (96, 60)]  # of the images on it
SHAPE: dict[str, Any] = {"encoder_layers": 2, "decoder_layers": 3, "dropout": 0.0}


class OurPositions(nn.Module):
    """Ours in the place of the reference's, in its layout B D H W."""

    def forward(self, shape, device, dtype, mask):
        return sinusoids_2d(mask, WIDTH).permute(0, 3, 1, 2).to(dtype)


def reference_model() -> Any:
    numbers: dict[str, Any] = {
        "use_timm_backbone": True,
        "backbone": "resnet18",
        "use_pretrained_backbone": False,
        "num_labels": CLASSES,
        "num_queries": QUERIES,
        "d_model": WIDTH,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "attn_implementation": "eager",  # which gives the attention's weights out
    }
    return DetrForObjectDetection(DetrConfig(**numbers, **SHAPE))


@pytest.fixture(scope="module")
def pair() -> Any:
    torch.default_generator.manual_seed(0)
    reference = reference_model().double().requires_grad_(True)
    reference.model.position_embedding = OurPositions()
    randomise(reference)
    for value in reference.parameters():
        if value.ndim == 2:  # with transformers' own small numbers all queries would see the same
            nn.init.xavier_normal_(value)
    nn.init.normal_(reference.model.query_position_embeddings.weight, std=4)
    nn.init.normal_(reference.model.input_projection.weight, std=1e-3)
    backbone = residual_trunk("resnet18", 32, "frozen")
    ours = Detr(backbone, CLASSES, queries=QUERIES, width=WIDTH, heads=4, hidden=48, **SHAPE).double()
    ours.load_state_dict(renamed(reference.state_dict(), DETR))
    images = torch.randn(3, 3, *CANVAS, dtype=torch.float64)
    mask = torch.zeros(3, *CANVAS, dtype=torch.bool)
    for row, (h, w) in enumerate(SIZES):
        mask[row, :h, :w] = True
    return SimpleNamespace(reference=reference, ours=ours, images=images * mask[:, None], mask=mask)


def layer_outputs(reference: Any, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits L B Q K+1 and boxes L B Q 4 of all decoder layers, as the original computes them."""
    states: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: states.append(out)) for layer in reference.model.decoder.layers
    ]
    expected = reference(images, pixel_mask=mask.long())
    for hook in hooks:
        hook.remove()
    normed = torch.stack([reference.model.decoder.layernorm(state) for state in states])
    logits, boxes = reference.class_labels_classifier(normed), reference.bbox_predictor(normed).sigmoid()
    assert_close(logits[-1], expected.logits)
    return logits, boxes


def targets() -> list[dict[str, Tensor]]:
    """Several objects (at the border, of one pixel, a crowd), none, and one around everything."""
    several = [[0, 0, 20, 30], [100, 40, 128, 96], [30, 20, 31, 21], [2, 3, 90, 60], [40, 10, 60, 58]]
    boxes = [torch.tensor(rows, dtype=torch.float64).view(-1, 4) for rows in (several, [], [[0, 0, 60, 96]])]
    labels = [torch.tensor(rows, dtype=torch.int64) for rows in ([0, 4, 3, 2, 1], [], [4])]
    crowd = [torch.tensor(rows, dtype=torch.bool) for rows in ([0, 0, 0, 0, 1], [], [0])]
    return [{"boxes": b, "labels": k, "crowd": c} for b, k, c in zip(boxes, labels, crowd, strict=True)]


def their_targets() -> list[dict[str, Tensor]]:
    return [
        {"class_labels": t["labels"][~t["crowd"]], "boxes": xyxy_to_cxcywh_normalized(t["boxes"][~t["crowd"]], size)}
        for t, size in zip(targets(), SIZES, strict=True)
    ]


def batch_of(pair: Any) -> Batch:
    return MaskedBatch(pair.images, pair.mask, [Placement(size, size) for size in SIZES], targets())


def model_of(pair: Any) -> Supervised:
    """Ours as users have it, float32, made for images that are not resized."""
    names = tuple("abcde")
    parts = DetrCriterion(tuple(range(CLASSES))), DetrDecode(names)
    return Supervised(copy.deepcopy(pair.ours).float(), *parts, Preprocess(mean=(0.5,) * 3, std=(0.1,) * 3))


def picture_of(pair: Any) -> Tensor:
    """The first image before that model normalises it: in [0, 1]."""
    return (pair.images[0] * 0.1 + 0.5).float()


# ----------------------------------------------------------------------------------------------------------------------
# Network


@pytest.mark.system("4.3.6-DETR", "4.3.6-QUERIES", "4.3.6-PARDEC", "4.3.6-2DPE")
def test_outputs_of_padded_images(pair):
    """One pass of all queries, content zero, their embeddings on queries and keys; every layer, normed."""
    with torch.no_grad():
        logits, boxes = layer_outputs(pair.reference, pair.images, pair.mask)
        outputs = pair.ours(pair.images, pair.mask)
    assert_close(outputs.class_logits, logits[-1], OUTPUTS)
    assert_close(outputs.boxes_cxcywh_normalized, boxes[-1], OUTPUTS)
    assert_close(outputs.auxiliary_class_logits, logits[:-1].transpose(0, 1), OUTPUTS)
    assert_close(outputs.auxiliary_boxes_cxcywh_normalized, boxes[:-1].transpose(0, 1), OUTPUTS)
    assert outputs.class_logits.std(1).max() > 0.1  # the queries see different things


@pytest.mark.system("4.3.6-2DPE")
def test_outputs_with_the_reference_s_own_positions(pair):
    """In float32, as the weights were trained, with and without a mask."""
    reference, ours = copy.deepcopy(pair.reference).float(), copy.deepcopy(pair.ours).float()
    reference.model.position_embedding = reference_model().model.position_embedding
    images = pair.images.float()
    with torch.no_grad():
        for mask in (pair.mask, None):
            expected = reference(images, pixel_mask=None if mask is None else mask.long())
            outputs = ours(images, mask)
            assert_close(outputs.class_logits, expected.logits, FLOAT32)
            assert_close(outputs.boxes_cxcywh_normalized, expected.pred_boxes, FLOAT32)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("detr_resnet50", {"backbone": "resnet50"}),
        pytest.param("detr_resnet50_dc5", {"backbone": "resnet50", "dilation": True}, marks=pytest.mark.extended),
        pytest.param("detr_resnet101", {"backbone": "resnet101"}, marks=pytest.mark.extended),
    ],
)
def test_tensors_of_the_published_networks(name, options):
    numbers: dict[str, Any] = {"use_timm_backbone": True, "use_pretrained_backbone": False, "num_labels": 91}
    with torch.device("meta"):
        ours: Any = getattr(detr, name)(norm="frozen")
        theirs = DetrForObjectDetection(DetrConfig(**numbers, **options))
        size = (1, 3, 160, 96)
        maps = ours.network.backbone.features(torch.zeros(size))[-1], theirs.model.backbone.model(torch.zeros(size))[-1]
    shapes = {key: tuple(value.shape) for key, value in renamed(theirs.state_dict(), DETR).items()}
    assert {key: tuple(value.shape) for key, value in ours.network.state_dict().items()} == shapes
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert maps[0].shape == maps[1].shape
    assert maps[0].shape[2:] == ours.network.grid((160, 96))


# ----------------------------------------------------------------------------------------------------------------------
# Matching and loss


def random_predictions(B: int, Q: int, M: int, seed: int = 0) -> tuple[Tensor, Tensor, PaddedObjects]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, Q, CLASSES + 1, generator=generator, dtype=torch.float64)
    boxes, truths = (torch.rand(B, n, 4, generator=generator, dtype=torch.float64) for n in (Q, M))
    labels = torch.randint(CLASSES, (B, M), generator=generator)
    counts = torch.randint(M + 1, (B,), generator=generator).tolist()
    return logits, boxes, PaddedObjects(truths, labels, counts)


@pytest.mark.system("4.3.6-HUNGARIAN")
@pytest.mark.parametrize(("queries", "most"), [(20, 12), (10, 30)])
def test_pairs_are_the_matcher_s(queries, most):
    """Also with more objects than queries, and in images without any."""
    logits, boxes, objects = random_predictions(6, queries, most)
    matcher = HungarianMatcher(class_cost=1, bbox_cost=5, giou_cost=2)
    rows = zip(objects.outputs, objects.boxes_cxcywh_normalized, objects.counts, strict=True)
    wanted = matcher(
        {"logits": logits, "pred_boxes": boxes}, [{"class_labels": k[:n], "boxes": b[:n]} for k, b, n in rows]
    )
    pairs = DetrCriterion(tuple(range(CLASSES))).match(logits, boxes, objects)
    for image, (queries_of, objects_of) in enumerate(wanted):
        here = pairs.problem == image
        assert pairs.row[here].tolist() == queries_of.tolist()
        assert pairs.column[here].tolist() == objects_of.tolist()


@pytest.mark.system("4.3.6-BOXLOSS")
def test_box_terms_of_pairs():
    found, truth = torch.rand(2, 40, 4, dtype=torch.float64).unbind(0)
    terms = DetrCriterion(tuple(range(CLASSES))).box_terms(found, truth)
    overlap = torchvision.ops.generalized_box_iou(cxcywh_to_xyxy(found), cxcywh_to_xyxy(truth)).diagonal()
    assert_close(terms["giou"], 2 * (1 - overlap), NUMBERS)
    assert_close(terms["l1"], 5 * torch.cdist(found, truth, p=1).diagonal(), NUMBERS)


@pytest.mark.system("4.3.6-SETLOSS", "4.3.6-BOXLOSS", "4.3.6-DETR")
def test_losses_and_gradients(pair, monkeypatch):
    """Of all layers, on padded images of which one has no object and one a crowd."""
    pair.reference.train().zero_grad()
    pair.ours.train().zero_grad()
    logits, boxes = layer_outputs(pair.reference, pair.images, pair.mask)
    config = copy.copy(pair.reference.config)
    config.auxiliary_loss = True
    monkeypatch.setattr(torch, "ones", partial(torch.ones, dtype=torch.float64))  # of its class weights
    total, parts, _ = ForObjectDetectionLoss(
        logits[-1], their_targets(), logits.device, boxes[-1], config, logits, boxes
    )
    monkeypatch.undo()
    losses = DetrCriterion(tuple(range(CLASSES)))(pair.ours, batch_of(pair), Step())

    kinds = {"classification": ("loss_ce", 1), "l1": ("loss_bbox", 5), "giou": ("loss_giou", 2)}
    for name, (theirs, weight) in kinds.items():
        auxiliary = sum(parts[f"{theirs}_{layer}"] for layer in range(2))
        torch.testing.assert_close(losses[name], weight * parts[theirs], atol=0, rtol=1e-10)
        torch.testing.assert_close(losses[f"auxiliary_{name}"], weight * auxiliary, atol=0, rtol=1e-10)
    assert losses.keys() == kinds.keys() | {f"auxiliary_{name}" for name in kinds}

    torch.as_tensor(total).backward()
    torch.stack(list(losses.values())).sum().backward()
    wanted = renamed({n: p.grad for n, p in pair.reference.named_parameters() if p.grad is not None}, DETR)
    grown = {name: p.grad for name, p in pair.ours.named_parameters()}
    assert grown.keys() <= wanted.keys()
    assert_close(grown, {name: wanted[name] for name in grown}, GRADIENTS, size=largest(*wanted.values()))


@pytest.mark.system("4.3.6-DETR")
def test_detections_are_the_processor_s(pair):
    with torch.no_grad():
        outputs = pair.ours(pair.images, pair.mask)
    sizes = [(480, 640), (70, 90), (192, 120)]  # of the originals
    theirs = DetrObjectDetectionOutput(logits=outputs.class_logits, pred_boxes=outputs.boxes_cxcywh_normalized)
    scores = outputs.class_logits.softmax(-1)[..., :-1].amax(-1)
    threshold = float(scores.median())
    expected = DetrImageProcessor().post_process_object_detection(theirs, threshold, sizes)
    places = [Placement(original, resized) for original, resized in zip(sizes, SIZES, strict=True)]
    results = DetrDecode(tuple("abcde"), threshold)(DetrOutputs(*outputs), places)
    assert sum(map(len, results)) > QUERIES
    for result, want, (H, W) in zip(results, expected, sizes, strict=True):
        order = want["scores"].argsort(descending=True)
        clipped = want["boxes"][order].minimum(torch.tensor([W, H, W, H])).clamp(min=0)
        assert_close(result.boxes, clipped, 1e-6)  # theirs scales in float32
        assert torch.equal(result.scores, want["scores"][order])
        assert torch.equal(result.labels, want["labels"][order])


# ----------------------------------------------------------------------------------------------------------------------
# Attention


@pytest.fixture(scope="module")
def looked(pair: Any) -> Any:
    """The reference's weights for the first image alone."""
    reference = copy.deepcopy(pair.reference).float().eval()
    with torch.no_grad():
        return reference(pair.images[:1].float(), output_attentions=True)


@pytest.mark.system("4.3.6-ENCVIS")
def test_maps_of_pixels(pair, looked):
    model = model_of(pair)
    points = [(0, 0), (127.5, 95.5), (70, 31)]
    maps = pixel_attention(model, picture_of(pair), points)
    expected = looked.encoder_attentions[-1][0].mean(0)[[0, 11, 2]].view(3, 3, 4)  # cells of 32 pixels, 4 in a row
    assert_close(maps, expected, 1e-5)
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(3))


@pytest.mark.system("4.3.6-DECVIS")
def test_maps_of_objects(pair, looked):
    model = model_of(pair)
    scores = looked.logits.softmax(-1)[0, :, :-1].amax(-1)
    threshold = float(scores.median())
    found = object_attention(model, picture_of(pair), threshold=threshold)
    order = scores.argsort(descending=True)[: len(found.queries)]
    assert 0 < len(found.queries) < QUERIES
    assert found.queries.tolist() == order.tolist()
    expected = looked.cross_attentions[-1][0].mean(0)[order].view(-1, 3, 4)
    assert_close(found.maps, expected, 1e-5)
    assert_close(found.detections.scores, scores[order], 1e-5)
