"""What the tables say about weights of the Inception line and of plain networks that torchvision publishes."""

from collections.abc import Callable
from typing import Any

import pytest
import pytorch_fid.inception
import torch
import torchvision
from torch import Tensor

from tests.closeness import FLOAT32, assert_close
from vidi.backbones import alexnet, googlenet, inception_v3, vgg
from vidi.backbones.inception_v3 import inception_v3_fid
from vidi.model import Supervised
from vidi.weights.loading import load_tensors
from vidi.weights.published import Published
from vidi.weights.tables import torchvision_alexnet, torchvision_googlenet, torchvision_inception, torchvision_vgg

FID = "inception_v3_fid/pytorch_fid/tensorflow_2015"
SOURCES: dict[str, Published] = {
    **torchvision_googlenet.PUBLISHED,
    **torchvision_inception.PUBLISHED,
    **torchvision_alexnet.PUBLISHED,
    **torchvision_vgg.PUBLISHED,
}
OF_TORCHVISION = [name for name in SOURCES if name != FID]
TRANSFORMS_ITS_INPUT = ("googlenet", "inception_v3")


def builder_of(model: str) -> Callable[..., Supervised]:
    modules = (googlenet, inception_v3, alexnet, vgg)
    return next(getattr(module, model) for module in modules if hasattr(module, model))


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_torchvision_says_the_same(name: str) -> None:
    model, _, version = name.split("/")
    theirs = torchvision.models.get_model_weights(model)[version.upper()]
    ours, transforms = SOURCES[name], theirs.transforms()
    assert ours.files[0].url == theirs.url
    assert ours.files[0].sha256 in ours.files[0].name
    assert ours.score == {key.replace("acc@", "top"): v for key, v in theirs.meta["_metrics"]["ImageNet-1K"].items()}
    assert [ours.preprocess.shorter] == transforms.resize_size
    assert ours.preprocess.crop == tuple(transforms.crop_size * 2)
    assert transforms.interpolation.value == ours.preprocess.interpolation
    if model not in TRANSFORMS_ITS_INPUT:
        assert (ours.preprocess.mean, ours.preprocess.std) == (tuple(transforms.mean), tuple(transforms.std))


def test_every_weight_of_torchvision_is_there() -> None:
    models = {SOURCES[name].model for name in OF_TORCHVISION}
    theirs = {
        f"{model}/torchvision/{w.name.lower()}" for model in models for w in torchvision.models.get_model_weights(model)
    }
    assert theirs - {"vgg16/torchvision/imagenet1k_features"} == set(OF_TORCHVISION)  # those have no head


@pytest.mark.parametrize("name", list(SOURCES))
def test_every_tensor_of_a_file_has_its_place(name: str) -> None:
    """On the meta device, with what torchvision's network would load."""
    source = SOURCES[name]
    with torch.device("meta"):
        model = builder_of(source.model)(categories=source.categories(), **source.arguments)
        theirs: Any
        if name == FID:
            theirs = torchvision.models.Inception3(1008, aux_logits=False, init_weights=False)
        elif source.model == "alexnet":
            theirs = torchvision.models.alexnet()
        else:
            theirs = torchvision.models.get_model(source.model, weights=None, init_weights=False)
    tensors = {key: torch.empty_like(value, device="meta") for key, value in theirs.state_dict().items()}
    load_tensors(model, tensors, source.layout)
    depend = [
        key for key, value in model.network.state_dict().items() if value.shape[:1] == (len(source.categories()),)
    ]
    assert set(source.layout.by_category) == {key for key in depend if ".linear." in key}


@pytest.mark.parametrize("model", TRANSFORMS_ITS_INPUT)
def test_preprocessing_holds_what_torchvisions_network_does_to_its_input(model: str) -> None:
    source = SOURCES[f"{model}/torchvision/imagenet1k_v1"]
    transforms = torchvision.models.get_model_weights(model)["IMAGENET1K_V1"].transforms()
    with torch.device("meta"):
        theirs: Any = torchvision.models.get_model(model, weights=None, init_weights=False, transform_input=True)
    side = 400
    rows = torch.linspace(0, 1, side)[:, None] * torch.linspace(0, 1, side)
    image = torch.stack((rows, rows.flip(0), 1 - rows))
    expected = theirs._transform_input(transforms(image)[None])
    received = source.preprocess.collate([source.preprocess.place(image, {})]).images
    assert_close(received, expected, 1e-5)


def test_googlenet_of_a_file_equals_torchvision() -> None:
    """What torchvision's own loading makes of the file: input transformed, auxiliary heads thrown away."""
    theirs: Any = torchvision.models.GoogLeNet(init_weights=False, transform_input=True)
    state: dict[str, Tensor] = theirs.state_dict()
    source = SOURCES["googlenet/torchvision/imagenet1k_v1"]
    ours = builder_of("googlenet")(categories=source.categories(), **source.arguments)
    load_tensors(ours, state, source.layout)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (source.preprocess.mean, source.preprocess.std))
    transforms = torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1.transforms()
    pixels = torch.rand(2, 3, 64, 64)
    normalised = (pixels - torch.tensor(transforms.mean).view(3, 1, 1)) / torch.tensor(transforms.std).view(3, 1, 1)
    expected = theirs.eval()(normalised)
    assert_close(ours.eval()((pixels - mean) / std).logits, expected, FLOAT32)


def test_pytorch_fid_says_the_same() -> None:
    source = SOURCES[FID]
    assert source.files[0].url == pytorch_fid.inception.FID_WEIGHTS_URL
    assert source.files[0].sha256 in source.files[0].name
    assert len(source.categories()) == 1008
    assert source.preprocess == inception_v3_fid(width=8).preprocess
