"""Depth images as pictures: files, arrays and tensors, batches, and the targets of pictures in colours."""

import numpy as np
import PIL.Image
import pytest
import torch

from vidi import files
from vidi.data.depth_images import DepthPreprocess, as_depth_images, read_depth_image

MILLIMETRES = np.array([[0, 1500, 2750], [60000, 4000, 1]], np.uint16)
METRES = torch.tensor([[[0, 1.5, 2.75], [60, 4, 0.001]]])


@pytest.fixture
def png(tmp_path):
    PIL.Image.fromarray(MILLIMETRES).save(tmp_path / "depth.png")
    return tmp_path / "depth.png"


@pytest.mark.system("5.1.1-POSE")
def test_files_arrays_and_tensors_give_one_depth(png):
    given = [png, str(png), MILLIMETRES, METRES[0].numpy(), METRES[0].double().numpy(), METRES, METRES[0]]
    for image in [
        *as_depth_images(given),
        *as_depth_images(png),
        *as_depth_images(MILLIMETRES),
        *as_depth_images(METRES),
    ]:
        assert image.dtype == torch.float32
        torch.testing.assert_close(image, METRES, rtol=1e-7, atol=0)
    assert torch.equal(read_depth_image(png), METRES)


def test_grey_of_sixteen_bits_is_read_whole(png, tmp_path):
    assert files.read_grey16(png).tolist() == MILLIMETRES.tolist()
    assert files.read_grey16(png).dtype == torch.int32
    for mode, name in (("L", "l.png"), ("RGB", "rgb.png"), ("P", "p.png")):
        PIL.Image.new(mode, (3, 2)).save(tmp_path / name)
        with pytest.raises(ValueError, match=rf"{name}.*16 bits.*mode {mode}"):
            files.read_grey16(tmp_path / name)
    with pytest.raises(ValueError, match="limit of 5"):
        files.read_grey16(png, max_pixels=5)
    PIL.Image.fromarray(np.array([[70000, 1]], np.int32)).save(tmp_path / "deep.tiff")
    with pytest.raises(ValueError, match="1 to 70000"):
        files.read_grey16(tmp_path / "deep.tiff")


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (np.zeros((2, 2), np.uint8), ValueError, "uint8"),
        (torch.zeros(3, 2, 2), ValueError, r"\(3, 2, 2\)"),
        (torch.full((1, 2, 2), -1.0), ValueError, "negative"),
        (torch.full((1, 2, 2), torch.inf), ValueError, "not finite"),
        (PIL.Image.new("L", (2, 2)), TypeError, "a path of a 16 bit picture"),
    ],
)
def test_what_is_no_depth_is_refused(image, kind, message):
    with pytest.raises(kind, match=message):
        list(as_depth_images([image]))


def test_a_picture_in_colours_has_its_depth_in_the_target():
    preprocess = DepthPreprocess()
    colours, valid = torch.zeros(3, 2, 3, dtype=torch.uint8), torch.tensor([[1, 1, 0], [1, 1, 1]])
    depth, target, placement = preprocess.place(colours, {"depth": METRES[0], "depth_valid": valid, "caption": "a"})
    assert torch.equal(depth, METRES.where(valid[None] > 0, 0))
    assert placement.original == placement.resized == (2, 3)
    assert set(target) == {"depth", "depth_valid", "intrinsics"}
    image, _, _ = preprocess.place(METRES, {"depth": torch.zeros(2, 3)})
    assert torch.equal(image, METRES)  # a depth image is its own depth: that of the target is without its noise
    with pytest.raises(ValueError, match=r"uint8 \(3, 2, 3\)"):
        preprocess.place(colours, {})
    with pytest.raises(ValueError, match="expected keys"):
        preprocess.place(METRES, {"dept": METRES})


def test_cameras_are_the_targets_or_the_kinects():
    preprocess = DepthPreprocess()
    _, target, _ = preprocess.place(torch.ones(1, 240, 320), {})
    assert target["intrinsics"].tolist() == [[292.5, 0, 160], [0, 292.5, 120], [0, 0, 1]]
    own = torch.diag(torch.tensor([7.0, 7, 1]))
    placed = [preprocess.place(METRES, {}), preprocess.place(METRES, {"intrinsics": own})]
    batch = preprocess.collate(placed)
    assert batch.depth.shape == (2, 1, 2, 3)
    assert batch.inputs[0] is batch.depth
    assert batch.inputs[1][0, 0, 0] == 585 / 480 * 2
    assert torch.equal(batch.cameras[1], own)
    assert torch.equal(batch.only(1).inputs[1], own[None])
    assert batch.to(torch.device("cpu")).targets[1]["intrinsics"].equal(own)
    with pytest.raises(ValueError, match="one size"):
        preprocess.collate([placed[0], preprocess.place(torch.ones(1, 4, 4), {})])
    with pytest.raises(ValueError, match="focal=0"):
        DepthPreprocess(focal=0.0)
