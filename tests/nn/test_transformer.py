"""The layers of a transformer against torch's; masks, padding and steps must not change what they should not."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.closeness import assert_close
from tests.parity.networks import assert_same_training, distance, randomise
from tests.parity.transformers import decoder_names, encoder_names
from vidi.nn.attention import causal_mask
from vidi.nn.positional import sinusoids
from vidi.nn.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
)

WIDTH, HEADS, HIDDEN, LAYERS = 12, 3, 20, 2


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def random_mask(*shape: int) -> Tensor:
    mask = torch.rand(*shape) < 0.5
    mask[..., 0] = True
    return mask


def torch_mask(mask: Tensor | None) -> Tensor | None:
    """Return the mask as torch's modules take it: True where nobody may look, once for each head."""
    return None if mask is None else (~mask).repeat_interleave(HEADS, dim=0)


# ------------------------------------------------------------------------------------------------------------- layers

FORMS = [
    pytest.param(False, marks=pytest.mark.system("3.1.3-POSTNORM"), id="post-norm"),
    pytest.param(True, marks=pytest.mark.system("3.1.3-PRENORM"), id="pre-norm"),
]


@pytest.mark.parametrize("norm_first", FORMS)
@pytest.mark.parametrize(("activation", "masked"), [(nn.ReLU, False), (nn.GELU, True)])
def test_encoder_layer_is_torchs(activation: type[nn.Module], masked: bool, norm_first: bool):
    x, mask = random(2, 5, WIDTH), random_mask(2, 5, 5) if masked else None
    ours = EncoderLayer(WIDTH, HEADS, HIDDEN, norm_first=norm_first, activation=activation, dropout=0.0, eps=1e-3)
    theirs = nn.TransformerEncoderLayer(
        *(WIDTH, HEADS, HIDDEN, 0.0, activation(), 1e-3), batch_first=True, norm_first=norm_first
    )

    def call(layer: nn.Module) -> Tensor:
        return layer(x, mask=mask) if layer is ours else layer(x, src_mask=torch_mask(mask))

    assert_same_training(ours, theirs, encoder_names, call, training=True)


@pytest.mark.parametrize("norm_first", FORMS)
def test_encoder_layer_is_the_equations(norm_first: bool):
    layer = EncoderLayer(WIDTH, HEADS, HIDDEN, norm_first=norm_first, dropout=0.0).double()
    randomise(layer)
    h = random(2, 5, WIDTH)
    attention, feed_forward = layer.attention, layer.feed_forward
    LN1, LN2 = layer.attention_residual.norm, layer.feed_forward_residual.norm
    if norm_first:
        middle = h + attention(LN1(h))
        expected = middle + feed_forward(LN2(middle))
    else:
        middle = LN1(h + attention(h))
        expected = LN2(middle + feed_forward(middle))
    assert_close(layer(h), expected)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_dropout_is_where_torch_has_it(part: str, norm_first: bool):
    """Of attention weights, of the hidden layer, of what is added: draws come in one order, so that seeds compare."""
    inputs = random(1, 5, WIDTH), random(1, 4, WIDTH)  # one row: torch's layout of several takes the draws otherwise
    inputs = inputs[:1] if part == "encoder" else inputs
    layer, reference = {
        "encoder": (EncoderLayer, nn.TransformerEncoderLayer),
        "decoder": (DecoderLayer, nn.TransformerDecoderLayer),
    }[part]
    ours = layer(WIDTH, HEADS, HIDDEN, norm_first=norm_first, dropout=0.3).double().train()
    theirs = reference(WIDTH, HEADS, HIDDEN, 0.3, batch_first=True, norm_first=norm_first).double()
    names = encoder_names if part == "encoder" else decoder_names
    ours.load_state_dict(names(theirs.state_dict()))
    outputs = []
    for network in (ours, theirs):
        torch.default_generator.manual_seed(7)
        outputs.append(network(*inputs))
    assert_close(*outputs)
    assert distance(outputs[0], ours.eval()(*inputs)) > 0.1


@pytest.mark.system("3.1.3-ENC")
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("final_norm", [None, False, True])
def test_encoder_is_torchs(final_norm: bool | None, norm_first: bool):
    x, mask = random(2, 5, WIDTH), random_mask(2, 5, 5)
    ours = Encoder(LAYERS, WIDTH, HEADS, HIDDEN, norm_first=norm_first, final_norm=final_norm, dropout=0.0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.0, batch_first=True, norm_first=norm_first)
    has_norm = norm_first if final_norm is None else final_norm
    norm = nn.LayerNorm(WIDTH) if has_norm else None
    theirs = nn.TransformerEncoder(layer, LAYERS, norm, enable_nested_tensor=False)

    def call(stack: nn.Module) -> Tensor:
        return stack(x, mask=mask) if stack is ours else stack(x, mask=torch_mask(mask))

    assert_same_training(ours, theirs, encoder_names, call, training=False)
    assert call(ours).shape == x.shape


@pytest.mark.system("3.1.4-DECLAYER")
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
def test_decoder_layer_is_torchs(activation: type[nn.Module], norm_first: bool):
    x, context, context_mask = random(2, 5, WIDTH), random(2, 4, WIDTH), random_mask(2, 5, 4)
    ours = DecoderLayer(WIDTH, HEADS, HIDDEN, norm_first=norm_first, activation=activation, dropout=0.0)
    theirs = nn.TransformerDecoderLayer(
        *(WIDTH, HEADS, HIDDEN, 0.0, activation()), batch_first=True, norm_first=norm_first
    )

    def call(layer: nn.Module) -> Tensor:
        if layer is ours:
            return layer(x, context, causal=True, context_mask=context_mask)
        return layer(x, context, tgt_mask=~causal_mask(5), memory_mask=torch_mask(context_mask))

    assert_same_training(ours, theirs, decoder_names, call, training=True)


@pytest.mark.system("3.1.4-DEC")
@pytest.mark.parametrize("norm_first", [False, True])
def test_decoder_is_torchs(norm_first: bool):
    x, context, mask = random(2, 5, WIDTH), random(2, 4, WIDTH), random_mask(2, 5, 5)
    ours = Decoder(LAYERS, WIDTH, HEADS, HIDDEN, norm_first=norm_first, final_norm=True, dropout=0.0)
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, HIDDEN, 0.0, batch_first=True, norm_first=norm_first)
    theirs = nn.TransformerDecoder(layer, LAYERS, nn.LayerNorm(WIDTH))

    def call(stack: nn.Module) -> Tensor:
        return stack(x, context, mask=mask) if stack is ours else stack(x, context, tgt_mask=torch_mask(mask))

    assert_same_training(ours, theirs, decoder_names, call, training=True)
    outputs = ours.outputs(x, context, mask=mask)
    assert len(outputs) == LAYERS
    assert torch.equal(outputs[-1], call(ours))
    assert torch.equal(outputs[0], ours.norm(ours.layers[0](x, context, mask=mask)))


@pytest.mark.system("3.1.4-CROSS")
def test_cross_attention_adds_to_each_token_by_itself():
    layer = DecoderLayer(WIDTH, HEADS, HIDDEN, context_width=7, norm_first=True, dropout=0.0).double()
    z, context = random(1, 5, WIDTH), random(1, 4, 7)
    residual, attention = layer.cross_attention_residual, layer.cross_attention
    together = residual(z, lambda y: attention(y, context))
    assert_close(together, z + attention(residual.norm(z), context))
    for i in range(5):
        alone = residual(z[:, i : i + 1], lambda y: attention(y, context))
        assert_close(together[:, i : i + 1], alone)
    assert layer(z, context).shape == z.shape


def test_positions_are_added_to_queries_and_keys_alone():
    layer = DecoderLayer(WIDTH, HEADS, HIDDEN, dropout=0.0).double()
    x, p, context, q = random(2, 5, WIDTH), random(1, 5, WIDTH), random(2, 4, WIDTH), random(1, 4, WIDTH)
    h = layer.self_attention_residual.norm(x + layer.self_attention(x + p, x + p, x))
    h = layer.cross_attention_residual.norm(h + layer.cross_attention(h + p, context + q, context))
    h = layer.feed_forward_residual.norm(h + layer.feed_forward(h))
    assert_close(layer(x, context, positions=p, context_positions=q), h)
    encoder = EncoderLayer(WIDTH, HEADS, HIDDEN, dropout=0.0).double()
    h = encoder.attention_residual.norm(x + encoder.attention(x + p, x + p, x))
    assert_close(encoder(x, positions=p), encoder.feed_forward_residual.norm(h + encoder.feed_forward(h)))


# --------------------------------------------------------------------------------------------- which tokens see which


def others_change(run: Any, x: Tensor) -> bool:
    """Tell whether changing token 2 changes any other output; it always changes its own."""
    changed = x.clone()
    changed[:, 2] += random(WIDTH)
    difference = (run(changed) - run(x)).abs().amax((0, 2))
    assert difference[2] > 1e-3
    return bool((difference[[0, 1, 3, 4]] > 0).any())


@pytest.mark.system("3.1.3-MIXING")
@pytest.mark.parametrize("norm_first", [False, True])
def test_only_attention_mixes_tokens(norm_first: bool):
    numbers = {"norm_first": norm_first, "dropout": 0.0}
    encoder = EncoderLayer(WIDTH, HEADS, HIDDEN, **numbers).double()
    decoder = DecoderLayer(WIDTH, HEADS, HIDDEN, **numbers).double()
    x, context = random(1, 5, WIDTH), random(1, 4, WIDTH)
    assert others_change(encoder, x)
    assert others_change(lambda y: encoder.attention_residual(y, encoder.attention), x)
    assert others_change(lambda y: decoder.self_attention_residual(y, decoder.self_attention), x)
    separate = {
        "feed-forward": encoder.feed_forward,
        "norm": encoder.feed_forward_residual.norm,
        "around it": lambda y: encoder.feed_forward_residual(y, encoder.feed_forward),
        "cross-attention": lambda y: decoder.cross_attention_residual(y, lambda z: decoder.cross_attention(z, context)),
        "embedding's scale and positions": lambda y: (
            y * math.sqrt(WIDTH) + sinusoids(torch.arange(5, dtype=torch.float64), WIDTH)
        ),
    }
    assert not [name for name, run in separate.items() if others_change(run, x)]


@pytest.mark.system("3.1.5-PERMEQ")
@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder_without_positions_is_equivariant(norm_first: bool):
    """Worked example B3.2."""
    encoder = Encoder(LAYERS, WIDTH, HEADS, HIDDEN, norm_first=norm_first, dropout=0.0).double()
    x, order = random(2, 6, WIDTH), torch.tensor([4, 0, 5, 2, 1, 3])
    assert_close(encoder(x[:, order]), encoder(x)[:, order])
    places = sinusoids(torch.arange(6, dtype=torch.float64), WIDTH)
    assert distance(encoder(x[:, order] + places), encoder(x + places)[:, order]) > 1e-2


@pytest.mark.system("3.1.4-MASKED")
def test_nothing_leaks_from_later_tokens():
    decoder = Decoder(LAYERS, WIDTH, HEADS, HIDDEN, dropout=0.0).double()
    x, context = random(1, 6, WIDTH).requires_grad_(), random(1, 4, WIDTH)
    changed = x.detach().clone()
    changed[:, 4:] = random(1, 2, WIDTH)
    assert torch.equal(decoder(x, context, causal=True)[:, :4], decoder(changed, context, causal=True)[:, :4])
    assert distance(decoder(x, context)[:, :4], decoder(changed, context)[:, :4]) > 1e-3  # the leak
    (gradient,) = torch.autograd.grad(decoder(x, context, causal=True)[:, 3].sum(dim=-1) @ random(1), x)
    assert not gradient[:, 4:].any()
    triangle = causal_mask(6)[None]
    assert_close(decoder(x, context, causal=True), decoder(x, context, mask=triangle))
