"""The verdict of the export gate for every system, as `vidi models` shows it.

    python -m benchmarks.exports                 those that the table lacks, the first of each family first
    python -m benchmarks.exports NAME ...        these, anew

Each is built in its small variant with random weights, written as ONNX, read again, and compared on a photo, in two
sizes and two batch sizes: see `vidi.exported.gate`. A row is written as soon as it is known.
"""

import argparse
import csv
import io
import tempfile
import time
from pathlib import Path

import torch

import vidi
from vidi import files
from vidi.catalog.listed import EXPORTS, verdicts
from vidi.catalog.table import CATALOG
from vidi.exported.writing import DiffersError, NoExportError


def verdict_of(name: str) -> str:
    """Return what the gate says of a system with random weights."""
    entry = CATALOG[name]
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        entry.builder(**entry.tiny).save(Path(folder) / "run")
        try:
            return vidi.export(Path(folder) / "run", Path(folder) / "run.onnx").verdict
        except DiffersError as error:
            return str(error).split(": it ")[1].split("; ")[0]
        except NoExportError as error:
            return f"no: {str(error).split('is not exported: ')[1]}"


def first_of_families() -> list[str]:
    """Return all systems, the first of each file before the others."""
    first = {entry.builder.__module__: name for name, entry in reversed(CATALOG.items())}
    return sorted(CATALOG, key=lambda name: name not in first.values())


def write(known: dict[str, str]) -> None:
    """Write the table, in the order of the catalogue."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("name", "verdict"))
    rows.writerows((name, known[name]) for name in CATALOG if name in known)
    files.write_text(EXPORTS, text.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args().names
    for name in given or [name for name in first_of_families() if name not in verdicts()]:
        began = time.perf_counter()
        verdict = verdict_of(name)
        write({**verdicts(), name: verdict})
        print(f"{name}: {verdict} ({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
