"""Vision transformers of timm: the table of files against timm's, and tensors into our networks."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from tests.closeness import assert_close
from vidi.backbones import vit
from vidi.weights.loading import load_tensors
from vidi.weights.renaming import renamed
from vidi.weights.tables import timm_vit

# ours -> timm's
TIMM = {
    "vit_tiny/timm/deit_fb_in1k": "deit_tiny_patch16_224.fb_in1k",
    "vit_small/timm/deit_fb_in1k": "deit_small_patch16_224.fb_in1k",
    "vit_b_16/timm/orig_in21k_ft_in1k": "vit_base_patch16_224.orig_in21k_ft_in1k",
    "vit_b_16/timm/orig_in21k_ft_in1k_384": "vit_base_patch16_384.orig_in21k_ft_in1k",
    "vit_b_16/timm/deit_fb_in1k": "deit_base_patch16_224.fb_in1k",
    "vit_b_16/timm/deit_fb_in1k_384": "deit_base_patch16_384.fb_in1k",
    "vit_l_32/timm/orig_in21k_ft_in1k_384": "vit_large_patch32_384.orig_in21k_ft_in1k",
}


def one_and_others(names: list[str]) -> list[Any]:
    """Leave all but the first to the extended suite."""
    return [names[0], *(pytest.param(name, marks=pytest.mark.extended) for name in names[1:])]


def test_the_table_is_complete() -> None:
    assert list(TIMM) == list(timm_vit.PUBLISHED)


@pytest.mark.parametrize("name", list(TIMM))
def test_timm_says_the_same(name: str) -> None:
    theirs, ours = timm.models.get_pretrained_cfg(TIMM[name]), timm_vit.PUBLISHED[name]
    assert theirs is not None
    assert (ours.files[0].url, ours.licence.lower()) == (theirs.url, theirs.license)
    assert ours.files[0].sha256 in ours.files[0].name
    assert len(ours.files[0].sha256) == 8
    assert ours.preprocess.crop == theirs.input_size[1:] == ours.arguments.get("size", (224, 224))
    assert ours.preprocess.shorter == int(theirs.input_size[1] / theirs.crop_pct)
    assert ours.preprocess.interpolation == theirs.interpolation
    assert (ours.preprocess.mean, ours.preprocess.std) == (theirs.mean, theirs.std)
    assert theirs.num_classes == len(ours.categories()) == 1000


@pytest.mark.parametrize("name", one_and_others(list(TIMM)))
def test_the_names_and_shapes_of_every_file_fit_its_builder(name: str) -> None:
    source = timm_vit.PUBLISHED[name]
    with torch.device("meta"):
        model = getattr(vit, source.model)(categories=source.categories(), **source.arguments)
        published = timm.create_model(TIMM[name].split(".")[0])
    state = model.network.state_dict()
    tensors = source.layout.convert(renamed(published.state_dict(), source.layout.names))
    assert {key: value.shape for key, value in tensors.items()} == {key: value.shape for key, value in state.items()}


def test_published_tensors_load_and_give_the_same() -> None:
    theirs = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=5
    ).eval()
    nn.init.normal_(theirs.get_parameter("head.weight"))
    model = vit.vit_tiny(categories=5, size=(32, 32), patch=8, width=24, depth=2, heads=3).eval()
    load_tensors(model, theirs.state_dict(), timm_vit.PUBLISHED["vit_tiny/timm/deit_fb_in1k"].layout)
    images = torch.randn(2, 3, 32, 32)
    assert_close(model(images).logits, theirs(images), 1e-5)
