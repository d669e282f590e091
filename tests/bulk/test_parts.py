"""What is done: parts that are there whole or not at all, in one order, by one writer for each process."""

import json
from pathlib import Path

import numpy as np
import pytest

from vidi import files
from vidi.bulk.parts import Parts, merged
from vidi.catalog.listed import UsageError


def rows(*sources: str) -> list[dict[str, object]]:
    return [{"source": source} for source in sources]


def test_keys_rows_and_facts_come_back(tmp_path: Path) -> None:
    first, other = Parts(tmp_path, 0), Parts(tmp_path, 1)
    with first.held(), other.held():
        other.add(rows("b", "f"), [5, 2**64 - 1], {"kind": "x", "names": {"1": {"id": 1, "thing": 0}}})
        first.add(rows("c", "a"), [9, 3], {"kind": "x", "names": {"1": {"id": 1, "thing": 1}, "2": {"id": 2}}})
        first.add(rows("g", "d"), [4, 1], {})
        first.add([], [7], {})  # a video that had no frame left
    assert [path.name for path in first.paths()] == [
        "0000-000000.jsonl",
        "0000-000001.jsonl",
        "0000-000002.jsonl",
        "0001-000000.jsonl",
    ]
    keys, facts = first.done()
    assert keys.tolist() == [1, 3, 4, 5, 7, 9, 2**64 - 1]
    assert facts == {"kind": "x", "names": {"1": {"id": 1, "thing": 1}, "2": {"id": 2}}}
    assert [row["source"] for row in first.rows()] == list("abcdfg")
    head, *lines = (tmp_path / "0000-000000.jsonl").read_text().splitlines()
    assert json.loads(head)["keys"] == [9, 3]
    assert list(map(json.loads, lines)) == rows("a", "c")


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    with parts.held():
        parts.add([{"source": "v", "frame": frame} for frame in (10, 9)], [1, 2], {})
        parts.add([{"source": "v", "frame": frame} for frame in (11, 2)], [3, 4], {})
        parts.add([{"source": "u"}, {"source": "w"}], [5, 6], {})
        parts.add([{"source": "a"}, {"source": "a", "frame": 1}], [7, 8], {})
        parts.add([{"source": "a", "frame": 0}], [9], {})
    assert [(row["source"], row.get("frame")) for row in parts.rows()] == [
        ("a", None),
        ("a", 0),
        ("a", 1),
        ("u", None),
        *(("v", frame) for frame in (2, 9, 10, 11)),
        ("w", None),
    ]


def test_numbers_go_on_and_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    parts = Parts(tmp_path, 3)
    with parts.held():
        parts.add(rows("a"), [1], {})
        parts.add(rows("b"), [2], {})
    left = [tmp_path / f".000{process}-000002.jsonl.{'0' * 12}.tmp" for process in (3, 4)]
    for path in left:
        path.write_text("half")
    again = Parts(tmp_path, 3)
    with again.held():
        again.add(rows("c"), [3], {})
    assert [path.exists() for path in left] == [False, True]  # the other one's may be in the making
    assert [path.name for path in again.paths()] == [f"0003-00000{number}.jsonl" for number in range(3)]


def test_one_process_of_a_number_writes(tmp_path: Path) -> None:
    with Parts(tmp_path, 0).held():
        with pytest.raises(UsageError, match="another run writes here as process 0"), Parts(tmp_path, 0).held():
            pass
        with Parts(tmp_path, 1).held():
            pass
    with Parts(tmp_path, 0).held():
        pass


def test_a_part_that_cannot_be_written_leaves_nothing_and_its_number_is_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(tmp_path)
    with parts.held():
        with pytest.raises(ValueError, match="not JSON compliant"):
            parts.add([{"source": "a", "score": float("nan")}], [1], {})
        assert not parts.paths()

        def interrupted(path: Path) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(files, "_sync_folder", interrupted)
        with pytest.raises(KeyboardInterrupt):  # behind the renaming: the part is there
            parts.add(rows("a"), [1], {})
        monkeypatch.undo()
        parts.add(rows("b"), [2], {})
    assert parts.done()[0].tolist() == [1, 2]


def test_an_empty_folder_has_nothing_done(tmp_path: Path) -> None:
    keys, facts = Parts(tmp_path / "none").done()
    assert (keys.dtype, len(keys), facts) == (np.uint64, 0, {})
    assert list(Parts(tmp_path / "none").rows()) == []


def test_facts_keep_the_first_words_and_the_largest_numbers() -> None:
    assert merged({"a": 1, "b": "x", "c": [1]}, {"a": 2, "b": "y", "c": [2], "d": 0}) == {
        "a": 2,
        "b": "x",
        "c": [1],
        "d": 0,
    }
    assert merged({"a": 2}, {"a": 1}) == {"a": 2}
    assert merged({"a": {"b": 1}}, {"a": "other"}) == {"a": {"b": 1}}
