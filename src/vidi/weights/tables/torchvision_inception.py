"""Weights of Inception-v3 that torchvision publishes (ImageNet-1k), and those of FID, which have the same names."""

from vidi.preprocess import Preprocess
from vidi.results.categories import Categories, category_names
from vidi.weights.layouts import Layout
from vidi.weights.published import File, Published, by_name, torchvision_imagenet
from vidi.weights.renaming import under

# convolutions with their norms, theirs -> ours
UNITS = {
    "Conv2d_1a_3x3": "stem.conv1a",
    "Conv2d_2a_3x3": "stem.conv2a",
    "Conv2d_2b_3x3": "stem.conv2b",
    "Conv2d_3b_1x1": "stem.conv3b",
    "Conv2d_4a_3x3": "stem.conv4a",
    # A
    "Mixed_5*.branch1x1": "mixed_5*.0",
    "Mixed_5*.branch5x5_1": "mixed_5*.1.0",
    "Mixed_5*.branch5x5_2": "mixed_5*.1.1",
    "Mixed_5*.branch3x3dbl_1": "mixed_5*.2.0",
    "Mixed_5*.branch3x3dbl_2": "mixed_5*.2.1",
    "Mixed_5*.branch3x3dbl_3": "mixed_5*.2.2",
    "Mixed_5*.branch_pool": "mixed_5*.3.1",
    # reduction
    "Mixed_6a.branch3x3": "mixed_6a.0",
    "Mixed_6a.branch3x3dbl_1": "mixed_6a.1.0",
    "Mixed_6a.branch3x3dbl_2": "mixed_6a.1.1",
    "Mixed_6a.branch3x3dbl_3": "mixed_6a.1.2",
    # B
    "Mixed_6*.branch1x1": "mixed_6*.0",
    "Mixed_6*.branch7x7_1": "mixed_6*.1.0",
    "Mixed_6*.branch7x7_2": "mixed_6*.1.1",
    "Mixed_6*.branch7x7_3": "mixed_6*.1.2",
    "Mixed_6*.branch7x7dbl_1": "mixed_6*.2.0",
    "Mixed_6*.branch7x7dbl_2": "mixed_6*.2.1",
    "Mixed_6*.branch7x7dbl_3": "mixed_6*.2.2",
    "Mixed_6*.branch7x7dbl_4": "mixed_6*.2.3",
    "Mixed_6*.branch7x7dbl_5": "mixed_6*.2.4",
    "Mixed_6*.branch_pool": "mixed_6*.3.1",
    # reduction
    "Mixed_7a.branch3x3_1": "mixed_7a.0.0",
    "Mixed_7a.branch3x3_2": "mixed_7a.0.1",
    "Mixed_7a.branch7x7x3_1": "mixed_7a.1.0",
    "Mixed_7a.branch7x7x3_2": "mixed_7a.1.1",
    "Mixed_7a.branch7x7x3_3": "mixed_7a.1.2",
    "Mixed_7a.branch7x7x3_4": "mixed_7a.1.3",
    # C
    "Mixed_7*.branch1x1": "mixed_7*.0",
    "Mixed_7b.branch3x3_1": "mixed_7b.1.0",
    "Mixed_7c.branch3x3_1": "mixed_7c.1.0",
    "Mixed_7*.branch3x3_2a": "mixed_7*.1.1.0",
    "Mixed_7*.branch3x3_2b": "mixed_7*.1.1.1",
    "Mixed_7*.branch3x3dbl_1": "mixed_7*.2.0",
    "Mixed_7*.branch3x3dbl_2": "mixed_7*.2.1",
    "Mixed_7*.branch3x3dbl_3a": "mixed_7*.2.2.0",
    "Mixed_7*.branch3x3dbl_3b": "mixed_7*.2.2.1",
    "Mixed_7*.branch_pool": "mixed_7*.3.1",
}
TRUNK = {f"{old}.conv.weight": f"{new}.conv.weight" for old, new in UNITS.items()} | {
    f"{old}.bn.*": f"{new}.norm.*" for old, new in UNITS.items()
}
CLASSIFIER = under(TRUNK, "", "backbone.") | {"fc.*": "head.linear.*"}
AUXILIARY = {
    "AuxLogits.conv*.conv.weight": "auxiliary.0.conv*.conv.weight",
    "AuxLogits.conv*.bn.*": "auxiliary.0.conv*.norm.*",
    "AuxLogits.fc.*": "auxiliary.0.linear.*",
}
LAYOUT = Layout(
    "torchvision",
    CLASSIFIER | AUXILIARY,
    by_category=("head.linear.weight", "head.linear.bias", "auxiliary.0.linear.weight", "auxiliary.0.linear.bias"),
)
FID = Layout("pytorch_fid", CLASSIFIER)

# As with GoogLeNet, torchvision's network undoes ImageNet's mean and deviation: what is left is (p - 0.5) / 0.5.
PREPROCESS = Preprocess(shorter=342, crop=(299, 299), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SQUEEZED = Preprocess(exact=(299, 299), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), antialias=False)


def tensorflow_categories() -> Categories:
    """Return names for the 1008 outputs of TensorFlow's network of 2015, whose order is its own: only numbers."""
    return category_names(1008)


PUBLISHED = by_name(
    torchvision_imagenet(
        "inception_v3_google-0cc3c7bd.pth",
        "imagenet1k_v1",
        PREPROCESS,
        77.294,
        93.450,
        LAYOUT,
        model="inception_v3",
    ),
    Published(
        model="inception_v3_fid",
        version="pytorch_fid/tensorflow_2015",
        files=(
            File.named_by_digest(
                "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
            ),
        ),
        licence="Apache-2.0",
        preprocess=SQUEEZED,
        layout=FID,
        categories=tensorflow_categories,
    ),
)
