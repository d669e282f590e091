"""The only place that touches the disk: bounded image decoding, atomic writes, the safetensors gate.

Reading is strict: what cannot be decoded whole is an error that names the file, never a guess. Writing is all or
nothing: bytes go to a temporary file beside the target, are forced to the disk, and only then take its name, so that
a killed process or a full disk leaves the old file. torch is imported by the functions that need it: `vidi runs` and
`vidi --help` do without.
"""

import csv
import errno
import io
import json
import mmap
import os
import re
import secrets
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, cast

import numpy as np
import PIL.Image
import PIL.PngImagePlugin

from vidi import formats
from vidi.formats import IMAGE_FORMATS, ORIENTATIONS, WRITTEN_SUFFIXES

if TYPE_CHECKING:
    import torch

PathLike = str | os.PathLike[str]

MAX_PIXELS = 89_478_485  # Pillow's own bound: a quarter of a gigabyte of RGB


@dataclass(frozen=True)
class ImageBytes:
    """The bytes of an image file that is not on the disk; decoded as that file would be, errors begin with the name."""

    name: str
    data: bytes
    max_pixels: int = MAX_PIXELS


# ---------------------------------------------------------------------------------------------------------- images


def read_image(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> "torch.Tensor":
    """Decode one image file to uint8 RGB of shape 3 H W, upright by its EXIF orientation.

    Grey is repeated, palettes are looked up, transparency is laid over white, 16-bit grey keeps its high byte. The
    memory may be channels-last: that is how decoders give it, and how resizing is fastest.
    Raises FileNotFoundError, or ValueError for a file that is truncated, not of `IMAGE_FORMATS`, or larger than
    `max_pixels`.
    """
    return decode_image(path, read_bytes(path), max_pixels=max_pixels)


def decode_image(name: PathLike, data: bytes, *, max_pixels: int = MAX_PIXELS) -> "torch.Tensor":
    """Decode the bytes of an image as `read_image` does those of a file; errors begin with the name."""
    with _open_image(name, data, max_pixels) as image:
        return _upright_rgb(name, image, data)


def decode_reduced(
    name: PathLike, data: bytes, enough: Callable[[tuple[int, int]], tuple[int, int]], *, max_pixels: int = MAX_PIXELS
) -> tuple["torch.Tensor", tuple[int, int]]:
    """Decode a JPEG that is more than twice as large as needed at a half, a quarter or an eighth; others as they are.

    That costs a fraction of the time: the decoder leaves out the fine coefficients of the cosine transform. The pixels
    are not those of the whole picture resized, but near them.

    Args:
        name: for errors, which are those of `decode_image`.
        data: the bytes of the file.
        enough: from the size (H, W) of the whole upright picture to the size at least as large as which it is wanted.

    Returns:
        Pixels as of `decode_image`, and the size (H, W) of the whole upright picture.
    """
    with _open_image(name, data, max_pixels) as image:
        swapped, _ = ORIENTATIONS.get(formats.exif_orientation(image), (False, ()))
        whole = (image.width, image.height) if swapped else (image.height, image.width)
        h, w = enough(whole)
        if image.format not in ("JPEG", "MPO") or whole[0] <= 2 * h or whole[1] <= 2 * w:
            return _upright_rgb(name, image, data), whole
        image.draft(image.mode, (h, w) if swapped else (w, h))
        return _upright_rgb(name, image), whole


def image_pixels(image: PIL.Image.Image) -> "torch.Tensor":
    """Return the pixels of a Pillow image as `read_image` gives those of its file: uint8 RGB of shape 3 H W, upright.

    Raises ValueError for an image that cannot be decoded, and for pixels of 32 bits.
    """
    return _upright_rgb(getattr(image, "filename", "") or "a Pillow image", image)


def _upright_rgb(path: PathLike, image: PIL.Image.Image, data: bytes | None = None) -> "torch.Tensor":
    """Decode an open image; `data`, the whole file, opens a faster way."""
    import torch

    pixels = None if data is None else formats.decode_jpeg(image, data)
    if pixels is None:
        pixels = torch.from_numpy(_rgb_array(path, image)).permute(2, 0, 1)  # H W 3 -> 3 H W
    swapped, flipped = ORIENTATIONS.get(formats.exif_orientation(image), (False, ()))
    if swapped:
        pixels = pixels.transpose(-2, -1)
    return pixels.flip(flipped) if flipped else pixels


class NotALabelMapError(ValueError):
    """A picture of colours where one integer a pixel was expected."""


def read_label_map(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> "torch.Tensor":
    """Decode a map of integer labels to uint8 of shape H W; palette indices are kept, not looked up.

    Raises NotALabelMapError for colour images, ValueError for labels above 255 and wherever `read_image` does.
    """
    import torch

    with _open_image(path, read_bytes(path), max_pixels) as image:
        _load_pixels(path, image)
        if image.mode not in ("1", "L", "P", "I", "I;16"):
            expected = "expected a label map (one integer a pixel)"
            raise NotALabelMapError(f"{path}: {expected}, got an image of mode {image.mode}")
        labels = np.array(image)  # H W
    if labels.size and int(labels.max()) > 255:
        raise ValueError(f"{path}: labels go up to {labels.max()}, expected at most 255")
    return torch.from_numpy(labels.astype(np.uint8))


def read_grey16(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> "torch.Tensor":
    """Decode a grey picture of 16 bits to int32 of shape H W: what depth sensors write.

    Raises ValueError for any other picture, and wherever `read_image` does.
    """
    import torch

    with _open_image(path, read_bytes(path), max_pixels) as image:
        _load_pixels(path, image)
        if image.mode not in ("I", "I;16", "I;16B"):
            raise ValueError(f"{path}: expected a grey picture of 16 bits, got an image of mode {image.mode}")
        values = np.array(image).astype(np.int32)  # H W
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ValueError(f"{path}: expected values of 16 bits, got {values.min()} to {values.max()}")
    return torch.from_numpy(values)


def image_size(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Read (H, W) in pixels from the header of an image, as `read_image` would give it."""
    try:
        handle = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such image") from None
    with handle, _open_image(path, handle, max_pixels) as image:
        if image.format == "PNG" and formats.has_late_chunks(handle):
            _load_pixels(path, image)  # Pillow reads what stands behind the pixels with them
        swapped, _ = ORIENTATIONS.get(formats.exif_orientation(image), (False, ()))
        return (image.width, image.height) if swapped else (image.height, image.width)


def read_exif(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> tuple[dict[int, Any], tuple[int, int]]:
    """Read the EXIF tags of an image file and its size (H, W) as it is stored, before it is turned upright.

    Raises FileNotFoundError, or ValueError for a file that is no image.
    """
    return decode_exif(path, read_bytes(path), max_pixels=max_pixels)


def decode_exif(name: PathLike, data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[dict[int, Any], tuple[int, int]]:
    """Read the EXIF tags in the bytes of an image as `read_exif` does those of a file."""
    with _open_image(name, data, max_pixels) as image:
        return formats.exif_of(image), (image.height, image.width)


def write_image(
    path: PathLike,
    image: "torch.Tensor | PIL.Image.Image",
    *,
    quality: int = 95,
    text: Mapping[str, str] | None = None,
) -> None:
    """Write an image atomically, in the format of the path's suffix.

    A tensor is uint8 of shape 3 H W, 1 H W or H W; `quality` is that of JPEG and WebP, `text` goes into chunks of PNG.
    """
    write_atomic(path, lambda handle: _encode_image(handle, path, image, quality, text))


def encode_image(
    image: "torch.Tensor | PIL.Image.Image",
    suffix: str,
    *,
    quality: int = 95,
    text: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of the file that `write_image` would write under a name with this suffix, such as `.png`."""
    content = io.BytesIO()
    _encode_image(content, f"picture{suffix}", image, quality, text)
    return content.getvalue()


def _encode_image(
    handle: BinaryIO | io.BytesIO,
    path: PathLike,
    image: "torch.Tensor | PIL.Image.Image",
    quality: int,
    text: Mapping[str, str] | None,
) -> None:
    picture = image if isinstance(image, PIL.Image.Image) else _picture_of(image)
    PIL.Image.init()
    name = PIL.Image.registered_extensions().get(Path(path).suffix.lower())
    if name not in IMAGE_FORMATS or name == "HEIF":
        raise ValueError(f"{path}: cannot write this suffix; choose from {', '.join(WRITTEN_SUFFIXES)}")
    chunks = PIL.PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    picture.save(handle, format=name, quality=quality, pnginfo=chunks)


def _picture_of(image: "torch.Tensor") -> PIL.Image.Image:
    import torch

    plane = image.shape[0] == 1 if image.ndim == 3 else image.ndim == 2
    if image.dtype != torch.uint8 or not (plane or (image.ndim == 3 and image.shape[0] == 3)):
        raise ValueError(f"expected a uint8 image of shape 3 H W, 1 H W or H W, got {image.dtype} {tuple(image.shape)}")
    array = image.detach().cpu().reshape(image.shape[-2:]) if plane else image.detach().cpu().permute(1, 2, 0)
    return PIL.Image.fromarray(array.numpy())


def _open_image(path: PathLike, source: bytes | io.BufferedReader, max_pixels: int) -> PIL.Image.Image:
    handle = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        image = PIL.Image.open(handle, formats=formats.open_formats(handle))
    except ImportError:
        raise ValueError(f"{path}: a HEIC picture: pip install 'vidi[heic]' reads them") from None
    except PIL.UnidentifiedImageError:
        known = f"not an image of a known format ({', '.join(IMAGE_FORMATS)})"
        raise ValueError(f"{path}: {formats.advice(Path(path).name) or known}") from None
    except Exception as error:  # a decoder fed with hostile bytes may raise anything
        raise ValueError(f"{path}: cannot be read as an image: {error}") from error
    if image.width * image.height > max_pixels:
        raise ValueError(f"{path}: {image.width} x {image.height} pixels are more than the limit of {max_pixels}")
    return image


def _load_pixels(path: PathLike, image: PIL.Image.Image) -> None:
    try:
        image.load()
    except Exception as error:  # as in _open_image
        raise ValueError(f"{path}: damaged image: {error}") from error


def _rgb_array(path: PathLike, image: PIL.Image.Image) -> np.ndarray:
    _load_pixels(path, image)
    if image.mode.startswith("I;16"):
        high = (np.array(image) >> 8).astype(np.uint8)  # H W
        return np.repeat(high[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ValueError(f"{path}: {image.mode}-mode pixels (32 bits) have no known range; expected 8 or 16 bits")
    if image.has_transparency_data:
        opaque = PIL.Image.new("RGBA", image.size, "white")
        opaque.alpha_composite(image.convert("RGBA"))
        image = opaque
    return np.array(image.convert("RGB"))


# ---------------------------------------------------------------------------------------------------------- writing


def write_atomic(path: PathLike, write: Callable[[BinaryIO], None], *, sync: bool = True) -> None:
    """Replace a file by what `write` puts into the given binary handle, or leave it as it was.

    Parent folders are made. Without `sync` the file outlives its process, but not a machine that loses its power in the
    next seconds; a disk takes many more such files a second. Raises OSError naming the path when the disk is full, also
    where torch reports that as RuntimeError. A process killed in between leaves a temporary file: see
    `remove_temporaries`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as handle:
            write(handle)
            handle.flush()
            if sync:
                os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        _raise_if_disk_failed(path, error)
        raise
    if sync:
        _sync_folder(path.parent)


def remove_temporaries(folder: PathLike, start: str = "") -> int:
    """Delete what killed writers left of files that nobody writes now, those with a name that begins so; count them."""
    left = [
        entry for entry in Path(folder).glob(f".{start}*.tmp") if re.fullmatch(r"\..+\.[0-9a-f]{12}\.tmp", entry.name)
    ]
    for entry in left:
        entry.unlink()
    return len(left)


def write_text(path: PathLike, text: str, *, sync: bool = True) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode(), sync=sync)


def write_bytes(path: PathLike, content: bytes, *, sync: bool = True) -> None:
    """Write bytes atomically."""
    write_atomic(path, lambda handle: _write_all(handle, content), sync=sync)


def write_array(path: PathLike, values: np.ndarray) -> None:
    """Write an array as `.npy`, atomically."""
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    write_bytes(path, content.getvalue())


def write_npz(path: PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as `.npz`, atomically."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_bytes(path, content.getvalue())


def copy(source: PathLike, path: PathLike) -> None:
    """Write the bytes of a file to another, atomically."""
    write_bytes(path, read_bytes(source))


def link(source: PathLike, path: PathLike) -> None:
    """Give the content of a file a second name; copy it where the file system has no such links."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(os.path.realpath(source), path)
    except FileExistsError:
        pass
    except OSError:
        copy(source, path)


@contextmanager
def locked(path: PathLike) -> Iterator[None]:
    """Hold a file that no other process may hold meanwhile; a killed process lets go of it. BlockingIOError if held."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        if os.name == "posix":
            import fcntl

            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise
            except OSError:  # a file system of several machines that knows no locks
                pass
        yield


def write_json(path: PathLike, value: Any) -> None:
    """Write a value as indented JSON, atomically; ValueError for NaN and infinities, which JSON does not have."""
    try:
        text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{path}: cannot be written as JSON: {error}") from None
    write_text(path, text + "\n")


def write_csv(path: PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, atomically; the columns are the keys of all rows in order of first appearance."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _write_all(handle: BinaryIO, data: bytes) -> None:
    handle.write(data)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise_if_disk_failed(path: Path, error: BaseException) -> None:
    """Turn each of the ways in which a full or failing disk shows into one OSError that names the target."""
    cause = next((link for link in _chain(error) if isinstance(link, OSError) and link.errno is not None), None)
    if cause is not None and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        raise OSError(cause.errno, "no space left on the disk; what was there before is kept", str(path)) from error
    if cause is not None and isinstance(error, RuntimeError | OSError):
        raise OSError(cause.errno, f"cannot be written: {cause.strerror}", str(path)) from error
    # torch's zip writer loses the errno: "basic_ios::clear: iostream error", "inline_container.cc: unexpected pos"
    if isinstance(error, RuntimeError) and re.search(r"iostream|inline_container|PytorchStreamWriter", str(error)):
        message = f"cannot be written, the disk is probably full ({str(error).splitlines()[0]})"
        raise OSError(errno.ENOSPC, message, str(path)) from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# ------------------------------------------------------------------------------------------------- text and numbers


def read_bytes(path: PathLike) -> bytes:
    """Read a whole file; FileNotFoundError names it."""
    return _existing(path).read_bytes()


def read_part(path: PathLike, offset: int, size: int) -> bytes:
    """Read so many bytes of a file from an offset on; ValueError if it ends before."""
    with _existing(path).open("rb") as handle:
        handle.seek(offset)
        data = handle.read(size)
    if len(data) < size:
        raise ValueError(f"{path}: ends after {offset + len(data)} bytes, expected {offset + size}")
    return data


def tar_members(path: PathLike) -> list[tuple[str, int, int]]:
    """Return the plain files of a tar archive that is not compressed: name, offset and size; ValueError if damaged."""
    whole = _existing(path).stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            found = [(member.name, member.offset_data, member.size) for member in archive if member.isfile()]
    except tarfile.TarError as error:
        raise ValueError(f"{path}: not a tar archive without compression, or a damaged one: {error}") from None
    if found and found[-1][1] + found[-1][2] > whole:
        raise ValueError(f"{path}: the archive is cut short in {found[-1][0]}")
    return found


def read_text(path: PathLike) -> str:
    """Read UTF-8 text, with or without a byte-order mark."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start})") from None


def read_lines(path: PathLike) -> Iterator[str]:
    """Yield the lines of UTF-8 text without their ends, one by one."""
    with _existing(path).open(encoding="utf-8", newline="\n") as handle:
        yield from (line.rstrip("\n") for line in handle)


def read_json(path: PathLike) -> Any:
    """Read strict JSON; ValueError with file and line for bad syntax, NaN and infinities."""
    text = read_text(path)

    def refuse(constant: str) -> NoReturn:
        raise json.JSONDecodeError(f"{constant} is not JSON", text, _position_of_constant(text, constant))

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}{_cut(text, error)}") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    except ValueError as error:  # an integer of thousands of digits
        raise ValueError(f"{path}: {error}") from None


def _cut(text: str, error: json.JSONDecodeError) -> str:
    """Say at which byte a json breaks, and that it was cut short where nothing but an end is missing."""
    byte, size = len(text[: error.pos].encode()), len(text.encode())
    is_cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
    return f" (byte {byte} of {size}{': the file is cut short, get it again' if is_cut and size else ''})"


def _position_of_constant(text: str, constant: str) -> int:
    tokens = re.finditer(r'"(?:[^"\\]|\\.)*"|-?Infinity|NaN', text)  # strings are stepped over whole
    return next((token.start() for token in tokens if token.group() == constant), 0)


def find_bytes(path: PathLike, needles: Sequence[bytes]) -> frozenset[bytes]:
    """Tell which byte strings occur in a file, without reading it into memory."""
    if _existing(path).stat().st_size == 0:  # an empty file cannot be mapped
        return frozenset()
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return frozenset(needle for needle in needles if content.find(needle) >= 0)


def read_csv(path: PathLike) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header line."""
    return list(csv.DictReader(io.StringIO(read_text(path))))


def read_npz(path: PathLike) -> dict[str, np.ndarray]:
    """Read all arrays of an npz file; pickled objects are refused with ValueError."""
    npz_names(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zip, zlib and header errors of many types
        raise ValueError(f"{path}: not a readable npz file: {error}") from error


def npz_names(path: PathLike) -> frozenset[str]:
    """Return the names of the arrays of an npz file without reading them."""
    if not zipfile.is_zipfile(_existing(path)):
        raise ValueError(f"{path}: not an npz file")
    with zipfile.ZipFile(path) as archive:
        return frozenset(name.removesuffix(".npy") for name in archive.namelist())


def _existing(path: PathLike) -> Path:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    return path


# ---------------------------------------------------------------------------------------------------------- tensors


def weight_folders() -> list[Path]:
    """Return the folders where published files are looked for; downloads go into the first."""
    import torch

    chosen = os.environ.get("VIDI_WEIGHTS")
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    return [Path(chosen), cache] if chosen else [cache]


def read_tensors(path: PathLike) -> dict[str, "torch.Tensor"]:
    """Read a safetensors file; ValueError for anything else, a pickle under that name first of all."""
    import safetensors.torch

    _check_safetensors_header(path)
    try:
        return safetensors.torch.load_file(os.fspath(path))
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a valid safetensors file: {error}") from error


def read_metadata(path: PathLike) -> dict[str, str]:
    """Read the text metadata of a safetensors file without its tensors."""
    import safetensors

    _check_safetensors_header(path)
    try:
        with safetensors.safe_open(os.fspath(path), framework="numpy") as archive:
            return dict(archive.metadata() or {})
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: not a valid safetensors file: {error}") from error


def write_tensors(
    path: PathLike, tensors: Mapping[str, "torch.Tensor"], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors as safetensors, atomically; ValueError where two of them share memory."""
    import safetensors.torch

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        data = safetensors.torch.save(plain, metadata=dict(metadata) if metadata else None)
    except RuntimeError as error:
        raise ValueError(f"{path}: these tensors cannot be stored: {' '.join(str(error).split())}") from None
    write_bytes(path, data)


def read_state(path: PathLike) -> Any:
    """Read what `write_state` wrote: nested containers of tensors and plain values, on the CPU.

    Raises ValueError for a damaged file and for one that would run code when unpickled.
    """
    import torch

    try:
        return torch.load(_existing(path), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # zip, pickle and size errors of many types
        # not torch's own words, which advise to unpickle the file without the check
        raise ValueError(f"{path}: damaged, or holds more than tensors and plain values") from error


def program_bytes(program: Any, extra: Mapping[str, str]) -> bytes:
    """Return a program of torch.export as the contents of a file (.pt2), with files of text in it."""
    import torch

    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=dict(extra))
    return buffer.getvalue()


def program_of(contents: bytes) -> Any:
    """Return the program that `program_bytes` wrote in this process; a file of others can hold pickles."""
    import torch

    return torch.export.load(io.BytesIO(contents))


def write_state(path: PathLike, state: Any) -> None:
    """Write nested containers of tensors and plain values with torch.save, atomically."""
    import torch

    write_atomic(path, lambda handle: torch.save(state, cast(Any, handle)))


def _check_safetensors_header(path: PathLike) -> None:
    with open(_existing(path), "rb") as handle:
        start = handle.read(9)
    # eight bytes of length, of which the first may be any, go before the header's brace
    if start[8:] != b"{" and (start[:4] == b"PK\x03\x04" or start[:1] == b"\x80"):
        raise ValueError(f"{path}: a pickle under the name of safetensors; pickles run code and are refused")
    if len(start) < 9 or start[8:9] != b"{":
        raise ValueError(f"{path}: not a safetensors file (no header)")
