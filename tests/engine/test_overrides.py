"""`key=value`: types, choices, and all faults at once."""

from typing import Literal

import pytest

from vidi.engine.overrides import HABITS, OverrideError, check_overrides, describe_type, split_overrides

TYPES = {
    "epochs": int,
    "rate": float,
    "compile": bool,
    "clip": float | None,
    "size": tuple[int, int] | None,
    "milestones": tuple[float, ...],
    "categories": int | tuple[str | None, ...],
    "optimizer": Literal["sgd", "adamw"],
}


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("epochs", "12", 12),
        ("rate", "1e-3", 1e-3),
        ("compile", "true", True),
        ("clip", "none", None),
        ("clip", "0.5", 0.5),
        ("size", "240,320", (240, 320)),
        ("size", "(240, 320)", (240, 320)),
        ("size", "none", None),
        ("milestones", "0.5", (0.5,)),
        ("categories", "3", 3),
        ("categories", "cat,none,dog", ("cat", None, "dog")),
        ("optimizer", "sgd", "sgd"),
    ],
)
def test_text_becomes_the_type_of_its_key(key: str, text: str, value: object) -> None:
    assert check_overrides(split_overrides([f"{key}={text}"]), TYPES) == {key: value}


def test_python_values_pass() -> None:
    assert check_overrides({"size": [4, 5], "epochs": 3}, TYPES) == {"size": (4, 5), "epochs": 3}


def test_all_faults_are_told_at_once_with_the_nearest_key_and_the_choices() -> None:
    with pytest.raises(OverrideError) as caught:
        check_overrides({"epoch": "3", "rate": "fast", "optimizer": "adam", "size": "3"}, TYPES)
    lines = str(caught.value).splitlines()
    assert lines == [
        "epoch: no such key; here it is epochs",
        "rate: received 'fast', expected float",
        "optimizer: received 'adam', expected one of sgd, adamw",
        "size: received '3', expected int,int or none",
    ]


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("lr", "here it is rate_of_learning"),
        ("BS", "here it is batch_size"),
        ("conf", "it is an option of `vidi predict`: --threshold"),
        ("data", "it is an option: --data PATH"),
        ("freeze", "backbone_rate=0 keeps the backbone as it is"),
        ("batch_sise", "did you mean batch_size?"),
        ("kind_1", "did you mean kind_7 or kind_6 or kind_5?"),
        ("score_treshold", "did you mean score_threshold?"),
        ("nc", "the data set says which categories there are"),
        ("something", "`vidi recipe NAME` lists all keys"),
    ],
)
def test_habits_of_other_tools_are_answered(key: str, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most three names, or where all are listed; a key of another tool is told even if another one looks like it."""
    monkeypatch.setitem(HABITS, "lr", "rate_of_learning")
    kinds = [f"kind_{k}" for k in range(2, 8)]
    types = dict.fromkeys(
        ("rate_of_learning", "batch_size", "lo", "lrr", "score_threshold", "mask_threshold", *kinds), float
    )
    with pytest.raises(OverrideError) as caught:
        check_overrides({key: "1"}, types)
    assert str(caught.value) == f"{key}: no such key; {advice}"


def test_few_keys_are_listed() -> None:
    with pytest.raises(OverrideError, match=r"lr: no such key; choices: epochs, size$"):
        check_overrides({"lr": "1"}, {"size": int, "epochs": int})
    with pytest.raises(OverrideError, match=r"lr: no such key; there is none to give$"):
        check_overrides({"lr": "1"}, {})


def test_eight_keys_are_few() -> None:
    eight = dict.fromkeys([f"{letter}{letter}" for letter in "abcdefgh"], int)
    with pytest.raises(OverrideError, match=r"zzz: no such key; choices: aa, bb, cc, dd, ee, ff, gg, hh$"):
        check_overrides({"zzz": "1"}, eight)
    with pytest.raises(OverrideError, match=r"zzz: no such key; `vidi recipe NAME` lists all keys$"):
        check_overrides({"zzz": "1"}, {**eight, "ii": int})


def test_what_habits_lead_to_are_keys_of_some_system() -> None:
    from vidi.catalog.table import CATALOG

    known = {key.rsplit(".", 1)[-1] for entry in CATALOG.values() for key in entry.keys}
    assert (
        set(HABITS.values()) - {"guidance", "negative", "class", "categories"} <= known
    )  # of `vidi sample` and `vidi cost`


def test_words_without_a_value_and_keys_given_twice_are_refused() -> None:
    with pytest.raises(OverrideError, match=r"'fast': expected key=value\nrate: given twice"):
        check_overrides(split_overrides(["fast", "rate=1", "rate=2"]), {"rate": float})


def test_types_are_described_in_words() -> None:
    assert describe_type(tuple[float, ...]) == "float,..."
    assert describe_type(int | None) == "int or none"
