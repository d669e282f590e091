"""Codes that CLIP guides: one step by finite differences, what is left alone, and what the pictures become."""

import copy
import inspect
from functools import cache
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from tests.closeness import FLOAT32, assert_close
from vidi.embedding.clip import ClipModel, clip_tiny
from vidi.generative import clip_guided
from vidi.generative.clip_guided import guided_by_clip
from vidi.generative.gan.original import gan
from vidi.generative.gan.players import Gan

MERGES = "#version: 0.2\nr e\nre d</w>"


@cache
def networks() -> tuple[Gan, ClipModel]:
    """A generator and a CLIP of random weights, in training mode, large enough for pictures and vectors that differ."""
    torch.default_generator.manual_seed(0)
    sizes: dict[str, Any] = {"size": (32, 32), "width": 32, "blocks": (1,), "patch": 8, "embedding": 16, "head": 16}
    clip = clip_tiny(**sizes, text_width=32, text_layers=1, context=8, merges=MERGES)
    model = gan(size=(32, 32), latent=8, hidden=8)
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.normal_(std=0.5)
    clip.network.image = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 16))
    return model.train(), clip.train()


def cosines(codes: Tensor, text: str, box: tuple[slice, slice] = (slice(None), slice(None))) -> Tensor:
    """By what the models give to everybody, one picture after the other."""
    model, clip = networks()
    images = [clip.preprocess.place(image[:, box[0], box[1]], {}) for image in model.images_of(codes)]
    with torch.no_grad():
        vectors = clip.eval()(clip.preprocess.collate(images).images).image
    clip.train()
    return vectors @ clip.embed_text(text)[0]


@pytest.mark.system("7.3.1-GUIDED")
def test_the_first_step_goes_up_the_similarity() -> None:
    """Adam's first step is the rate against the sign of the gradient, which finite differences tell."""
    model, clip = networks()
    codes = model.codes([0, 1])
    found = guided_by_clip(model, clip, "red", codes, steps=1, rate=0.01)
    assert_close(found.similarity[0], cosines(codes, "red"), FLOAT32)
    assert_close(found.similarity[1], cosines(found.codes, "red"), FLOAT32)
    moved, slopes = found.codes - codes, torch.zeros_like(codes)
    for k in range(codes.shape[1]):
        there, back = codes.clone(), codes.clone()
        there[:, k] += 0.01
        back[:, k] -= 0.01
        slopes[:, k] = cosines(there, "red") - cosines(back, "red")
    clear = slopes.abs() > 0.1 * slopes.abs().max()
    assert clear.sum() > 8
    assert torch.equal(moved[clear].sign(), slopes[clear].sign())
    assert_close(moved.abs(), torch.full_like(codes, 0.01), 1e-3)


@pytest.mark.system("7.3.1-GUIDED")
@pytest.mark.parametrize("cutouts", [0, 2])
def test_pictures_come_to_show_the_text_while_both_networks_stay(cutouts: int) -> None:
    model, clip = networks()
    before = [parameter.clone() for network in (model, clip) for parameter in network.state_dict().values()]
    codes = model.codes([0, 1])
    found = guided_by_clip(model, clip, "red", codes, steps=60, rate=0.3, distance_weight=0, cutouts=cutouts)
    assert (found.similarity[-1] > found.similarity[0] + 0.1).all()
    assert found.images.shape == (2, 3, 32, 32)
    assert_close(found.images, model.images_of(found.codes), FLOAT32)
    after = [parameter for network in (model, clip) for parameter in network.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert model.training
    assert clip.training
    assert all(parameter.grad is None for network in (model, clip) for parameter in network.parameters())


def test_each_code_goes_its_own_way() -> None:
    model, clip = networks()
    codes = model.codes([0, 1])
    both = guided_by_clip(model, clip, "red", codes, steps=3, cutouts=2, seed=4)
    alone = guided_by_clip(model, clip, "red", codes[1:], steps=3, cutouts=2, seed=4)
    assert_close(both.codes[1:], alone.codes, FLOAT32)
    other = guided_by_clip(model, clip, "red", codes, steps=3, cutouts=2, seed=5)
    assert not torch.equal(both.codes, other.codes)


def test_distance_costs() -> None:
    """Of a large weight the first step has no cost yet, the second one leads back."""
    model, clip = networks()
    codes = model.codes([0])
    free = guided_by_clip(model, clip, "red", codes, steps=12, distance_weight=0)
    held = guided_by_clip(model, clip, "red", codes, steps=12, distance_weight=10)
    assert (held.codes - codes).norm() < 0.5 * (free.codes - codes).norm()


def test_cutouts_are_squares_within_the_picture() -> None:
    images = torch.arange(2 * 6 * 10.0).view(1, 2, 6, 10)
    parts = clip_guided._cutouts(images, 200, torch.Generator().manual_seed(0))
    assert {part.shape[2] for part in parts} == {3, 4, 5, 6}
    assert all(part.shape[2] == part.shape[3] for part in parts)
    assert {int(part[0, 0, 0, 0]) % 10 for part in parts} == set(range(8))
    assert {int(part[0, 0, 0, 0]) // 10 for part in parts} == set(range(4))
    assert clip_guided._cutouts(images, 0, torch.Generator())[0] is images


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"rate": 0}, {"distance_weight": -1}, {"cutouts": -1}])
def test_what_cannot_be_is_told(wrong: dict[str, Any]) -> None:
    model, clip = networks()
    with pytest.raises(ValueError, match="expected at least one step, a positive rate and no negative number"):
        guided_by_clip(model, clip, "red", model.codes([0]), **wrong)


def test_what_is_not_said_is_as_in_the_paper() -> None:
    """Section 4 and its code: 200 to 300 steps at a rate of 0.1, and a weight of 0.008 of the squared distance."""
    numbers = inspect.signature(guided_by_clip).parameters
    names = ("steps", "rate", "distance_weight", "cutouts")
    assert [numbers[name].default for name in names] == [200, 0.1, 0.008, 0]


def test_pictures_beyond_white_are_white() -> None:
    model, clip = copy.deepcopy(networks())
    cast(Any, model.generator).layers[-1] = nn.Identity()
    found = guided_by_clip(model, clip, "red", model.codes([0]), steps=1)
    assert (float(found.images.min()), float(found.images.max())) == (0, 1)
