"""The command line in this process: what it prints where, and its exit code."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner

from vidi.cli.app import app


class Done(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return the standard output as JSON, of a command that went well."""
        assert self.code == 0, self.err
        return json.loads(self.out)


def vidi(*words: str | Path, env: dict[str, str] | None = None) -> Done:
    """Run `vidi WORDS`."""
    result = CliRunner().invoke(app, [str(word) for word in words], env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)
