"""Numbers and ids in other forms: what is read, what is counted, what is refused."""

from pathlib import Path

import pytest

from vidi.data.faults import FaultLog
from vidi.data.readers.loose_values import LooseRows, number_of


def rows() -> LooseRows:
    return LooseRows(Path("a.json"), FaultLog(Path("a.json")))


def told(loose: LooseRows) -> list[str]:
    loose.log.settle(images=1)
    return [remark.message for remark in loose.log.remarks]


@pytest.mark.parametrize(
    ("value", "number", "form"),
    [
        (3, 3, ""),
        (-2.5, -2.5, ""),
        ("3", 3, "as text"),
        (" 4.0 ", 4, "as text"),
        ("-.5e1", -5.0, "as text"),
        ("007", 7.0, "as text"),
        ([400.0], 400.0, "in a list"),
        (["7"], 7, "as text"),
        (999_999_999_999_999, 999_999_999_999_999, ""),
    ],
)
def test_numbers_are_read_in_any_form(value: object, number: float, form: str) -> None:
    assert number_of(value) == (number, form)


@pytest.mark.parametrize(
    "value", [None, True, "", "x", "1,5", "1 2", "nan", float("nan"), 1e15, "1e15", [], [1, 2], [True], {}]
)
def test_what_is_no_number_is_none(value: object) -> None:
    assert number_of(value) == (None, "")


@pytest.mark.parametrize("value", [5, 5.0, "5", "5.0", "5.", [5.0], ["5"], "+5"])
def test_an_id_is_a_whole_number_in_any_form(value: object) -> None:
    identity = rows().identity({"id": value}, "id", "row 1")
    assert identity == 5
    assert type(identity) is int


@pytest.mark.parametrize("value", ["0005", "a.jpg", "5.5", "5e0", "-"])
def test_any_other_text_is_an_id_as_it_stands(value: str) -> None:
    loose = rows()
    assert loose.identity({"id": value}, "id", "row 1") == value
    assert told(loose) == []


@pytest.mark.parametrize("value", [None, "", " ", 5.5, True, [1, 2], {}])
def test_an_id_is_nothing_else(value: object) -> None:
    with pytest.raises(ValueError, match=r"id is .*, expected a whole number or a text"):
        rows().identity({"id": value}, "id", "row 1")


def test_large_ids_keep_every_digit() -> None:
    assert rows().identity({"id": "9007199254740993"}, "id", "") == 9007199254740993
    assert rows().identity({"id": 2**62 + 1}, "id", "") == 2**62 + 1


def test_each_form_of_a_key_is_told_once_with_its_count() -> None:
    loose = rows()
    for row, value in enumerate(["1", "2", 3, 4.0, ["5"]]):
        loose.identity({"id": value}, "id", f"row {row}")
    loose.number({"area": [400.0]}, "area", "row 9")
    assert told(loose) == [
        "values of id are written as text and are read as numbers: 3 (first: row 0)",
        "values of id are written with a decimal point and are read as numbers: 1 (first: row 3)",
        "values of area are written in a list and are read as numbers: 1 (first: row 9)",
    ]


def test_whole_numbers() -> None:
    loose = rows()
    assert [loose.whole({"n": value}, "n", "") for value in (4, 4.0, "4", [4])] == [4] * 4
    assert [told_once.split(" are read")[0] for told_once in told(loose)] == [
        f"values of n are written {form} and" for form in ("with a decimal point", "as text", "in a list")
    ]
    for value in (4.5, "4.5", None, "x", False):
        with pytest.raises(ValueError, match=r"n is .*, expected a whole number"):
            loose.whole({"n": value}, "n", "")
    with pytest.raises(ValueError, match="n is 'x', expected a finite number"):
        loose.number({"n": "x"}, "n", "")


def test_flags() -> None:
    loose = rows()
    assert [loose.flag({"f": value}, "f", "") for value in (1, 1.0, "1", True, [1])] == [True] * 5
    assert [loose.flag({"f": value}, "f", "") for value in (0, 0.0, "0", False, None)] == [False] * 5
    assert loose.flag({}, "f", "") is False
    for value, message in ((2, "f is 2, expected 0 or 1"), ("yes", "f is 'yes', expected a whole number")):
        with pytest.raises(ValueError, match=message):
            loose.flag({"f": value}, "f", "")
    assert "values of f are null and are read as 0: 1 (first: )" in told(loose)
