"""Exit codes, and the errors that stand behind them.

What a user can put right is told in a sentence, with an exit code for a program. What nobody foresaw is a fault of
vidi: it keeps its traceback and has a code of its own. An error is foreseen if a `raise` statement of vidi wrote its
message, or if it comes from the operating system. VIDI_TRACEBACK=1 shows the traceback of every error.
"""

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import typer

OK, FINDINGS, USAGE, DATA = 0, 1, 2, 3
INTERNAL = 70  # EX_SOFTWARE of sysexits.h
INTERRUPTED = 130  # 128 + SIGINT, as shells say it

PACKAGE = Path(__file__).resolve().parents[1]
OF_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback")


def fail(code: int, message: str) -> NoReturn:
    """Print a message to the standard error and leave."""
    print(f"vidi: {message}", file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def told() -> Iterator[None]:
    """Turn the errors that users cause into messages and exit codes, and call the others what they are."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        fail(INTERRUPTED, str(interrupt) or "interrupted")
    except (typer.Exit, typer.Abort, BrokenPipeError):  # typer's own business: `vidi models | head` is no error
        raise
    except Exception as error:
        origin = origin_of(error)
        foreseen = is_foreseen(error, origin)
        if not foreseen or os.environ.get("VIDI_TRACEBACK"):
            traceback.print_exception(error)
        if foreseen:
            fail(exit_code(error), "\n".join([origin.message, *getattr(error, "__notes__", ())]))
        advice = "Please report it, with the lines above and what `vidi doctor` prints."
        fail(INTERNAL, f"this is a fault of vidi, not of what you did. {advice}")


def tells(command: Callable[..., Any]) -> Callable[..., Any]:
    """Run a command under `told`."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        with told():
            return command(*arguments, **options)

    return run


class Origin(NamedTuple):
    """Where an error arose, and what it says."""

    file: str
    code: str  # the line of source
    message: str


def origin_of(error: Exception) -> Origin:
    """Return the origin of an error, also of one that a loader worker sent as the text of its traceback."""
    text = str(error)
    if not OF_WORKER.match(text):
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return Origin(frame.filename, frame.line or "", message_of(error))
    lines = text.splitlines()
    last = max(row for row, line in enumerate(lines) if line.startswith('  File "'))
    end = next((row for row in range(last + 1, len(lines)) if not lines[row].startswith("    ")), last)
    message = "\n".join(lines[end:]).partition(": ")[2]  # what follows `ValueError: `
    return Origin(lines[last].split('"')[1], lines[last + 1].strip(), message)


def message_of(error: Exception) -> str:
    """Return what an error says; the operating system's without its numbers."""
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error)


def is_foreseen(error: Exception, origin: Origin) -> bool:
    """Tell whether an error is addressed to the user."""
    if isinstance(error, OSError):
        return True
    ours = Path(origin.file).is_relative_to(PACKAGE) and origin.code.startswith("raise ")
    return ours and isinstance(error, ValueError | TypeError | FloatingPointError)


def exit_code(error: Exception) -> int:
    """Return the exit code of a foreseen error."""
    if getattr(error, "is_usage", False) or isinstance(error, FileExistsError):
        return USAGE
    return FINDINGS if isinstance(error, FloatingPointError) else DATA
