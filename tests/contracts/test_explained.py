"""What `vidi recipe NAME` says of the keys of each system."""

from dataclasses import fields

import pytest

from tests.contracts.models import NAMES
from vidi.catalog.explained import keys_of, words_of
from vidi.catalog.table import CATALOG
from vidi.engine.overrides import check_overrides, spelled
from vidi.engine.recipe import Recipe


def test_every_number_of_a_training_has_a_line() -> None:
    words = words_of(Recipe)
    assert [*words] == [field.name for field in fields(Recipe)]
    assert all(words.values())
    assert words["epochs"] == "passes over the data."
    assert words["betas"] == "of adam and adamw."


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_a_system_is_told_with_its_default(name: str) -> None:
    """The defaults can be given as they are written, but for tuples of tuples, which a shell cannot give."""
    entry = CATALOG[name]
    keys = keys_of(entry)
    of_all = {field.name for field in fields(Recipe)} if "" not in entry.recipes else set()
    assert {key.name for key in keys} | of_all == set(entry.keys)
    assert all(key.says for key in keys)
    flat = {key.name: key.default for key in keys if "(" not in key.default}
    check_overrides(flat, entry.keys)


def test_a_number_without_a_stage_is_of_all_that_have_no_own() -> None:
    entry = CATALOG["latent_diffusion_tiny"]
    given = check_overrides({"threads": "1", "epochs": "3", "diffusion.epochs": "5"}, entry.keys)
    assert entry.given_to("autoencoder", given) == {"threads": 1, "epochs": 3}
    assert entry.given_to("diffusion", given) == {"threads": 1, "epochs": 5}
    assert CATALOG["resnet18"].given_to("", {"epochs": 3, "width": 8}) == {"epochs": 3}


def test_defaults_are_spelled_as_in_a_shell() -> None:
    values = {None: "none", (1, None, 2.5): "1,none,2.5", ((0, 1), (2, 3)): "(0,1),(2,3)", 1e-3: "0.001", True: "True"}
    assert [spelled(value) for value in values] == [*values.values()]
