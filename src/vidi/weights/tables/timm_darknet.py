"""Weights of DarkNet-53 that timm publishes (Hugging Face id timm/darknet53.c2ns_in1k).

Trained with a slope of 0.01 and on images normalised as for other networks, unlike the authors' own.
"""

from vidi.preprocess import Preprocess
from vidi.weights.categories import imagenet_categories
from vidi.weights.layouts import Layout
from vidi.weights.published import File, Published, by_name

NAMES = {
    "stem.conv1.conv.weight": "backbone.stem.conv.weight",
    "stem.conv1.bn.*": "backbone.stem.norm.*",
    "stages.*.conv_down.conv.weight": "backbone.stages.*.0.conv.weight",
    "stages.*.conv_down.bn.*": "backbone.stages.*.0.norm.*",
    "head.fc.*": "head.linear.*",
}
NAMES |= {
    f"stages.*.blocks.{block}.conv*.{old}": f"backbone.stages.*.{block + 1}.conv*.{new}"
    for block in range(8)
    for old, new in {"conv.weight": "conv.weight", "bn.*": "norm.*"}.items()
}
LAYOUT = Layout("timm", NAMES)

PUBLISHED = by_name(
    Published(
        model="darknet53",
        version="timm/c2ns_in1k",
        files=(
            File.named_by_digest(
                "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-tpu-weights/"
                "darknet53_256_c2ns-3aeff817.pth"
            ),
        ),
        licence="Apache-2.0",
        preprocess=Preprocess(shorter=288, crop=(288, 288), interpolation="bicubic"),
        layout=LAYOUT,
        categories=imagenet_categories,
        arguments={"slope": 0.01},
    )
)
