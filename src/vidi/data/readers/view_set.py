"""Pictures with others of the same scene, the right one of a stereo pair or the frames before and after; and cameras.

A track is pictures of one camera in their order, with what lies beside each. Disparity and depth are pictures of 16
bits, pixels and metres times 256, 0 where they are not known, as KITTI writes them.
"""

import copy
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torchvision import tv_tensors

from vidi import files
from vidi.data.faults import FaultLog, OnFault
from vidi.data.readers.calibration import Calibration
from vidi.data.readers.image_set import ImageSet, Target
from vidi.data.readers.splits import Part, part_members
from vidi.ops.stereo import disparity_to_depth

PER_UNIT = 256.0
BESIDE = {
    "right": ("right",),
    "disparity": ("disparity", "disparity_valid"),
    "disparity_right": ("disparity_right", "disparity_right_valid"),
    "depth": ("depth", "depth_valid"),
}
"""What lies beside a picture, and the keys of a target that it gives."""


@dataclass(frozen=True, eq=False)
class Track:
    """Pictures of one camera.

    Attributes:
        frames: the pictures, in the order in which they were taken where they are a video.
        beside: by what it is, a file for each picture; None where there is none.
        camera: of all of them.
        poses: T_world_camera of each.
        is_video: whether a frame has neighbours.
    """

    frames: Sequence[Path]
    beside: dict[str, Sequence[Path | None]] = field(default_factory=dict)
    camera: Calibration | None = None
    poses: Float64[np.ndarray, "N 4 4"] | None = None
    is_video: bool = False

    @functools.cached_property
    def kinds(self) -> frozenset[str]:
        """The keys that targets of its pictures have."""
        kinds = {"image_id", *(key for name in self.beside for key in BESIDE[name])}
        if self.is_video:
            kinds |= {"neighbours"} if self.poses is None else {"neighbours", "poses"}
        if self.camera is not None:
            kinds.add("intrinsics")
            if self.camera.baseline is not None and "right" in self.beside:
                kinds |= {"baseline", *BESIDE["depth"]} if "disparity" in self.beside else {"baseline"}
        return frozenset(kinds)


class ViewSet(ImageSet):
    """The pictures of some tracks; of a video those that have a frame `gap` before and one `gap` behind them.

    Keys that only some tracks can give are given by none.
    """

    def __init__(
        self, tracks: Sequence[Track], root: Path, *, gap: int = 1, part: Part = "all", on_fault: OnFault = "raise"
    ) -> None:
        log = FaultLog(root, on_fault)
        self.tracks, self.gap = tuple(tracks), gap
        kinds = [track.kinds for track in tracks]
        self.kinds = frozenset.intersection(*kinds) if kinds else frozenset({"image_id"})
        baselines = {track.camera.baseline if track.camera else None for track in tracks}
        self.baseline = next(iter(baselines)) if len(baselines) == 1 else None
        every = [(number, frame) for number, track in enumerate(tracks) for frame in range(len(track.frames))]
        for row, (number, frame) in enumerate(every):
            track = tracks[number]
            for name, paths in track.beside.items():
                if paths[frame] is None:
                    log.fault(track.frames[frame], "", f"the picture has no {_spoken(name)}", image=row)
        for number, track in enumerate(tracks):
            if track.poses is not None and len(track.poses) != len(track.frames):
                counted = f"{len(track.poses)} poses for {len(track.frames)} pictures"
                log.fault(track.frames[0].parent, "", f"{counted}, expected one for each")
                log.spoiled.update(row for row, (other, _) in enumerate(every) if other == number)
        log.settle(len(every))
        super().__init__(root, log)
        names = [tracks[number].frames[frame].relative_to(root).as_posix() for number, frame in every]
        given = self._without_faulty(part_members(names, part), log)
        self._members = np.array(every, dtype=np.int64).reshape(-1, 2)[given]
        self._rows = self._with_neighbours()

    def _with_neighbours(self) -> np.ndarray:
        if "neighbours" not in self.kinds:
            return self._members
        counts = np.array([len(track.frames) for track in self.tracks])
        track, frame = self._members.T
        return self._members[(frame >= self.gap) & (frame + self.gap < counts[track])]

    def with_gap(self, gap: int) -> "ViewSet":
        """Return the same set with other neighbours: the frames `gap` before and behind.

        Raises:
            ValueError: if no frame has such neighbours.
        """
        if gap < 1:
            raise ValueError(f"received a frame gap of {gap}, expected at least 1")
        other = copy.copy(self)
        other.gap = gap
        other._rows = other._with_neighbours()
        if len(other._rows) == 0:
            counted = f"none of {len(self._members)} frames has neighbours {gap} frames away"
            raise ValueError(f"{self.root}: {counted}")
        return other

    def __len__(self) -> int:
        return len(self._rows)

    def track_of(self, index: int) -> tuple[Track, int]:
        """Return the track of picture `index`, and its place in it."""
        number, frame = self._rows[index]
        return self.tracks[number], int(frame)

    def path(self, index: int) -> Path:
        track, frame = self.track_of(index)
        return track.frames[frame]

    def target(self, index: int) -> Target:
        track, frame = self.track_of(index)
        target: Target = {"image_id": torch.tensor(index)}
        beside = {name: paths[frame] for name, paths in track.beside.items()}
        if "right" in self.kinds:
            target["right"] = tv_tensors.Image(files.read_image(_known(beside["right"])))
        if track.camera is not None and self.kinds & {"intrinsics", "depth"}:
            track.camera.check_size(files.image_size(track.frames[frame]), track.frames[frame])
            target["intrinsics"] = torch.from_numpy(track.camera.matrix).float()
            if track.camera.baseline is not None:
                target["baseline"] = torch.tensor(track.camera.baseline, dtype=torch.float32)
        for name in ("disparity", "disparity_right", "depth"):
            if name in beside and name in self.kinds:
                target |= _measured(name, _known(beside[name]))
        if "depth" in self.kinds and "depth" not in target:
            if "disparity" not in target:
                target |= _measured("disparity", _known(beside["disparity"]))
            values, valid = disparity_to_depth(
                target["disparity"][None, None].as_subclass(torch.Tensor),
                focal=float(target["intrinsics"][0, 0]),
                baseline=float(target["baseline"]),
            )
            target |= {"depth": tv_tensors.Mask(values[0, 0]), "depth_valid": tv_tensors.Mask(valid[0, 0])}
        if "neighbours" in self.kinds:
            target["neighbours"] = tv_tensors.Image(self._neighbours(track, frame))
        if "poses" in self.kinds and track.poses is not None:
            around = track.poses[[frame - self.gap, frame + self.gap]]
            target["poses"] = torch.from_numpy(np.linalg.inv(around) @ track.poses[frame]).float()
        return target

    def _neighbours(self, track: Track, frame: int) -> torch.Tensor:
        paths = [track.frames[frame + offset] for offset in (-self.gap, self.gap)]
        pictures = [files.read_image(path) for path in paths]
        if pictures[0].shape != pictures[1].shape:
            sizes = " and ".join(f"{picture.shape[2]} x {picture.shape[1]}" for picture in pictures)
            raise ValueError(f"{paths[0]} and {paths[1]}: frames of one video have {sizes} pixels")
        return torch.stack(pictures)


def _measured(name: str, path: Path) -> Target:
    """Read a map of 16 bits: its values, and where they are known."""
    values = files.read_grey16(path).float() / PER_UNIT
    if name != "depth" and float(values.max()) >= values.shape[1]:
        told = f"disparities up to {float(values.max()):g} pixels in a picture {values.shape[1]} wide"
        raise ValueError(f"{path}: {told}; expected pixels times {PER_UNIT:g}")
    return {name: tv_tensors.Mask(values), f"{name}_valid": tv_tensors.Mask(values > 0)}


def _known(path: Path | None) -> Path:
    if path is None:  # a set that was opened has none of these left
        raise ValueError("received a picture without what lies beside it")
    return path


def _spoken(name: str) -> str:
    return {"right": "right picture", "disparity_right": "disparity of the right picture"}.get(name, name)


def in_order(paths: Sequence[Path]) -> list[Path]:
    """Return files in the order of the numbers in their names: frame2 before frame10."""
    return sorted(
        paths, key=lambda path: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
    )
