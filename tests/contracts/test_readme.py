"""README.md shows the catalogue as it is."""

from typer.testing import CliRunner

from tests.conftest import ROOT
from vidi.cli.app import app


def test_the_table_of_systems_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["models", "--markdown"]).stdout.strip()
    assert printed
    assert printed in (ROOT / "README.md").read_text()
