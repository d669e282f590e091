"""Videos and cameras by PyAV (`[video]`): frames with their times, turned upright, and drawn frames back into a video.

A drawn video is written in pieces, one with each part of the results, so that a killed run loses none that is done;
`join_pieces` puts the packets of all of them into one file, without coding them again.
"""

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import PIL.Image
import torch
from jaxtyping import UInt8
from torch import Tensor

from vidi import files

TICKS = 90_000
"""Of a second: the clock of a drawn video."""

CODERS = ("libx264", "mpeg4")
"""How a drawn video is coded: by the first of these that this PyAV has."""


class Frame(NamedTuple):
    """One picture of a video."""

    number: int  # from 0
    seconds: float  # from the beginning of the video
    pixels: UInt8[Tensor, "3 H W"]


def has_pyav() -> bool:
    """Tell whether videos can be read."""
    return importlib.util.find_spec("av") is not None


def needs_pyav() -> str:
    """Say what reads videos."""
    return "videos and cameras are read with PyAV: pip install 'vidi[video]'"


def frames_of(path: str, *, camera: bool = False, every: int = 1) -> Iterator[Frame]:
    """Yield the frames of a video, or of a camera without an end.

    Args:
        path: a file, or a device of Linux.
        camera: whether it is a device.
        every: only each so-manieth frame; numbers count all.

    Raises:
        ValueError: for what cannot be decoded, at the frame where that shows.
    """
    import av
    import av.error

    try:
        with av.open(path, format="v4l2" if camera else None) as container:
            if not container.streams.video:
                raise ValueError(f"{path}: holds no video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            first = None
            for number, frame in enumerate(container.decode(stream)):
                time = frame.time if frame.time is not None else number / float(stream.average_rate or 1)
                first = time if first is None else first
                if number % every == 0:
                    yield Frame(number, time - first, _upright(frame))
    except av.error.FFmpegError as error:
        raise ValueError(f"{path}: {'cannot be opened' if camera else 'a damaged video'}: {error.strerror}") from error


def _upright(frame: Any) -> UInt8[Tensor, "3 H W"]:
    """Return the pixels of a frame as players show them: phones store videos turned, and say by how much."""
    pixels = frame.to_ndarray(format="rgb24")  # H W 3
    turned = np.rot90(pixels, round(frame.rotation / 90))
    return torch.from_numpy(np.ascontiguousarray(turned)).permute(2, 0, 1)


# ----------------------------------------------------------------------------------------------------------------------
# Drawn videos


def canvas_for(drawn: PIL.Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size (H, W) of a drawn video, given its first picture and the size (H, W) of that without a legend.

    A legend may grow by half. Sides are even, as coders ask for.
    """
    grows = drawn.height > size[0]
    height = max(drawn.height, round(1.5 * size[0])) if grows else drawn.height
    return height + height % 2, drawn.width + drawn.width % 2


def write_piece(path: Path, pictures: Iterable[tuple[float, PIL.Image.Image]], canvas: tuple[int, int]) -> None:
    """Write pictures with their times in seconds as a piece of a video, atomically.

    Args:
        path: in Matroska's format, which keeps times.
        pictures: what is larger than the canvas is cut, what is smaller gets a black border.
        canvas: size (H, W), even.
    """
    import av

    coder = next(name for name in CODERS if name in av.codecs_available)

    def write(handle: BinaryIO) -> None:
        with av.open(handle, "w", format="matroska") as container:
            stream: Any = container.add_stream(coder, rate=Fraction(TICKS, TICKS // 25))
            stream.height, stream.width = canvas
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, TICKS)
            stream.codec_context.max_b_frames = 0  # Matroska keeps one time of a packet: that of showing it
            for seconds, picture in pictures:
                sheet = PIL.Image.new("RGB", (canvas[1], canvas[0]))
                sheet.paste(picture, (0, 0))
                frame = av.VideoFrame.from_image(sheet)
                frame.pts, frame.time_base = round(seconds * TICKS), Fraction(1, TICKS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    files.write_atomic(path, write)


def join_pieces(pieces: Sequence[Path], path: Path) -> None:
    """Write the packets of pieces, in the order of their times, as one video, atomically."""
    import av

    def write(handle: BinaryIO) -> None:
        with av.open(handle, "w", format="mp4") as container:
            written: Any = None
            for piece in pieces:
                with av.open(str(piece)) as part:
                    stream = part.streams.video[0]
                    written = written or container.add_stream_from_template(stream)
                    for packet in part.demux(stream):
                        if packet.size:  # the last one is empty
                            packet.dts, packet.stream = packet.pts, written
                            container.mux(packet)

    files.write_atomic(path, write)
