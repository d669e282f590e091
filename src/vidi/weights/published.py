"""The table of published weights: name -> source."""

from vidi.weights import cifar_resnet, timm_senet, torchvision_resnet, torchvision_retinanet
from vidi.weights.sources import Source

PUBLISHED: dict[str, Source] = {
    **torchvision_resnet.SOURCES,
    **timm_senet.SOURCES,
    **cifar_resnet.SOURCES,
    **torchvision_retinanet.SOURCES,
}
