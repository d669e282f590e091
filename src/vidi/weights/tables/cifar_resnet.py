"""Weights of the small ResNets trained on CIFAR-10 by Y. Idelbayev (github.com/akamaster/pytorch_resnet_cifar10)."""

from vidi.preprocess import Preprocess
from vidi.results.categories import Categories
from vidi.weights.layouts import Layout
from vidi.weights.published import File, Published, by_name
from vidi.weights.renaming import under
from vidi.weights.tables.torchvision_resnet import TRUNK

REPOSITORY = "https://github.com/akamaster/pytorch_resnet_cifar10"
LAYOUT = Layout("akamaster", under(TRUNK, "", "backbone.") | {"linear.*": "head.linear.*"})


def cifar10_categories() -> Categories:
    """Return the names of the ten classes, in the order of the data set."""
    return ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


PUBLISHED = by_name(
    Published(
        model="resnet20",
        version="akamaster/cifar10",
        files=(File.named_by_digest(f"{REPOSITORY}/raw/master/pretrained_models/resnet20-12fca82f.th"),),
        licence="BSD-2-Clause",
        preprocess=Preprocess(exact=(32, 32)),
        score={"top1": 91.73},
        layout=LAYOUT,
        categories=cifar10_categories,
    )
)
