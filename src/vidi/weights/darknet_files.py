"""Weight files of the Darknet framework (pjreddie.com/darknet; github.com/AlexeyAB/darknet): `darknet53.weights`, ...

    header   int32 major, minor, revision; then the images seen in training: int32, from version 0.2 on int64
    body     float32 without names, layer after layer:
             convolution with norm   shift, scale, running mean, running variance, then the kernels D C k k
             convolution without     biases, kernels
             connected layer         biases, then a matrix D C, stored as C D if major or minor exceeds 1000

All little-endian. The layers are those of the network, in the order in which it was put together; a connected layer
and a 1x1 convolution of a single pixel are the same numbers. A file that was cut after n layers (`darknet53.conv.74`)
holds the same as a network without its head: `load_strictly(trunk, Order().ours(trunk, files.read_bytes(path)))`.
"""

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vidi.nn.convolution import ConvNorm
from vidi.results.categories import Categories
from vidi.weights.strict import BATCH_COUNTER

TRANSPOSED = 1000  # versions above it have the matrices of connected layers transposed


class Header(NamedTuple):
    """The first numbers of a file."""

    major: int
    minor: int
    revision: int
    seen: int  # images in training
    size: int  # of the header, in bytes


@dataclass(frozen=True)
class Order:
    """The layout of files without names: parts of a network in the order of the file, each as it was put together."""

    parts: tuple[str, ...] = ("",)  # names of sub-modules
    categories: Callable[[], Categories] | None = None  # of the file that the authors publish, if they do
    publisher: str = "darknet"
    into: str = "network"
    by_category: tuple[str, ...] = ()  # a file has always its own head

    def ours(self, network: nn.Module, data: bytes) -> dict[str, Tensor]:
        """Return the tensors of a file under the names that they have in a network.

        Args:
            network: built of `ConvNorm`, plain convolutions and linear layers.
            data: the whole file.

        Raises:
            ValueError: if the file is shorter or longer than the network, or the network has tensors that no Darknet
                file holds.
        """
        header = read_header(data)
        layers = [layer for part in self.parts for layer in _layers(network.get_submodule(part), part and f"{part}.")]
        places = [place for name, layer in layers for place in _order(name, layer)]
        state = {name: value for name, value in network.state_dict().items() if not name.endswith(BATCH_COUNTER)}
        unlike = state.keys() ^ {name for name, _ in places}
        if unlike:
            raise ValueError(f"the network is not made of layers as Darknet has them: {', '.join(sorted(unlike)[:5])}")
        needed = sum(state[name].numel() for name, _ in places)
        present, rest = divmod(len(data) - header.size, 4)
        if present != needed or rest:
            raise ValueError(
                f"received {present} numbers and {rest} bytes after the header, expected {needed} numbers: the file is "
                "damaged or belongs to another network"
            )
        numbers = torch.from_numpy(np.frombuffer(data, "<f4", offset=header.size).astype(np.float32))
        transposed = max(header.major, header.minor) > TRANSPOSED
        tensors: dict[str, Tensor] = {}
        for name, is_matrix in places:
            shape = state[name].shape
            value, numbers = numbers[: math.prod(shape)], numbers[math.prod(shape) :]
            tensors[name] = value.view(shape[::-1]).T if is_matrix and transposed else value.view(shape)
        return tensors


def read_header(data: bytes) -> Header:
    """Read the header of a file; ValueError if it is too short for one."""
    if len(data) < 16:
        raise ValueError(f"received {len(data)} bytes, expected at least the 16 of a Darknet header")
    major, minor, revision = struct.unpack_from("<3i", data)
    wide = major * 10 + minor >= 2 and major < TRANSPOSED and minor < TRANSPOSED
    if wide and len(data) < 20:
        raise ValueError(f"received {len(data)} bytes, expected at least the 20 of a header of version {major}.{minor}")
    (seen,) = struct.unpack_from("<q" if wide else "<i", data, 12)
    return Header(major, minor, revision, seen, 20 if wide else 16)


def _layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers that have weights, with the beginnings of their names, in the order of construction."""
    if isinstance(module, ConvNorm | nn.Conv2d | nn.Linear):
        yield prefix, module
        return
    for name, child in module.named_children():
        yield from _layers(child, f"{prefix}{name}.")


def _order(prefix: str, layer: nn.Module) -> Iterator[tuple[str, bool]]:
    """Yield the tensors of a layer in the order of the file, and whether each is a connected layer's matrix."""
    if isinstance(layer, ConvNorm):
        names = ("norm.bias", "norm.weight", "norm.running_mean", "norm.running_var", "conv.weight")
    else:
        names = ("bias", "weight")
    for name in names:
        yield prefix + name, isinstance(layer, nn.Linear) and name == "weight"
