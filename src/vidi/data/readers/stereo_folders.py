"""Rectified stereo pairs in folders.

    SCENE/left.png, right.png     a folder a scene; beside them disp_left.png, disp_right.png where there is a truth
    left/NAME, right/NAME         parallel folders; beside them disparity/NAME.png (or disp_left/), disp_right/NAME.png

Either in folders train, val and test, or not. Suffixes are those of any picture; disparities are PNGs of 16 bits,
pixels times 256, 0 where not known. calib.json or intrinsics.txt, see `vidi.data.readers.calibration`, in the folder of
a scene or of the set, tells the camera; with `baseline` in it, disparity is depth.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

from vidi.data.readers.calibration import find_calibration
from vidi.data.readers.image_set import images_by_stem
from vidi.data.readers.splits import UNSPLIT, Layout, remark_doubled, split_folders
from vidi.data.readers.view_set import Track, ViewSet
from vidi.formats import is_image_name

NEEDS = "SCENE/left.png beside SCENE/right.png, or left/ beside right/ with pictures of the same names"
TRUTHS = {"disparity": ("disparity", "disp_left"), "disparity_right": ("disparity_right", "disp_right")}
"""Names of the folders, or files, of disparities."""


def find_layout(root: Path) -> Layout | None:
    """Recognise pairs in folders."""
    if not root.is_dir():
        return None
    folders = {split: several for split, several in split_folders(root).items() if any(map(_tracks, several))}
    if not folders and _tracks(root):
        folders = {UNSPLIT: (root,)}
    if not folders:
        return None
    tracks = {split: [track for folder in several for track in _tracks(folder)] for split, several in folders.items()}
    every = [track for several in tracks.values() for track in several]
    with_truth = sum(len(track.frames) for track in every if "disparity" in track.beside)
    calibrated = sum(len(track.frames) for track in every if track.camera is not None)
    pairs = sum(len(track.frames) for track in every)
    reason = f"{pairs} stereo pairs, {with_truth} with disparity, {calibrated} with a known camera"
    sources = {split: functools.partial(ViewSet, several, root) for split, several in tracks.items()}
    return Layout(root, reason, sources, remarks=remark_doubled(root, folders), stratified=False)


def pair_paths(given: Sequence[Path]) -> dict[Path, Path]:
    """Return right pictures by their left ones: of LEFT RIGHT, or of folders of pairs.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: for anything else, and for a left picture without a right one.
    """
    for path in given:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
    if len(given) == 2 and all(path.is_file() for path in given):
        return {given[0]: given[1]}
    pairs: dict[Path, Path] = {}
    for folder in given:
        places = [folder, *(place for places in split_folders(folder).values() for place in places)]
        tracks = [track for place in places if place.is_dir() for track in _tracks(place)]
        if not tracks:
            raise ValueError(f"{folder}: no stereo pairs; expected LEFT RIGHT, or folders with {NEEDS}")
        for track in tracks:
            for left, right in zip(track.frames, track.beside["right"], strict=True):
                if right is None:
                    raise ValueError(f"{left}: the picture has no right picture")
                pairs[left] = right
    return pairs


def _tracks(folder: Path) -> list[Track]:
    """Return the pairs of a folder, in parallel folders or in those of scenes; none where it holds none."""
    if (folder / "left").is_dir() and (folder / "right").is_dir():
        return _parallel(folder)
    scenes = [folder, *sorted(place for place in folder.iterdir() if place.is_dir())]
    return [track for scene in scenes for track in _scene(scene, folder)]


def _parallel(folder: Path) -> list[Track]:
    left = _by_stem(folder / "left")
    if not left:
        return []
    places = {"right": ("right",), **TRUTHS}
    beside = {}
    for name, choices in places.items():
        found = next((folder / choice for choice in choices if (folder / choice).is_dir()), None)
        if found is not None:
            pictures = _by_stem(found)
            beside[name] = [pictures.get(stem) for stem in left]
    return [Track(list(left.values()), beside, find_calibration(folder, folder.parent))]


def _scene(folder: Path, above: Path) -> list[Track]:
    pictures = {path.stem: path for path in sorted(folder.iterdir()) if is_image_name(path.name)}
    if "left" not in pictures or not ({"right", "disp_left", "disparity"} & pictures.keys()):
        return []
    beside: dict[str, list[Path | None]] = {"right": [pictures.get("right")]}
    for name, choices in TRUTHS.items():
        found = next((pictures[choice] for choice in choices if choice in pictures), None)
        if found is not None:
            beside[name] = [found]
    return [Track([pictures["left"]], dict(beside), find_calibration(folder, above))]


def _by_stem(folder: Path) -> dict[str, Path]:
    return {stem: folder / names[0] for stem, names in images_by_stem(folder).items()}
