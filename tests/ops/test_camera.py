"""Focal lengths from angles and EXIF, by the definitions of both."""

import math
from typing import Any

import pytest
import torch
from PIL.ExifTags import Base

from vidi.ops.camera import focal_of_exif, focal_of_view, straight_camera
from vidi.ops.motion import sparse_flow


def test_the_angle_of_a_width() -> None:
    assert focal_of_view(90, 640) == pytest.approx(320)
    assert focal_of_view(2 * math.degrees(math.atan(18 / 50)), 3600) == pytest.approx(5000)  # 50 mm before 36 mm
    for wrong in (0, 180, -3, math.nan):
        with pytest.raises(ValueError, match="expected more than 0 and less than 180"):
            focal_of_view(wrong, 640)


def test_a_straight_camera_looks_at_the_middle() -> None:
    assert straight_camera(100, (48, 64)).tolist() == [[100, 0, 32], [0, 100, 24], [0, 0, 1]]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, None),
        ({Base.FocalLengthIn35mmFilm: 36}, 36 * 5 / math.hypot(36, 24) * 1000),  # a diagonal of 5000 pixels
        ({Base.FocalLengthIn35mmFilm: 0}, None),  # not known, says the format
        # 8 mm, 500 pixels a millimetre, given for an inch, a centimetre, a millimetre
        ({Base.FocalLength: 8, Base.FocalPlaneXResolution: 12700, Base.FocalPlaneResolutionUnit: 2}, 4000),
        ({Base.FocalLength: 8, Base.FocalPlaneXResolution: 12700}, 4000),
        ({Base.FocalLength: 8, Base.FocalPlaneXResolution: 5000, Base.FocalPlaneResolutionUnit: 3}, 4000),
        ({Base.FocalLength: 8, Base.FocalPlaneXResolution: 500, Base.FocalPlaneResolutionUnit: 4}, 4000),
        ({Base.FocalLength: 8, Base.FocalPlaneXResolution: 500, Base.FocalPlaneResolutionUnit: 9}, None),
        # the sensor made a picture twice as wide
        ({Base.FocalLength: 8, Base.FocalPlaneXResolution: 12700, Base.ExifImageWidth: 8000}, 2000),
        ({Base.FocalLength: 8}, None),
        ({Base.FocalLength: "long", Base.FocalPlaneXResolution: 500}, None),
    ],
)
def test_exif_tells_a_focal_length(tags: dict[int, Any], expected: float | None) -> None:
    found = focal_of_exif(tags, (3000, 4000))
    assert found is None if expected is None else found == pytest.approx(expected)


def test_patches_are_found_where_they_went() -> None:
    first = torch.rand(80, 120, generator=torch.Generator().manual_seed(0))
    first[:30, :60] = 0.5  # nothing to see
    moved = first.roll((3, -5), (0, 1))
    flow = sparse_flow(first, moved, spacing=12, reach=8)
    inside = (flow == torch.tensor([-5.0, 3.0])).all(1)
    assert inside.float().mean() > 0.8  # those at the border went out of the picture
    assert 10 < len(flow) < 60
    assert sparse_flow(torch.full((80, 120), 0.5), moved).shape == (0, 2)
    with pytest.raises(ValueError, match="expected one size"):
        sparse_flow(first, first[:40])
