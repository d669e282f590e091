"""DeepLab v3+ from files of segmentation-models-pytorch: `smp.DeepLabV3Plus` with a ResNet and its usual decoder.

Such as `model.save_pretrained(folder)` writes (model.safetensors), or `torch.save(model.state_dict(), path)`. Its
publisher has none that are trained for segmentation (https://huggingface.co/smp-hub has SegFormer, UPerNet and DPT), so
that none is in the table.
"""

from vidi.weights.layouts import Layout
from vidi.weights.renaming import under
from vidi.weights.tables.torchvision_resnet import TRUNK
from vidi.weights.tables.torchvision_segmentation import unit


def separable(old: str, new: str) -> dict[str, str | None]:
    """Return the rows of a depth-wise and a 1x1 convolution."""
    return {f"{old}0.weight": f"{new}depthwise.weight", f"{old}1.weight": f"{new}pointwise.weight"}


def separable_unit(old: str, new: str) -> dict[str, str | None]:
    """Return the rows of a separable convolution and its norm, which lie in a row with a ReLU."""
    return separable(f"{old}0.", f"{new}0.") | {f"{old}1.*": f"{new}1.*"}


PYRAMID = (
    unit("convs.0.", "point.")
    | separable_unit("convs.1.", "dilated.0.")
    | separable_unit("convs.2.", "dilated.1.")
    | separable_unit("convs.3.", "dilated.2.")
    | {"convs.4.1.weight": "whole.conv.weight", "convs.4.2.*": "whole.norm.*"}
    | unit("project.", "project.")
)
DEEPLAB_PLUS = (
    under(TRUNK, "encoder.", "backbone.")
    | under(PYRAMID, "decoder.aspp.0.", "pyramid.")
    | separable("decoder.aspp.1.", "smooth.0.")
    | {"decoder.aspp.2.*": "smooth.1.*"}
    | unit("decoder.block1.", "fine.")
    | separable_unit("decoder.block2.", "refine.0.")
    | {"segmentation_head.0.*": "score.*"}
)
LAYOUT = Layout(
    "segmentation-models-pytorch",
    DEEPLAB_PLUS,
    by_category=("score.weight", "score.bias"),
    arguments={
        "separable": True,
        "smooth": True,
        "refinements": 1,
        "align_corners": True,
        "even_entry": True,
        "rates": (12, 24, 36),
    },
)
