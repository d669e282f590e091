"""Swin transformers of torchvision: the table of files against torchvision's, and the names of their tensors."""

import pytest
import torch
import torchvision

from vidi.backbones import swin
from vidi.weights.tables import torchvision_swin


@pytest.mark.parametrize("name", list(torchvision_swin.PUBLISHED))
def test_torchvision_says_the_same(name: str) -> None:
    model, _, version = name.split("/")
    published = torchvision.models.get_model_weights(model)[version.upper()]
    source, transforms = torchvision_swin.PUBLISHED[name], published.transforms()
    scores = published.meta["_metrics"]["ImageNet-1K"]
    assert source.files[0].url == published.url
    assert source.files[0].sha256 in source.files[0].name
    assert source.score == {key.replace("acc@", "top"): value for key, value in scores.items()}
    assert ([source.preprocess.shorter], list(source.preprocess.crop or ())) == (
        transforms.resize_size,
        transforms.crop_size * 2,
    )
    assert source.preprocess.interpolation == transforms.interpolation.value
    assert (source.preprocess.mean, source.preprocess.std) == (tuple(transforms.mean), tuple(transforms.std))
    assert getattr(swin, model)(categories=2, width=16, heads=(1, 2, 4, 8)).preprocess == source.preprocess


def test_every_tensor_has_its_place() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.swin_t().state_dict()
        ours = swin.swin_t().network
    found = {name: value.shape for name, value in torchvision_swin.LAYOUT.ours(ours, theirs).items()}
    assert found == {name: value.shape for name, value in ours.state_dict().items()}
