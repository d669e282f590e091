"""MaskFormer against transformers', with the same random weights, in float64: outputs, matching, losses, gradients.

The reference's decoder is run with `auxiliary_loss=False` as DETR's is (see test_detr.py): otherwise it hands the
normed state of each layer to the next one. The hidden states that it judges layers by are then without the norm, so
that all layers are judged through its modules here.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import MaskFormerConfig, MaskFormerForInstanceSegmentation, ResNetConfig, SwinConfig
from transformers.models.maskformer.modeling_maskformer import (
    MaskFormerHungarianMatcher,
    MaskFormerLoss,
    MaskFormerPixelDecoder,
    dice_loss,
    pair_wise_dice_loss,
    pair_wise_sigmoid_focal_loss,
    sigmoid_focal_loss,
)

from tests.closeness import GRADIENTS, NUMBERS, OUTPUTS, assert_close, largest
from tests.parity.networks import randomise
from tests.segmentation.transformers_masks import CANVAS, CLASSES, OurPositions, batch_of, their_targets
from vidi.backbones import resnet, swin
from vidi.losses import mask as losses
from vidi.losses.classification import focal_loss
from vidi.model import Step
from vidi.necks.pixel_decoder import PixelDecoder
from vidi.segmentation.mask_classification import MaskOutputs, PaddedSegments
from vidi.segmentation.maskformer import MaskFormer, MaskFormerCriterion
from vidi.weights.tables.transformers_maskformer import LAYOUT

QUERIES, WIDTH, EMBEDDING, LAYERS = 7, 32, 64, 3
STAGES = [f"stage{k}" for k in (1, 2, 3, 4)]
RESNET: dict[str, Any] = {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [2, 2, 2, 2]}
SWIN: dict[str, Any] = {"embed_dim": 16, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 3}


def reference(backbone: str) -> Any:
    config: Any = ResNetConfig if backbone == "resnet" else SwinConfig
    options = {**RESNET, "layer_type": "basic"} if backbone == "resnet" else SWIN
    decoder = {"decoder_layers": LAYERS, "d_model": WIDTH, "decoder_ffn_dim": 48, "num_queries": QUERIES}
    heads = {"decoder_attention_heads": 4, "encoder_attention_heads": 4, "dropout": 0.0}
    numbers: dict[str, Any] = {
        "backbone_config": config(**options, out_features=STAGES).to_dict(),
        "decoder_config": {"model_type": "detr", **decoder, **heads},
        "fpn_feature_size": 32,
        "mask_feature_size": EMBEDDING,
        "num_labels": CLASSES,
    }
    return MaskFormerForInstanceSegmentation(MaskFormerConfig(**numbers))


def our_network(backbone: str) -> MaskFormer:
    if backbone == "resnet":
        trunk: Any = resnet.trunk("resnet18", width=16)
    else:
        shape = {"width": 16, "depths": (1, 2, 1, 1), "heads": (1, 2, 2, 4), "side": 3}
        trunk = swin.trunk("swin_t", always_shift=True, drop_path=0.0, **shape)
    shape = {"queries": QUERIES, "width": WIDTH, "heads": 4, "hidden": 48, "layers": LAYERS}
    return MaskFormer(trunk, CLASSES, **shape, pixel_channels=32, embedding=EMBEDDING, dropout=0.0)


@pytest.fixture(scope="module", params=["resnet", "swin"])
def pair(request: Any) -> Any:
    torch.default_generator.manual_seed(0)
    theirs = reference(request.param).double().eval()
    theirs.model.transformer_module.position_embedder = OurPositions(WIDTH)
    randomise(theirs)
    for value in theirs.parameters():
        if value.ndim == 2:  # with transformers' own small numbers all queries would see the same
            nn.init.xavier_normal_(value)
    nn.init.normal_(theirs.model.transformer_module.queries_embedder.weight, std=4)
    ours = our_network(request.param).double().eval()
    ours.load_state_dict(LAYOUT.ours(ours, theirs.state_dict()))
    images = torch.randn(3, 3, *CANVAS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return SimpleNamespace(theirs=theirs, ours=ours, images=images)


def their_layers(theirs: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits B L Q K+1 and masks B L Q h w of all decoder layers, as the authors compute them."""
    states: list[Tensor] = []
    decoder = theirs.model.transformer_module.decoder
    hooks = [layer.register_forward_hook(lambda _, __, out: states.append(out)) for layer in decoder.layers]
    pixels = theirs.model(images, output_hidden_states=False)
    for hook in hooks:
        hook.remove()
    normed = torch.stack([decoder.layernorm(state) for state in states], 1)
    masks = torch.einsum("blqc,bchw->blqhw", theirs.mask_embedder(normed), pixels.pixel_decoder_last_hidden_state)
    return theirs.class_predictor(normed), masks


# ----------------------------------------------------------------------------------------------------------------------
# Network


@pytest.mark.system("5.3.2-MASKFORMER")
def test_outputs_of_all_layers(pair: Any) -> None:
    with torch.no_grad():
        expected = pair.theirs(pair.images)
        logits, masks = their_layers(pair.theirs, pair.images)
        outputs = pair.ours(pair.images)
    assert_close(outputs.class_logits, expected.class_queries_logits, OUTPUTS)
    assert_close(outputs.mask_logits, expected.masks_queries_logits, OUTPUTS)
    assert_close(outputs.layers()[0], logits, OUTPUTS)
    assert_close(outputs.layers()[1], masks, OUTPUTS)
    assert outputs.class_logits.std(1).max() > 0.1  # the queries see different things
    assert outputs.mask_logits.shape == (3, QUERIES, CANVAS[0] // 4, CANVAS[1] // 4)


@pytest.mark.system("5.3.2-MASKFORMER")
def test_the_pixel_decoder_alone_takes_maps_of_odd_sizes() -> None:
    theirs = MaskFormerPixelDecoder(in_features=24, lateral_widths=[8, 16], feature_size=32, mask_feature_size=12)
    randomise(theirs)
    ours = PixelDecoder((8, 16, 24), 32, 12)
    renamed = {name.removeprefix("pixel_decoder."): value for name, value in _renamed_decoder(theirs).items()}
    ours.load_state_dict(renamed)
    maps = (torch.randn(2, 8, 13, 17), torch.randn(2, 16, 7, 9), torch.randn(2, 24, 4, 5))
    found, expected = ours.double()(tuple(m.double() for m in maps)), theirs.double()([m.double() for m in maps])
    assert_close(found, expected.last_hidden_state, OUTPUTS)


def _renamed_decoder(theirs: nn.Module) -> dict[str, Tensor]:
    names = {f"model.pixel_level_module.decoder.{name}": value for name, value in theirs.state_dict().items()}
    return LAYOUT.ours(nn.Module(), names)


# ----------------------------------------------------------------------------------------------------------------------
# Matching, losses, gradients


def criterion() -> MaskFormerCriterion:
    return MaskFormerCriterion(tuple(range(CLASSES)))


@pytest.mark.system("5.3.2-MFLOSS")
def test_formulas_of_masks() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 40, dtype=torch.float64, generator=generator) * 3
    truth = torch.rand(3, 40, generator=generator) > 0.6
    y = truth.double()
    assert_close(losses.pairwise_dice_loss(logits[None], truth[None])[0], pair_wise_dice_loss(logits, y), NUMBERS)
    focal = losses.pairwise_focal_loss(logits[None], truth[None])[0]
    assert_close(focal, pair_wise_sigmoid_focal_loss(logits, y), NUMBERS)
    assert_close(losses.dice_loss(logits[:3], truth, reduction="sum"), dice_loss(logits[:3], y, 1), NUMBERS)
    pixels = focal_loss(logits[:3], truth, reduction="none").mean(1).sum()
    assert_close(pixels, sigmoid_focal_loss(logits[:3], y, 1), NUMBERS)


@pytest.mark.system("5.3.2-MFLOSS")
def test_every_layer_is_matched_as_in_the_reference(pair: Any) -> None:
    """At the cost 20 focal + dice - p, with the weights of the losses; crowds are no segments."""
    with torch.no_grad():
        logits, masks = pair.ours(pair.images).layers()
    batch = batch_of(pair.images)
    segments = PaddedSegments.of(batch, tuple(range(CLASSES)))
    assert segments.counts == [4, 0, 4]
    found = criterion().match(logits, masks, segments, Step())
    matcher = MaskFormerHungarianMatcher(cost_class=1.0, cost_mask=20.0, cost_dice=1.0)
    for layer in range(LAYERS):
        expected = matcher(masks[:, layer], logits[:, layer], **their_targets())
        for image, (rows, columns) in enumerate(expected):
            own = found.problem == image * LAYERS + layer
            assert torch.equal(found.row[own], rows)
            assert torch.equal(found.column[own], columns)


@pytest.mark.system("5.3.2-MFLOSS")
def test_losses_and_gradients(pair: Any) -> None:
    """Weights 1 / 20 / 1, "no object" a tenth, every layer judged; gradients of all parameters."""
    matcher = MaskFormerHungarianMatcher(cost_class=1.0, cost_mask=20.0, cost_dice=1.0)
    weights = {"loss_cross_entropy": 1.0, "loss_mask": 20.0, "loss_dice": 1.0}
    theirs = MaskFormerLoss(CLASSES, matcher, weights, eos_coef=0.1).double()
    theirs.empty_weight[-1] = 0.1  # which was float32's
    logits, masks = their_layers(pair.theirs, pair.images)
    auxiliary: Any = [
        {"masks_queries_logits": masks[:, k], "class_queries_logits": logits[:, k]} for k in range(LAYERS - 1)
    ]
    raw = theirs(masks[:, -1], logits[:, -1], **their_targets(), auxiliary_predictions=auxiliary)
    names = {"classification": "loss_cross_entropy", "mask": "loss_mask", "dice": "loss_dice"}
    expected = {name: weights[key] * raw[key] for name, key in names.items()}
    expected |= {
        f"auxiliary_{name}": weights[key] * torch.stack([raw[f"{key}_{k}"] for k in range(LAYERS - 1)]).sum()
        for name, key in names.items()
    }
    found = criterion()(pair.ours, batch_of(pair.images), Step())
    assert_close(found, expected, NUMBERS)

    pair.theirs.zero_grad()
    pair.ours.zero_grad()
    torch.stack(list(expected.values())).sum().backward()
    torch.stack(list(found.values())).sum().backward()
    gradients = LAYOUT.ours(pair.ours, {n: p.grad for n, p in pair.theirs.named_parameters() if p.grad is not None})
    parameters = {name: p.grad for name, p in pair.ours.named_parameters()}
    assert_close(parameters, gradients, GRADIENTS, size=largest(*gradients.values()))


@pytest.mark.system("5.3.2-MFLOSS")
def test_numbers_of_the_criterion_are_those_of_the_paper() -> None:
    """Section 4: lambda_focal 20, lambda_dice 1, 0.1 for "no object"; focal loss as RetinaNet's."""
    own = criterion()
    config = MaskFormerConfig()
    assert (own.class_weight, own.mask_weight, own.dice_weight, own.no_object_weight) == (1, 20, 1, 0.1)
    assert (config.cross_entropy_weight, config.mask_weight, config.dice_weight, config.no_object_weight) == (
        own.class_weight,
        own.mask_weight,
        own.dice_weight,
        own.no_object_weight,
    )
    assert (own.alpha, own.gamma) == (0.25, 2.0)


@pytest.mark.system("5.3.2-MFLOSS")
def test_a_batch_without_segments_has_a_class_loss_alone(pair: Any) -> None:
    batch: Any = batch_of(pair.images).only(1)
    with torch.no_grad():
        outputs: MaskOutputs = pair.ours(batch.images)
    found = criterion().compare(outputs, batch, Step())
    nothing = torch.full((QUERIES,), CLASSES)
    expected = nn.functional.cross_entropy(outputs.class_logits[0], nothing)
    assert_close(found["classification"], expected, NUMBERS)
    assert found["mask"] == found["dice"] == found["auxiliary_mask"] == found["auxiliary_dice"] == 0
