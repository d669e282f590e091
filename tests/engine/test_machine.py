"""What a machine is told to be, and what shared cores ask for."""

import os
from pathlib import Path

import pytest

from vidi.engine import machine
from vidi.engine.machine import advice_on_threads, threads_of_torch, usable_cores


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight cores with nothing to do, whose control group is told by a file."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.0, 0.0), raising=False)
    monkeypatch.setattr(machine, "CONTROL_GROUP", tmp_path / "cpu.max")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path / "cpu.max"


def test_a_free_machine_asks_for_nothing(shared: Path) -> None:
    assert (usable_cores(), threads_of_torch(), advice_on_threads()) == (8, 8, None)
    shared.write_text("max 100000\n")
    assert (usable_cores(), advice_on_threads()) == (8, None)


def test_a_control_group_asks_for_as_many_threads_as_it_has_cores(shared: Path, monkeypatch) -> None:
    shared.write_text("250000 100000\n")
    assert usable_cores() == 2.5
    assert advice_on_threads() == "this process may use 2.5 cores and torch takes 8 threads: train with threads=2"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert (threads_of_torch(), advice_on_threads()) == (2, None)


def test_other_work_asks_for_the_rest(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (5.2, 0.0, 0.0), raising=False)
    assert advice_on_threads() == "other work keeps 5.2 of 8 cores busy: trainings beside it are faster with threads=3"
    monkeypatch.setattr(os, "getloadavg", lambda: (30.0, 0.0, 0.0), raising=False)
    assert str(advice_on_threads()).endswith("threads=1")
