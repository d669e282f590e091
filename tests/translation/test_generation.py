"""Generation against `generate` of transformers on a Marian model whose weights ours gets; the cache changes nothing.

Marian's sinusoids are [all sines | all cosines]. As nothing else in the network knows the order of the dimensions, its
weights are converted by reordering all that read or write tokens: our dimension 2i is its i, our 2i + 1 its D/2 + i.
`generate` takes logits in float32, which bounds the agreement of scores and not of tokens.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig, MarianConfig, MarianMTModel

from tests.closeness import NUMBERS, OUTPUTS, assert_close
from tests.parity.networks import distance, randomise
from vidi.translation.generation import (
    Generated,
    SpecialTokens,
    WithoutCache,
    WordChoice,
    beam_search,
    greedy,
    sampled,
)
from vidi.translation.recurrent import RecurrentTranslator
from vidi.translation.transformer import Transformer

WIDTH, WORDS, LONGEST = 16, 29, 12
PAD, BEGIN, END = 0, 1, 2
SCORES = 1e-5  # of transformers, in float32

NAMES = {
    "self_attn_layer_norm": "attention_residual.norm",
    "encoder_attn_layer_norm": "cross_attention_residual.norm",
    "final_layer_norm": "feed_forward_residual.norm",
    "encoder_attn": "cross_attention",
    "self_attn": "attention",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "output",
    "fc1": "feed_forward.widen",
    "fc2": "feed_forward.narrow",
}
WRITES = re.compile(r"(output|narrow)\.weight|(output|narrow|norm)\.(bias)|norm\.weight")  # first axis: a token
READS = re.compile(r"(query|key|value|widen|embedding)\.weight")  # second axis: a token


def converted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a Marian model under our names, in our order of dimensions."""
    order = torch.arange(WIDTH).unflatten(0, (2, -1)).T.flatten()  # 0, D/2, 1, D/2 + 1, ...
    result = {"output_bias": state["final_logits_bias"][0]}
    for old, value in state.items():
        name = old.removeprefix("model.")
        if name.endswith("embed_tokens.weight"):
            name = {"encoder": "source", "decoder": "target"}[name.split(".")[0]] + "_embedding.weight"
        for theirs, ours in NAMES.items():
            name = re.sub(rf"\b{theirs}\b", ours, name)
        if name.startswith("decoder."):
            name = re.sub(r"\.attention", ".self_attention", name)
        if WRITES.search(name):
            value = value[order]
        elif READS.search(name):
            value = value[:, order]
        elif not name.endswith(".bias"):  # sinusoids; the output's bias and the embedding it is tied to are there
            continue
        result[name] = value
    return result


class Pair(NamedTuple):
    ours: Transformer
    theirs: Any  # MarianMTModel


def pair(seed: int, *, dtype: torch.dtype = torch.float64, end_bias: float = 0.0) -> Pair:
    """Build a Marian model with random weights, and ours with the same; a larger bias makes sentences end sooner."""
    torch.default_generator.manual_seed(seed)
    config = MarianConfig(
        vocab_size=WORDS + 3,
        decoder_vocab_size=WORDS,
        share_encoder_decoder_embeddings=False,
        max_position_embeddings=32,
        d_model=WIDTH,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        activation_function="relu",
        dropout=0.0,
        scale_embedding=True,
        init_std=0.3,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=BEGIN,
        forced_eos_token_id=None,
    )
    theirs: Any = MarianMTModel(config)  # Any: its methods belong to protocols that it does not declare
    theirs.to(dtype).eval()
    randomise(theirs)
    with torch.no_grad():
        theirs.final_logits_bias[:, END] += end_bias
        for part in (theirs.model.encoder, theirs.model.decoder):  # their table is rounded to float32
            i = torch.arange(0, WIDTH, 2, dtype=torch.float64) / WIDTH
            angles = torch.arange(32, dtype=torch.float64)[:, None] / 10_000**i
            part.embed_positions.weight.copy_(torch.cat((angles.sin(), angles.cos()), dim=1))
    ours = Transformer(WORDS + 3, WORDS, width=WIDTH, heads=4, hidden=24, layers=2, dropout=0.0).to(dtype).eval()
    ours.load_state_dict(converted(theirs.state_dict()))
    return Pair(ours, theirs)


def sources(rows: int = 6, length: int = 7) -> Tensor:
    """Draw sentences of several lengths, padded."""
    tokens = torch.randint(3, WORDS + 3, (rows, length))
    for row, end in enumerate(torch.randint(2, length + 1, (rows,)).tolist()):
        tokens[row, end:] = PAD
    return tokens


def generate(theirs: Any, source: Tensor, **options: Any) -> Any:
    config = GenerationConfig(
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=BEGIN,
        max_new_tokens=LONGEST,
        output_scores=True,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )
    return theirs.generate(source, attention_mask=source.ne(PAD).long(), generation_config=config)


def padded(tokens: Tensor, lengths: Tensor) -> Tensor:
    """Write padding after the sentences: `generate` fills with the end token where padding is token 0."""
    return tokens.masked_fill(torch.arange(tokens.shape[1]) >= lengths[:, None], PAD)


def assert_ends_vary(lengths: Tensor) -> None:
    """Some end early, some late, or the finished mask would not be tested."""
    assert lengths.min() < LONGEST
    assert len(lengths.unique()) > 2


# ------------------------------------------------------------------------------------------------------------- parity

MODELS = [(0, 1.0), (1, 2.0)]  # seed, what is added to the logit of <end>: sentences of many lengths


@pytest.mark.system("3.1-TRANSFORMER")
def test_the_converted_model_is_marian():
    ours, theirs = pair(0)
    source, target = sources(), torch.randint(WORDS, (6, 5))
    expected = theirs(source, attention_mask=source.ne(PAD).long(), decoder_input_ids=target).logits
    assert_close(ours(source, target), expected, OUTPUTS)
    assert float(expected.detach().std()) > 0.5


@pytest.mark.system("3.1-AUTOREG")
@pytest.mark.parametrize(("seed", "end_bias"), MODELS)
def test_greedy_generation_is_transformers(seed: int, end_bias: float):
    ours, theirs = pair(seed, end_bias=end_bias)
    source = sources()
    expected = generate(theirs, source, num_beams=1, do_sample=False)
    received = greedy(ours, source, longest=LONGEST)
    assert torch.equal(received.tokens, expected.sequences[:, 1:])
    assert_ends_vary(received.lengths)
    logits = torch.stack(expected.logits, dim=1).log_softmax(-1)  # B T V
    scores = logits.gather(2, received.tokens[..., None])[..., 0]
    written = torch.arange(scores.shape[1]) < received.lengths[:, None]
    assert distance(received.log_probabilities, torch.where(written, scores, 0)) <= SCORES


@pytest.mark.system("3.1-AUTOREG")
@pytest.mark.parametrize(("seed", "end_bias"), MODELS)
@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize(
    "length_penalty",
    [1.0, pytest.param(0.0, marks=pytest.mark.extended), pytest.param(2.0, marks=pytest.mark.extended)],
)
def test_beam_search_is_transformers(length_penalty: float, early_stopping: bool | str, seed: int, end_bias: float):
    ours, theirs = pair(seed, end_bias=end_bias)
    source = sources()
    options: Any = {"length_penalty": length_penalty, "early_stopping": early_stopping}
    expected = generate(theirs, source, num_beams=4, num_return_sequences=4, do_sample=False, **options)
    received = beam_search(ours, source, longest=LONGEST, beams=4, **options)
    tokens, lengths = received.tokens.flatten(0, 1), received.lengths.flatten()
    assert torch.equal(tokens[:, : lengths.max()], padded(expected.sequences[:, 1:], lengths))
    assert not tokens[:, lengths.max() :].any()
    assert distance(received.scores.flatten(), expected.sequences_scores) <= SCORES
    summed = received.log_probabilities.sum(-1) / received.lengths**length_penalty
    assert_close(summed, received.scores, NUMBERS)
    if early_stopping is True and length_penalty == 1:
        assert_ends_vary(lengths)


def test_early_stopping_decides_when_a_source_is_done():
    """Longer sentences may come after the first K that are finished; the more is waited for, the more of them."""
    network, source = pair(0, end_bias=1.0).ours, sources()

    def words(early_stopping: bool | str, length_penalty: float) -> int:
        options: Any = {"early_stopping": early_stopping, "length_penalty": length_penalty}
        return int(beam_search(network, source, longest=LONGEST, **options).lengths.sum())

    assert words(True, 1.0) < words(False, 1.0)
    assert words(True, 2.0) < words(False, 2.0) < words("never", 2.0)


@pytest.mark.system("3.1-AUTOREG")
@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.7, 5), (3.0, 1)])
def test_sampling_is_transformers(temperature: float, top_k: int | None):
    """The same draws of the same generator, in float32: theirs takes the global one."""
    ours, theirs = pair(0, dtype=torch.float32, end_bias=1.0)
    source = sources()
    torch.default_generator.manual_seed(5)
    expected = generate(theirs, source, do_sample=True, temperature=temperature, top_k=top_k or 0)
    options: Any = {"temperature": temperature, "top_k": top_k, "generator": torch.Generator().manual_seed(5)}
    received = sampled(ours, source, longest=LONGEST, **options)
    assert torch.equal(received.tokens, expected.sequences[:, 1:])
    if top_k == 1:
        assert torch.equal(received.tokens, greedy(ours, source, longest=LONGEST).tokens)
    else:
        assert_ends_vary(received.lengths)


# ------------------------------------------------------------------------------------------------- what must not matter


def recurrent() -> RecurrentTranslator:
    network = RecurrentTranslator(WORDS + 3, WORDS, width=6, hidden=8, dropout=0.0).double().eval()
    randomise(network)
    with torch.no_grad():
        network.output.weight *= 5
        network.output.bias[END] += 1
    return network


NETWORKS: dict[str, Callable[[], Any]] = {
    "transformer": lambda: pair(0, end_bias=1.0).ours,
    "recurrent": recurrent,
}


def generations(network: Any, source: Tensor) -> list[Generated]:
    """Generate in all three ways."""
    generator = torch.Generator().manual_seed(3)
    return [
        greedy(network, source, longest=LONGEST),
        sampled(network, source, longest=LONGEST, generator=generator, temperature=1.5),
        beam_search(network, source, longest=LONGEST).best(),
    ]


@pytest.mark.system("3.1-AUTOREG")
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_cache_changes_nothing(kind: str):
    network, source = NETWORKS[kind](), sources()
    for kept, again in zip(generations(network, source), generations(WithoutCache(network), source), strict=True):
        assert torch.equal(kept.tokens, again.tokens)
        assert torch.equal(kept.lengths, again.lengths)
        assert_close(kept.log_probabilities, again.log_probabilities, NUMBERS)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_rest_of_the_batch_changes_nothing(kind: str):
    network, source = NETWORKS[kind](), sources(2)
    for generate_one in (
        lambda rows: greedy(network, rows, longest=LONGEST),
        lambda rows: beam_search(network, rows, longest=LONGEST, beams=3).best(),
    ):
        together = generate_one(source)
        for row in range(len(source)):
            alone = generate_one(source[row : row + 1])
            length = int(alone.lengths[0])
            assert int(together.lengths[row]) == length
            assert torch.equal(together.tokens[row, :length], alone.tokens[0])
            assert not together.tokens[row, length:].any()
            assert not together.log_probabilities[row, length:].any()
            assert_close(together.log_probabilities[row, :length], alone.log_probabilities[0], NUMBERS)


@pytest.mark.system("3.1-AUTOREG")
@pytest.mark.parametrize("kind", NETWORKS)
def test_log_probabilities_are_those_of_teacher_forcing(kind: str):
    network, source = NETWORKS[kind](), sources()
    for generated in generations(network, source):
        given = torch.cat((torch.full_like(generated.tokens[:, :1], BEGIN), generated.tokens[:, :-1]), dim=1)
        logits = network(source, given).log_softmax(-1)
        expected = logits.gather(2, generated.tokens[..., None])[..., 0]
        written = torch.arange(given.shape[1]) < generated.lengths[:, None]
        assert_close(generated.log_probabilities, torch.where(written, expected, 0), NUMBERS)


def test_a_full_beam_finds_the_likeliest_sentence():
    """With as many beams as there are prefixes the search is exhaustive: compared with every sentence there is."""
    network = Transformer(8, 4, width=8, heads=2, hidden=8, layers=1, dropout=0.0).double().eval()
    randomise(network)
    source, longest = torch.tensor([[5, 3, 7]]), 3
    found = beam_search(network, source, longest=longest, beams=64, length_penalty=0.0)
    every = [(END,)] + [(a, END) for a in (0, 1, 3)]
    every += [(a, b, c) for a in (0, 1, 3) for b in (0, 1, 3) for c in range(4)]
    memory = network.encode(source)
    scores = {}
    for sentence in every:
        logits = network.decode(torch.tensor([[BEGIN, *sentence[:-1]]]), memory).detach().log_softmax(-1)[0]
        scores[sentence] = float(sum(row[token] for row, token in zip(logits, sentence, strict=True)))
    ranked = sorted(scores, key=lambda sentence: -scores[sentence])
    assert int(found.scores.isfinite().sum()) == len(every)
    for place, sentence in enumerate(ranked):
        assert tuple(found.tokens[0, place, : len(sentence)].tolist()) == sentence
        assert float(found.scores[0, place]) == pytest.approx(scores[sentence], rel=NUMBERS)
    assert sum(torch.tensor(list(scores.values())).exp().tolist()) == pytest.approx(1, abs=1e-6)


def test_all_stop_when_all_are_finished():
    class Counting:
        """Says word 5 until row r has r + 1 words, then <end>."""

        steps = 0

        def encode(self, source: Tensor) -> Tensor:
            return source

        def begin(self, memory: Tensor) -> Any:
            return Rows(torch.arange(len(memory)))

        def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
            self.steps += 1
            ends = state.left == 0
            logits = torch.full((len(tokens), 7), -20.0)
            logits[ends, END] = logits[~ends, 5] = 0.0
            return logits, Rows(state.left - 1)

    class Rows(NamedTuple):
        left: Tensor

        def of_rows(self, rows: Tensor) -> "Rows":
            return Rows(self.left[rows])

    network = Counting()
    received = greedy(network, torch.ones(3, 2, dtype=torch.long), longest=50)
    assert received.tokens.tolist() == [[END, PAD, PAD], [5, END, PAD], [5, 5, END]]
    assert received.lengths.tolist() == [1, 2, 3]
    assert network.steps == 3
    assert greedy(network, torch.ones(3, 2, dtype=torch.long), longest=2).lengths.tolist() == [1, 2, 2]
    other = SpecialTokens(begin=1, end=5, pad=6)
    received = greedy(network, torch.ones(3, 2, dtype=torch.long), longest=2, special=other)
    assert received.tokens.tolist() == [[END, 5], [5, 6], [5, 6]]


def test_draws_follow_the_distribution():
    network = recurrent()
    source = sources(1).expand(20_000, -1)
    drawn = sampled(network, source, longest=1, generator=torch.Generator().manual_seed(0), temperature=2.0, top_k=4)
    state = network.begin(network.encode(source[:1]))
    logits = network.step(torch.tensor([BEGIN]), state)[0][0]
    best = logits.topk(4)
    frequencies = torch.bincount(drawn.tokens[:, 0], minlength=WORDS) / len(source)
    assert distance(frequencies[best.indices].double(), (best.values / 2).softmax(-1)) < 0.015  # 4 standard errors
    assert float(frequencies[best.indices].sum()) == pytest.approx(1)


def test_no_gradient_is_kept():
    network = recurrent()
    assert not any(one.log_probabilities.requires_grad for one in generations(network, sources()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"longest": 0}, "longest=0"),
        ({"temperature": 0}, "temperature=0"),
        ({"top_k": 0}, "top_k=0"),
    ],
)
def test_numbers_that_are_not_positive_are_told(options: dict[str, Any], message: str):
    numbers = {"longest": 3, "generator": torch.Generator(), **options}
    with pytest.raises(ValueError, match=message):
        sampled(recurrent(), sources(), **numbers)


def test_beams_must_be_positive():
    with pytest.raises(ValueError, match="beams=0"):
        beam_search(recurrent(), sources(), longest=3, beams=0)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"beams": 0}, "beams=0"),
        ({"beams": 2, "temperature": 1.0}, "beams=2 and temperature=1.0, expected one of them"),
        ({"top_k": 3}, "top_k=3 without a temperature"),
    ],
)
def test_choices_that_exclude_each_other_are_told(numbers: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        WordChoice(**numbers)
