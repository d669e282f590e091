"""`key=value`: types, choices, and all faults at once."""

from typing import Literal

import pytest

from vidi.engine.overrides import OverrideError, check_overrides, describe_type, split_overrides

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
        "epoch: no such key; did you mean epochs?",
        "rate: received 'fast', expected float",
        "optimizer: received 'adam', expected one of sgd, adamw",
        "size: received '3', expected int,int or none",
    ]


def test_words_without_a_value_and_keys_given_twice_are_refused() -> None:
    with pytest.raises(OverrideError, match=r"'fast': expected key=value\nrate: given twice"):
        check_overrides(split_overrides(["fast", "rate=1", "rate=2"]), {"rate": float})


def test_types_are_described_in_words() -> None:
    assert describe_type(tuple[float, ...]) == "float,..."
    assert describe_type(int | None) == "int or none"
