"""A page of pictures: a few scenes of the world with all that is known about them."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from vidi.data.world.camera import right_pose
from vidi.data.world.caption import find_facts, write_caption
from vidi.data.world.names import NO_PART, SKELETON
from vidi.data.world.other_views import OTHER_VIEW_TRUTHS
from vidi.data.world.renderer import render
from vidi.data.world.scene import make_scene
from vidi.data.world.truth import VIEW_TRUTHS, Observation
from vidi.ops.boxes_3d import EDGES, box_3d_corners, project_points

if TYPE_CHECKING:
    from PIL import Image

CELL = 192  # pixels
GAP = 6
HEADINGS = (
    "image, boxes",
    "masks",
    "semantic",
    "panoptic",
    "depth",
    "disparity",
    "keypoints, 3-D boxes",
    "parts",
    "right view",
    "next frame",
    "occluded there",
)
# One colour per semantic category; ground and sky last.
SEMANTIC_COLOURS = (
    (231, 76, 60),
    (52, 120, 219),
    (241, 196, 15),
    (155, 89, 182),
    (46, 204, 113),
    (139, 118, 90),
    (176, 216, 240),
)


def gallery(seed: int = 0, rows: int = 4) -> "Image.Image":
    """Draw `rows` scenes of the test split (a ValueError if less than 1), one a row, with every truth and a caption."""
    from PIL import Image, ImageDraw

    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    page = Image.new("RGB", (GAP + len(HEADINGS) * (CELL + GAP), 24 + rows * (CELL + 26 + GAP)), (250, 250, 250))
    pen = ImageDraw.Draw(page)
    for column, heading in enumerate(HEADINGS):
        pen.text((GAP + column * (CELL + GAP), 7), heading, fill=(40, 40, 40))
    for row in range(rows):
        seen = Observation(make_scene(seed, "test", row), (CELL, CELL))
        top = 24 + row * (CELL + 26 + GAP)
        for column, cell in enumerate(_cells(seen)):
            page.paste(cell, (GAP + column * (CELL + GAP), top))
        pen.text((GAP, top + CELL + 5), write_caption(find_facts(seen)), fill=(40, 40, 40))
    return page


def _cells(seen: Observation) -> list["Image.Image"]:
    truth = {
        key: np.asarray(VIEW_TRUTHS[key](seen)) for key in ("semantic", "panoptic", "depth", "depth_valid", "parts")
    }
    stereo = {key: np.asarray(OTHER_VIEW_TRUTHS[key](seen)) for key in ("disparity", "disparity_valid", "occluded")}
    picture, following = _photo(seen), render(seen.scene, seen.size, seen.motions[1]).image
    right = render(seen.scene, seen.size, right_pose()).image
    grey = picture.mean(2, keepdims=True).astype(np.uint8).repeat(3, 2)
    occluded = np.where(stereo["occluded"][1][..., None], np.array((230, 40, 40)), grey // 2 + 96)
    return [
        _draw_boxes(seen, picture),
        _cell(_tint(picture, seen.masks)),
        _cell(np.array(SEMANTIC_COLOURS, dtype=np.uint8)[truth["semantic"]]),
        _cell(_paint_ids(truth["panoptic"], truth["panoptic"] > 0)),
        _cell(_paint_heat(1.0 / np.maximum(truth["depth"], 1e-3), truth["depth_valid"])),
        _cell(_paint_heat(stereo["disparity"], stereo["disparity_valid"])),
        _draw_joints(seen, grey // 2 + 96),
        _cell(_paint_parts(truth["parts"], grey)),
        _cell(right.transpose(1, 2, 0)),
        _cell(following.transpose(1, 2, 0)),
        _cell(occluded.astype(np.uint8)),
    ]


def _photo(seen: Observation) -> UInt8[np.ndarray, "H W 3"]:
    return np.ascontiguousarray(seen.view.image.transpose(1, 2, 0))


def _cell(pixels: UInt8[np.ndarray, "H W 3"]) -> "Image.Image":
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(pixels))


def _colours(count: int) -> UInt8[np.ndarray, "count 3"]:
    """Give colours that differ: the hue goes round by the golden ratio."""
    hue = 6.0 * ((0.618034 * np.arange(1, count + 1)) % 1.0)
    bright = np.abs((hue[:, None] + (0.0, 4.0, 2.0)) % 6.0 - 3.0) - 1.0
    return (255 * (0.12 + 0.83 * bright.clip(0.0, 1.0))).astype(np.uint8)


def _tint(picture: UInt8[np.ndarray, "H W 3"], masks: Bool[np.ndarray, "R H W"]) -> UInt8[np.ndarray, "H W 3"]:
    tinted = picture // 2 + 90
    for colour, shown in zip(_colours(len(masks)), masks, strict=True):
        tinted[shown] = 0.35 * picture[shown] + 0.65 * colour
    return tinted


def _paint_ids(ids: np.ndarray, shown: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    return np.where(shown[..., None], _colours(int(ids.max()) + 1)[ids], np.uint8(0))


def _paint_heat(values: Float32[np.ndarray, "H W"], shown: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Paint near (large values) yellow and far blue; what is not valid, black."""
    import matplotlib

    level = values / values[shown].max()
    heat = matplotlib.colormaps["viridis"](level)[..., :3]
    return (255 * np.where(shown[..., None], heat, 0.0)).astype(np.uint8)


def _paint_parts(parts: UInt8[np.ndarray, "H W"], grey: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    return np.where((parts < NO_PART)[..., None], _colours(NO_PART + 1)[parts], grey // 2 + 96)


def _draw_boxes(seen: Observation, picture: UInt8[np.ndarray, "H W 3"]) -> "Image.Image":
    from PIL import ImageDraw

    cell = _cell(picture)
    pen = ImageDraw.Draw(cell)
    boxes = np.asarray(VIEW_TRUTHS["boxes"](seen))
    for box, category in zip(boxes, seen.scene.categories[seen.rows], strict=True):
        pen.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=SEMANTIC_COLOURS[category], width=2)
    return cell


def _draw_joints(seen: Observation, grey: UInt8[np.ndarray, "H W 3"]) -> "Image.Image":
    from PIL import ImageDraw

    cell = _cell(grey)
    pen = ImageDraw.Draw(cell)
    for box, category in zip(np.asarray(VIEW_TRUTHS["boxes_3d"](seen)), seen.scene.categories[seen.rows], strict=True):
        corners = box_3d_corners(torch.from_numpy(box.astype(np.float64))[None])[0]  # 8 3
        pixels = project_points(corners, torch.from_numpy(seen.matrix)).tolist()
        for start, end in EDGES:
            pen.line((*pixels[start], *pixels[end]), fill=SEMANTIC_COLOURS[category], width=1)
    for points, visibility in zip(*seen.points, strict=True):
        for a, b in SKELETON:
            if visibility[a] and visibility[b]:
                pen.line((*points[a], *points[b]), fill=(20, 60, 120), width=2)
        for (x, y), state in zip(points, visibility, strict=True):
            if state:
                colour = (255, 210, 30) if state == 2 else (220, 40, 40)
                pen.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), fill=colour)
    return cell
