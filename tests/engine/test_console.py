"""A bar for people, lines for files, silence on demand."""

import io

import pytest
from rich.console import Console

from vidi.engine import console as progress
from vidi.engine.console import Bar, Lines, counting, progress_for
from vidi.engine.progress import Silent


def terminal() -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=True, width=120), written


def test_a_terminal_gets_a_bar_with_losses_and_speed() -> None:
    console, written = terminal()
    bar = progress_for(console)
    assert isinstance(bar, Bar)
    bar.start("resnet18", 2, 10)
    bar.advance(5, {"cross_entropy": 0.25}, 120.4)
    bar.say("epoch 1: top1 [0.5]")
    bar.stop()
    text = written.getvalue()
    assert all(part in text for part in ("resnet18", "5/10", "cross_entropy 0.2500", "120 images/s", "top1 [0.5]"))


def test_a_file_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    written, now = io.StringIO(), [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = progress_for(Console(file=written, width=40))
    assert isinstance(lines, Lines)
    lines.start("resnet18", 0, 100)
    for step in range(1, 7):
        now[0] = 4.0 * step
        lines.advance(step, {"a_rather_long_name": 1.0, "another": 2.0}, 10.0)
    lines.stop()
    told = written.getvalue().splitlines()
    assert told[0] == "resnet18: 100 steps"
    assert [line.split()[1] for line in told[1:]] == ["1/100", "4/100"]  # at 4 s, and 10 s later at the earliest
    line = "step 1/100  a_rather_long_name 1.0000  another 2.0000  10 images/s  6 min 36 s left"  # 99 times 4 s
    assert told[1] == line  # not broken at 40 columns


def test_time_left_counts_from_where_a_training_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    written, now = io.StringIO(), [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines = progress_for(Console(file=written))
    lines.start("resnet18", 40, 100)
    now[0] = 30.0
    lines.advance(43, {"loss": 1.0}, 10.0)
    assert written.getvalue().splitlines()[-1].endswith("10 images/s  9 min 30 s left")  # 57 times 10 s


def test_the_quiet_hear_nothing() -> None:
    assert isinstance(progress_for(terminal()[0], quiet=True), Silent)


def test_counting_shows_a_bar_on_a_terminal_only() -> None:
    console, written = terminal()
    with counting(console) as count:
        count("train", 1, 2)
        count("train", 2, 2)
    assert "train" in written.getvalue()
    silent = io.StringIO()
    with counting(Console(file=silent)) as count:
        count("train", 1, 2)
    assert silent.getvalue() == ""
