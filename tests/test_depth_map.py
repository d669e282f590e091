"""The result of a system of depth: what it says, how it draws itself, and files that others read back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

from vidi.ops.depth_pictures import STRIPES, inverse_depth_picture
from vidi.results.depth_map import DepthMap
from vidi.results.result import Result

H, W, FOCAL = 40, 60, 50.0
PHOTO = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)


def depth_map(**changed: Any) -> DepthMap:
    depth = torch.linspace(2, 20, H)[:, None].expand(H, W).contiguous()
    valid = torch.ones(H, W, dtype=torch.bool)
    valid[:5] = False
    fields = {"depth": depth, "valid": valid, "unit": "metres", "focal": FOCAL, "focal_source": "EXIF"}
    return DepthMap(**fields | changed)


def read_ply(path: Path) -> tuple[list[str], np.ndarray]:
    """Read a binary PLY file after its format's description (Turk 1994)."""
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    (count,) = [int(line.split()[2]) for line in lines if line.startswith("element vertex")]
    kinds = {"float": "<f4", "uchar": "u1"}
    columns = [(line.split()[2], kinds[line.split()[1]]) for line in lines if line.startswith("property")]
    vertices = np.frombuffer(body, np.dtype(columns))
    assert len(vertices) == count
    return [line.removeprefix("comment ") for line in lines if line.startswith("comment")], vertices


def test_what_is_not_valid_has_no_depth_and_no_part_in_the_numbers() -> None:
    gaps = torch.arange(H)[:, None] < 5
    found: Result = depth_map(depth=torch.full((H, W), torch.nan).where(gaps, torch.tensor(4.0)))
    assert isinstance(found, DepthMap)
    assert not found.depth[:5].any()
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["valid"] == pytest.approx(35 / 40)
    assert plain["depth"] == {
        name: pytest.approx(4.0) for name in ("nearest", "5_percent", "median", "95_percent", "farthest")
    }
    assert (plain["unit"], plain["focal_px"], plain["focal_source"]) == ("metres", FOCAL, "EXIF")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"focal": None}, "expected both or none"),
        ({"focal": -1.0}, "a positive number of pixels"),
        ({"depth": torch.full((H, W), torch.inf)}, "not finite"),
        ({"depth": torch.zeros(H, W)}, "not positive"),
    ],
)
def test_inconsistent_maps_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        depth_map(**changed)


def test_a_line_says_unit_and_focal_length() -> None:
    assert str(depth_map()) == "4.77 to 19.5 m, median 12.2 m, 88% valid, focal length 50 px (EXIF)"
    free = depth_map(unit="relative", focal=None, focal_source=None, valid=torch.ones(H, W, dtype=torch.bool))
    assert str(free) == "relative depth, the far is 6.59 times as far as the near, focal length not known"
    assert str(depth_map(valid=torch.zeros(H, W, dtype=torch.bool))) == "no depth"


def test_constant_depth_is_known_by_its_spread() -> None:
    assert not depth_map().is_constant()
    assert depth_map(depth=torch.full((H, W), 3.0)).is_constant()
    assert not depth_map(valid=torch.zeros(H, W, dtype=torch.bool)).is_constant()


def test_colours_follow_the_inverse_of_depth_and_stripes_say_where_there_is_none() -> None:
    import matplotlib

    depth = torch.tensor([[1.0, 2.0, 4.0, 9.0]]).expand(8, 4)
    valid = torch.tensor([True, True, True, False]).expand(8, 4)
    pixels = np.asarray(inverse_depth_picture(depth, valid, (0.25, 1.0)))
    colours = matplotlib.colormaps["magma"]([1.0, (0.5 - 0.25) / 0.75, 0.0], bytes=True)[:, :3]
    assert np.array_equal(pixels[0, :3], colours)
    assert {tuple(colour) for colour in pixels[:, 3]} == {tuple(colour) for colour in STRIPES}


@pytest.mark.parametrize(("size", "beside"), [((40, 60), True), ((20, 60), False)])
def test_a_drawing_has_the_picture_the_colours_and_a_bar(size: tuple[int, int], beside: bool) -> None:
    depth = torch.rand(size) + 1
    drawn = DepthMap(depth, torch.ones(size, dtype=torch.bool), "relative").draw(torch.zeros(3, *size))
    scale = 480 / size[1]
    assert drawn.width == (960 if beside else 480)
    assert drawn.height > (1 if beside else 2) * size[0] * scale
    assert np.asarray(drawn)[:10, :10].max() == 0  # the picture
    with pytest.raises(ValueError, match="received depth of size"):
        depth_map().draw(torch.zeros(3, 4, 4))


def test_a_map_without_depth_and_one_of_one_depth_are_drawn() -> None:
    for found in (depth_map(valid=torch.zeros(H, W, dtype=torch.bool)), depth_map(depth=torch.full((H, W), 3.0))):
        assert found.draw(PHOTO).size[0] == 960


def test_files_are_read_back(tmp_path: Path) -> None:
    found = depth_map()
    paths = found.write_files(tmp_path / "new" / "a.b", PHOTO)
    assert [path.name for path in paths] == [f"a.b.depth.{kind}" for kind in ("png", "npy", "json", "ply")]
    with PIL.Image.open(paths[0]) as picture:
        assert picture.mode.startswith("I;16")
        values = np.array(picture)
        text: Any = picture.info
    assert text["unit"] == "metres"
    assert float(text["scale"]) == 256
    assert (text["focal_px"], text["focal_source"]) == ("50", "EXIF")
    assert not values[:5].any()
    assert np.abs(values[5:] / 256 - found.depth[5:].numpy()).max() <= 0.5 / 256
    assert np.array_equal(np.load(paths[1]), found.depth.numpy())
    assert json.loads(paths[2].read_text()) == found.to_dict()
    comments, vertices = read_ply(paths[3])
    assert comments == ["unit metres", "focal_px 50 (EXIF)", "x to the right, y down, z away"]
    assert len(vertices) == 35 * W
    columns, rows = (FOCAL * vertices[axis] / vertices["z"] + side / 2 for axis, side in (("x", W), ("y", H)))
    i, j = rows.astype(int), columns.astype(int)
    assert np.abs(columns - j - 0.5).max() < 1e-3  # points lie behind the middles of their pixels
    assert np.abs(rows - i - 0.5).max() < 1e-3
    assert np.array_equal(vertices["z"], found.depth.numpy()[i, j])
    assert np.array_equal(np.stack([vertices[name] for name in ("red", "green", "blue")], 1), PHOTO[i, j])


def test_far_and_near_depth_stay_within_16_bits_and_relative_depth_uses_them(tmp_path: Path) -> None:
    depth = torch.full((2, 2), 1e-4)
    depth[0, 0], depth[0, 1] = 1000, 100
    every = torch.ones(2, 2, dtype=torch.bool)
    photo = np.zeros((2, 2, 3), np.uint8)
    png = DepthMap(depth, every, "metres").write_files(tmp_path / "m", photo)[0]
    assert np.array(PIL.Image.open(png)).tolist() == [[65535, 25600], [1, 1]]  # 0 would be no depth
    paths = DepthMap(depth, every, "relative").write_files(tmp_path / "r", photo)
    with PIL.Image.open(paths[0]) as picture:
        assert float(picture.info["scale"]) == pytest.approx(65.535)
        assert "focal_px" not in picture.info
        assert np.array(picture)[0].tolist() == [65535, 6554]
    assert read_ply(paths[3])[0][1] == "focal_px 2 (not known, taken as the width)"


def test_the_points_of_large_pictures_are_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidi.ops.point_cloud.MOST_POINTS", 700)
    found = depth_map()
    _, vertices = read_ply(found.write_files(tmp_path / "a", PHOTO)[3])
    assert len(vertices) == (20 - 3) * 30  # every second row and column; rows 0, 2, 4 have no depth
    assert vertices["z"].max() == found.depth[38, 0]


def test_disparity_comes_along() -> None:
    disparity: Tensor | None = depth_map(disparity=torch.ones(H, W)).disparity
    assert disparity is not None
    with pytest.raises(ValueError, match="disparity that are not finite"):
        depth_map(disparity=torch.full((H, W), torch.nan))
