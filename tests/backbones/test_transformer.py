"""The transformer against torch's layers and stacks; masks, padding and steps must not change what they should not."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import NUMBERS, assert_close
from tests.parity.networks import assert_same_training, distance, randomise
from tests.parity.transformers import decoder_names, encoder_names
from vidi.backbones.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    TokenEmbedding,
    Transformer,
)
from vidi.nn.attention import causal_mask, recorded_attention
from vidi.nn.positional import sinusoids

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


# ---------------------------------------------------------------------------------------------------- the whole network


def small(**numbers: Any) -> Transformer:
    sizes = {"width": WIDTH, "heads": HEADS, "hidden": HIDDEN, "layers": LAYERS, "dropout": 0.0}
    network = Transformer(11, 13, **sizes, **numbers).double()
    randomise(network)
    return network


def sentences(rows: int, words: int, length: int, padded: int = 2) -> Tensor:
    """Draw sentences, the last of which ends in padding."""
    tokens = torch.randint(1, words, (rows, length))
    tokens[-1, length - padded :] = 0
    return tokens


class Reference(nn.Module):
    """torch's own transformer between embeddings and a linear map that shares their weights."""

    def __init__(self, norm_first: bool):
        super().__init__()
        sizes = (WIDTH, HEADS, LAYERS, LAYERS, HIDDEN, 0.0)
        self.source_embedding, self.target_embedding = nn.Embedding(11, WIDTH), nn.Embedding(13, WIDTH)
        self.transformer = nn.Transformer(*sizes, batch_first=True, norm_first=norm_first)
        if not norm_first:  # the paper has no norm after the last post-norm layer
            self.transformer.encoder.norm = self.transformer.decoder.norm = None
        self.output_bias = nn.Parameter(torch.zeros(13))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        x, y = self.embedded(self.source_embedding, source), self.embedded(self.target_embedding, target)
        padding = source == 0
        later = ~causal_mask(target.shape[1])
        masks = {"tgt_mask": later, "src_key_padding_mask": padding, "memory_key_padding_mask": padding}
        return self.transformer(x, y, **masks) @ self.target_embedding.weight.T + self.output_bias

    @staticmethod
    def embedded(embedding: nn.Embedding, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], dtype=torch.float64)
        return embedding(tokens) * math.sqrt(WIDTH) + sinusoids(places, WIDTH)


def reference_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    encoder = encoder_names({n: v for n, v in state.items() if ".encoder." in n})
    decoder = decoder_names({n: v for n, v in state.items() if ".decoder." in n})
    rest = {n: v for n, v in state.items() if not n.startswith("transformer.")}
    return rest | {n.removeprefix("transformer."): v for n, v in (encoder | decoder).items()}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.system("3.1-TRANSFORMER", "3.1.4-DEC", "3.1.2-EMB")
@pytest.mark.parametrize("norm_first", [False, True])
def test_the_transformer_is_torchs(norm_first: bool):
    ours, theirs = small(norm_first=norm_first), Reference(norm_first)
    source, target = sentences(3, 11, 6), torch.randint(1, 13, (3, 5))
    assert_same_training(ours, theirs, reference_names, lambda network: network(source, target), training=True)
    assert ours(source, target).shape == (3, 5, 13)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.system("3.1-TRANSFORMER")
def test_the_default_is_the_papers_base_model():
    """Vaswani et al. 2017, table 3: width 512, 8 heads, hidden 2048, 6 layers; torch's own count of the stacks."""
    with torch.device("meta"):
        network = Transformer(100, 200)
        stacks = nn.Transformer(512, 8, 6, 6, 2048)
    final_norms = 2 * 2 * 512
    expected = sum(p.numel() for p in stacks.parameters()) - final_norms + 300 * 512 + 200
    assert sum(p.numel() for p in network.parameters()) == expected
    layer = network.encoder.layers[0]
    assert isinstance(layer, EncoderLayer)
    assert layer.attention.heads == 8
    assert isinstance(layer.feed_forward.activation, nn.ReLU)
    assert network.dropout.p == 0.1


@pytest.mark.system("3.1.2-EMB")
def test_embeddings_are_scaled_and_tied():
    """Erratum C3.12: the paper multiplies embeddings by sqrt(D); the last map has the same weights, not scaled."""
    embedding = TokenEmbedding(11, WIDTH)
    tokens = torch.randint(11, (2, 5))
    assert torch.equal(embedding(tokens), F.embedding(tokens, embedding.weight) * math.sqrt(WIDTH))
    plain = TokenEmbedding(11, WIDTH, scaled=False)
    assert torch.equal(plain(tokens), F.embedding(tokens, plain.weight))
    assert float(TokenEmbedding(2_000, 64)(torch.arange(2_000)[None]).detach().std()) == pytest.approx(1, rel=0.02)

    tied, own = small(), small(tied=False)
    assert sum(p.numel() for p in own.parameters()) - sum(p.numel() for p in tied.parameters()) == 13 * WIDTH
    own.load_state_dict(tied.state_dict() | {"output_weight": tied.target_embedding.weight})
    source, target = sentences(2, 11, 6), torch.randint(1, 13, (2, 5))
    outputs = tied(source, target), own(source, target)
    assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    both = own.target_embedding.weight.grad + own.output_weight.grad  # type: ignore[operator,union-attr]
    assert_close(tied.target_embedding.weight.grad, both, NUMBERS)  # type: ignore[arg-type]


@pytest.mark.system("3.1.4-PARALLEL", "B3.7")
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_all_at_once_equals_step_by_step(positions: str, norm_first: bool):
    """Worked example B3.7: the logits of teacher forcing are those of a generation, because of the mask."""
    network = small(positions=positions, norm_first=norm_first).eval()
    source, sentence = sentences(3, 11, 6), torch.randint(3, 13, (3, 7))
    sentence[:, 0], sentence[:, -1] = 1, 2  # <begin>, t_1 .. t_n, <end>
    given, expected_tokens = sentence[:, :-1], sentence[:, 1:]
    memory = network.encode(source)
    together = network.decode(given, memory)
    assert together.shape[:2] == expected_tokens.shape  # every position predicts the token after it
    state = network.begin(memory)
    for i in range(given.shape[1]):
        logits, state = network.step(given[:, i], state)
        assert_close(logits, together[:, i])
        assert_close(network.decode(given[:, : i + 1], memory)[:, -1], together[:, i])
    assert state.length == given.shape[1]

    x = network.target_positions(network.target_embedding(given))
    leaking = network.decoder(x, memory.tokens, context_mask=memory.mask[:, None])
    masked = network.decoder(x, memory.tokens, context_mask=memory.mask[:, None], causal=True)
    assert distance(leaking[:, :-1], masked[:, :-1]) > 1e-3  # without the mask they are not


def test_rows_of_a_state_go_on_by_themselves():
    network = small().eval()
    memory = network.encode(sentences(3, 11, 6))
    tokens, rows = torch.randint(1, 13, (3, 3)), torch.tensor([2, 0, 2])
    state = network.begin(memory)
    for newest in tokens[:, :2].T:
        _, state = network.step(newest, state)
    picked, _ = network.step(tokens[rows, 2], state.of_rows(rows))
    expected = network.decode(tokens[rows], memory.of_rows(rows))[:, -1]
    assert_close(picked, expected)
    assert distance(network.step(tokens[:1, 0], network.begin(memory).of_rows(rows[1:2]))[0], expected[:1]) > 1e-3


def test_padding_changes_nothing():
    network = small().eval()
    source, target = sentences(2, 11, 6), torch.randint(1, 13, (2, 5))
    expected = network(source, target)
    longer = F.pad(source, (0, 3)), F.pad(target, (0, 2))
    assert_close(network(*longer)[:, :5], expected)
    assert_close(network(source[1:, :4], target[1:]), expected[1:])


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_source_of_padding_alone_gives_finite_gradients(norm_first: bool):
    network = small(norm_first=norm_first)
    source = sentences(2, 11, 6)
    source[0] = 0
    logits = network(source, torch.randint(1, 13, (2, 5)))
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_learnt_positions_end():
    network = small(positions="learned", longest=4)
    with pytest.raises(ValueError, match="received 5 tokens, expected at most 4"):
        network.encode(torch.ones(1, 5, dtype=torch.long))


def test_every_attention_is_recorded_by_name():
    network = small().eval()
    source, target = sentences(2, 11, 6), torch.randint(1, 13, (2, 5))
    expected = network(source, target)
    with recorded_attention(network) as maps:
        received = network(source, target)
    assert_close(received, expected)
    shapes = {name: [tuple(weights.shape) for weights in recorded] for name, recorded in maps.items()}
    for layer in range(LAYERS):
        assert shapes[f"encoder.layers.{layer}.attention"] == [(2, HEADS, 6, 6)]
        assert shapes[f"decoder.layers.{layer}.self_attention"] == [(2, HEADS, 5, 5)]
        assert shapes[f"decoder.layers.{layer}.cross_attention"] == [(2, HEADS, 5, 6)]
    assert len(shapes) == 3 * LAYERS
    assert all((weights[0].sum(-1) - 1).abs().max() < 1e-12 for weights in maps.values())
    assert not maps["decoder.layers.0.self_attention"][0].triu(1).any()
    assert not maps["decoder.layers.0.cross_attention"][0][1, ..., 4:].any()  # the padding of the second source
