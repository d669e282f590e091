"""ResNeXt: a ResNet whose 3x3 convolutions are split into groups.

Xie et al. 2017 (arXiv 1611.05431), notes 2.3. The network is that of `vidi.backbones.resnet`, figure 3c of the paper:

    x  B 256 H W   ->  1x1  B 128 H W  ->  3x3 in 32 groups of 4 channels  B 128 H W  ->  1x1  B 256 H W  ->  + x, ReLU
"""

from vidi.backbones.resnet import resnet
from vidi.model import of_family

resnext50_32x4d = of_family(resnet, "resnext50_32x4d", "25.0 M parameters, about the cost of ResNet-50", __name__)
resnext101_32x8d = of_family(resnet, "resnext101_32x8d", "88.8 M parameters", __name__)
resnext101_64x4d = of_family(resnet, "resnext101_64x4d", "83.5 M parameters", __name__)
