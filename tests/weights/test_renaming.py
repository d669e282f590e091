"""Rename tables: stars, dropped names, and every fault by name."""

import pytest

from vidi.weights.renaming import renamed, under

NAMES = {"layer*.*.bn*.*": "stage*.*.norm*.*", "fc.*": "head.linear.*", "aux.*": None}


def test_stars_take_the_same_pieces() -> None:
    tensors = {"layer2.11.bn1.weight": 1, "fc.bias": 2, "aux.weight": 3}
    assert renamed(tensors, NAMES) == {"stage2.11.norm1.weight": 1, "head.linear.bias": 2}


def test_a_star_does_not_reach_over_a_dot() -> None:
    with pytest.raises(ValueError, match=r"fc\.0\.weight \(0 rows match\)"):
        renamed({"fc.0.weight": 1}, NAMES)


def test_all_faults_are_named() -> None:
    names = {"a.*": "x.*", "a.weight": "y", "b": "z", "c": "z"}
    with pytest.raises(ValueError, match=r"3 tensors: a\.weight \(2 rows match\), c \(becomes z.*\), d \(0 rows"):
        renamed({"a.weight": 1, "b": 2, "c": 3, "d": 4}, names)


def test_a_table_under_prefixes() -> None:
    assert under({"a": "b", "c": None}, "old.", "new.") == {"old.a": "new.b", "old.c": None}


def test_a_row_with_too_few_stars() -> None:
    with pytest.raises(ValueError, match="stars"):
        renamed({"a.b": 1}, {"a.*": "x"})
