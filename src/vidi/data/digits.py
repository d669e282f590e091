"""Handwritten digits of 8 x 8 pixels, shipped with the package: real data where nothing can be downloaded.

1,797 digits by 13 people, the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak
(UCI Machine Learning Repository, 1998, doi 10.24432/C50P49; licence CC BY 4.0), in the form and order in which
scikit-learn distributes them: bitmaps of 32 x 32 pixels, counted in blocks of 4 x 4, so that values are 0 to 16.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from vidi.data.seeding import checked_index, split_number
from vidi.files import read_npz

CATEGORIES = tuple("0123456789")
HIGHEST = 16  # ink of a full block

# The rows come writer by writer: contiguous parts keep most writers of val and test out of train.
_BOUNDS = (0, 1197, 1497, 1797)


class Digits(Dataset[tuple[tv_tensors.Image, dict[str, Tensor]]]):
    """The digits as RGB images of 8 x 8 pixels, white ink on black: 1,197 to train, 300 to validate, 300 to test.

    Raises:
        ValueError: for an unknown split.
    """

    kinds = frozenset({"image_id", "label"})
    categories = CATEGORIES

    def __init__(self, split: str = "train"):
        self._images, self._labels = digits(split)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[tv_tensors.Image, dict[str, Tensor]]:
        index = checked_index(index, len(self))
        pixels = self._images[index].mul(255.0).round().to(torch.uint8)
        return tv_tensors.Image(pixels.repeat(3, 1, 1)), {"image_id": torch.tensor(index), "label": self._labels[index]}


def digits(split: str = "train") -> tuple[Float32[Tensor, "N 1 8 8"], Int64[Tensor, " N"]]:
    """Return a split's images (the share of ink, 0 to 1) and labels as two tensors; ValueError for an unknown split."""
    start, end = _BOUNDS[split_number(split) :][:2]
    arrays = read_npz(Path(__file__).with_name("digits.npz"))
    images = torch.from_numpy(arrays["images"][start:end].astype(np.float32)) / HIGHEST
    return images.unsqueeze(1), torch.from_numpy(arrays["labels"][start:end].astype(np.int64))  # N 1 8 8, N
