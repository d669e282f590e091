"""Paths that are no data set, each with its own sentence: archives, broken json, pictures without labels.

Asked where no reader recognised a path, so that what it says costs a good data set nothing.
"""

from collections.abc import Iterator
from pathlib import Path

from vidi import files, formats
from vidi.data.faults import counted
from vidi.formats import files_below, is_hidden, is_image_name

ANNOTATIONS = (".json", ".jsonl", ".xml", ".txt", ".csv", ".yaml", ".yml", ".npz", ".npy", ".tar", ".mat")

_FORMS = (
    "`vidi predict` takes them as they are; to train a classifier, put the pictures of each class into a folder of its "
    "own ({root}/CLASS/*.jpg, two classes or more); for boxes and masks, lay COCO json, VOC xml or YOLO txt beside them"
)


def refuse_broken_json(root: Path) -> None:
    """Raise a ValueError with file, line and byte where a json of a data set is cut short or wrong."""
    for path in _json_files(root):
        if not _ends_as_json(path):
            files.read_json(path)


def refuse_known(root: Path) -> None:
    """Raise a ValueError that says what a path is, and what helps, where it is something that people often give."""
    if root.is_file():
        if told := formats.advice(root.name):
            raise ValueError(f"{root}: {told}")
        if is_image_name(root.name):
            raise ValueError(f"{root}: one picture; a data set is a folder. `vidi predict` takes pictures")
    for path in _json_files(root):
        files.read_json(path)
    if root.is_file():
        return
    names = files_below(root, lambda name: not is_hidden(name))
    pictures = [name for name in names if is_image_name(name)]
    if not pictures or any(name.lower().endswith(ANNOTATIONS) for name in names):
        return
    folders = {name.partition("/")[0] for name in pictures if "/" in name}
    form = _FORMS.format(root=root)
    if len(folders) == 1 and all("/" in name for name in pictures):
        raise ValueError(
            f"{root}: {counted(len(pictures), 'picture')} in one folder ({folders.pop()}): one class teaches nothing, "
            f"and there are no other labels. {form}"
        )
    raise ValueError(f"{root}: {counted(len(pictures), 'picture')} without any label. {form}")


def _json_files(root: Path) -> Iterator[Path]:
    """Yield the json files of a folder and of the folders in it, or the path itself where it is one; no empty ones."""
    found = [root] if root.is_file() else [*sorted(root.glob("*.json")), *sorted(root.glob("*/*.json"))]
    for path in found:
        parts = () if path == root else path.relative_to(root).parts
        if path.suffix.lower() == ".json" and path.stat().st_size and not any(map(is_hidden, parts)):
            yield path


def _ends_as_json(path: Path) -> bool:
    """Tell by its last bytes whether a file can be json, without parsing it."""
    size = path.stat().st_size
    last = files.read_part(path, max(0, size - 64), min(size, 64)).rstrip()
    return last[-1:] in (b"}", b"]")
