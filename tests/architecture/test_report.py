"""The report of alarms can be made; `pytest -s` shows it. Its numbers are alarms, not limits."""

import inspect

from tests.architecture.report import PARAMETERS, report
from tests.architecture.sources import closure, modules

from vidi.catalog.table import CATALOG


def test_the_report_covers_the_package():
    text = report()
    print(f"\n{text}")
    assert "own closure" in text
    assert f"files: {len(modules())}," in text
    rows = {line.split()[-1]: line for line in text.splitlines() if line}
    for name, row in CATALOG.items():
        assert row.builder.__module__ in rows
        arguments = len(inspect.signature(row.builder).parameters)
        assert (f"! {arguments:4d} arguments" in rows.get(name, "")) == (arguments > PARAMETERS)


def test_the_ground_that_most_systems_share_is_nobodys_own():
    shared, own = report().split("own closure")
    assert " vidi.model\n" in shared
    assert " vidi.detection.retinanet\n" in own
    assert "vidi.detection.retinanet" not in shared


def test_a_closure_follows_imports_through_files():
    files = closure("vidi.data.loading")
    assert {"vidi.data.loading", "vidi.preprocess", "vidi.files"} <= files
    assert "vidi.data" not in files
