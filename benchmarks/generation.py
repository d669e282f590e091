"""Greedy generation of 256 tokens with and without the keys and values of earlier tokens kept; width 512, 6 layers.

Batch 1, the same tokens from both. One thread, float32. `python -m benchmarks.generation`.
"""

from collections.abc import Iterator

import torch

from benchmarks.timing import compare
from vidi.translation.generation import Generated, SpecialTokens, WithoutCache, greedy
from vidi.translation.transformer import Transformer

WORDS, LONGEST = 1_000, 256
NEVER = SpecialTokens(end=-1)  # no sentence ends before
BAR = 5.0


def lines() -> Iterator[str]:
    """Yield the row; ValueError where the tokens differ."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = Transformer(WORDS, WORDS).eval()  # the paper's base model
    source = torch.randint(3, WORDS, (1, 32))

    def cached() -> Generated:
        return greedy(network, source, longest=LONGEST, special=NEVER)

    def uncached() -> Generated:
        return greedy(WithoutCache(network), source, longest=LONGEST, special=NEVER)

    if not torch.equal(cached().tokens, uncached().tokens):
        raise ValueError("generation: the tokens with and without the cache differ")
    name = f"generation, {LONGEST} tokens"
    yield compare(name, {"with cache": cached, "without": uncached}, rounds=3).line("without", BAR)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
