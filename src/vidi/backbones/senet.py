"""SE-ResNet and SE-ResNeXt: a gate per channel at the end of each residual branch, before the sum.

Hu et al. 2018 (arXiv 1709.01507), notes 2.4. The network is that of `vidi.backbones.resnet`:

    branch  B C H W  ->  average  B C 1 1  ->  1x1, ReLU  B C/16 1 1  ->  1x1, sigmoid  B C 1 1  ->  times branch
"""

from vidi.backbones.resnet import resnet
from vidi.model import of_family

seresnet18 = of_family(resnet, "seresnet18", "11.8 M parameters", __name__)
seresnet34 = of_family(resnet, "seresnet34", "22.0 M parameters", __name__)
seresnet50 = of_family(resnet, "seresnet50", "28.1 M parameters", __name__)
seresnet101 = of_family(resnet, "seresnet101", "49.3 M parameters", __name__)
seresnet152 = of_family(resnet, "seresnet152", "66.8 M parameters", __name__)
seresnext50_32x4d = of_family(resnet, "seresnext50_32x4d", "27.6 M parameters", __name__)
seresnext101_32x8d = of_family(resnet, "seresnext101_32x8d", "93.6 M parameters", __name__)
