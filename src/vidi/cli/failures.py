"""Exit codes, and the errors that stand behind them: what a user did is told in a sentence, never in a traceback."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NoReturn

import typer

OK, FINDINGS, USAGE, DATA = 0, 1, 2, 3
INTERRUPTED = 130  # 128 + SIGINT, as shells say it


def fail(code: int, message: str) -> NoReturn:
    """Print a message to the standard error and leave."""
    print(f"vidi: {message}", file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def told() -> Iterator[None]:
    """Turn the errors that users cause into messages and exit codes."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        fail(INTERRUPTED, str(interrupt) or "interrupted")
    except (ValueError, TypeError) as error:
        # the names of wrong keys, models and choices are usage; everything else that does not fit is data
        fail(USAGE if getattr(error, "is_usage", False) else DATA, str(error))
    except FileExistsError as error:
        fail(USAGE, str(error))
    except FloatingPointError as error:
        fail(FINDINGS, str(error))
    except OSError as error:
        fail(DATA, str(error))


def tells(command: Callable[..., Any]) -> Callable[..., Any]:
    """Run a command under `told`."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        with told():
            return command(*arguments, **options)

    return run
