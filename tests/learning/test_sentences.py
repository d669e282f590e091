"""Networks from sentences to sentences learn a toy language, and to say sentences backwards."""

from pathlib import Path
from typing import Any

import pytest

import vidi
from tests.conftest import Learnt
from tests.settings import SEED
from vidi import api


@pytest.mark.system("3.1-TRANSFORMER")
def test_a_small_transformer_translates(tmp_path: Path, learnt: Learnt) -> None:
    """Nine of ten sentences that it never met, right to the last word, after 250 steps of 64."""
    numbers: dict[str, Any] = {
        "steps": 250,
        "world_scenes": 16_000,
        "warmup": 50,
        "learning_rate": 4e-3,
        "validate_every": 99,
    }
    run = vidi.train("transformer_tiny", out=tmp_path / "run", seed=SEED, width=64, hidden=128, **numbers)
    learnt("exact", float(vidi.evaluate(run.folder, split="test")["exact"]), least=0.9)
    assert str(vidi.load(run.folder).predict("the old cat did not see some birds today")[0]).startswith("hodi")


@pytest.mark.slow
@pytest.mark.system("3.1-TRANSFORMER")
@pytest.mark.parametrize("data", ["world", "reversed"])
def test_the_recipe_gets_nearly_all_sentences_right(data: str, tmp_path: Path) -> None:
    """99 % of unseen sentences, translated and reversed, in minutes."""
    run = vidi.train("transformer_tiny", data=data, out=tmp_path / "run")
    assert float(vidi.evaluate(run.folder, split="test")["exact"]) >= 0.99


@pytest.mark.slow
@pytest.mark.system("3.1.1-TRADATTN")
def test_attention_beats_the_fixed_vector(tmp_path: Path) -> None:
    """After one epoch the network that may look back at the source gets more sentences right."""
    scores = {}
    for context in ("attention", "fixed"):
        run = vidi.train("recurrent_translator", out=tmp_path / context, context=context, epochs=1)
        scores[context] = float(api.scores_of(run)["exact"])
    assert scores["attention"] > scores["fixed"] + 0.1
