"""Weights of SE-ResNet and SE-ResNeXt that timm publishes (Hugging Face ids timm/seresnet50.ra2_in1k and so on).

The files are those of timm's releases on GitHub, because their names carry a digest. The scores are those of timm's
table of results, which was measured at 288 pixels.
"""

from vidi.preprocess import Preprocess
from vidi.weights.categories import imagenet_categories
from vidi.weights.layouts import Layout
from vidi.weights.published import File, Published, by_name
from vidi.weights.tables.torchvision_resnet import CLASSIFIER

NAMES = CLASSIFIER | {"layer*.*.se.fc*.*": "backbone.stage*.*.se.fc*.*"}
LAYOUT = Layout("timm", NAMES)
AT_288 = Preprocess(shorter=303, crop=(288, 288), interpolation="bicubic")  # 303 = floor(288 / 0.95)
RELEASE = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights"

PUBLISHED = by_name(
    Published(
        model="seresnet50",
        version="timm/ra2_in1k",
        files=(File.named_by_digest(f"{RELEASE}/seresnet50_ra_224-8efdb4bb.pth"),),
        licence="Apache-2.0",
        preprocess=AT_288,
        score={"top1": 81.284, "top5": 95.652},
        layout=LAYOUT,
        categories=imagenet_categories,
    ),
    Published(
        model="seresnext50_32x4d",
        version="timm/racm_in1k",
        files=(File.named_by_digest(f"{RELEASE}/seresnext50_32x4d_racm-a304a460.pth"),),
        licence="Apache-2.0",
        preprocess=AT_288,
        score={"top1": 82.196, "top5": 96.148},
        layout=LAYOUT,
        categories=imagenet_categories,
    ),
)
