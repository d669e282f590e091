"""The transformer over sentences against torch's; steps, padding and positions must not change what they should not."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import NUMBERS, assert_close
from tests.parity.networks import assert_same_training, distance, randomise
from tests.parity.transformers import decoder_names, encoder_names
from vidi.nn.attention import causal_mask, recorded_attention
from vidi.nn.positional import sinusoids
from vidi.nn.transformer import (
    EncoderLayer,
)
from vidi.translation.transformer import TokenEmbedding, Transformer

WIDTH, HEADS, HIDDEN, LAYERS = 12, 3, 20, 2


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
