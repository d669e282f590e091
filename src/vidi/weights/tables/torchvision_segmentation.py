"""FCN and DeepLab v3 that torchvision publishes: trained on the pictures of COCO that hold VOC's classes."""

from vidi.data.readers.legends import VOC_CLASSES
from vidi.preprocess import Preprocess
from vidi.results.categories import Categories
from vidi.weights.layouts import Layout
from vidi.weights.published import File, Published, by_name
from vidi.weights.renaming import Names, under
from vidi.weights.tables.torchvision_resnet import TRUNK


def unit(old: str, new: str) -> dict[str, str | None]:
    """Return the rows of a convolution and its norm, which lie in a row with a ReLU."""
    return {f"{old}0.weight": f"{new}conv.weight", f"{old}1.*": f"{new}norm.*"}


def plain(old: str, new: str) -> dict[str, str | None]:
    """Return the rows of a head of two convolutions."""
    return unit(old, f"{new}0.") | {f"{old}4.*": f"{new}2.*"}


FCN = under(TRUNK, "backbone.", "backbone.") | plain("classifier.", "head.") | plain("aux_classifier.", "auxiliary.")
DEEPLAB = (
    under(TRUNK, "backbone.", "backbone.")
    | unit("classifier.0.convs.0.", "head.0.point.")
    | unit("classifier.0.convs.1.", "head.0.dilated.0.")
    | unit("classifier.0.convs.2.", "head.0.dilated.1.")
    | unit("classifier.0.convs.3.", "head.0.dilated.2.")
    | {"classifier.0.convs.4.1.weight": "head.0.whole.conv.weight", "classifier.0.convs.4.2.*": "head.0.whole.norm.*"}
    | unit("classifier.0.project.", "head.0.project.")
    | {"classifier.1.weight": "head.1.conv.weight", "classifier.2.*": "head.1.norm.*", "classifier.4.*": "head.2.*"}
    | plain("aux_classifier.", "auxiliary.")
)

PREPROCESS = Preprocess(shorter=520)


def voc_categories() -> Categories:
    """Return the names of VOC's twenty classes behind the background."""
    return VOC_CLASSES


def _published(model: str, file: str, names: Names, head: str, miou: float) -> Published:
    scores = (f"{head}.weight", f"{head}.bias", "auxiliary.2.weight", "auxiliary.2.bias")
    return Published(
        model=model,
        version="torchvision/coco_with_voc_labels_v1",
        files=(File.named_by_digest(f"https://download.pytorch.org/models/{file}"),),
        licence="BSD-3-Clause",
        preprocess=PREPROCESS,
        score={"miou": miou},
        layout=Layout("torchvision", names, by_category=scores),
        categories=voc_categories,
    )


PUBLISHED = by_name(
    _published("fcn_resnet50", "fcn_resnet50_coco-1167a1af.pth", FCN, "head.2", 60.5),
    _published("fcn_resnet101", "fcn_resnet101_coco-7ecb50ca.pth", FCN, "head.2", 63.7),
    _published("deeplabv3_resnet50", "deeplabv3_resnet50_coco-cd0a2569.pth", DEEPLAB, "head.2", 66.4),
    _published("deeplabv3_resnet101", "deeplabv3_resnet101_coco-586e9e4e.pth", DEEPLAB, "head.2", 67.4),
)
