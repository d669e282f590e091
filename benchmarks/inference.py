"""Forward passes, batch 8 at 224 px: ours eager against torchvision and timm, and fused against eager.

All three have the same weights; outputs are compared first. One thread, float32. `python -m benchmarks.inference`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import timm
import torch
import torchvision
from torch import Tensor, nn

from benchmarks.timing import compare
from vidi.backbones.efficientnet import efficientnet_b0
from vidi.backbones.mobilenet import mobilenet_v2
from vidi.backbones.regnet import regnet_y_400mf
from vidi.backbones.resnet import resnet50
from vidi.backbones.resnext import resnext50_32x4d
from vidi.backbones.senet import seresnet50
from vidi.model import Supervised
from vidi.nn.inference import fuse_for_inference
from vidi.weights.loading import load_tensors
from vidi.weights.published import Published
from vidi.weights.tables import timm_senet, torchvision_efficientnet, torchvision_mobilenet, torchvision_regnet
from vidi.weights.tables.timm_resnet import PUBLISHED as TIMM_RESNET

BATCH, SIDE = 8, 224
EAGER_BAR = 0.95
TOLERANCE = 1e-4  # of the largest output


class Case(NamedTuple):
    """A network, where its peer comes from, and the rounds and the bar of fusing it."""

    build: Callable[..., Supervised]
    peer: str
    sources: Mapping[str, Published]  # one of them has the table of names
    fused_bar: float = 0.9
    rounds: int = 5


CASES = (
    Case(mobilenet_v2, "torchvision", torchvision_mobilenet.PUBLISHED, 1.3, 9),
    Case(efficientnet_b0, "torchvision", torchvision_efficientnet.PUBLISHED, 1.3, 9),
    Case(regnet_y_400mf, "torchvision", torchvision_regnet.PUBLISHED, rounds=9),
    Case(resnet50, "torchvision", TIMM_RESNET, 1.1),
    Case(resnext50_32x4d, "torchvision", TIMM_RESNET),
    Case(seresnet50, "timm", timm_senet.PUBLISHED),
)


def lines() -> Iterator[str]:
    """Yield two rows for each network; ValueError where outputs differ."""
    torch.set_num_threads(1)
    images = torch.randn(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for case in CASES:
        yield from _rows(case, images)


@torch.no_grad()
def _rows(case: Case, images: Tensor) -> tuple[str, str]:
    name = case.build.__name__
    peer = _peer(case.peer, name)
    model = case.build()
    source = next(source for source in case.sources.values() if source.model == name)
    load_tensors(model, peer.state_dict(), source.layout)
    model.eval()
    fused = fuse_for_inference(model)
    expected = peer(images)
    for network in (model, fused):
        _agree(name, network(images).logits, expected)
    # two by two: each runs in what the other leaves in the caches
    pair: dict[str, Callable[[], Any]] = {"vidi, eager": lambda: model(images), case.peer: lambda: peer(images)}
    eager = compare(name, pair, rounds=case.rounds)
    pair = {"vidi, fused": lambda: fused(images), "vidi, eager": lambda: model(images)}
    faster = compare(f"{name}, fused", pair, rounds=case.rounds)
    return eager.line(case.peer, EAGER_BAR), faster.line("vidi, eager", case.fused_bar)


def _peer(publisher: str, name: str) -> nn.Module:
    if publisher == "timm":
        return timm.create_model(name, pretrained=False).eval()
    return torchvision.models.get_model(name, weights=None).eval()


def _agree(name: str, ours: Tensor, theirs: Tensor) -> None:
    gap = float((ours - theirs).abs().max() / theirs.abs().max())
    if not gap <= TOLERANCE:
        raise ValueError(f"{name}: the outputs differ by {gap} of the largest")


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
