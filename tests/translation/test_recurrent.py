"""Traditional attention against loops over its equations; the networks around it, and what they learn with and without.

No library has this attention to compare with: the equations of the paper are recomputed, and torch's GRU is the rest.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import NUMBERS, assert_close
from tests.conftest import Learnt
from tests.parity.networks import distance, randomise
from tests.references.additive_attention import additive_attention
from tests.settings import SEED
from vidi.data.translation import BEGIN, END, PAD
from vidi.translation.generation import WithoutCache, beam_search, greedy
from vidi.translation.recurrent import AdditiveAttention, Context, RecurrentTranslator

CONTEXTS: list[Context] = ["attention", "fixed"]
SOURCE_WORDS, TARGET_WORDS = 11, 13


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def small(context: Context, **numbers: float) -> RecurrentTranslator:
    network = RecurrentTranslator(SOURCE_WORDS, TARGET_WORDS, width=6, hidden=8, context=context, dropout=0.0)
    network = network.double()
    randomise(network)
    return network


def sentences(rows: int, words: int, length: int, padded: int = 2) -> Tensor:
    """Draw sentences, the last of which ends in padding."""
    tokens = torch.randint(1, words, (rows, length))
    tokens[-1, length - padded :] = PAD
    return tokens


# ---------------------------------------------------------------------------------------------------------- attention


@pytest.mark.system("3.1.1-TRADATTN")
def test_attention_is_the_papers_equations():
    attention = AdditiveAttention(5, 4, 7).double()
    randomise(attention)
    states, annotations = random(2, 3, 5), random(2, 6, 4)
    context, weights = attention(states, annotations)
    assert weights.shape == (2, 3, 6)
    tensors = {
        "W": attention.query.weight,
        "b": attention.query.bias,
        "U": attention.key.weight,
        "v": attention.score.weight[0],
    }
    for row in range(2):
        expected = additive_attention(
            states[row], annotations[row], **{name: value.detach() for name, value in tensors.items()}
        )
        assert_close(context[row], expected[0])
        assert_close(weights[row], expected[1])
    again = attention(states, annotations, keys=attention.key(annotations))
    assert torch.equal(again.context, context)


@pytest.mark.system("3.1.1-TRADATTN")
def test_masked_tokens_are_as_if_they_were_not_there():
    attention = AdditiveAttention(5, 4, 7).double()
    states, annotations = random(1, 3, 5), random(1, 6, 4)
    mask = torch.tensor([[True, True, False, True, False, False]])
    found = attention(states, annotations, mask=mask)
    kept = attention(states, annotations[:, mask[0]])
    assert_close(found.context, kept.context)
    assert_close(found.weights[..., mask[0]], kept.weights)
    assert not found.weights[..., ~mask[0]].any()


# ------------------------------------------------------------------------------------------------------------ networks


@pytest.mark.system("3.1.1-TRADATTN")
@pytest.mark.parametrize("context", CONTEXTS)
def test_the_network_is_its_equations(context: Context):
    """One sentence, one step at a time: both directions word by word, then s_i and the logits from c_i and t_(i-1)."""
    network = small(context)
    source, target = torch.randint(1, SOURCE_WORDS, (1, 4)), torch.randint(1, TARGET_WORDS, (1, 5))
    words = network.source_embedding(source)[0]
    gru, directions = network.encoder, []
    for suffix, order in (("", range(4)), ("_reverse", range(3, -1, -1))):
        cell = nn.GRUCell(6, 8).double()
        cell.load_state_dict(
            {name: getattr(gru, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        )
        h, annotations = torch.zeros(1, 8, dtype=torch.float64), {}
        for j in order:
            annotations[j] = h = cell(words[j : j + 1], h)
        directions.append((torch.cat([annotations[j] for j in range(4)]), h))
    annotations = torch.cat([outputs for outputs, _ in directions], dim=1)  # 4 2H
    last = torch.cat([h for _, h in directions], dim=1)  # 1 2H

    s = torch.tanh(network.first(last))
    for i in range(5):
        c = last
        if network.attention is not None:
            a = network.attention
            energies = torch.stack([a.score(torch.tanh(a.query(s[0]) + a.key(h)))[0] for h in annotations])
            c = (energies.softmax(0) @ annotations)[None]
        y = network.target_embedding(target[:, i])
        s = network.decoder(torch.cat((y, c), dim=1), s)
        t = network.readout(torch.cat((s, y, c), dim=1))
        expected = network.output(torch.maximum(t[:, 0::2], t[:, 1::2]))
        assert_close(network(source, target)[:, i], expected)


@pytest.mark.system("3.1.1-TRADATTN")
def test_weights_are_handed_out_for_every_output():
    network = small("attention")
    source, target = sentences(2, SOURCE_WORDS, 6), torch.randint(1, TARGET_WORDS, (2, 5))
    memory = network.encode(source)
    logits, weights = network.trace(target, memory)
    assert weights is not None
    assert weights.shape == (2, 5, 6)
    assert_close(weights.sum(-1), torch.ones(2, 5, dtype=torch.float64))
    assert not weights[1, :, 4:].any()
    assert torch.equal(logits, network(source, target))
    assert small("fixed").trace(target, small("fixed").encode(source)).weights is None


@pytest.mark.parametrize("context", CONTEXTS)
def test_all_at_once_equals_step_by_step(context: Context):
    network = small(context).eval()
    source, target = sentences(3, SOURCE_WORDS, 6), torch.randint(1, TARGET_WORDS, (3, 5))
    memory = network.encode(source)
    together, state = network.decode(target, memory), network.begin(memory)
    rows = torch.tensor([2, 0, 2])
    for i in range(5):
        picked, _ = network.step(target[rows, i], state.of_rows(rows))
        logits, state = network.step(target[:, i], state)
        assert_close(logits, together[:, i])
        assert_close(picked, together[rows, i])


@pytest.mark.parametrize("context", CONTEXTS)
def test_padding_and_the_rest_of_the_batch_change_nothing(context: Context):
    network = small(context).eval()
    source, target = sentences(3, SOURCE_WORDS, 6), torch.randint(1, TARGET_WORDS, (3, 5))
    expected = network(source, target)
    assert_close(network(F.pad(source, (0, 3)), target), expected)
    assert_close(network(source[2:, :4], target[2:]), expected[2:])


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_parameter_gets_a_gradient(context: Context):
    network = small(context)
    network(sentences(2, SOURCE_WORDS, 6), torch.randint(1, TARGET_WORDS, (2, 5))).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("context", CONTEXTS)
def test_only_attention_sees_a_word_where_it_stands(context: Context):
    """A change of one annotation reaches the outputs through the weights, and not at all through the fixed vector."""
    network = small(context).eval()
    memory = network.encode(sentences(1, SOURCE_WORDS, 6, padded=0))
    changed = memory.tokens.clone()
    changed[:, 2] += 1
    target = torch.randint(1, TARGET_WORDS, (1, 5))
    gap = distance(network.decode(target, memory), network.decode(target, memory._replace(tokens=changed)))
    assert (gap > 1e-3) == (context == "attention")


@pytest.mark.system("3.1.1-TRADATTN")
def test_attention_learns_to_reverse_what_a_fixed_vector_does_not(learnt: Learnt):
    """Ten words through 2 x 16 numbers: with attention they come out, and it looks at them from last to first."""
    accuracy = {}
    for context in CONTEXTS:
        torch.default_generator.manual_seed(SEED)
        network = RecurrentTranslator(14, 14, width=16, hidden=16, context=context, dropout=0.0)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for step in range(300):
            optimizer.param_groups[0]["lr"] = 0.01 * min(1, 2 - step / 150)  # the second half calms it down
            source, sentence = reversals(32)
            loss = F.cross_entropy(network(source, sentence[:, :-1]).flatten(0, 1), sentence[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        network.eval()
        source, sentence = reversals(200)
        generated = greedy(network, source, longest=LENGTH + 1).tokens
        generated = F.pad(generated, (0, LENGTH + 1 - generated.shape[1]), value=PAD)
        accuracy[context] = float((generated == sentence[:, 1:]).float().mean())
        if context == "attention":
            weights = network.trace(sentence[:, :-1], network.encode(source)).weights
            assert weights is not None
            looked_at = weights[:, :LENGTH].argmax(-1)  # the last output is <end>
            away = (looked_at - torch.arange(LENGTH).flip(0)).abs()
            learnt("reversed looks", float((away <= 1).float().mean()), least=0.8)  # states know their neighbours
    learnt("words with attention", accuracy["attention"], least=0.95)
    learnt("words without", accuracy["fixed"], most=0.7)


LENGTH = 10


def reversals(rows: int) -> tuple[Tensor, Tensor]:
    """Draw words of 11 kinds; the target is <begin>, the words backwards, <end>."""
    words = torch.randint(3, 14, (rows, LENGTH))
    begin, end = (torch.full((rows, 1), token) for token in (BEGIN, END))
    return words, torch.cat((begin, words.flip(1), end), dim=1)


@pytest.mark.parametrize("context", CONTEXTS)
def test_generates_as_the_transformer_does(context: Context):
    network, source = small(context).eval(), sentences(3, SOURCE_WORDS, 6)
    for run in (greedy, lambda *x, **k: beam_search(*x, **k).best()):
        kept, again = run(network, source, longest=7), run(WithoutCache(network), source, longest=7)
        assert torch.equal(kept.tokens, again.tokens)
        assert_close(kept.log_probabilities, again.log_probabilities, NUMBERS)
