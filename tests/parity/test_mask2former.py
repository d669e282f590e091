"""Mask2Former against transformers', with the same random weights, in float64: outputs of all layers, pixel decoder,
masked attention, matching, losses at injected points, gradients.
"""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig, SwinConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerHungarianMatcher,
    Mask2FormerMaskedAttentionDecoderLayer,
    Mask2FormerPixelDecoder,
    pair_wise_sigmoid_cross_entropy_loss,
    sample_point,
)

from tests.closeness import EXACT, GRADIENTS, NUMBERS, OUTPUTS, assert_close, largest
from tests.parity.networks import randomise
from tests.segmentation.transformers_masks import (
    CANVAS,
    CLASSES,
    OurPositions,
    assert_layers,
    batch_of,
    their_targets,
)
from vidi.backbones import resnet, swin
from vidi.losses.mask import pairwise_binary_cross_entropy
from vidi.model import Step
from vidi.necks.pixel_decoder import DeformableAttention, DeformablePixelDecoder
from vidi.ops.points import sample_points, uncertain_points
from vidi.segmentation.mask2former import Mask2Former, Mask2FormerCriterion, MaskedLayer, foreground
from vidi.segmentation.mask_classification import PaddedSegments
from vidi.weights.packed_projections import unpacked
from vidi.weights.renaming import renamed
from vidi.weights.tables.transformers_mask2former import LAYER, LAYOUT

QUERIES, WIDTH, LAYERS, POINTS = 7, 32, 4, 200
STAGES = [f"stage{k}" for k in (1, 2, 3, 4)]
RESNET: dict[str, Any] = {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [2, 2, 2, 2]}
SWIN: dict[str, Any] = {"embed_dim": 16, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 3}


def config_of(backbone: str) -> Mask2FormerConfig:
    kind: Any = ResNetConfig if backbone == "resnet" else SwinConfig
    options = {**RESNET, "layer_type": "basic"} if backbone == "resnet" else SWIN
    numbers: dict[str, Any] = {
        "backbone_config": kind(**options, out_features=STAGES).to_dict(),
        "feature_size": WIDTH,
        "mask_feature_size": WIDTH,
        "hidden_dim": WIDTH,
        "encoder_feedforward_dim": 40,
        "dim_feedforward": 48,
        "encoder_layers": 2,
        "decoder_layers": LAYERS + 1,  # transformers counts the judgement before the first
        "num_attention_heads": 4,
        "num_queries": QUERIES,
        "num_labels": CLASSES,
        "train_num_points": POINTS,
    }
    return Mask2FormerConfig(**numbers)


def our_network(backbone: str) -> Mask2Former:
    if backbone == "resnet":
        trunk: Any = resnet.trunk("resnet18", width=16)
    else:
        shape = {"width": 16, "depths": (1, 2, 1, 1), "heads": (1, 2, 2, 4), "side": 3}
        trunk = swin.trunk("swin_t", always_shift=True, drop_path=0.0, **shape)
    numbers = {"queries": QUERIES, "width": WIDTH, "heads": 4, "hidden": 48, "layers": LAYERS}
    return Mask2Former(trunk, CLASSES, **numbers, pixel_layers=2, pixel_hidden=40)


@pytest.fixture(scope="module", params=["resnet", "swin"])
def pair(request: Any) -> Any:
    torch.default_generator.manual_seed(0)
    theirs: Any = Mask2FormerForUniversalSegmentation(config_of(request.param)).double().eval()
    theirs.model.transformer_module.position_embedder = OurPositions(WIDTH)
    theirs.model.pixel_level_module.decoder.position_embedding = OurPositions(WIDTH)
    for name, value in theirs.named_parameters():
        if value.ndim == 2 and "embed" not in name:  # with transformers' own numbers all queries would see the same
            nn.init.xavier_normal_(value)
    randomise(theirs)
    theirs.criterion.empty_weight = torch.tensor([1.0] * CLASSES + [0.1], dtype=torch.float64)
    ours = our_network(request.param).double().eval()
    ours.load_state_dict(LAYOUT.ours(ours, theirs.state_dict()))
    images = torch.randn(3, 3, *CANVAS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return SimpleNamespace(theirs=theirs, ours=ours, images=images)


@pytest.fixture
def same_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have both draw one and the same set of points for every mask: by their number, whatever the layout."""
    pools: dict[int, Tensor] = {}

    def drawn(rows: int, count: int, two: int, **options: Any) -> Tensor:
        if count not in pools:
            generator = torch.Generator().manual_seed(count)
            pools[count] = torch.empty(1, count, two, dtype=torch.float64).uniform_(generator=generator)
        return pools[count].repeat(rows, 1, 1)

    monkeypatch.setattr(torch, "rand", drawn)


# ----------------------------------------------------------------------------------------------------------------------
# Network


@pytest.mark.system("5.3.3-M2F", "5.3.3-MASKATT", "5.3.3-MULTISCALE")
def test_outputs_of_all_layers(pair: Any) -> None:
    """The judgement before the first layer and after each: the fourth looks at the coarsest map again."""
    with torch.no_grad():
        expected = pair.theirs(pair.images, output_auxiliary_logits=True)
        outputs = pair.ours(pair.images)
    assert_layers(outputs, expected, lambda one, other: assert_close(one, other, OUTPUTS))
    assert outputs.layers()[0].shape == (3, LAYERS + 1, QUERIES, CLASSES + 1)
    assert outputs.class_logits.std(1).max() > 0.1  # the queries see different things
    masks = outputs.layers()[1].flatten(0, 2).flatten(1)
    assert 0.02 < (masks > 0).double().mean() < 0.98  # masks hide something


@pytest.mark.system("5.3.3-MULTISCALE")
def test_the_pixel_decoder_gives_the_maps_of_the_reference(pair: Any) -> None:
    theirs: Mask2FormerPixelDecoder = pair.theirs.model.pixel_level_module.decoder
    maps = pair.ours.backbone(pair.images)
    expected = theirs(list(maps))
    pixels, levels = pair.ours.pixel_decoder(maps)
    assert_close(pixels, expected.mask_features, OUTPUTS)
    for one, other in zip(levels, expected.multi_scale_features, strict=True):
        assert_close(one, other, OUTPUTS)
    assert [level.shape[2:] for level in levels] == [(2, 3), (4, 6), (8, 12)]  # 1/32, 1/16, 1/8


@pytest.mark.system("5.3.3-MULTISCALE")
def test_the_pixel_decoder_takes_maps_of_odd_sizes() -> None:
    theirs = Mask2FormerPixelDecoder(config_of("resnet"), [8, 16, 24, 40])
    theirs.position_embedding = OurPositions(WIDTH)  # type: ignore[assignment]
    randomise(theirs)
    nn.init.normal_(theirs.level_embed)
    ours = DeformablePixelDecoder((8, 16, 24, 40), WIDTH, WIDTH, heads=4, hidden=40, layers=2, dropout=0.0)
    names = {f"model.pixel_level_module.decoder.{name}": value for name, value in theirs.state_dict().items()}
    renamed = LAYOUT.ours(ours, names)
    ours.load_state_dict({name.removeprefix("pixel_decoder."): value for name, value in renamed.items()})
    sizes = ((8, 25, 31), (16, 13, 16), (24, 7, 8), (40, 4, 4))
    maps = [torch.randn(2, *size, dtype=torch.float64) for size in sizes]
    expected = theirs.double().eval()(maps)
    pixels, levels = ours.double().eval()(tuple(maps))
    assert_close(pixels, expected.mask_features, OUTPUTS)
    for one, other in zip(levels, expected.multi_scale_features, strict=True):
        assert_close(one, other, OUTPUTS)


@pytest.mark.system("5.3.3-MULTISCALE")
def test_heads_begin_by_looking_into_different_directions() -> None:
    theirs: Any = Mask2FormerForUniversalSegmentation(config_of("resnet"))
    bias = theirs.model.pixel_level_module.decoder.encoder.layers[0].self_attn.sampling_offsets.bias
    attention = DeformableAttention(WIDTH, 4)
    assert_close(attention.offsets.bias, bias, 1e-6)
    assert not attention.offsets.weight.any()
    assert not attention.weights.weight.any()


@pytest.mark.system("5.3.3-MASKATT")
def test_a_layer_of_masked_attention() -> None:
    """First across, limited to the mask, then among queries; a query that may look nowhere looks everywhere."""
    theirs = Mask2FormerMaskedAttentionDecoderLayer(config_of("resnet")).double().eval()
    randomise(theirs)
    ours = MaskedLayer(WIDTH, 4, 48, 0.0).double().eval()
    ours.load_state_dict(unpacked(renamed(theirs.state_dict(), LAYER)))
    generator = torch.Generator().manual_seed(0)
    x, positions = (torch.randn(2, QUERIES, WIDTH, dtype=torch.float64, generator=generator) for _ in range(2))
    tokens, places = (torch.randn(2, 12, WIDTH, dtype=torch.float64, generator=generator) for _ in range(2))
    mask = torch.rand(2, QUERIES, 12, generator=generator) > 0.5
    found = ours(x, tokens, positions=positions[:1], places=places[:1], mask=mask)
    hidden = ~mask[:, None].expand(-1, 4, -1, -1).flatten(0, 1)  # B h Q T -> Bh Q T, True where hidden
    expected, *_ = theirs(
        x.transpose(0, 1),
        level_index=0,
        position_embeddings=[places[:1].expand(2, -1, -1).transpose(0, 1)],
        query_position_embeddings=positions[:1].expand(2, -1, -1).transpose(0, 1),
        encoder_hidden_states=[tokens.transpose(0, 1)],
        encoder_attention_mask=hidden,
    )
    assert_close(found, expected.transpose(0, 1), OUTPUTS)
    other = ours(x, tokens, positions=positions[:1], places=places[:1], mask=torch.ones_like(mask))
    assert not torch.allclose(found, other)


@pytest.mark.system("5.3.3-MASKATT")
def test_the_foreground_is_where_the_mask_before_is_at_least_a_half() -> None:
    """Brought to the map's size by bilinear interpolation; a mask that is nowhere hides nothing; no gradient flows."""
    logits = torch.full((1, 3, 4, 4), -1.0)
    logits[0, 0, :2, :2] = 3.0  # one quarter
    logits[0, 2] = 0.0  # sigmoid 1/2 exactly
    logits.requires_grad_()
    found = foreground(logits, (2, 2))
    assert found[0].tolist() == [[True, False, False, False], [True] * 4, [True] * 4]
    assert not found.requires_grad


# ----------------------------------------------------------------------------------------------------------------------
# Points, matching, losses, gradients


def criterion() -> Mask2FormerCriterion:
    return Mask2FormerCriterion(tuple(range(CLASSES)), points=POINTS)


@pytest.mark.system("5.3.3-POINTLOSS")
def test_values_at_points() -> None:
    maps = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    points = torch.rand(2, 11, 2, dtype=torch.float64)
    assert_close(sample_points(maps, points), sample_point(maps, points, align_corners=False), EXACT)
    y, x = 2, 4
    centre = torch.tensor([[[(x + 0.5) / 7, (y + 0.5) / 5]]], dtype=torch.float64)
    assert_close(sample_points(maps[:1], centre)[0, :, 0], maps[0, :, y, x], EXACT)


@pytest.mark.system("5.3.3-POINTLOSS")
def test_three_quarters_of_the_points_are_the_least_certain_of_three_times_as_many(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = torch.randn(4, 9, 9, dtype=torch.float64)
    pools = [torch.rand(4, 120, 2, dtype=torch.float64), torch.rand(4, 10, 2, dtype=torch.float64)]
    loss = pair.theirs.criterion

    def run(draw: Any) -> Tensor:
        drawn = iter(pools)
        monkeypatch.setattr(torch, "rand", lambda *shape, **options: next(drawn))
        return draw()

    uncertainty = loss.calculate_uncertainty
    expected = run(lambda: loss.sample_points_using_uncertainty(logits[:, None], uncertainty, 40, 3, 0.75))
    found = run(lambda: uncertain_points(logits, 40))
    assert torch.equal(found, expected)
    values = sample_points(logits[:, None], pools[0])[:, 0].abs()
    chosen = sample_points(logits[:, None], found)[:, 0].abs()
    assert_close(chosen[:, :30], values.sort(1).values[:, :30], EXACT)
    assert torch.equal(found[:, 30:], pools[1])


@pytest.mark.system("5.3.3-POINTLOSS")
def test_draws_are_functions_of_the_generator(pair: Any) -> None:
    batch = batch_of(pair.images)
    with torch.no_grad():
        outputs = pair.ours(pair.images)

    def run(seed: int) -> dict[str, Tensor]:
        return criterion().compare(outputs, batch, Step(generator=torch.Generator().manual_seed(seed)))

    assert run(1) == run(1)
    assert run(1)["mask"] != run(2)["mask"]


@pytest.mark.system("5.3.3-POINTLOSS")
def test_pairwise_cross_entropy() -> None:
    logits = torch.randn(5, 40, dtype=torch.float64) * 4
    truth = torch.rand(3, 40, dtype=torch.float64)  # interpolated masks
    found = pairwise_binary_cross_entropy(logits[None], truth[None])[0]
    assert_close(found, pair_wise_sigmoid_cross_entropy_loss(logits, truth), NUMBERS)


@pytest.mark.system("5.3.3-POINTLOSS", "5.3.3-M2F")
@pytest.mark.usefixtures("same_points")
def test_every_layer_is_matched_as_in_the_reference(pair: Any) -> None:
    with torch.no_grad():
        logits, masks = pair.ours(pair.images).layers()
    segments = PaddedSegments.of(batch_of(pair.images), tuple(range(CLASSES)))
    assert segments.counts == [4, 0, 4]
    found = criterion().match(logits, masks, segments, Step())
    matcher = Mask2FormerHungarianMatcher(cost_class=2.0, cost_mask=5.0, cost_dice=5.0, num_points=POINTS)
    truth = {key: [rows[k] for k in (0, 2)] for key, rows in their_targets().items()}  # it resizes no empty stack
    for layer in range(LAYERS + 1):
        expected = matcher(masks[[0, 2], layer], logits[[0, 2], layer], **truth)
        for image, (rows, columns) in zip((0, 2), expected, strict=True):
            own = found.problem == image * (LAYERS + 1) + layer
            assert torch.equal(found.row[own], rows)
            assert torch.equal(found.column[own], columns)
    assert not (found.problem // (LAYERS + 1) == 1).any()


@pytest.mark.system("5.3.3-POINTLOSS", "5.3.3-M2F")
@pytest.mark.usefixtures("same_points")
def test_losses_and_gradients(pair: Any) -> None:
    """Weights 2 / 5 / 5, "no object" a tenth, every layer judged, the one before the first too."""
    two = [0, 2]
    truth = {key: [rows[k] for k in two] for key, rows in their_targets().items()}
    expected_outputs = pair.theirs(pair.images[two], output_auxiliary_logits=True)
    raw = pair.theirs.get_loss_dict(
        expected_outputs.masks_queries_logits,
        expected_outputs.class_queries_logits,
        truth["mask_labels"],
        truth["class_labels"],
        expected_outputs.auxiliary_logits,
    )
    names = {"classification": "loss_cross_entropy", "mask": "loss_mask", "dice": "loss_dice"}
    expected = {name: raw[key] for name, key in names.items()}
    expected |= {
        f"auxiliary_{name}": torch.stack([raw[f"{key}_{k}"] for k in range(LAYERS)]).sum()
        for name, key in names.items()
    }
    whole = batch_of(pair.images)
    batch = type(whole)(
        whole.images[two], whole.mask[two], [whole.placements[k] for k in two], [whole.targets[k] for k in two]
    )
    found = criterion()(pair.ours, batch, Step())
    assert_close(found, expected, NUMBERS)

    pair.theirs.zero_grad()
    pair.ours.zero_grad()
    torch.stack(list(expected.values())).sum().backward()
    torch.stack(list(found.values())).sum().backward()
    gradients = LAYOUT.ours(pair.ours, {n: p.grad for n, p in pair.theirs.named_parameters() if p.grad is not None})
    parameters = {name: p.grad for name, p in pair.ours.named_parameters()}
    assert_close(parameters, gradients, GRADIENTS, size=largest(*gradients.values()))


@pytest.mark.system("5.3.3-POINTLOSS", "5.3.3-M2F")
def test_numbers_are_those_of_the_paper() -> None:
    """Section 4.1: 12,544 = 112 x 112 points, weights 5, 5, 2, 0.1; PointRend: 3 and 0.75."""
    own, config = Mask2FormerCriterion(tuple(range(CLASSES))), Mask2FormerConfig()
    assert (own.class_weight, own.mask_weight, own.dice_weight, own.no_object_weight) == (2, 5, 5, 0.1)
    assert (own.points, own.oversampling, own.uncertain_share) == (12_544, 3, 0.75)
    assert (config.train_num_points, config.oversample_ratio, config.importance_sample_ratio) == (
        own.points,
        own.oversampling,
        own.uncertain_share,
    )
    assert (config.class_weight, config.mask_weight, config.dice_weight) == (2, 5, 5)


@pytest.mark.system("5.3.3-M2F")
def test_a_batch_without_segments_has_a_class_loss_alone(pair: Any) -> None:
    batch: Any = batch_of(pair.images).only(1)
    with torch.no_grad():
        outputs = pair.ours(batch.images)
    found = criterion().compare(outputs, batch, Step())
    nothing = torch.full((QUERIES,), CLASSES)
    assert_close(found["classification"], 2 * nn.functional.cross_entropy(outputs.class_logits[0], nothing), NUMBERS)
    assert found["mask"] == found["dice"] == found["auxiliary_mask"] == found["auxiliary_dice"] == 0
