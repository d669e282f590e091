"""What systems of depth share: which camera a picture has, and outputs as depth in the pixels of the original."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import pytest
import torch
from jaxtyping import Float
from PIL.ExifTags import IFD, Base
from torch import Tensor, nn

from vidi import files
from vidi.api import predict_files
from vidi.depth.estimator import Cameras, DepthEstimator, Estimate, StereoEstimator, estimate_of_disparity
from vidi.model import Losses, Step
from vidi.nn.inference import fuse_for_inference
from vidi.preprocess import PairBatch, Preprocess
from vidi.results.depth_map import DepthMap

SIZE = (24, 48)  # of the canvas
MEAN, STD = (0.0,) * 3, (1.0,) * 3


class Brightness(NamedTuple):
    """What the networks here see."""

    disparity: Float[Tensor, "B H W"]


class Mono(nn.Module):
    """Disparity 8 times the red of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(8.0))

    def forward(self, images: Tensor) -> Brightness:
        return Brightness(self.scale * images[:, 0])


class Stereo(Mono):
    """Disparity 8 times the green of the right picture."""

    def forward(self, images: Tensor, right: Tensor) -> Brightness:
        return Brightness(self.scale * right[:, 1])


def criterion(network: nn.Module, batch: Any, step: Step) -> Losses:
    return {"none": network(*batch.inputs).disparity.sum()}


def of_rig(outputs: Brightness, cameras: Cameras) -> Estimate:
    """Read depth out as of cameras half a metre apart."""
    return estimate_of_disparity(outputs.disparity, cameras._replace(baselines=torch.full_like(cameras.focals, 0.5)))


def guessing(outputs: Brightness, cameras: Cameras) -> Estimate:
    """Read metres out, and estimate the focal length where it is not known."""
    return Estimate(outputs.disparity, cameras.focals > -1, cameras.focals.nan_to_num(70.0))


def of_pair(outputs: Brightness, cameras: Cameras) -> Estimate:
    return estimate_of_disparity(outputs.disparity, cameras)


def mono(read_out: Any = of_rig) -> DepthEstimator:
    return DepthEstimator(Mono(), criterion, read_out, Preprocess(exact=SIZE, mean=MEAN, std=STD)).eval()


def stereo() -> StereoEstimator:
    return StereoEstimator(Stereo(), criterion, of_pair, Preprocess(exact=SIZE, mean=MEAN, std=STD, paired=True)).eval()


def plain(value: float, size: tuple[int, int] = (48, 144)) -> Tensor:
    return torch.full((3, *size), value)


def photo(path: Path, **tags: Any) -> Path:
    exif = PIL.Image.Exif()
    path.parent.mkdir(parents=True, exist_ok=True)
    exif.get_ifd(IFD.Exif).update({getattr(Base, name): value for name, value in tags.items()})
    PIL.Image.fromarray(np.full((48, 144, 3), 128, np.uint8)).save(path, exif=exif)
    return path


def test_depth_is_of_the_original_whatever_the_canvas() -> None:
    """d = 4 px on a canvas a third as wide, f = 150 px of the original: z = 0.5 * 50 / 4."""
    (found,) = mono().predict(plain(0.5), focal_px=150)
    assert isinstance(found, DepthMap)
    assert found.depth.shape == (48, 144)
    assert torch.allclose(found.depth, torch.tensor(0.5 * 50 / 4))
    assert found.disparity is not None
    assert torch.allclose(found.disparity, torch.tensor(12.0))
    assert (found.unit, found.focal, found.focal_source) == ("metres", pytest.approx(150), "given")


def test_an_angle_stands_for_a_focal_length() -> None:
    (found,) = mono().predict(plain(0.5), fov=90)
    assert (found.focal, found.focal_source) == (pytest.approx(72), "given")


def test_a_camera_of_which_no_more_is_known_looks_at_the_middle() -> None:
    ((_, known),) = mono().samples(plain(0.5), focal_px=150)
    assert known["intrinsics"].tolist() == [[150, 0, 72], [0, 150, 24], [0, 0, 1]]


def test_without_a_camera_depth_has_no_unit() -> None:
    (found,) = mono().predict(plain(0.5))
    assert (found.unit, found.focal, found.focal_source) == ("relative", None, None)
    assert torch.allclose(found.depth, torch.tensor(0.25))


def test_what_is_given_wins_over_exif_and_exif_over_an_estimate(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", FocalLengthIn35mmFilm=36)
    diagonal = 36 * math.hypot(48, 144) / math.hypot(36, 24)
    model = mono(guessing)
    with PIL.Image.open(path) as opened:
        for image in (path, str(path), opened):
            (found,) = model.predict(image)
            assert (found.focal, found.focal_source) == (pytest.approx(diagonal, rel=1e-5), "EXIF")
        (array,) = model.predict(np.asarray(opened))
        assert array.focal_source == "estimated"
    (given,) = model.predict(path, focal_px=99)
    assert (given.focal, given.focal_source) == (pytest.approx(99), "given")
    (found,) = model.predict(photo(tmp_path / "b.jpg"))
    assert (found.focal, found.focal_source) == (pytest.approx(70 * 3), "estimated")


def test_the_focal_length_of_a_turned_photo(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", FocalLength=8, FocalPlaneXResolution=254.0, ExifImageWidth=144)
    with PIL.Image.open(path) as picture:
        exif = picture.getexif()
        exif[Base.Orientation] = 6
        picture.save(path, exif=exif)
    (found,) = mono().predict(path)
    assert found.depth.shape == (144, 48)
    assert (found.focal, found.focal_source) == (pytest.approx(80), "EXIF")


def test_data_sets_have_cameras_of_their_own() -> None:
    camera = torch.tensor([[150.0, 0, 70], [0, 150, 20], [0, 0, 1]])
    (found,) = mono().predict_samples([(plain(0.5), {"intrinsics": camera})])
    assert (found.focal, found.focal_source) == (pytest.approx(150), "data set")
    assert torch.allclose(found.depth, torch.tensor(0.5 * 50 / 4))


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"focal_px": 100, "fov": 60}, "expected one of them"),
        ({"focal_px": 0}, "a positive number of pixels"),
        ({"focal_px": math.nan}, "a positive number of pixels"),
        ({"fov": 200}, "less than 180"),
    ],
)
def test_cameras_that_cannot_be_are_refused(known: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mono().predict(plain(0.5), **known)  # pyright: ignore[reportArgumentType]


def test_where_disparity_is_not_positive_there_is_no_depth() -> None:
    image = plain(0.5)
    image[:, :, :72] = 0
    (found,) = mono().predict(image, focal_px=150)
    assert not found.valid[:, :66].any()  # a pixel of the canvas is three of the original, and resizing mixes two
    assert found.valid[:, 72:].all()


def test_pairs_go_in_together_and_a_rig_makes_metres() -> None:
    left, right = plain(0.1), plain(0.5)
    far, near = stereo().predict([(left, right), (left, plain(1.0))], focal_px=150, baseline=0.2)
    assert torch.allclose(far.depth, torch.tensor(0.2 * 50 / 4))
    assert torch.allclose(near.depth, torch.tensor(0.2 * 50 / 8))
    assert far.unit == "metres"
    assert stereo().predict([(left, right)], focal_px=150)[0].unit == "relative"
    assert stereo().predict([(left, right)], baseline=0.2)[0].unit == "relative"


@pytest.mark.parametrize(
    ("names", "beside"),
    [
        (("a/left.png", "a/right.png"), "a"),
        (("a/left.png", "a/right.png"), "."),
        (("left/0.png", "right/0.png"), "."),
        (("train/left/0.png", "train/right/0.png"), "."),
    ],
)
def test_folders_of_pairs_tell_their_camera(tmp_path: Path, names: tuple[str, str], beside: str) -> None:
    paths = tuple(photo(tmp_path / name) for name in names)
    assert stereo().predict([paths])[0].unit == "relative"
    told = {"fx": 150, "fy": 150, "cx": 71.5, "cy": 23.5, "baseline": 0.2}
    files.write_json(tmp_path / beside / "calib.json", told)
    (found,), (given,) = stereo().predict([paths]), stereo().predict([paths], focal_px=150, baseline=0.2)
    assert found.unit == "metres"
    assert torch.equal(found.depth, given.depth)
    assert (found.focal_source, given.focal_source) == ("data set", "given")
    (wide,) = stereo().predict([paths], focal_px=300, baseline=0.1)
    assert wide.focal == 300
    assert torch.allclose(wide.depth, found.depth)
    files.write_json(tmp_path / beside / "calib.json", {**told, "height": 48, "width": 145})
    with pytest.raises(ValueError, match=r"has 144 x 48 pixels, .*calib\.json is for 145 x 48"):
        stereo().predict([paths])


def test_what_is_no_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="expected pairs of a left and a right picture"):
        stereo().predict([plain(0.1)])
    with pytest.raises(TypeError, match="received a tuple, expected pairs"):
        stereo().predict([(plain(0.1),) * 3])
    one, other = photo(tmp_path / "l.png"), tmp_path / "r.png"
    PIL.Image.new("RGB", (20, 10)).save(other)
    with pytest.raises(ValueError, match=r"l.png and .*r.png: .* 144 x 48 and 20 x 10 pixels, expected one size"):
        stereo().predict([(one, other)])
    for baseline in (-1, 0, math.inf):
        with pytest.raises(ValueError, match=f"baseline={baseline}, expected a positive number of metres"):
            stereo().predict([(one, one)], baseline=baseline)
    model = stereo()
    with pytest.raises(ValueError, match=r"the images \[0\] have no 'right'"):
        model.loss([plain(0.5)], [{}])


def test_the_right_picture_is_resized_as_the_left_one() -> None:
    """Pictures of another size than the network's: what it sees on the right is the right picture, not zeros."""
    one, other = torch.rand(2, 3, 30, 50)
    model = stereo()
    batch, swapped = (
        model.preprocess.collate([model.preprocess.place(*sample) for sample in model.samples([pair])])
        for pair in ((one, other), (other, one))
    )
    assert isinstance(batch, PairBatch)
    assert batch.right.shape == (1, 3, *SIZE)
    assert torch.equal(batch.right, swapped.images)
    assert torch.equal(batch.images, swapped.right)  # type: ignore[union-attr]


def test_the_right_picture_is_normalised_and_padded_as_the_left_one() -> None:
    preprocess = Preprocess(stride=32, paired=True)
    left, right = torch.rand(2, 3, 20, 40)
    batch = preprocess.collate([preprocess.place(left, {"right": right})])
    swapped = preprocess.collate([preprocess.place(right, {"right": left})])
    assert isinstance(batch, PairBatch)
    assert batch.right.shape == (1, 3, 32, 64)
    assert torch.equal(batch.right, swapped.images)
    with pytest.raises(ValueError, match=r"the images \[1\] have a 'right' of another shape"):
        preprocess.collate([preprocess.place(left, {"right": other}) for other in (right, right[:, 1:])])
    assert torch.equal(batch.inputs[1], batch.to(torch.device("cpu")).only(0).inputs[1])


def test_files_are_predicted_with_what_is_known_and_broken_ones_told(tmp_path: Path) -> None:
    good, bad = photo(tmp_path / "a.jpg", FocalLengthIn35mmFilm=36), tmp_path / "b.jpg"
    bad.write_bytes(b"no picture")
    (_, image, result), (_, nothing, error) = predict_files(mono(), [good, bad], known={"focal_px": 150})
    assert image.shape == (3, 48, 144)
    assert result.focal == pytest.approx(150)
    assert nothing is None
    assert "b.jpg" in str(error)
    ((_, _, result),) = predict_files(mono(), [good])
    assert result.focal_source == "EXIF"
    ((source, left, result),) = predict_files(stereo(), [(good, good)], known={"baseline": 0.2})
    assert source == (good, good)
    assert (left.shape, result.unit) == ((3, 48, 144), "metres")
    with pytest.raises(ValueError, match="received baseline for a model that takes focal_px, fov"):
        next(predict_files(mono(), [good], known={"baseline": 0.2}))


def test_a_fused_model_takes_the_same(tmp_path: Path) -> None:
    (found,) = fuse_for_inference(mono()).predict(plain(0.5), focal_px=150)
    assert (found.unit, found.focal_source) == ("metres", "given")
