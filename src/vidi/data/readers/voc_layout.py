"""Where a VOC data set keeps what: lists of stems, folders called like splits, or one folder of pictures and of xml."""

import functools
from collections.abc import Sequence
from pathlib import Path

from vidi.data.readers.image_set import images_by_stem, stem_of
from vidi.data.readers.listings import listings_in, remark_lists
from vidi.data.readers.splits import (
    UNSPLIT,
    Layout,
    refuse_hidden_splits,
    remark_doubled,
    split_folders,
    spoken_path,
)
from vidi.data.readers.voc_xml import Classes, VocFolders, VocXml, is_xml
from vidi.formats import files_below

NEEDS = (
    "folders Annotations (xml) and JPEGImages, with ImageSets/Main/{train,val,test}.txt if it is split; or xml beside "
    "the pictures, in train, val, test or one folder"
)

_ANNOTATION_FOLDERS = ("Annotations", "annotations", "annotations_voc")
_IMAGE_FOLDERS = ("JPEGImages", "images")
_LIST_FOLDERS = ("ImageSets/Main", "splits")


def find_layout(root: Path) -> Layout | None:
    """Recognise a VOC data set, also one folder below (VOCdevkit/VOC2007)."""
    found = [layout for layout in map(_layout, voc_places(root)) if layout is not None]
    if len(found) > 1:
        raise ValueError(f"{root}: several VOC sets ({', '.join(str(f.root) for f in found)}): name one of them")
    return found[0] if found else None


def voc_places(root: Path) -> Sequence[Path]:
    """Return where a VOC set may lie: a folder itself, and what is called VOC2007 below it or its VOCdevkit."""
    if not root.is_dir():
        return ()
    return [root, *sorted(path for path in [*root.glob("VOC*"), *root.glob("VOCdevkit/VOC*")] if path.is_dir())]


def _layout(root: Path) -> Layout | None:
    listed = _by_lists(root)
    if listed is not None:
        return listed
    splits = _split_places(root)
    if not splits:
        place = _folders(root)
        if place is None:
            return None
        refuse_hidden_splits(root, place.stems, "list their stems in ImageSets/Main/train.txt and val.txt")
        splits = {UNSPLIT: (place,)}
    classes = Classes(root, tuple(place for places in splits.values() for place in places))
    sources = {split: functools.partial(VocXml, root, places, classes) for split, places in splits.items()}
    spoken = ", ".join(dict.fromkeys(_spoken(place, root) for place in classes.folders))
    remarks = remark_doubled(root, {split: [place.images for place in places] for split, places in splits.items()})
    return Layout(root, spoken, sources, remarks=remarks)


def _by_lists(root: Path) -> Layout | None:
    """Return the splits that text files list."""
    place, folder = _folders(root), next((root / n for n in _LIST_FOLDERS if (root / n).is_dir()), None)
    if place is None or folder is None:
        return None
    listings = listings_in(folder)
    if not listings:
        return None
    classes = Classes(root, (place,))
    sources = {split: functools.partial(VocXml, root, [place], classes, each) for split, each in listings.items()}
    names = ", ".join(listing.file.name for listing in listings.values())
    reason = f"{_spoken(place, root)}, split by {folder.name} ({names})"
    stored = images_by_stem(place.images)
    remarks = remark_lists(listings, {*place.stems, *stored}, stored)
    return Layout(root, reason, sources, remarks=remarks)


def _split_places(root: Path) -> dict[str, tuple[VocFolders, ...]]:
    """Return the folders of each split: `train` with all that `_folders` knows, or `images/train` and their xml."""
    places = {split: tuple(filter(None, map(_folders, folders))) for split, folders in split_folders(root).items()}
    for images in (root / name for name in _IMAGE_FOLDERS):
        for split, folders in split_folders(images).items():
            pairs = [(f, root / name / f.name) for f in folders for name in _ANNOTATION_FOLDERS]
            several = tuple(VocFolders(*pair) for pair in pairs if _holds_xml(pair[1]))
            places[split] = (*places.get(split, ()), *several)
    return {split: several for split, several in places.items() if several}


def _folders(root: Path) -> VocFolders | None:
    annotations = next((root / name for name in _ANNOTATION_FOLDERS if _holds_xml(root / name)), None)
    images = next((root / name for name in _IMAGE_FOLDERS if (root / name).is_dir()), None)
    if annotations is None and _stands_beside(root):
        annotations = images = root
    return VocFolders(images, annotations) if annotations is not None and images is not None else None


def _holds_xml(folder: Path) -> bool:
    return folder.is_dir() and bool(files_below(folder, is_xml))


def _stands_beside(folder: Path) -> bool:
    """Whether a picture below a folder has its xml beside it."""
    stems = {stem_of(name) for name in files_below(folder, is_xml)} if folder.is_dir() else set()
    return bool(stems) and not stems.isdisjoint(images_by_stem(folder))


def _spoken(place: VocFolders, root: Path) -> str:
    annotations, images = spoken_path(place.annotations, root), spoken_path(place.images, root)
    return (
        f"{annotations} holds VOC xml for {images}"
        if images != annotations
        else f"{annotations} holds VOC xml beside images"
    )
