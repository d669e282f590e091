"""Models of sentences: loss by teacher forcing, words chosen one by one, results as sentences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import vidi
from tests.closeness import NUMBERS, assert_close
from vidi import api
from vidi.data.sentences import ReversedSentences, SentencePreprocess, VidianSentences
from vidi.data.translation import BEGIN, END, ENGLISH, PAD, VIDIAN, translate
from vidi.engine.overrides import OverrideError
from vidi.engine.runs import SCORED
from vidi.model import Step
from vidi.translation.generation import WordChoice, beam_search, greedy, sampled
from vidi.translation.transformer import Transformer
from vidi.translation.translator import (
    SentenceModel,
    TranslationCriterion,
    recurrent_translator,
    transformer,
    transformer_tiny,
)

TINY: dict[str, Any] = {"width": 16, "heads": 2, "hidden": 16, "layers": 1}


def batch_of(count: int) -> tuple[SentencePreprocess, list[tuple[Tensor, dict]]]:
    pairs = VidianSentences("train", count=count, seed=0)
    return SentencePreprocess(), [pairs[row] for row in range(count)]


def test_samples_are_sentences_and_their_translations() -> None:
    pairs = VidianSentences("val", count=20, seed=3)
    for row in range(20):
        source, target = pairs[row]
        english = " ".join(ENGLISH.decode(source))
        assert target["sentence"] == translate(english) == " ".join(VIDIAN.decode(target["tokens"]))
        assert source[0] == target["tokens"][0] == BEGIN
        assert source[-1] == target["tokens"][-1] == END


def test_reversed_sentences_end_with_their_first_word() -> None:
    pairs = ReversedSentences("test", count=5, seed=0)
    for row in range(5):
        source, target = pairs[row]
        assert ENGLISH.decode(target["tokens"]) == ENGLISH.decode(source)[::-1]


def test_batches_are_padded_and_keep_the_order() -> None:
    preprocess, samples = batch_of(6)
    batch = preprocess.collate([preprocess.place(*sample) for sample in samples])
    longest = max(len(source) for source, _ in samples)
    assert batch.tokens.shape == (6, longest)
    for row, (source, target) in zip(range(6), samples, strict=True):
        assert torch.equal(batch.tokens[row, : len(source)], source)
        assert (batch.tokens[row, len(source) :] == PAD).all()
        assert torch.equal(batch.targets[row]["tokens"], target["tokens"])


def test_a_sentence_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 6"):
        SentencePreprocess(longest=8).place(torch.zeros(9, dtype=torch.int64), {})


@pytest.mark.system("3.1.4-PARALLEL")
def test_the_loss_is_the_mean_cross_entropy_of_all_words_and_ends() -> None:
    model = transformer_tiny(**TINY).double()
    preprocess, samples = batch_of(5)
    batch = preprocess.collate([preprocess.place(*sample) for sample in samples])
    loss = model.losses("network", batch, Step())["cross_entropy"]
    total, words = torch.zeros((), dtype=torch.float64), 0
    network = cast(Transformer, model.network.sequences)
    for source, target in samples:
        logits = network(source[None], target["tokens"][None, :-1])[0]  # <begin>, t_1 .. t_n
        total += F.cross_entropy(logits, target["tokens"][1:], reduction="sum")  # t_1 .. t_n, <end>
        words += len(target["tokens"]) - 1
    assert_close(loss, total / words, NUMBERS)


def test_smoothing_equals_torch() -> None:
    logits, words = torch.randn(2, 7, 11, dtype=torch.float64), torch.randint(1, 11, (2, 7))
    words[1, 4:] = PAD
    loss = TranslationCriterion(smoothing=0.1).over_words(logits, words, Step())["cross_entropy"]
    expected = F.cross_entropy(logits.flatten(0, 1), words.flatten(), ignore_index=PAD, label_smoothing=0.1)
    assert_close(loss, expected, NUMBERS)


@pytest.mark.parametrize("build", [transformer_tiny, recurrent_translator])
def test_a_model_answers_strings_and_ids(build: Callable[..., SentenceModel]) -> None:
    model = build(width=16)
    text = "the old cat did not see some birds today"
    ids = ENGLISH.encode(text.split())
    of_text, of_ids, *rest = model.predict([text, ids, "one dog sees the star"])
    assert of_text == of_ids
    assert len(rest) == 1
    assert model.predict(text) == [of_text]
    assert set(of_text.words) <= set(VIDIAN.words)
    assert 0 <= of_text.score <= 1
    with pytest.raises(ValueError, match="unknown words unicorn"):
        model.predict("the unicorn sees one dog")
    with pytest.raises(TypeError, match="expected a sentence"):
        model.predict([3])


@pytest.mark.parametrize("build", [transformer_tiny, recurrent_translator])
def test_words_are_chosen_by_beam_search_or_drawn_where_that_is_wanted(build: Callable[..., SentenceModel]) -> None:
    torch.manual_seed(3)
    model = build(width=16, longest=12).eval()
    sentences = ["the old cat did not see some birds today", "one dog sees the star", "the old cat sees one dog"]
    sequences, decode = cast(Any, model.network).sequences, model.decode
    for choice, expected in (
        (WordChoice(), lambda ids: greedy(sequences, ids, longest=12)),
        (WordChoice(beams=3), lambda ids: beam_search(sequences, ids, longest=12, beams=3).best()),
        (
            WordChoice(beams=3, length_penalty=0.0),
            lambda ids: beam_search(sequences, ids, longest=12, beams=3, length_penalty=0.0).best(),
        ),
        (
            WordChoice(temperature=2.0, top_k=4, seed=5),
            lambda ids: sampled(
                sequences, ids, longest=12, generator=torch.Generator().manual_seed(5), temperature=2.0, top_k=4
            ),
        ),
    ):
        found = model.choosing(choice).predict(sentences)
        alone = [decode(expected(ENGLISH.encode(text.split())[None]), [None])[0] for text in sentences]
        assert [result.words for result in found] == [result.words for result in alone], choice
        assert [result.score for result in found] == pytest.approx([result.score for result in alone], rel=1e-4)
    assert model.predict(sentences[:1]) == model.choosing(WordChoice()).predict(sentences[:1])


def test_draws_are_a_function_of_the_seed_and_the_sentence() -> None:
    model = transformer_tiny(**TINY, longest=12)
    drawn = model.choosing(WordChoice(temperature=1.0))
    sentence, other = "one dog sees the star", "one cat sees the bird"  # of one length
    assert drawn.predict([other, sentence])[1] == drawn.predict(sentence)[0]
    assert drawn.predict(sentence) == drawn.predict(sentence)
    choices = [WordChoice(temperature=1.0, seed=seed) for seed in range(4)]
    assert len({tuple(model.choosing(choice).predict(sentence)[0].words) for choice in choices}) > 1


def test_another_choice_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = transformer_tiny(**TINY)
    other = model.choosing(WordChoice(beams=2))
    assert {id(p) for p in other.parameters()} == {id(p) for p in model.parameters()}
    assert (other.description(), other.training) == (model.description(), model.training)
    assert model.choice == WordChoice()


def test_the_base_transformer_has_the_size_of_the_paper() -> None:
    with torch.device("meta"):
        network = cast(Transformer, transformer().network.sequences)
    stacks = sum(p.numel() for stack in (network.encoder, network.decoder) for p in stack.parameters())
    attention, hidden, norm = 4 * (512 * 512 + 512), 2 * 512 * 2048 + 2048 + 512, 2 * 512
    assert stacks == 6 * (attention + hidden + 2 * norm) + 6 * (2 * attention + hidden + 3 * norm)


def test_a_training_resumes_evaluates_and_predicts_from_its_folder(tmp_path: Path) -> None:
    numbers: dict[str, Any] = {**TINY, "world_scenes": 96, "batch_size": 32, "warmup": 1, "epochs": 1}
    run = vidi.train("transformer_tiny", data="reversed", out=tmp_path / "run", **numbers)
    assert run.config()["arguments"]["target_words"] == list(ENGLISH.own_words)
    scores = vidi.evaluate(run.folder, split="test")
    assert set(scores) == {*SCORED, "exact", "words", "val/cross_entropy"}
    assert "expected" in (run.folder / "sentences.csv").read_text()
    assert vidi.load(run.folder).predict("one dog sees the star")
    with pytest.raises(ValueError, match="other target words"):
        vidi.evaluate(run.folder, data="world")


def test_pictures_and_sentences_do_not_mix(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="reversed: no such data set; expected the path of one, or `world`"):
        api.train("resnet18", data="reversed", out=tmp_path / "a")
    with pytest.raises(OverrideError, match="augment"):
        api.train("transformer_tiny", out=tmp_path / "b", augment="flip")
    with pytest.raises(OverrideError, match="source_words"):
        api.train("transformer_tiny", out=tmp_path / "c", source_words="a,b")
