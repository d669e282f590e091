"""The pages show the catalogue as it is, and point at what there is."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import ROOT
from vidi.cli.app import app

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_table_of_systems_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["models", "--markdown"]).stdout.strip()
    assert printed
    assert printed in (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []
