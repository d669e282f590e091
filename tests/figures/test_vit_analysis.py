"""What is read out of a vision transformer: costs, filters, positions, attention."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch import Tensor

from tests.closeness import EXACT, NUMBERS, assert_close
from vidi.backbones import vit
from vidi.backbones.vit import VisionTransformer, trunk
from vidi.figures.vit_analysis import (
    attention_maps,
    attention_rollout,
    encoder_macs,
    filter_components,
    mean_attention_distance,
    mean_attention_distances,
    overtaking_length,
    pixel_attention,
    position_similarity,
    row_column_score,
    vit_macs,
)
from vidi.nn.cost import count_cost
from vidi.nn.positional import sinusoids, sinusoids_2d

SMALL: dict[str, Any] = {"patch": 8, "width": 24, "depth": 3, "heads": 3, "hidden": 40}

# ----------------------------------------------------------------------------------------------------------------------
# Cost


@pytest.mark.system("3.2-PIXELCOST", "B3.1")
def test_attention_over_the_pixels_of_an_image() -> None:
    cost = pixel_attention((224, 224))
    assert cost.entries == 2_517_630_976
    assert round(cost.matrix_bytes / 1e9, 3) == 5.035
    assert round(cost.matrix_bytes / 2**30, 3) == 4.689
    assert round(cost.bytes / 1e9, 3) == 483.385
    assert round(cost.bytes / 2**30, 2) == 450.19
    assert round(pixel_attention((224, 224), heads=12).bytes / 1e9, 2) == 725.08
    assert pixel_attention((3, 5), dtype=torch.float32, layers=2, heads=7) == (225, 900, 12_600)
    with pytest.raises(ValueError, match="expected nothing below 1"):
        pixel_attention((0, 5))


@pytest.mark.system("3.2-FLOPS", "B3.11")
def test_the_quadratic_part_of_vit_b_16_is_small() -> None:
    macs = encoder_macs(197, 768, 3072, 12)
    patches_and_head = 196 * 768 * 768 + 768 * 1000
    total = macs.total + patches_and_head
    assert total == 17_563_828_224
    assert round(100 * macs.attention / total, 2) == 4.07
    assert overtaking_length(768, 3072) == 4608
    assert encoder_macs(4608, 768, 3072).quadratic_share == 0.5


@pytest.mark.system("3.2-FLOPS")
@given(st.integers(1, 12), st.integers(1, 32), st.integers(1, 64))
def test_attention_costs_half_of_a_layer_at_the_overtaking_length(heads: int, each: int, hidden: int) -> None:
    width = heads * each
    length = overtaking_length(width, hidden)
    macs = encoder_macs(length, width, hidden)
    assert macs.attention == macs.projections + macs.feed_forward
    assert encoder_macs(length - 1, width, hidden).quadratic_share < 0.5


@pytest.mark.system("3.2-FLOPS")
@pytest.mark.parametrize("pool", ["token", "mean"])
def test_the_split_is_what_is_counted(pool: str) -> None:
    network = vit.vit_tiny(categories=5, size=(32, 48), **{**SMALL, "pool": pool}).network
    assert isinstance(network, vit.TokenClassifier)
    report, macs = count_cost(network, (32, 48)), vit_macs(network)
    encoder = report.of("backbone.encoder")
    assert macs.attention == encoder.matmul
    assert macs.projections + macs.feed_forward == encoder.linear
    feed_forward = sum(report.of(f"backbone.encoder.layers.{layer}.feed_forward").linear for layer in range(3))
    assert macs.feed_forward == feed_forward
    assert macs == vit_macs(network.backbone)  # type: ignore[arg-type]
    assert report.macs == macs.total + 24 * 192 * 24 + 24 * 5


# ----------------------------------------------------------------------------------------------------------------------
# Filters


@pytest.mark.system("3.2-WEVIS")
def test_components_of_the_filters_equal_scikit_learn() -> None:
    filters = torch.randn(30, 3, 4, 4, dtype=torch.float64) * torch.linspace(1, 3, 16).view(4, 4)
    components = filter_components(filters, 7)
    reference = PCA(7).fit(filters.flatten(1).numpy())
    expected = torch.from_numpy(reference.components_)
    received = components.filters.flatten(1)
    assert components.filters.shape == (7, 3, 4, 4)
    assert_close(received * (received * expected).sum(1, keepdim=True), expected, NUMBERS)
    torch.testing.assert_close(components.explained, torch.from_numpy(reference.explained_variance_ratio_))
    largest = received.gather(1, received.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()


@pytest.mark.system("3.2-WEVIS")
def test_filters_that_mix_two_pictures_have_these_as_components() -> None:
    one, two = torch.linalg.qr(torch.randn(48, 2, dtype=torch.float64)).Q.T
    weights = torch.tensor([[3.0, 0], [-3, 0], [0, 1], [0, -1]], dtype=torch.float64)
    filters = (weights @ torch.stack((one, two))).unflatten(1, (3, 4, 4))
    found = filter_components(filters, 2)
    torch.testing.assert_close(found.explained, torch.tensor([0.9, 0.1], dtype=torch.float64))
    for component, picture in zip(found.filters, (one, two), strict=True):
        assert abs(float((component.flatten() * picture).sum())) == pytest.approx(1)


@pytest.mark.parametrize("count", [0, 5])
def test_there_are_no_more_components_than_filters(count: int) -> None:
    with pytest.raises(ValueError, match=f"count={count}, expected 1 to 4"):
        filter_components(torch.randn(4, 3, 2, 2), count)


# ----------------------------------------------------------------------------------------------------------------------
# Positions


@pytest.mark.system("3.2-POSSIM")
def test_similarity_is_the_cosine_of_every_two_positions() -> None:
    table = torch.randn(1, 13, 6, dtype=torch.float64)
    maps = position_similarity(table, (3, 4))
    assert maps.shape == (3, 4, 3, 4)
    for (row, column), (other_row, other_column) in [((0, 0), (2, 3)), ((1, 2), (1, 0)), ((2, 1), (2, 1))]:
        one, other = table[0, 1 + 4 * row + column], table[0, 1 + 4 * other_row + other_column]
        expected = one @ other / math.sqrt(one @ one * (other @ other))
        assert float(maps[row, column, other_row, other_column]) == pytest.approx(float(expected), rel=EXACT)
    with pytest.raises(ValueError, match="13 positions, expected at least 4 x 4"):
        position_similarity(table, (4, 4))


@pytest.mark.system("3.2-POSSIM")
def test_the_score_tells_codes_of_rows_and_columns_from_others() -> None:
    def score(table: Tensor) -> float:
        return row_column_score(position_similarity(table, (6, 7)))

    separate = sinusoids_2d(torch.ones(1, 6, 7, dtype=torch.bool), 64).flatten(1, 2).double()
    assert score(separate) == pytest.approx(1, abs=1e-6)
    one_long_line = sinusoids(torch.arange(42, dtype=torch.float64), 64)[None]
    alike_to_nothing = torch.eye(42, dtype=torch.float64)[None]
    assert score(alike_to_nothing) == pytest.approx((6 + 7 - 2) / (6 * 7 - 1))
    assert score(alike_to_nothing) < score(one_long_line) < 0.9
    assert score(torch.randn(1, 42, 64, dtype=torch.float64)) < 0.4


@pytest.mark.parametrize(
    ("similarity", "message"), [(torch.ones(2, 3, 2, 3), "all equal"), (torch.rand(1, 3, 1, 3), "at least 2 x 2")]
)
def test_a_score_needs_something_to_explain(similarity: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        row_column_score(similarity)


# ----------------------------------------------------------------------------------------------------------------------
# Attention


@pytest.mark.system("3.2-MAD", "B3.12")
def test_mean_distances_of_known_attention() -> None:
    grid, count = (14, 14), 196
    identity = torch.eye(count, dtype=torch.float64).expand(2, 3, -1, -1)
    assert torch.equal(mean_attention_distance(identity, grid, 16), torch.zeros(3, dtype=torch.float64))
    uniform = torch.full((2, 1, count + 1, count + 1), 1 / (count + 1), dtype=torch.float64)
    assert round(float(mean_attention_distance(uniform, grid, 16)), 3) == 116.492


@pytest.mark.system("3.2-MAD")
def test_mean_distance_is_the_weighted_mean_over_patches() -> None:
    """Against a loop over queries and keys; [CLS] sees and is seen, and does not count."""
    weights = torch.rand(2, 2, 7, 7, dtype=torch.float64).softmax(-1)
    expected = torch.zeros(2, dtype=torch.float64)
    for image in weights:
        for head, matrix in enumerate(image):
            for query in range(6):
                row = matrix[1 + query, 1:]
                for key in range(6):
                    away = math.hypot(8 * (query // 3 - key // 3), 8 * (query % 3 - key % 3))
                    expected[head] += row[key] / row.sum() * away / 12
    assert_close(mean_attention_distance(weights, (2, 3), 8), expected)
    with pytest.raises(ValueError, match="7 tokens, expected at least 3 x 3"):
        mean_attention_distance(weights, (3, 3), 8)


@pytest.mark.system("3.2-MAD")
def test_mean_distances_of_every_layer_and_head() -> None:
    network = trunk("tiny", (32, 48), **SMALL)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)  # no query prefers any key
    distances = mean_attention_distances(network, torch.randn(2, 3, 32, 48))
    uniform = torch.full((1, 1, 25, 25), 1 / 25)
    expected = mean_attention_distance(uniform, (4, 6), 8).expand(3, 3)
    torch.testing.assert_close(distances, expected)


def test_attention_maps_by_name_leave_the_network_as_it_was() -> None:
    network = trunk("tiny", (32, 32), dropout=0.5, **SMALL).train()
    images = torch.randn(2, 3, 32, 32)
    maps = attention_maps(network, images)
    assert list(maps) == [f"encoder.layers.{layer}.attention" for layer in range(3)]
    assert all(weights.shape == (2, 3, 17, 17) for weights in maps.values())
    assert all(torch.allclose(weights.sum(-1), torch.ones(())) for weights in maps.values())
    assert network.training
    again = attention_maps(network, images)
    assert all(torch.equal(maps[name], again[name]) for name in maps)
    assert isinstance(network, VisionTransformer)


def test_rollout_multiplies_half_identities() -> None:
    one, two = (torch.rand(1, 2, 3, 3, dtype=torch.float64).softmax(-1) for _ in range(2))
    half = torch.eye(3, dtype=torch.float64) / 2
    expected = (two[0].mean(0) / 2 + half) @ (one[0].mean(0) / 2 + half)
    rolled = attention_rollout({"first": one, "second": two})
    assert_close(rolled[0], expected)
    torch.testing.assert_close(rolled.sum(-1), torch.ones(1, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="at least one layer"):
        attention_rollout({})
