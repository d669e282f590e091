"""Videos whose camera is known: folders of frames, KITTI odometry and KITTI raw.

    SEQ/*.jpg                  or in SEQ/image_l, SEQ/images; SEQ/calib.json or SEQ/intrinsics.txt, or one for all in
                               the folder above, and SEQ/poses.txt where the camera's path is known
    sequences/00/image_2       KITTI odometry; image_3 (or image_0 and image_1), calib.txt, and poses/00.txt for some.
                               Sequences 00 to 08 train, 09 and 10 test, as papers on depth from video split them
    DATE/DRIVE_sync/image_02   KITTI raw; image_03, each with data/, and DATE/calib_cam_to_cam.txt; depth that was
                               measured in DRIVE_sync/proj_depth/groundtruth/image_02

A frame's neighbours are one before and one behind it; how far is `frame_gap` of a recipe.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vidi.data.readers.calibration import (
    find_calibration,
    kitti_calibration,
    kitti_camera_pose,
    read_poses,
    read_projections,
)
from vidi.data.readers.splits import UNSPLIT, Layout, remark_doubled, split_folders
from vidi.data.readers.view_set import Track, ViewSet, in_order
from vidi.formats import is_hidden, is_image_name

NEEDS = "SEQ/*.jpg (three or more) with calib.json or intrinsics.txt, and poses.txt where known"
NEEDS_ODOMETRY = "sequences/00/calib.txt beside image_2 (or image_0), and poses/00.txt where known"
NEEDS_RAW = "DATE/calib_cam_to_cam.txt beside DATE/DATE_drive_NUMBER_sync/image_02/data"
FEWEST = 3  # frames that a video has
FRAMES = ("image_l", "images", "image")  # folders of frames in that of a sequence
LEFT_CAMERAS = (2, 0)  # of KITTI: colours, grey
TESTED = ("09", "10")  # sequences of KITTI odometry


def find_layout(root: Path) -> Layout | None:
    """Recognise sequences of frames with a camera."""
    if not root.is_dir():
        return None
    folders = {split: several for split, several in split_folders(root).items() if any(map(_generic, several))}
    if not folders and _generic(root):
        folders = {UNSPLIT: (root,)}
    tracks = {split: [track for folder in several for track in _generic(folder)] for split, several in folders.items()}
    return _layout(root, tracks, "frames") if tracks else None


def find_odometry(root: Path) -> Layout | None:
    """Recognise KITTI odometry."""
    places = sorted(path.parent for path in root.glob("sequences/*/calib.txt")) if root.is_dir() else []
    tracks: dict[str, list[Track]] = {}
    has_tests = any(place.name in TESTED for place in places) and any(place.name not in TESTED for place in places)
    for place in places:
        split = UNSPLIT if not has_tests else "test" if place.name in TESTED else "train"
        track = _odometry(place, root / "poses" / f"{place.name}.txt")
        if track is not None:
            tracks.setdefault(split, []).append(track)
    return _layout(root, tracks, "KITTI odometry") if tracks else None


def find_raw(root: Path) -> Layout | None:
    """Recognise KITTI raw."""
    if not root.is_dir():
        return None
    dates = sorted({*root.glob("calib_cam_to_cam.txt"), *root.glob("*/calib_cam_to_cam.txt")})
    tracks = [track for path in dates for track in _drives(path)]
    return _layout(root, {UNSPLIT: tracks}, "KITTI raw") if tracks else None


def _layout(root: Path, tracks: Mapping[str, Sequence[Track]], kind: str) -> Layout:
    every = [track for several in tracks.values() for track in several]
    frames = sum(len(track.frames) for track in every)
    posed = sum(len(track.frames) for track in every if track.poses is not None)
    paired = sum(len(track.frames) for track in every if "right" in track.beside)
    reason = f"{kind}: {frames} frames in {len(every)} sequences, {posed} with poses, {paired} with a right picture"
    sources = {split: functools.partial(ViewSet, several, root) for split, several in tracks.items()}
    folders = {split: sorted({track.frames[0].parent for track in several}) for split, several in tracks.items()}
    remarks = remark_doubled(root, folders) if UNSPLIT not in tracks and kind == "frames" else ()
    return Layout(root, reason, sources, remarks=remarks if len(folders) > 1 else (), stratified=False)


def _generic(folder: Path) -> list[Track]:
    """Return the sequence that a folder is, or those in it."""
    places = sorted(place for place in folder.iterdir() if place.is_dir() and not is_hidden(place.name))
    return _sequence(folder, [folder]) or [track for place in places for track in _sequence(place, [place, folder])]


def _sequence(place: Path, told: Sequence[Path]) -> list[Track]:
    """Return the sequence of one folder, whose camera one of the folders `told` tells; none where it is none."""
    folders = [place, *(place / name for name in FRAMES if (place / name).is_dir())]
    frames = next((found for found in map(_frames, folders) if len(found) >= FEWEST), None)
    camera = None if frames is None else find_calibration(*told)
    if frames is None or camera is None:
        return []
    poses = place / "poses.txt"
    return [Track(frames, camera=camera, poses=read_poses(poses) if poses.is_file() else None, is_video=True)]


def _frames(folder: Path) -> list[Path]:
    """Return the pictures of one folder, without its sub-folders, in the order of their numbers."""
    return in_order([path for path in folder.iterdir() if is_image_name(path.name) and path.is_file()])


def _odometry(place: Path, poses: Path) -> Track | None:
    left = next((number for number in LEFT_CAMERAS if (place / f"image_{number}").is_dir()), None)
    frames = [] if left is None else _frames(place / f"image_{left}")
    if left is None or len(frames) < FEWEST:
        return None
    path = place / "calib.txt"
    projections = read_projections(path, "P")
    camera = kitti_calibration(path, projections, left)
    beside = _right_of(frames, place / f"image_{left + 1}")
    known = None
    if poses.is_file():  # of the first camera, which is beside this one
        known = read_poses(poses) @ np.linalg.inv(kitti_camera_pose(projections[left]))
    return Track(frames, beside, camera, known, is_video=True)


def _drives(path: Path) -> list[Track]:
    """Return the drives of one date of KITTI raw."""
    projections = read_projections(path, "P_rect_")
    tracks = []
    for drive in sorted(place for place in path.parent.iterdir() if place.is_dir()):
        left = next((n for n in LEFT_CAMERAS if (drive / f"image_{n:02d}" / "data").is_dir()), None)
        frames = [] if left is None else _frames(drive / f"image_{left:02d}" / "data")
        if left is None or len(frames) < FEWEST:
            continue
        beside = _right_of(frames, drive / f"image_{left + 1:02d}" / "data")
        measured = drive / "proj_depth" / "groundtruth" / f"image_{left:02d}"
        if measured.is_dir():
            frames = [frame for frame in frames if (measured / f"{frame.stem}.png").is_file()]
            beside = _right_of(frames, drive / f"image_{left + 1:02d}" / "data")
            beside["depth"] = [measured / f"{frame.stem}.png" for frame in frames]
        if len(frames) >= FEWEST:
            tracks.append(Track(frames, beside, kitti_calibration(path, projections, left), is_video=True))
    return tracks


def _right_of(frames: Sequence[Path], folder: Path) -> dict[str, Sequence[Path | None]]:
    """Return the right pictures of some left ones, which have the same names; none where there is no such folder."""
    if not folder.is_dir():
        return {}
    return {"right": [path if (path := folder / frame.name).is_file() else None for frame in frames]}
