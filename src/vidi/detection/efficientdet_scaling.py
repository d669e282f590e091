"""How an EfficientDet grows: the compound rule of the paper, and the sizes that were published.

Tan, Pang, Le 2020, arXiv 1911.09070, section 4.2, equations 1 to 3 and table 1; notes 4.A.

One coefficient makes all of a detector larger: the backbone (EfficientNet-B phi), the BiFPN's channels and cells, the
heads' depth, and the pictures. Differs from the notes: it is EfficientNet that scales by one coefficient before this,
not MobileNet, whose multiplier is for the width alone. The published detectors follow the rule only roughly: channels
are multiples of 8 or 16 that suit the hardware, and from D5 on the memory sets other limits; `VARIANTS` is what counts.
"""

from dataclasses import dataclass

from vidi.necks.bifpn import Fusion

WIDTH, WIDTH_GROWTH = 64, 1.35
CELLS = 3
HEAD_DEPTH, HEAD_STEP = 3, 3
RESOLUTION, RESOLUTION_STEP = 512, 128


@dataclass(frozen=True)
class CompoundScale:
    """What one coefficient decides."""

    channels: int  # of the BiFPN and the heads
    repeats: int  # cells of the BiFPN
    head_depth: int  # convolutions of each head before the one that predicts
    resolution: int  # side of the pictures in pixels


def compound_scale(phi: int) -> CompoundScale:
    """Return 64 x 1.35^phi channels, 3 + phi cells, heads of 3 + floor(phi / 3) layers and 512 + 128 phi pixels.

    Raises:
        ValueError: if phi is negative.
    """
    if phi < 0:
        raise ValueError(f"received phi={phi}, expected at least 0")
    return CompoundScale(
        channels=round(WIDTH * WIDTH_GROWTH**phi),
        repeats=CELLS + phi,
        head_depth=HEAD_DEPTH + phi // HEAD_STEP,
        resolution=RESOLUTION + RESOLUTION_STEP * phi,
    )


@dataclass(frozen=True)
class Variant:
    """The sizes of a published detector."""

    backbone: str  # a key of `vidi.backbones.efficientnet.VARIANTS`
    scale: CompoundScale
    fusion: Fusion = "fast"
    anchor_scale: float = 4.0  # side of the smallest anchor of a level, in cells


VARIANTS: dict[str, Variant] = {
    "efficientdet_d0": Variant("efficientnet_b0", CompoundScale(64, 3, 3, 512)),
    "efficientdet_d1": Variant("efficientnet_b1", CompoundScale(88, 4, 3, 640)),
    "efficientdet_d2": Variant("efficientnet_b2", CompoundScale(112, 5, 3, 768)),
    "efficientdet_d3": Variant("efficientnet_b3", CompoundScale(160, 6, 4, 896)),
    "efficientdet_d4": Variant("efficientnet_b4", CompoundScale(224, 7, 4, 1024)),
    "efficientdet_d5": Variant("efficientnet_b5", CompoundScale(288, 7, 4, 1280)),
    # weighted fusion was unstable at this size
    "efficientdet_d6": Variant("efficientnet_b6", CompoundScale(384, 8, 5, 1280), fusion="sum"),
    "efficientdet_d7": Variant("efficientnet_b6", CompoundScale(384, 8, 5, 1536), fusion="sum", anchor_scale=5.0),
}
