"""Which errors are told in a sentence, and which are called faults of vidi."""

import errno

import pytest
import torch
import typer
from torch.utils.data import DataLoader, Dataset

from tests.cli.command import vidi
from vidi import files
from vidi.cli import listing
from vidi.cli.failures import DATA, FINDINGS, INTERNAL, INTERRUPTED, USAGE, exit_code, told
from vidi.engine.loss_window import NonFiniteLossError
from vidi.engine.overrides import OverrideError


def outcome(error: BaseException) -> int:
    """Return the exit code of an error that vidi itself raises."""
    with pytest.raises(typer.Exit) as raised, told():
        raise error
    return raised.value.exit_code


def test_an_error_that_nobody_foresaw_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[str]:
        return [int("a number")]  # type: ignore[list-item]

    monkeypatch.setattr(listing, "find_runs", lambda folder: broken())
    done = vidi("runs")
    assert done.code == INTERNAL
    assert "in broken" in done.err
    assert "invalid literal for int()" in done.err
    assert done.err.splitlines()[-1].startswith("vidi: this is a fault of vidi, not of what you did. Please report it")


@pytest.mark.parametrize(
    "cause", [lambda: torch.zeros(2, 3) @ torch.zeros(2, 3), lambda: {}["key"], lambda: [][0], lambda: int("a number")]
)
def test_errors_of_libraries_and_of_python_are_unforeseen(cause, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as raised, told():
        cause()
    assert raised.value.exit_code == INTERNAL
    assert "Traceback" in capsys.readouterr().err


def test_what_vidi_says_itself_is_told_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as raised, told():
        files.read_image("nothing.png")
    assert (raised.value.exit_code, capsys.readouterr().err) == (DATA, "vidi: nothing.png: no such file\n")


def test_the_operating_system_is_told_without_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(PermissionError(errno.EACCES, "Permission denied", "secret.png")) == DATA
    assert capsys.readouterr().err == "vidi: secret.png: Permission denied\n"
    assert outcome(FileExistsError("already there")) == USAGE


def test_an_interruption_has_the_code_of_shells(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(KeyboardInterrupt()) == INTERRUPTED
    assert capsys.readouterr().err == "vidi: interrupted\n"


def test_a_closed_pipe_is_left_to_typer() -> None:
    with pytest.raises(BrokenPipeError), told():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_usage_findings_and_data_have_their_codes() -> None:
    assert exit_code(OverrideError("no such key")) == USAGE
    assert exit_code(NonFiniteLossError("the loss is nan")) == FINDINGS
    assert exit_code(ValueError("not an image")) == DATA


class Broken(Dataset[torch.Tensor]):
    """A data set whose one picture is missing, or that has a fault itself."""

    def __init__(self, is_ours: bool):
        self.is_ours = is_ours

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> torch.Tensor:
        return files.read_image("lost.png") if self.is_ours else torch.tensor(int("a number"))


@pytest.mark.parametrize(("is_ours", "code"), [(True, DATA), (False, INTERNAL)])
def test_errors_of_loader_workers_are_told_as_if_they_were_here(
    is_ours: bool, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as raised, told():
        next(iter(DataLoader(Broken(is_ours), num_workers=1)))
    assert raised.value.exit_code == code
    said = capsys.readouterr().err
    assert said == "vidi: lost.png: no such file\n" if is_ours else "a fault of vidi" in said


def test_a_variable_shows_every_traceback() -> None:
    short = vidi("data", "check", "nothing")
    long = vidi("data", "check", "nothing", env={"VIDI_TRACEBACK": "1"})
    assert short.code == long.code == DATA
    assert "Traceback" not in short.err
    assert "Traceback" in long.err
    assert long.err.endswith(short.err)
