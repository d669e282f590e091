"""Positions: the paper's waves against loops and DETR's own, learnt tables against an embedding, other resolutions."""

import math
from collections import OrderedDict

import pytest
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn
from torchvision.models.vision_transformer import interpolate_embeddings
from transformers.models.detr.modeling_detr import DetrSinePositionEmbedding

from tests.closeness import EXACT, assert_close
from tests.parity.networks import distance
from vidi.nn.attention import MultiHeadAttention
from vidi.nn.positional import (
    LearnedPositions,
    SinusoidalPositions,
    positions_layer,
    resized_positions,
    sinusoids,
    sinusoids_2d,
    wave_frequencies,
)


def float64_range(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float64)


# ---------------------------------------------------------------------------------------------------------- sinusoids


@pytest.mark.system("3.1.5-SINPE")
def test_sinusoids_are_the_equation():
    """The index i of the equation counts pairs, not dimensions (erratum C3.8)."""
    width = 10
    received = sinusoids(float64_range(50), width)
    expected = torch.empty(50, width, dtype=torch.float64)
    for position in range(50):
        for i in range(width // 2):
            angle = position / 10_000 ** (2 * i / width)
            expected[position, 2 * i], expected[position, 2 * i + 1] = math.sin(angle), math.cos(angle)
    assert_close(received, expected)


@pytest.mark.system("3.1.5-SINPE")
def test_sinusoids_are_timestep_embeddings_in_another_order():
    """The formula of diffusers' `get_timestep_embedding` (flip_sin_to_cos=False, downscale_freq_shift=0), by loops.

    [all sines | all cosines] with the frequencies exp(-ln(10000) i / half); diffusers itself is not asked.
    """
    half = 8
    expected = torch.empty(20, 2 * half, dtype=torch.float64)
    for t in range(20):
        for i in range(half):
            angle = t * math.exp(-math.log(10_000) * i / half)
            expected[t, i], expected[t, half + i] = math.sin(angle), math.cos(angle)
    received = sinusoids(float64_range(20), 2 * half)
    assert_close(torch.cat((received[:, 0::2], received[:, 1::2]), dim=1), expected)


@pytest.mark.system("3.1.5-SINPE", "B3.3", "B3.4")
def test_worked_examples():
    """Worked examples B3.3 and B3.4."""
    expected = torch.tensor([[0, 1, 0, 1], [0.841471, 0.540302, 0.00999983, 0.99995000]], dtype=torch.float64)
    assert distance(sinusoids(float64_range(2), 4), expected) <= 5e-7
    pe = sinusoids(float64_range(50), 64)
    assert float(pe[3] @ pe[8]) == pytest.approx(23.503971, abs=5e-7)
    assert float(pe[40] @ pe[45]) == pytest.approx(23.503971, abs=5e-7)
    assert_close(pe.square().sum(-1), torch.full((50,), 32, dtype=torch.float64))


def test_inner_products_depend_on_the_distance_alone():
    pe = sinusoids(float64_range(40), 16)
    products = pe @ pe.T
    for offset in range(40):
        diagonal = products.diagonal(offset)
        assert_close(diagonal, diagonal[:1].expand_as(diagonal))
        assert float(diagonal[0]) == pytest.approx(float((offset * wave_frequencies(16)).cos().sum()), rel=EXACT)


@pytest.mark.system("3.1.5-SINPE")
def test_positions_are_added_from_any_start():
    layer, tokens = SinusoidalPositions(6), torch.randn(2, 9, 6, dtype=torch.float64)
    received = layer(tokens)
    assert_close(received, tokens + sinusoids(float64_range(9), 6))
    assert_close(layer(tokens[:, 4:], 4), received[:, 4:])
    assert not layer.state_dict()


def test_odd_widths_are_refused():
    with pytest.raises(ValueError, match="width=5"):
        SinusoidalPositions(5)


@pytest.mark.system("3.1.5-PERMEQ", "3.1.5-SINPE")
@pytest.mark.parametrize("kind", ["sinusoidal", "learned"])
def test_positions_break_the_equivariance_to_permutations(kind: str):
    """Worked example B3.2: without positions f(PX) = P f(X), with them not."""
    attention = MultiHeadAttention(12, 3).double()
    positions = positions_layer(kind, 12, 7).double()  # type: ignore[arg-type]
    x, order = torch.randn(2, 7, 12, dtype=torch.float64), torch.tensor([3, 0, 6, 2, 5, 1, 4])
    assert_close(attention(x[:, order]), attention(x)[:, order])
    assert distance(attention(positions(x[:, order])), attention(positions(x))[:, order]) > 1e-3


# ------------------------------------------------------------------------------------------------------------- on maps


@pytest.mark.system("3.1.5-SINPE")
@pytest.mark.parametrize("normalize", [True, False])
def test_sinusoids_of_a_map_are_detrs(normalize: bool):
    mask = torch.zeros(3, 5, 7, dtype=torch.bool)
    for image, (rows, columns) in enumerate([(5, 7), (3, 7), (4, 2)]):  # the rest is padding
        mask[image, :rows, :columns] = True
    theirs = DetrSinePositionEmbedding(6, normalize=normalize)
    expected = theirs(torch.Size((3, 1, 5, 7)), "cpu", torch.float32, mask).permute(0, 2, 3, 1)  # B D H W -> B H W D
    received = sinusoids_2d(mask, 12, normalize=normalize)
    assert received.shape == expected.shape
    assert received.isfinite().all()
    valid = mask[..., None].expand_as(received)
    assert_close(received[valid], expected[valid], 1e-5)  # angles up to 7 in float32
    assert_close(received, expected, 1e-5)


# ------------------------------------------------------------------------------------------------------------- learnt


@pytest.mark.system("3.1.5-LEARNPE")
def test_learnt_positions_are_an_embedding_of_the_positions():
    ours, theirs = LearnedPositions(9, 6).double(), nn.Embedding(9, 6, dtype=torch.float64)
    with torch.no_grad():
        ours.table.copy_(theirs.weight[None])
    tokens = torch.randn(2, 5, 6, dtype=torch.float64)
    outputs = ours(tokens, 3), tokens + theirs(torch.arange(3, 8))
    assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    assert_close(ours.table.grad[0], theirs.weight.grad)  # type: ignore[index,arg-type]
    assert theirs.weight.grad[:3].eq(0).all()  # type: ignore[index]
    with pytest.raises(ValueError, match="received 10 tokens, expected at most 9"):
        ours(tokens, 5)


def test_resized_positions_are_timms_and_torchvisions():
    table = torch.randn(1, 1 + 16, 6, dtype=torch.float64)
    timms = resample_abs_pos_embed(table, [6, 5], num_prefix_tokens=1)  # in float32
    assert_close(resized_positions(table, (6, 5), antialias=True), timms, 1e-5)
    smaller = resample_abs_pos_embed(table, [3, 3], num_prefix_tokens=1)
    assert_close(resized_positions(table, (3, 3), antialias=True), smaller, 1e-5)
    state = OrderedDict({"encoder.pos_embedding": table.clone()})
    torchvisions = interpolate_embeddings(96, 16, state)["encoder.pos_embedding"]
    assert_close(resized_positions(table, (6, 6), align_corners=True), torchvisions)


def test_resized_positions_keep_what_has_no_place():
    table = torch.randn(1, 2 + 12, 6)
    received = resized_positions(table, (6, 8), old_size=(3, 4), prefix=2)
    assert received.shape == (1, 2 + 48, 6)
    assert torch.equal(received[:, :2], table[:, :2])
    assert resized_positions(table, (3, 4), old_size=(3, 4), prefix=2) is table
    with pytest.raises(ValueError, match="received 12 positions after 2, expected 3 x 3"):
        resized_positions(table, (6, 8), prefix=2)
