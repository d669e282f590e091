"""Weights of Inception-v3 and Inception-ResNet-v2 that timm publishes (Hugging Face: timm/inception_v3.tf_in1k ...).

The files are those of timm's releases on GitHub, because their names carry a digest. Those that come from TensorFlow
have an output more than ImageNet has classes: its background, their first and our last. The scores are those of timm's
table of results.
"""

from dataclasses import replace

from vidi.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from vidi.results.categories import Categories
from vidi.weights.categories import imagenet_categories
from vidi.weights.layouts import Layout, Tensors
from vidi.weights.published import File, Published, by_name
from vidi.weights.renaming import under
from vidi.weights.tables import torchvision_inception

RELEASE = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights"

# convolutions with their norms, theirs -> ours
UNITS = {
    "conv2d_1a": "stem.conv1a",
    "conv2d_2a": "stem.conv2a",
    "conv2d_2b": "stem.conv2b",
    "conv2d_3b": "stem.conv3b",
    "conv2d_4a": "stem.conv4a",
    "mixed_5b.branch0": "mixed_5b.0",
    "mixed_5b.branch1.*": "mixed_5b.1.*",
    "mixed_5b.branch2.*": "mixed_5b.2.*",
    "mixed_5b.branch3.1": "mixed_5b.3.1",
    "repeat.*.branch0": "stage_a.*.branches.0",
    "repeat.*.branch1.*": "stage_a.*.branches.1.*",
    "repeat.*.branch2.*": "stage_a.*.branches.2.*",
    "mixed_6a.branch0": "mixed_6a.0",
    "mixed_6a.branch1.*": "mixed_6a.1.*",
    "repeat_1.*.branch0": "stage_b.*.branches.0",
    "repeat_1.*.branch1.*": "stage_b.*.branches.1.*",
    "mixed_7a.branch0.*": "mixed_7a.0.*",
    "mixed_7a.branch1.*": "mixed_7a.1.*",
    "mixed_7a.branch2.*": "mixed_7a.2.*",
    "repeat_2.*.branch0": "stage_c.*.branches.0",
    "repeat_2.*.branch1.*": "stage_c.*.branches.1.*",
    "block8.branch0": "last_c.branches.0",
    "block8.branch1.*": "last_c.branches.1.*",
    "conv2d_7b": "conv_7b",
}
TRUNK = (
    {f"{old}.conv.weight": f"{new}.conv.weight" for old, new in UNITS.items()}
    | {f"{old}.bn.*": f"{new}.norm.*" for old, new in UNITS.items()}
    | {
        "repeat.*.conv2d.*": "stage_a.*.linear.*",
        "repeat_1.*.conv2d.*": "stage_b.*.linear.*",
        "repeat_2.*.conv2d.*": "stage_c.*.linear.*",
        "block8.conv2d.*": "last_c.linear.*",
    }
)
RESNET = under(TRUNK, "", "backbone.") | {"classif.*": "head.linear.*"}

V3_INPUT = Preprocess(
    shorter=341,  # floor(299 / 0.875)
    crop=(299, 299),
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
RESNET_INPUT = replace(V3_INPUT, shorter=333)  # floor(299 / 0.8975)


def categories_and_background() -> Categories:
    """Return the names of ImageNet-1k, and None for the output that was TensorFlow's background."""
    return (*imagenet_categories(), None)


def background_last(tensors: Tensors) -> Tensors:
    """Move the first output behind all others."""
    return tensors | {name: tensors[name].roll(-1, 0) for name in ("head.linear.weight", "head.linear.bias")}


GLUON_V3 = Layout("timm", torchvision_inception.CLASSIFIER)
TENSORFLOW_V3 = Layout("timm", torchvision_inception.CLASSIFIER, convert=background_last)
TENSORFLOW_RESNET = Layout("timm", RESNET, convert=background_last)

V3 = Published(
    model="inception_v3",
    version="timm/tf_in1k",
    files=(File.named_by_digest(f"{RELEASE}/tf_inception_v3-e0069de4.pth"),),
    licence="Apache-2.0",
    preprocess=V3_INPUT,
    score={"top1": 77.862, "top5": 93.644},
    layout=TENSORFLOW_V3,
    categories=categories_and_background,
    arguments={"auxiliary": False},
)
RESNET_V2 = Published(
    model="inception_resnet_v2",
    version="timm/tf_in1k",
    files=(File.named_by_digest(f"{RELEASE}/inception_resnet_v2-940b1cd6.pth"),),
    licence="Apache-2.0",
    preprocess=RESNET_INPUT,
    score={"top1": 80.462, "top5": 95.308},
    layout=TENSORFLOW_RESNET,
    categories=categories_and_background,
)

PUBLISHED = by_name(
    V3,
    replace(
        V3,
        version="timm/tf_adv_in1k",
        files=(File.named_by_digest(f"{RELEASE}/adv_inception_v3-9e27bd63.pth"),),
        score={"top1": 77.592, "top5": 93.730},
    ),
    Published(
        model="inception_v3",
        version="timm/gluon_in1k",
        files=(File.named_by_digest(f"{RELEASE}/gluon_inception_v3-9f746940.pth"),),
        licence="Apache-2.0",
        preprocess=replace(V3_INPUT, mean=IMAGENET_MEAN, std=IMAGENET_STD),
        score={"top1": 78.806, "top5": 94.374},
        layout=GLUON_V3,
        categories=imagenet_categories,
        arguments={"auxiliary": False},
    ),
    RESNET_V2,
    replace(
        RESNET_V2,
        version="timm/tf_ens_adv_in1k",
        files=(File.named_by_digest(f"{RELEASE}/ens_adv_inception_resnet_v2-2592a550.pth"),),
        score={"top1": 79.978, "top5": 94.946},
    ),
)
