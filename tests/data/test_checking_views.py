"""What the check of a data set says of cameras and of videos: whether they fit, and how far frames move."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.data.readers.pictures import text
from vidi.data.checking import Report, check_dataset

H, W = 96, 200


def video(folder: Path, step: int, camera: str = "180 180 99.5 47.5") -> Report:
    """Write a video of a wall with a plain upper third that goes `step` pixels to the left a frame, and check it."""
    wall = np.random.default_rng(0).integers(0, 255, (H, W + 16 * step), dtype=np.uint8)
    wall[: H // 3] = 128
    folder.mkdir()
    for frame in range(12):
        PIL.Image.fromarray(wall[:, frame * step : frame * step + W]).save(folder / f"{frame}.png")
    text(folder / "intrinsics.txt", camera)
    return check_dataset(folder)


def test_flow_by_gap_and_the_gap_that_is_enough(tmp_path: Path) -> None:
    report = video(tmp_path / "v", step=1)
    motion = report.splits["train"].motion
    assert motion["flow"] == {gap: pytest.approx(gap) for gap in (1, 2, 3, 5, 8)}
    assert motion["gap"] == 2  # a hundredth of 200 pixels
    assert motion["static"] == pytest.approx(1 / 3, abs=0.05)
    assert "median flow in pixels by frame gap: 1.0 at 1, 2.0 at 2" in str(report)
    assert "proposed frame_gap 2" in str(report)
    assert not report.remarks


def test_large_pictures_are_compared_small_and_told_in_their_own_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidi.data.checking_views.WIDTH", W // 2)
    assert video(tmp_path / "v", step=4).splits["train"].motion["flow"][1] == pytest.approx(4)


def test_a_camera_that_stands_still_is_remarked(tmp_path: Path) -> None:
    report = video(tmp_path / "v", step=0)
    assert any("no motion between frames" in remark.message for remark in report.remarks)
    assert report.splits["train"].motion["static"] == 1


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        ("180 180 400 47.5", "400.5 is far from the middle of pictures of 200 x 96 pixels"),
        ("180 180 99.5 5", "5.5 is far from the middle"),
        ("9 9 99.5 47.5", "9 is a field of view of 170 degrees"),
        ("180 120 99.5 47.5", "fx 180 and fy 120 differ by more than a tenth"),
    ],
)
def test_cameras_of_other_pictures_are_doubted(tmp_path: Path, camera: str, message: str) -> None:
    found = [remark.message for remark in video(tmp_path / "v", step=2, camera=camera).remarks]
    assert sum(message in one for one in found) == 1
