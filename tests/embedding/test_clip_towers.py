"""The towers of CLIP: equal to transformers and open_clip in numbers, and to the paper in size."""

import math
from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP as THEIR_CLIP
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transformer import QuickGELU as TheirQuickGELU
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig

from tests.closeness import EXACT, OUTPUTS, assert_close
from tests.parity.networks import assert_same_training
from vidi.embedding import clip
from vidi.embedding.image_tower import AttentionPool, AveragePool, ResNetTower, SmoothResNet
from vidi.embedding.text_tower import BagOfWords, QuickGELU, TextTransformer
from vidi.losses.image_text import symmetric_contrastive
from vidi.weights.layouts import Layout
from vidi.weights.renaming import renamed
from vidi.weights.tables import openai_clip, transformers_clip

WORDS = "ab cd\nef gh"  # a vocabulary of 2 x 256 + 2 + 2 ids
VOCABULARY = 516
SMALL: dict[str, Any] = {
    "size": (32, 32),
    "embedding": 16,
    "width": 24,
    "blocks": (2,),
    "text_width": 20,
    "text_layers": 2,
    "context": 9,
    "head": 4,
    "merges": WORDS,
}


def pairs(count: int = 5, size: int = 32) -> tuple[Tensor, Tensor]:
    """Images and texts of several lengths, padded."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, size, size, generator=generator, dtype=torch.float64)
    tokens = torch.randint(1, 500, (count, 9), generator=generator)
    for row in range(count):
        end = 1 + row % 8
        tokens[row, 0], tokens[row, end], tokens[row, end + 1 :] = VOCABULARY - 2, VOCABULARY - 1, 0
    return images, tokens


def by(layout: Layout) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Rename tensors; open_clip's causal mask is a buffer that no file holds."""

    def rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        held = {key: value for key, value in tensors.items() if key != "attn_mask"}
        return layout.convert(renamed(held, layout.names))

    return rename


def transformers_config(activation: str) -> CLIPConfig:
    text = {"hidden_size": 20, "intermediate_size": 80, "num_attention_heads": 5, "num_hidden_layers": 2}
    vision = {"hidden_size": 24, "intermediate_size": 96, "num_attention_heads": 6, "num_hidden_layers": 2}
    both = {"hidden_act": activation, "projection_dim": 16}
    ids = {"vocab_size": VOCABULARY, "max_position_embeddings": 9, "eos_token_id": VOCABULARY - 1, "bos_token_id": 514}
    return CLIPConfig(
        text_config=CLIPTextConfig(**text, **both, **ids, pad_token_id=0),  # type: ignore[arg-type, call-arg]
        vision_config=CLIPVisionConfig(**vision, **both, image_size=32, patch_size=8),  # type: ignore[arg-type, call-arg]
        projection_dim=16,
    )


# ----------------------------------------------------------------------------------------------------------------------
# transformers


@pytest.mark.system("7.3.1-TEXTENC", "7.3.1-IMGENC", "7.3.1-CLIPLOSS")
@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_both_towers_loss_and_gradients_are_those_of_transformers(activation: Any) -> None:
    images, tokens = pairs()
    theirs: Any = CLIPModel(transformers_config(activation))
    ours = clip.clip_tiny(**SMALL, patch=8, activation=activation)

    def call(network: Any) -> Tensor:
        if network is theirs:
            found = theirs(input_ids=tokens, pixel_values=images, attention_mask=None, return_loss=True)
            return torch.cat((found.image_embeds.flatten(), found.text_embeds.flatten(), found.loss[None]))
        found = network(images, tokens)
        loss = symmetric_contrastive(found.image, found.text, found.scale)
        return torch.cat((found.image.flatten(), found.text.flatten(), loss[None]))

    assert_same_training(ours.network, theirs, by(transformers_clip.LAYOUT), call, training=True)


@pytest.mark.parametrize("prefix", ["text_model.", ""])
def test_a_text_tower_alone_has_its_names_with_and_without_a_prefix(prefix: str) -> None:
    config: Any = transformers_config("quick_gelu").text_config
    theirs: Any = CLIPTextModelWithProjection(config)
    state = {key.replace("text_model.", prefix, 1): value for key, value in theirs.state_dict().items()}
    model = clip.clip_tiny(**SMALL, patch=8)
    model.network.text.load_state_dict(transformers_clip.TEXT_LAYOUT.ours(model.network.text, state))
    _, tokens = pairs()
    assert_close(model.network.text(tokens), theirs(tokens).text_embeds, 1e-5)


# ----------------------------------------------------------------------------------------------------------------------
# open_clip


@pytest.mark.system("7.3.1-IMGENC")
@pytest.mark.parametrize("training", [False, True])
def test_the_resnet_with_attention_pooling_is_open_clip_s(training: bool) -> None:
    images, tokens = pairs(size=64)
    vision = CLIPVisionCfg(layers=(2, 1, 1, 1), width=8, image_size=64, head_width=16)  # type: ignore[arg-type]
    text = CLIPTextCfg(context_length=9, vocab_size=VOCABULARY, width=20, heads=5, layers=2)
    theirs: Any = THEIR_CLIP(16, vision, text, quick_gelu=True)
    numbers = SMALL | {"size": (64, 64), "width": 8, "blocks": (2, 1, 1, 1), "head": 4}
    ours = clip.clip("clip_rn50", **numbers)
    ours.network.image = ResNetTower((64, 64), (2, 1, 1, 1), width=8, head=16, embedding=16, pool="attention")

    def call(network: Any) -> Tensor:
        found = network(images, tokens)
        image, text = (found.image, found.text) if network is ours.network else found[:2]
        return torch.cat((image, text))

    assert_same_training(ours.network, theirs, by(openai_clip.RESNET_LAYOUT), call, training=training)


@pytest.mark.system("7.3.1-IMGENC")
def test_the_transformers_are_open_clip_s_too() -> None:
    images, tokens = pairs()
    vision = CLIPVisionCfg(layers=2, width=24, image_size=32, patch_size=8, head_width=4)
    text = CLIPTextCfg(context_length=9, vocab_size=VOCABULARY, width=20, heads=5, layers=2)
    theirs: Any = THEIR_CLIP(16, vision, text, quick_gelu=True)
    ours = clip.clip_tiny(**SMALL, patch=8).network

    def call(network: Any) -> Tensor:
        found = network(images, tokens)
        image, text, scale = (found.image, found.text, found.scale) if network is ours else found
        return torch.cat((image.flatten(), text.flatten(), scale[None]))

    assert_same_training(ours, theirs, by(openai_clip.TRANSFORMER_LAYOUT), call, training=True)


def test_quick_gelu_is_open_clip_s() -> None:
    x = torch.linspace(-5, 5, 41, dtype=torch.float64)
    assert_close(QuickGELU()(x), TheirQuickGELU()(x), EXACT)


# ----------------------------------------------------------------------------------------------------------------------
# Options of the towers


def text_tower(causal: bool) -> TextTransformer:
    tower = TextTransformer(VOCABULARY, 20, 16, context=9, depth=2, heads=5, causal=causal).double()
    nn.init.normal_(tower.positions.table)
    return tower


@pytest.mark.system("7.3.1-TEXTENC")
@pytest.mark.parametrize("causal", [True, False])
def test_padding_does_not_matter_and_words_and_their_order_do(causal: bool) -> None:
    _, tokens = pairs()
    tower, row = text_tower(causal), tokens[3:4]  # [SOS] a b c [EOS] and padding
    other = row.clone()
    other[0, 5:] = 77
    assert_close(tower(row), tower(other), EXACT)
    assert_close(tower(row), tower(row[:, :5]), EXACT)
    turned = row[:, [0, 3, 2, 1, 4]]
    assert not torch.allclose(tower(row), tower(turned))


@pytest.mark.system("7.3.1-TEXTENC")
def test_only_the_bidirectional_tower_lets_early_words_see_later_ones() -> None:
    _, tokens = pairs()
    row = tokens[3:4]
    changed = row.clone()
    changed[0, 3] = 123  # the last word
    for causal in (True, False):
        tower = text_tower(causal)
        seen: list[Tensor] = []
        tower.encoder.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output))
        for text in (row, changed):
            tower(text)
        assert torch.allclose(seen[0][0, :3], seen[1][0, :3]) is causal
        assert not torch.allclose(seen[0][0, 4], seen[1][0, 4])


@pytest.mark.system("7.3.1-BOW")
def test_a_bag_of_words_is_the_projected_mean_of_its_words_in_any_order() -> None:
    tower = BagOfWords(VOCABULARY, 20, 16).double()
    _, tokens = pairs()
    row = tokens[3:4]
    mean = torch.stack([tower.words.weight[number] for number in row[0, :5].tolist()]).mean(0)
    assert_close(tower(row)[0], tower.projection.weight @ F.layer_norm(mean, (20,)), EXACT)
    assert_close(tower(row), tower(row[:, [0, 3, 1, 2, 4]]), EXACT)
    other = row.clone()
    other[0, 5:] = 77
    assert_close(tower(row), tower(other), EXACT)
    assert tower(tokens[:1]).isfinite().all()  # [SOS] [EOS]: an empty text


@pytest.mark.system("7.3.1-IMGENC")
def test_average_pooling_projects_the_mean_of_the_map() -> None:
    images, _ = pairs(2, 96)
    tower = ResNetTower((64, 64), (1, 1, 1, 1), width=8, head=16, embedding=6, pool="average").double().eval()
    maps = tower.backbone(images)
    assert maps.shape == (2, 256, 3, 3)
    assert isinstance(tower.pool, AveragePool)
    assert_close(tower(images), maps.mean((2, 3)) @ tower.pool.projection.weight.T, OUTPUTS)


def test_attention_pooling_asks_with_the_mean_of_the_map() -> None:
    pool = AttentionPool((2, 3), 8, 2, 5).double()
    maps = torch.randn(3, 8, 2, 3, dtype=torch.float64)
    tokens = torch.cat((maps.mean((2, 3))[..., None], maps.flatten(2)), 2).transpose(1, 2) + pool.positions.table
    attention = pool.attention
    query, key, value = (
        linear(tokens).unflatten(2, (2, 4)).transpose(1, 2)
        for linear in (attention.query, attention.key, attention.value)
    )
    weights = (query[:, :, :1] @ key.transpose(2, 3) / 2).softmax(-1)
    assert_close(pool(maps), attention.output((weights @ value)[:, :, 0].flatten(1)), EXACT)
    with pytest.raises(ValueError, match=r"\(3, 2\).*\(2, 3\)"):
        pool(maps.transpose(2, 3))


def test_strides_of_the_resnet_come_from_averages() -> None:
    network = SmoothResNet((1, 1, 1, 1), 8)
    strides = [module.stride for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert strides == [(2, 2), *[(1, 1)] * (len(strides) - 1)]
    assert sum(isinstance(module, nn.AvgPool2d) for module in network.modules()) == 4


# ----------------------------------------------------------------------------------------------------------------------
# Sizes


COUNTS = {  # of the released networks
    "clip_rn50": 102_007_137,
    "clip_rn101": 119_688_033,
    "clip_rn50x4": 178_300_601,
    "clip_rn50x16": 290_979_217,
    "clip_rn50x64": 623_258_305,
    "clip_vit_b_32": 151_277_313,  # B7.11
    "clip_vit_b_16": 149_620_737,
    "clip_vit_l_14": 427_616_513,
    "clip_vit_l_14_336": 427_944_193,
}
HEADS = {  # of the image tower's attention, of the text tower's (paper, tables 19 and 20)
    "clip_rn50": (32, 8),
    "clip_rn101": (32, 8),
    "clip_rn50x4": (40, 10),
    "clip_rn50x16": (48, 12),
    "clip_rn50x64": (64, 16),
    "clip_vit_b_32": (12, 8),
    "clip_vit_b_16": (12, 8),
    "clip_vit_l_14": (16, 12),
    "clip_vit_l_14_336": (16, 12),
}


@pytest.mark.system("B7.11")
@pytest.mark.parametrize("name", COUNTS)
def test_published_sizes(name: str) -> None:
    with torch.device("meta"):
        model: Any = getattr(clip, name)()
    assert sum(parameter.numel() for parameter in model.parameters()) == COUNTS[name]
    image = model.network.image
    attention = image.pool.attention if "rn" in name else image.backbone.encoder.layers[0].attention
    text = model.network.text
    assert (attention.heads, text.encoder.layers[0].attention.heads) == HEADS[name]
    assert len(text.encoder.layers) == 12
    assert text.positions.table.shape[1] == 77
    assert text.vocabulary == 49_408
    assert isinstance(text.encoder.layers[0].feed_forward.activation, QuickGELU)


def test_images_come_in_as_the_release_has_them() -> None:
    with torch.device("meta"):
        preprocess = clip.clip_vit_l_14_336().preprocess
    assert (preprocess.shorter, preprocess.crop, preprocess.interpolation) == (336, (336, 336), "bicubic")
    assert preprocess.mean == open_clip.OPENAI_DATASET_MEAN
    assert preprocess.std == open_clip.OPENAI_DATASET_STD


@pytest.mark.system("7.3.1-CLIPLOSS", "B7.10")
def test_the_temperature_starts_at_the_paper_s() -> None:
    model = clip.clip_tiny(**SMALL, patch=8)
    assert float(model.network.log_scale.detach()) == pytest.approx(2.6593, abs=5e-5)  # B7.10
    assert float(model.network.log_scale.detach().exp()) == pytest.approx(1 / 0.07, rel=1e-6)
    assert math.log(1 / 0.07) == pytest.approx(clip.FIRST_LOG_SCALE)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"text": "lstm"}, "'causal', 'bidirectional', 'bag_of_words'"),
        ({"activation": "relu"}, "'quick_gelu', 'gelu'"),
        ({"text_layers": 0}, "text_layers=0"),
        ({"blocks": ()}, "blocks=0"),
        ({"patch": 5}, "patch=5"),
        ({"head": 7}, "head=7"),
        ({"context": 2}, "context=2"),
    ],
)
def test_numbers_that_cannot_be(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clip.clip_tiny(**{**SMALL, "patch": 8, **wrong})


def test_a_pool_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="'attention' or 'average'"):
        clip.clip_rn50(size=(32, 32), pool="max")
