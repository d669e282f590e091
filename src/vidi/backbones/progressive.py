"""A classifier trained on small pictures first, on large ones afterwards (Howard et al. 2018, "Now anyone can train
ImageNet in 18 minutes"; the effect of a change of resolution: Touvron et al. 2019, arXiv 1906.06423).

    stage low    images resized to `low`  -> ResNet-18 -> cross entropy     steps at a fraction of the price
    stage high   images resized to `high` -> the same network, continued    the resolution it is used at

The network pools globally, so it takes both; a step costs as much as its pictures have pixels.
"""

from dataclasses import replace

from torch import nn

from vidi.backbones.resnet import resnet18
from vidi.backbones.trunk import Stem
from vidi.model import Predicts, Stage, Staged, Supervised, builder
from vidi.preprocess import Batch
from vidi.results.classification import Classification


class Progressive(Staged, Predicts):
    """One classifier, trained at a low and then at a high resolution."""

    def __init__(self, classifier: Supervised, low: tuple[int, int], high: tuple[int, int]):
        super().__init__()
        self.parts = nn.ModuleDict({"network": classifier.network})
        self.criterion, self.decode = classifier.criterion, classifier.decode
        self.low = replace(classifier.preprocess, exact=low, shorter=None, crop=None)
        self.preprocess = replace(self.low, exact=high)

    def stages(self) -> list[Stage]:
        """Return the training at the low and at the high resolution, of one network."""
        return [
            Stage(name, Supervised(self.parts["network"], self.criterion, self.decode, preprocess))
            for name, preprocess in (("low", self.low), ("high", self.preprocess))
        ]

    def predict_batch(self, batch: Batch) -> list[Classification]:
        return self.decode(self.parts["network"](batch.to(self.device).images), batch.placements)


@builder
def progressive_resnet18(
    *,
    categories: int | tuple[str | None, ...] = 1000,
    low: tuple[int, int] = (32, 32),
    high: tuple[int, int] = (64, 64),
    stem: Stem = "small",
    width: int = 64,
) -> Progressive:
    """Build a ResNet-18 that is trained in two stages.

    Args:
        categories: the number of classes, or their names.
        low: (H, W) of the images of the first stage.
        high: (H, W) of the images of the second stage, and of prediction.
        stem: `small` for images of 28 to 64 pixels, `imagenet` for larger ones.
        width: channels of the first stage.
    """
    return Progressive(resnet18(categories=categories, stem=stem, size=high, width=width), low, high)
