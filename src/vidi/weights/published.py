"""The table of published weights: model/publisher/version -> source, the first of a model being its default."""

from vidi.weights import (
    cifar_resnet,
    efficientnet_lite,
    timm_darknet,
    timm_efficientnet,
    timm_inception,
    timm_mobilenet,
    timm_resnet,
    timm_senet,
    torchvision_alexnet,
    torchvision_efficientnet,
    torchvision_googlenet,
    torchvision_inception,
    torchvision_mobilenet,
    torchvision_regnet,
    torchvision_resnet,
    torchvision_retinanet,
    torchvision_vgg,
)
from vidi.weights.sources import Source

PUBLISHED: dict[str, Source] = {
    **torchvision_alexnet.SOURCES,
    **torchvision_vgg.SOURCES,
    **torchvision_googlenet.SOURCES,
    **torchvision_inception.SOURCES,
    **timm_inception.SOURCES,
    **torchvision_resnet.SOURCES,
    **timm_senet.SOURCES,
    **timm_resnet.SOURCES,
    **cifar_resnet.SOURCES,
    **torchvision_mobilenet.SOURCES,
    **timm_mobilenet.SOURCES,
    **torchvision_efficientnet.SOURCES,
    **efficientnet_lite.SOURCES,
    **timm_efficientnet.SOURCES,
    **torchvision_regnet.SOURCES,
    **timm_darknet.SOURCES,
    **torchvision_retinanet.SOURCES,
}
