"""What `vidi data check` says of pictures with other views: whether cameras fit them, and how far videos move."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vidi import files
from vidi.data.faults import Fault
from vidi.data.readers.image_set import ImageSet
from vidi.data.readers.view_set import Track, ViewSet
from vidi.ops.motion import sparse_flow

GAPS = (1, 2, 3, 5, 8)  # frames
LOOKED_AT = 6  # frames, at each gap
WIDTH = 320  # pixels of the pictures that are compared
ENOUGH = 0.01  # share of the width by which half of a picture should move, to tell near from far
STILL = 2 / 255  # change of a pixel that does not move, in [0, 1]
NARROW, WIDE = 10.0, 150.0  # degrees that a picture shows
OFF_MIDDLE = 0.25  # share of a side


def camera_remarks(dataset: ImageSet) -> Iterator[Fault]:
    """Yield a remark for each camera that does not fit its pictures."""
    seen: set[int] = set()
    for track in dataset.tracks if isinstance(dataset, ViewSet) else ():
        if track.camera is not None and id(track.camera) not in seen:
            seen.add(id(track.camera))
            yield from _doubts(track)


def _doubts(track: Track) -> Iterator[Fault]:
    camera, picture = track.camera, track.frames[0]
    if camera is None:
        return
    H, W = files.image_size(picture)
    fx, fy, cx, cy = (float(camera.matrix[place]) for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
    place, size = str(camera.path), f"pictures of {W} x {H} pixels such as {picture.name}"
    for name, middle, side in (("cx", cx, W), ("cy", cy, H)):
        if abs(middle - side / 2) > OFF_MIDDLE * side:
            yield Fault(place, name, f"{middle:g} is far from the middle of {size}: is it for others?")
    angle = 2 * np.degrees(np.arctan(W / 2 / fx))
    if not NARROW < angle < WIDE:
        yield Fault(place, "fx", f"{fx:g} is a field of view of {angle:.0f} degrees of {size}: is it for others?")
    if abs(fx / fy - 1) > 0.1:
        yield Fault(place, "", f"fx {fx:g} and fy {fy:g} differ by more than a tenth: pixels are seldom so long")


def motion_of(dataset: ImageSet) -> dict[str, Any]:
    """Return how far the frames of a set's videos move, by their gap; empty for a set without videos.

    Returns:
        `flow` of each gap, the median over patches in pixels of the originals; `gap`, the least one by which they move
        by `ENOUGH` of the width, or the largest; `static`, the share of pixels that do not change at that gap.
    """
    videos = [track for track in dataset.tracks if track.is_video] if isinstance(dataset, ViewSet) else []
    if not videos:
        return {}
    flows: dict[int, list[Tensor]] = {}
    static: dict[int, list[float]] = {}
    widths = []
    for gap in GAPS:
        starts = [(track, frame) for track in videos for frame in range(len(track.frames) - gap)]
        for row in np.unique(np.linspace(0, len(starts) - 1, LOOKED_AT).round().astype(int)) if starts else ():
            track, frame = starts[row]
            (first, width), (second, other) = (_grey(track, frame + offset) for offset in (0, gap))
            if first.shape != second.shape or width != other:
                continue  # a fault that the pictures themselves show
            scale = width / first.shape[1]
            flows.setdefault(gap, []).append(sparse_flow(first, second).norm(dim=1) * scale)
            static.setdefault(gap, []).append(float(((first - second).abs() < STILL).float().mean()))
            widths.append(width)
    medians = {gap: float(torch.cat(found).median()) for gap, found in flows.items() if sum(map(len, found))}
    if not medians:
        return {}
    wanted = ENOUGH * float(np.median(widths))
    proposed = next((gap for gap, flow in medians.items() if flow >= wanted), max(medians))
    return {"flow": medians, "gap": proposed, "static": float(np.mean(static[proposed]))}


def motion_remarks(place: str, motion: dict[str, Any]) -> Iterator[Fault]:
    """Yield a remark where nothing moves."""
    if motion and max(motion["flow"].values()) == 0:
        yield Fault(place, "", "no motion between frames: depth cannot be learnt from a camera that stands still")


def motion_line(motion: dict[str, Any]) -> str:
    """Return what `motion_of` found as a line."""
    flows = ", ".join(f"{flow:.1f} at {gap}" for gap, flow in motion["flow"].items())
    told = f"proposed frame_gap {motion['gap']}, {motion['static']:.0%} of pixels static there"
    return f"median flow in pixels by frame gap: {flows}; {told}"


def _grey(track: Track, frame: int) -> tuple[Tensor, int]:
    """Return a frame in grey, in [0, 1] and at most `WIDTH` wide, and the width that it has."""
    picture = files.read_image(track.frames[frame]).float().mean(0) / 255
    H, W = picture.shape
    if W <= WIDTH:
        return picture, W
    size = max(1, round(H * WIDTH / W)), WIDTH
    return F.interpolate(picture[None, None], size, mode="area")[0, 0], W
