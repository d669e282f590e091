"""Selective search as the first stage of a detector: in normalised pictures, and remembered from epoch to epoch.

images B 3 H W, masks of their parts of the canvas -> pixels again -> `selective_search` -> B times N 4
"""

import hashlib

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vidi.detection.regions.region_proposals import image_sizes
from vidi.detection.regions.selective_search import selective_search
from vidi.ops.boxes import boxes_at_least
from vidi.preprocess import Preprocess

REMEMBERED = 20_000  # images whose proposals are kept


class ProposalSearch:
    """Selective search in normalised pictures; what was found in one is kept, as training sees it in every epoch."""

    def __init__(self, mode: str, most: int, smallest: float | int, preprocess: Preprocess):
        self.mode, self.most, self.smallest = mode, most, smallest
        self.mean, self.std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (preprocess.mean, preprocess.std))
        self.known: dict[bytes, Tensor] = {}

    def __call__(self, image: Float[Tensor, "3 H W"]) -> Float[Tensor, "N 4"]:
        """Return at most `most` boxes of a picture, best first; on the CPU, in float32."""
        pixels = (image.detach().float().cpu() * self.std + self.mean).mul(255).round().clamp(0, 255)
        pixels = pixels.to(torch.uint8).contiguous()
        key = hashlib.blake2b(pixels.numpy().tobytes() + repr(pixels.shape).encode(), digest_size=16).digest()
        if key not in self.known:
            if len(self.known) >= REMEMBERED:
                del self.known[next(iter(self.known))]
            self.known[key] = selective_search(pixels, mode=self.mode, most=self.most, minimum_side=self.smallest)
        return self.known[key]

    def of_batch(
        self, images: Float[Tensor, "B 3 H W"], mask: Bool[Tensor, "B H W"] | None
    ) -> list[Float[Tensor, "_ 4"]]:
        """Return the boxes of each image, in pixels of the canvas; `mask` is True on the images.

        Raises:
            NotImplementedError: while a network is exported.
        """
        if torch.compiler.is_exporting():
            raise NotImplementedError("selective search is an algorithm beside the network, which no graph holds")
        sizes = image_sizes(images, mask).int().tolist()
        dtype = torch.promote_types(images.dtype, torch.float32)
        found = [self(image[:, :h, :w]) for image, (h, w) in zip(images, sizes, strict=True)]
        return [boxes[boxes_at_least(boxes, 1)].to(images.device, dtype) for boxes in found]

    def slots(self, found: list[Float[Tensor, "_ 4"]]) -> Float[Tensor, "B N 4"]:
        """Return the boxes of each image in as many slots as the search may fill; those left over are empty boxes."""
        slots = found[0].new_zeros(len(found), self.most, 4)
        for row, boxes in enumerate(found):
            slots[row, : len(boxes)] = boxes
        return slots
