"""Pictures that annotations name and that lie in another folder: found by their file names, and proposed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vidi.data.faults import Hint, folded
from vidi.data.readers.places import Stock
from vidi.formats import is_image_name


class MissingPictureError(ValueError):
    """A picture that is named and is not there; `name` as it stands in the annotations."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def found_elsewhere(file: Path, root: Path, names: Sequence[str]) -> list[Hint]:
    """Return a hint with the folders below `root` that hold pictures missing in a file, by name; none found give none.

    A picture that has the name but for its suffix counts where none has it whole.
    """
    if not names:
        return []
    stock = Stock(root)
    by_stem: dict[str, list[Path]] = {}
    for path in (path for several in stock.by_file_name.values() for path in several):
        by_stem.setdefault(path.stem, []).append(path)
    found: list[tuple[str, Path]] = []
    for name in names:
        last = name.replace("\\", "/").rpartition("/")[2]
        places = stock.by_file_name.get(last) or by_stem.get(Path(last).stem if is_image_name(last) else last, [])
        found += [(name, places[0])] if len(places) == 1 else []
    if not found:
        return []
    folders = Counter(path.parent.relative_to(root).as_posix() for _, path in found)
    spoken = {at: "the folder itself" if at == "." else f"{at}/" for at in folders}
    where = folded([f"{count} in {spoken[at]}" for at, count in sorted(folders.items())])
    name, path = found[0]
    told = f"{len(found)} of {len(names)} missing pictures are found by name: {where} ({name} is {path}, ...)"
    return [Hint(str(file), "", f"{told}; move them, or name them so in the annotations")]
