"""Where a set of label maps keeps what: the layouts that are published, and folders of images beside folders of maps.

    leftImg8bit/train/CITY/*_leftImg8bit.png    gtFine/train/CITY/*_gtFine_labelIds.png, or ..._labelTrainIds.png
                                                (Cityscapes, github.com/mcordts/cityscapesScripts, README)
    JPEGImages                                  SegmentationClass, ImageSets/Segmentation/{train,val,trainval}.txt
                                                (VOC, Everingham et al. 2010, development kit)
    701_StillsRaw_full                          LabeledApproved_full/*_L.png (CamVid, the original)
    images/training/ADE_train_*.jpg             annotations/training (ADE20K, github.com/CSAILVision/sceneparsing)
    train                                       trainannot (CamVid, SegNet's copy)
    images/train                                labels/train (or `masks`, `annotations`), with or without splits

What values mean says the set's own table (`legends`) or, in its absence, that of the publisher. Of a set of neither the
values that occur in its maps are the classes, called "class 0", "class 5", ...
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vidi.data.faults import Fault
from vidi.data.readers.label_pairs import LabelPairs, Place
from vidi.data.readers.legends import ADE20K, CITYSCAPES, CITYSCAPES_TRAIN_IDS, TABLES, UNKNOWN, VOC, Legend, own_legend
from vidi.data.readers.listings import Listing, listings_in, remark_lists
from vidi.data.readers.splits import UNSPLIT, Layout, remark_doubled, remark_outside, split_folders, spoken_path
from vidi.data.readers.voc_layout import voc_places
from vidi.ops.label_maps import VOID

NEEDS = (
    "train beside trainannot, images/train beside labels/train (png), leftImg8bit beside gtFine, or JPEGImages beside "
    "SegmentationClass"
)

_LABEL_FOLDERS = ("labels", "masks", "annotations", "annot")

Splits = Mapping[str, tuple[Place, ...]]


@dataclass(frozen=True)
class Found:
    """A layout: its folders by split, and the table of its publisher with the name of that."""

    root: Path
    splits: Splits
    published: tuple[str, Legend] | None = None
    listings: Mapping[str, Listing] = field(default_factory=dict)

    @property
    def places(self) -> Iterator[Place]:
        return (place for places in self.splits.values() for place in places)


def find_layout(root: Path) -> Layout | None:
    """Recognise images beside label maps. Raises ValueError where nothing says what their values mean."""
    if not root.is_dir():
        return None
    found = next((found for find in (_cityscapes, _voc, _camvid, _beside) if (found := find(root)) is not None), None)
    if found is None:
        return None
    root = found.root
    own = own_legend(root) or found.published
    named, legend = own if own is not None else ("the label maps", _legend_of_maps(found))
    sources = {
        split: functools.partial(LabelPairs, places, legend, root, found.listings.get(split))
        for split, places in found.splits.items()
    }
    described = ", ".join(
        dict.fromkeys(f"{_spoken(p.images, root)} beside {_spoken(p.maps, root)}" for p in found.places)
    )
    listed = f", split by {', '.join(each.file.name for each in found.listings.values())}" if found.listings else ""
    reason = f"{described}{listed}; {len(legend.names)} classes and {len(legend.void)} void in {named}"
    return Layout(
        root, reason, sources, remarks=(*_remarks(found), *_named_by_value(own, legend, root)), stratified=False
    )


def _spoken(folder: Path, root: Path) -> str:
    return spoken_path(folder, root)


def _named_by_value(own: tuple[str, Legend] | None, legend: Legend, root: Path) -> Iterator[Fault]:
    if own is None:
        called = f"there is no classes.txt: the classes are {', '.join(legend.names)}"
        yield Fault(str(root), "", f"{called}, after the values in the label maps")


def _remarks(found: Found) -> tuple[Fault, ...]:
    """Remark the pictures that are not used."""
    if found.listings:
        place = next(found.places)
        stored, labels = place.stems()
        return remark_lists(found.listings, {*stored, *labels}, labels)
    doubled = remark_doubled(found.root, {split: [p.images for p in places] for split, places in found.splits.items()})
    used = (folder for place in found.places for folder in (place.images, place.maps))
    return doubled + remark_outside(found.root, used, "they have no label maps")


def _legend_of_maps(found: Found) -> Legend:
    """Name the values that occur in the maps of all splits."""
    by_value = Legend({})
    maps = (place.maps / name for place in found.places for names in place.stems()[1].values() for name in names)
    values = {value for path in maps for value in np.unique(by_value.stored(path)).tolist()} - {VOID}
    if not 1 < len(values) <= UNKNOWN:
        raise ValueError(
            f"{found.root}: its label maps hold the values {', '.join(map(str, sorted(values)[:5])) or 'none'} besides "
            f"{VOID}, which is ignored: a {TABLES} is needed (255 may be one)"
        )
    return Legend({value: f"class {value}" for value in sorted(values)})


# ---------------------------------------------------------------------------------------------------------- layouts


def _with_maps(splits: Mapping[str, Sequence[Path]], place_of: Callable[[Path], Place]) -> dict[str, tuple[Place, ...]]:
    """Return the folders of images, by split, that have a folder of label maps."""
    places = {split: tuple(map(place_of, folders)) for split, folders in splits.items()}
    places = {split: tuple(place for place in several if all(place.stems())) for split, several in places.items()}
    return {split: several for split, several in places.items() if several}


def _cityscapes(root: Path) -> Found | None:
    images, maps = root / "leftImg8bit", root / "gtFine"
    legends = {"labelIds": CITYSCAPES, "labelTrainIds": CITYSCAPES_TRAIN_IDS}
    for kind, legend in legends.items():
        ending = f"_gtFine_{kind}"
        splits = _with_maps(split_folders(images), lambda f, e=ending: Place(f, maps / f.name, "_leftImg8bit", e))
        if splits:
            return Found(root, splits, (f"the {kind} of Cityscapes", legend))
    return None


def _voc(root: Path) -> Found | None:
    found = []
    for below in voc_places(root):
        place = Place(below / "JPEGImages", below / "SegmentationClass")
        if all(place.stems()):
            listings = listings_in(below / "ImageSets" / "Segmentation")
            splits = {split: (place,) for split in listings or (UNSPLIT,)}
            found.append(Found(below, splits, ("the table of VOC", VOC), listings))
    if len(found) > 1:
        raise ValueError(f"{root}: several VOC sets ({', '.join(str(each.root) for each in found)}): name one of them")
    return found[0] if found else None


def _camvid(root: Path) -> Found | None:
    place = Place(root / "701_StillsRaw_full", root / "LabeledApproved_full", map_ending="_L")
    return Found(root, {UNSPLIT: (place,)}) if all(place.stems()) else None


def _beside(root: Path) -> Found | None:
    name = next((name for name in _LABEL_FOLDERS if (root / name).is_dir()), "")
    splits = _with_maps(split_folders(root / "images"), lambda folder: Place(folder, root / name / folder.name))
    splits |= _with_maps(split_folders(root), lambda folder: Place(folder, root / f"{folder.name}annot"))
    if not splits and name:
        splits = _with_maps({UNSPLIT: (root / "images",)}, lambda folder: Place(folder, root / name))
    if not splits:
        return None
    stems = (stem for places in splits.values() for place in places for stem in place.stems()[0])
    is_ade = next(stems).startswith("ADE_")
    return Found(root, splits, ("the table of ADE20K", ADE20K) if is_ade else None)
