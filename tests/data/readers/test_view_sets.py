"""Stereo pairs and videos on disk, each layout as its publisher describes it, with what can be wrong about them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from tests.data.readers.pictures import picture, text
from vidi.data.faults import DataFaults
from vidi.data.readers.stereo_folders import pair_paths
from vidi.data.readers.view_set import ViewSet
from vidi.data.recognise import recognise

H, W = 20, 40


def map16(path: Path, value: float, size: tuple[int, int] = (H, W)) -> Path:
    """Write a map of 16 bits, pixels or metres times 256, whose first row is not known."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full(size, round(256 * value), np.uint16)
    values[0] = 0
    PIL.Image.fromarray(values).save(path)
    return path


def scene(root: Path, *, camera: bool = False) -> Path:
    picture(root / "left.png", seed=1)
    picture(root / "right.png", seed=2)
    map16(root / "disp_left.png", 2.5)
    if camera:
        told = {"fx": 50, "fy": 51, "cx": 19.5, "cy": 9, "baseline": 0.1, "width": W, "height": H}
        text(root / "calib.json", json.dumps(told))
    return root


def frames(folder: Path, count: int = 6) -> list[Path]:
    return [picture(folder / f"{number}.png", seed=number) for number in range(1, count + 1)]


def poses(path: Path, count: int = 6) -> Path:
    """Write a camera that goes forward half a metre a frame, as KITTI writes it."""
    return text(path, "".join(f"1 0 0 0 0 1 0 0 0 0 1 {0.5 * number}\n" for number in range(count)))


def opened(root: Path, split: str = "all") -> ViewSet:
    found = recognise(root).open(split)
    assert isinstance(found, ViewSet)
    return found


# ----------------------------------------------------------------------------------------------------------------------
# Stereo


def test_folders_of_scenes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        scene(tmp_path / name)
    found = recognise(tmp_path)
    assert found.format == "stereo_folders"
    assert found.reason.startswith("2 stereo pairs, 2 with disparity, 0 with a known camera")
    dataset = opened(tmp_path)
    assert dataset.kinds == {"image_id", "right", "disparity", "disparity_valid"}
    image, target = dataset[1]
    assert torch.equal(image, torch.from_numpy(np.array(PIL.Image.open(tmp_path / "b/left.png"))).permute(2, 0, 1))
    right = torch.from_numpy(np.array(PIL.Image.open(tmp_path / "b/right.png"))).permute(2, 0, 1)
    assert torch.equal(target["right"], right)
    assert (target["disparity"][1:] == 2.5).all()
    assert target["disparity_valid"].sum(1).tolist() == [0] + [W] * (H - 1)


def test_a_known_rig_makes_depth_of_disparity(tmp_path: Path) -> None:
    """z = 50 * 0.1 / 2.5 m; the middle of the first pixel is (0, 0) on disk, and (0.5, 0.5) here."""
    dataset = opened(scene(tmp_path, camera=True))
    assert dataset.baseline == 0.1
    target = dataset.giving(("depth", "depth_valid", "intrinsics"))[0][1]
    assert set(target) == {"image_id", "depth", "depth_valid", "intrinsics"}
    assert torch.allclose(target["depth"][1:].as_subclass(torch.Tensor), torch.tensor(2.0))
    assert not target["depth_valid"][0].any()
    assert target["intrinsics"].tolist() == [[50, 0, 20], [0, 51, 9.5], [0, 0, 1]]
    assert set(dataset[0][1]) == dataset.kinds


def test_parallel_folders_in_splits(tmp_path: Path) -> None:
    for split, names in (("train", "abc"), ("test", "d")):
        for name in names:
            picture(tmp_path / split / "left" / f"{name}.png")
            picture(tmp_path / split / "right" / f"{name}.jpg")
            map16(tmp_path / split / "disparity" / f"{name}.png", 1)
            map16(tmp_path / split / "disp_right" / f"{name}.png", 2)
    text(tmp_path / "intrinsics.txt", "50 0 19.5\n0 50 9.5\n0 0 1\n")
    found = recognise(tmp_path)
    assert [*found.splits] == ["train", "val", "test"]
    assert len(found.open("test")) == 1
    target = found.open("train")[0][1]
    assert (target["disparity"][1, 0], target["disparity_right"][1, 0]) == (1, 2)
    assert "baseline" not in target


def test_pairs_without_disparity_are_pairs(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / "left" / f"{name}.png")
        picture(tmp_path / "right" / f"{name}.png")
    assert opened(tmp_path).kinds == {"image_id", "right"}


def test_missing_right_pictures_are_faults_with_their_files(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / "left" / f"{name}.png")
        picture(tmp_path / "right" / f"{name}.png")
    (tmp_path / "right/b.png").unlink()
    with pytest.raises(DataFaults, match=r"left/b.png: the picture has no right picture"):
        recognise(tmp_path).open("all")
    assert len(recognise(tmp_path).open("all", on_fault="drop")) == 2
    scene(tmp_path / "of_scenes" / "s")
    (tmp_path / "of_scenes/s/right.png").unlink()
    with pytest.raises(DataFaults, match=r"s/left.png: the picture has no right picture"):
        recognise(tmp_path / "of_scenes").open("all")


def test_what_differs_in_size_or_scale_is_told_with_its_file(tmp_path: Path) -> None:
    picture(scene(tmp_path / "a") / "right.png", (10, 20))
    with pytest.raises(ValueError, match=r"a/left.png: the image has 40 x 20 pixels, its right .* 20 x 10"):
        opened(tmp_path / "a")[0]
    map16(scene(tmp_path / "b") / "disp_left.png", 60)
    with pytest.raises(ValueError, match=r"disp_left.png: disparities up to 60 pixels in a picture 40 wide"):
        opened(tmp_path / "b")[0]
    picture(scene(tmp_path / "c") / "disp_left.png")
    with pytest.raises(ValueError, match=r"disp_left.png: expected a grey picture of 16 bits"):
        opened(tmp_path / "c")[0]
    text(
        scene(tmp_path / "d", camera=True) / "calib.json",
        '{"fx": 5, "fy": 5, "cx": 1, "cy": 1, "width": 9, "height": 9}',
    )
    with pytest.raises(ValueError, match=r"left.png: the picture has 40 x 20 pixels, .*calib.json is for 9 x 9"):
        opened(tmp_path / "d")[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("calib.json", '{"fx": 0, "fy": 5, "cx": 1, "cy": 1}', "cannot be inverted"),
        ("calib.json", '{"fx": 5}', "expected an object with the numbers fx, fy, cx, cy"),
        ("calib.json", '{"fx": 5, "fy": 5, "cx": 1, "cy": 1, "baseline": -1}', "the baseline is -1.0"),
        ("intrinsics.txt", "1 2 3\n", "3 numbers, expected a 3 x 3 matrix or fx fy cx cy"),
        ("intrinsics.txt", "1 2\na b\n", "line 2: expected numbers, got 'a b'"),
    ],
)
def test_cameras_that_cannot_be_are_told_with_their_file(tmp_path: Path, name: str, content: str, message: str) -> None:
    text(scene(tmp_path) / name, content)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        recognise(tmp_path)


def test_pairs_to_predict_on(tmp_path: Path) -> None:
    left, right = scene(tmp_path / "a") / "left.png", tmp_path / "a/right.png"
    for given in ([left, right], [tmp_path], [tmp_path / "a"]):
        assert pair_paths(given) == {left: right}
    right.unlink()
    with pytest.raises(ValueError, match=r"left.png: the picture has no right picture"):
        pair_paths([tmp_path])
    with pytest.raises(FileNotFoundError, match="nowhere: no such file"):
        pair_paths([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    for wrong in ([left], [tmp_path / "empty"]):
        with pytest.raises(ValueError, match="no stereo pairs; expected LEFT RIGHT, or folders with"):
            pair_paths(wrong)


# ----------------------------------------------------------------------------------------------------------------------
# Videos


def forward(distance: float) -> list[list[float]]:
    """Return T_neighbour_target of a neighbour that is so far ahead: its points are nearer by that."""
    return [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -distance], [0, 0, 0, 1]]


def test_frames_with_a_camera_and_a_path(tmp_path: Path) -> None:
    for number in (1, 2, 10, 11, 3):  # the order is that of the numbers
        picture(tmp_path / "ride" / f"f{number}.png", seed=number)
    text(tmp_path / "ride/intrinsics.txt", "50 51 19.5 9.5\n")
    poses(tmp_path / "ride/poses.txt", 5)
    found = recognise(tmp_path)
    assert (found.format, found.reason.partition(";")[0]) == (
        "sequences",
        "frames: 5 frames in 1 sequences, 5 with poses, 0 with a right picture",
    )
    dataset = opened(tmp_path)
    assert [dataset.path(row).stem for row in range(len(dataset))] == ["f2", "f3", "f10"]
    target = dataset[1][1]
    before, behind = (torch.from_numpy(np.array(PIL.Image.open(tmp_path / f"ride/f{n}.png"))) for n in (2, 10))
    assert torch.equal(target["neighbours"], torch.stack((before, behind)).permute(0, 3, 1, 2))
    assert target["poses"].tolist() == [forward(-0.5), forward(0.5)]
    assert target["intrinsics"].tolist() == [[50, 0, 20], [0, 51, 10], [0, 0, 1]]
    wide = dataset.with_gap(2)
    assert [wide.path(row).stem for row in range(len(wide))] == ["f3"]
    assert wide[0][1]["poses"].tolist() == [forward(-1), forward(1)]
    with pytest.raises(ValueError, match="none of 5 frames has neighbours 3 frames away"):
        dataset.with_gap(3)
    with pytest.raises(ValueError, match="frame gap of 0"):
        dataset.with_gap(0)


def test_a_sequence_may_be_the_folder_itself_and_the_camera_above(tmp_path: Path) -> None:
    frames(tmp_path / "one" / "image_l")
    text(tmp_path / "one/calib.json", '{"fx": 50, "fy": 50, "cx": 19.5, "cy": 9.5}')
    assert len(opened(tmp_path / "one")) == 4
    for name in "ab":
        frames(tmp_path / "many" / "train" / name, 4)
        frames(tmp_path / "many" / "val" / name, 3)
    for split in ("train", "val"):
        text(tmp_path / "many" / split / "calib.json", '{"fx": 50, "fy": 50, "cx": 19.5, "cy": 9.5}')
    assert [len(opened(tmp_path / "many", split)) for split in ("train", "val")] == [4, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 0 0 0 0 1 0 0 0 0 1 0\n", "1 poses for 6 pictures, expected one for each"),
        ("1 2 3\n", "pose 1: 3 numbers, expected 12"),
        ("2 0 0 0 0 1 0 0 0 0 1 0\n", "pose 1: its 3 x 3 part is no rotation"),
    ],
)
def test_paths_that_do_not_fit_are_told(tmp_path: Path, content: str, message: str) -> None:
    frames(tmp_path)
    text(tmp_path / "intrinsics.txt", "50 50 19.5 9.5")
    text(tmp_path / "poses.txt", content)
    with pytest.raises(ValueError, match=message):
        recognise(tmp_path).open("all")


def test_a_video_whose_path_does_not_fit_is_left_out(tmp_path: Path) -> None:
    for name in "ab":
        frames(tmp_path / name)
        text(tmp_path / name / "intrinsics.txt", "50 50 19.5 9.5")
        poses(tmp_path / name / "poses.txt", 6 if name == "a" else 5)
    dataset = recognise(tmp_path).open("all", on_fault="drop")
    assert {dataset.path(row).parent.name for row in range(len(dataset))} == {"a"}
    assert (len(dataset), dataset.left_out) == (4, 6)


def test_frames_of_two_sizes_are_told(tmp_path: Path) -> None:
    picture(frames(tmp_path)[2], (10, 20))
    text(tmp_path / "intrinsics.txt", "50 50 19.5 9.5")
    with pytest.raises(ValueError, match=r"1.png and .*3.png: frames of one video have 40 x 20 and 20 x 10 pixels"):
        opened(tmp_path)[0]


FX, CX, CY = 50.0, 18.0, 9.0


def projections(prefix: str, digits: int) -> str:
    """Return KITTI's four matrices: camera 2 is 6 cm to the right of the first, camera 3 54 cm to the right of that."""
    shifts = (0.0, -0.54 * FX, 0.06 * FX * -1, -0.60 * FX)
    rows = [
        f"{prefix}{number:0{digits}d}: {FX} 0 {CX} {shift} 0 {FX} {CY} 0 0 0 1 0" for number, shift in enumerate(shifts)
    ]
    return "\n".join(rows) + "\n"


def odometry(root: Path, numbers: Sequence[str], *, camera: int = 2) -> None:
    for number in numbers:
        place = root / "sequences" / number
        for side in (camera, camera + 1):
            for frame in range(4):
                picture(place / f"image_{side}" / f"{frame:06d}.png", seed=10 * side + frame)
        text(place / "calib.txt", projections("P", 1) + "Tr: 1 0 0 0 0 1 0 0 0 0 1 0\n")
        text(place / "times.txt", "0\n0.1\n0.2\n0.3\n")


def test_kitti_odometry(tmp_path: Path) -> None:
    odometry(tmp_path, ("00", "09", "11"))
    turn = "0 0 1 {z} 0 1 0 0 -1 0 0 {z}\n"  # the camera looks along the world's x
    for number in ("00", "09"):
        text(tmp_path / "poses" / f"{number}.txt", "".join(turn.format(z=float(n)) for n in range(4)))
    found = recognise(tmp_path)
    assert (found.format, [*found.splits]) == ("kitti_odometry", ["train", "val", "test"])
    dataset = found.open("test")
    assert isinstance(dataset, ViewSet)
    assert dataset.baseline == pytest.approx(0.54)
    assert dataset.kinds == {"image_id", "right", "baseline", "neighbours", "poses", "intrinsics"}
    target = dataset[0][1]
    assert target["intrinsics"].tolist() == [[FX, 0, CX + 0.5], [0, FX, CY + 0.5], [0, 0, 1]]
    right = np.array(PIL.Image.open(tmp_path / "sequences/09/image_3/000001.png"))
    assert torch.equal(target["right"], torch.from_numpy(right).permute(2, 0, 1))
    # no turn between frames: camera 2 goes as the first does; +x of the world is +z of the camera, +z its -x
    expected = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, -1], [0, 0, 0, 1]])
    assert torch.allclose(target["poses"][1], expected)
    assert "poses" not in found.open("train").kinds  # sequence 11 has none


def test_the_path_of_kitti_is_that_of_the_camera_beside_the_first(tmp_path: Path) -> None:
    """By a turn of 90 degrees about y, a camera 6 cm to the right of the axis goes 6 cm back and 6 cm to the left."""
    odometry(tmp_path, ("05",))
    straight, turned = "1 0 0 0 0 1 0 0 0 0 1 0\n", "0 0 1 0 0 1 0 0 -1 0 0 0\n"
    text(tmp_path / "poses/05.txt", straight + straight + turned + turned)
    target = opened(tmp_path)[0][1]
    T = target["poses"][1].double()  # of frame 2, which is turned
    position = -T[:3, :3].T @ T[:3, 3]  # of the neighbour in the target's frame
    assert torch.allclose(position, torch.tensor([-0.06, 0, -0.06], dtype=torch.float64), atol=1e-6)


def test_grey_kitti_odometry(tmp_path: Path) -> None:
    odometry(tmp_path, ("03",), camera=0)
    dataset = opened(tmp_path)
    assert dataset.baseline == pytest.approx(0.54)
    assert len(dataset) == 2


def test_kitti_raw(tmp_path: Path) -> None:
    date = tmp_path / "2011_09_26"
    drive = date / "2011_09_26_drive_0001_sync"
    for side in (2, 3):
        for frame in range(5):
            picture(drive / f"image_{side:02d}" / "data" / f"{frame:010d}.png", seed=side + frame)
    header = "calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.950000e-02\nP_rect_xx: no matrix\n"
    text(date / "calib_cam_to_cam.txt", header + projections("P_rect_", 2))
    dataset = opened(tmp_path)
    assert recognise(tmp_path).format == "kitti_raw"
    assert dataset.kinds == {"image_id", "right", "baseline", "neighbours", "intrinsics"}
    assert len(dataset) == 3
    assert len(opened(date)) == 3
    for frame in range(1, 5):  # the first frames of a drive have no measured depth
        map16(drive / "proj_depth/groundtruth/image_02" / f"{frame:010d}.png", 12)
    dataset = opened(tmp_path)
    assert len(dataset) == 2
    target = dataset[0][1]
    assert (target["depth"][1:] == 12).all()
    assert not target["depth_valid"][0].any()


def test_files_of_kitti_that_cannot_be_are_told(tmp_path: Path) -> None:
    odometry(tmp_path, ("00",))
    text(tmp_path / "sequences/00/calib.txt", "P2: 1 2 3\n")
    with pytest.raises(ValueError, match=r"calib.txt: P2 has 3 numbers, expected 12"):
        recognise(tmp_path)
    text(tmp_path / "sequences/00/calib.txt", "Tr: 1 2 3\n")
    with pytest.raises(ValueError, match=r"calib.txt: no line P0 or P00"):
        recognise(tmp_path)
