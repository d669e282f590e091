"""The head of MobileNetV2, RegNet, DarkNet-53 and ResNet v2: all classes start about equally likely.

notes 2.5, 2.8, 4.3.4. `GlobalAverageHead` whose linear map is drawn from N(0, 0.01^2), its biases 0, as torchvision and
timm do for these networks.
"""

from torch import nn

from vidi.backbones.classifier import GlobalAverageHead


def near_zero_head(
    channels: int, outputs: int, *, before: nn.Module | None = None, dropout: float | int = 0.0
) -> GlobalAverageHead:
    """Return a `GlobalAverageHead` whose scores start near zero; its weights come from torch's global generator.

    Args:
        channels: of the averages.
        outputs: the number of classes.
        before: on the map; see `GlobalAverageHead`.
        dropout: of the averages.
    """
    head = GlobalAverageHead(channels, outputs, before=before, dropout=dropout)
    nn.init.normal_(head.linear.weight, std=0.01)
    nn.init.zeros_(head.linear.bias)
    return head
