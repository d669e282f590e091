"""A classifier of patches slid over a picture: the class of each pixel is that of the window about it.

Ciresan et al. 2012 (NIPS); Farabet et al. 2013 (PAMI 35); notes 5.1.2.

    window    P x P pixels about each pixel, zeros beyond the border
    network   unpadded 3x3 convolutions with ReLU and 2x2 max pools, until one position is left; 1x1 to K classes
    windows   all of them, one by one: B H W windows -> B K H W
    dense     the same numbers from one pass over the picture: pools move by one pixel, and what follows them dilates
              (Giusti et al. 2013, arXiv 1302.1700)
    criterion cross-entropy of all pixels, divided by their number

Differs from the notes: they call it R-CNN, but there are no proposals; the loss is the sum of the cross-entropies of
the pixels, not an indicator times a cross-entropy.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vidi.backbones.trunk import initialise
from vidi.model import Supervised, builder, with_defaults
from vidi.preprocess import Preprocess
from vidi.results.categories import category_names
from vidi.segmentation.semantic import VOC_CLASSES, SemanticOutputs, segmenter

Form = Literal["dense", "windows"]
WINDOWS_AT_ONCE = 4096


class PatchSegmenter(nn.Module):
    """Scores of the pixel in the middle of each window.

    Args:
        outputs: K.
        width: channels of the first convolution; each pool doubles them.
        stages: of two convolutions each, all but the last followed by a pool.
        hidden: channels of the layer before the scores.
        form: "windows", or "dense" for the same numbers faster.

    Raises:
        ValueError: for another form, or no stage.
    """

    def __init__(self, outputs: int, *, width: int, stages: int, hidden: int, form: Form):
        super().__init__()
        if form not in ("dense", "windows"):
            raise ValueError(f"received form={form!r}, expected 'dense' or 'windows'")
        if stages < 1:
            raise ValueError(f"received stages={stages}, expected at least 1")
        self.form = form
        layers: list[nn.Module] = []
        channels = 3
        for stage in range(stages):
            for _ in range(2):
                layers += [nn.Conv2d(channels, width * 2**stage, 3), nn.ReLU(inplace=True)]
                channels = width * 2**stage
            layers += [nn.MaxPool2d(2)] if stage < stages - 1 else []
        self.window = _window(layers, last=3)
        layers += [nn.Conv2d(channels, hidden, 3), nn.ReLU(inplace=True), nn.Conv2d(hidden, outputs, 1)]
        self.layers = nn.Sequential(*layers)
        initialise(self)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> SemanticOutputs:
        before = self.window // 2  # the pixel in the middle, or right behind it
        padded = F.pad(images, (before, self.window - 1 - before) * 2)
        return SemanticOutputs(self._dense(padded) if self.form == "dense" else self._of_windows(padded))

    def _of_windows(self, padded: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B K H W"]:
        windows = padded.unfold(2, self.window, 1).unfold(3, self.window, 1)  # B 3 H W P P
        B, _, H, W = windows.shape[:4]
        rows = windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)  # BHW 3 P P
        scores = [self.layers(part).flatten(1) for part in rows.split(WINDOWS_AT_ONCE)]
        return torch.cat(scores).view(B, H, W, -1).permute(0, 3, 1, 2)

    def _dense(self, x: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B K H W"]:
        apart = 1  # pixels between what were neighbours before the pools
        for layer in self.layers:
            if isinstance(layer, nn.MaxPool2d):
                x = F.max_pool2d(x, 2, stride=1, dilation=apart)
                apart *= 2
            elif isinstance(layer, nn.Conv2d):
                x = F.conv2d(x, layer.weight, layer.bias, dilation=apart)
            else:
                x = layer(x)
        return x


def _window(layers: list[nn.Module], *, last: int) -> int:
    """Return the side of the window that the layers, and a convolution of `last` pixels behind them, see."""
    side = last
    for layer in reversed(layers):
        if isinstance(layer, nn.MaxPool2d):
            side *= 2
        elif isinstance(layer, nn.Conv2d):
            side += layer.kernel_size[0] - 1
    return side


# ----------------------------------------------------------------------------------------------------------------------
# Builders


@builder
def patch_segmenter(
    *,
    categories: int | tuple[str | None, ...] = VOC_CLASSES,
    width: int = 48,
    stages: int = 3,
    hidden: int = 256,
    form: Form = "dense",
    size: tuple[int, int] | None = None,
    longest: int = 256,
) -> Supervised:
    """Build a segmenter that classifies the window of 40 pixels about each pixel.

    Args:
        categories: the number of classes, or their names.
        width: channels of the first convolutions; each pool doubles them.
        stages: of two convolutions each; each one more sees twice as far.
        hidden: channels of the layer before the scores.
        form: "windows" looks at each window by itself, "dense" gives the same numbers in one pass.
        size: (H, W) that every image is resized to; None: its longer side to `longest`, the aspect ratio kept.
        longest: pixels of the longer side.
    """
    names = category_names(categories)
    network = PatchSegmenter(len(names), width=width, stages=stages, hidden=hidden, form=form)
    return segmenter(network, names, Preprocess(longest=longest, exact=size))


patch_segmenter_tiny = with_defaults(
    patch_segmenter,
    "patch_segmenter_tiny",
    "trains in minutes on a CPU on images of 64 pixels",
    categories=7,
    width=8,
    hidden=32,
    longest=64,
)
