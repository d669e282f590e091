"""The table by class: whole where it is short, folded to its ends where it is long."""

from typing import Any

import pytest

from vidi.cli.output import print_classes


def printed(rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    print_classes(rows)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def rows_of(count: int, without: int = 0) -> list[dict[str, Any]]:
    """Return classes whose scores fall, and some that have none."""
    rows = [{"class": f"c{k}", "objects": k, "ap": 1 - k / 100, "ap50": None} for k in range(count)]
    return [*rows, *({"class": f"n{k}", "objects": 0, "ap": None, "ap50": None} for k in range(without))]


def test_a_short_table_is_whole_the_worst_on_top(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(rows_of(16, without=2), capsys)
    assert lines[0] == ["class", "objects", "ap", "ap50"]
    assert [line[0] for line in lines[1:]] == [*(f"c{k}" for k in reversed(range(16))), "n0", "n1"]
    assert lines[1] == ["c15", "15", "0.8500", "-"]
    assert lines[-1] == ["n1", "0", "-", "-"]


def test_a_long_table_has_the_ten_worst_and_the_five_best(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(rows_of(80, without=11), capsys)
    assert [line[0] for line in lines[1:11]] == [f"c{k}" for k in range(79, 69, -1)]
    assert lines[11] == ["...", "65", "more"]
    assert [line[0] for line in lines[12:17]] == [f"c{k}" for k in range(4, -1, -1)]
    assert " ".join(lines[17]) == "11 classes of 91 have no score: there is nothing of them"
    assert len(lines) == 18


def test_names_are_no_markup_and_no_classes_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed([{"class": "[red]cat", "objects": 1, "ap": 0.5}], capsys)[1] == ["[red]cat", "1", "0.5000"]
    assert printed([], capsys) == []
    assert [line[0] for line in printed(rows_of(0, without=30), capsys)[1:-1]] == [f"n{k}" for k in range(15)]
