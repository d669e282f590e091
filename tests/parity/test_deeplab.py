"""FCN, DeepLab v3 and v3+ against torchvision and segmentation-models-pytorch, with equal weights, in float64."""

import copy
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet as reference_resnet
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation import deeplabv3 as reference_deeplab
from torchvision.models.segmentation import fcn as reference_fcn

from tests.closeness import FLOAT32, GRADIENTS, NUMBERS, OUTPUTS, assert_close, largest
from vidi.backbones import mobilenet
from vidi.backbones.resnet import Bottleneck, ResNet
from vidi.model import Step
from vidi.nn.normalization import norm_layer
from vidi.ops.label_maps import VOID
from vidi.preprocess import Batch, Placement
from vidi.segmentation import deeplab, deeplab_plus
from vidi.segmentation.deeplab import PyramidHead, rates_at
from vidi.segmentation.dilated import DILATED, DilatedSegmenter, OutputStride, PlainHead
from vidi.segmentation.semantic import PixelCriterion
from vidi.weights.renaming import renamed
from vidi.weights.strict import load_strictly
from vidi.weights.tables import torchvision_mobilenet
from vidi.weights.tables.smp_deeplab import LAYOUT
from vidi.weights.tables.torchvision_segmentation import DEEPLAB, FCN

K = 5
SIZE = (65, 81)
BLOCKS = (1, 1, 2, 2)  # of the ResNet: full width, reduced depth


def randomised(reference: nn.Module, images: Tensor) -> None:
    """Give every vector of the reference a value of its own, and its norms the statistics of these images."""
    with torch.no_grad():
        for value in reference.parameters():
            if value.ndim == 1:
                value.add_(0.1 * torch.randn_like(value))
        norms = [layer for layer in reference.modules() if isinstance(layer, nn.BatchNorm2d)]
        for layer in norms:
            layer.momentum = 1.0
        reference.train()(images)
        for layer in norms:
            layer.momentum = 0.1


@pytest.fixture(scope="module", params=["fcn", "deeplabv3"])
def pair(request: pytest.FixtureRequest) -> SimpleNamespace:
    """torchvision's network of reduced depth and ours, with equal weights; dropout is off."""
    torch.default_generator.manual_seed(1)
    body = reference_resnet.ResNet(
        reference_resnet.Bottleneck, list(BLOCKS), replace_stride_with_dilation=[False, True, True]
    )
    backbone = IntermediateLayerGetter(body, {"layer4": "out", "layer3": "aux"})
    second = reference_fcn.FCNHead(1024, K)
    if request.param == "fcn":
        reference: Any = reference_fcn.FCN(backbone, reference_fcn.FCNHead(2048, K), second)
    else:
        reference = reference_deeplab.DeepLabV3(backbone, reference_deeplab.DeepLabHead(2048, K), second)
    for layer in reference.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    reference = reference.double()
    images = torch.randn(3, 3, *SIZE, dtype=torch.float64)
    randomised(reference, images)

    norm = norm_layer("batch")
    own = ResNet(Bottleneck, BLOCKS, expansion=4, norm=norm, dilated=DILATED[8])
    head = PlainHead(2048, K, norm=norm, dropout=0.0)
    if request.param != "fcn":
        head = PyramidHead(2048, K, rates=rates_at(8), norm=norm, dropout=0.0)  # type: ignore[assignment]
    ours = DilatedSegmenter(own, head, PlainHead(1024, K, norm=norm, dropout=0.0)).double()
    names = FCN if request.param == "fcn" else DEEPLAB
    load_strictly(ours, renamed(reference.state_dict(), names))
    return SimpleNamespace(reference=reference, ours=ours, images=images, names=names)


def labels() -> Tensor:
    generator = torch.Generator().manual_seed(4)
    found = torch.randint(0, K, (3, *SIZE), generator=generator, dtype=torch.uint8)
    found[torch.rand(3, *SIZE, generator=generator) < 0.1] = VOID
    return found


@pytest.mark.system("5.1.5-DEEPLAB3", "5.A.2-ASPP3", "5.1.5-DILRESNET", "5.1.5-DILSTAGE", "5.1.5-DILBLOCK")
def test_outputs(pair: SimpleNamespace) -> None:
    pair.reference.eval()
    pair.ours.eval()
    with torch.no_grad():
        expected, outputs = pair.reference(pair.images), pair.ours(pair.images)
    assert_close(outputs.logits, expected["out"], OUTPUTS)
    assert_close(outputs.auxiliary, expected["aux"], OUTPUTS)


@pytest.mark.system("5.1.5-DEEPLAB3", "5.A.2-ASPP3")
def test_losses_and_gradients_in_training_mode(pair: SimpleNamespace) -> None:
    """The loss is that of torchvision's reference training: cross entropy, and half of that of the second head."""
    pair.reference.train().zero_grad()
    pair.ours.train().zero_grad()
    truth = labels()
    found = pair.reference(pair.images)
    expected = {
        "pixels": F.cross_entropy(found["out"], truth.long(), ignore_index=VOID),
        "auxiliary": 0.5 * F.cross_entropy(found["aux"], truth.long(), ignore_index=VOID),
    }
    placements = [Placement(SIZE, SIZE)] * 3
    batch = Batch(pair.images, pair.images[:, 0] < 99, placements, [{"semantic": m} for m in truth])
    losses = PixelCriterion(tuple(range(K)))(pair.ours, batch, Step())
    assert_close(losses, expected, NUMBERS)
    torch.stack(list(expected.values())).sum().backward()
    torch.stack(list(losses.values())).sum().backward()
    wanted = renamed({name: p.grad for name, p in pair.reference.named_parameters()}, pair.names)
    grown = {name: p.grad for name, p in pair.ours.named_parameters()}
    assert_close(grown, wanted, GRADIENTS, size=largest(*wanted.values()))


@pytest.mark.system("5.1.5-DEEPLAB3")
def test_the_class_of_each_pixel_of_the_original(pair: SimpleNamespace) -> None:
    """From pixels to labels, in float32: torchvision's own preprocessing, and its logits resized to the picture."""
    from torchvision.transforms._presets import SemanticSegmentation

    reference, network = copy.deepcopy(pair.reference).float().eval(), copy.deepcopy(pair.ours).float().eval()
    model: Any = deeplab.deeplabv3_resnet18(categories=K, width=16, shorter=64)
    model.network = network
    picture = torch.rand(3, 90, 131, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        logits = reference(SemanticSegmentation(resize_size=64)(picture)[None])["out"]
    resized = F.interpolate(logits, (90, 131), mode="bilinear", align_corners=False)[0]
    (result,) = model.predict(picture)
    assert (result.classes != resized.argmax(0)).float().mean() < FLOAT32 * 10  # ties in float32
    assert len(result.classes.unique()) > 1


# ----------------------------------------------------------------------------------------------------------------------
# v3+


@pytest.mark.system("5.1.5-DEEPLAB3P")
@pytest.mark.parametrize("stride", [16, pytest.param(8, marks=pytest.mark.extended)])
def test_deeplab_v3_plus_is_segmentation_models_pytorchs(stride: Literal[8, 16]) -> None:
    torch.default_generator.manual_seed(2)
    reference: Any = smp.DeepLabV3Plus(
        "resnet18", encoder_weights=None, classes=K, encoder_output_stride=stride, decoder_aspp_dropout=0.0
    ).double()
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    randomised(reference, images)
    options: dict[str, Any] = {**LAYOUT.arguments, "stride": stride}
    ours: Any = deeplab_plus.deeplabv3plus_resnet18(categories=K, dropout=0.0, **options).double()
    load_strictly(ours.network, renamed(reference.state_dict(), LAYOUT.names))
    for mode in (False, True):
        reference.train(mode).zero_grad()
        ours.train(mode).zero_grad()
        expected, found = reference(images), ours.network(images).logits
        assert_close(found, expected, OUTPUTS)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    wanted = renamed({name: p.grad for name, p in reference.named_parameters()}, LAYOUT.names)
    assert_close(
        {n: p.grad for n, p in ours.network.named_parameters()}, wanted, GRADIENTS, size=largest(*wanted.values())
    )


@pytest.mark.system("5.1.5-DEEPLAB3P", "5.1.5-DILSTAGE")
@pytest.mark.parametrize("stride", [16, 8])
def test_the_dilated_mobilenet_is_segmentation_models_pytorchs(stride: OutputStride) -> None:
    """Its encoder dilates the first block of a stage as the rest of it: that one is set to ours, as TensorFlow's is."""
    torch.default_generator.manual_seed(3)
    encoder: Any = smp.DeepLabV3Plus("mobilenet_v2", encoder_weights=None, encoder_output_stride=stride).encoder
    reference = encoder.features[:18].double()  # what follows is the classifier's
    for first, dilation in {16: ((14, 1),), 8: ((7, 1), (14, 2))}[stride]:
        depthwise = reference[first].conv[1][0]
        assert depthwise.stride == (1, 1)
        depthwise.dilation = depthwise.padding = (dilation, dilation)
    ours: Any = mobilenet.trunk(coarsest=stride).double()
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    randomised(reference, images)
    names = {
        old.removeprefix("features."): new.removeprefix("backbone.")
        for old, new in torchvision_mobilenet.NAMES.items()
        if new.startswith("backbone.")
    }
    load_strictly(ours, renamed(reference.state_dict(), names))
    expected, maps = reference.train()(images), ours.train()(images)
    assert_close(maps[-1], expected, OUTPUTS)
    assert maps[-1].shape[2:] == (64 // stride, 96 // stride)
    assert [64 // found.shape[2] for found in maps] == list(ours.strides)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (maps[-1] * weights).sum().backward()
    wanted = renamed({name: p.grad for name, p in reference.named_parameters()}, names)
    assert_close({n: p.grad for n, p in ours.named_parameters()}, wanted, GRADIENTS, size=largest(*wanted.values()))
