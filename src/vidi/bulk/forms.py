"""What becomes of results: a row of each in a part, and files of all rows when everything is done.

    jsonl    predictions.jsonl          a line a picture: source, size, and the result's own values
    parquet  predictions.parquet        the same as columns, for pandas, DuckDB, Spark (`[scale]`: pyarrow)
    coco     predictions.json, images/  what `vidi.data.saving` writes: a data set where pictures are files
    labels   labels/, classes.txt, images/   YOLO's `class cx cy w h score`, shares of the picture: a data set too

A picture that could not be read has a row with its `error` in the first two, and no place in data sets.
"""

import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

from vidi import files
from vidi.bulk.parts import Facts, Row, merged
from vidi.bulk.reading import Entry
from vidi.bulk.sources import PICTURE, Listing
from vidi.catalog.listed import UsageError
from vidi.data.saving import annotations_of, categories_of, kind_of, write_index
from vidi.results.detections import Detections

Rows = Callable[[], Iterator[Row]]
"""Goes through all rows in order, as often as it is called."""

Save = Literal["jsonl", "coco", "parquet", "labels"]

BATCH = 4096
"""Rows that are made columns at once."""


class Form(ABC):
    """One way of saving results."""

    def __init__(self, folder: Path):
        self.folder = folder

    @abstractmethod
    def row(self, entry: Entry, result: Any) -> Row:
        """Return what is kept of a result; write at once what is no row, such as maps."""

    def facts(self, results: Sequence[Any]) -> Facts:
        """Return what holds for the rows of all results of the model; nothing by default."""
        return {}

    @abstractmethod
    def write(self, rows: Rows, facts: Facts) -> list[Path]:
        """Write the files of all rows; return their paths."""


def form_of(save: Save, folder: Path, listing: Listing) -> Form:
    """Return a way of saving by its name; UsageError where it needs what is not installed."""
    if save == "jsonl":
        return JsonLines(folder)
    if save == "parquet":
        return Columns(folder)
    return Coco(folder, listing) if save == "coco" else YoloLabels(folder, listing)


def head_of(entry: Entry) -> Row:
    """Return what is told of a picture besides its result."""
    facts = {"source": entry.source, "frame": entry.frame, "seconds": entry.seconds}
    size = None if entry.size is None else list(entry.size)
    return {key: value for key, value in {**facts, "size": size, "error": entry.error}.items() if value is not None}


# ----------------------------------------------------------------------------------------------------------------------
# Rows


class JsonLines(Form):
    """A JSON object a line."""

    def row(self, entry: Entry, result: Any) -> Row:
        return result.to_dict()

    def write(self, rows: Rows, facts: Facts) -> list[Path]:
        path = self.folder / "predictions.jsonl"

        def write(handle: BinaryIO) -> None:
            for row in rows():
                handle.write(f"{json.dumps(row)}\n".encode())

        files.write_atomic(path, write)
        return [path]


class Columns(JsonLines):
    """A Parquet file; its columns are what any row has, nested values as structs and lists."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        try:
            import pyarrow.parquet  # type: ignore[import-not-found]  # noqa: F401
        except ImportError:
            raise UsageError("--save parquet needs pyarrow: pip install 'vidi[scale]'") from None

    def write(self, rows: Rows, facts: Facts) -> list[Path]:
        import pyarrow  # type: ignore[import-not-found]
        import pyarrow.parquet  # type: ignore[import-not-found]

        path = self.folder / "predictions.parquet"

        def tables() -> Iterator[Any]:
            left = (_columnar(row) for row in rows())
            while some := list(itertools.islice(left, BATCH)):
                names = list(dict.fromkeys(name for row in some for name in row))  # pyarrow asks the first row only
                yield pyarrow.Table.from_pylist([dict.fromkeys(names) | row for row in some])

        schema = pyarrow.schema([("source", pyarrow.string())])
        for table in tables():
            schema = pyarrow.unify_schemas([schema, table.schema], promote_options="permissive")

        def write(handle: BinaryIO) -> None:
            left = (_columnar(row) for row in rows())
            with pyarrow.parquet.ParquetWriter(handle, schema) as writer:
                while some := list(itertools.islice(left, BATCH)):
                    writer.write_table(pyarrow.Table.from_pylist(some, schema=schema))

        files.write_atomic(path, write)
        return [path]


def _columnar(value: Any) -> Any:
    """Return plain values as Parquet can hold them: no mapping without keys, and text that is Unicode."""
    if isinstance(value, dict):
        return {key: _columnar(own) for key, own in value.items()} or None
    if isinstance(value, list):
        return [_columnar(own) for own in value]
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if isinstance(value, str) else value


# ----------------------------------------------------------------------------------------------------------------------
# Data sets


class _DataSet(Form):
    """Annotations beside pictures: those that are files have a second name in images/."""

    def __init__(self, folder: Path, listing: Listing):
        super().__init__(folder)
        self.listing = listing

    def file_name(self, entry: Entry) -> str:
        """Return the path of a picture in images/, where it is put; of what is no file of its own, where it is from."""
        if self.listing.kinds[entry.index] != PICTURE:
            return entry.source if entry.frame is None else f"{entry.source}#{entry.frame}"
        name = entry.name + Path(entry.source).suffix * (not self.listing.doubled[entry.index])
        files.link(entry.source, self.folder / "images" / name)
        return name


class Coco(_DataSet):
    """COCO's annotations."""

    def row(self, entry: Entry, result: Any) -> Row:
        annotations = annotations_of(self.folder, entry.name, result)
        return {"file_name": self.file_name(entry), "annotations": annotations}

    def facts(self, results: Sequence[Any]) -> Facts:
        facts = Facts()
        for result in results:
            facts = merged(facts, {"kind": kind_of(result), "categories": categories_of(result)})
            if facts["kind"] != "segments":  # one says it all
                break
        return facts

    def write(self, rows: Rows, facts: Facts) -> list[Path]:
        def read() -> Iterator[tuple[int, Row]]:
            return enumerate((row for row in rows() if "error" not in row), start=1)

        images = (
            {"id": number, "file_name": row["file_name"], "height": row["size"][0], "width": row["size"][1]}
            for number, row in read()
        )
        annotations = ((number, own) for number, row in read() for own in row["annotations"])
        known = facts.get("categories", {})
        categories = [known[key] for key in sorted(known, key=int)]
        return write_index(self.folder, facts.get("kind", "objects"), images, annotations, categories)


class YoloLabels(_DataSet):
    """A text file for each picture."""

    def row(self, entry: Entry, result: Any) -> Row:
        if not isinstance(result, Detections):
            raise ValueError(f"a {type(result).__name__} has no form in YOLO's labels; expected objects")
        H, W = entry.size or (1, 1)
        boxes = result.boxes.double() / result.boxes.new_tensor([W, H, W, H]).double()
        corners = boxes.unflatten(1, (2, 2))  # N 2 2
        numbers = [*corners.mean(1).unbind(1), *(corners[:, 1] - corners[:, 0]).unbind(1), result.scores.double()]
        columns = zip(result.labels.tolist(), *(column.tolist() for column in numbers), strict=True)
        lines = [" ".join([str(label), *(f"{value:.6f}" for value in row)]) for label, *row in columns]
        self.file_name(entry)
        return {"file": f"{entry.name}.txt", "lines": lines}

    def facts(self, results: Sequence[Any]) -> Facts:
        known = categories_of(results[0]) if results else {}
        return {"categories": {key: {"name": row["name"]} for key, row in known.items()}}

    def write(self, rows: Rows, facts: Facts) -> list[Path]:
        for row in rows():
            if "error" not in row:
                text = "".join(f"{line}\n" for line in row["lines"])
                files.write_text(self.folder / "labels" / row["file"], text, sync=False)
        path = self.folder / "classes.txt"
        known = facts.get("categories", {})
        numbers = sorted(map(int, known))
        gaps = numbers != list(range(1, len(numbers) + 1))
        files.write_text(path, "".join(f"{f'{k - 1} ' if gaps else ''}{known[str(k)]['name']}\n" for k in numbers))
        return [self.folder / "labels", path]
