"""Kinds of pictures: which of them this Pillow reads, how they say which way is up, and what helps with the others.

AVIF and JPEG 2000 are read where Pillow was built with them, HEIC where pillow-heif is installed (`[heic]`), which is
imported when the first such picture is opened. Of moving pictures the first frame is taken.
"""

import importlib.util
import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import PIL.ExifTags
import PIL.features
import PIL.Image

if TYPE_CHECKING:
    import torch

_HAS_AVIF = importlib.util.find_spec("PIL._avif") is not None
_HAS_JPEG_2000 = bool(PIL.features.check_codec("jpg_2000"))
_HAS_HEIC = importlib.util.find_spec("pillow_heif") is not None

_AVIF, _JPEG_2000, _HEIC = (".avif",), (".jp2", ".j2k", ".jpf", ".jpx"), (".heic", ".heif", ".hif")

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "GIF")
IMAGE_FORMATS += ("AVIF",) * _HAS_AVIF + ("JPEG2000",) * _HAS_JPEG_2000 + ("HEIF",) * _HAS_HEIC
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
IMAGE_SUFFIXES += _AVIF * _HAS_AVIF + _JPEG_2000 * _HAS_JPEG_2000 + _HEIC * _HAS_HEIC

_NOT_WRITTEN = {".pgm", *_HEIC}  # grey alone; and nothing but phones shows HEIC
WRITTEN_SUFFIXES = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in _NOT_WRITTEN)
"""Suffixes under which a picture of colours can be written."""

# EXIF orientation (TIFF 6.0, tag 274) -> swap the axes first?, then flip along these axes of C H W.
ORIENTATIONS: dict[int, tuple[bool, tuple[int, ...]]] = {
    2: (False, (-1,)),
    3: (False, (-2, -1)),
    4: (False, (-2,)),
    5: (True, ()),
    6: (True, (-1,)),
    7: (True, (-2, -1)),
    8: (True, (-2,)),
}

# ISO/IEC 23008-12, "Brands": pictures and sequences coded by HEVC, and those of any coder.
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is none of the user's: hidden, or what macOS packs beside a folder."""
    return name.startswith(".") or name == "__MACOSX"


def is_image_name(name: str) -> bool:
    """Tell by its suffix whether a file is an image; hidden files are not."""
    return not is_hidden(name) and name.lower().endswith(IMAGE_SUFFIXES)


def files_below(folder: Path, wanted: Callable[[str], bool] = is_image_name) -> list[str]:
    """Return the files of a folder and of its sub-folders whose name is wanted, as `sub/name`, in alphabetical order.

    Links are followed; a folder that is reached twice is read once.
    """
    found: list[str] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        below = Path(place).relative_to(folder)
        found += [(below / name).as_posix() for name in names if wanted(name)]
    return sorted(found)


def open_formats(handle: io.BufferedIOBase) -> tuple[str, ...]:
    """Return the formats that a file may have, for Pillow to open it with; the position of the handle is kept.

    Raises ImportError for a HEIC picture where pillow-heif is not installed.
    """
    position = handle.tell()
    head = handle.read(64)
    handle.seek(position)
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIC_BRANDS or b"avif" in head:
        return tuple(name for name in IMAGE_FORMATS if name != "HEIF")
    import pillow_heif  # type: ignore[import-not-found]  # of the extra [heic]

    pillow_heif.register_heif_opener(thumbnails=False)
    return ("HEIF",)


# ------------------------------------------------------------------------------------------------ which way is up


def exif_of(image: PIL.Image.Image) -> dict[int, Any]:
    """Return the EXIF tags of a Pillow image, those about the photograph among them; none that cannot be read."""
    try:
        tags = PIL.Image.Image.getexif(image)
        return {**tags, **tags.get_ifd(PIL.ExifTags.IFD.Exif)}
    except Exception:  # as in exif_orientation: an unreadable block says nothing
        return {}


def exif_orientation(image: PIL.Image.Image) -> int:
    """Return the EXIF orientation by which the pixels that Pillow gives have to be turned, 1 where they are upright."""
    # Pillow turns TIFF itself; and it decodes a PNG to look for a block that its header does not have
    if image.format == "TIFF":
        return 1
    try:
        tags = PIL.Image.Image.getexif(image)
        return int(tags.get(PIL.ExifTags.Base.Orientation, 1))
    except Exception:  # an unreadable EXIF block says nothing about orientation: upright, as every viewer takes it
        return 1


def has_late_chunks(png: io.BufferedIOBase) -> bool:
    """Tell whether a PNG file has chunks behind its pixels that may say how it is turned; the position is kept."""
    position, kinds = png.tell(), []
    png.seek(len(b"\x89PNG\r\n\x1a\n"))
    while len(head := png.read(8)) == 8:  # length and kind; the data and their CRC are stepped over
        kinds.append(head[4:])
        png.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    png.seek(position)
    late = kinds[kinds.index(b"IDAT") :] if b"IDAT" in kinds else []
    return b"eXIf" in late or b"iTXt" in late


# ------------------------------------------------------------------------------------------------------- a faster way


def decode_jpeg(image: PIL.Image.Image, data: bytes) -> "torch.Tensor | None":
    """Decode a common JPEG with torchcodec, if that is installed; None where Pillow has to decide."""
    # torchcodec turns a picture by its EXIF block itself, and reads damaged ones in its own way
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L") or "exif" in image.info:
        return None
    import torch

    try:
        from torchcodec.decoders import decode_jpeg  # type: ignore[import-not-found]  # from 0.16 on
    except (ImportError, OSError, RuntimeError):  # not installed, an older one, or one without its libraries
        return None
    try:
        return cast("torch.Tensor", decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode="RGB"))
    except RuntimeError:
        return None


# ----------------------------------------------------------------------------------------------------- what helps

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp", ".mts")

_PILLOW_WITHOUT = "this Pillow was built without the format"
_ADVICE: dict[tuple[str, ...], str] = {
    VIDEO_SUFFIXES: ("a video: take frames first, e.g. mkdir frames && ffmpeg -i {name} frames/%05d.png"),
    _HEIC: "pip install 'vidi[heic]' reads them",
    _AVIF: _PILLOW_WITHOUT,
    _JPEG_2000: _PILLOW_WITHOUT,
    (".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"): (
        "raw data of a camera: develop it to JPEG or TIFF first"
    ),
    (".zip",): "an archive: unpack it first, e.g. unzip {name} -d {stem}, and name the folder",
    (".tar",): "an archive: unpack it first, and name the folder; shards hold KEY.jpg and KEY.txt beside each other",
    (".gz", ".tgz", ".bz2", ".xz", ".rar", ".7z"): "an archive: unpack it first, and name the folder",
    (".pdf",): "pages: make pictures of them first, e.g. pdftoppm -r 200 -png {name} {stem}",
    (".svg",): "a drawing of lines: make pixels of it first, e.g. rsvg-convert -o {stem}.png {name}",
}


def advice(name: str) -> str | None:
    """Say what helps with a file that is no picture which is read here, by its suffix; None where nothing is known."""
    suffix = Path(name).suffix.lower()
    told = next((text for suffixes, text in _ADVICE.items() if suffix in suffixes), None)
    if told is None or suffix in IMAGE_SUFFIXES:
        return None
    return told.format(name=name, stem=Path(name).stem)


def advice_on_source(text: str) -> str | None:
    """Say what helps with a camera or an address given instead of a picture; None for anything else."""
    if re.fullmatch(r"\d+|/dev/video\d+", text):
        device = text if text.startswith("/") else f"/dev/video{text}"
        return f"a camera: take pictures first, e.g. mkdir frames && ffmpeg -f v4l2 -i {device} -t 10 frames/%05d.png"
    address = re.fullmatch(r"([a-z][a-z0-9+.-]+):/{1,2}(?=[^/])(.+)", text)  # a path has lost one of the slashes
    if address is None:
        return None
    scheme, rest = address.groups()
    if scheme.startswith(("rtsp", "rtmp", "udp")):
        return f"a stream: take frames first, e.g. mkdir frames && ffmpeg -i {scheme}://{rest} -t 10 frames/%05d.png"
    way = f", e.g. curl -O {scheme}://{rest}" if scheme in ("http", "https", "ftp") else ""
    return f"an address: vidi fetches nothing, download it first{way}"
