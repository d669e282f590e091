"""Images with captions as batches: what CLIP trains on.

target   {"caption": text}          -> {"tokens": T ids}, [SOS] .. [EOS]
batch    images B C H W, tokens B T    texts padded with 0 to the longest of the batch
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vidi.data.tokenizer import tokenizer_of
from vidi.preprocess import Batch, Placement, Preprocess


@dataclass(frozen=True)
class CaptionBatch(Batch):
    """Images, and the text of each."""

    tokens: Int64[Tensor, "B T"]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.images, self.tokens)

    def to(self, device: torch.device, *, channels_last: bool = False) -> "CaptionBatch":
        moved = cast(CaptionBatch, super().to(device, channels_last=channels_last))
        return replace(moved, tokens=self.tokens.to(device, non_blocking=True))


@dataclass(frozen=True)
class CaptionPreprocess(Preprocess):
    """How images become input, and texts ids.

    An image without a caption is placed as by `Preprocess`; a batch with such an image has no texts.
    """

    context: int = 77  # most ids of a text, [SOS] and [EOS] included
    merges: str | None = None  # of the tokenizer; None: the published list

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.context < 3:
            raise ValueError(f"received context={self.context}, expected at least 3: [SOS], a piece of a word, [EOS]")

    def place(self, image: Tensor, target: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor], Placement]:
        """Resize and crop an image, and turn its caption into ids.

        Raises:
            ValueError: as `Preprocess.place`, and for a caption that spells a special token.
        """
        placed, tensors, placement = super().place(image, target)
        if "caption" in target:
            tensors["tokens"] = self.tokens(target["caption"])
        return placed, tensors, placement

    def tokens(self, text: Any) -> Int64[Tensor, " T"]:
        """Return the ids of a text, at most `context`.

        Raises:
            TypeError: if it is no text.
            ValueError: if it spells a special token.
        """
        if not isinstance(text, str):
            raise TypeError(f"received a {type(text).__name__}, expected a text")
        return tokenizer_of(self.merges)(text, self.context)

    def collate(self, placed: Sequence[tuple[Tensor, Mapping[str, Tensor], Placement]]) -> Batch:
        """Normalise placed images, pad them to one canvas and their texts to one length."""
        batch = super().collate(placed)
        texts = [target["tokens"] for target in batch.targets if "tokens" in target]
        if len(texts) < len(batch.targets):
            return batch
        parts = {field.name: getattr(batch, field.name) for field in fields(batch)}
        return CaptionBatch(**parts, tokens=padded(texts))


def padded(texts: Sequence[Int64[Tensor, " _"]]) -> Int64[Tensor, "M T"]:
    """Return texts as one matrix, 0 after their ends."""
    return pad_sequence(list(texts), batch_first=True)
