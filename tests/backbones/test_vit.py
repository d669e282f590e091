"""Vision transformers against torchvision, timm, transformers and the notes."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT
from transformers import ViTConfig, ViTForImageClassification, ViTModel

from tests.closeness import NUMBERS, assert_close
from tests.parity.networks import assert_same_training, randomise
from vidi.backbones import vit
from vidi.backbones.vit import TokenClassifier, VisionTransformer, trunk
from vidi.model import Supervised
from vidi.nn.attention import recorded_attention
from vidi.nn.cost import count_cost
from vidi.nn.positional import resized_positions
from vidi.weights.packed_projections import unpacked
from vidi.weights.renaming import renamed
from vidi.weights.tables import timm_vit, torchvision_vit, transformers_vit

WRONG = (ValueError, TypeError)  # the shape checks of the test suite refuse a wrong Literal before we do
SMALL: dict[str, Any] = {"size": (32, 32), "patch": 8, "width": 24, "depth": 3, "heads": 3, "hidden": 40}
BUILDERS: dict[str, Callable[..., Supervised]] = {
    name: getattr(vit, name)
    for name in ("vit_tiny", "vit_small", "vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14")
}


def images(size: tuple[int, int] = (32, 32), dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *size, dtype=dtype, generator=torch.Generator().manual_seed(7))


def outputs(network: nn.Module) -> Tensor:
    result = network(images())
    return result if isinstance(result, Tensor) else result.logits


def small(**options: Any) -> TokenClassifier:
    network = vit.vit_b_16(categories=5, **SMALL, **options).network
    assert isinstance(network, TokenClassifier)
    return network


def away_from_zero(network: Any) -> Any:
    """Draw what starts at zero: under it a wrong wiring could hide."""
    for parameter in network.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return network


def torchvision_vit_of(**options: Any) -> TorchvisionViT:
    numbers = {"num_layers": 3, "num_heads": 3, "hidden_dim": 24, "mlp_dim": 40, "num_classes": 5}
    return away_from_zero(TorchvisionViT(32, 8, **numbers, **options))


def timm_vit_of(**options: Any) -> TimmViT:
    numbers = {"embed_dim": 24, "depth": 3, "num_heads": 3, "mlp_ratio": 40 / 24, "num_classes": 5}
    return away_from_zero(TimmViT(img_size=32, patch_size=8, **numbers, **options))


def transformers_config(**options: Any) -> ViTConfig:
    numbers = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40}
    return ViTConfig(**numbers, image_size=32, patch_size=8, num_labels=5, **options)  # type: ignore[call-arg]


def from_torchvision(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return unpacked(renamed(tensors, torchvision_vit.CLASSIFIER))


def from_timm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return unpacked(renamed(tensors, timm_vit.CLASSIFIER))


def from_transformers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return renamed(tensors, transformers_vit.CLASSIFIER)


# ----------------------------------------------------------------------------------------------------------------------
# Parity


@pytest.mark.system("3.2-VIT")
@pytest.mark.parametrize("training", [True, False])
def test_equals_torchvision(training: bool) -> None:
    assert_same_training(small(), torchvision_vit_of(), from_torchvision, outputs, training=training)


@pytest.mark.system("3.2-VIT")
def test_equals_timm() -> None:
    assert_same_training(small(), timm_vit_of(), from_timm, outputs, training=True)


def test_mean_of_the_patches_equals_timm() -> None:
    theirs = timm_vit_of(class_token=False, global_pool="avg", fc_norm=False)
    assert_same_training(small(pool="mean"), theirs, from_timm, outputs, training=True)


@pytest.mark.system("3.2-VIT")
def test_equals_transformers() -> None:
    theirs = away_from_zero(ViTForImageClassification(transformers_config()))
    assert_same_training(small(eps=1e-12), theirs, from_transformers, outputs, training=True)


@pytest.mark.system("3.2-VIT")
def test_tokens_equal_those_of_transformers_without_a_head() -> None:
    theirs = ViTModel(transformers_config()).double().eval()
    randomise(theirs)
    ours = small(eps=1e-12).double().eval()
    state = renamed(theirs.state_dict(), transformers_vit.CLASSIFIER)
    assert ours.load_state_dict(state, strict=False).missing_keys == ["head.linear.weight", "head.linear.bias"]
    tokens = ours.backbone.tokens(images())  # type: ignore[operator]
    assert_close(tokens, theirs(images()).last_hidden_state, NUMBERS)


def test_attention_maps_equal_those_of_transformers() -> None:
    config = transformers_config(attn_implementation="eager")
    theirs = ViTForImageClassification(config).eval()  # its eager softmax is of float32
    randomise(theirs)
    ours = small(eps=1e-12).eval()
    ours.load_state_dict(from_transformers(theirs.state_dict()))
    x = images(dtype=torch.float32)
    with recorded_attention(ours) as maps:
        ours(x)
    expected = theirs(x, output_attentions=True).attentions
    assert list(maps) == [f"backbone.encoder.layers.{layer}.attention" for layer in range(3)]
    for (received,), weights in zip(maps.values(), expected, strict=True):
        assert received.shape == (2, 3, 17, 17)
        assert_close(received, weights, 1e-5)


@pytest.mark.system("3.2-VIT")
def test_dropout_falls_where_torchvision_drops() -> None:
    theirs = torchvision_vit_of(dropout=0.2).double().train()
    ours = small(dropout=0.2).double().train()
    ours.load_state_dict(from_torchvision(theirs.state_dict()))
    x = images()[:1]  # of several, torchvision's attention has the tokens in another order of memory, that of the draws
    torch.default_generator.manual_seed(3)
    received = ours(x).logits
    torch.default_generator.manual_seed(3)
    assert_close(received, theirs(x), NUMBERS)
    assert not torch.allclose(received, ours.eval()(x).logits)


def test_branches_are_left_out_as_in_timm() -> None:
    theirs = timm_vit_of(drop_path_rate=0.5).double().train()
    ours = small(drop_path=0.5).double().train()
    ours.load_state_dict(from_timm(theirs.state_dict()))
    results = []
    for network in (ours, theirs):
        torch.default_generator.manual_seed(3)
        results.append(outputs(network))
    assert_close(results[0], results[1], NUMBERS)
    assert not torch.allclose(results[0], outputs(ours.eval()))


@pytest.mark.system("3.2-VARIANTS", "B3.10")
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vit_b_16", 86_567_656),
        ("vit_b_32", 88_224_232),
        ("vit_l_16", 304_326_632),
        ("vit_h_14", 632_045_800),
        pytest.param("vit_l_32", 306_535_400, marks=pytest.mark.extended),
        pytest.param("vit_tiny", 5_717_416, marks=pytest.mark.extended),
        pytest.param("vit_small", 22_050_664, marks=pytest.mark.extended),
    ],
)
def test_parameters_of_the_variants(name: str, parameters: int) -> None:
    with torch.device("meta"):
        ours = BUILDERS[name]()
        if name in ("vit_tiny", "vit_small"):
            theirs: nn.Module = timm.create_model(f"{name}_patch16_224")
        else:
            theirs = torchvision.models.get_model(name)
    assert sum(p.numel() for p in ours.parameters()) == parameters
    assert sum(p.numel() for p in theirs.parameters()) == parameters
    rename = from_timm if isinstance(theirs, TimmViT) else from_torchvision
    shapes = {key: value.shape for key, value in rename(theirs.state_dict()).items()}
    assert shapes == {key: value.shape for key, value in ours.network.state_dict().items()}


@pytest.mark.system("B3.11")
def test_multiply_adds_of_vit_b_16() -> None:
    with torch.device("meta"):
        network = vit.vit_b_16().network
    total = count_cost(network, 224).total
    assert total.macs == 17_563_828_224  # 17.563 G in the notes, which cut it
    assert round(100 * total.matmul / total.macs, 2) == 4.07


# ----------------------------------------------------------------------------------------------------------------------
# Positions


@pytest.mark.system("3.2-VIT")
@pytest.mark.parametrize("size", [(7, 7), (3, 3), (6, 2)])
def test_positions_are_interpolated_as_timm_and_transformers_do(size: tuple[int, int]) -> None:
    table = torch.randn(1, 17, 24, dtype=torch.float32)
    expected = resample_abs_pos_embed(table, list(size))
    assert_close(resized_positions(table, size, antialias=True), expected, 1e-6)
    theirs = ViTModel(transformers_config()).double()
    embeddings = theirs.embeddings
    tokens = torch.zeros(1, 1 + size[0] * size[1], 24)
    with torch.no_grad():
        expected = embeddings.interpolate_pos_encoding(tokens, 8 * size[0], 8 * size[1])
        received = resized_positions(embeddings.position_embeddings, size)
    assert_close(received, expected)


def test_positions_are_fitted_to_the_grids_of_a_network() -> None:
    source, target = trunk("tiny", **SMALL), trunk("tiny", **{**SMALL, "size": (16, 48)})
    fitted = vit.fitted_positions(target, source.state_dict(), antialias=True)
    target.load_state_dict(fitted)
    expected = resized_positions(source.positions.table, (2, 6), antialias=True)
    assert torch.equal(target.positions.table, expected)
    same = vit.fitted_positions(source, source.state_dict())
    assert all(torch.equal(same[key], value) for key, value in source.state_dict().items())
    nested = {f"body.{key}": value for key, value in source.state_dict().items()}
    assert vit.fitted_positions(nn.ModuleDict({"body": target}), nested)["body.positions.table"].shape == (1, 13, 24)


@pytest.mark.system("B3.2", "3.2-VIT")
def test_only_positions_tell_where_a_patch_is() -> None:
    """Permuted patches permute the encoder's output and leave [CLS]; with positions they do not."""
    network = away_from_zero(trunk("tiny", **SMALL)).double().eval()
    tokens = torch.randn(2, 17, 24, dtype=torch.float64)
    order = torch.cat((torch.zeros(1, dtype=torch.long), 1 + torch.randperm(16)))
    plain, permuted = network.encoder(tokens), network.encoder(tokens[:, order])
    assert_close(permuted, plain[:, order])
    placed, moved = (network.encoder(network.positions(x)) for x in (tokens, tokens[:, order]))
    assert (moved - placed[:, order]).abs().max() > 1e-3


# ----------------------------------------------------------------------------------------------------------------------
# Memory


def largest_allocation(network: nn.Module, x: Tensor) -> int:
    """Return the bytes of the largest block that a forward and backward pass allocate, inside of kernels as well."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        network(x).logits.sum().backward()
    results: Any = profiler.profiler
    return max(event.nbytes() for event in results.kineto_results.events() if event.name() == "[memory]")


@pytest.mark.system("3.2-VIT")
def test_memory_is_linear_in_the_tokens_unless_weights_are_asked_for() -> None:
    sizes: dict[str, Any] = {"patch": 2, "width": 8, "depth": 1, "heads": 2, "hidden": 8}
    bytes_of = {}
    for side in (64, 128):
        network = vit.vit_tiny(categories=2, size=(side, side), **sizes).network
        x = images((side, side), torch.float32)[:1]
        bytes_of[side] = largest_allocation(network, x)
        weights = 4 * 2 * ((side // 2) ** 2 + 1) ** 2  # of both heads
        assert bytes_of[side] < weights / 4
        if side == 64:
            with recorded_attention(network):
                assert largest_allocation(network, x) >= weights
    assert bytes_of[128] <= 4.1 * bytes_of[64]


# ----------------------------------------------------------------------------------------------------------------------
# Options


def test_initialisation_is_that_of_torchvision() -> None:
    """Queries, keys and values are drawn there as one matrix, whose bound is another one."""
    ours = vit.vit_b_16(categories=5, size=(32, 32), patch=8, width=192, depth=1, heads=3).network
    theirs = TorchvisionViT(32, 8, num_layers=1, num_heads=3, hidden_dim=192, mlp_dim=768, num_classes=5)
    expected = from_torchvision(theirs.state_dict())
    for key, value in ours.state_dict().items():
        if value.std() < 1e-5:  # zeros, ones, and biases of the feed-forward network
            assert_close(value, expected[key], 1e-5, size=1)
        else:
            torch.testing.assert_close(value.std(), expected[key].std(), rtol=0.05, atol=0)
            torch.testing.assert_close(value.abs().max(), expected[key].abs().max(), rtol=0.3, atol=0)
    assert not ours.get_parameter("head.linear.weight").any()


def test_the_map_of_patches_has_the_announced_channels_and_strides() -> None:
    network = small().double().eval()
    backbone = network.backbone
    assert isinstance(backbone, VisionTransformer)
    (features,) = network.features(images())
    assert features.shape == (2, 24, 4, 4)
    assert backbone.channels == (24,)
    assert backbone.strides == (8,)
    assert torch.equal(features[:, :, 1, 2], backbone.tokens(images())[:, 1 + 4 + 2])


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_builders_record_name_and_arguments(name: str) -> None:
    with torch.device("meta"):
        model = BUILDERS[name](categories=("cat", "dog"), **SMALL)
    assert model.origin is not None
    assert model.origin[0] == name
    assert model.origin[1]["categories"] == ("cat", "dog")
    assert model.preprocess.exact == (32, 32)
    assert model.network.get_parameter("head.linear.weight").shape == (2, 24)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "giant"}, "tiny, small, base, large, huge"),
        ({"name": "tiny", "pool": "max"}, "'token' or 'mean'"),
        ({"name": "tiny", "heads": 5}, "heads=5"),
        ({"name": "tiny", "depth": 0}, "depth=0.*nothing below 1"),
        ({"name": "tiny", "size": (30, 32)}, "received 30 x 32 pixels, expected sides that are multiples of patch=16"),
    ],
)
def test_wrong_arguments_name_the_choices(arguments: dict, message: str) -> None:
    with pytest.raises(WRONG, match=message):
        trunk(**arguments)


def test_images_of_another_size_than_the_positions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"received images of 32 x 40 pixels, expected 32 x 32"):
        small()(images((32, 40), torch.float32))
