"""Options that the builders of detectors share: named choices, and how much of a backbone is trained."""

from typing import get_args

from vidi.backbones.resnet import ResNet

LAYERS = ("stem", "stage1", "stage2", "stage3", "stage4")  # of the backbone, in the order in which they are frozen


def check_choice(name: str, value: str, choices: object) -> None:
    """Refuse a value that is none of a `Literal`'s."""
    if value not in get_args(choices):
        raise ValueError(f"received {name}={value!r}, expected one of {', '.join(map(repr, get_args(choices)))}")


def frozen_below(backbone: ResNet, trained: int) -> ResNet:
    """Freeze all but the last `trained` layers, counted as torchvision does: 5 trains everything, 0 nothing."""
    if trained not in range(len(LAYERS) + 1):
        raise ValueError(f"received trainable_backbone_layers={trained}, expected 0..{len(LAYERS)}")
    for layer in LAYERS[: len(LAYERS) - trained]:
        getattr(backbone, layer).requires_grad_(False)
    return backbone
