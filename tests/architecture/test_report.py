"""The report of alarms can be made; `pytest -s` shows it. Its numbers are alarms, not limits."""

from tests.architecture.report import report
from tests.architecture.sources import closure, modules


def test_the_report_covers_the_package():
    text = report()
    print(f"\n{text}")
    assert "closure per system" in text
    assert f"files: {len(modules())}," in text


def test_a_closure_follows_imports_through_files():
    files = closure("vidi.data.loading")
    assert {"vidi.data.loading", "vidi.preprocess", "vidi.files"} <= files
    assert "vidi.data" not in files
