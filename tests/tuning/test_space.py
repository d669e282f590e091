"""What is searched: ranges, choices and what stays, all faults at once."""

import pytest

from vidi.engine.overrides import OverrideError
from vidi.tuning.space import Among, Range, split_space

TYPES = {"rate": float, "depth": int, "name": str, "size": tuple[int, int] | None, "warmup": int | float, "ema": bool}


def test_ranges_choices_and_what_stays() -> None:
    given = {"rate": "1e-4..1e-2", "depth": "2..5", "name": "a,b,c", "size": "64,96"}
    space, fixed = split_space(given, TYPES)
    assert space == {"rate": Range(1e-4, 1e-2), "depth": Range(2, 5), "name": Among(("a", "b", "c"))}
    assert fixed == {"size": (64, 96)}
    assert {key: str(value) for key, value in space.items()} == {
        "rate": "0.0001..0.01", "depth": "2..5", "name": "a,b,c",
    }  # fmt: skip


def test_lists_are_chosen_from_in_brackets_and_python_lists_are_choices() -> None:
    space, fixed = split_space({"size": "(64,64),(96,96)", "depth": [2, 4], "name": "a"}, TYPES)
    assert space == {"size": Among(((64, 64), (96, 96))), "depth": Among((2, 4))}
    assert fixed == {"name": "a"}
    assert str(space["size"]) == "(64,64),(96,96)"
    assert Among(((64, 64), None, 3)).by_name() == {"64,64": (64, 64), "none": None, "3": 3}


@pytest.mark.parametrize(
    ("low", "high", "is_whole", "is_wide"),
    [(1e-4, 1e-2, False, True), (1, 9, True, False), (1, 10, True, True), (0, 100, True, False), (-1, 5, True, False)],
)
def test_a_wide_range_of_positive_numbers_is_searched_by_magnitude(
    low: float, high: float, is_whole: bool, is_wide: bool
) -> None:
    assert (Range(low, high).is_whole, Range(low, high).is_wide) == (is_whole, is_wide)
    assert not Range(1, 2.5).is_whole


def test_whole_ends_of_a_key_of_numbers_are_numbers() -> None:
    space, _ = split_space({"rate": "1..3"}, TYPES)
    assert not space["rate"].is_whole  # type: ignore[union-attr]


def test_all_faults_are_told_at_once() -> None:
    given = {"rat": "1..2", "rate": "a..2", "depth": "5..2", "name": "a,a", "ema": "false..true", "size": "x"}
    with pytest.raises(OverrideError) as raised:
        split_space(given, TYPES)
    assert sorted(str(raised.value).splitlines()) == [
        "depth: received 5..2, expected a range that rises",
        "ema: received False..True, expected a range of numbers",
        "name: received one value, expected several to choose from",
        "rat: no such key; did you mean rate?",
        "rate: received 'a', expected float",
        "size: received 'x', expected int,int or none",
    ]
