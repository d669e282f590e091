"""Faults: printed with file and row, cut in messages, kept whole."""

import pickle
from pathlib import Path

import pytest

from vidi.data.faults import DataFaults, Fault, FaultLog, listing


def test_a_fault_prints_where_it_is():
    assert str(Fault("a.xml", "line 3", "no size")) == "a.xml: line 3: no size"
    assert str(Fault("a.png", "", "truncated")) == "a.png: truncated"


def test_listing_is_cut():
    faults = [Fault("a", f"row {row}", "x") for row in range(5)]
    assert listing(faults, shown=2) == "  a: row 0: x\n  a: row 1: x\n  ... and 3 more"
    assert listing(faults[:2], shown=2).count("\n") == 1


def test_a_log_settles():
    log = FaultLog(Path("root"))
    log.settle(images=1)
    with pytest.raises(ValueError, match="root: the data set holds no images"):
        log.settle(images=0)
    log.remark("a", "", "odd")
    log.settle(images=1)
    log.unreadable("b.png", ValueError("b.png: truncated"))
    with pytest.raises(DataFaults, match=r"root: 1 fault in the data set\n  b\.png: truncated\nRepair") as caught:
        log.settle(images=1)
    assert pickle.loads(pickle.dumps(caught.value)).faults == (Fault("b.png", "", "truncated"),)
    dropping = FaultLog(Path("root"), "drop", faults=log.faults)
    dropping.settle(images=1)
    with pytest.raises(DataFaults):
        dropping.settle(images=0)


def test_an_unknown_choice_is_an_error(run_python):
    done = run_python("-c", "from vidi.data.faults import FaultLog; FaultLog('root', 'skip')")
    assert "ValueError: on_fault is 'skip'; choose from raise, drop" in done.stderr


def test_a_fault_spoils_its_image() -> None:
    log = FaultLog(Path("root"), "drop")
    log.fault("a.json", "row 1", "no size", image=2)
    log.unreadable("b.xml", ValueError("b.xml: malformed"), image=0)
    log.fault("a.json", "row 2", "no size", image=2)
    log.fault("a.json", "", "of no image")
    assert log.is_sound(4).tolist() == [False, True, False, True]
    log.settle(images=3)
    with pytest.raises(DataFaults, match="4 faults"):
        log.settle(images=2)


def test_what_many_rows_have_in_common_is_one_remark() -> None:
    log = FaultLog(Path("root"))
    for where, what in (("row 1", "boxes are odd"), ("row 2", "ids are odd"), ("row 3", "boxes are odd")):
        log.tally("a.json", where, what)
    log.settle(images=1)
    log.settle(images=1)
    assert [str(r) for r in log.remarks] == [
        "a.json: boxes are odd: 2 (first: row 1)",
        "a.json: ids are odd: 1 (first: row 2)",
    ]
