"""Pictures as people have them: every format by hand-made files, and a sentence for what is no picture."""

import sys
import types
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from vidi import files, formats
from vidi.data.readers.image_set import counted_suffixes, given_pictures, image_paths

RAMP = np.arange(0, 252, 3, dtype=np.uint8).reshape(4, 7, 3)
HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"


def smooth(height=32, width=48):
    """Return a picture that coders with losses keep."""
    y, x = np.mgrid[:height, :width]
    return np.stack((y * 255 // height, x * 255 // width, np.full((height, width), 80)), axis=2).astype(np.uint8)


def test_this_pillow_reads_what_phones_cameras_and_scanners_write():
    kinds = {"JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "GIF", "AVIF", "JPEG2000"}
    assert kinds <= set(formats.IMAGE_FORMATS)
    suffixes = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".avif", ".jp2"}
    assert suffixes <= set(formats.IMAGE_SUFFIXES)


@pytest.mark.parametrize("suffix", [".jp2", ".j2k"])
def test_jpeg_2000_is_read_exactly(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(smooth()).save(path)
    assert torch.equal(files.read_image(path), torch.from_numpy(smooth()).permute(2, 0, 1))
    assert files.image_size(path) == (32, 48)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_avif_is_read_upright(tmp_path, orientation):
    path, tags = tmp_path / "a.avif", PIL.Image.Exif()
    tags[0x0112] = orientation
    PIL.Image.fromarray(smooth()).save(path, quality=95, exif=tags.tobytes())
    swapped, flipped = formats.ORIENTATIONS.get(orientation, (False, ()))
    expected = torch.from_numpy(smooth()).permute(2, 0, 1)
    expected = (expected.transpose(1, 2) if swapped else expected).flip(flipped)
    found = files.read_image(path)
    assert tuple(found.shape[1:]) == files.image_size(path) == tuple(expected.shape[1:])
    assert (found.int() - expected.int()).abs().max() <= 8


def test_the_first_frame_of_a_moving_picture_is_read(tmp_path):
    frames = [PIL.Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    for suffix in (".gif", ".webp", ".png"):
        path = tmp_path / f"a{suffix}"
        options: dict[str, Any] = {"lossless": True} if "w" in suffix else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        assert files.read_image(path).flatten(1).unique(dim=1).T.tolist() == [[255, 0, 0]], suffix
    labels = PIL.Image.fromarray(np.array([[0, 1], [255, 0]], dtype=np.uint8), mode="P")
    labels.putpalette([value for value in range(256) for _ in range(3)])
    labels.save(tmp_path / "labels.gif", optimize=False)
    assert files.read_label_map(tmp_path / "labels.gif").tolist() == [[0, 1], [255, 0]]


def test_heic_says_how_it_is_read_where_it_is_not(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(HEIC + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    for read in (files.read_image, files.image_size):
        with pytest.raises(ValueError, match=r"a\.heic: a HEIC picture: pip install 'vidi\[heic\]' reads them"):
            read(tmp_path / "a.heic")


def test_heic_is_registered_when_the_first_is_opened(tmp_path, monkeypatch):
    opened = []
    module = types.ModuleType("pillow_heif")
    module.__dict__["register_heif_opener"] = lambda **options: opened.append(options)
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    for name, content, expected in (
        ("a.heic", HEIC, [{"thumbnails": False}]),
        ("b.avif", b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf", []),
        ("c.jpg", b"\xff\xd8\xff\xe0", []),
    ):
        (tmp_path / name).write_bytes(content + bytes(100))
        opened.clear()
        with (tmp_path / name).open("rb") as handle:
            found = formats.open_formats(handle)
            assert handle.tell() == 0
        assert opened == expected, name
        assert ("HEIF" in found) == bool(expected)


def test_heic_of_a_phone_is_read_upright(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    tags = PIL.Image.Exif()
    tags[0x0112] = 6
    written = heif.from_pillow(PIL.Image.fromarray(smooth(64, 96)))
    written.save(tmp_path / "a.heic", quality=95, exif=tags.tobytes())
    found = files.read_image(tmp_path / "a.heic")
    assert files.image_size(tmp_path / "a.heic") == tuple(found.shape[1:])
    upright = torch.from_numpy(smooth(64, 96)).permute(2, 0, 1).transpose(1, 2).flip(-1)
    assert (found.int() - upright.int()).abs().max() <= 8


@pytest.mark.parametrize("suffix", formats.WRITTEN_SUFFIXES)
def test_what_can_be_written_is_read_back(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    files.write_image(path, PIL.Image.fromarray(smooth()))
    found = files.read_image(path)
    assert (found.int() - torch.from_numpy(smooth()).permute(2, 0, 1).int()).abs().float().mean() < 6
    with pytest.raises(ValueError, match=r"a\.heic: cannot write this suffix; choose from \.jpg"):
        files.write_image(tmp_path / "a.heic", PIL.Image.fromarray(smooth()))


# ------------------------------------------------------------------------------------------------------- what is given


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(RAMP).save(path)
    return path


def test_folders_are_walked_whole_and_the_rest_is_counted_by_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "IMAGE_SUFFIXES", (".jpg", ".png"))  # as if pillow-heif were not installed
    wanted = [write(tmp_path / name) for name in ("1.jpg", "a/1.jpg", "a/b/c/2.PNG")]
    for name in ("a/notes.txt", "a/b/more.TXT", "IMG_1.HEIC", "clip.mov", "README", ".hidden", "drawn/1.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    given = given_pictures([tmp_path, tmp_path / "a"], drawn=tmp_path / "drawn")
    assert given.paths == wanted  # those of the inner folder once
    assert given.skipped == {".heic": 1, ".mov": 1, ".txt": 4, "without suffix": 1}
    assert counted_suffixes(given.skipped) == (
        "1 .heic (pip install 'vidi[heic]' reads them), "
        "1 .mov (a video: take frames first, e.g. mkdir frames && ffmpeg -i NAME.mov frames/%05d.png), "
        "4 .txt, 1 without suffix"
    )


def test_a_folder_without_pictures_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"holds no images \(\.jpg, .*\); it holds 1 \.txt$"):
        image_paths([tmp_path])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0", "0: a camera: take pictures first, e.g. mkdir frames && ffmpeg -f v4l2 -i /dev/video0 -t 10 "),
        ("/dev/video7", "/dev/video7: a camera: take pictures first, e.g. mkdir frames && ffmpeg -f v4l2 -i /dev/"),
        ("https://x.org/a.jpg", "fetches nothing, download it first, e.g. curl -O https://x.org/a.jpg"),
        ("s3://bucket/a.jpg", "an address: vidi fetches nothing, download it first"),
        ("rtsp://door/1", "a stream: take frames first, e.g. mkdir frames && ffmpeg -i rtsp://door/1 -t 10 frames/"),
        ("clip.mp4", "clip.mp4: a video: take frames first, e.g. mkdir frames && ffmpeg -i clip.mp4 frames/%05d.png"),
        ("photos.zip", "photos.zip: an archive: unpack it first, e.g. unzip photos.zip -d photos, and name the folder"),
        ("photos.tar.gz", "photos.tar.gz: an archive: unpack it first"),
        ("a.cr2", "a.cr2: raw data of a camera: develop it to JPEG or TIFF first"),
        ("b.pdf", "b.pdf: pages: make pictures of them first, e.g. pdftoppm -r 200 -png b.pdf b"),
        ("c.svg", "c.svg: a drawing of lines: make pixels of it first, e.g. rsvg-convert -o c.png c.svg"),
    ],
)
def test_what_is_no_picture_gets_the_sentence_that_helps(tmp_path, monkeypatch, text, told):
    monkeypatch.chdir(tmp_path)
    if text.rpartition(".")[2] in {"mp4", "zip", "gz", "cr2", "pdf", "svg"} and "/" not in text:
        (tmp_path / text).write_bytes(b"none")
        with pytest.raises(ValueError) as raised:  # noqa: PT011, the text is compared below
            files.read_image(text)
        assert told in str(raised.value)
    with pytest.raises(ValueError) as raised:  # noqa: PT011, the text is compared below
        image_paths([text])
    assert told in str(raised.value)


def test_a_path_that_is_nothing_is_told_as_that():
    assert [formats.advice_on_source(text) for text in ("photos/none.jpg", "C:/photos", "a:b")] == [None] * 3
    assert formats.advice("a.txt") is None
    assert formats.advice("a.jpg") is None
    with pytest.raises(FileNotFoundError, match=r"none\.jpg: no such file or folder"):
        image_paths(["none.jpg"])
