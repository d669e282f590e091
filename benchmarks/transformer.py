"""Encoder of 6 layers, width 256, 8 heads, hidden 1024, against torch.nn.TransformerEncoder: forward, training step.

Both have the same weights and no dropout, whose draws would be the larger part of the difference; outputs are compared
first. torch's fast path, which is for evaluation alone, is off. One thread, float32.
`python -m benchmarks.transformer`.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.timing import compare
from vidi.nn.transformer import Encoder

LAYERS, WIDTH, HEADS, HIDDEN = 6, 256, 8, 1024
CASES = ((False, 16, 64), (False, 2, 512), (True, 16, 64))  # pre-norm, sequences, tokens
BAR = 0.95
TOLERANCE = 1e-4  # of the largest output
PARTS = {
    "self_attn.out_proj": "attention.output",
    "norm1": "attention_residual.norm",
    "norm2": "feed_forward_residual.norm",
    "linear1": "feed_forward.widen",
    "linear2": "feed_forward.narrow",
}


def lines() -> Iterator[str]:
    """Yield a row for each case and mode; ValueError where outputs differ."""
    torch.set_num_threads(1)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        for norm_first, batch, tokens in CASES:
            ours, theirs = encoders(norm_first)
            x = torch.randn(batch, tokens, WIDTH, generator=torch.Generator().manual_seed(0))
            name = f"{'pre' if norm_first else 'post'}-norm encoder, {batch} x {tokens}"
            yield _row(f"{name}, forward", _forward(ours.eval(), x), _forward(theirs.eval(), x))
            yield _row(f"{name}, training", _training(ours.train(), x), _training(theirs.train(), x))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def encoders(norm_first: bool) -> tuple[Encoder, nn.TransformerEncoder]:
    """Return both encoders with the same weights."""
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.0, batch_first=True, norm_first=norm_first)
    norm = nn.LayerNorm(WIDTH) if norm_first else None
    theirs = nn.TransformerEncoder(layer, LAYERS, norm, enable_nested_tensor=False)
    ours = Encoder(LAYERS, WIDTH, HEADS, HIDDEN, norm_first=norm_first, dropout=0.0)
    ours.load_state_dict(dict(_renamed(theirs.state_dict())))
    return ours, theirs


def _renamed(state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in state.items():
        if "self_attn.in_proj_" in name:
            for part, tensor in zip(("query", "key", "value"), value.chunk(3), strict=True):
                yield name.replace("self_attn.in_proj_", f"attention.{part}."), tensor
            continue
        for theirs, ours in PARTS.items():
            name = name.replace(f".{theirs}.", f".{ours}.")
        yield name, value


def _forward(network: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    @torch.no_grad()
    def run() -> Tensor:
        return network(x)

    return run


def _training(network: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-9)  # near 0: both keep their weights

    def run() -> Tensor:
        optimizer.zero_grad()
        output = network(x)
        output.square().mean().backward()
        optimizer.step()
        return output.detach()

    return run


def _row(name: str, ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> str:
    expected = theirs()
    gap = float((ours() - expected).abs().max() / expected.abs().max())
    if not gap <= TOLERANCE:
        raise ValueError(f"{name}: the outputs differ by {gap} of the largest")
    return compare(name, {"vidi": ours, "torch.nn": theirs}, rounds=9).line("torch.nn", BAR)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
