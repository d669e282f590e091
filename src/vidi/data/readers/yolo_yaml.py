"""The yaml beside a YOLO data set: class names, and where the pictures of each split are.

Ultralytics' `path:`, `train:`, `val:`, `test:`, `names:` and `nc:`. A split is a folder, a text file that lists
pictures, or several of both. Every plain value is read as text: a class called `no` is not `False`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vidi import files
from vidi.data.faults import Fault
from vidi.data.readers.places import find_place
from vidi.data.readers.splits import split_called

SUFFIXES = (".yaml", ".yml")

_NOTHING = ("", "null", "~")  # how YAML writes a key without a value


@dataclass(frozen=True)
class YoloYaml:
    """What one yaml says; `splits` are paths as they are written."""

    file: Path
    base: Path  # what relative paths begin at
    names: tuple[str, ...] | None
    splits: Mapping[str, tuple[str, ...]]
    points: tuple[int, int] | None  # `kpt_shape`: keypoints of each object, and numbers of each keypoint
    remarks: tuple[Fault, ...] = ()


def read_yolo_yaml(file: Path) -> YoloYaml | None:
    """Read the yaml of a YOLO data set; None for a yaml about something else.

    Raises ValueError that names the file for bad syntax, a key that stands twice, names that cannot be read, `nc` that
    is not their number, and a split that is neither a path nor a list of paths.
    """
    content = _load(file)
    if not isinstance(content, dict):
        return None
    keys = {key: split_called(key) for key in content if isinstance(key, str) and not key[-1:].isdigit()}
    written = {key: split for key, split in keys.items() if split and _is_given(content[key])}
    as_paths = {split for key, split in written.items() if isinstance(content[key], str | list)}
    if "names" not in content and "nc" not in content and not {"train", "val"} <= as_paths:
        return None
    splits: dict[str, tuple[str, ...]] = {}
    for key, split in written.items():
        if split in splits:
            raise ValueError(
                f"{file}: {' and '.join(k for k in written if written[k] == split)} both say what {split} is"
            )
        splits[split] = _paths(file, key, content[key])
    base, remarks = _base(file, content.get("path"))
    return YoloYaml(file, base, _names(file, content), splits, _points(file, content.get("kpt_shape")), remarks)


def speaks_of_data(file: Path) -> bool:
    """Tell whether a yaml, be it readable or not, has a line that begins as one of a YOLO data set does."""
    return re.search(rb"^(names|train|val|nc)[ \t]*:", files.read_bytes(file), flags=re.MULTILINE) is not None


def whole_number(text: str) -> int:
    """Return the integer that a text means, `2` and `2.0` alike; ValueError for all else."""
    value = float(text)
    if not value.is_integer():
        raise ValueError(f"{text!r} is not a whole number")
    return int(value)


class _TextLoader(yaml.SafeLoader):
    """Safe loading in which plain values are text, and no key may stand twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012, named by pyyaml

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _load(file: Path) -> Any:
    try:
        return yaml.load(files.read_text(file), Loader=_TextLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{file}{line}: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError(f"{file}: nested too deeply") from None


def _is_given(value: Any) -> bool:
    return value != [] and value not in _NOTHING


def _paths(file: Path, key: str, value: Any) -> tuple[str, ...]:
    paths = value if isinstance(value, list) else [value]
    if not all(isinstance(path, str) and path for path in paths):
        raise ValueError(f"{file}: {key}: expected a path or a list of paths, got {value!r}")
    return tuple(paths)


def _base(file: Path, path: Any) -> tuple[Path, tuple[Fault, ...]]:
    """Return the folder that `path` means, or the yaml's own where that is not on this machine."""
    if not _is_given(path) or path is None:
        return file.parent, ()
    if not isinstance(path, str):
        raise ValueError(f"{file}: path: expected a folder, got {path!r}")
    place = find_place(path, [file.parent], guess=False)
    if place is not None and place.path.is_dir():
        return place.path, ()
    if re.split(r"[/\\]", path.rstrip("/\\"))[-1] == file.resolve().parent.name:
        return file.parent, ()
    return file.parent, (Fault(str(file), "path", f"{path} is not there: paths begin at the folder of the yaml"),)


def _names(file: Path, content: Mapping[Any, Any]) -> tuple[str, ...] | None:
    written = content.get("names")
    count = _count(file, content.get("nc"))
    if written is None:
        return None if count is None else tuple(str(label) for label in range(count))
    names = written
    if isinstance(written, dict):
        numbered = {_label(file, key): name for key, name in written.items()}
        if sorted(numbered) != list(range(len(written))):
            raise ValueError(f"{file}: names: expected the numbers 0..{len(written) - 1}, each once")
        names = [numbered[label] for label in range(len(written))]
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        raise ValueError(f"{file}: names: expected a list of names, or a number and a name a line, got {written!r}")
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{file}: names: expected a text for each class, got {name!r}")
    if count is not None and count != len(names):
        raise ValueError(f"{file}: nc is {count}, but names has {len(names)} classes")
    return tuple(name.strip() for name in names)


def _count(file: Path, written: Any) -> int | None:
    if written is None or not _is_given(written):
        return None
    return _label(file, written, key="nc")


def _label(file: Path, written: Any, key: str = "names") -> int:
    try:
        number = whole_number(written)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if not 0 <= number <= 100_000:
        raise ValueError(f"{file}: {key}: expected a whole number, got {written!r}")
    return number


def _points(file: Path, written: Any) -> tuple[int, int] | None:
    if written is None or not _is_given(written):
        return None
    if not isinstance(written, list) or len(written) != 2:
        raise ValueError(f"{file}: kpt_shape: expected [number of points, 2 or 3], got {written!r}")
    return _label(file, written[0], "kpt_shape"), _label(file, written[1], "kpt_shape")
