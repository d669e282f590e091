"""Where a YOLO data set keeps what: its yaml or lists or folders say which pictures are which split, and the names."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from vidi import files
from vidi.data.faults import Fault
from vidi.data.readers.image_set import listed_classes
from vidi.data.readers.places import Pictures, Stock, find_place, gather
from vidi.data.readers.splits import (
    UNSPLIT,
    Layout,
    refuse_hidden_splits,
    remark_doubled,
    remark_outside,
    remark_shared,
    remark_unused,
    split_called,
    split_folders,
    spoken_path,
)
from vidi.data.readers.yolo_txt import YoloTxt, label_file, label_folder, label_names, labels_in, looks_like_labels
from vidi.data.readers.yolo_yaml import SUFFIXES, YoloYaml, read_yolo_yaml, speaks_of_data
from vidi.formats import is_image_name

NEEDS = (
    "a data.yaml with train, val and names; or images/{train,val} beside labels/{train,val} (or train/images beside "
    "train/labels, or pictures and labels side by side in train, val) with lines `class cx cy w h`"
)

Found = tuple[dict[str, Pictures], str, tuple[Fault, ...]]  # pictures by split, what says so, remarks


def find_layout(root: Path) -> Layout | None:
    """Recognise YOLO text by a yaml or lists that name pictures with label files, or by labels that stand beside them.

    `root` is the folder of the set, or its yaml.
    """
    given = _given_yaml(root) if root.is_file() else _only_yaml(root)
    if root.is_file() and given is None:
        return None
    folder = root.parent if root.is_file() else root
    if given is not None and given.splits:
        found = _by_yaml(given)
    else:
        folder = folder if given is None else given.base
        found = _by_lists(folder) or _by_folders(folder)
    if found is None or not any(label_file(path) for pictures in found[0].values() for path in pictures.paths):
        if root.is_file():
            raise ValueError(f"{root}: no picture has labels: expected labels/a.txt for images/a.jpg, or a.txt beside")
        return None
    pictures, reason, remarks = found
    categories, origin, more = _categories(folder, pictures, given, is_asked=root.is_file())
    base = given.base if given is not None else folder
    points = given.points if given is not None else None
    sources = {
        split: functools.partial(YoloTxt, base, several, categories, points=points)
        for split, several in pictures.items()
    }
    remarks = (
        *(given.remarks if given is not None else ()),
        *remarks,
        *more,
        *remark_shared(base, {split: each.paths for split, each in pictures.items()}),
    )
    return Layout(root, f"{reason}; class names from {origin}", sources, remarks=remarks)


def _given_yaml(file: Path) -> YoloYaml | None:
    if file.suffix.lower() not in SUFFIXES:
        return None
    given = read_yolo_yaml(file)
    if given is None:
        raise ValueError(f"{file}: not the yaml of a data set; expected `names:`, `train:` and `val:`")
    return given


def _only_yaml(folder: Path) -> YoloYaml | None:
    """Return what the yaml of a folder says; ValueError where several say different things."""
    said: list[YoloYaml] = []
    for file in sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and path.is_file()):
        try:
            given = read_yolo_yaml(file)
        except ValueError:
            if speaks_of_data(file):
                raise
            continue
        if given is not None:
            said.append(given)
    if any((other.names, other.splits, other.base) != (said[0].names, said[0].splits, said[0].base) for other in said):
        names = ", ".join(given.file.name for given in said)
        raise ValueError(f"{folder}: several yaml files describe a data set ({names}): name one of them")
    return said[0] if said else None


# ----------------------------------------------------------------------------------------------- pictures of each split


def _by_yaml(given: YoloYaml) -> Found:
    """Follow the paths of a yaml. Raises ValueError where those of train or val are not there, or any could be two."""
    bases, stock = [given.base, given.file.parent], Stock(given.base)
    pictures: dict[str, Pictures] = {}
    remarks: list[Fault] = []
    for split, texts in given.splits.items():
        places = []
        for text in texts:
            try:
                place = find_place(text, bases)
            except ValueError as error:
                raise ValueError(f"{given.file}: {split}: {error}") from None
            if place is None and split != "test":
                looked = " and ".join(dict.fromkeys(map(str, bases)))
                raise ValueError(f"{given.file}: {split}: {text} is not there; looked in {looked}")
            if place is None:  # exported sets often name a test split that they do not have
                remarks.append(Fault(str(given.file), split, f"{text} is not there and is left out"))
                continue
            places.append(place.path)
            if place.is_guessed:
                remarks.append(Fault(str(given.file), split, f"{text} is not there: {place.path} is taken for it"))
            other = next((s for part in Path(text).parts if (s := split_called(part)) not in (None, split)), None)
            if other is not None:
                remarks.append(Fault(str(given.file), split, f"{text} is called like {other}; it is {split}"))
        if places:
            pictures[split] = gather(places, stock, bases)
    said = ", ".join(f"{split}: {' and '.join(texts)}" for split, texts in given.splits.items() if split in pictures)
    return pictures, f"{given.file.name} says {said}", (*remarks, *_unlisted(stock, pictures, given.file.name))


def _by_lists(root: Path) -> Found | None:
    """Follow train.txt, val.txt and test.txt, as darknet has them."""
    texts = [file for file in sorted(root.glob("*.txt")) if split_called(file.stem) and _is_list(file)]
    lists = {str(split_called(file.stem)): file for file in texts}
    if len(lists) < len(texts):
        raise ValueError(f"{root}: two lists for one split ({', '.join(file.name for file in texts)}): keep one")
    if not lists:
        return None
    stock = Stock(root)
    pictures = {split: gather([file], stock, [root]) for split, file in lists.items()}
    names = ", ".join(file.name for file in lists.values())
    return pictures, f"{names} list pictures with YOLO text", _unlisted(stock, pictures, names)


def _by_folders(root: Path) -> Found | None:
    """Take the pictures of the folders that are called like splits, or of all."""
    choices = (
        split_folders(root / "images"),
        {split: list(map(_images_in, several)) for split, several in split_folders(root).items()},
        {UNSPLIT: [root / "images"]},
        {UNSPLIT: [root]},
    )
    for choice in choices:
        folders = {split: tuple(filter(_is_labelled, several)) for split, several in choice.items()}
        folders = {split: several for split, several in folders.items() if several}
        if folders:
            break
    else:
        return None
    stock = Stock(root)
    pictures = {split: gather(several, stock, [root]) for split, several in folders.items()}
    if UNSPLIT in folders:
        names = (path.relative_to(root).as_posix() for path in pictures[UNSPLIT].paths)
        refuse_hidden_splits(root, names, "say in a data.yaml which pictures train")
    used = [folder for several in folders.values() for folder in several]
    spoken = ", ".join(spoken_path(label_folder(folder), root) for folder in used)
    remarks = remark_doubled(root, folders)
    remarks += remark_outside(root, used, "they lie outside the folders that have labels")
    return pictures, f"{spoken} hold YOLO text", remarks


def _images_in(folder: Path) -> Path:
    return folder / "images" if (folder / "images").is_dir() else folder


def _is_labelled(folder: Path) -> bool:
    """Whether a folder of pictures has label files, in the folder of its labels or beside the pictures."""
    place = label_folder(folder)
    if place != folder:
        return bool(label_names(place))
    texts = label_names(folder)
    if not texts:
        return False
    labels = {label_file(folder / name) for name in Stock(folder).names}
    return any(folder / name in labels and looks_like_labels(folder / name) for name in texts)


def _is_list(file: Path) -> bool:
    first = next((line.strip() for line in files.read_text(file).splitlines() if line.strip()), "")
    return is_image_name(first.replace("\\", "/").rpartition("/")[2])


def _unlisted(stock: Stock, pictures: Mapping[str, Pictures], by: str) -> tuple[Fault, ...]:
    used = {path for several in pictures.values() for path in several.paths}
    unused = (name for name in stock.names if stock.root / name not in used)
    return remark_unused(stock.root, unused, f"they stand in no split of {by}")


# ------------------------------------------------------------------------------------------------------ class names


def _categories(
    root: Path, pictures: Mapping[str, Pictures], given: YoloYaml | None, *, is_asked: bool
) -> tuple[tuple[str, ...], str, tuple[Fault, ...]]:  # names, where they are from, and remarks
    """Return the class names. Raises ValueError where two files name them differently, unless one is asked for."""
    paths = [path for several in pictures.values() for path in several.paths]
    parents = dict.fromkeys(path.parent for path in paths)
    said: dict[str, tuple[str, ...]] = {}
    if given is not None and given.names is not None:
        said[given.file.name] = given.names
    for place in dict.fromkeys([root, root / "labels", *map(label_folder, parents), *parents]):
        for file, names in _names_in(place).items():
            said[spoken_path(file, root)] = names
    if not said:
        return _numbers(root, paths), "the numbers in the label files", ()
    first = next(iter(said))
    others = [file for file, names in said.items() if names != said[first]]
    if others and not is_asked:
        hint = f", or name the yaml: {given.file}" if given is not None else ""
        raise ValueError(
            f"{root}: {first} and {others[0]} name the classes differently ({', '.join(said[first])}; "
            f"{', '.join(said[others[0]])}): keep one of them{hint}"
        )
    remarks = (
        Fault(str(root / file), "", f"names the classes differently and is not used: {first} is") for file in others
    )
    return said[first], first, tuple(remarks)


def _names_in(folder: Path) -> dict[Path, tuple[str, ...]]:
    """Return the class names that the files of a folder give, as labelImg, CVAT and Roboflow write them."""
    found: dict[Path, tuple[str, ...]] = {}
    listed = listed_classes(folder)
    if listed is not None:
        if sorted(listed) != list(range(len(listed))):
            raise ValueError(f"{folder / 'classes.txt'}: expected the numbers 0..{len(listed) - 1}, each once")
        found[folder / "classes.txt"] = tuple(listed[label] for label in range(len(listed)))
    for file in sorted([*folder.glob("*.names"), *folder.glob("_darknet.labels")]):
        found[file] = tuple(line.strip() for line in files.read_text(file).splitlines() if line.strip())
    return found


def _numbers(root: Path, pictures: Sequence[Path]) -> tuple[str, ...]:
    """Name the classes 0..largest of the numbers in the label files."""
    labels = (file for path in pictures if (file := label_file(path)))
    largest = max((label for file in labels for label in labels_in(file)), default=-1)
    if largest >= 10_000:
        raise ValueError(f"{root}: class numbers up to {largest}; a classes.txt with the names is needed")
    return tuple(str(label) for label in range(largest + 1))
