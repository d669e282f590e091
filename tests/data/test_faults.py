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
    log.settle(kept=1)
    with pytest.raises(ValueError, match="root: the data set holds no images"):
        log.settle(kept=0)
    log.remark("a", "", "odd")
    log.settle(kept=1)
    log.unreadable("b.png", ValueError("b.png: truncated"))
    with pytest.raises(DataFaults, match=r"root: 1 fault in the data set\n  b\.png: truncated\nRepair") as caught:
        log.settle(kept=1)
    assert pickle.loads(pickle.dumps(caught.value)).faults == (Fault("b.png", "", "truncated"),)
    dropping = FaultLog(Path("root"), "drop", faults=log.faults)
    dropping.settle(kept=1)
    with pytest.raises(DataFaults):
        dropping.settle(kept=0)


def test_an_unknown_choice_is_an_error(run_python):
    done = run_python("-c", "from vidi.data.faults import FaultLog; FaultLog('root', 'skip')")
    assert "ValueError: on_fault is 'skip'; choose from raise, drop" in done.stderr
